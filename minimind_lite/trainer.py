"""The training loop: one generator that yields a `StepRecord` per optimiser step.

    rows = order(epoch) -> batch -> micro-batches -> sum of losses / tokens of the batch -> backward -> one step

Being a generator, it pauses where its caller pauses, and stops, with the model in a consistent
state, when the caller stops asking. It knows no detector, no plot and no widget; they read the
records. The loss is divided by the supervised tokens of the whole batch, which are known before
the first forward pass, so the gradient is the full batch's however the batch is cut.

    B conversations of a batch   M micro-batches   N conversations of the file
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from minimind_lite import order
from minimind_lite.chat import EncodedRows
from minimind_lite.config import Scalar, TrainConfig
from minimind_lite.loss import sample_cross_entropy
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import Workers, available_cores
from minimind_lite.records import StepRecord
from minimind_lite.rows import batches, micro_batches, pack

EVAL_TOKEN_BUDGET = 2048  # tokens per forward pass where no gradient is kept
BF16_GAIN = 1.2  # what half precision must gain before its rounding is worth having


class NonFiniteLoss(ArithmeticError):
    """Loss or gradient became NaN or infinite; the optimiser step was not taken."""

    def __init__(self, step: int, rows: np.ndarray, cause: str) -> None:
        super().__init__(
            f"loss or gradient is not finite at step {step}; stopped before the optimiser step. "
            f"Rows of the batch: {', '.join(map(str, rows))}. {cause}"
        )
        self.step, self.rows, self.cause = step, rows, cause


def choose_device(name: str = "cpu") -> torch.device:
    """ "cpu" (the reference), "cuda", "mps", or "auto": CUDA if there is one, else the CPU, never MPS.

    Raises `ValueError` for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    kind = name.partition(":")[0]
    if not available.get(kind):
        raise ValueError(
            f"device {name!r} is not available here; available: "
            f"{', '.join(k for k, ok in available.items() if ok)}."
        )
    return torch.device(name)


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """Learning rate of optimiser step `step` (0-based).

    minimind_2025: lr/10 + lr/2 (1 + cos(pi t/T)), from 1.1 lr to 0.1 lr (train_full_sft.py at commit
    e7ed058); minimind: lr (0.1 + 0.45 (1 + cos(pi t/T))), from lr to 0.1 lr (trainer_utils.py, late
    2025). There t counts micro-batches, here optimiser steps: the same curve.
    """
    cosine = 1 + math.cos(math.pi * step / total_steps)
    factor = {"minimind_2025": 0.1 + 0.5 * cosine, "minimind": 0.1 + 0.45 * cosine, "constant": 1.0}
    return config.learning_rate * factor[config.schedule]


def make_optimizer(model: LanguageModel, config: TrainConfig) -> torch.optim.Optimizer | None:
    """AdamW or SGD over all parameters, weight decay on all of them as MiniMind has it; None if frozen."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
    return None


def workers_for(model: LanguageModel) -> Workers:
    """A pool that fits the device where the model lives."""
    return Workers(None if model.embedding.weight.device.type == "cpu" else 0)


def sample_losses(
    model: LanguageModel, data: EncodedRows, *, workers: Workers | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Token-mean loss (N,) of every conversation under the model as it is, and supervised tokens (N,).

    In nats; NaN for a conversation without a supervised token. Changes nothing. `workers` may be
    lent by a caller who has a pool open.
    """
    with nullcontext(workers) if workers else workers_for(model) as pool:
        sums = _sum_losses(
            model,
            data,
            np.arange(len(data)),
            None,
            TrainConfig(token_budget=EVAL_TOKEN_BUDGET),
            pool,
        )
    counts = data.supervised()
    return np.divide(sums, counts, out=np.full(len(data), np.nan), where=counts > 0), counts


def mean_loss(model: LanguageModel, data: EncodedRows, *, workers: Workers | None = None) -> float:
    """Loss over all supervised tokens of a set, sum / count, in nats."""
    losses, counts = sample_losses(model, data, workers=workers)
    return float(np.nansum(losses * counts) / counts.sum())


