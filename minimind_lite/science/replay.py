"""Train a recorded trial again, here and now, and say how well the two agree.

On the machine and with the versions that made the recording, the losses are the same to the last
bit; elsewhere, other instructions round otherwise, and heights agree to about a tenth of a nat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minimind_lite.records import Run
from minimind_lite.science import segment_metrics
from minimind_lite.science.experiments import EXPERIMENTS
from minimind_lite.science.procedures import config_of, one_pass
from minimind_lite.science.reproduce import Progress, quiet, run_once
from minimind_lite.science.trials import Trial, World, environment

TOLERANCE = 0.1  # nats, of a segment's height on another machine


def again(
    trial: Trial,
    *,
    world: World | None = None,
    max_steps: int | None = None,
    progress: Progress = quiet,
) -> Run:
    """Run a recorded pass over a layout once more, or its first `max_steps` steps.

    Held-out probes are not measured, since they change nothing. Raises `ValueError` for a trial
    that is more than a plain pass (a rollback, a pulse ...), or was given other rows or weights.
    """
    variant, settings = EXPERIMENTS[trial.experiment].variant(trial.variant), trial.info["settings"]
    if variant.procedure is not one_pass or {"rows", "odd_weight"} & set(settings):
        raise ValueError(
            f"{trial.experiment} {trial.variant!r} is no plain pass over a layout; choose one that is, E1 'file' for instance."
        )
    world = world or World()
    config = config_of(settings, trial.seed).replace(probe_every=0, max_steps=max_steps)
    layout = world.layout(trial.seed)
    run = run_once(
        config,
        model=settings.get("model", "nano"),
        data=world.data(layout),
        name=f"{trial.experiment} {trial.variant}",
        progress=progress,
    )
    return Run(run.info | {"segments": [vars(s) for s in layout.segments]}, run.records)


@dataclass(frozen=True)
class Agreement:
    """A live run against its recording, over the steps that both have."""

    same_environment: bool  # versions, processor, instructions
    same_bits: bool  # every loss equal
    largest: float  # nats, largest difference of a step's loss
    heights: dict[
        str, float
    ]  # nats, live minus recorded, of each segment that the live run reached

    @property
    def good(self) -> bool:
        """Bit-equal where the environment is the same; heights within TOLERANCE elsewhere."""
        return (
            self.same_bits
            if self.same_environment
            else all(abs(h) <= TOLERANCE for h in self.heights.values())
        )

    def __str__(self) -> str:
        if self.same_bits:
            return "The same to the last bit as the recording."
        where = (
            "in the same environment"
            if self.same_environment
            else "in another environment than the recording's"
        )
        height = max(map(abs, self.heights.values()), default=0)
        return f"Largest difference of a loss {self.largest:.2g} nats, of a height {height:.2g} nats, {where}."


def compare(live: Run, trial: Trial) -> Agreement:
    """How well a live run agrees with the trial it repeats."""
    recorded = Run(trial.run.info, trial.run.records[: len(live)])
    difference = float(np.abs(live.loss - recorded.loss).max())
    a, b = segment_metrics.read(live), segment_metrics.read(recorded)
    return Agreement(
        environment() == trial.info["environment"],
        difference == 0.0,
        difference,
        {k: a[k].height - b[k].height for k in a},
    )
