"""The fast way through a batch (B conversations): a micro-batch (b) per core.

A small model's matrices are too small to be cut between cores: the cores would wait for each
other after every product. Micro-batches need nothing of each other until their gradients are
added, so each worker takes a whole one, on a single thread. Gradients are added in the order of
the micro-batches, whichever worker ends first: a run is the same to the last bit for any number
of workers up to four. `trainer.train` has the textbook form beside it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from minimind_lite.config import TrainConfig
from minimind_lite.loss import sample_cross_entropy
from minimind_lite.model import LanguageModel
from minimind_lite.rows import MULTIPLE, EncodedRows, micro_batches, pack

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count() -> int:
    """MINIMIND_LITE_WORKERS, or the cores that this process may use. Raises `ValueError`."""
    if chosen := os.environ.get("MINIMIND_LITE_WORKERS"):
        if not chosen.isdecimal() or len(chosen) > 4 or int(chosen) < 1:
            needs = "MINIMIND_LITE_WORKERS must be a whole number of threads, 1 to 9999"
            raise ValueError(f"{needs}, got {chosen[:40]!r}.")
        return int(chosen)
    return available_cores()


def available_cores() -> int:
    """Cores that this process may use; a container or a batch system may grant fewer than all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Operations of the calling thread on one core, for a while: sums in a fixed order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Workers:
    """A pool of `n` threads that map a function over items; use it as a context manager.

    `n` defaults to `worker_count()`. Python threads do, since torch releases the interpreter lock
    while it computes. On an accelerator, which runs one stream of work, pass n = 0: everything
    then runs in the calling thread.
    """

    def __init__(self, n: int | None = None) -> None:
        self.n = worker_count() if n is None else n
        self._pool = ThreadPoolExecutor(self.n) if self.n else None
        if self._pool is not None:
            self._use_one_thread_each(self._pool)

    def _use_one_thread_each(self, pool: ThreadPoolExecutor) -> None:
        # `set_num_threads` sets the calling thread and the default of threads that have not
        # computed yet. Asking for the number makes a thread take the default for good, so after
        # that the default is put back, and the rest of the process never notices.
        everyone_is_here = threading.Barrier(self.n)

        def settle() -> None:
            torch.get_num_threads()
            everyone_is_here.wait()

        with one_thread():
            for settled in [pool.submit(settle) for _ in range(self.n)]:
                settled.result()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, at most 2 n of them waiting. Raises their errors."""
        if self._pool is None:
            yield from map(function, items)
            return
        pending: deque[Future[Result]] = deque()
        for item in items:
            if len(pending) == 2 * self.n:  # a result may be a whole gradient: few at once
                yield pending.popleft().result()
            pending.append(self._pool.submit(function, item))
        while pending:
            yield pending.popleft().result()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def packed_losses(
    model: LanguageModel, data: EncodedRows, rows: np.ndarray, *, precision: str = "fp32"
) -> Tensor:
    """Sums of the losses (b,) of some conversations in one packed forward pass, in nats."""
    device = model.embedding.weight.device
    packed_ids, packed_mask, lengths = pack(data, rows)
    ids = torch.from_numpy(packed_ids).to(device)  # (1, T)
    mask = torch.from_numpy(packed_mask).to(device)  # (1, T)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        hidden = model.hidden(ids, lengths=lengths)  # (1, T, C)
        return sample_cross_entropy(hidden, model.head, ids, mask, lengths)


def cut(
    data: EncodedRows, rows: np.ndarray, config: TrainConfig, *, n_workers: int = 1
) -> list[np.ndarray]:
    """The micro-batches of a batch, as positions in it (b,): as many as the workers ask for.

    In multiples of four up to four workers, so that one, two or four give the same bits.
    """
    return micro_batches(
        data.lengths(rows),
        micro_batch_size=config.micro_batch_size,
        token_budget=config.token_budget,
        multiple=MULTIPLE * max(1, -(-n_workers // MULTIPLE)),
    )


def forward_backward(
    model: LanguageModel,
    data: EncodedRows,
    rows: np.ndarray,
    weights: np.ndarray | None,
    config: TrainConfig,
    workers: Workers,
) -> np.ndarray:
    """Sums of losses (B,) of a batch, in nats; its gradient is added to the parameters' `.grad`.

    `weights` (B,) is what each conversation's summed loss counts in the loss of the batch, for
    instance 1 / tokens of the batch. Without weights, or for a frozen model, there is no
    gradient. Gradients are taken per micro-batch and added in a fixed order, not by `backward`,
    which would add them as the workers end.
    """
    sums, parameters = np.empty(len(rows)), list(model.parameters())
    shares = None if weights is None or config.optimizer == "none" else torch.from_numpy(weights)

    def micro_batch(part: np.ndarray) -> tuple[np.ndarray, Tensor, Sequence[Tensor]]:
        with torch.set_grad_enabled(shares is not None):  # a setting of each thread
            part_sums = packed_losses(model, data, rows[part], precision=config.precision)  # (b,)
            if shares is None:
                return part, part_sums, ()
            loss = (part_sums * shares[part].to(part_sums)).sum()
            return part, part_sums.detach(), torch.autograd.grad(loss, parameters)

    for part, part_sums, gradients in workers.map(
        micro_batch, cut(data, rows, config, n_workers=workers.n)
    ):
        sums[part] = part_sums.cpu().numpy()
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return sums


def workers_for(model: LanguageModel) -> Workers:
    """A pool that fits the device where the model lives."""
    return Workers(None if model.embedding.weight.device.type == "cpu" else 0)
