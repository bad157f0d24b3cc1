"""Train a recorded trial again, here and now, and say how well the two agree.

On the machine and with the versions that made the recording, the losses are the same to the last
bit. Elsewhere other instructions round otherwise, and heights agree to about a tenth of a nat.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite.files import provenance, run_columns
from minimind_lite.records import Run
from minimind_lite.rows import EncodedRows
from minimind_lite.science import runner, segment_metrics
from minimind_lite.science.experiments import EXPERIMENTS
from minimind_lite.science.fingerprint import code_fingerprint
from minimind_lite.science.procedures import config_of, layout_of, one_pass
from minimind_lite.science.reproduce import Progress, no_progress, run_once
from minimind_lite.science.runner import Job
from minimind_lite.science.store import Store, Trial
from minimind_lite.science.trials import Experiment, Outcome, SharedData

TOLERANCE = 0.1  # nats, of a segment's height on another machine


def rerun(
    trial: Trial,
    *,
    shared: SharedData | None = None,
    max_steps: int | None = None,
    probes: Mapping[str, EncodedRows] | None = None,
    progress: Progress = no_progress,
) -> Run:
    """Run a recorded pass over a layout once more, or its first `max_steps` steps.

    Held-out `probes` are measured at the end alone: they change nothing. Raises `ValueError` for a
    trial that is more than a plain pass (a rollback, a pulse ...), or was given other rows or
    weights.
    """
    variant = EXPERIMENTS[trial.experiment].variant(trial.variant)
    settings = trial.info["settings"]
    if variant.procedure is not one_pass or {"rows", "off_domain_weight"} & set(settings):
        raise ValueError(
            f"{trial.experiment} {trial.variant!r} is no plain pass over a layout; "
            "choose one that is, E1 'file' for instance."
        )
    shared = shared or SharedData()
    layout = layout_of(shared, trial.seed, settings)
    run = run_once(
        config_of(settings, trial.seed).replace(probe_every=0, max_steps=max_steps),
        model=settings.get("model", "nano"),
        data=shared.data(layout),
        probes=probes,
        name=f"{trial.experiment} {trial.variant}",
        progress=progress,
    )
    return Run({**run.info, "segments": [vars(s) for s in layout.segments]}, run.records)


@dataclass(frozen=True)
class Agreement:
    """A live run against its recording, over the steps that both have."""

    same_environment: bool  # whatever decides rounding: torch, processor, instructions
    same_bits: bool  # every loss equal
    largest: float  # nats, largest difference of a step's loss
    heights: Mapping[str, float]  # nats, live minus recorded, of each segment that both reach

    @property
    def good(self) -> bool:
        """Bit-equal where the environment is the same; heights within TOLERANCE elsewhere."""
        if self.same_environment:
            return self.same_bits
        return all(abs(height) <= TOLERANCE for height in self.heights.values())

    def __str__(self) -> str:
        if self.same_bits:
            return "The same to the last bit as the recording."
        height = max(map(abs, self.heights.values()), default=0.0)
        where = "the same" if self.same_environment else "another"
        return (
            f"Largest difference of a loss {self.largest:.2g} nats, of a height {height:.2g} nats, "
            f"in {where} environment as the recording's."
        )


def compare(live: Run, trial: Trial) -> Agreement:
    """How well a live run agrees with the trial it repeats."""
    recorded = Run(trial.run.info, trial.run.records[: len(live)])
    difference = float(np.abs(live.loss - recorded.loss).max())
    a, b = segment_metrics.read(live), segment_metrics.read(recorded)
    return Agreement(
        same_environment=provenance.same_bits(provenance.environment(), trial.info["environment"]),
        same_bits=difference == 0.0,
        largest=difference,
        heights={label: a[label].height - b[label].height for label in a.keys() & b.keys()},
    )


def verify(
    experiments: Sequence[Experiment], store: Store, *, processes: int
) -> Iterator[tuple[Job, list[str]]]:
    """Replay what older code recorded, and accept it where the bits are the same.

    One seed of each variant is run whole, since code does not know seeds; where nothing differs,
    all seeds of the variant are adopted. Yields each job with the names of what differs, which is
    "environment" where the trial was recorded on another machine and can't be compared.
    """
    old = {(experiment, variant) for experiment, variant, _ in store.of_other_code(experiments)}
    jobs = [
        Job(experiment, variant, store.seeds(experiment.id, variant.name)[0])
        for experiment in experiments
        for variant in experiment.variants
        if (experiment.id, variant.name) in old
    ]
    here = provenance.environment()
    foreign = [
        job
        for job in jobs
        if not provenance.same_bits(
            here, store.info(job.experiment.id, job.variant.name, job.seed)["environment"]
        )
    ]
    yield from ((job, ["environment"]) for job in foreign)
    jobs = [job for job in jobs if job not in foreign]
    for job, outcome in runner.outcomes(jobs, processes=processes):
        which = (job.experiment.id, job.variant.name)
        different = differences(outcome, store.get(*which, job.seed))
        if not different:
            steps = len(outcome.run) if outcome.run else 0
            store.adopt(
                *which,
                store.seeds(*which),
                code=code_fingerprint(job.variant.procedure.__module__),
                replayed=f"seed {job.seed}, {steps} steps",
            )
        yield job, different


def differences(outcome: Outcome, trial: Trial) -> list[str]:
    """Names of the values and columns that are not the same to the last bit."""
    values = json.loads(json.dumps(outcome.values))
    different = [name for name in trial.values if values.get(name) != trial.values[name]]
    if outcome.run is None:
        return different
    live, recorded = run_columns.to_columns(outcome.run), run_columns.to_columns(trial.run)
    # A column that an older recording lacks comes back as NaN.
    known = {name: column for name, column in recorded.items() if not np.isnan(column).all()}
    return different + [
        name
        for name, column in known.items()
        if name not in live or not np.array_equal(live[name], column, equal_nan=True)
    ]
