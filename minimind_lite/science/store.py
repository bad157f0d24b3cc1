"""The recorded trials of a folder: a Parquet table for each experiment, a row for each trial.

This is the one door to recorded runs. A trial that is stored with the same settings is done, so a
killed command loses only what was running. Several processes may write to one folder: a writer
locks the table, reads it as it is now, puts its rows in and replaces the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from minimind_lite.files import provenance, run_columns, shipped
from minimind_lite.files.work import write_then_rename
from minimind_lite.records import Run
from minimind_lite.science import segment_metrics
from minimind_lite.science.fingerprint import code_fingerprint
from minimind_lite.science.segment_metrics import Reading
from minimind_lite.science.trials import Experiment, Outcome, Variant

if TYPE_CHECKING:
    import pyarrow as pa

RUN = "run/"  # before the names of a run's columns


class MissingTrials(ValueError):
    """Trials that an answer needs are not recorded."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A recorded outcome."""

    experiment: str
    variant: str
    seed: int
    info: Mapping[str, Any]  # signature, settings, code, environment
    values: Mapping[str, Any]
    run: Run  # without records where the trial has no curve

    @cached_property
    def readings(self) -> Mapping[str, Reading]:
        """Every segment of the first epoch, by label."""
        return segment_metrics.read(self.run)


@dataclass(frozen=True)
class Table:
    """An experiment's trials as the file had them when it was read."""

    content: str = ""  # digest of the file's bytes
    stamp: tuple[int, ...] = ()  # inode, size and time of the file: the same means no change
    columns: pa.Table | None = None
    places: Mapping[tuple[str, int], int] = field(default_factory=dict)  # (variant, seed) -> row

    def rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        """All rows as plain values."""
        return {key: self.row(place) for key, place in self.places.items()}

    def row(self, place: int) -> dict[str, Any]:
        """One row; a list comes as an array, which is far quicker than a list of objects."""
        assert self.columns is not None, "a place is a row of some table"
        return {name: _plain(self.columns[name][place]) for name in self.columns.column_names}


def recorded(folder: str = "claims") -> Store:
    """What comes with the project: "claims" (E1 to E12) or "lab" (runs of data/sft.jsonl)."""
    return Store(shipped.folder() / folder)


