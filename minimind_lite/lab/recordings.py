"""Runs recorded for the Spike Lab: an answer at once for what the settings say, or none.

Many specs are one run: how a batch is cut into micro-batches does not touch its gradient, file
order knows no seed, and in one epoch "once" and "every epoch" shuffle alike. So a spec is brought
to its plainest form before it is looked up, and its micro-batches are worked out from the recorded
losses of conversations. A frozen model's loss on a conversation depends on neither order nor
batch: one recorded pass answers for all its specs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimind_lite.config import TrainConfig
from minimind_lite.files.run_columns import from_columns, to_columns
from minimind_lite.lab.plan import (
    EXPERIMENT,
    FROZEN,
    FROZEN_EXPERIMENT,
    SEEDS,
    RunSpec,
    experiments,
    plan,
)
from minimind_lite.order import make
from minimind_lite.records import Run
from minimind_lite.science import laws
from minimind_lite.science.runner import Job
from minimind_lite.science.store import Store, recorded


def jobs(store: Store) -> list[Job]:
    """What is still to be recorded."""
    seeds = {spec.name(): seeds for spec, seeds in plan().items()}
    return [
        Job(experiment, variant, seed)
        for experiment in experiments()
        for variant in experiment.variants
        for seed in seeds.get(variant.name, (0,))
        if not store.has(experiment.id, variant, seed)
    ]


class Recordings:
    """The recorded runs of data/lab/, by spec. Not locked: its owner sees to that."""

    def __init__(self) -> None:
        self.store = recorded("lab")
        self._frozen: Run | None = None
        self._band: tuple[RunSpec | None, list[Run]] = (None, [])

    def has(self, spec: RunSpec) -> bool:
        """Whether `run` gives a run."""
        plain = spec.plain()
        if plain.config.optimizer == "none":
            return plain.config.max_steps is None and plain.config.precision == "fp32"
        return plain.config.seed in self.store.seeds(EXPERIMENT, plain.name())

    def run(self, spec: RunSpec) -> Run | None:
        """The run of a spec, micro-batches cut as it says; None where it is not recorded."""
        if not self.has(spec):
            return None
        plain = spec.plain()
        if plain.config.optimizer == "none":
            return self._rearranged(spec)
        run = self._recorded(EXPERIMENT, plain)
        info = {**run.info, "train_config": spec.config.to_dict(), "rearranged": False}
        if spec.config.micro_batch_size == plain.config.micro_batch_size:
            return Run(info, run.records)
        return from_columns(info, to_columns(run))

    def seeds(self, spec: RunSpec) -> Sequence[Run]:
        """The recorded runs of a spec over all its seeds, from which a band is drawn.

        Empty where fewer than two are recorded. The last answer is kept.
        """
        spec = spec.with_seed(0)
        if self._band[0] != spec:
            seeds = SEEDS if spec.config.order != "file" else ()
            runs = [self.run(spec.with_seed(seed)) for seed in seeds]
            band = [run for run in runs if run is not None]
            self._band = (spec, band if len(band) > 1 else [])
        return self._band[1]

    def frozen(self) -> Run:
        """The one recorded pass of the frozen base model, in file order."""
        if self._frozen is None:
            self._frozen = self._recorded(FROZEN_EXPERIMENT, FROZEN)
        return self._frozen

    def shuffled(self) -> Run:
        """The recorded shuffled pass, seed 0."""
        return self._recorded(EXPERIMENT, RunSpec(TrainConfig(order="shuffle")))

    def _recorded(self, experiment: str, spec: RunSpec) -> Run:
        return self.store.get(experiment, spec.name(), spec.config.seed).run

    def _rearranged(self, spec: RunSpec) -> Run:
        """What a frozen model sees in this order and batch, from its one recorded pass."""
        config, frozen = spec.config, self.frozen()
        tokens = np.concatenate([r.sample_tokens for r in frozen.records])  # (N,) in file order
        losses = np.concatenate([r.sample_losses for r in frozen.records])  # (N,)
        n, size = len(losses), config.batch_size
        epochs = [make(config.order, n, seed=config.seed, epoch=e) for e in range(config.epochs)]
        order = np.concatenate(epochs)
        sizes = [min(size, n - start) for start in range(0, n, size)] * config.epochs
        starts = np.cumsum([0, *sizes[:-1]])
        means = [laws.rebin(losses[rows], tokens[rows], batch_size=size) for rows in epochs]
        steps = np.arange(len(sizes))
        unknown = np.full(len(sizes), np.nan)
        columns = {
            "step": steps,
            "epoch": steps // config.steps_per_epoch(n),
            "samples_seen": starts,
            "loss": np.concatenate(means),
            "tokens": np.add.reduceat(tokens[order], starts),
            "lr": unknown,
            "grad_norm": unknown,
            "row": order,
            "sample_loss": losses[order],
            "sample_tokens": tokens[order],
            "rows_per_step": np.array(sizes),
        }
        measured = steps % spec.probe_every() == 0
        for name in frozen.probe_names():
            columns[f"probe/{name}"] = np.where(measured, frozen.probe(name)[1][0], np.nan)
        info = {**frozen.info, "train_config": config.to_dict(), "pulse": 1, "rearranged": True}
        return from_columns(info, columns)
