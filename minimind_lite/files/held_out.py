"""Rows that are kept back from training: their loss says what the model can, not what it has read.

They are evenly spaced over the file, so that each of its parts is among them, and the same rows
come back whenever the file is read again.

    N rows of a file   n of them held out
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minimind_lite.rows import EncodedRows


@dataclass(frozen=True)
class ChosenRows(EncodedRows):
    """Some rows of a set, whose tokens stay where they are: a file far larger than memory may be.

    Row i is ids[offsets[i]:stops[i]].
    """

    stops: np.ndarray  # (rows,) int64
    tokens: np.ndarray  # (rows,) int64, supervised tokens

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) and mask (T,) of conversation i."""
        span = slice(self.offsets[i], self.stops[i])
        return self.ids[span], self.mask[span]

    def lengths(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Tokens of each row (rows,), or of the given rows."""
        starts = self.offsets[:-1]
        return self.stops - starts if rows is None else self.stops[rows] - starts[rows]

    def supervised(self) -> np.ndarray:
        """Supervised tokens of each row (rows,)."""
        return self.tokens


def choose(data: EncodedRows, rows: np.ndarray) -> ChosenRows:
    """The given rows of a set, without a copy of their tokens."""
    stops = data.offsets[1:][rows]
    offsets = np.append(data.offsets[:-1][rows], stops[-1:])
    return ChosenRows(data.ids, data.mask, offsets, stops, data.supervised()[rows])


def spaced(n_rows: int, n: int) -> np.ndarray:
    """`n` row numbers, evenly spaced: the middle one of each n-th part of N rows."""
    return (2 * np.arange(n) + 1) * n_rows // (2 * n)


@dataclass(frozen=True)
class Split:
    """A file's rows in two: those to train on, and those that are held out."""

    train: EncodedRows
    held_out: EncodedRows
    rows: np.ndarray  # (n,) numbers of the latter in the file


def split(data: EncodedRows, n: int) -> Split:
    """Hold out `n` rows. Raises `ValueError` where less than half of the rows would be left."""
    if not 0 < 2 * n <= len(data):
        raise ValueError(
            f"half of the {len(data):,} conversations at most can be held out, got {n:,}."
        )
    rows = spaced(len(data), n)
    others = np.delete(np.arange(len(data)), rows)
    return Split(choose(data, others), data.select(rows), rows)