class Store:
    """The trials of a folder. What another process writes is seen at the next call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[str, Table] = {}

    def seeds(self, experiment: str, variant: str) -> list[int]:
        """Seeds that are recorded, ascending."""
        return sorted(seed for name, seed in self._table(experiment).places if name == variant)

    def has(self, experiment: str, variant: Variant, seed: int) -> bool:
        """Whether this very trial, with these settings, is recorded."""
        if seed not in self.seeds(experiment, variant.name):
            return False
        return self.info(experiment, variant.name, seed)["signature"] == variant.signature()

    def content(self, experiment: str) -> str:
        """A digest of the experiment's table: it changes when any trial of it does."""
        return self._table(experiment).content

    def info(self, experiment: str, variant: str, seed: int) -> dict[str, Any]:
        """Signature, settings, code and environment of a trial. Raises as `get`."""
        table, place = self._place(experiment, variant, seed)
        assert table.columns is not None
        return json.loads(table.columns["info"][place].as_py())

    def get(self, experiment: str, variant: str, seed: int) -> Trial:
        """A recorded trial. Raises `MissingTrials`, which says how to make it."""
        table, place = self._place(experiment, variant, seed)
        row = table.row(place)
        info, values = json.loads(row["info"]), json.loads(row["values"])
        columns = {
            name.removeprefix(RUN): value
            for name, value in row.items()
            if name.startswith(RUN) and value is not None
        }
        run = Run(info["run"] or {}, ())
        if columns:
            run = run_columns.from_columns(run.info, columns)
        return Trial(experiment, variant, seed, info, values, run)

    def of_other_code(self, experiments: Sequence[Experiment]) -> list[tuple[str, str, int]]:
        """Trials that today's code neither made nor verified: experiment, variant, seed."""
        old = []
        for experiment in experiments:
            for variant in experiment.variants:
                code = code_fingerprint(variant.procedure.__module__)
                for seed in self.seeds(experiment.id, variant.name):
                    info = self.info(experiment.id, variant.name, seed)
                    if code not in (info["code"], info.get("verified", {}).get("code")):
                        old.append((experiment.id, variant.name, seed))
        return old

    def add(
        self, experiment: str, variant: Variant, seed: int, *, outcome: Outcome, code: str
    ) -> None:
        """Record one trial, made by `code` (a fingerprint), in place of an older one."""
        info = {
            "signature": variant.signature(),
            "procedure": variant.procedure.__name__,
            "settings": dict(variant.settings),
            "code": code,
            "environment": provenance.environment(),
            "run": dict(outcome.run.info) if outcome.run else None,
        }
        row = _named(info, variant=variant.name, seed=seed)
        row["values"] = json.dumps(outcome.values, ensure_ascii=False)
        if outcome.run:
            columns = run_columns.to_columns(outcome.run)
            if variant.exact:
                losses = [record.sample_losses for record in outcome.run.records]
                columns["sample_loss"] = np.concatenate(losses)
            row |= {RUN + name: values for name, values in columns.items()}
        self._put(experiment, [row])

    def adopt(
        self, experiment: str, variant: str, seeds: Iterable[int], *, code: str, replayed: str
    ) -> None:
        """Accept trials that older code recorded, since a replay by `code` gave the same bits.

        `replayed` says which steps were compared. A trial keeps the fingerprint of the code that
        recorded it.
        """
        rows = []
        for seed in seeds:
            table, place = self._place(experiment, variant, seed)
            info = self.info(experiment, variant, seed)
            info["verified"] = {"code": code, "replayed": replayed}
            rows.append(table.row(place) | _named(info, variant=variant, seed=seed))
        self._put(experiment, rows)

    def _place(self, experiment: str, variant: str, seed: int) -> tuple[Table, int]:
        table = self._table(experiment)
        if (variant, seed) not in table.places:
            raise MissingTrials(
                f"no trial {experiment} {variant!r} with seed {seed} in {self.folder}; "
                f"python -m minimind_lite claims --only {experiment} makes it."
            )
        return table, table.places[variant, seed]

    def _table(self, experiment: str, *, fresh: bool = False) -> Table:
        """The table as it is in the file now; read again where the file has changed, or `fresh`."""
        path = self.folder / f"{experiment}.parquet"
        try:
            status = path.stat()
        except FileNotFoundError:
            return Table()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._tables.get(experiment)
        if fresh or known is None or known.stamp != stamp:
            self._tables[experiment] = _read(path, stamp)
        return self._tables[experiment]

    def _put(self, experiment: str, rows: Sequence[dict[str, Any]]) -> None:
        import pyarrow as pa

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            table = self._table(experiment, fresh=True).rows()
            table |= {(row["variant"], row["seed"]): row for row in rows}
            ordered = [table[key] for key in sorted(table)]
            names = dict.fromkeys(name for row in ordered for name in row)
            columns = {name: [row.get(name) for row in ordered] for name in names}
            with write_then_rename(self.folder / f"{experiment}.parquet") as temporary:
                _write(pa.table(columns), temporary)


def _named(info: Mapping[str, Any], *, variant: str, seed: int) -> dict[str, Any]:
    return {"variant": variant, "seed": seed, "info": json.dumps(info, ensure_ascii=False)}


def _write(table: pa.Table, path: Path) -> None:
    """Bytes of the same place in a number side by side: a fifth smaller than without."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def entries_are_floats(name: str) -> bool:
        kind = table.schema.field(name).type
        return pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)

    floats = [name for name in table.column_names if entries_are_floats(name)]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[
            f"{name}.list.element" if pa.types.is_list(table.schema.field(name).type) else name
            for name in table.column_names
            if name not in floats
        ],
        use_byte_stream_split=[f"{name}.list.element" for name in floats],
    )


def _read(path: Path, stamp: tuple[int, ...]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = path.read_bytes()
    columns = pq.read_table(pa.BufferReader(content))
    keys = zip(columns["variant"].to_pylist(), columns["seed"].to_pylist())
    places = {key: place for place, key in enumerate(keys)}
    return Table(hashlib.sha256(content).hexdigest(), stamp, columns, places)


def _plain(scalar: pa.Scalar) -> Any:
    values = getattr(scalar, "values", None)
    return scalar.as_py() if values is None else values.to_numpy(zero_copy_only=False)
