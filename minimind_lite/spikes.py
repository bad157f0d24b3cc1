"""Find, measure and describe spikes in a loss curve. Numbers in, numbers out: no torch, no truth file.

A point is judged against the points before it: z = (x - median) / (1.4826 MAD) over a trailing
window from which flagged points are kept out, so that a spike neither widens the scale that
judges it nor hides the next. Since the noise of a batch mean shrinks as 1/sqrt(batch size), z
depends on the batch size; heights in nats do not, so both are given, always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite.records import Run

WINDOW = 30  # steps of the trailing baseline
THRESHOLD = 6.0  # robust z at which an event starts
MIN_HEIGHT = 0.3  # nats; an event must also be this tall, or a quiet curve would flag dust
END_Z = 2.0  # an event lasts until the excess is below this many robust sigma
MAD_TO_SIGMA = 1.4826  # for a normal distribution


@dataclass(frozen=True)
class Baseline:
    """Trailing baseline of a series, one entry per step; NaN before the window is full."""

    median: np.ndarray  # (steps,) nats
    sigma: np.ndarray  # (steps,) robust standard deviation, nats
    z: np.ndarray  # (steps,) robust z of each value
    flagged: np.ndarray  # (steps,) bool: part of an event, kept out of later baselines


@dataclass(frozen=True)
class SpikeEvent:
    """A stretch of steps that stands above its baseline. Steps are positions in the series, half-open."""

    start: int  # first step with z >= threshold
    stop: int  # first step whose excess is below END_Z sigma again
    peak: int  # step of the largest value
    onset_height: float  # nats above the baseline at `start`
    peak_height: float  # nats above the baseline at `peak`
    mean_height: float  # nats above the baseline, mean over the event
    z: float  # robust z at `peak`
    level_shift: bool  # it outlasted the window: a new level rather than a spike

    @property
    def steps(self) -> int:
        """Length in optimiser steps."""
        return self.stop - self.start


def baseline(
    values: Sequence[float],
    *,
    window: int = WINDOW,
    threshold: float = THRESHOLD,
    min_height: float = MIN_HEIGHT,
) -> Baseline:
    """Judge each value (steps,) against the last `window` unflagged values before it.

    An event starts at z >= `threshold` and height >= `min_height` and lasts until z < END_Z. One
    that lasts longer than `window` steps is a level shift: its values become the new baseline.
    Raises `ValueError` for a series with NaN or infinity, or a window under 5.
    """
    values = np.asarray(values, dtype=float)
    if window < 5:
        raise ValueError(
            f"a median absolute deviation needs a window of at least 5 steps, got {window}."
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"the series is not finite at position {int(np.argmin(np.isfinite(values)))}; "
            "a diverged run has no baseline after that."
        )
    median, sigma, z = (np.full(len(values), np.nan) for _ in range(3))
    flagged, kept, run_length = np.zeros(len(values), bool), [], 0
    for i, value in enumerate(values):
        if len(kept) >= window:
            recent = np.array(kept[-window:])
            median[i] = np.median(recent)
            # Identical values have no spread; a billionth of a nat keeps z finite and harmless.
            sigma[i] = max(MAD_TO_SIGMA * np.median(np.abs(recent - median[i])), 1e-9)
            z[i] = (value - median[i]) / sigma[i]
            starts = z[i] >= threshold and value - median[i] >= min_height
            flagged[i] = starts or (run_length > 0 and z[i] >= END_Z)
        run_length = run_length + 1 if flagged[i] else 0
        if run_length > window:
            kept, run_length = list(values[i - window : i + 1]), 0  # a new level
        elif not flagged[i]:
            kept.append(value)
    return Baseline(median, sigma, z, flagged)


def find(
    values: Sequence[float],
    *,
    window: int = WINDOW,
    threshold: float = THRESHOLD,
    min_height: float = MIN_HEIGHT,
) -> list[SpikeEvent]:
    """All events of a series (steps,), in order. Parameters and errors as in `baseline`."""
    values = np.asarray(values, dtype=float)
    base = baseline(values, window=window, threshold=threshold, min_height=min_height)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], base.flagged, [False]]).astype(int)))
    return [_event(values, base, start, stop, window) for start, stop in edges.reshape(-1, 2)]


def _event(values: np.ndarray, base: Baseline, start: int, stop: int, window: int) -> SpikeEvent:
    height = (
        values[start:stop] - base.median[start]
    )  # one baseline for the whole event, that of its start
    peak = start + int(np.argmax(height))
    return SpikeEvent(
        int(start),
        int(stop),
        peak,
        float(height[0]),
        float(height.max()),
        float(height.mean()),
        float(base.z[peak]),
        bool(stop - start > window),
    )


@dataclass(frozen=True)
class SegmentSpike:
    """What a curve shows at a given range of rows, whether or not it was flagged as an event."""

    step: int  # first batch wholly inside the rows; where there is none, the one with the largest share
    share: float  # share of that batch's conversations that lie in the rows
    height: float  # its loss minus the trailing baseline's median, nats
    z: float  # its robust z
    baseline: float  # that median, nats
    flagged: bool  # some batch with rows of the segment is part of an event


def at_rows(
    run: Run, start: int, stop: int, *, epoch: int = 0, window: int = WINDOW
) -> SegmentSpike:
    """Height of the spike, if any, that rows start .. stop-1 make in a run.

    Raises `ValueError` where the run does not touch these rows in that epoch, or touches them
    before the baseline's window is full.
    """
    base = baseline(run.loss, window=window)
    shares = np.array(
        [
            np.mean((r.rows >= start) & (r.rows < stop)) if r.epoch == epoch else 0.0
            for r in run.records
        ]
    )
    step = int(np.argmax(shares))  # the first of the largest: wholly inside, if any batch is
    if shares[step] == 0:
        raise ValueError(f"no batch of epoch {epoch} holds rows {start} .. {stop - 1}.")
    usable = np.isfinite(base.median)
    if not usable[step]:
        # In a shuffled order the fullest batch may come before the window is full: take the fullest after it.
        step = int(np.argmax(np.where(usable, shares, -1)))
        if not usable[step] or shares[step] == 0:
            raise ValueError(
                f"rows {start} .. {stop - 1} come before the baseline's window of {window} steps is full."
            )
    return SegmentSpike(
        step,
        float(shares[step]),
        float(run.loss[step] - base.median[step]),
        float(base.z[step]),
        float(base.median[step]),
        bool(base.flagged[shares > 0].any()),
    )


def spike_score(values: Sequence[float], *, window: int = 1000, n_sigma: float = 7.0) -> float:
    """Percentage of values at least `n_sigma` standard deviations from the mean of the `window` before.

    OLMo 2's measure (arXiv 2501.00656); short runs need a shorter window, and should say so. Mean
    and deviation are not robust: a spike inflates the scale that judges its neighbours. The
    percentage is of the values that have a full window before them; NaN where none has.
    """
    values = np.asarray(values, dtype=float)
    if len(values) <= window:
        return float("nan")
    windows = np.lib.stride_tricks.sliding_window_view(
        values[:-1], window
    )  # (steps - window, window)
    distance = np.abs(values[window:] - windows.mean(axis=1))
    return float(100 * np.mean(distance >= n_sigma * np.maximum(windows.std(axis=1), 1e-12)))


def width(run: Run, event: SpikeEvent) -> int:
    """Conversations from the event's first step to its end."""
    return sum(len(r.rows) for r in run.records[event.start : event.stop])


