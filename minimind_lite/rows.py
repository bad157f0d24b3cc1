"""Encoded rows -> batches -> micro-batches: what is read together, and in what pieces.

A batch is what the optimizer sees, a micro-batch is what the machine sees. Both cuts are
partitions: nothing is lost and nothing comes twice. The loss is a sum over tokens divided by a
count that is known beforehand, so the second cut may follow the machine's convenience: equal work
for every core, and no more tokens at once than fit its cache. `collate` pads conversations, as the
textbook does; `pack` puts them end to end, without padding.

    b conversations of a micro-batch   T tokens of its longest, or of all   N conversations in all
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MULTIPLE = 4  # parts come in fours: one, two or four cores get equal work, and the same bits
BLOCK_TOKENS = 1 << 20  # tokens of a mask that are counted at once


@dataclass(frozen=True)
class EncodedRows:
    """N encoded conversations as three flat arrays: row i is ids[offsets[i]:offsets[i+1]].

    One entry per token of the whole set, so a file of millions of rows is three arrays and no
    Python objects. `mask` is True where the token is to be predicted.
    """

    ids: np.ndarray  # (tokens of all rows,) uint16 or int32
    mask: np.ndarray  # (tokens of all rows,) bool
    offsets: np.ndarray  # (N + 1,) int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) and mask (T,) of conversation i."""
        span = slice(self.offsets[i], self.offsets[i + 1])
        return self.ids[span], self.mask[span]

    def lengths(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Tokens of each row (N,), or of the given rows without computing the others."""
        starts, stops = self.offsets[:-1], self.offsets[1:]
        return stops - starts if rows is None else stops[rows] - starts[rows]

    def supervised(self) -> np.ndarray:
        """Supervised tokens of each row (N,).

        A row's first token never counts: nothing comes before it to predict it from.
        """
        counts = np.empty(len(self), np.int64)
        # Running sums take 8 bytes a token, so a large file is counted block by block.
        wanted = np.arange(0, self.offsets[-1] + 1, BLOCK_TOKENS)
        edges = np.unique(np.searchsorted(self.offsets, wanted))
        for first, last in zip(edges, [*edges[1:], len(self)]):
            offsets = self.offsets[first : last + 1]
            mask = self.mask[offsets[0] : offsets[-1]]
            total = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])  # before each token
            starts, stops = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
            counts[first:last] = total[stops] - total[np.minimum(starts + 1, stops)]
        return counts

    def select(self, rows: Sequence[int] | np.ndarray) -> EncodedRows:
        """A new set of the given rows, in the given order."""
        places, offsets = self.flat_places(np.asarray(rows, dtype=np.int64))
        return EncodedRows(self.ids[places], self.mask[places], offsets)

    def flat_places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the tokens of some rows (T,), end to end, and where each row starts."""
        lengths = self.lengths(rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return places, offsets


def batches(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Cut an order (N,) into batches of `batch_size` rows; the last may be short."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def micro_batches(
    lengths: np.ndarray,
    *,
    micro_batch_size: int | None = None,
    token_budget: int = 1024,
    multiple: int = MULTIPLE,
) -> list[np.ndarray]:
    """Cut a batch of conversations of `lengths` (B,) tokens into a partition of 0 .. B-1.

    With `micro_batch_size`, consecutive rows, as a data loader cuts them. Without, tokens /
    `token_budget` parts, rounded up to a `multiple`, at most one a row. The longest row goes
    first, each into the emptiest part (Graham, SIAM J. Appl. Math. 17, 1969).
    """
    if micro_batch_size is not None:
        return list(batches(np.arange(len(lengths)), micro_batch_size))
    n_parts = min(multiple * -(-int(lengths.sum()) // (token_budget * multiple)), len(lengths))
    members: list[list[int]] = [[] for _ in range(n_parts)]
    emptiest = [(0, part) for part in range(n_parts)]  # a heap of (tokens, part)
    for position in np.argsort(-lengths, kind="stable"):
        tokens, part = emptiest[0]
        members[part].append(int(position))
        heapq.heapreplace(emptiest, (tokens + int(lengths[position]), part))
    return [np.array(positions) for positions in members]


def pack(data: EncodedRows, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Some rows end to end, without padding: ids (1, T) int64, mask (1, T) bool, their lengths.

    T is the sum of the lengths. No row's first token is supervised: nothing of its own comes
    before it.
    """
    places, offsets = data.flat_places(np.asarray(rows))
    mask = data.mask[places]
    lengths = np.diff(offsets)
    mask[offsets[:-1][lengths > 0]] = False
    return data.ids[places].astype(np.int64)[None], mask[None], lengths.tolist()


def collate(
    data: EncodedRows, rows: np.ndarray, *, pad_to: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """ids (b, T) int64 and mask (b, T) bool of some rows, padded on the right (id 0, mask False).

    T is the longest row, or `pad_to`. The id of padding does not matter: no real token sees it.
    Raises `ValueError` where `pad_to` would cut a row.
    """
    rows = np.asarray(rows)
    starts, lengths = data.offsets[rows], data.lengths(rows)
    longest = int(lengths.max(initial=0))
    if pad_to is not None and pad_to < longest:
        raise ValueError(f"pad_to = {pad_to} would cut a row of {longest} tokens; raise it.")
    column = np.arange(pad_to or longest)  # (T,)
    real = column < lengths[:, None]  # (b, T)
    places = np.where(real, starts[:, None] + column, 0)  # (b, T)
    return np.where(real, data.ids[places], 0).astype(np.int64), data.mask[places] & real
