"""How much a segment does to the model: by learning rate, by its length, by its domain (E14).

    base model -> Chinese batches -> | L rows of a domain -> the next Chinese batches   (dose)
                                     |                    -> the next Chinese batches   (control)

Dose and control begin from the same weights and read the very same batches, so their difference
is what the segment did, without the noise of other rows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.model import LanguageModel
from minimind_lite.optimizer import make_optimizer
from minimind_lite.rows import EncodedRows
from minimind_lite.science.layouts import CHINESE, OFF_DOMAIN, STREAM
from minimind_lite.science.procedures import Settings, probes_of
from minimind_lite.science.trials import Outcome, SharedData
from minimind_lite.trainer import mean_loss, train


@dataclass
class Training:
    """A model with its optimizer, trained by hand; at a constant rate."""

    model: LanguageModel
    optimizer: Any
    config: TrainConfig

    def read(self, data: EncodedRows) -> list[float]:
        """Train on the rows in file order; losses of the batches, each before its update."""
        steps = train(self.model, data, self.config, optimizer=self.optimizer)
        return [record.loss for record in steps]

    def save(self) -> Mapping[str, Any]:
        """Weights and optimizer as they are now."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return copy.deepcopy(state)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to a saved state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))


def dose(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """Read a segment of each domain at each length, and what comes after it, beside a control.

    `factor` multiplies the learning rate, `lengths` (ascending, rows), `before` and `after`
    (batches of Chinese). Values: `dose`, one entry for each domain and length: `dent` (losses of
    the Chinese batches after the segment, minus the control's), `forgotten` (rise of each held-out
    loss while the segment is read), `learnt` (fall of its own domain's), in nats.
    """
    config = TrainConfig(schedule="constant", seed=seed)
    config = config.replace(learning_rate=config.learning_rate * float(settings["factor"]))
    rows, probes = _rows(shared, seed), probes_of(shared)
    before, after = (int(settings[name]) * config.batch_size for name in ("before", "after"))
    model = shipped.base_model()
    training = Training(model, make_optimizer(model, config), config)
    training.read(rows["zh"].select(range(before)))
    start, following = training.save(), rows["zh"].select(range(before, before + after))
    held_out = {name: mean_loss(model, data) for name, data in probes.items()}
    control = np.array(training.read(following))
    doses = []
    for domain in OFF_DOMAIN:
        training.restore(start)
        for first, length in pairwise([0, *settings["lengths"]]):
            training.read(rows[domain].select(range(first, length)))
            state = training.save()
            change = {n: mean_loss(model, data) - held_out[n] for n, data in probes.items()}
            dent = np.array(training.read(following)) - control
            training.restore(state)
            learnt = -change.pop(domain)
            effect = {"dent": dent.tolist(), "forgotten": change, "learnt": learnt}
            doses.append({"domain": domain, "length": length, **effect})
    return Outcome(values={"dose": doses})


def _rows(shared: SharedData, seed: int) -> dict[str, EncodedRows]:
    """Rows of the pool in random order: Chinese of all kinds under "zh", the other domains."""
    rng = np.random.default_rng([seed, STREAM, 4])
    names = np.repeat(list(shared.pool), [len(rows) for rows in shared.pool.values()])
    places = {"zh": np.flatnonzero(np.isin(names, CHINESE))}
    places |= {domain: np.flatnonzero(names == domain) for domain in OFF_DOMAIN}
    return {d: shared.pool_rows.select(rng.permutation(rows)) for d, rows in places.items()}
