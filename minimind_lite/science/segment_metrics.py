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

from minimind_lite import spikes
from minimind_lite.files.shipped import Segment
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import laws
from minimind_lite.science.procedures import segment_name

BASE_BATCHES = spikes.WINDOW  # at most so many base batches before a segment make its baseline


@dataclass(frozen=True)
class Reading:
    """One segment in one curve."""

    height: float  # nats
    mean_height: float  # nats, mean over the batches wholly inside (the height where none is)
    z: float  # height over the robust sigma of the same base batches
    flagged: bool  # `spikes.find`, which knows nothing of segments, has an event here
    recovery: int  # conversations from onset until the excess is below END_Z sigma, minus the segment's length
    harm: float  # rise of the Chinese probe across the segment, nats; NaN where not measured on both sides


def segments(run: Run) -> list[Segment]:
    """The ground truth that the trial was recorded with."""
    return [Segment(**s) for s in run.info["segments"]]


def shares(run: Run, segment: Segment, epoch: int | None = 0) -> np.ndarray:
    """Share of each step's conversations that lie in the segment (steps,); 0 in other epochs, unless `epoch` is None."""
    met = lambda r: epoch is None or r.epoch == epoch
    return np.array(
        [
            np.mean((r.rows >= segment.start) & (r.rows < segment.stop)) if met(r) else 0.0
            for r in run.records
        ]
    )


def sorted_back(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (N,) of the first epoch in ascending order, the loss that each had at its own step, and its supervised tokens."""
    rows, losses, tokens = (
        np.concatenate([getattr(r, k) for r in run.records if r.epoch == 0])
        for k in ("rows", "sample_losses", "sample_tokens")
    )
    order = np.argsort(rows)
    return rows[order], losses[order], tokens[order]


def odd_rows(run: Run, n: int) -> np.ndarray:
    """True where one of the layout's `n` rows belongs to an odd segment, (n,)."""
    odd = np.zeros(n, bool)
    for s in segments(run):
        odd[s.start : s.stop] = True
    return odd


def in_file_order(run: Run, batch_size: int = 16) -> Run:
    """The losses that each conversation had at its own step, sorted back into file order and cut into batches.

    What a curve would look like if order had no influence on what a loss is.
    """
    rows, losses, tokens = sorted_back(run)
    batch_losses, starts = (
        laws.rebin(losses, tokens, batch_size=batch_size),
        range(0, len(rows), batch_size),
    )
    return Run(
        run.info,
        tuple(
            StepRecord(
                step=i,
                epoch=0,
                samples_seen=start,
                loss=float(loss),
                tokens=int(tokens[start : start + batch_size].sum()),
                lr=0.0,
                grad_norm=float("nan"),
                micro_losses=np.array([loss]),
                rows=rows[start : start + batch_size],
                sample_losses=losses[start : start + batch_size],
                sample_tokens=tokens[start : start + batch_size],
                seconds=0.0,
            )
            for i, (start, loss) in enumerate(zip(starts, batch_losses))
        ),
    )


def read(run: Run, epoch: int = 0) -> dict[str, Reading]:
    """Every segment that the curve touches with a base batch before it, by name."""
    held = [(s, shares(run, s, None)) for s in segments(run)]
    odd, now = sum(share for _, share in held), run.column("epoch") == epoch
    flagged = (
        spikes.baseline(run.loss).flagged if len(run) > spikes.WINDOW else np.zeros(len(run), bool)
    )
    base = (odd == 0) & ~flagged
    found = {}
    for s, share in held:
        share = np.where(now, share, 0.0)
        step = int(np.argmax(share))
        before = np.flatnonzero(base[:step])[-BASE_BATCHES:]
        if share[step] > 0 and len(before):
            found[segment_name(s)] = _read_one(run, s, share, step, run.loss[before], flagged)
    return found


def _read_one(
    run: Run, segment: Segment, share: np.ndarray, step: int, base: np.ndarray, flagged: np.ndarray
) -> Reading:
    median = float(np.median(base))
    sigma = max(spikes.MAD_TO_SIGMA * float(np.median(np.abs(base - median))), 1e-9)
    excess, whole = run.loss - median, np.flatnonzero(share == 1)
    onset = int(np.flatnonzero(share > 0)[0])
    over = np.flatnonzero(excess[step:] < spikes.END_Z * sigma)
    end = step + (int(over[0]) if len(over) else len(excess) - step)
    seen = np.append(
        run.column("samples_seen"), run.records[-1].samples_seen + len(run.records[-1].rows)
    )
    steps, probe = probe_to_the_end(run, "zh")
    last = int(np.flatnonzero(share > 0)[-1])
    earlier, later = probe[steps <= onset], probe[steps > last]
    return Reading(
        float(excess[step]),
        float(excess[whole].mean()) if len(whole) else float(excess[step]),
        float(excess[step] / sigma),
        bool(flagged[share > 0].any()),
        int(seen[end] - seen[onset]) - (segment.stop - segment.start),
        float(later[0] - earlier[-1]) if len(earlier) and len(later) else float("nan"),
    )


def probe_to_the_end(run: Run, probe: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses of a probe, that after the last step included where it was measured."""
    steps, losses = run.probe(probe)
    final = run.info.get("probes_after", {})
    return (
        (np.append(steps, len(run)), np.append(losses, final[probe]))
        if probe in final
        else (steps, losses)
    )


def largest(run: Run) -> float:
    """Largest height above the trailing median of any step with a full window, in nats: the detector's own view."""
    return float(np.nanmax(run.loss - spikes.baseline(run.loss).median))


def rebinned(run: Run, batch_size: int, *, phase: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Token-mean losses (batches,) of the recorded conversations cut anew in file order, and the first row of each batch.

    The first batch ends after `phase` rows (a whole batch for 0). Exact for a frozen model, whatever order it was met in.
    """
    _, losses, tokens = sorted_back(run)
    return laws.rebin(losses, tokens, batch_size=batch_size, phase=phase), np.unique(
        [0, *range(phase, len(losses), batch_size)]
    )


def visibility(
    run: Run, segment: Segment, batch_size: int, *, phases: int = 16
) -> tuple[float, float, float]:
    """Height (nats), noise (nats) and z of a segment at a batch size, of a frozen run: means over phases.

    Height: the batch with the largest share of the segment (the first of these) against the mean of
    all batches without any odd row. Noise: the standard deviation of random batches of base rows.
    """
    rows, losses, counts = sorted_back(run)
    odd, sums, heights = odd_rows(run, len(rows)), np.where(counts > 0, losses, 0.0) * counts, []
    level = sums[~odd].sum() / counts[~odd].sum()
    for phase in np.unique(np.linspace(0, batch_size - 1, phases).round().astype(int)):
        values, starts = rebinned(run, batch_size, phase=int(phase))
        stops = np.append(starts[1:], len(rows))
        inside = (np.minimum(stops, segment.stop) - np.maximum(starts, segment.start)).clip(0) / (
            stops - starts
        )
        heights.append(values[int(np.argmax(inside))] - level)
    base, rng = np.flatnonzero(~odd), np.random.default_rng(0)
    drawn = rng.choice(base, size=(2000, batch_size))
    noise = float((sums[drawn].sum(1) / counts[drawn].sum(1)).std())
    return float(np.mean(heights)), noise, float(np.mean(heights)) / noise
