"""What training leaves behind: a record per optimiser step, a run as columns, a run as a folder.

The row numbers are the heart of it: they join a spike in the curve to the conversations that
made it. No torch here, so that a run can be read where no model can.

A run folder holds `config.json` (what was run, on what) and two directories of Parquet parts,
`steps/` and `samples/`, which `pandas.read_parquet(folder / "steps")` opens. Parts are written
whole and renamed into place, so a killed run leaves a readable folder that lacks the last part.
Probes are columns of `steps/`, those of the first part; the trainer measures all at step 0.

    N conversations   M micro-batches of a step   B conversations of a step
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FORMAT = 1  # of the run folder; raised when a reader of the old form would misread the new


@dataclass(frozen=True)
class StepRecord:
    """One optimiser step. Losses are in nats per supervised token, before the step's update."""

    step: int  # 0-based, over all epochs
    epoch: int  # 0-based
    samples_seen: int  # conversations before this step
    loss: float  # sum of losses / supervised tokens of the whole batch
    tokens: int  # supervised tokens of the batch
    lr: float  # learning rate of this step's update
    grad_norm: float  # global L2 norm before clipping; NaN for a frozen model
    micro_losses: np.ndarray  # (M,) token mean inside each micro-batch, as a data loader cuts them
    rows: np.ndarray  # (B,) row numbers in the file, in training order
    sample_losses: (
        np.ndarray
    )  # (B,) token mean of each conversation; NaN where it has no supervised token
    sample_tokens: np.ndarray  # (B,) supervised tokens of each conversation
    seconds: float  # wall time of the step
    probes: Mapping[str, float] = field(
        default_factory=dict
    )  # held-out loss per domain before the update, where measured


def _steps_table(records: list[StepRecord], probe_names: list[str]) -> dict[str, list]:
    scalars = (
        "step",
        "epoch",
        "samples_seen",
        "loss",
        "tokens",
        "lr",
        "grad_norm",
        "micro_losses",
        "seconds",
    )
    table = {name: [getattr(r, name) for r in records] for name in scalars}
    return table | {
        f"probe/{p}": [r.probes.get(p, float("nan")) for r in records] for p in probe_names
    }


def _samples_table(records: list[StepRecord]) -> dict[str, np.ndarray]:
    return {
        "step": np.repeat([r.step for r in records], [len(r.rows) for r in records]),
        "row": np.concatenate([r.rows for r in records]),
        "loss": np.concatenate([r.sample_losses for r in records]),
        "tokens": np.concatenate([r.sample_tokens for r in records]),
    }


@dataclass(frozen=True)
class Run:
    """A whole run as columns: `info` about it, its step records, and arrays over them."""

    info: Mapping[str, object]  # JSON-ready: train_config, model_config, seeds, versions ...
    records: tuple[StepRecord, ...]

    def __len__(self) -> int:
        return len(self.records)

    def column(self, name: str) -> np.ndarray:
        """One value per step (steps,): `loss`, `lr`, `grad_norm`, `tokens`, `epoch`, `samples_seen` ..."""
        return np.array([getattr(r, name) for r in self.records])

    @property
    def loss(self) -> np.ndarray:
        """Loss of each step (steps,), in nats."""
        return self.column("loss")

    def probe(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps at which a probe was measured, and its loss there, in nats."""
        measured = [(r.step, r.probes[name]) for r in self.records if name in r.probes]
        return (np.array([s for s, _ in measured], dtype=int), np.array([v for _, v in measured]))

    def probe_names(self) -> list[str]:
        """Names of all probes that were measured at least once."""
        return sorted({name for r in self.records for name in r.probes})

    def every(self, n: int, first: int = 0) -> Run:
        """What a log shows that keeps one step in `n`, from step `first` on."""
        return Run(self.info, self.records[first::n])

    def losses_by_row(self, n_rows: int, epoch: int = 0) -> np.ndarray:
        """Loss of each conversation at its own step, re-sorted into file order (n_rows,); NaN where not met."""
        out = np.full(n_rows, np.nan)
        for r in self.records:
            if r.epoch == epoch:
                out[r.rows] = r.sample_losses
        return out

    def to_columns(self) -> dict[str, np.ndarray]:
        """Flat arrays, for a table with a run per row: per step (steps,), per conversation (all B,) in training order.

        Losses of conversations are rounded to half precision (three digits); those of steps are kept as they are.
        """
        flat = lambda name, dtype: np.concatenate([getattr(r, name) for r in self.records]).astype(
            dtype
        )
        columns = {
            name: self.column(name)
            for name in ("step", "epoch", "samples_seen", "loss", "tokens", "lr", "grad_norm")
        }
        columns |= {
            "row": flat("rows", np.int32),
            "sample_loss": flat("sample_losses", np.float16),
            "sample_tokens": flat("sample_tokens", np.int16),
            "rows_per_step": np.array([len(r.rows) for r in self.records]),
        }
        return columns | {
            f"probe/{p}": np.array([r.probes.get(p, np.nan) for r in self.records])
            for p in self.probe_names()
        }

    @classmethod
    def from_columns(cls, info: Mapping[str, object], columns: Mapping[str, np.ndarray]) -> Run:
        """Inverse of `to_columns`, but for seconds (0) and micro-batch losses, which are worked out again (M = 1 where none were cut)."""
        ends = np.cumsum(columns["rows_per_step"])
        size = (info.get("train_config") or {}).get("micro_batch_size")
        probes, records = [k for k in columns if k.startswith("probe/")], []
        for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends)):
            losses, tokens = (
                columns["sample_loss"][start:end].astype(float),
                columns["sample_tokens"][start:end].astype(np.int64),
            )
            records.append(
                StepRecord(
                    **{
                        k: columns[k][i].item()
                        for k in (
                            "step",
                            "epoch",
                            "samples_seen",
                            "loss",
                            "tokens",
                            "lr",
                            "grad_norm",
                        )
                    },
                    micro_losses=_micro_means(losses, tokens, size)
                    if size
                    else np.array([columns["loss"][i]]),
                    rows=columns["row"][start:end].astype(np.int64),
                    sample_losses=losses,
                    sample_tokens=tokens,
                    seconds=0.0,
                    probes={
                        k.removeprefix("probe/"): columns[k][i].item()
                        for k in probes
                        if not np.isnan(columns[k][i])
                    },
                )
            )
        return cls(info, tuple(records))

    def save(self, folder: str | Path) -> None:
        """Write the run folder; raises `FileExistsError` where one with steps is already there."""
        with RunWriter(folder, self.info) as writer:
            for record in self.records:
                writer.write(record)

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run folder, finished or not. Raises `ValueError` where it is none."""
        folder = Path(folder)
        try:
            info = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{folder} is not a run folder: its config.json can't be read ({error})."
            ) from None
        if not isinstance(info, dict):
            raise ValueError(f"{folder} is not a run folder: its config.json holds no object.")
        if info.get("format") != FORMAT:
            raise ValueError(
                f"{folder} has run format {info.get('format')!r}, this version reads {FORMAT}."
            )
        return cls(info, tuple(_read_records(folder)))


