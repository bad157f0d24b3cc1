"""One run, as different training scripts would log it.

What they print is not always what the optimizer saw. A recorded run knows every step and every
micro-batch of it. From these, this module makes the curve that MiniMind's script prints, the last
micro-batch, means over an interval and an exponential moving average. For practice in reading it
also writes whole lines of a log.

    M micro-batches of a step   n steps between two lines
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minimind_lite import records
from minimind_lite.records import Run


@dataclass(frozen=True)
class Curve:
    """A curve as somebody plots it: losses in nats against conversations seen."""

    samples: np.ndarray  # (points,) conversations before the point
    values: np.ndarray  # (points,)


def micro_batch_size(run: Run) -> int:
    """Conversations of a micro-batch, as the first step was cut; a last one may be shorter."""
    first = run.records[0]
    return -(-len(first.rows) // len(first.micro_losses))


def full(run: Run) -> Curve:
    """Sum of losses / supervised tokens of every step: what one full batch would give."""
    return Curve(run.column("samples_seen"), run.loss)


def last_micro_batch(run: Run, size: int | None = None) -> Curve:
    """The last micro-batch of every step: what many scripts print. `size` as in `micro_sums`."""
    return Curve(
        run.column("samples_seen"), np.array([means[-1] for means in _micro_means(run, size)])
    )


def mean_of_means(run: Run, size: int | None = None) -> Curve:
    """Mean over the micro-batches of their token means: the loss of the usual code's gradient.

    `size` as in `micro_sums`.
    """
    return Curve(
        run.column("samples_seen"), np.array([means.mean() for means in _micro_means(run, size)])
    )


@dataclass(frozen=True)
class Line:
    """What MiniMind's script prints at once: one micro-batch, counted from the epoch's start."""

    epoch: int
    micro_batch: int
    samples: int  # conversations before it
    loss: float  # token mean inside it, nats
    lr: float


def printed(run: Run, every: int) -> list[Line]:
    """One micro-batch in `every`; the count starts again in each epoch, as the script's does."""
    size, done, epoch, printed_lines = micro_batch_size(run), 0, 0, []
    for record in run.records:
        if record.epoch != epoch:
            epoch, done = record.epoch, 0
        for k, loss in enumerate(record.micro_losses):
            if (done + k) % every == 0:
                samples = record.samples_seen + k * size
                printed_lines.append(Line(epoch, done + k, samples, float(loss), record.lr))
        done += len(record.micro_losses)
    return printed_lines


def minimind(run: Run, every: int, *, divided: bool = True) -> Curve:
    """One micro-batch in `every`, divided by the micro-batches of a step.

    So did MiniMind's train_full_sft.py, commit e7ed058. Since 2025-04-26 the value is multiplied
    back (`divided=False`); it is one micro-batch still.
    """
    parts = len(run.records[0].micro_losses) if divided else 1
    shown = printed(run, every)
    return Curve(
        np.array([line.samples for line in shown]), np.array([line.loss / parts for line in shown])
    )


def interval_mean(run: Run, every: int) -> Curve:
    """Token mean over each `every` steps, placed where they begin; the last may be fewer."""
    starts, tokens = np.arange(0, len(run), every), run.column("tokens")
    sums = np.add.reduceat(run.loss * tokens, starts)
    return Curve(run.column("samples_seen")[starts], sums / np.add.reduceat(tokens, starts))


def moving_average(run: Run, *, beta: float = 0.9) -> Curve:
    """Exponential moving average of the steps' losses, its start corrected as Adam's moments are.

    m <- beta m + (1 - beta) x, shown as m / (1 - beta^t). Without the division the first values
    would be (1 - beta) of the truth. Source: Kingma and Ba, arXiv 1412.6980, section 3. Raises
    `ValueError` for a beta outside 0 .. 1.
    """
    if not 0 <= beta < 1:
        raise ValueError(
            f"beta is the share of the past, 0 <= beta < 1, got {beta}; "
            "0.9 averages over about ten steps."
        )
    m, shown = 0.0, []
    for t, loss in enumerate(run.loss, start=1):
        m = beta * m + (1 - beta) * loss
        shown.append(m / (1 - beta**t))
    return Curve(run.column("samples_seen"), np.array(shown))


def lines(run: Run, every: int) -> list[str]:
    """What MiniMind's script of commit e7ed058 prints of a run, one micro-batch in `every`."""
    parts = len(run.records[0].micro_losses)
    epochs = 1 + max(record.epoch for record in run.records)
    of_epoch = np.bincount(
        run.column("epoch"), weights=[len(record.micro_losses) for record in run.records]
    )
    return [
        f"Epoch:[{line.epoch + 1}/{epochs}]({line.micro_batch}/{of_epoch[line.epoch]:.0f}) "
        f"loss:{line.loss / parts:.3f} lr:{line.lr:.12f}"
        for line in printed(run, every)
    ]


def micro_sums(run: Run, size: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per step, sums of losses (M,) and tokens (M,) of its micro-batches.

    They have `size` conversations each; by default as the step was cut.
    """
    return [
        records.micro_sums(
            r.sample_losses, r.sample_tokens, size or -(-len(r.rows) // len(r.micro_losses))
        )
        for r in run.records
    ]


def _micro_means(run: Run, size: int | None) -> list[np.ndarray]:
    """Per step, token means of its micro-batches, without those that have no supervised token."""
    if size is None:
        return [r.micro_losses[np.isfinite(r.micro_losses)] for r in run.records]
    return [sums[counts > 0] / counts[counts > 0] for sums, counts in micro_sums(run, size)]
