"""A run as a folder, written while it trains.

A run folder holds `config.json` (what was run, on what) and `steps/`, Parquet parts with a row
per step, which `pandas.read_parquet(folder / "steps")` opens. Its lists hold the conversations of
the step; `.explode(["rows", "sample_losses", "sample_tokens"])` gives each of them a row. Parts
are written whole, so a killed run leaves a readable folder that lacks the last part. While a run
goes on there is `checkpoints/` beside them, and at its end `model.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from minimind_lite.files.run_columns import PROBE
from minimind_lite.files.visible import shorten, visible
from minimind_lite.files.work import remove, sweep, write_then_rename
from minimind_lite.records import Run, StepRecord

if TYPE_CHECKING:
    import pyarrow as pa

CONFIG, STEPS, LOCK, CHECKPOINTS = "config.json", "steps", ".lock", "checkpoints"
FORMAT = 3  # raised when a reader of the old form would misread the new
PART_SIZE = 100  # steps
ARRAYS = {"micro_losses": float, "rows": int, "sample_losses": float, "sample_tokens": int}


class DamagedPart(ValueError):
    """A part of a run that is not what was written; the message names it."""


class RunWriter:
    """Writes records to a run folder as they come, a Parquet part every PART_SIZE steps.

    Used as a context manager; leaving it, normally or by an error, writes what is pending. The
    folder is locked at once, so that nobody works for minutes in vain; without a single step it
    is given up again. With `resume_at`, goes on after so many records of a run that is there, and
    removes those after them. Raises `FileExistsError` where the folder already holds a run or
    another process writes to it, `ValueError` where it holds fewer records than `resume_at`, and
    `OSError` that names the folder where it can't be written.
    """

    def __init__(
        self, folder: str | Path, info: Mapping[str, Any], *, resume_at: int | None = None
    ) -> None:
        self.folder, self.parts = Path(folder), 0
        self.pending: list[StepRecord] = []
        self.last: StepRecord | None = None  # that was written
        self.probe_names: set[str] = set()  # each part has the probe columns of all before it
        if self.folder.is_file():
            raise FileExistsError(f"{folder} is a file; choose another folder.")
        (self.folder / STEPS).mkdir(parents=True, exist_ok=True)
        self.lock = lock(self.folder)
        try:
            if resume_at is None:
                self._refuse_a_run()
            else:
                self._keep(resume_at)
            self.set_info(info)
        except BaseException:
            self.lock.release()
            raise

    def _refuse_a_run(self) -> None:
        """A folder whose writer was killed before it had written anything may be taken."""
        whole = (f"{STEPS}/*.parquet", f"{CHECKPOINTS}/[0-9]*")
        if any(path for pattern in whole for path in self.folder.glob(pattern)):
            raise FileExistsError(
                f"{self.folder} already holds a run; choose another folder or delete it. To go on "
                f"with it: --resume {self.folder}"
            )
        self._sweep()

    def _sweep(self) -> None:
        """Delete what a killed writer left half written."""
        for folder in (self.folder, self.folder / STEPS, self.folder / CHECKPOINTS):
            sweep(folder)

    def _keep(self, n_records: int) -> None:
        """Remove all records but the first `n_records`, the last ones first."""
        import pyarrow.parquet as pq

        self._sweep()
        parts = _parts(self.folder)
        ends = np.cumsum([pq.read_metadata(part).num_rows for part in parts], dtype=int)
        if n_records > (ends[-1] if parts else 0):
            raise ValueError(
                f"{self.folder} lacks records: a checkpoint comes after {n_records} of them, and "
                f"there are {ends[-1] if parts else 0}."
            )
        self.parts = int(np.searchsorted(ends, n_records))
        for part in reversed(parts[self.parts + 1 :]):
            part.unlink()
        if self.parts < len(parts):
            table = _table(parts[self.parts])
            left = n_records - (int(ends[self.parts - 1]) if self.parts else 0)
            self.probe_names = {n.removeprefix(PROBE) for n in table.column_names if PROBE in n}
            parts[self.parts].unlink() if not left else self._write(table.slice(0, left))

    def set_info(self, info: Mapping[str, Any]) -> None:
        """Write what config.json says of the run."""
        text = json.dumps({**info, "format": FORMAT}, indent=2, ensure_ascii=False)
        with write_then_rename(self.folder / CONFIG, durable=True) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        """Take one record; may write a part."""
        self.last = record
        self.pending.append(record)
        if len(self.pending) >= PART_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write pending records as a part."""
        if not self.pending:
            return
        import pyarrow as pa

        self.probe_names |= {name for record in self.pending for name in record.probes}
        rows = [_row(record, sorted(self.probe_names)) for record in self.pending]
        self._write(pa.Table.from_pylist(rows))
        self.pending = []

    def _write(self, table: pa.Table) -> None:
        import pyarrow.parquet as pq

        part = self.folder / STEPS / f"{self.parts:06d}.parquet"
        try:
            with write_then_rename(part, durable=True) as temporary:
                pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
        except OSError as error:  # a full disk says no more than that
            raise OSError(f"{part} can't be written: {error}") from None
        self.parts += 1

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.flush()
        finally:
            if not self.parts:
                (self.folder / CONFIG).unlink(missing_ok=True)
                remove(self.folder / CHECKPOINTS)
            self.lock.release()
            if not self.parts:
                (self.folder / LOCK).unlink(missing_ok=True)
                for folder in (self.folder / STEPS, self.folder):
                    with suppress(OSError):  # other files in it stay
                        folder.rmdir()


