"""What a spike is made of: unfamiliar rows, what training did to them, and the low floor before.

Take two passes over one file in one order: a trained run and a frozen one. With L and L0 their
losses of the same rows, the height of the rows `new` over the rows `last` splits exactly in three:

    L(new) - L(last) =   L0(new) - L0(last)    unfamiliar: what a frozen model shows
                       + L(new)  - L0(new)     transferred (below 0) or forgotten (above 0)
                       + L0(last) - L(last)    specialized: how far the rows before have come down

A file is read as a sequence of blocks; Chinese rows between two segments are a block as well. At
the boundary of two blocks `new` is the first batch wholly inside the second one (where none is,
the batch with the largest share of it), and `last` are the last 160 rows of the first one that
were read in batches before any row of the second. So `last` never mixes domains: where a segment
starts in Chinese it is Chinese, and where the segment ends it is the segment.

    N conversations of a file
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np

from minimind_lite import segments
from minimind_lite.records import Run
from minimind_lite.science import laws
from minimind_lite.segments import MAIN, Segment

LAST_ROWS = 160  # ten batches of the usual size
TERMS = ("unfamiliar", "transferred", "specialized")


@dataclass(frozen=True)
class Terms:
    """A height and its three terms, in nats per supervised token: height = their sum."""

    height: float
    unfamiliar: float
    transferred: float  # below zero: training had helped; above: it had made these rows worse
    specialized: float

    @classmethod
    def of_losses(cls, *, new: float, last: float, frozen_new: float, frozen_last: float) -> Terms:
        """From the losses of two sets of rows under a trained and a frozen model, in nats."""
        return cls(
            height=new - last,
            unfamiliar=frozen_new - frozen_last,
            transferred=new - frozen_new,
            specialized=frozen_last - last,
        )

    def rounded(self, digits: int = 2) -> Terms:
        """Rounded so that the sum still holds: the term nearest to the next figure gives way."""
        height, *terms = (round(value, digits) for value in astuple(self))
        errors = [value - term for value, term in zip(astuple(self)[1:], terms)]
        rest = round(height - sum(terms), digits)
        step = 10.0**-digits if rest > 0 else -(10.0**-digits)
        by_error = sorted(range(len(terms)), key=lambda i: errors[i], reverse=rest > 0)
        for i in by_error[: round(rest / step)]:
            terms[i] = round(terms[i] + step, digits)
        return Terms(height, *terms)


@dataclass(frozen=True)
class Boundary:
    """Where a block ends and the next one begins."""

    before: Segment
    after: Segment
    terms: Terms

    @property
    def name(self) -> str:
        """For people: "code → English"."""
        return f"{self.before.name} → {self.after.name}"


def decompose(trained: Run, frozen: Run, *, new: np.ndarray, last: np.ndarray) -> Terms:
    """The terms of rows `new` over rows `last`, row numbers in the file, each at its step.

    Losses are token means over all rows of a set, from the first epoch. Raises `ValueError` where
    a run has not read one of the rows exactly once, where the runs read different files, or where
    the rows have no supervised token.
    """
    return _terms(_Epoch(trained), _Epoch(frozen), new=new, last=last)


def at_boundaries(trained: Run, frozen: Run) -> list[Boundary]:
    """Every boundary of two blocks that a pass in file order read, in file order.

    Left out is one before which no row was read in a batch of its block. Raises `ValueError` as
    `decompose` does, and for a trained run in another order.
    """
    first, base = _Epoch(trained), _Epoch(frozen)
    n_rows = len(first.rows)
    batches = np.split(first.rows, first.batch_start[1:])
    if (np.concatenate([np.sort(rows) for rows in batches]) != np.arange(n_rows)).any():
        raise ValueError(
            "boundaries are those of a pass in file order, got another order; "
            'take a run with order="file".'
        )
    boundaries = []
    for before, after in pairwise(_blocks(segments.of_run(trained), n_rows)):
        share = segments.share(trained, after)
        last = np.arange(before.start, first.batch_start[np.argmax(share > 0)])[-LAST_ROWS:]
        if share.any() and len(last):
            new = trained.records[int(np.argmax(share))].rows
            terms = _terms(first, base, new=new, last=last)
            boundaries.append(Boundary(before, after, terms))
    return boundaries


def of_runs(trained: Run, frozen: Run) -> dict[str, Terms]:
    """The terms where each segment (or block) starts, by its label. Raises as `at_boundaries`."""
    starts = {segment.start: segment.label for segment in segments.of_run(trained)}
    return {
        starts[boundary.after.start]: boundary.terms
        for boundary in at_boundaries(trained, frozen)
        if boundary.after.start in starts
    }


class _Epoch:
    """The first epoch of a run: rows, losses and tokens (N,) in training order."""

    def __init__(self, run: Run) -> None:
        records = [r for r in run.records if r.epoch == 0]
        self.rows = np.concatenate([r.rows for r in records])
        self.losses = np.concatenate([r.sample_losses for r in records])
        self.tokens = np.concatenate([r.sample_tokens for r in records])
        self.batch_start = np.cumsum([0, *(len(r.rows) for r in records)])[:-1]  # (steps,)

    def of_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses and tokens of some rows, ascending."""
        rows = np.unique(rows)
        places = np.flatnonzero(np.isin(self.rows, rows))
        places = places[np.argsort(self.rows[places], kind="stable")]
        if not np.array_equal(self.rows[places], rows):
            times = np.array([(self.rows == row).sum() for row in rows])
            wrong = int(np.flatnonzero(times != 1)[0])
            raise ValueError(
                f"every row must be read once in the first epoch, row {rows[wrong]} was read "
                f"{times[wrong]} times; take plain passes over the file."
            )
        return self.losses[places], self.tokens[places]


def _terms(trained: _Epoch, frozen: _Epoch, *, new: np.ndarray, last: np.ndarray) -> Terms:
    means = []
    for rows in (new, last):
        (losses, tokens), (base, base_tokens) = trained.of_rows(rows), frozen.of_rows(rows)
        if (tokens != base_tokens).any():
            raise ValueError(
                "the two runs must have read the same file: their rows have other numbers of "
                "supervised tokens. Take a trained and a frozen run of one layout."
            )
        means += [laws.token_mean(laws.sum_losses(each, tokens), tokens) for each in (losses, base)]
    return Terms.of_losses(new=means[0], frozen_new=means[1], last=means[2], frozen_last=means[3])


def _blocks(listed: Sequence[Segment], n_rows: int) -> list[Segment]:
    """The file as blocks end to end: the segments, and Chinese wherever rows are in none."""
    blocks, end = [], 0
    for segment in (*listed, Segment(MAIN, n_rows, n_rows)):
        if segment.start > end:
            blocks.append(Segment(MAIN, end, segment.start))
        if len(segment):
            blocks.append(segment)
        end = segment.stop
    return blocks
