"""A run as flat columns, and back: what Parquet tables hold of it.

steps, one entry per record:           step, epoch, loss ... and rows_per_step
conversations, all B of every record:  row, sample_loss, sample_tokens, in training order

B conversations of a step   M micro-batches of a step
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minimind_lite.records import Run, StepRecord, micro_sums, token_means

COUNTS = ("step", "epoch", "samples_seen", "tokens")
MEASURES = ("loss", "lr", "grad_norm", "update_norm", "seconds", "probe_seconds")
TIMES = ("seconds", "probe_seconds")
SAMPLE_COLUMNS = ("row", "sample_loss", "sample_tokens")
PROBE = "probe/"

Columns = Mapping[str, np.ndarray]


def step_columns(records: Sequence[StepRecord], probes: Sequence[str]) -> dict[str, np.ndarray]:
    """One value per record (steps,); NaN where a probe was not measured."""
    columns = {n: np.array([getattr(r, n) for r in records]) for n in (*COUNTS, *MEASURES)}
    columns["rows_per_step"] = np.array([len(r.rows) for r in records])
    for name in probes:
        columns[PROBE + name] = np.array([r.probes.get(name, np.nan) for r in records])
    return columns


def sample_columns(records: Sequence[StepRecord]) -> dict[str, np.ndarray]:
    """One value per conversation of every record, in training order."""
    return {
        "row": np.concatenate([r.rows for r in records]),
        "sample_loss": np.concatenate([r.sample_losses for r in records]),
        "sample_tokens": np.concatenate([r.sample_tokens for r in records]),
    }


def to_columns(run: Run) -> dict[str, np.ndarray]:
    """All columns of a run, for a table with a run per row; times are left out.

    Losses of conversations are rounded to half precision (three digits); those of steps are not.
    """
    columns = step_columns(run.records, run.probe_names()) | sample_columns(run.records)
    narrow = {"row": np.int32, "sample_loss": np.float16, "sample_tokens": np.int16}
    return {
        name: values.astype(narrow.get(name, values.dtype))
        for name, values in columns.items()
        if name not in TIMES
    }


def from_columns(info: Mapping[str, Any], columns: Columns) -> Run:
    """Inverse of `to_columns`; micro-batch losses are worked out again (M = 1 where none were cut).

    Columns that an older recording lacks are NaN (norms) or 0 (times).
    """
    size = (info.get("train_config") or {}).get("micro_batch_size")
    return Run(info, tuple(read_records(columns, columns, micro_batch_size=size)))


def read_records(
    steps: Columns,
    samples: Columns,
    *,
    micro_batch_size: int | None = None,
    micro_losses: Sequence[Sequence[float]] | None = None,
) -> Iterator[StepRecord]:
    """The records of step columns and sample columns; `micro_losses` where they were stored."""
    missing = {"update_norm": np.nan, "seconds": 0.0, "probe_seconds": 0.0}
    probes = [name for name in steps if name.startswith(PROBE)]
    stop = 0
    for i, count in enumerate(steps["rows_per_step"]):
        span = slice(stop, stop + int(count))
        stop = span.stop
        losses = samples["sample_loss"][span].astype(float)
        tokens = samples["sample_tokens"][span].astype(np.int64)
        if micro_losses is not None:
            means = np.array(micro_losses[i])
        elif micro_batch_size:
            means = token_means(*micro_sums(losses, tokens, micro_batch_size))
        else:
            means = np.array([steps["loss"][i]])
        values = {n: float(steps[n][i]) if n in steps else missing[n] for n in MEASURES}
        measured = {name.removeprefix(PROBE): float(steps[name][i]) for name in probes}
        yield StepRecord(
            step=int(steps["step"][i]),
            epoch=int(steps["epoch"][i]),
            samples_seen=int(steps["samples_seen"][i]),
            tokens=int(steps["tokens"][i]),
            **values,
            micro_losses=means,
            rows=samples["row"][span].astype(np.int64),
            sample_losses=losses,
            sample_tokens=tokens,
            probes={name: loss for name, loss in measured.items() if not np.isnan(loss)},
        )