def recovery(run: Run, event: SpikeEvent, length: int) -> int:
    """Conversations from onset until the excess is below END_Z sigma, minus the segment's `length` (rows).

    About 0 (to within a batch or two) means that the recovery is nothing but the segment ending.
    """
    return width(run, event) - length


def harm(run: Run, event: SpikeEvent) -> dict[str, float]:
    """Change of each held-out probe from the last measurement before the event to the first after it, nats.

    Empty for probes that were not measured on both sides.
    """
    changes = {}
    for name in run.probe_names():
        steps, losses = run.probe(name)
        before, after = losses[steps <= event.start], losses[steps >= event.stop]
        if len(before) and len(after):
            changes[name] = float(after[0] - before[-1])
    return changes


def epoch_folding(
    values: Sequence[float], epoch_steps: int, *, window: int = WINDOW
) -> dict[float, float]:
    """Correlation of the detrended series with itself, by lag in epochs: 0.5, 1, 1.5, ...

    The trend is a centred running median. High at whole epochs and about 0 at halves: the curve
    repeats by position, so its bumps belong to the data and their order. Lags that leave less
    than half an epoch of overlap are left out. Raises `ValueError` for less than 1.5 epochs.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 1.5 * epoch_steps:
        raise ValueError(
            f"folding needs at least 1.5 epochs, got {len(values)} steps of {epoch_steps} per epoch."
        )
    half = window // 2
    padded = np.pad(values, half, mode="reflect")
    trend = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    residual, found = values - trend, {}
    for halves in range(1, 2 * len(values) // epoch_steps):
        lag = round(halves * epoch_steps / 2)
        if len(values) - lag >= epoch_steps / 2:
            found[halves / 2] = float(
                np.corrcoef(residual[lag:], residual[: len(values) - lag])[0, 1]
            )
    return found
