"""What a trial does when a run is broken off and resumed, exactly or almost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.optimizer import make_optimizer
from minimind_lite.runs.session import TrainingSession
from minimind_lite.science.procedures import probes_of, run_of
from minimind_lite.science.trials import Outcome, SharedData

Settings = Mapping[str, Any]


def resume(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """A shuffled run, broken off at half, and resumed with what the checkpoint `restores`.

    "all"; "weights": a fresh optimizer, and order and schedule from their start; "all but the
    order": goes on in file order, as MiniMind did until 2026-01-18; "another order": a new seed,
    whose first half is skipped.
    """
    layout = shared.layout(seed)
    data, config = shared.data(layout), TrainConfig(order="shuffle", seed=seed)
    session = TrainingSession(shipped.base_model(), data, config, probes=probes_of(shared))
    half = session.total_steps // 2
    session.advance(half)
    if settings["restores"] == "weights":
        session.optimizer, session.step = make_optimizer(session.model, config), 0
        session.advance()
        session.records[half:] = [replace(r, step=r.step + half) for r in session.records[half:]]
    else:
        orders = {
            "all": config,
            "all but the order": config.replace(order="file"),
            "another order": config.replace(seed=seed + 1000),
        }
        session.advance(config=orders[settings["restores"]])
    times = np.bincount(np.concatenate([r.rows for r in session.records]), minlength=len(data))
    values = {"read_twice": int((times > 1).sum()), "never_read": int((times == 0).sum())}
    return Outcome(run_of(session, layout, info={"resumed_at": half}), values)
