"""Checks of the exercises: each says what is wrong and what to try; none stops "Run All".

An untouched exercise (None) says "not yet". A check works the right answer out from the data, so
it stays right when the data are rebuilt. Each returns True where the answer is right.
"""

from __future__ import annotations

import numpy as np

from . import assets, experiments, spikes
from .config import TrainConfig
from .lessons import verdict
from .records import Run

NOT_YET = "not yet: put your answer in and run the cell again."


# Lesson 00


def check_row_in_first_spike(row: int | None, run: Run) -> bool:
    """A row number (from 0) that lies in a step of the run's first spike event."""
    if row is None:
        return verdict([NOT_YET], "")
    first = spikes.find(run.loss)[0]
    inside = np.concatenate([r.rows for r in run.records[first.start:first.stop]])
    step = next((r.step for r in run.records if row in r.rows), None)
    if step is None:
        return verdict([f"row {row} is in no batch; rows go from 0 to {max(int(r.rows.max()) for r in run.records)}."], "")
    return verdict([] if row in inside else [f"row {row} is in step {step}; the first spike covers steps {first.start} to {first.stop - 1}."],
                   f"row {row} is in step {step}, inside the spike (rows {inside.min()} to {inside.max()}).")


def check_buffer_removes_spikes(order: str | None, *, seed: int = 0, progress: experiments.Progress = experiments.quiet) -> bool:
    """Train with a shuffle buffer (about ten seconds) and look for spikes."""
    if order is None:
        return verdict([NOT_YET], "")
    if not isinstance(order, str) or not order.startswith("buffer:"):
        return verdict([f'write "buffer:K" with a number for K, got {order!r}.'], "")
    try:
        found = spikes.find(experiments.run_once(TrainConfig(order=order, seed=seed), name=order, progress=progress).loss)
    except ValueError as error:
        return verdict([str(error)], "")
    heights = ", ".join(f"+{e.peak_height:.2f} nats" for e in found)
    return verdict([f"{len(found)} spikes left ({heights}): the buffer is too small to spread a segment."] if found else [],
                   f"{order} leaves no spike, with this seed.")


# Lesson 03


def check_hardest_line(line: int | None, run: Run) -> bool:
    """File line (from 1) of the hardest conversation at the peak of the tallest event of the last epoch."""
    if line is None:
        return verdict([NOT_YET], "")
    last = [e for e in spikes.find(run.loss) if run.records[e.start].epoch == run.records[-1].epoch]
    record = run.records[max(last, key=lambda e: e.peak_height).peak]
    hardest = assets.conversations()[record.rows[int(np.nanargmax(record.sample_losses))]].line
    in_step = line - 1 in record.rows
    problem = (f"line {line} is in the right step, but not its hardest conversation." if in_step else
               f"line {line} is not in the tallest step of the last epoch, which is step {record.step}.")
    return verdict([] if line == hardest else [problem], f"line {line}, at {np.nanmax(record.sample_losses):.2f} nats per token.")


def check_log_shows_segment(count: int | None, run: Run, segment: assets.Segment, *, interval: int) -> bool:
    """For how many starts a log of one step in `interval` shows rows of the segment in the first epoch."""
    if count is None:
        return verdict([NOT_YET], "")
    touches = [bool(r.epoch == 0 and ((r.rows >= segment.start) & (r.rows < segment.stop)).any()) for r in run.records]
    right = sum(any(touches[first::interval]) for first in range(interval))
    steps = [i for i, touched in enumerate(touches) if touched]
    return verdict([] if count == right else [f"not {count}. Steps {steps} hold rows of the segment; which starts keep one of them?"],
                   f"{right} of {interval} starts show it; the others never print a batch with any of its rows.")
