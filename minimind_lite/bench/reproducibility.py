"""How far a run differs when it is trained again elsewhere: threads, forms, precision, versions.

The same pass of nano over the shipped file, each in a process of its own, against one as it is by
default; and passes that were recorded on other machines, against the same ones trained here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from minimind_lite.bench.one_pass import Pass
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.provenance import environment, processor
from minimind_lite.records import Run
from minimind_lite.science import replay, segment_metrics
from minimind_lite.science import store as stores
from minimind_lite.science.procedures import probes_of
from minimind_lite.science.store import Trial
from minimind_lite.science.trials import SharedData

AFTER = (1, 10, 40)  # steps; and all
RECORDED_SEEDS = 2  # of each variant and processor
ROOT = Path(__file__).resolve().parents[2]
FILE = "bench_reproducibility.json"  # in data/, as it was measured for docs/

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """One way to train the pass again."""

    title: str
    variables: Mapping[str, str] = field(default_factory=dict)  # of the environment
    config: Mapping[str, object] = field(default_factory=dict)
    fast: bool = True
    python: str = sys.executable


@dataclass(frozen=True)
class Row:
    """Largest differences from what it is compared with, in nats."""

    title: str
    losses: Mapping[str, float]  # of a step's loss, over the first steps; "all"
    height: float  # of a spike
    held_out: float  # loss at the end
    same_bits: bool  # all losses, and the trained weights where both are at hand


def cases(*, python: str | None = None, torch: str = "") -> list[Case]:
    """What is trained; with another interpreter also the pass in it, whose `torch` is named."""
    rows = [Case("the same again")]
    rows += [
        Case(f"`MINIMIND_LITE_WORKERS={n}`", {"MINIMIND_LITE_WORKERS": str(n)})
        for n in (1, 2, 3, 4, 8)
    ]
    rows += [
        Case(f"`OMP_NUM_THREADS={n}`: threads of an operation", {"OMP_NUM_THREADS": str(n)})
        for n in (1, 2)
    ]
    rows.append(Case("textbook form (`fast=False`)", fast=False))
    if environment()["vector"] == "AVX512":
        avx2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
        rows.append(Case("AVX2 instructions in place of AVX512", avx2))
    if python:
        rows.append(Case(f"PyTorch {torch}", python=python))
    rows.append(Case("`precision=bf16`", config={"precision": "bf16"}))
    return rows


def measure(
    *, python: str | None = None, progress: Progress = lambda _: None
) -> tuple[list[Row], list[Row]]:
    """Rows of the passes, and of the recordings. Raises `ValueError` for a Python without torch."""
    torch = torch_of(python) if python else ""
    progress("as it is by default")
    base, rows = run_child(Case("base")), []
    for case in cases(python=python, torch=torch):
        progress(case.title)
        rows.append(row_of(case.title, run_child(case), base))
    return rows, list(recorded_rows(progress))


def parts(*, python: str | None = None) -> int:
    """How often `measure` reports progress."""
    return 1 + len(cases(python=python)) + len(trials())


def torch_of(python: str) -> str:
    """The version of torch in another interpreter. Raises `ValueError` where there is none."""
    command = [python, "-c", "import torch; print(torch.__version__.partition('+')[0])"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f"--python must be a Python that can import torch, got {python} ({error})."
        ) from None


def run_child(case: Case) -> Pass:
    """The pass in a process of its own. Raises `CalledProcessError`."""
    asked = json.dumps(
        {"config": TrainConfig.from_dict(dict(case.config)).to_dict(), "fast": case.fast}
    )
    variables = {**os.environ, **case.variables, "PYTHONPATH": str(ROOT)}
    variables["MINIMIND_LITE_DATA"] = str(shipped.folder())
    command = [case.python, "-m", "minimind_lite.bench.one_pass", asked]
    printed = subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return Pass(**json.loads(printed))


def row_of(title: str, a: Pass, b: Pass) -> Row:
    """How far two passes differ."""
    losses = differences(a.losses, b.losses)
    same = losses["all"] == 0.0 and a.weights == b.weights
    return Row(title, losses, largest(a.heights, b.heights), largest(a.held_out, b.held_out), same)


def differences(a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
    """Largest difference of a step's loss, over the first 1, 10, 40 and all steps, in nats."""
    apart = np.abs(np.subtract(a, b))
    return {str(n): float(apart[:n].max()) for n in AFTER} | {"all": float(apart.max())}


def largest(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Largest difference of what two mappings both have."""
    return max((abs(a[name] - b[name]) for name in a.keys() & b.keys()), default=0.0)


def trials() -> list[Trial]:
    """The first recorded passes in file order and shuffled of each processor, in turn."""
    store, chosen = stores.recorded(), []
    for variant in ("file", "shuffled"):
        all_seeds = [store.get("E1", variant, seed) for seed in store.seeds("E1", variant)]
        for _, group in groupby(all_seeds, key=processor_of):
            chosen += list(group)[:RECORDED_SEEDS]
    return sorted(chosen, key=processor_of)


def processor_of(trial: Trial) -> str:
    """Where a trial was recorded."""
    return str(trial.info["environment"]["processor"])


def recorded_rows(progress: Progress) -> Iterator[Row]:
    """A row for each processor of the recordings: the largest over its passes."""
    shared = SharedData()
    for name, group in groupby(trials(), key=processor_of):
        rows = []
        for trial in group:
            progress(f"recorded: {trial.variant}, seed {trial.seed}")
            rows.append(_recorded_row(trial, shared))
        where = "this processor" if name == processor() else "another processor"
        yield Row(
            title=f"recorded on {where}, {name}: {len(rows)} passes",
            losses={n: max(row.losses[n] for row in rows) for n in rows[0].losses},
            height=max(row.height for row in rows),
            held_out=max(row.held_out for row in rows),
            same_bits=all(row.same_bits for row in rows),
        )


def _recorded_row(trial: Trial, shared: SharedData) -> Row:
    """A recorded pass against the same one, trained here and now."""
    live, recorded = replay.rerun(trial, shared=shared, probes=probes_of(shared)), trial.run
    losses = differences(live.loss.tolist(), recorded.loss.tolist())
    height, held_out = (
        largest(what(live), what(recorded))
        for what in (_heights, lambda run: run.info["probes_after"])
    )
    same = losses["all"] == held_out == 0.0
    return Row("", losses, height, held_out, same)


def _heights(run: Run) -> dict[str, float]:
    return {label: reading.height for label, reading in segment_metrics.read(run).items()}


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown; differences in nats."""
    heads = ["trained again with …", *(f"{n} step{'s' * (n > 1)}" for n in AFTER), "all steps"]
    heads += ["height of a spike", "held-out loss at the end"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        if row.same_bits:
            cells = ["the same to the last bit", *[""] * (len(heads) - 2)]
        else:
            cells = [_cell(value) for value in (*row.losses.values(), row.height, row.held_out)]
        lines.append([row.title, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float) -> str:
    return f"{value:.1g}" if value else "0"


def save(path: Path, rows: Sequence[Row], recorded: Sequence[Row]) -> None:
    """The figures as JSON, with where they were measured."""
    content = {
        "environment": environment(),
        "rows": [asdict(row) for row in rows],
        "recorded": [asdict(row) for row in recorded],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, object], list[Row], list[Row]]:
    """What `save` wrote: the environment, and both lists of rows."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows, recorded = ([Row(**row) for row in content[name]] for name in ("rows", "recorded"))
    return content["environment"], rows, recorded
