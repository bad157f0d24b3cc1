"""What a curve shows at each segment: height, robust z, recovery, harm.

Experiments know where the segments lie (the truth is in a run's `info`), so heights here are
measured at known places, against batches without an off-domain row. `spikes` judges the same
curves without that knowledge, and both are reported. Height = loss of the first batch wholly
inside the segment (else of the one with the largest share) minus the median of the last base
batches before it.

Positions count the records of a run. They are not step numbers: a run that logs every fourth
step, or was rolled back, has other numbers than 0, 1, 2 ...

    N conversations of a file
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite import segments, spikes
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import laws
from minimind_lite.segments import MAIN, Segment
from minimind_lite.spikes import Baseline, SpikeEvent

BASE_BATCHES = spikes.WINDOW  # at most so many base batches before a segment make its baseline


@dataclass(frozen=True)
class Reading:
    """One segment in one curve."""

    height: float  # nats
    mean_height: float  # nats, over the batches wholly inside; `height` where there is none
    z: float  # height over the robust sigma of the same base batches
    flagged: bool  # an event of `spikes`, which knows nothing of segments, starts with it
    recovery: int  # conversations from onset to the end of the excess, minus the segment's length
    harm: float  # rise of held-out Chinese across the segment, nats; NaN where not measured


def read(run: Run, *, epoch: int = 0) -> dict[str, Reading]:
    """Every segment that the curve touches with a base batch before it, by label."""
    shares = {s: segments.share(run, s, epoch=None) for s in segments.of_run(run)}
    baseline = spikes.baseline(run.loss)
    base = (sum(shares.values()) == 0) & ~baseline.flagged
    this_epoch = run.column("epoch") == epoch
    readings = {}
    for segment, share_in_all in shares.items():
        share = np.where(this_epoch, share_in_all, 0.0)
        before = np.flatnonzero(base[: np.argmax(share)])[-BASE_BATCHES:]
        if share.any() and len(before):
            readings[segment.label] = _read_segment(
                run, segment, share=share, base_losses=run.loss[before], baseline=baseline
            )
    return readings


def _read_segment(
    run: Run, segment: Segment, *, share: np.ndarray, base_losses: np.ndarray, baseline: Baseline
) -> Reading:
    median = float(np.median(base_losses))
    # The constant of `spikes`, not scipy's: recorded numbers were judged with its four digits.
    sigma = max(spikes.MAD_TO_SIGMA * float(np.median(np.abs(base_losses - median))), 1e-9)
    excess, peak = run.loss - median, int(np.argmax(share))
    wholly_inside, touching = np.flatnonzero(share == 1), np.flatnonzero(share > 0)
    quiet = np.flatnonzero(excess[peak:] < spikes.END_Z * sigma)
    end = peak + (int(quiet[0]) if len(quiet) else len(excess) - peak)
    samples = _samples_before(run)
    height = float(excess[peak])
    return Reading(
        height=height,
        mean_height=float(excess[wholly_inside].mean()) if len(wholly_inside) else height,
        z=height / sigma,
        flagged=_starts_event(run, segment, share=share, baseline=baseline),
        recovery=int(samples[end] - samples[touching[0]]) - len(segment),
        harm=_harm(run, first=int(touching[0]), last=int(touching[-1])),
    )


def _starts_event(run: Run, segment: Segment, *, share: np.ndarray, baseline: Baseline) -> bool:
    """Some event starts in a batch that is high because of the segment's rows.

    At least half of the batch's excess is theirs. An event that began in a neighboring segment is
    not of this one, nor is one that begins in a batch of both because of the other's rows.
    """
    begins = (baseline.event > 0) & (np.diff(baseline.event, prepend=0) != 0) & (share > 0)
    for step in np.flatnonzero(begins):
        record = run.records[step]
        sums = laws.sum_losses(record.sample_losses, record.sample_tokens)
        excess = sums - record.sample_tokens * baseline.median[step]
        inside = (record.rows >= segment.start) & (record.rows < segment.stop)
        if 2 * excess[inside].sum() >= excess.sum():
            return True
    return False


def _samples_before(run: Run) -> np.ndarray:
    """Conversations read before each record, and after the last, (steps + 1,)."""
    last = run.records[-1]
    return np.append(run.column("samples_seen"), last.samples_seen + len(last.rows))


def _harm(run: Run, *, first: int, last: int) -> float:
    positions, losses = probe_to_the_end(run, MAIN)
    before, after = losses[positions <= first], losses[positions > last]
    return float(after[0] - before[-1]) if len(before) and len(after) else float("nan")


def probe_to_the_end(run: Run, probe: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and losses of a probe; the measurement after the last step is at `len(run)`."""
    positions, losses = run.probe(probe)
    final = run.info.get("probes_after", {})
    if probe not in final:
        return positions, losses
    return np.append(positions, len(run)), np.append(losses, final[probe])


