"""About how long a run takes on this machine: an estimate that every run corrects."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from minimind_lite.lab.plan import PROBE_ROWS, RunSpec
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import Workers
from minimind_lite.records import StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.trainer import batch_gradient

SECONDS_PER_ROW = 0.007  # a conversation on two cores without a GPU, until it is measured here
STEP_COST = 2  # conversations that a step costs beside its own
FORWARD = 1 / 3  # of the cost of training: a pass that keeps no gradient
TIMED_ROWS = 16  # of the batch that is timed
ROUNDS = 4  # timed batches: the first warms up, the quickest of the others counts
MIN_STEPS = 8  # of a run, to tell more of its speed than a timed batch


class Speed:
    """Seconds that a conversation takes to train on. Any thread may ask and tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._per_row = SECONDS_PER_ROW
        self._from_a_run = False

    def time_a_batch(self, model: LanguageModel, data: EncodedRows) -> None:
        """Measure it here; whatever else runs only adds to it, so the quickest time counts."""
        spec, rows, seconds = RunSpec(), np.arange(TIMED_ROWS), []
        with Workers() as workers:
            for _ in range(ROUNDS):
                start = time.perf_counter()
                batch_gradient(model, data, rows, config=spec.config, workers=workers)
                seconds.append(time.perf_counter() - start)
        model.zero_grad(set_to_none=True)
        self._set(min(seconds[1:]) / (TIMED_ROWS + STEP_COST), from_a_run=False)

    def learn(self, records: Sequence[StepRecord]) -> None:
        """Take it from a run that was trained here, if it is long enough to tell."""
        trained = [r.seconds / (len(r.rows) + STEP_COST) for r in records[1:] if r.grad_norm > 0]
        if len(trained) >= MIN_STEPS:
            self._set(float(np.median(trained)), from_a_run=True)

    def _set(self, per_row: float, *, from_a_run: bool) -> None:
        with self._lock:
            if from_a_run or not self._from_a_run:
                self._per_row, self._from_a_run = per_row, from_a_run

    def seconds(self, spec: RunSpec, n_rows: int, *, probe_rows: int = 0) -> float:
        """To train a spec on `n_rows` conversations, with probes of `probe_rows` in all."""
        config = spec.config
        rows = n_rows * config.epochs
        trained = rows + STEP_COST * config.total_steps(n_rows)
        cost = FORWARD if config.optimizer == "none" else 1.0
        measurements = rows / PROBE_ROWS + 2
        with self._lock:
            return self._per_row * (trained * cost + measurements * probe_rows * FORWARD)
