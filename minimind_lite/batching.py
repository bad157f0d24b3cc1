"""Rows in training order -> batches -> micro-batches -> tensors.

A batch is what the optimiser sees, a micro-batch is what the machine sees. Both cuts are
partitions: nothing is lost and nothing comes twice. Since the loss is a sum over tokens divided
by a count that is known beforehand, the second cut may follow the machine's convenience:
similar lengths together, and no more padded tokens at once than fit its cache.

    B conversations of a micro-batch   T tokens of its longest   N conversations in all
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .chat import EncodedRows


def batches(order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Cut an order (N,) into batches of `batch_size` rows; the last may be short."""
    for start in range(0, len(order), batch_size):
        yield order[start:start + batch_size]


def micro_batches(rows: np.ndarray, lengths: np.ndarray, *, micro_batch_size: int | None = None,
                  token_budget: int = 512) -> list[np.ndarray]:
    """Positions within `rows` of each micro-batch, a partition of 0 .. len(rows)-1.

    With `micro_batch_size`, consecutive rows, as a data loader cuts them. Without, rows are
    sorted by length and cut so that rows x longest <= `token_budget` (a single longer row stands
    alone). `lengths` (N,) are the tokens of every row of the data set.
    """
    if micro_batch_size is not None:
        return list(batches(np.arange(len(rows)), micro_batch_size))
    by_length = np.argsort(lengths[rows], kind="stable")
    parts, start = [], 0
    for end, position in enumerate(by_length):
        if end > start and (end - start + 1) * lengths[rows[position]] > token_budget:
            parts.append(by_length[start:end])
            start = end
    return [*parts, by_length[start:]] if len(rows) else []


def collate(data: EncodedRows, rows: np.ndarray, *, pad_to: int | None = None) -> tuple[Tensor, Tensor]:
    """ids (B, T) int64 and mask (B, T) bool of some rows, padded on the right with id 0, mask False.

    T is the longest row, or `pad_to`. The id of padding does not matter: no real token sees it.
    """
    rows = np.asarray(rows)
    starts, lengths = data.offsets[rows], data.lengths(rows)
    column = np.arange(pad_to or lengths.max())                  # (T,)
    real = column < lengths[:, None]                             # (B, T)
    flat = np.where(real, starts[:, None] + column, 0)           # (B, T)
    ids = np.where(real, data.ids[flat], 0).astype(np.int64)
    return torch.from_numpy(ids), torch.from_numpy(data.mask[flat] & real)
