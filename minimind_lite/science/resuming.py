"""What a trial does when a run is broken off and resumed, exactly or almost.

`resume` goes on in the same process; it is E10's. `resume_from` throws the process's state away
and goes on from a checkpoint, of which it loses what its settings say; it is E19's.

    n conversations of a layout   B conversations of a batch
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.model import LanguageModel
from minimind_lite.optimizer import make_optimizer
from minimind_lite.runs.session import State, TrainingSession
from minimind_lite.science.procedures import probes_of, run_of
from minimind_lite.science.trials import Outcome, SharedData
from minimind_lite.trainer import Batch, batches_of_run, train

CLOSELY_BEFORE, CLOSELY_AFTER = 4, 20  # steps before and after the break, probed closely
ANOTHER_SEED = 1000  # more: the seed of another shuffle

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


def resume_from(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """A shuffled pass, broken off at the share `break_at` of its steps, and resumed.

    Settings: `broken_off` (False: the process goes on), and what comes back: `weights` ("all",
    "half": rounded to half precision), `moments` of the optimizer ("all", "half", "none"), `step`
    (False: schedule and order begin again) and `order`: see `batches_from`. Held-out losses are
    measured every 2 steps around the break, elsewhere every 20. Values: rows read twice and never,
    and a digest of the last weights.
    """
    layout = shared.layout(seed)
    data, config = shared.data(layout), TrainConfig(order="shuffle", seed=seed)

    def new_session() -> TrainingSession:
        return TrainingSession(shipped.base_model(), data, config, probes=probes_of(shared))

    session = new_session()
    at = round(float(settings["break_at"]) * session.total_steps)
    for steps, every in ((at - CLOSELY_BEFORE, 20), (CLOSELY_BEFORE, 2)):
        session.advance(steps, config=config.replace(probe_every=every))
    if settings["broken_off"]:
        state, records = what_comes_back(session.save(), settings), session.records
        session = new_session()
        session.restore(state)
        session.records = records
    _go_on(session, order=settings["order"])
    times = np.bincount(np.concatenate([r.rows for r in session.records]), minlength=len(data))
    values = {
        "read_twice": int((times > 1).sum()),
        "never_read": int((times == 0).sum()),
        "weights": digest(session.model),
    }
    return Outcome(run_of(session, layout, info={"resumed_at": at}), values)


def what_comes_back(state: State, settings: Settings) -> State:
    """A state as an imperfect checkpoint gives it back; see `resume_from`."""
    weights, moments = state.weights, state.moments
    if settings["weights"] == "half":
        weights = {name: _rounded(tensor) for name, tensor in weights.items()}
    if settings["moments"] == "half":
        moments = {name: _rounded(tensor) for name, tensor in moments.items()}
    if settings["moments"] == "none":
        moments = {}
    step = state.step if settings["step"] else 0
    return replace(state, weights=weights, moments=moments, step=step)


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.half().to(tensor.dtype)


def batches_from(start: int, n_rows: int, config: TrainConfig, *, order: str) -> list[Batch]:
    """The batches from step `start` to the end of a run, in an `order`.

    "goes on"; "again": from the first row, as far as the steps that are left go; "file": in file
    order, as MiniMind went on until 2026-01-18; "another": a new shuffle. Of the last two the
    first `start` batches are skipped.
    """
    orders = {
        "goes on": config,
        "again": config,
        "file": config.replace(order="file"),
        "another": config.replace(seed=config.seed + ANOTHER_SEED),
    }
    batches = list(batches_of_run(n_rows, orders[order]))
    if order != "again":
        return batches[start:]
    rows = [batch.rows for batch in batches]
    return [batch._replace(rows=again) for batch, again in zip(batches[start:], rows)]


def _go_on(session: TrainingSession, *, order: str) -> None:
    """Train to the end; records are numbered as if no step had been lost."""
    start, taken = session.step, len(session.records)
    rows_read = sum(len(record.rows) for record in session.records)
    batches = batches_from(start, len(session.data), session.config, order=order)
    for every, some in ((2, batches[:CLOSELY_AFTER]), (20, batches[CLOSELY_AFTER:])):
        session.records += train(
            session.model,
            session.data,
            session.config.replace(probe_every=every),
            probes=session.probes,
            optimizer=session.optimizer,
            batches=some,
            total_steps=session.total_steps,
        )
    if not start:
        session.records[taken:] = [
            replace(r, step=r.step + taken, samples_seen=r.samples_seen + rows_read)
            for r in session.records[taken:]
        ]


def digest(model: LanguageModel) -> str:
    """Of a model's weights: the same for the same bits."""
    parts = (p.detach().numpy().tobytes() for _, p in sorted(model.named_parameters()))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]