def micro_sums(losses: np.ndarray, tokens: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Summed losses (M,) and tokens (M,) of micro-batches of `size` conversations, from token means (B,) and tokens (B,)."""
    starts = np.arange(0, len(losses), size)
    return np.add.reduceat(np.where(tokens > 0, losses, 0.0) * tokens, starts), np.add.reduceat(
        tokens, starts
    )


def _micro_means(losses: np.ndarray, tokens: np.ndarray, size: int) -> np.ndarray:
    sums, counts = micro_sums(losses, tokens, size)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _read_records(folder: Path) -> Iterator[StepRecord]:
    import pyarrow.parquet as pq

    names = sorted(
        {p.name for p in (folder / "steps").glob("*.parquet")}
        & {p.name for p in (folder / "samples").glob("*.parquet")}
    )
    for name in names:
        steps = pq.read_table(folder / "steps" / name).to_pydict()
        samples = {
            k: np.array(v) for k, v in pq.read_table(folder / "samples" / name).to_pydict().items()
        }
        probes = [k for k in steps if k.startswith("probe/")]
        ends = np.searchsorted(samples["step"], steps["step"], side="right")
        for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends)):
            yield StepRecord(
                **{
                    k: steps[k][i]
                    for k in (
                        "step",
                        "epoch",
                        "samples_seen",
                        "loss",
                        "tokens",
                        "lr",
                        "grad_norm",
                        "seconds",
                    )
                },
                micro_losses=np.array(steps["micro_losses"][i]),
                rows=samples["row"][start:end],
                sample_losses=samples["loss"][start:end].astype(float),
                sample_tokens=samples["tokens"][start:end],
                probes={
                    k.removeprefix("probe/"): steps[k][i]
                    for k in probes
                    if not np.isnan(steps[k][i])
                },
            )


class RunWriter:
    """Writes records to a run folder as they come, a Parquet part every `part_size` steps.

    Used as a context manager; leaving it, normally or by an error, writes what is pending.
    """

    def __init__(
        self, folder: str | Path, info: Mapping[str, object], *, part_size: int = 100
    ) -> None:
        self.folder, self.part_size = Path(folder), part_size
        self.pending, self.parts, self.probe_names = [], 0, set()
        if list(self.folder.glob("steps/*.parquet")):
            raise FileExistsError(
                f"{self.folder} already holds a run; choose another folder or delete it."
            )
        for name in ("steps", "samples"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **info}, indent=2, ensure_ascii=False)
        (self.folder / "config.json").write_text(text + "\n", encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        """Take one record; may write a part."""
        self.pending.append(record)
        if len(self.pending) >= self.part_size:
            self.flush()

    def flush(self) -> None:
        """Write pending records as a part: samples first, so that steps without samples never exist."""
        if not self.pending:
            return
        # Every part has the columns of all before it, so that the parts are one table to a reader.
        self.probe_names |= {name for r in self.pending for name in r.probes}
        name = f"{self.parts:06d}.parquet"
        _write_parquet(self.folder / "samples" / name, _samples_table(self.pending))
        _write_parquet(
            self.folder / "steps" / name, _steps_table(self.pending, sorted(self.probe_names))
        )
        self.parts, self.pending = self.parts + 1, []

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()


def _write_parquet(path: Path, table: Mapping[str, Iterable]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    temporary = path.with_name(
        f".{path.stem}.{os.getpid()}.tmp"
    )  # a leading dot: Parquet readers pass over it
    pq.write_table(
        pa.table({k: list(v) if k == "micro_losses" else v for k, v in table.items()}),
        temporary,
        compression="zstd",
    )
    os.replace(temporary, path)
