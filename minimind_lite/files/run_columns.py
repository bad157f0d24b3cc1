"""A run as flat columns, and back: what Parquet tables hold of it.

steps, one entry per record:           step, epoch, loss ... and rows_per_step
conversations, all B of every record:  row, sample_loss, sample_tokens, in training order

B conversations of a step   M micro-batches of a step
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minimind_lite.records import Run, StepRecord, micro_sums, token_means

COUNTS = ("step", "epoch", "samples_seen", "tokens")
MEASURES = ("loss", "lr", "grad_norm", "update_norm")
PROBE = "probe/"


def to_columns(run: Run) -> dict[str, np.ndarray]:
    """All columns of a run, for a table with a run per row; times are left out.

    Losses of conversations are rounded to half precision (three digits); those of steps are not.
    A probe is NaN where it was not measured.
    """
    records = run.records
    columns = {name: run.column(name) for name in (*COUNTS, *MEASURES)}
    columns["rows_per_step"] = np.array([len(r.rows) for r in records])
    for probe in run.probe_names():
        columns[PROBE + probe] = np.array([r.probes.get(probe, np.nan) for r in records])
    columns["row"] = np.concatenate([r.rows for r in records]).astype(np.int32)
    columns["sample_loss"] = np.concatenate([r.sample_losses for r in records]).astype(np.float16)
    columns["sample_tokens"] = np.concatenate([r.sample_tokens for r in records]).astype(np.int16)
    return columns


def from_columns(info: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> Run:
    """Inverse of `to_columns`; micro-batch losses are worked out again (M = 1 where none were cut).

    An older recording has no `update_norm`.
    """
    size = (info.get("train_config") or {}).get("micro_batch_size")
    stops = np.cumsum(columns["rows_per_step"])
    starts = stops - columns["rows_per_step"]
    spans = [slice(int(start), int(stop)) for start, stop in zip(starts, stops)]
    return Run(info, tuple(_record(columns, i, span, size) for i, span in enumerate(spans)))


def _record(columns: Mapping[str, np.ndarray], i: int, span: slice, size: int | None) -> StepRecord:
    losses = columns["sample_loss"][span].astype(float)
    tokens = columns["sample_tokens"][span].astype(np.int64)
    micro_losses = np.array([columns["loss"][i]])
    if size:
        micro_losses = token_means(*micro_sums(losses, tokens, size))
    values: dict[str, Any] = {name: int(columns[name][i]) for name in COUNTS}
    values |= {name: float(columns[name][i]) for name in MEASURES if name in columns}
    measured = {n.removeprefix(PROBE): float(columns[n][i]) for n in columns if n.startswith(PROBE)}
    return StepRecord(
        **values,
        micro_losses=micro_losses,
        rows=columns["row"][span].astype(np.int64),
        sample_losses=losses,
        sample_tokens=tokens,
        probes={name: loss for name, loss in measured.items() if not np.isnan(loss)},
    )