def tallest_step(run: Run) -> float:
    """Largest height above the trailing median of any step with a full window, in nats."""
    return float(np.nanmax(run.loss - spikes.baseline(run.loss).median))


@dataclass(frozen=True, eq=False)
class FileRows:
    """The first epoch of a run, sorted back into file order."""

    losses: np.ndarray  # (N,) nats, each conversation's at its own step
    tokens: np.ndarray  # (N,) supervised
    off_domain: np.ndarray  # (N,) bool, of any segment


def rows_read(run: Run) -> np.ndarray:
    """Row numbers (N,) of the first epoch, in training order."""
    return np.concatenate([r.rows for r in run.records if r.epoch == 0])


def file_rows(run: Run) -> FileRows:
    """Raises `ValueError` where the first epoch left a row out or read one twice."""
    records, rows = [r for r in run.records if r.epoch == 0], rows_read(run)
    order = np.argsort(rows)
    if not np.array_equal(rows[order], np.arange(len(rows))):
        raise ValueError(
            f"every row must be read once, got {len(rows)} rows, {len(np.unique(rows))} "
            "different; take a plain pass."
        )
    losses = np.concatenate([r.sample_losses for r in records])[order]
    tokens = np.concatenate([r.sample_tokens for r in records])[order]
    return FileRows(losses, tokens, segments.off_domain(segments.of_run(run), len(rows)))


def in_file_order(run: Run, batch_size: int = 16) -> Run:
    """Each conversation's loss at its own step, sorted back into file order, cut into batches.

    What a curve would look like if order had no influence on what a loss is.
    """
    rows = file_rows(run)
    losses = laws.rebin(rows.losses, rows.tokens, batch_size=batch_size)
    records = []
    for step, loss in enumerate(losses):
        part = slice(step * batch_size, (step + 1) * batch_size)
        records.append(
            StepRecord(
                step=step,
                epoch=0,
                samples_seen=step * batch_size,
                loss=float(loss),
                tokens=int(rows.tokens[part].sum()),
                lr=0.0,
                grad_norm=float("nan"),
                update_norm=float("nan"),
                micro_losses=np.array([loss]),
                rows=np.arange(len(rows.losses))[part],
                sample_losses=rows.losses[part],
                sample_tokens=rows.tokens[part],
                seconds=0.0,
            )
        )
    return Run(run.info, tuple(records))


# What the detector's own baseline says, of a known segment and of an event


@dataclass(frozen=True)
class SegmentSpike:
    """What a curve shows at given rows, whether or not it was flagged as an event."""

    step: int  # position of the batch that is judged
    share: float  # share of that batch's conversations that lie in the rows
    height: float  # its loss minus the trailing baseline's median, nats
    z: float  # its robust z
    baseline: float  # that median, nats
    flagged: bool  # an event starts with them


