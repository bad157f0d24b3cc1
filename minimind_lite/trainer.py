"""The training loop: one generator that yields a `StepRecord` per optimizer step.

    order -> batch -> micro-batches -> sum of losses / tokens of the batch -> backward -> one step

A generator pauses where its caller pauses, and stops when the caller stops asking. It knows no
detector, no plot and no widget; they read the records. The loss is divided by the supervised
tokens of the whole batch, known beforehand, so the gradient does not depend on how it is cut.

    B conversations of a batch   b of a micro-batch   M micro-batches   N conversations of the file
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minimind_lite import order
from minimind_lite.config import TrainConfig
from minimind_lite.loss import padded_cross_entropy
from minimind_lite.model import LanguageModel
from minimind_lite.optimizer import clip_gradient, learning_rate, make_optimizer, take_step
from minimind_lite.parallel import Workers, cut, forward_backward, workers_for
from minimind_lite.records import StepRecord, token_means
from minimind_lite.rows import EncodedRows, batches, collate

EVALUATION = TrainConfig(optimizer="none", token_budget=2048)  # no gradient: more tokens at once


class NonFiniteLoss(ArithmeticError):
    """Loss or gradient became NaN or infinite; the optimizer step was not taken."""

    def __init__(self, step: int, rows: np.ndarray, cause: str) -> None:
        super().__init__(
            f"loss or gradient is not finite at step {step}; stopped before the optimizer step. "
            f"Rows of the batch: {', '.join(map(str, rows))}. {cause}"
        )
        self.step, self.rows, self.cause = step, rows, cause


class Batch(NamedTuple):
    """The rows (B,) of one optimizer step, and where in the run it is."""

    step: int
    epoch: int
    samples_seen: int  # conversations before it
    rows: np.ndarray


class Measured(NamedTuple):
    """What was measured of one optimizer step."""

    lr: float
    grad_norm: float
    update_norm: float
    seconds: float
    probe_seconds: float


def train(
    model: LanguageModel,
    data: EncodedRows,
    config: TrainConfig,
    *,
    probes: Mapping[str, EncodedRows] | None = None,
    row_weights: np.ndarray | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    batches: Iterable[Batch] | None = None,
    total_steps: int | None = None,
    fast: bool = True,
) -> Iterator[StepRecord]:
    """Fine-tune `model` in place and yield a record per optimizer step.

    Held-out `probes` are measured every `probe_every` steps. `row_weights` (N,) multiply the loss
    of each conversation. To resume a run, give its `optimizer`, `total_steps` and last `batches`.
    `fast=False`: one padded micro-batch after the other. Raises `ValueError`, `NonFiniteLoss`.
    """
    supervised = data.supervised()  # (N,) tokens that count
    check_batches(supervised, config)
    optimizer = optimizer or make_optimizer(model, config)  # still None: a frozen model
    with workers_for(model) as workers:
        for batch in batches_of_run(len(data), config) if batches is None else batches:
            clock, rows = time.perf_counter(), batch.rows
            due = probes_due(probes, config, batch.step)
            held_out = {name: mean_loss(model, due[name], workers=workers) for name in due}
            start = time.perf_counter()
            weights = loss_weights(supervised[rows], config, factors=row_weights, rows=rows)
            model.zero_grad(set_to_none=True)
            if fast or optimizer is None:
                sums = forward_backward(model, data, rows, weights, config, workers)  # (B,) losses
            else:
                sums = np.empty(len(rows))
                for part in cut(data, rows, config):  # a micro-batch: positions in the batch, (b,)
                    part_sums = padded_losses(model, data, rows[part])  # (b,)
                    part_weights = part_sums.new_tensor(weights[part])  # 1 / tokens of the batch
                    (part_sums * part_weights).sum().backward()
                    sums[part] = part_sums.detach()
            grad_norm = clip_gradient(model, config)
            lr = learning_rate(config, batch.step, total_steps or config.total_steps(len(data)))
            check_finite(model, batch, sums, grad_norm, lr)
            update_norm = take_step(model, optimizer, lr)
            seconds = time.perf_counter() - start
            measured = Measured(lr, grad_norm, update_norm, seconds, start - clock)
            yield make_record(batch, config, sums, supervised[rows], measured, held_out)


def batches_of_run(n_rows: int, config: TrainConfig, *, start_step: int = 0) -> Iterator[Batch]:
    """The batches of all epochs from `start_step` on, up to `max_steps`."""

    def all_epochs() -> Iterator[Batch]:
        step = samples_seen = 0
        for epoch in range(config.epochs):
            rows_in_order = order.make(config.order, n_rows, seed=config.seed, epoch=epoch)
            for rows in batches(rows_in_order, config.batch_size):
                yield Batch(step, epoch, samples_seen, rows)
                step, samples_seen = step + 1, samples_seen + len(rows)

    return islice(all_epochs(), start_step, config.max_steps)


def check_batches(supervised: np.ndarray, config: TrainConfig) -> None:
    """Raise `ValueError` for data without rows, or a batch without a supervised token."""
    if not len(supervised):
        raise ValueError("there is nothing to train on: the data set has no rows.")
    empty = supervised == 0
    for batch in batches_of_run(len(supervised), config) if empty.any() else ():
        if empty[batch.rows].all():
            raise ValueError(
                f"step {batch.step} would have no supervised token in its rows "
                f"{', '.join(map(str, batch.rows))}: all their answers are empty or lie beyond "
                "max_seq_len. Raise it, or drop these rows."
            )


def loss_weights(
    counts: np.ndarray,
    config: TrainConfig,
    *,
    factors: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """What each conversation's summed loss counts in the loss of its batch, (B,).

    `counts` (B,) are supervised tokens. tokens: 1 / all tokens of the batch. micro_batches:
    1 / (M n_k), n_k the tokens of its micro-batch, which is MiniMind's mean of means; a
    micro-batch without a supervised token does not count. `factors` (N,) multiply the weights of
    their `rows` (B,): a quarter everywhere is a quarter of the loss and of the gradient.
    """
    if config.loss_average == "tokens":
        weights = np.ones(len(counts)) / counts.sum()
    else:
        index = micro_index(len(counts), config)
        part_counts = np.bincount(index, weights=counts)
        divisor = part_counts[index] * np.count_nonzero(part_counts)
        weights = np.divide(1.0, divisor, out=np.zeros(len(counts)), where=divisor > 0)
    return weights if factors is None else weights * np.asarray(factors, float)[rows]


def micro_index(n: int, config: TrainConfig) -> np.ndarray:
    """Which micro-batch a data loader would put each of the n rows in, (n,)."""
    return np.arange(n) // (config.micro_batch_size or config.batch_size)


def padded_losses(model: LanguageModel, data: EncodedRows, rows: np.ndarray) -> Tensor:
    """Sums of the losses (b,) of some conversations as textbooks do it: padded, head everywhere."""
    device = model.embedding.weight.device
    ids, mask = (torch.from_numpy(array).to(device) for array in collate(data, rows))  # (b, T)
    return padded_cross_entropy(model(ids), ids, mask)


def check_finite(
    model: LanguageModel, batch: Batch, sums: np.ndarray, grad_norm: float, lr: float
) -> None:
    """Raise `NonFiniteLoss`, with the likely cause, where the step would spoil the model."""
    frozen = all(parameter.grad is None for parameter in model.parameters())
    if np.isfinite(sums).all() and (frozen or math.isfinite(grad_norm)):
        return
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        cause = "the weights are no longer finite; start again from an earlier checkpoint."
    elif batch.step == 0:
        cause = "no update was made yet: a bad checkpoint, or a precision too small for its values."
    else:
        cause = (
            f"a learning rate that is too high (it was {lr:.2g}); lower it, warm up, or clip the "
            "gradient. If it comes back at the same rows with a smaller rate, read these rows."
        )
    raise NonFiniteLoss(batch.step, batch.rows, f"Likely cause: {cause}")


def make_record(
    batch: Batch,
    config: TrainConfig,
    sums: np.ndarray,
    tokens: np.ndarray,
    measured: Measured,
    held_out: Mapping[str, float],
) -> StepRecord:
    """A step's record from its sums of losses (B,) and supervised tokens (B,)."""
    part = micro_index(len(sums), config)
    part_sums, part_tokens = (np.bincount(part, weights=array) for array in (sums, tokens))
    return StepRecord(
        step=batch.step,
        epoch=batch.epoch,
        samples_seen=batch.samples_seen,
        loss=float(sums.sum() / tokens.sum()),
        tokens=int(tokens.sum()),
        lr=measured.lr,
        grad_norm=measured.grad_norm,
        update_norm=measured.update_norm,
        micro_losses=token_means(part_sums, part_tokens),
        rows=batch.rows,
        sample_losses=token_means(sums, tokens),
        sample_tokens=tokens,
        seconds=measured.seconds,
        probe_seconds=measured.probe_seconds,
        probes=held_out,
    )