def train(
    model: LanguageModel,
    data: EncodedRows,
    config: TrainConfig,
    *,
    probes: Mapping[str, EncodedRows] | None = None,
    row_weights: np.ndarray | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    start_step: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[StepRecord]:
    """Fine-tune `model` in place, on the device where it lives, and yield a record per step.

    `probes` are held-out sets by name, measured every `config.probe_every` steps before the
    update. `row_weights` (N,) scale what each conversation counts for in the gradient; reported
    losses stay unweighted. To carry on with a run, give its `optimizer` and the `start_step`: order
    and schedule go on from there, and so does the curve. `should_stop` is asked before each step.
    With `config.optimizer` "none" the model stays as it is and the records show what a frozen model
    sees. Raises `NonFiniteLoss` before the optimiser could spread it, `ValueError` for an empty
    data set or an unknown order.
    """
    if not len(data):
        raise ValueError("there is nothing to train on: the data set has no rows.")
    optimizer, total = optimizer or make_optimizer(model, config), config.total_steps(len(data))
    supervised, seen = data.supervised(), 0
    factors = np.ones(len(data)) if row_weights is None else np.asarray(row_weights, float)
    with workers_for(model) as workers:
        for step, (epoch, rows) in enumerate(_batches_of_all_epochs(len(data), config)):
            if step < start_step:
                seen += len(rows)
                continue
            if should_stop():
                return
            start = time.perf_counter()
            measured = (
                {
                    name: mean_loss(model, probe, workers=workers)
                    for name, probe in (probes or {}).items()
                }
                if config.probe_every and step % config.probe_every == 0
                else {}
            )
            lr = learning_rate(config, step, total)
            sums, grad_norm = _optimise(
                model, data, rows, optimizer, lr, factors[rows], config, step, workers
            )
            yield StepRecord(
                step=step,
                epoch=epoch,
                samples_seen=seen,
                rows=rows,
                lr=lr,
                grad_norm=grad_norm,
                probes=measured,
                **_losses(sums, supervised[rows], config),
                seconds=time.perf_counter() - start,
            )
            seen += len(rows)


def batch_gradient(
    model: LanguageModel, data: EncodedRows, rows: np.ndarray, config: TrainConfig, workers: Workers
) -> np.ndarray:
    """Leave the gradient of one batch in the parameters' `.grad`; returns its sums of losses (B,), in nats."""
    return _sum_losses(
        model,
        data,
        rows,
        _weights(data.supervised()[rows], np.ones(len(rows)), config),
        config,
        workers,
    )


def faster_precision(
    model: LanguageModel, data: EncodedRows, config: TrainConfig, *, rounds: int = 3
) -> tuple[str, str]:
    """ "bf16" where a batch of `data` is at least BF16_GAIN times as quick in it as in fp32, else "fp32"; and a sentence.

    Measured here and now, in turn, by medians: what a processor claims to support says little of
    what a small model gains from it.
    """
    rows, seconds = np.arange(min(config.batch_size, len(data))), {"fp32": [], "bf16": []}
    with workers_for(model) as workers:
        for _ in range(rounds + 1):  # the first warms up
            for precision, times in seconds.items():
                start = time.perf_counter()
                batch_gradient(model, data, rows, config.replace(precision=precision), workers)
                times.append(time.perf_counter() - start)
                model.zero_grad(set_to_none=True)
    fp32, bf16 = (float(np.median(times[1:])) for times in seconds.values())
    choice = "bf16" if fp32 >= BF16_GAIN * bf16 else "fp32"
    return choice, (
        f"precision: {choice}, since a batch takes {1000 * fp32:.0f} ms in fp32 and {1000 * bf16:.0f} ms in bf16 "
        f"here (bf16 must gain {BF16_GAIN:g} times or more)."
    )


def _batches_of_all_epochs(n_rows: int, config: TrainConfig) -> Iterator[tuple[int, np.ndarray]]:
    """(epoch, rows) of every optimiser step, up to `max_steps`."""
    steps = (
        (epoch, rows)
        for epoch in range(config.epochs)
        for rows in batches(
            order.make(config.order, n_rows, seed=config.seed, epoch=epoch), config.batch_size
        )
    )
    return islice(steps, config.max_steps)


def _optimise(
    model: LanguageModel,
    data: EncodedRows,
    rows: np.ndarray,
    optimizer: torch.optim.Optimizer | None,
    lr: float,
    factors: np.ndarray,
    config: TrainConfig,
    step: int,
    workers: Workers,
) -> tuple[np.ndarray, float]:
    """One optimiser step: sums of losses (B,) before it, and the gradient's norm before clipping."""
    counts = data.select(rows).supervised()  # of these rows alone
    if not (counts * factors).any():
        raise ValueError(
            f"step {step}: no supervised token in rows {', '.join(map(str, rows))}; "
            "all answers lie beyond max_seq_len, or weigh nothing. Raise it or drop these rows."
        )
    if optimizer is None:
        sums, grad_norm = _sum_losses(model, data, rows, None, config, workers), float("nan")
    else:
        optimizer.zero_grad(set_to_none=True)
        sums = _sum_losses(model, data, rows, _weights(counts, factors, config), config, workers)
        # An infinite limit clips nothing and still returns the norm.
        grad_norm = float(
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip or math.inf)
        )
    if (
        not np.isfinite(sums).all()
        or math.isinf(grad_norm)
        or (optimizer is not None and math.isnan(grad_norm))
    ):
        raise NonFiniteLoss(step, rows, _likely_cause(model, step, lr))
    if optimizer is not None:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    return sums, grad_norm


