"""Ctrl-C as a wish: the step in flight is finished first, so what is saved is whole."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType


class StopWish:
    """While it is entered, the first Ctrl-C or SIGTERM sets `wished`; the second one interrupts.

    Only the main thread hears signals; elsewhere nothing is changed, and `wished` stays False
    unless somebody sets it.
    """

    def __init__(self) -> None:
        self.wished = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopWish:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True
        print("finishing this step, then stopping; once more stops at once", file=sys.stderr)
