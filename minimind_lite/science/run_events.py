"""Where the loss of a run rises, as its owner wants to know it: from which row on, how long, why.

Two detectors look. `spikes` judges a step by the steps before it (z): one very hard row is enough.
`permutation` judges a batch by random batches of the rows before it (p): one row is not enough, and
long blocks have an end. What both see is one rise. What z alone sees may be chance.

Positions count the records that were not abandoned by a rollback; see `course_of`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from minimind_lite import spikes
from minimind_lite.records import Run
from minimind_lite.runs.rollback import abandoned
from minimind_lite.science import permutation
from minimind_lite.science.laws import sum_losses
from minimind_lite.spikes import SpikeEvent

EARLY, LATE = 3, 10  # steps by which z may see a rise before and after p does
BEFORE = spikes.WINDOW  # steps that a height is counted from
SMOOTH = 5  # steps whose median says that the loss has come down

# A spike is over within a window of steps. A slow one lasts longer, but has lost half its height
# by then. A shift has not.
Kind = Literal["spike", "slow", "shift"]


@dataclass(frozen=True)
class Rise:
    """A rise of the loss. Positions in the record, half-open."""

    start: int
    stop: int  # a spike: one past its last position; slow, or a shift: where half of it is gone
    peak: int  # position of its largest loss
    height: float  # nats above the steps before; at the peak, or on average where z is NaN
    z: float  # NaN where `spikes` sees nothing
    p: float  # NaN where `permutation` sees nothing
    kind: Kind
    goes_on: bool  # the record ends before it does

    @property
    def by_chance(self) -> bool:
        """Whether random batches of the rows before are as high now and then."""
        return math.isnan(self.p)


class HardestRow(NamedTuple):
    """The row that adds most to a batch's loss above the steps before."""

    row: int
    share: float  # of the batch's excess


def course_of(run: Run) -> Run:
    """A run without the steps that rollbacks abandoned."""
    void = abandoned(run)
    if not void.any():
        return run
    return Run(run.info, tuple(r for r, gone in zip(run.records, void) if not gone))


def find(
    run: Run,
    *,
    window: int = spikes.WINDOW,
    threshold: float = spikes.THRESHOLD,
    min_height: float = spikes.MIN_HEIGHT,
) -> list[Rise]:
    """All rises of a run, in order. The numbers are those of `spikes.find`; raises as it does."""
    loss = run.loss
    by_z = []
    if len(loss) > window:
        by_z = spikes.find(loss, window=window, threshold=threshold, min_height=min_height)
    judged = permutation.judge(permutation.batches_of(run)).events if len(loss) > 1 else ()
    rises = []
    for event in judged:
        near = [e for e in by_z if -EARLY <= e.start - event.start <= LATE and _touch(e, event)]
        by_z = [e for e in by_z if e not in near]
        rises.append(_rise(loss, event, near))
    rises += [_of_z(event) for event in by_z]
    return _with_ends(loss, sorted(rises, key=_start), window)


def _start(rise: Rise) -> int:
    return rise.start


def _touch(a: SpikeEvent, b: permutation.Event) -> bool:
    return a.start <= b.stop and b.start <= a.stop


def _of_z(event: SpikeEvent, p: float = math.nan) -> Rise:
    kind: Kind = "shift" if event.level_shift else "spike"
    span = (event.start, event.stop, event.peak)
    return Rise(*span, event.peak_height, event.z, p, kind, goes_on=False)


def _rise(loss: np.ndarray, event: permutation.Event, near: Sequence[SpikeEvent]) -> Rise:
    """One rise of what p sees and of the events of z that are the same, if any."""
    if near:
        tallest = max(near, key=lambda e: e.peak_height)
        shift = [e for e in near if e.level_shift]
        last = max([event.stop, *(e.stop for e in near)]) if not shift else shift[0].stop
        start = min(event.start, near[0].start)
        rise = _of_z(shift[0] if shift else tallest, event.p)
        return replace(rise, start=start, stop=last, peak=tallest.peak, height=tallest.peak_height)
    kind: Kind = "shift" if event.stop - event.start > spikes.WINDOW else "spike"
    peak = event.start + int(np.argmax(loss[event.start : event.stop]))
    span = (event.start, event.stop, peak)
    return Rise(*span, event.height, math.nan, event.p, kind, goes_on=False)


def _with_ends(loss: np.ndarray, rises: list[Rise], window: int) -> list[Rise]:
    """Where the loss of each comes back; at the latest, the next one begins there."""
    following = [rise.start for rise in rises[1:]] + [len(loss)]
    ended = []
    for rise, limit in zip(rises, following):
        stop = rise.stop
        if rise.kind == "shift" and not math.isnan(rise.z):
            stop = _half_gone(loss, rise, window)
        stop = max(min(stop, limit), rise.start + 1)
        kind = rise.kind
        if kind == "shift" and stop - rise.start <= window and stop < len(loss):
            kind = "slow"
        ended.append(replace(rise, stop=stop, kind=kind, goes_on=stop == len(loss)))
    return ended


def _half_gone(loss: np.ndarray, rise: Rise, window: int) -> int:
    """First position after the peak from which on the loss is nearer to the level before."""
    before = float(np.median(loss[max(0, rise.start - window) : rise.start]))
    early = range(rise.start, min(rise.start + window, len(loss)))
    smooth = [float(np.median(loss[i : i + SMOOTH])) for i in early]
    top = int(np.argmax(smooth))
    half, places = (before + smooth[top]) / 2, range(rise.start + top, len(loss))
    low = next((i for i in places if np.median(loss[i : i + SMOOTH]) < half), len(loss))
    return next((i for i in range(low, len(loss)) if loss[i] < half), len(loss))


def level_before(run: Run, rise: Rise) -> float:
    """Median loss of the steps before a rise, in nats."""
    return float(np.median(run.loss[max(0, rise.start - BEFORE) : max(rise.start, 1)]))


def hardest_row(run: Run, rise: Rise) -> HardestRow:
    """The row that adds most to the loss of the batch at the peak."""
    record, level = run.records[rise.peak], level_before(run, rise)
    sums = sum_losses(record.sample_losses, record.sample_tokens)
    excess = sums - record.sample_tokens * level
    place, total = int(np.argmax(excess)), float(excess.sum())
    share = float(excess[place]) / total if total > 0 else 0.0
    return HardestRow(int(record.rows[place]), share)


def in_file_order(run: Run, rise: Rise) -> bool:
    """Whether the rows of a rise are one stretch of the file, read in order."""
    rows = np.concatenate([r.rows for r in run.records[rise.start : rise.stop]])
    return bool((np.diff(rows) == 1).all())


def first_row(run: Run, rise: Rise) -> int:
    """About the first row of what makes a rise: where the losses of rows change their level.

    The batch at which it starts, and its neighbors, are cut in two where what follows is most above
    the middle of the levels before and after.
    """
    first = max(rise.start - 1, 0)
    records = run.records[first : rise.start + 2]
    rows, losses, tokens = (
        np.concatenate([getattr(record, name) for record in records])
        for name in ("rows", "sample_losses", "sample_tokens")
    )
    height = rise.height if math.isnan(rise.z) else float(np.max(run.loss[rise.start : rise.stop]))
    before = level_before(run, rise)
    middle = before + height / 2 if math.isnan(rise.z) else (before + height) / 2
    # Clipped, or one very hard row would be the cut.
    excess = np.clip(np.nan_to_num(losses, nan=middle) - middle, -1.0, 1.0) * np.sqrt(tokens)
    after = np.cumsum(excess[::-1])[::-1]
    return int(rows[int(np.argmax(after))])