def lock(folder: Path) -> FileLock:
    """Take a run folder for this process; the system gives it back when the process ends.

    Raises `FileExistsError` where another process has it.
    """
    taken = FileLock(folder / LOCK, thread_local=False)  # a lab lets go on another thread
    try:
        taken.acquire(blocking=False)
    except Timeout:
        raise FileExistsError(
            f"another process writes to {folder} just now; wait until it ends."
        ) from None
    return taken


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
    return Run(read_info(folder), tuple(_records(Path(folder))))


def read_info(folder: str | Path) -> dict[str, Any]:
    """What config.json says of a run. Raises `ValueError` where there is no run, or an old one."""
    try:
        info = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(info, dict):
            raise ValueError("it is no JSON object")
    except FileNotFoundError:
        raise ValueError(f"{folder} is no run folder: there is no {CONFIG} in it.") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = visible(shorten(str(error), 200))
        raise ValueError(f"{folder} is no run folder: no {CONFIG} to read ({reason}).") from None
    if info.get("format") != FORMAT:
        version = shorten(repr(info.get("format")))
        raise ValueError(f"{folder} has run format {version}, this version reads {FORMAT}.")
    return info


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.glob(f"{STEPS}/*.parquet"))
    for number, part in enumerate(parts):
        if part.name != f"{number:06d}.parquet" or not part.is_file():
            raise ValueError(f"{folder} lacks part {number:06d}.parquet: the run has a gap there.")
    return parts


def _records(folder: Path) -> Iterator[StepRecord]:
    for part in _parts(folder):
        with _damage_of(part):
            yield from map(_record, _table(part).to_pylist())


def _table(part: Path) -> pa.Table:
    """A part, its checksums compared: whoever reads one, reads it here."""
    import pyarrow.parquet as pq

    with _damage_of(part):
        return pq.read_table(part, page_checksum_verification=True)


@contextmanager
def _damage_of(part: Path) -> Iterator[None]:
    """Name the part in whatever goes wrong while it is read."""
    import pyarrow as pa

    try:
        yield
    except DamagedPart:
        raise
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        reason = visible(next(iter(str(error).splitlines()), type(error).__name__))
        raise DamagedPart(f"{part} is damaged: {reason}") from None
