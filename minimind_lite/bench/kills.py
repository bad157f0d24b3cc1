"""Kill a run at random moments, resume it, and compare it with one that nobody killed.

Every run is the command that a user types, `train`, in a process of its own that dies by SIGKILL:
no handler, no last word. Moments are drawn from a seed, over the whole life of the process, and
every third one waits for a checkpoint that is being written. Then `train --resume` goes on, and may
be killed again. At the end the weights must be equal to the last bit, and so must the record.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minimind_lite.files import shipped
from minimind_lite.files.model_file import load_model
from minimind_lite.files.run_folder import CHECKPOINTS, CONFIG, load, read_info
from minimind_lite.records import Run, StepRecord
from minimind_lite.runs.recorder import MODEL

ROWS = (488, 536)  # of the shipped file, from and to: Chinese, and then code
MORE_ROWS = (384, 536)  # where a rollback needs more steps before the spike
FEW = 25  # one kill a run; of so many, some runs are killed twice; and so on
CONFIGURATIONS: Mapping[str, str] = {  # options of `train`
    "file order": "--batch-size 4",
    "accumulation": "--batch-size 4 --micro-batch-size 2 --loss-average micro_batches",
    "two shuffled epochs, probes": "--order shuffle --epochs 2 --batch-size 8 --probe-every 12",
    "buffer": "--order buffer:16 --batch-size 4 --seed 3",
    "bf16": "--precision bf16 --order shuffle_once --batch-size 4",
    "sgd": "--optimizer sgd --momentum 0.9 --learning-rate 0.05 --order block:8 --batch-size 4",
    "frozen": "--optimizer none --batch-size 4",
    "rollback": "--batch-size 4 --rollback reshuffle",
}
ALWAYS = "--probe-every 0 --checkpoint-every 3 --no-cache"

# What a run imports by and by: two seconds of each life.
PRELOADED = ("minimind_lite.cli.train", "torch._dynamo", "scipy.stats", "pyarrow.parquet", "pandas")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one run that was killed."""

    configuration: str
    kills: int
    in_a_save: int  # kills while a checkpoint was being written
    difference: str  # from the run that nobody killed; "" where there is none


