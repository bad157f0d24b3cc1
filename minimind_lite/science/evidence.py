"""Recorded trials as evidence: values per seed, paired by seed, with intervals.

A rule of `claims` asks here for a number per seed ("mean height of the large segments under SGD")
and gets an interval back. Numbers that a single claim asks for are in `claim_values`. Nothing is
trained here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from minimind_lite import segments, spikes
from minimind_lite.science import laws, segment_metrics
from minimind_lite.science import store as stores
from minimind_lite.science.intervals import (
    Counts,
    Interval,
    crossed_interval,
    interval_over_seeds,
)
from minimind_lite.science.segment_metrics import Reading, file_rows
from minimind_lite.science.store import MissingTrials, Store, Trial
from minimind_lite.segments import LARGE, MAIN

Which = tuple[str, str]  # experiment, variant
Value = Callable[..., float]  # of one trial, or of several of the same seed
PHASES = 16  # cuts of a frozen run behind its visibility
OTHER_BASES = ("nano-1", "nano-2")  # as nano, from other pretraining seeds


@dataclass(frozen=True)
class Evidence:
    """The trials of a store; `seeds` restricts them (None: all that are recorded)."""

    store: Store
    seeds: tuple[int, ...] | None = None
    # Trials that were read, with the content of the table that they were read from.
    _read: dict[tuple[str, str, int], tuple[str, Trial]] = field(default_factory=dict, repr=False)

    def common(self, *which: Which) -> list[int]:
        """Seeds for which all these trials are recorded. Raises `MissingTrials` for none."""
        recorded = [set(self.store.seeds(*w)) for w in which]
        allowed = recorded[0] if self.seeds is None else set(self.seeds)
        seeds = sorted(allowed.intersection(*recorded))
        if not seeds:
            names = ", ".join(f"{experiment} {variant!r}" for experiment, variant in which)
            raise MissingTrials(
                f"no seed has all of {names} recorded; python -m minimind_lite claims makes them."
            )
        return seeds

    def numbers(self, value: Value, *which: Which) -> list[float]:
        """value(trial, ...) for each of the seeds that all `which` have."""
        return [value(*(self.trial(*w, seed) for w in which)) for seed in self.common(*which)]

    def over_seeds(self, value: Value, *which: Which, level: float = 0.95) -> Interval:
        """Interval of value(trial, ...) over the seeds that all `which` have.

        Differences inside `value` are paired.
        """
        return interval_over_seeds(self.numbers(value, *which), level=level)

    def over_bases(self, value: Value, *which: Which, level: float = 0.95) -> Interval:
        """The same over layouts and base models, both random: nano and OTHER_BASES.

        Variants of another base have its name behind theirs: "file", "file, nano-1".
        """
        of_each = [
            which,
            *(tuple((e, f"{variant}, {base}") for e, variant in which) for base in OTHER_BASES),
        ]
        if len(self.common(*which)) == 1:
            return self.over_seeds(value, *which)
        seeds = self.common(*(w for one in of_each for w in one))
        table = [[value(*(self.trial(*w, seed) for w in one)) for one in of_each] for seed in seeds]
        return crossed_interval(np.array(table), level=level)

    def counts(self, value: Value, *which: Which, of: int | None = None) -> Counts:
        """Values of a count by seed."""
        return Counts(tuple(round(number) for number in self.numbers(value, *which)), of)

    def trial(self, experiment: str, variant: str, seed: int) -> Trial:
        """One trial, read once, and again when its table has changed."""
        key, content = (experiment, variant, seed), self.store.content(experiment)
        if key not in self._read or self._read[key][0] != content:
            self._read[key] = content, self.store.get(experiment, variant, seed)
        return self._read[key][1]


def recorded() -> Evidence:
    """What comes with the project: data/claims/."""
    return Evidence(stores.recorded("claims"))


def change(value: Value) -> Value:
    """A value of one trial minus that of another."""

    def difference(trial: Trial, other: Trial) -> float:
        return value(trial) - value(other)

    return difference


# Values of a trial


def over_large(readings: Mapping[str, Reading], name: str) -> float:
    """Mean of a field of `Reading` over the large segments that there are."""
    values = [getattr(readings[label], name) for label in LARGE if label in readings]
    return float(np.mean(values))


def height(trial: Trial) -> float:
    """Mean height of the large segments, nats."""
    return over_large(trial.readings, "height")


def mean_height_inside(trial: Trial) -> float:
    """Mean over the large segments of the mean height inside, nats."""
    return over_large(trial.readings, "mean_height")


def recovery(trial: Trial) -> float:
    """Mean over the large segments of the excess's end after theirs, conversations."""
    return over_large(trial.readings, "recovery")


