"""A spike detector with a null of its own: how high would a random batch of these rows be?

The record holds the loss of every conversation, so the question has an answer. The rows of a batch
and of the batches before it are pooled. If order meant nothing, every subset of the pool of that
size would be as likely as the batch; p is the share of subsets whose token mean is as high. The
batch belongs to the pool: without it, one very hard row would be rarer in the null than in the
data. So a batch is judged, not its hardest row: among 31 batches a single row can't give p < 1/31.

Change points come first. A stretch of batches is cut at both ends of the part that differs most
from its rest, if a random order of its rows would hardly have such a part; then the pieces are cut.
A step is compared with the stretch that it goes on, or with the one before where it starts a new
one. So a long segment has a start and an end, its middle is no spike, and all steps but the first
are judged. Of runs whose order means nothing, a share RATE has an event at most. The detector knows
of no segments. A log without losses of conversations has no such null: `spikes` judges it.

    N conversations in training order
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from minimind_lite.records import Run
from minimind_lite.science.laws import sum_losses
from minimind_lite.science.subsets import Pools, share_as_high

WINDOW = 30  # at most so many batches before a step make its neighborhood
RATE = 0.005  # probability of any event in a run whose order means nothing
FALSE_CHANGES = RATE / 2  # of any change point
FALSE_DISCOVERIES = RATE / 2  # of any flagged step; in other runs, the share of false ones


@dataclass(frozen=True, eq=False)
class Batches:
    """Losses of conversations in training order, and how they are cut into batches."""

    losses: np.ndarray  # (N,) token mean of each, nats; NaN without a supervised token
    tokens: np.ndarray  # (N,) supervised
    sizes: np.ndarray  # (steps,) conversations of each batch

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def edges(self) -> np.ndarray:
        """First row of each batch, and one past the last, (steps + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def mean(self, start: int, stop: int) -> float:
        """Token mean of batches start .. stop-1, nats; NaN without a token."""
        rows = slice(self.edges[start], self.edges[stop])
        tokens = self.tokens[rows].sum()
        sums = sum_losses(self.losses[rows], self.tokens[rows])
        return float(sums.sum() / tokens) if tokens else float("nan")


@dataclass(frozen=True)
class Change:
    """A place at which the level of a run changes."""

    start: int  # position of the first batch of the new stretch
    rise: float  # nats, token mean of the stretch that begins minus that of the one that ends
    p: float  # two-sided, over all places at which the stretch could have been cut


@dataclass(frozen=True)
class Event:
    """Batches that are higher than what comes before them. Positions in the record, half-open."""

    start: int  # first batch that is too high
    stop: int  # one past the last: the next change point, or the end of the flagged steps
    height: float  # nats, token mean of its batches minus that of the neighborhood before
    p: float  # the smallest of its flagged steps and of the change point that starts it


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the detector says of a run."""

    p: np.ndarray  # (steps,) of each among random batches of its neighborhood; 1 for the first
    flagged: np.ndarray  # (steps,) bool: p is small enough for the false-discovery rate
    changes: tuple[Change, ...]
    events: tuple[Event, ...]


def batches_of(run: Run) -> Batches:
    """What the detector reads of a run."""
    return Batches(
        np.concatenate([record.sample_losses for record in run.records]),
        np.concatenate([record.sample_tokens for record in run.records]),
        np.array([len(record.rows) for record in run.records]),
    )


def judge(batches: Batches) -> Judgement:
    """p of every step, change points, and the events that they make.

    Raises `ValueError` where a conversation with supervised tokens has no finite loss.
    """
    from scipy.stats import false_discovery_control

    if not np.isfinite(batches.losses[batches.tokens > 0]).all():
        raise ValueError(
            "a conversation with supervised tokens has no finite loss; judge a diverged run, or a "
            "log without losses of conversations, by `spikes`."
        )
    changes = change_points(batches)
    first = _neighborhoods(len(batches), [change.start for change in changes])
    p = np.ones(len(batches))
    if len(p) > 1:
        pools = Pools(batches.edges[first], batches.edges[2:], batches.sizes[1:])
        p[1:] = share_as_high(batches.losses, batches.tokens, pools=pools)
    flagged = np.zeros(len(p), bool)
    flagged[1:] = false_discovery_control(p[1:]) <= FALSE_DISCOVERIES
    return Judgement(p, flagged, changes, _events(batches, p, flagged, changes=changes))


def _events(
    batches: Batches, p: np.ndarray, flagged: np.ndarray, *, changes: tuple[Change, ...]
) -> tuple[Event, ...]:
    """Rises and runs of flagged steps; two that start within a batch of each other are one."""
    spans = _rises(changes, len(batches))
    for start, stop in _runs(flagged):
        near = min(spans, key=lambda rise: abs(rise - start), default=-2)
        best = float(p[start:stop].min())
        if abs(near - start) <= 1:
            end, p_of_change = spans.pop(near)
            stop, best = max(stop, end), min(best, p_of_change)
        spans[min(start, near) if abs(near - start) <= 1 else start] = stop, best
    first = _neighborhoods(len(batches), [change.start for change in changes])
    return tuple(
        Event(start, stop, batches.mean(start, stop) - batches.mean(first[start - 1], start), best)
        for start, (stop, best) in sorted(spans.items())
    )


def _runs(flagged: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flagged.astype(int), [0]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _rises(changes: tuple[Change, ...], steps: int) -> dict[int, tuple[int, float]]:
    """Start of each rise: its end, and p. Two rises in consecutive batches are one.

    A rise lasts until a stretch is nearer to the level before it, or the next rise, or the end.
    """
    levels = np.cumsum([0.0, *(change.rise for change in changes)])
    pairs = pairwise(changes)
    goes_on = [a.rise > 0 and b.rise > 0 and b.start - a.start == 1 for a, b in pairs]
    spans = {}
    for i, change in enumerate(changes):
        if change.rise <= 0 or (i > 0 and goes_on[i - 1]):
            continue
        top = i + 1 + goes_on[i:].index(False) if False in goes_on[i:] else len(changes)
        middle = (levels[i] + levels[top]) / 2
        later = zip(changes[top:], levels[top + 1 :])
        ends = [c.start for c, level in later if c.rise > 0 or level < middle]
        spans[change.start] = ends[0] if ends else steps, change.p
    return spans


def _neighborhoods(steps: int, changes: list[int]) -> np.ndarray:
    """First batch of the neighborhood of steps 1, 2 ... (steps - 1,); it ends before the step.

    It doesn't reach back over the last change point before the step.
    """
    step = np.arange(1, steps)
    begins = np.array([0, *changes])
    return np.maximum(step - WINDOW, begins[np.searchsorted(begins, step) - 1])


def change_points(batches: Batches) -> tuple[Change, ...]:
    """Where the level of a run changes, in order, by circular binary segmentation.

    Each stretch is cut at both ends of the part that differs most from its rest (Olshen and others,
    Biostatistics 5, 2004), as long as a random order of its rows would hardly have such a part: in
    a run whose order means nothing there is one with probability FALSE_CHANGES at most. When all
    are known, each cut is placed and judged once more between its neighbors, and the weakest goes
    until all are needed.
    """
    cuts: list[int] = []
    stretches = [(0, len(batches))]
    while stretches:
        start, stop = stretches.pop()
        first, last, p = _most_different(batches, start, stop)
        if p <= FALSE_CHANGES:
            cuts += {first, last} - {start, stop}
            edges = sorted({start, first, last, stop})
            stretches += pairwise(edges)
    cuts, p_of_cuts = _placed(batches, sorted(cuts))
    while max(p_of_cuts, default=0.0) > FALSE_CHANGES:
        del cuts[int(np.argmax(p_of_cuts))]
        cuts, p_of_cuts = _placed(batches, cuts)
    edges = [0, *cuts, len(batches)]
    levels = [batches.mean(start, stop) for start, stop in pairwise(edges)]
    return tuple(map(Change, cuts, np.diff(levels).tolist(), p_of_cuts))


def _placed(batches: Batches, cuts: list[int]) -> tuple[list[int], list[float]]:
    """Each cut where it is best between its neighbors, in order, and its p."""
    edges, placed, p_of_cuts = [0, *cuts, len(batches)], [0], []
    for stop in edges[2:]:
        cut, p = _best_cut(batches, placed[-1], stop)
        placed.append(cut)
        p_of_cuts.append(p)
    return placed[1:], p_of_cuts


def _most_different(batches: Batches, start: int, stop: int) -> tuple[int, int, float]:
    """The part of start .. stop-1 that differs most from its rest: start, stop, p."""
    excess, rows = _excess(batches, start, stop)
    steps = stop - start
    best, place = -1.0, (start, stop)
    for length in range(1, steps):
        n = rows[length:] - rows[:-length]
        distance = np.abs(excess[length:] - excess[:-length]) / np.sqrt(n * (rows[-1] - n))
        i = int(np.argmax(distance))
        if distance[i] > best:
            best, place = float(distance[i]), (start + i, start + i + length)
    return *place, _p_of_part(batches, start, stop, part=place, places=steps * (steps + 1) // 2 - 1)


def _best_cut(batches: Batches, start: int, stop: int) -> tuple[int, float]:
    """Where start .. stop-1 falls into the most different halves, and p of that."""
    excess, rows = (values[1:-1] for values in _excess(batches, start, stop))
    n = batches.edges[stop] - batches.edges[start]
    cut = start + 1 + int(np.argmax(np.abs(excess) / np.sqrt(rows * (n - rows))))
    return cut, _p_of_part(batches, start, stop, part=(cut, stop), places=stop - start - 1)


def _excess(batches: Batches, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses above the mean of start .. stop-1, and rows, summed up to each edge (n + 1,)."""
    rows = slice(batches.edges[start], batches.edges[stop])
    tokens, edges = batches.tokens[rows], batches.edges[start : stop + 1] - rows.start
    sums = sum_losses(batches.losses[rows], tokens)
    excess = np.cumsum(sums - tokens * (sums.sum() / max(tokens.sum(), 1)))
    return np.append(0.0, excess)[edges], edges


def _p_of_part(
    batches: Batches, start: int, stop: int, *, part: tuple[int, int], places: int
) -> float:
    """Two-sided p of batches part[0] .. part[1]-1 in start .. stop-1, times the `places` tried.

    A part is chosen by its distance in deviations, so Bonferroni's bound holds.
    """
    if places < 1:
        return 1.0
    edges, first, last = batches.edges, *batches.edges[list(part)]
    rows = np.r_[edges[start] : first, last : edges[stop], first:last]
    tokens, losses = batches.tokens[rows], batches.losses[rows]
    pool = Pools(*np.array([[0], [len(rows)], [last - first]]))
    p = min(float(share_as_high(sign * losses, tokens, pools=pool)[0]) for sign in (1, -1))
    return min(1.0, 2 * p * places)
