"""What a recorded trial shows at each segment: height, robust z, recovery, harm.

Experiments know where the segments lie (the truth is in a trial's `info`), so heights here are
measured at known places, against base batches only; `spikes` judges the same curves without that
knowledge, and both are reported. Definitions: height = loss of the first batch wholly inside the
segment (else the one with the largest share) minus the median of the last base batches before it.

    N conversations of a layout
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import spikes
from .assets import Segment
from .procedures import segment_name
from .records import Run

BASE_BATCHES = spikes.WINDOW  # at most so many base batches before a segment make its baseline


@dataclass(frozen=True)
class Reading:
    """One segment in one curve."""

    height: float     # nats
    mean_height: float  # nats, mean over the batches wholly inside (the height where none is)
    z: float          # height over the robust sigma of the same base batches
    flagged: bool     # `spikes.find`, which knows nothing of segments, has an event here
    recovery: int     # conversations from onset until the excess is below END_Z sigma, minus the segment's length
    harm: float       # rise of the Chinese probe across the segment, nats; NaN where not measured on both sides


def segments(run: Run) -> list[Segment]:
    """The ground truth that the trial was recorded with."""
    return [Segment(**s) for s in run.info["segments"]]


def shares(run: Run, segment: Segment, epoch: int = 0) -> np.ndarray:
    """Share of each step's conversations that lie in the segment (steps,); 0 in other epochs."""
    return np.array([np.mean((r.rows >= segment.start) & (r.rows < segment.stop)) if r.epoch == epoch else 0.0 for r in run.records])


def in_file_order(run: Run, batch_size: int = 16) -> Run:
    """The losses that each conversation had at its own step, sorted back into file order and cut into batches.

    What a curve would look like if order had no influence on what a loss is.
    """
    rows, losses, tokens = (np.concatenate([getattr(r, k) for r in run.records if r.epoch == 0]) for k in ("rows", "sample_losses", "sample_tokens"))
    order, records = np.argsort(rows), []
    for i, part in enumerate(np.split(order, range(batch_size, len(order), batch_size))):
        known = np.where(tokens[part] > 0, losses[part], 0.0)
        loss = float((known * tokens[part]).sum() / tokens[part].sum())
        records.append(type(run.records[0])(step=i, epoch=0, samples_seen=i * batch_size, loss=loss, tokens=int(tokens[part].sum()), lr=0.0,
                                            grad_norm=float("nan"), micro_losses=np.array([loss]), rows=rows[part], sample_losses=losses[part],
                                            sample_tokens=tokens[part], seconds=0.0))
    return Run(run.info, tuple(records))


def read(run: Run, epoch: int = 0) -> dict[str, Reading]:
    """Every segment that the curve touches with a base batch before it, by name."""
    every = segments(run)
    odd = sum(np.array([np.mean((r.rows >= s.start) & (r.rows < s.stop)) for r in run.records]) for s in every)
    flagged = spikes.baseline(run.loss).flagged if len(run) > spikes.WINDOW else np.zeros(len(run), bool)
    base = (odd == 0) & ~flagged
    found = {}
    for s in every:
        share = shares(run, s, epoch)
        step = int(np.argmax(share))
        before = np.flatnonzero(base[:step])[-BASE_BATCHES:]
        if share[step] > 0 and len(before):
            found[segment_name(s)] = _read_one(run, s, share, step, run.loss[before], flagged)
    return found


def _read_one(run: Run, segment: Segment, share: np.ndarray, step: int, base: np.ndarray, flagged: np.ndarray) -> Reading:
    median = float(np.median(base))
    sigma = max(spikes.MAD_TO_SIGMA * float(np.median(np.abs(base - median))), 1e-9)
    excess, whole = run.loss - median, np.flatnonzero(share == 1)
    onset = int(np.flatnonzero(share > 0)[0])
    over = np.flatnonzero(excess[step:] < spikes.END_Z * sigma)
    end = step + (int(over[0]) if len(over) else len(excess) - step)
    seen = np.append(run.column("samples_seen"), run.records[-1].samples_seen + len(run.records[-1].rows))
    steps, probe = _with_the_end(run, "zh")
    last = int(np.flatnonzero(share > 0)[-1])
    earlier, later = probe[steps <= onset], probe[steps > last]
    return Reading(float(excess[step]), float(excess[whole].mean()) if len(whole) else float(excess[step]), float(excess[step] / sigma),
                   bool(flagged[share > 0].any()), int(seen[end] - seen[onset]) - (segment.stop - segment.start),
                   float(later[0] - earlier[-1]) if len(earlier) and len(later) else float("nan"))


def _with_the_end(run: Run, probe: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses of a probe, that after the last step included where it was measured."""
    steps, losses = run.probe(probe)
    final = run.info.get("probes_after", {})
    return (np.append(steps, len(run)), np.append(losses, final[probe])) if probe in final else (steps, losses)


def largest(run: Run) -> float:
    """Largest height above the trailing median of any step with a full window, in nats: the detector's own view."""
    return float(np.nanmax(run.loss - spikes.baseline(run.loss).median))


def rebinned(run: Run, batch_size: int, *, phase: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Token-mean losses (batches,) of the recorded conversations cut anew in file order, and the first row of each batch.

    The first batch ends after `phase` rows (a whole batch for 0). Exact for a frozen model, whatever order it was met in.
    """
    rows, losses, tokens = (np.concatenate([getattr(r, k) for r in run.records if r.epoch == 0]) for k in ("rows", "sample_losses", "sample_tokens"))
    order = np.argsort(rows)
    starts = np.unique(np.concatenate([[0], np.arange(phase or batch_size, len(order), batch_size)]))
    sums = np.add.reduceat((np.where(tokens > 0, losses, 0.0) * tokens)[order], starts)
    return sums / np.add.reduceat(tokens[order], starts), starts


def visibility(run: Run, segment: Segment, batch_size: int, *, phases: int = 16) -> tuple[float, float, float]:
    """Height (nats), noise (nats) and z of a segment at a batch size, of a frozen run: means over phases.

    Height: the batch with the largest share of the segment (the first of these) against the mean of
    all batches without any odd row. Noise: the standard deviation of random batches of base rows.
    """
    odd, heights = np.zeros(sum(len(r.rows) for r in run.records), bool), []
    for s in segments(run):
        odd[s.start:s.stop] = True
    rows, losses, tokens = (np.concatenate([getattr(r, k) for r in run.records]) for k in ("rows", "sample_losses", "sample_tokens"))
    sums, counts = np.empty(len(rows)), np.empty(len(rows))
    sums[rows], counts[rows] = np.where(tokens > 0, losses, 0.0) * tokens, tokens
    level = sums[~odd].sum() / counts[~odd].sum()
    for phase in np.unique(np.linspace(0, batch_size - 1, phases).round().astype(int)):
        values, starts = rebinned(run, batch_size, phase=int(phase))
        stops = np.append(starts[1:], len(rows))
        inside = (np.minimum(stops, segment.stop) - np.maximum(starts, segment.start)).clip(0) / (stops - starts)
        heights.append(values[int(np.argmax(inside))] - level)
    base, rng = np.flatnonzero(~odd), np.random.default_rng(0)
    drawn = rng.choice(base, size=(2000, batch_size))
    noise = float((sums[drawn].sum(1) / counts[drawn].sum(1)).std())
    return float(np.mean(heights)), noise, float(np.mean(heights)) / noise
