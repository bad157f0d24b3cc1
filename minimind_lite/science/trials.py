"""Trials: one variant, one seed, run once, recorded, and never run again.

An experiment is declared before it runs: its question, the claims that it bears on, what we bet,
and its variants. A variant is a procedure with its settings, all of them plain values, so that
what was run can be written beside what came out. Every experiment's trials are one Parquet table
under a folder (`data/claims/`), a row per trial; a trial that is there with the same settings is
done, so a killed command loses only what was running.

    N conversations of a layout
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimind_lite import __version__
from minimind_lite.chat import Chat, EncodedRows
from minimind_lite.files import shipped
from minimind_lite.files.provenance import processor
from minimind_lite.records import Run
from minimind_lite.science import layouts
from minimind_lite.science.layouts import Layout, Pool

if TYPE_CHECKING:
    import pyarrow as pa

# Modules that decide what numbers a run gives; a change in any makes old records "of other code".
NUMERIC = (
    "config",
    "chat",
    "order",
    "rows",
    "model",
    "loss",
    "parallel",
    "trainer",
    "science/layouts",
    "science/procedures",
)


class MissingTrials(LookupError):
    """Trials that an answer needs are not recorded."""


class FailedTrials(RuntimeError):
    """Trials ended with an error; the others are recorded."""


class World:
    """What every trial of a process shares: tokenizer, pool of conversations, held-out probes."""

    def __init__(self) -> None:
        self.chat: Chat = shipped.chat()
        self.pool: Pool = layouts.pool()
        self.pool_rows: EncodedRows = layouts.pool_rows(self.chat, self.pool)
        self.probes: dict[str, EncodedRows] = shipped.probes(self.chat)

    def layout(self, seed: int) -> Layout:
        """The layout that a seed draws."""
        return layouts.draw(seed, pool=self.pool)

    def data(self, layout: Layout) -> EncodedRows:
        """Its conversations, encoded, in file order."""
        return self.pool_rows.select(layout.rows)


@dataclass(frozen=True)
class Outcome:
    """What a trial leaves: a run, where there is one curve, and named values."""

    run: Run | None = None
    values: Mapping[str, object] = field(default_factory=dict)  # JSON-ready


Procedure = Callable[[World, int, Mapping[str, object]], Outcome]


@dataclass(frozen=True)
class Variant:
    """A procedure and its settings; `cost` in passes over the file, for the remaining time; `quick`: part of --quick."""

    name: str
    procedure: Procedure
    settings: Mapping[str, object] = field(default_factory=dict)  # JSON-ready
    cost: float = 1.0
    quick: bool = True

    def signature(self) -> str:
        """Changes with the procedure's name and any setting."""
        text = json.dumps([self.procedure.__name__, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Experiment:
    """A question, put before the answer was known."""

    id: str
    question: str
    claims: tuple[str, ...]
    prediction: str
    variants: tuple[Variant, ...]

    def variant(self, name: str) -> Variant:
        """By name; raises `ValueError` for one that it does not have."""
        for v in self.variants:
            if v.name == name:
                return v
        raise ValueError(
            f"{self.id} has no variant {name!r}; it has {', '.join(v.name for v in self.variants)}."
        )


@dataclass(frozen=True, eq=False)
class Trial:
    """A recorded outcome; told from others by identity, so that what is read off it can be kept."""

    experiment: str
    variant: str
    seed: int
    info: Mapping[str, object]  # signature, settings, code, environment
    values: Mapping[str, object]
    run: Run | None


@cache
def code_fingerprint() -> str:
    """Of the modules that decide numbers (`NUMERIC`), as this process began with them; comments, docstrings and layout do not count."""
    return hashlib.sha256(
        "\n".join(_meaning(Path(__file__).parents[1] / f"{m}.py") for m in NUMERIC).encode()
    ).hexdigest()[:12]


def _meaning(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.dump(tree)


def environment() -> dict[str, str]:
    """Where numbers come from, to the last bit: versions, processor family and the instructions that torch uses on it."""
    import torch

    return {
        "version": __version__,
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "processor": processor(),
    }


class Store:
    """The recorded trials of a folder: a Parquet table per experiment, read once, written whole and renamed into place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, dict[tuple[str, int], dict]] = {}

    def _table(self, experiment: str) -> dict[tuple[str, int], dict]:
        if experiment not in self._rows:
            path, rows = self.folder / f"{experiment}.parquet", []
            if path.exists():
                import pyarrow.parquet as pq

                table = pq.read_table(path)
                rows = [
                    {n: _value(column[i]) for n, column in zip(table.column_names, table.columns)}
                    for i in range(len(table))
                ]
            self._rows[experiment] = {(r["variant"], r["seed"]): r for r in rows}
        return self._rows[experiment]

    def seeds(self, experiment: str, variant: str) -> list[int]:
        """Seeds that are recorded, ascending."""
        return sorted(seed for name, seed in self._table(experiment) if name == variant)

    def has(self, experiment: str, variant: Variant, seed: int) -> bool:
        """Whether this very trial, with these settings, is recorded."""
        row = self._table(experiment).get((variant.name, seed))
        return row is not None and json.loads(row["info"])["signature"] == variant.signature()

    def of_other_code(self, experiments: Sequence[Experiment]) -> int:
        """How many trials of some experiments were recorded by other code than this (`code_fingerprint`)."""
        code = code_fingerprint()
        return sum(
            json.loads(row["info"])["code"] != code
            for e in experiments
            for row in self._table(e.id).values()
        )

    def get(self, experiment: str, variant: str, seed: int) -> Trial:
        """A recorded trial. Raises `MissingTrials` that says how to make it where there is none."""
        row = self._table(experiment).get((variant, seed))
        if row is None:
            raise MissingTrials(
                f"no trial {experiment} {variant!r} with seed {seed} in {self.folder}; "
                f"python -m minimind_lite claims --only {experiment} makes it."
            )
        info = json.loads(row["info"])
        columns = {
            k.removeprefix("run/"): v
            for k, v in row.items()
            if k.startswith("run/") and v is not None
        }
        run = Run.from_columns(info["run"], columns) if columns else None
        return Trial(experiment, variant, seed, info, json.loads(row["values"]), run)

    def add(self, experiment: str, variant: Variant, seed: int, outcome: Outcome) -> None:
        """Record one trial, in place of an older one of the same name and seed."""
        info = {
            "signature": variant.signature(),
            "procedure": variant.procedure.__name__,
            "settings": dict(variant.settings),
            "code": code_fingerprint(),
            "environment": environment(),
            "run": dict(outcome.run.info) if outcome.run else None,
        }
        row = {
            "variant": variant.name,
            "seed": seed,
            "info": json.dumps(info, ensure_ascii=False),
            "values": json.dumps(outcome.values, ensure_ascii=False),
        }
        row |= {f"run/{k}": v for k, v in outcome.run.to_columns().items()} if outcome.run else {}
        self._table(experiment)[variant.name, seed] = row
        self._write(experiment)

    def _write(self, experiment: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [row for _, row in sorted(self._table(experiment).items())]
        names = list(dict.fromkeys(name for row in rows for name in row))
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{experiment}.{os.getpid()}.tmp"
        pq.write_table(
            pa.table({n: [row.get(n) for row in rows] for n in names}),
            temporary,
            compression="zstd",
        )
        os.replace(temporary, self.folder / f"{experiment}.parquet")


def _value(scalar: pa.Scalar) -> object:
    """A cell of a table as a plain value; a list as an array, which is far quicker than a list of objects."""
    values = getattr(scalar, "values", None)
    return scalar.as_py() if values is None else values.to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Job:
    """A trial that is still to be run."""

    experiment: Experiment
    variant: Variant
    seed: int


def missing(
    experiments: Sequence[Experiment],
    store: Store,
    seeds: Sequence[int],
    *,
    quick: bool = False,
    fresh: bool = False,
) -> list[Job]:
    """Trials to run: seed by seed, so that an early stop leaves whole seeds of everything."""
    return [
        Job(e, v, s)
        for s in seeds
        for e in experiments
        for v in e.variants
        if (v.quick or not quick) and (fresh or not store.has(e.id, v, s))
    ]


_world: World | None = None  # of a worker process: built once, read only


def _work(job: Job) -> Outcome:
    global _world
    if _world is None:
        _world = World()
    return job.variant.procedure(_world, job.seed, job.variant.settings)


def _end_with_the_parent() -> None:
    parent_process().join()
    os._exit(1)  # the parent was killed: nobody is left to record what this process still computes


def _one_thread_each() -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    # Runs side by side are quicker than cores side by side in one run, and the bits are the same.
    os.environ["MINIMIND_LITE_WORKERS"] = "1"
    import torch

    torch.set_num_threads(1)


def run(jobs: Sequence[Job], store: Store, *, processes: int) -> Iterator[Job]:
    """Run trials side by side in `processes` processes; each is recorded, then yielded, as it ends.

    One that fails does not stop the others; at the end `FailedTrials` names all that did, with the first cause.
    """
    code_fingerprint()  # of what is loaded now, whatever becomes of the files meanwhile
    failed: list[tuple[Job, BaseException]] = []
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_one_thread_each
    ) as pool:
        running = {pool.submit(_work, job): job for job in jobs}
        try:
            for future in as_completed(running):
                job = running[future]
                if (error := future.exception()) is not None:
                    failed.append((job, error))
                    continue
                store.add(job.experiment.id, job.variant, job.seed, future.result())
                yield job
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if failed:
        names = ", ".join(f"{j.experiment.id} {j.variant.name!r} seed {j.seed}" for j, _ in failed)
        raise FailedTrials(
            f"{len(failed)} trials failed: {names}. The first: {failed[0][1]!r}"
        ) from failed[0][1]
