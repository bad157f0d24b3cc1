"""A run as a folder, written while it trains.

A run folder holds `config.json` (what was run, on what) and two directories of Parquet parts,
`steps/` and `samples/`, which `pandas.read_parquet(folder / "steps")` opens. Parts are written
whole and renamed into place, so a killed run leaves a readable folder that lacks the last part.
Each part of `steps/` has the probe columns of all parts before it; the trainer measures all
probes at step 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minimind_lite.files.run_columns import (
    SAMPLE_COLUMNS,
    read_records,
    sample_columns,
    step_columns,
)
from minimind_lite.files.work import write_then_rename
from minimind_lite.records import Run, StepRecord

FORMAT = 2  # raised when a reader of the old form would misread the new; 1 is still read
PART_SIZE = 100  # steps
PARTS = ("steps", "samples")
ON_DISK = {"sample_loss": "loss", "sample_tokens": "tokens"}  # names in samples/, for people


class RunWriter:
    """Writes records to a run folder as they come, a Parquet part every `part_size` steps.

    Used as a context manager; leaving it, normally or by an error, writes what is pending. The
    folder is taken at once, so that nobody works for minutes in vain; without a single step it is
    given up again. Raises `FileExistsError` where the folder already holds a run, or another
    process has begun one, and `OSError` that names the folder where it can't be written.
    """

    def __init__(
        self, folder: str | Path, info: Mapping[str, Any], *, part_size: int = PART_SIZE
    ) -> None:
        self.folder, self.part_size = Path(folder), part_size
        self.pending: list[StepRecord] = []
        self.parts, self.probe_names = 0, set[str]()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Mode x: of two processes that begin at once, one is refused.
            with open(self.folder / "config.json", "x", encoding="utf-8") as stream:
                stream.write(_config_text(info))
        except FileExistsError:
            raise FileExistsError(
                f"{self.folder} already holds a run, or is a file; choose another folder or "
                "delete it."
            ) from None
        for name in PARTS:
            (self.folder / name).mkdir(exist_ok=True)

    def set_info(self, info: Mapping[str, Any]) -> None:
        """Replace what config.json says of the run."""
        with write_then_rename(self.folder / "config.json") as temporary:
            temporary.write_text(_config_text(info), encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        """Take one record; may write a part."""
        self.pending.append(record)
        if len(self.pending) >= self.part_size:
            self.flush()

    def flush(self) -> None:
        """Write pending records as a part; samples first, so no steps are without samples."""
        if not self.pending:
            return
        self.probe_names |= {name for r in self.pending for name in r.probes}
        steps: dict[str, Any] = dict(step_columns(self.pending, sorted(self.probe_names)))
        steps["micro_losses"] = [r.micro_losses for r in self.pending]
        owner = np.repeat(steps["step"], steps["rows_per_step"])
        samples = {"step": owner}
        samples |= {ON_DISK.get(n, n): v for n, v in sample_columns(self.pending).items()}
        name = f"{self.parts:06d}.parquet"
        _write(self.folder / "samples" / name, samples)
        _write(self.folder / "steps" / name, steps)
        self.parts, self.pending = self.parts + 1, []

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()
        if not self.parts:
            (self.folder / "config.json").unlink(missing_ok=True)
            for folder in (*(self.folder / name for name in PARTS), self.folder):
                with suppress(OSError):  # other files in it stay
                    folder.rmdir()


def _config_text(info: Mapping[str, Any]) -> str:
    return json.dumps({"format": FORMAT, **info}, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, table: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with write_then_rename(path) as temporary:
            pq.write_table(pa.table(dict(table)), temporary, compression="zstd")
    except OSError as error:  # a full disk says no more than that
        raise OSError(f"{path.parent} can't be written: {error}") from None


def save(run: Run, folder: str | Path) -> None:
    """Write a whole run; raises `FileExistsError` where the folder already holds one."""
    with RunWriter(folder, run.info) as writer:
        for record in run.records:
            writer.write(record)


def load(folder: str | Path) -> Run:
    """Read a run folder, finished or not. Raises `ValueError` where it is none."""
    folder = Path(folder)
    try:
        info = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} is not a run folder: its config.json can't be read ({error})."
        ) from None
    if not isinstance(info, dict):
        raise ValueError(f"{folder} is not a run folder: its config.json holds no object.")
    if info.get("format") not in (1, FORMAT):
        raise ValueError(
            f"{folder} has run format {info.get('format')!r}, this version reads 1 and {FORMAT}."
        )
    return Run(info, tuple(_read_parts(folder)))


def _read_parts(folder: Path) -> Iterator[StepRecord]:
    """Records of all parts that are whole. Raises `ValueError` for a gap between them."""
    parts = {p.name for p in folder.glob("steps/*.parquet")}
    parts &= {p.name for p in folder.glob("samples/*.parquet")}
    for number, name in enumerate(sorted(parts)):
        if name != f"{number:06d}.parquet":
            raise ValueError(f"{folder} lacks part {number:06d}.parquet: the run has a gap there.")
        steps, stored = _read(folder / "steps" / name), _read(folder / "samples" / name)
        samples = {column: stored[ON_DISK.get(column, column)] for column in SAMPLE_COLUMNS}
        if "rows_per_step" not in steps:
            steps["rows_per_step"] = _counts_of_format_1(folder, steps["step"], stored["step"])
        yield from read_records(steps, samples, micro_losses=steps["micro_losses"])


def _read(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pydict()
    return {name: v if name == "micro_losses" else np.array(v) for name, v in table.items()}


def _counts_of_format_1(folder: Path, steps: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Format 1 joined conversations to steps by step number, which needs numbers that rise."""
    if (np.diff(steps) <= 0).any():
        raise ValueError(f"{folder} repeats steps, which run format 1 can't hold; run it again.")
    return np.unique(owners, return_counts=True)[1]
