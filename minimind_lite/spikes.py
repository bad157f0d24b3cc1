"""Find and describe spikes in a loss curve. Numbers in, numbers out: no torch, no truth file.

A point is judged against the last 30 unflagged points before it: z = (x - their median) / (1.4826
x their median absolute deviation). A spike must not widen the spread, or the next one would be
missed. Batch noise shrinks as 1/sqrt(batch size), so z depends on it; heights in nats don't.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 30  # steps of the trailing baseline
THRESHOLD = 6.0  # robust z at which an event starts
MIN_HEIGHT = 0.3  # nats; an event must also be this tall, or a quiet curve would flag noise
END_Z = 2.0  # an event lasts until the excess is below this many robust sigma
MAD_TO_SIGMA = 1.4826  # for a normal distribution


@dataclass(frozen=True)
class Baseline:
    """Trailing baseline of a series, one entry per position; NaN before the window is full."""

    median: np.ndarray  # (steps,) nats
    sigma: np.ndarray  # (steps,) robust standard deviation, nats
    z: np.ndarray  # (steps,) robust z of each value
    event: np.ndarray  # (steps,) int: number of the event that a value belongs to, from 1; 0: none

    @property
    def flagged(self) -> np.ndarray:
        """True for values of any event, (steps,); they are left out of later baselines."""
        return self.event > 0


@dataclass(frozen=True)
class SpikeEvent:
    """A part of a series that is above its baseline. Positions in the series, half-open."""

    start: int  # first position with z >= threshold and height >= min_height
    stop: int  # one past its last position
    peak: int  # position of the largest value
    onset_height: float  # nats above the baseline at `start`
    peak_height: float  # nats above the baseline at `peak`
    mean_height: float  # nats above the baseline, mean over the event
    z: float  # robust z at `peak`
    level_shift: bool  # it outlasted the window: a new level rather than a spike

    @property
    def steps(self) -> int:
        """Length in positions."""
        return self.stop - self.start


def baseline(
    values: Sequence[float] | np.ndarray,
    *,
    window: int = WINDOW,
    threshold: float = THRESHOLD,
    min_height: float = MIN_HEIGHT,
) -> Baseline:
    """Judge each value (steps,) against the last `window` unflagged values before it.

    An event starts at z >= `threshold` and height >= `min_height` and lasts until z < END_Z. One
    that lasts longer than `window` steps is a level shift: it ends there, and its values become
    the new baseline. Raises `ValueError` for a series that is not finite, or a window under 5.
    """
    values = _finite_series(values, window)
    median, sigma, z = (np.full(len(values), np.nan) for _ in range(3))
    event = np.zeros(len(values), int)
    ordinary: list[float] = []  # values that may be part of a baseline
    length = n_events = 0  # positions so far of the event that goes on, and events begun
    for i, value in enumerate(values):
        if len(ordinary) >= window:
            recent = np.array(ordinary[-window:])
            median[i] = np.median(recent)
            # Identical values have no spread: z stays finite, and min_height alone decides.
            sigma[i] = max(MAD_TO_SIGMA * np.median(np.abs(recent - median[i])), 1e-9)
            z[i] = (value - median[i]) / sigma[i]
            starts = z[i] >= threshold and value - median[i] >= min_height
            if length == 0 and starts:
                n_events += 1
            if starts or (length > 0 and z[i] >= END_Z):
                event[i] = n_events
        length = length + 1 if event[i] else 0
        if length > window:
            # A level shift: all its values become the new baseline.
            ordinary, length = list(values[i - window : i + 1]), 0
        elif not event[i]:
            ordinary.append(value)
    return Baseline(median, sigma, z, event)


def _finite_series(values: Sequence[float] | np.ndarray, window: int) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if window < 5:
        raise ValueError(f"a median absolute deviation needs a window of 5 or more, got {window}.")
    if not np.isfinite(values).all():
        raise ValueError(
            f"the series is not finite at position {int(np.argmin(np.isfinite(values)))}; "
            "a diverged run has no baseline after that."
        )
    return values


def find(
    values: Sequence[float] | np.ndarray,
    *,
    window: int = WINDOW,
    threshold: float = THRESHOLD,
    min_height: float = MIN_HEIGHT,
) -> list[SpikeEvent]:
    """All events of a series (steps,), in order. Parameters and errors as in `baseline`."""
    values = np.asarray(values, dtype=float)
    base = baseline(values, window=window, threshold=threshold, min_height=min_height)
    numbers = range(1, int(base.event.max(initial=0)) + 1)
    return [_event(values, base, np.flatnonzero(base.event == n), window) for n in numbers]


def _event(values: np.ndarray, base: Baseline, positions: np.ndarray, window: int) -> SpikeEvent:
    """The event at some positions; one baseline for all of it, that of its start."""
    heights = values[positions] - base.median[positions[0]]
    highest = int(np.argmax(heights))
    return SpikeEvent(
        start=int(positions[0]),
        stop=int(positions[-1]) + 1,
        peak=int(positions[highest]),
        onset_height=float(heights[0]),
        peak_height=float(heights[highest]),
        mean_height=float(heights.mean()),
        z=float(base.z[positions[highest]]),
        level_shift=len(positions) > window,
    )
