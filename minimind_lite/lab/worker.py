"""A run that trains on a thread of its own, only as long as somebody asks for more.

A notebook's kernel does one thing at a time: while it trains it cannot hear a button. So the
training loop runs on its own thread, on a *lease*: whoever watches renews it, a moment at a time,
and takes the records that have come in. Pause and Stop are heard at once, since the watcher's
thread is never busy; a page that was closed renews nothing, and training ends with the lease.
The thread touches no widget and no figure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import torch

from minimind_lite.records import StepRecord


class Closed(Exception):
    """The run was closed while a step was in flight; nobody wants the rest of it."""


class LiveRun:
    """Step records as they come from a thread; nothing is trained before `lease` or `allow`.

    `begin` makes the records (so that even loading the model is the thread's work); it is given the
    run, whose `check` it may call in the middle of a step. `after` is an earlier run that was closed:
    its end is waited for, so that two never train at once.
    """

    def __init__(
        self, begin: Callable[[LiveRun], Iterator[StepRecord]], *, after: LiveRun | None = None
    ) -> None:
        self._begin, self._after = begin, after
        self._changed = threading.Condition()
        self._until, self._allowed, self._closed = 0.0, 0, False
        self._records: list[StepRecord] = []
        self._ended, self._error, self._busy = False, None, False
        self._thread = threading.Thread(
            target=self._work, name="minimind-lite-training", daemon=True
        )
        self._thread.start()

    @property
    def ended(self) -> bool:
        """`take` has nothing more to give, ever: all records are taken, or it was closed."""
        with self._changed:
            return self._ended and not self._records and self._error is None

    @property
    def busy(self) -> bool:
        """Whether a step is in flight."""
        with self._changed:
            return self._busy and not self._ended

    def lease(self, seconds: float) -> None:
        """Train for as many seconds from now on; a later call sets the end anew, 0 pauses after the step in flight."""
        with self._changed:
            self._until = time.monotonic() + seconds
            if not seconds:
                self._allowed = 0
            self._changed.notify_all()

    def allow(self, steps: int) -> None:
        """Train so many steps more, however long they take."""
        with self._changed:
            self._allowed += steps
            self._changed.notify_all()

    def take(self, *, wait: float = 0.0) -> list[StepRecord]:
        """Records that have come since the last call; waits up to `wait` seconds for one. Raises what training raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._records or self._ended, timeout=wait)
            taken, self._records = self._records, []
            if not taken and self._error is not None:
                error, self._error = self._error, None
                raise error
            return taken

    def close(self) -> None:
        """End it; returns at once. The step in flight is thrown away."""
        with self._changed:
            self._closed, self._ended, self._records = True, True, []
            self._changed.notify_all()

    def check(self) -> None:
        """Raises `Closed` where the run was closed; may be called from any thread, as often as one likes."""
        if self._closed:
            raise Closed

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _wanted(self) -> bool:
        return self._allowed > 0 or time.monotonic() < self._until

    def _work(self) -> None:
        torch.set_num_threads(1)  # a setting of each thread; as in the recorded runs
        if self._after is not None:
            self._after.join()
            self._after = None
        steps: Iterator[StepRecord] | None = None
        try:
            while self._may_go_on():
                steps = steps or self._begin(self)
                self._put(next(steps, None))
        except Closed:
            pass
        except Exception as error:  # whatever it is, it belongs to whoever takes the records
            with self._changed:
                self._error, self._ended = error, True
                self._changed.notify_all()
        finally:
            if hasattr(steps, "close"):
                steps.close()  # here, on the thread that ran it, so that its workers end with it

    def _may_go_on(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._wanted())
            self._busy = not self._ended
            return self._busy

    def _put(self, record: StepRecord | None) -> None:
        with self._changed:
            self._allowed, self._busy = max(0, self._allowed - 1), False
            if self._closed:
                return
            if record is None:
                self._ended = True
            else:
                self._records.append(record)
            self._changed.notify_all()
