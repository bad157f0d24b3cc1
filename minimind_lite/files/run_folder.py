"""A run as a folder, written while it trains.

A run folder holds `config.json` (what was run, on what) and `steps/`, Parquet parts with a row
per step, which `pandas.read_parquet(folder / "steps")` opens. Its lists hold the conversations of
the step; `.explode(["rows", "sample_losses", "sample_tokens"])` gives each of them a row. Parts
are written whole, so a killed run leaves a readable folder that lacks the last part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minimind_lite.files.run_columns import PROBE
from minimind_lite.files.work import write_then_rename
from minimind_lite.records import Run, StepRecord

FORMAT = 3  # raised when a reader of the old form would misread the new
PART_SIZE = 100  # steps
ARRAYS = {"micro_losses": float, "rows": int, "sample_losses": float, "sample_tokens": int}


class RunWriter:
    """Writes records to a run folder as they come, a Parquet part every PART_SIZE steps.

    Used as a context manager; leaving it, normally or by an error, writes what is pending. The
    folder is taken at once, so that nobody works for minutes in vain; without a single step it is
    given up again. Raises `FileExistsError` where the folder already holds a run, or another
    process has begun one, and `OSError` that names the folder where it can't be written.
    """

    def __init__(self, folder: str | Path, info: Mapping[str, Any]) -> None:
        self.folder, self.parts = Path(folder), 0
        self.pending: list[StepRecord] = []
        self.probe_names: set[str] = set()  # each part has the probe columns of all before it
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "steps").mkdir()  # of two processes that begin at once, one is refused
        except FileExistsError:
            raise FileExistsError(
                f"{folder} already holds a run, or is a file; choose another folder or delete it."
            ) from None
        self.set_info(info)

    def set_info(self, info: Mapping[str, Any]) -> None:
        """Write what config.json says of the run."""
        text = json.dumps({**info, "format": FORMAT}, indent=2, ensure_ascii=False)
        with write_then_rename(self.folder / "config.json") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        """Take one record; may write a part."""
        self.pending.append(record)
        if len(self.pending) >= PART_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write pending records as a part."""
        if not self.pending:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.probe_names |= {name for record in self.pending for name in record.probes}
        table = pa.Table.from_pylist([_row(r, sorted(self.probe_names)) for r in self.pending])
        part = self.folder / "steps" / f"{self.parts:06d}.parquet"
        try:
            with write_then_rename(part) as temporary:
                pq.write_table(table, temporary, compression="zstd")
        except OSError as error:  # a full disk says no more than that
            raise OSError(f"{part} can't be written: {error}") from None
        self.parts, self.pending = self.parts + 1, []

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()
        if not self.parts:
            (self.folder / "config.json").unlink(missing_ok=True)
            for folder in (self.folder / "steps", self.folder):
                with suppress(OSError):  # other files in it stay
                    folder.rmdir()


def _row(record: StepRecord, probe_names: list[str]) -> dict[str, Any]:
    row = vars(record) | {PROBE + name: record.probes.get(name) for name in probe_names}
    del row["probes"]
    return row


def _record(row: Mapping[str, Any]) -> StepRecord:
    values = {name: value for name, value in row.items() if not name.startswith(PROBE)}
    values |= {name: np.array(row[name], dtype) for name, dtype in ARRAYS.items()}
    probes = {name: row[name] for name in row.keys() - values.keys() if row[name] is not None}
    return StepRecord(**values, probes={n.removeprefix(PROBE): v for n, v in probes.items()})


def load(folder: str | Path) -> Run:
    """Read a run folder, finished or not. Raises `ValueError` where it is none, or has a gap."""
    folder = Path(folder)
    try:
        info = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        version = dict(info).get("format")
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{folder} is no run folder: no config.json to read ({error}).") from None
    if version != FORMAT:
        raise ValueError(f"{folder} has run format {version!r}, this version reads {FORMAT}.")
    return Run(info, tuple(_records(folder)))


def _records(folder: Path) -> Iterator[StepRecord]:
    import pyarrow.parquet as pq

    for number, part in enumerate(sorted(folder.glob("steps/*.parquet"))):
        if part.name != f"{number:06d}.parquet":
            raise ValueError(f"{folder} lacks part {number:06d}.parquet: the run has a gap there.")
        yield from map(_record, pq.read_table(part).to_pylist())
