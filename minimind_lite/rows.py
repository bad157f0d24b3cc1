"""Rows in training order -> batches -> micro-batches -> tensors.

A batch is what the optimiser sees, a micro-batch is what the machine sees. Both cuts are
partitions: nothing is lost and nothing comes twice. Since the loss is a sum over tokens divided
by a count that is known beforehand, the second cut may follow the machine's convenience: equal
work for every core, and no more tokens at once than fit its cache. `pack` puts conversations end
to end, without padding; `collate` pads them, as the textbook does.

    B conversations of a micro-batch   T tokens of its longest, or of all   N conversations in all
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from minimind_lite.chat import EncodedRows

PARTS = 4  # micro-batches come in fours, so that two cores, or four, end together


def batches(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Cut an order (N,) into batches of `batch_size` rows; the last may be short."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def micro_batches(
    lengths: np.ndarray, *, micro_batch_size: int | None = None, token_budget: int = 1024
) -> list[np.ndarray]:
    """Cut a batch of conversations of `lengths` (B,) tokens: positions of each part, a partition of 0 .. B-1.

    With `micro_batch_size`, consecutive rows, as a data loader cuts them. Without, as many parts
    as keep to about `token_budget` tokens each (never more than that plus the longest row), a
    multiple of PARTS where there are rows enough, and as equal as Graham's rule makes them: the
    longest row first, each into the emptiest part (SIAM J. Appl. Math. 17, 1969).
    """
    if micro_batch_size is not None:
        return list(batches(np.arange(len(lengths)), micro_batch_size))
    if not len(lengths):
        return []
    wanted = -(-int(lengths.sum()) // (token_budget * PARTS)) * PARTS
    parts = [
        (0, i, []) for i in range(min(wanted, len(lengths)))
    ]  # (tokens, number, positions): a heap
    for position in np.argsort(-lengths, kind="stable"):
        tokens, i, positions = parts[0]
        heapq.heapreplace(parts, (tokens + int(lengths[position]), i, [*positions, int(position)]))
    return [np.array(positions) for _, _, positions in sorted(parts, key=lambda part: part[1])]


def pack(data: EncodedRows, rows: np.ndarray) -> tuple[Tensor, Tensor, list[int]]:
    """Some rows end to end, without padding: ids (1, T) int64, mask (1, T) bool, and their lengths.

    T is the sum of the lengths. No row's first token is supervised: nothing of its own comes before it.
    """
    rows = np.asarray(rows)
    lengths = data.lengths(rows)
    starts = np.cumsum(lengths) - lengths  # (B,) in the packed sequence
    flat = np.repeat(data.offsets[rows] - starts, lengths) + np.arange(lengths.sum())  # (T,)
    mask = data.mask[flat]
    mask[starts[lengths > 0]] = False
    return (
        torch.from_numpy(data.ids[flat].astype(np.int64))[None],
        torch.from_numpy(mask)[None],
        lengths.tolist(),
    )


def collate(
    data: EncodedRows, rows: np.ndarray, *, pad_to: int | None = None
) -> tuple[Tensor, Tensor]:
    """ids (B, T) int64 and mask (B, T) bool of some rows, padded on the right with id 0, mask False.

    T is the longest row, or `pad_to`. The id of padding does not matter: no real token sees it.
    """
    rows = np.asarray(rows)
    starts, lengths = data.offsets[rows], data.lengths(rows)
    column = np.arange(pad_to or lengths.max())  # (T,)
    real = column < lengths[:, None]  # (B, T)
    flat = np.where(real, starts[:, None] + column, 0)  # (B, T)
    ids = np.where(real, data.ids[flat], 0).astype(np.int64)
    return torch.from_numpy(ids), torch.from_numpy(data.mask[flat] & real)
