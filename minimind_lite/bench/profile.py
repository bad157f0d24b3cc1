"""What a whole pass and the start cost: the rest of `bench`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.trainer import train


@dataclass(frozen=True)
class Profile:
    """Seconds, measured one by one."""

    pass_seconds: dict[str, float]  # by model: one pass over data/sft.jsonl
    first_step_seconds: float  # from the train command to the end of its first step
    reproduce_seconds: float  # `reproduce`: three runs, table and picture


def measure_profile() -> Profile:
    """Measure all of it: about two minutes."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        one_step = ("train", "--max-steps", "1", "--probe-every", "0", "--out", out)
        return Profile(
            pass_seconds={name: _seconds_of_pass(name) for name in shipped.BASES},
            first_step_seconds=_seconds_of_command(*one_step),
            reproduce_seconds=_seconds_of_command("reproduce", "--out", f"{out}.png"),
        )


def _seconds_of_pass(model_name: str) -> float:
    data, model = shipped.sft_rows(shipped.chat()), shipped.base_model(model_name)
    start = time.perf_counter()
    for _record in train(model, data, TrainConfig()):
        pass
    return time.perf_counter() - start


def _seconds_of_command(*arguments: str) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "minimind_lite", *arguments]
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - start
