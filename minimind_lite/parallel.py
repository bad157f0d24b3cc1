"""Micro-batches side by side: one per core, each on a single thread.

A small model's matrices are too small to be cut between cores: the cores would wait for each
other after every product. A batch, however, falls into micro-batches that need nothing of each
other until their gradients are added. So each worker takes a whole one. Results come back in
the order of the work, whatever finished first, so sums, and with them whole runs, are the same
to the last bit for any number of workers.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Cores that this process may use (a container or a batch system may grant fewer than there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A pool of `n` threads that map a function over items; use it as a context manager.

    `n` defaults to the cores at hand, or to MINIMIND_LITE_WORKERS. Python threads do, since
    torch releases the interpreter lock while it computes. On an accelerator, which runs one
    stream of work, pass n = 0: everything then runs in the calling thread.
    """

    def __init__(self, n: int | None = None) -> None:
        self.n = (
            int(os.environ.get("MINIMIND_LITE_WORKERS") or available_cores()) if n is None else n
        )
        # The number of threads inside an operation is a setting of each thread; the caller's stays as it is.
        self._pool = (
            ThreadPoolExecutor(self.n, initializer=torch.set_num_threads, initargs=(1,))
            if self.n
            else None
        )

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, at most 2 n of them waiting. An error in any is raised here."""
        if self._pool is None:
            yield from map(function, items)
            return
        pending: deque[Future[Result]] = deque()
        for item in items:
            if (
                len(pending) == 2 * self.n
            ):  # a result may be a whole gradient: never more than a few at once
                yield pending.popleft().result()
            pending.append(self._pool.submit(function, item))
        while pending:
            yield pending.popleft().result()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