def _sum_losses(
    model: LanguageModel,
    data: EncodedRows,
    rows: np.ndarray,
    weights: np.ndarray | None,
    config: TrainConfig,
    workers: Workers,
) -> np.ndarray:
    """Sums of losses (B,) of a batch; with `weights` (B,), its gradient is left in the parameters' `.grad`.

    Gradients are taken per micro-batch and added in a fixed order, not by `backward`, which would
    add them as the workers happen to finish.
    """
    device, parameters, sums = (
        model.embedding.weight.device,
        list(model.parameters()),
        np.empty(len(rows)),
    )

    def one(part: np.ndarray) -> tuple[np.ndarray, Tensor, tuple[Tensor, ...]]:
        ids, mask, lengths = pack(data, rows[part])  # (1, T)
        ids, mask = ids.to(device), mask.to(device)
        # Both are settings of each thread.
        with (
            torch.set_grad_enabled(weights is not None),
            torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"),
        ):
            hidden = model.hidden(ids, lengths=lengths)  # (1, T, C)
            part_sums = sample_cross_entropy(hidden, model.head, ids, mask, lengths)  # (b,)
            if weights is None:
                return part, part_sums, ()
            share = (part_sums * torch.from_numpy(weights[part]).to(part_sums)).sum()
            return part, part_sums.detach(), torch.autograd.grad(share, parameters)

    parts = micro_batches(
        data.lengths(rows),
        micro_batch_size=config.micro_batch_size,
        token_budget=config.token_budget,
    )
    for part, part_sums, gradients in workers.map(one, parts):
        sums[part] = part_sums.cpu().numpy()
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return sums


def _micro_index(n: int, config: TrainConfig) -> np.ndarray:
    """Which micro-batch a data loader would put each of the n rows in, (n,)."""
    return np.arange(n) // (config.micro_batch_size or config.batch_size)


def _weights(counts: np.ndarray, factors: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Weight (B,) of each conversation's summed loss in the batch loss; `counts` (B,) are its tokens, `factors` (B,) what one counts.

    tokens: 1 / all tokens. micro_batches: 1 / (M n_k), n_k the tokens of its micro-batch, which is
    MiniMind's mean of means; micro-batches without a supervised token do not count.
    """
    counts = counts * factors
    if config.loss_average == "tokens":
        return factors / counts.sum()
    part_counts = np.bincount(_micro_index(len(counts), config), weights=counts)
    own = part_counts[_micro_index(len(counts), config)]
    return np.divide(
        factors, own * np.count_nonzero(part_counts), out=np.zeros(len(counts)), where=own > 0
    )


def _losses(
    sums: np.ndarray, counts: np.ndarray, config: TrainConfig
) -> dict[str, float | int | np.ndarray]:
    part = _micro_index(len(counts), config)
    part_sums, part_counts = np.bincount(part, weights=sums), np.bincount(part, weights=counts)
    mean = lambda s, n: np.divide(s, n, out=np.full(len(s), np.nan), where=n > 0)
    return {
        "loss": float(sums.sum() / counts.sum()),
        "tokens": int(counts.sum()),
        "micro_losses": mean(part_sums, part_counts),
        "sample_losses": mean(sums, counts),
        "sample_tokens": counts,
    }


def _likely_cause(model: LanguageModel, step: int, lr: float) -> str:
    if not all(p.isfinite().all() for p in model.parameters()):
        return "Likely cause: the weights themselves are no longer finite; start again from a sound checkpoint."
    if step == 0:
        return "Likely cause: no update was made yet, so look at the checkpoint, or at a precision too small for its values."
    return (
        f"Likely cause: a learning rate that is too high (it was {lr:.2g}); lower it, warm up, or clip the gradient. "
        "If it comes back at the same rows with a smaller rate, read these rows."
    )


def describe(model: LanguageModel, config: TrainConfig, **more: Scalar) -> dict[str, object]:
    """What a run was and where it ran, ready for JSON: the `info` of a `Run`."""
    return {
        "model_config": model.config.to_dict(),
        "train_config": config.to_dict(),
        **more,
        "environment": {
            "device": model.embedding.weight.device.type,
            "cores": available_cores(),
            "machine": platform.machine(),
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
        },
    }
