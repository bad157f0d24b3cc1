"""What a checkpoint costs, as a share of the training between two of them."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.run_folder import RunWriter
from minimind_lite.model import LanguageModel
from minimind_lite.runs.recorder import EVERY, begin
from minimind_lite.runs.session import TrainingSession

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """Medians of one model: a step, a checkpoint, and its size."""

    model: str
    step_ms: float
    checkpoint_ms: float
    megabytes: float

    def share(self) -> float:
        """Percent of the training time, at a checkpoint every `EVERY` steps."""
        return 100 * self.checkpoint_ms / (EVERY * self.step_ms)


def measure(model: str, *, rounds: int, progress: Progress) -> Row:
    """Steps and checkpoints in turn: two steps, then a checkpoint, `rounds` times."""
    rows, config = shipped.sft_rows(shipped.chat()), TrainConfig()
    language_model = LanguageModel(ModelConfig.preset(model), seed=0)
    session = TrainingSession(language_model, rows, config)
    steps, saves = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder, RunWriter(Path(folder) / "run", {}) as writer:
        run = begin(writer, session, every=1_000_000)
        records = run.steps()
        next(records)
        run.save()  # the first of both pays for the start
        for _ in range(rounds):
            steps += [next(records).seconds, next(records).seconds]
            start = time.perf_counter()
            run.save()
            saves.append(time.perf_counter() - start)
            progress(f"{model}: checkpoints")
        newest = max((Path(folder) / "run" / "checkpoints").iterdir())
        size = sum(file.stat().st_size for file in newest.iterdir())
    return Row(
        model,
        1000 * statistics.median(steps),
        1000 * statistics.median(saves),
        size / 1e6,
    )


def table(rows: Sequence[Row]) -> str:
    """A line a model."""
    title = f"{'model':18s}{'step, ms':>10s}{'checkpoint, ms':>16s}{'MB':>8s}{'share':>9s}"
    lines = [
        f"{row.model:18s}{row.step_ms:10.1f}{row.checkpoint_ms:16.1f}{row.megabytes:8.1f}"
        f"{row.share():8.2f}%"
        for row in rows
    ]
    return "\n".join([title, *lines, f"Share of the training time, a checkpoint in {EVERY} steps."])
