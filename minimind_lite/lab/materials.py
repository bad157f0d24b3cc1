"""What every lab of a kernel reads: conversations, probes, recorded runs, the reader of steps.

Labs share it among themselves; with the last of them it is freed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.lab.inspect import Inspector
from minimind_lite.lab.plan import MODEL, RunSpec
from minimind_lite.lab.recordings import Recordings
from minimind_lite.lab.speed import Speed
from minimind_lite.optimizer import make_optimizer
from minimind_lite.records import Run


class Materials:
    """Read once. Any thread may ask; what is looked up or worked out is so under one lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._recordings = Recordings()
        self._inspector: Inspector | None = None
        self._warm: threading.Thread | None = None
        chat = shipped.chat()
        self.rows = shipped.sft_rows(chat)  # data/sft.jsonl, encoded
        self.probes = shipped.probes(chat)  # held-out conversations by domain
        self.segments = shipped.segments()  # ground truth: the off-domain segments of the file
        self.n_rows = len(self.rows)
        self.speed = Speed()

    def has(self, spec: RunSpec) -> bool:
        """Whether a run is recorded."""
        with self._lock:
            return self._recordings.has(spec)

    def run(self, spec: RunSpec) -> Run | None:
        """The recorded run of a spec; None where there is none."""
        with self._lock:
            return self._recordings.run(spec)

    def seeds(self, spec: RunSpec) -> Sequence[Run]:
        """The recorded runs of a spec over its seeds."""
        with self._lock:
            return self._recordings.seeds(spec)

    def inspector(self) -> Inspector:
        """The reader of steps, made when first needed; it holds a base model."""
        with self._lock:
            if self._inspector is None:
                self._inspector = Inspector(recordings=self._recordings)
            return self._inspector

    def warm_up(self) -> None:
        """Do in the background, once, what the first step would wait for, and time a batch."""
        with self._lock:
            if self._warm is None:
                self._warm = threading.Thread(target=self._do_warm_up, name="minimind-lite-warm-up")
                self._warm.start()  # no daemon: the interpreter waits for its second of work

    def wait(self, timeout: float) -> None:
        """Wait for the end of `warm_up`."""
        if self._warm is not None:
            self._warm.join(timeout)

    def _do_warm_up(self) -> None:
        model = shipped.base_model(MODEL)
        make_optimizer(model, TrainConfig())  # the first of a process makes torch load a great deal
        with suppress(RuntimeError):  # no pool can be made any more: the interpreter is going down
            self.speed.time_a_batch(model, self.rows)
