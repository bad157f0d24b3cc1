"""What training leaves behind: a record per optimizer step, and a run as their sequence.

The row numbers are the heart of it: they join a spike in the curve to the conversations that made
it. A *step* is the number that the trainer gave; a *position* is the place in the record. They
differ where a run was resumed, rolled back or thinned, so whatever looks into a record goes by
position. No torch here: a run can be read where no model can.

    N conversations   M micro-batches of a step   B conversations of a step
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step. Losses are in nats per supervised token, before the step's update."""

    step: int  # 0-based, over all epochs
    epoch: int  # 0-based
    samples_seen: int  # conversations before this step
    loss: float  # sum of losses / supervised tokens of the whole batch
    tokens: int  # supervised tokens of the batch
    lr: float  # learning rate of this step's update
    grad_norm: float  # global L2 norm before clipping; NaN for a frozen model
    micro_losses: np.ndarray  # (M,) token mean of each micro-batch, as a data loader cuts them
    rows: np.ndarray  # (B,) row numbers in the file, in training order
    sample_losses: np.ndarray  # (B,) token mean of each conversation; NaN without supervised token
    sample_tokens: np.ndarray  # (B,) supervised tokens of each conversation
    seconds: float = 0.0  # wall time of the step, without the probes
    probe_seconds: float = 0.0  # wall time of measuring the probes
    update_norm: float = math.nan  # L2 norm of the change of the weights; NaN in old recordings
    probes: Mapping[str, float] = field(default_factory=dict)  # held-out losses before the update


@dataclass(frozen=True)
class Run:
    """A whole run: `info` about it, its step records, and columns over them."""

    info: Mapping[str, Any]  # JSON-ready: train_config, model_config, seeds, versions ...
    records: tuple[StepRecord, ...]

    def __len__(self) -> int:
        return len(self.records)

    def column(self, name: str) -> np.ndarray:
        """One value per record (steps,): `step`, `loss`, `lr`, `grad_norm`, `samples_seen` ..."""
        return np.array([getattr(r, name) for r in self.records])

    @property
    def loss(self) -> np.ndarray:
        """Loss of each record (steps,), in nats."""
        return self.column("loss")

    def probe(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions at which a probe was measured, and its loss there, in nats."""
        positions = [i for i, r in enumerate(self.records) if name in r.probes]
        losses = [self.records[i].probes[name] for i in positions]
        return np.array(positions, dtype=int), np.array(losses, dtype=float)

    def probe_names(self) -> list[str]:
        """Names of all probes that were measured at least once."""
        return sorted({name for r in self.records for name in r.probes})

    def every(self, n: int, first: int = 0) -> Run:
        """What a log shows that keeps one record in `n`, from position `first` on."""
        return Run(self.info, self.records[first::n])

    def losses_by_row(self, n_rows: int, epoch: int = 0) -> np.ndarray:
        """Loss of each conversation at its own step, in file order (N,); NaN if it was not read."""
        losses = np.full(n_rows, np.nan)
        for r in self.records:
            if r.epoch == epoch:
                losses[r.rows] = r.sample_losses
        return losses


def micro_sums(losses: np.ndarray, tokens: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Summed losses (M,) and tokens (M,) of micro-batches of `size` conversations.

    From token means (B,) and tokens (B,) of the conversations.
    """
    starts = np.arange(0, len(losses), size)
    sums = np.where(tokens > 0, losses, 0.0) * tokens
    return np.add.reduceat(sums, starts), np.add.reduceat(tokens, starts)


def token_means(sums: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Sums divided by tokens; NaN where there is no token."""
    return np.divide(sums, tokens, out=np.full(len(sums), np.nan), where=tokens > 0)
