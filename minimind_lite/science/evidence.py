"""Recorded trials as evidence: values per seed, paired by seed, with intervals.

A rule of `claims` asks here for a number per seed ("mean height of the large segments under SGD")
and gets an interval back. Nothing is trained here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from minimind_lite import spikes
from minimind_lite.files import shipped
from minimind_lite.science import intervals, segment_metrics
from minimind_lite.science.intervals import Interval
from minimind_lite.science.segment_metrics import Reading
from minimind_lite.science.trials import MissingTrials, Store, Trial

LARGE = ("code", "en", "math", "zh_classical")  # segments; the tiny one is a question of its own
Which = tuple[str, str]  # experiment, variant


def interval(values: np.ndarray) -> Interval:
    """Student-t interval; endless for a single seed, so that no rule can decide on it."""
    if len(values) == 1:
        return Interval(float(values[0]), -math.inf, math.inf, 1)
    return intervals.mean_interval(values)


@dataclass(frozen=True)
class Evidence:
    """The trials of a store; `seeds` restricts them (None: all that are recorded)."""

    store: Store
    seeds: tuple[int, ...] | None = None

    def common(self, *which: Which) -> list[int]:
        """Seeds for which all these trials are recorded. Raises `MissingTrials` where there is none."""
        sets = [set(self.store.seeds(e, v)) for e, v in which]
        found = sorted(
            set.intersection(*sets) & set(self.seeds if self.seeds is not None else sets[0])
        )
        if not found:
            names = ", ".join(f"{e} {v!r}" for e, v in which)
            raise MissingTrials(
                f"no seed has all of {names} recorded; python -m minimind_lite claims makes them."
            )
        return found

    def each(self, value: Callable[..., float], *which: Which) -> Interval:
        """Interval of value(trial, ...) over the seeds that all `which` have: differences inside it are paired."""
        return interval(
            np.array(
                [
                    value(*(self.trial(e, v, seed) for e, v in which))
                    for seed in self.common(*which)
                ],
                dtype=float,
            )
        )

    def trial(self, experiment: str, variant: str, seed: int) -> Trial:
        """One trial, read once."""
        return _trial(self.store, experiment, variant, seed)


def recorded() -> Evidence:
    """What comes with the project: data/claims/."""
    return Evidence(Store(shipped.folder() / "claims"))


@cache
def _trial(store: Store, experiment: str, variant: str, seed: int) -> Trial:
    return store.get(experiment, variant, seed)


@cache
def read(trial: Trial) -> Mapping[str, Reading]:
    """Every segment of a trial's first epoch, by name; read once, since most rules ask for more than one field."""
    return segment_metrics.read(trial.run)


def over_large(found: Mapping[str, Reading], field: str) -> float:
    """Mean of a field of `Reading` over the large segments that there are."""
    return float(np.mean([getattr(found[name], field) for name in LARGE if name in found]))


def height(trial: Trial) -> float:
    """Mean height of the large segments, nats."""
    return over_large(read(trial), "height")


def inside(trial: Trial) -> float:
    """Mean over the large segments of the mean height inside, nats."""
    return over_large(read(trial), "mean_height")


def recovery(trial: Trial) -> float:
    """Mean over the large segments of t_end - L, conversations."""
    return over_large(read(trial), "recovery")


def harm(trial: Trial) -> float:
    """Mean over the large segments of the rise of the Chinese probe, nats."""
    return over_large(read(trial), "harm")


def flagged(trial: Trial) -> float:
    """How many of the five segments the detector flags."""
    return float(sum(r.flagged for r in read(trial).values()))


def sorted_back_height(trial: Trial) -> float:
    """Mean height of the large segments when every conversation's own loss is sorted back into file order, nats."""
    return over_large(segment_metrics.read(segment_metrics.in_file_order(trial.run)), "height")


def largest(trial: Trial) -> float:
    """Largest height of any step above the trailing median, nats."""
    return segment_metrics.largest(trial.run)


def events(trial: Trial) -> float:
    """Events that the detector finds."""
    return float(len(spikes.find(trial.run.loss)))


def after(trial: Trial, *probes: str) -> float:
    """Held-out loss after the last step, mean over the probes named, or over all five, nats."""
    final = trial.run.info["probes_after"]
    return float(np.mean([final[p] for p in (probes or final)]))


def probe_rise(trial: Trial, probe: str = "zh") -> float:
    """Largest rise of a probe from just before the event of a pulse trial, within or after it, nats."""
    start = trial.run.info["event"][0]
    steps, losses = trial.run.probe(probe)
    return float(losses[steps > start].max() - losses[steps <= start][-1])


def median_before(trial: Trial) -> float:
    """Median loss of the steps before the event of a pulse trial, a window of them, nats."""
    return float(np.median(trial.run.loss[: trial.run.info["event"][0]][-spikes.WINDOW :]))


def event_height(trial: Trial) -> float:
    """Largest loss in the event of a pulse trial or just after it, above the median before it, nats."""
    start, stop = trial.run.info["event"]
    return float(trial.run.loss[start : stop + 1].max() - median_before(trial))


def roughness(trial: Trial) -> float:
    """Robust standard deviation of the losses of batches without an odd row, detrended by differences, nats."""
    odd = sum(segment_metrics.shares(trial.run, s) for s in segment_metrics.segments(trial.run))
    base = trial.run.loss[odd == 0]
    return float(spikes.MAD_TO_SIGMA * np.median(np.abs(np.diff(base))) / math.sqrt(2))


def seen(frozen: Trial, batch_size: int) -> tuple[float, float, float]:
    """Height, noise (nats) and z at a batch size, mean over the large segments, of a frozen trial's losses."""
    found = [
        segment_metrics.visibility(frozen.run, s, batch_size)
        for s in segment_metrics.segments(frozen.run)
        if segment_metrics.segment_name(s) in LARGE
    ]
    return tuple(float(np.mean(column)) for column in zip(*found))


def reading(trial: Trial, segment: str) -> Reading:
    """One segment of a trial."""
    return read(trial)[segment]