def harm(trial: Trial) -> float:
    """Mean over the large segments of the rise of held-out Chinese, nats."""
    return over_large(trial.readings, "harm")


def flagged(trial: Trial) -> float:
    """How many of the five segments the detector flags."""
    return float(sum(reading.flagged for reading in trial.readings.values()))


def sorted_back_height(trial: Trial) -> float:
    """Mean height of the large segments when each conversation's loss is sorted back, nats."""
    return over_large(segment_metrics.read(segment_metrics.in_file_order(trial.run)), "height")


def tallest_step(trial: Trial) -> float:
    """Largest height of any step above the trailing median, nats."""
    return segment_metrics.tallest_step(trial.run)


def events(trial: Trial) -> float:
    """How many spikes the detector flags."""
    return float(len(spikes.find(trial.run.loss)))


def final_probe_loss(trial: Trial, *probes: str) -> float:
    """Held-out loss after the last step, mean over the probes named, or over all five, nats."""
    final = trial.run.info["probes_after"]
    return float(np.mean([final[probe] for probe in (probes or final)]))


def held_out_chinese(trial: Trial) -> float:
    """`final_probe_loss` on Chinese."""
    return final_probe_loss(trial, MAIN)


def held_out_off_domain(trial: Trial) -> float:
    """`final_probe_loss` on the other domains."""
    return final_probe_loss(trial, *LARGE)


def probe_rise(trial: Trial, probe: str = MAIN) -> float:
    """Largest rise of a probe from just before the event of a pulse trial, nats."""
    start = trial.run.info["event"][0]
    positions, losses = trial.run.probe(probe)
    return float(losses[positions > start].max() - losses[positions <= start][-1])


def event_height(trial: Trial) -> float:
    """Largest loss in a pulse trial's event or just after it, above the median before, nats."""
    start, stop = trial.run.info["event"]
    return float(trial.run.loss[start : stop + 1].max() - median_before(trial))


def median_before(trial: Trial) -> float:
    """Median loss of the window of steps before the event of a pulse trial, nats."""
    return float(np.median(trial.run.loss[: trial.run.info["event"][0]][-spikes.WINDOW :]))


def roughness(trial: Trial) -> float:
    """Robust deviation of batches without an off-domain row, detrended by differences, nats."""
    shares = [segments.share(trial.run, s) for s in segments.of_run(trial.run)]
    base = trial.run.loss[np.sum(shares, axis=0) == 0]
    return float(spikes.MAD_TO_SIGMA * np.median(np.abs(np.diff(base))) / math.sqrt(2))


@dataclass(frozen=True)
class MeanVisibility:
    """Of the large segments at a batch size."""

    height: float  # nats
    noise: float  # nats
    z: float


def visibility_at(frozen: Trial, batch_size: int) -> MeanVisibility:
    """Height, noise and z at a batch size, of a frozen trial's losses in file order."""
    rows = file_rows(frozen.run)
    measured = [
        laws.measured_visibility(
            rows.losses,
            rows.tokens,
            segment=segment,
            batch_size=batch_size,
            base=~rows.off_domain,
            phases=np.unique(np.linspace(0, batch_size - 1, PHASES).round().astype(int)),
        )
        for segment in segments.of_run(frozen.run)
        if segment.label in LARGE
    ]
    return MeanVisibility(
        height=float(np.mean([v.height for v in measured])),
        noise=float(np.mean([v.sigma for v in measured])),
        z=float(np.mean([v.z for v in measured])),
    )


def change_on_replay(trial: Trial) -> float:
    """Mean absolute difference of the losses of steps that were taken twice with the same rows.

    In nats; NaN where none was.
    """
    first: dict[tuple[int, bytes], float] = {}
    changes = []
    for record in trial.run.records:
        key = (record.step, record.rows.tobytes())
        if key in first:
            changes.append(abs(record.loss - first[key]))
        first.setdefault(key, record.loss)
    return float(np.mean(changes)) if changes else float("nan")