def kill_and_resume(n_kills: int, folder: Path, *, seed: int, progress: Progress) -> list[Outcome]:
    """At least `n_kills` kills, over all configurations in turn; runs are left in `folder`.

    Raises `ValueError` for less than one, and `RuntimeError` where a run fails by itself.
    """
    if n_kills < 1:
        raise ValueError(f"kills must be 1 or more, got {n_kills}.")
    folder.mkdir(parents=True, exist_ok=True)
    rng, outcomes = np.random.default_rng(seed), list[Outcome]()
    whole: dict[str, tuple[Path, float]] = {}
    names = list(CONFIGURATIONS)
    while sum(outcome.kills for outcome in outcomes) < n_kills:
        name = names[len(outcomes) % len(names)]
        if name not in whole:
            whole[name] = _uninterrupted(folder / f"whole, {name}", _options(name, folder))
        left = n_kills - sum(outcome.kills for outcome in outcomes)
        target = folder / f"killed {len(outcomes)}, {name}"
        victim = Victim(target, _options(name, folder), seconds=whole[name][1], progress=progress)
        victim.live(rng, at_most=min(left, int(rng.integers(1, 2 + n_kills // FEW))))
        difference = compare(whole[name][0], target)
        outcomes.append(Outcome(name, victim.kills, victim.in_a_save, difference))
        if not difference:
            shutil.rmtree(target)
    return outcomes


class Victim:
    """A run that is killed and resumed until it ends."""

    def __init__(
        self, folder: Path, options: list[str], *, seconds: float, progress: Progress
    ) -> None:
        self.folder, self.options, self.seconds = folder, options, seconds
        self.progress, self.kills, self.in_a_save = progress, 0, 0

    def live(self, rng: np.random.Generator, *, at_most: int) -> None:
        """Kill it `at_most` times, at random moments; then let it end."""
        while True:
            process = _start(self._words(), self.folder.parent / "log.txt")
            spared = self.kills >= at_most
            if not spared:
                self._wait(process, rng)
            if spared or not process.is_alive():
                process.join()
                if process.exitcode:
                    raise RuntimeError(f"`train {' '.join(self._words())}` failed: see log.txt")
                return
            self.in_a_save += bool(_saving(self.folder))
            process.kill()
            process.join()
            self.kills += 1
            self.progress(self.folder.name)
            if _is_finished(self.folder):  # it was printing its report
                return

    def _words(self) -> list[str]:
        if any(self.folder.glob(f"{CHECKPOINTS}/[0-9]*")):
            return ["--resume", str(self.folder)]
        return ["--out", str(self.folder), *self.options]

    def _wait(self, process: multiprocessing.process.BaseProcess, rng: np.random.Generator) -> None:
        """A random time; every third time, until a checkpoint is half written."""
        deadline = time.monotonic() + float(rng.uniform(0, self.seconds))
        aims = rng.random() < 1 / 3
        while process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        while aims and process.is_alive() and not _saving(self.folder):
            time.sleep(0.0005)


def _is_finished(folder: Path) -> bool:
    config = folder / CONFIG
    return config.exists() and bool(read_info(folder).get("finished"))


def _saving(folder: Path) -> list[Path]:
    return list(folder.glob(f"{CHECKPOINTS}/.*.tmp"))


def _options(name: str, folder: Path) -> list[str]:
    """The options of a configuration, with a file of some lines."""
    data = folder / f"{name}.jsonl"
    start, stop = MORE_ROWS if "--rollback" in CONFIGURATIONS[name] else ROWS
    with open(shipped.folder() / "sft.jsonl", "rb") as lines:
        data.write_bytes(b"".join(islice(lines, start, stop)))
    return ["--data", str(data), *ALWAYS.split(), *CONFIGURATIONS[name].split()]


def _uninterrupted(folder: Path, options: list[str]) -> tuple[Path, float]:
    """A run that nobody kills, and its seconds."""
    start = time.perf_counter()
    process = _start(["--out", str(folder), *options], folder.parent / "log.txt")
    process.join()
    if process.exitcode:
        raise RuntimeError(f"`train {' '.join(options)}` failed: see {folder.parent / 'log.txt'}")
    return folder, time.perf_counter() - start


def context() -> ForkServerContext | SpawnContext:
    """Processes that are forked from one that has loaded everything and computed nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__, *PRELOADED])
    return server


def _start(words: list[str], log: Path) -> multiprocessing.process.BaseProcess:
    process = context().Process(target=_train, args=(words, str(log)))
    process.start()
    return process


def _train(words: list[str], log: str) -> None:
    """What `python -m minimind_lite train` does, in a process that has it loaded already."""
    tqdm.set_lock(threading.RLock())  # its other lock would outlive the process
    sys.argv = ["minimind_lite", "train", *words]
    with open(log, "a", encoding="utf-8") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        runpy.run_module("minimind_lite", run_name="__main__")


def compare(expected: Path, folder: Path) -> str:
    """The first difference between two finished runs; "" where they are equal to the last bit."""
    a, b = load(expected), load(folder)
    if len(a) != len(b):
        return f"{len(b)} records instead of {len(a)}"
    for position, (x, y) in enumerate(zip(a.records, b.records)):
        for name in _differing(x, y):
            return f"{name} of record {position}"
    for name in ("rollbacks", "probes_after", "finished"):
        if _plain(a, name) != _plain(b, name):
            return f"{name} in config.json"
    return _differing_weights(expected / MODEL, folder / MODEL)


def _differing_weights(expected: Path, path: Path) -> str:
    """A frozen run leaves no model; the other must then leave none either."""
    if expected.exists() != path.exists():
        return f"whether there is a {MODEL}"
    if not path.exists():
        return ""
    tensors = load_model(path).state_dict()
    for name, tensor in load_model(expected).state_dict().items():
        if not tensor.equal(tensors[name]):
            return f"the weights {name}"
    return ""


def _plain(run: Run, name: str) -> str:
    return json.dumps(run.info.get(name), sort_keys=True)


def _differing(a: StepRecord, b: StepRecord) -> Iterator[str]:
    """Names of the fields that are not equal to the last bit; times are none of them."""
    for name, value in vars(a).items():
        if not name.endswith("seconds"):
            other = getattr(b, name)
            if name == "probes":
                value, other = ([*p.items()] for p in (value, other))
            same = np.array_equal(np.asarray(value), np.asarray(other), equal_nan=name != "probes")
            if not same:
                yield name


def report(outcomes: list[Outcome]) -> str:
    """A table by configuration."""
    lines = [f"{'configuration':30s}{'runs':>6s}{'kills':>7s}{'in a save':>11s}{'exact':>7s}"]
    for name in CONFIGURATIONS:
        some = [outcome for outcome in outcomes if outcome.configuration == name]
        counts = [len(some), sum(o.kills for o in some), sum(o.in_a_save for o in some)]
        exact = sum(not o.difference for o in some)
        lines.append(f"{name:30s}{counts[0]:6d}{counts[1]:7d}{counts[2]:11d}{exact:7d}")
    lines += [f"{o.configuration}: differs in {o.difference}" for o in outcomes if o.difference]
    return "\n".join(lines)