def at_rows(
    run: Run, start: int, stop: int, *, epoch: int = 0, window: int = spikes.WINDOW
) -> SegmentSpike:
    """Height of the spike, if any, that rows start .. stop-1 make in a run.

    The first batch with the largest share of the rows is judged. In a shuffled order that may come
    before the baseline's window is full; then the fullest batch after it. Raises `ValueError`
    where the run does not touch the rows in that epoch, or only before the window is full.
    """
    base = spikes.baseline(run.loss, window=window)
    rows = Segment("", start, stop)
    share = segments.share(run, rows, epoch=epoch)
    if not share.any():
        raise ValueError(f"no batch of epoch {epoch} holds rows {start} .. {stop - 1}.")
    usable, step = np.isfinite(base.median), int(np.argmax(share))
    if not usable[step]:
        step = int(np.argmax(np.where(usable, share, 0.0)))
    if not usable[step] or share[step] == 0:
        raise ValueError(
            f"rows {start} .. {stop - 1} come before the baseline's window of {window} steps "
            "is full."
        )
    return SegmentSpike(
        step=step,
        share=float(share[step]),
        height=float(run.loss[step] - base.median[step]),
        z=float(base.z[step]),
        baseline=float(base.median[step]),
        flagged=_starts_event(run, rows, share=share, baseline=base),
    )


def spike_score(
    values: Sequence[float] | np.ndarray, *, window: int = 1000, n_sigma: float = 7.0
) -> float:
    """Percentage of values at least `n_sigma` standard deviations from the mean of `window` before.

    OLMo 2's measure (arXiv 2501.00656). Short runs need a shorter window, and should say so. Mean
    and deviation are not robust: a spike inflates the scale that judges its neighbors. The
    percentage is of the values that have a full window before them; NaN where none has.
    """
    values = np.asarray(values, dtype=float)
    if len(values) <= window:
        return float("nan")
    # (steps - window, window)
    windows = np.lib.stride_tricks.sliding_window_view(values[:-1], window)
    distance = np.abs(values[window:] - windows.mean(axis=1))
    return float(100 * np.mean(distance >= n_sigma * np.maximum(windows.std(axis=1), 1e-12)))


def width(run: Run, event: SpikeEvent) -> int:
    """Conversations from the event's first step to its end."""
    return sum(len(r.rows) for r in run.records[event.start : event.stop])


def recovery(run: Run, event: SpikeEvent, *, length: int) -> int:
    """Conversations from onset to the end of the excess, minus the segment's `length` (rows).

    About 0 (to within a batch or two) means that the recovery is nothing but the segment ending.
    """
    return width(run, event) - length


def harm(run: Run, event: SpikeEvent) -> dict[str, float]:
    """Change of each held-out probe from the last measurement before the event to the first after.

    In nats. Empty for probes that were not measured on both sides.
    """
    changes = {}
    for name in run.probe_names():
        positions, losses = run.probe(name)
        before, after = losses[positions <= event.start], losses[positions >= event.stop]
        if len(before) and len(after):
            changes[name] = float(after[0] - before[-1])
    return changes


def epoch_folding(
    values: Sequence[float] | np.ndarray, epoch_steps: int, *, window: int = spikes.WINDOW
) -> dict[float, float]:
    """Correlation of the detrended series with itself, by lag in epochs: 0.5, 1, 1.5, ...

    The trend is a centered running median. High at whole epochs and about 0 at halves: the curve
    repeats by position, so its bumps belong to the data and their order. Lags that leave less
    than half an epoch of overlap are left out. Raises `ValueError` for less than 1.5 epochs.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 1.5 * epoch_steps:
        raise ValueError(
            f"folding needs at least 1.5 epochs, got {n} steps of {epoch_steps} per epoch."
        )
    half = window // 2
    padded = np.pad(values, half, mode="reflect")
    neighbors = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    residual = values - np.median(neighbors, axis=1)
    correlation = {}
    for halves in range(1, 2 * n // epoch_steps):
        lag = round(halves * epoch_steps / 2)
        if n - lag >= epoch_steps / 2:
            pairs = np.corrcoef(residual[lag:], residual[: n - lag])
            correlation[halves / 2] = float(pairs[0, 1])
    return correlation