def probes_due(
    probes: Mapping[str, EncodedRows] | None, config: TrainConfig, step: int
) -> Mapping[str, EncodedRows]:
    """The held-out sets that are measured before this step."""
    now = config.probe_every > 0 and step % config.probe_every == 0
    return probes if probes and now else {}


def sample_losses(
    model: LanguageModel, data: EncodedRows, *, workers: Workers | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Token-mean loss (N,) of every conversation under the model as it is; supervised tokens (N,).

    In nats; NaN for a conversation without a supervised token. Changes nothing. `workers` may be
    lent by a caller who has a pool open.
    """
    with nullcontext(workers) if workers else workers_for(model) as pool:
        sums = forward_backward(model, data, np.arange(len(data)), None, EVALUATION, pool)
    tokens = data.supervised()
    return token_means(sums, tokens), tokens


def mean_loss(model: LanguageModel, data: EncodedRows, *, workers: Workers | None = None) -> float:
    """Loss over all supervised tokens of a set, sum / count, in nats."""
    losses, tokens = sample_losses(model, data, workers=workers)
    return float(np.nansum(losses * tokens) / tokens.sum())


def batch_gradient(
    model: LanguageModel,
    data: EncodedRows,
    rows: np.ndarray,
    *,
    config: TrainConfig,
    workers: Workers,
) -> np.ndarray:
    """Leave the gradient of one batch in the parameters' `.grad`; its sums of losses (B,)."""
    weights = loss_weights(data.select(rows).supervised(), config)
    return forward_backward(model, data, rows, weights, config, workers)
