"""Training-loss curves: runs on one pair of axes, by row of the file, as logged, and as judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.patches import Patch

from minimind_lite import spikes
from minimind_lite.plots.base import (
    LOOKS,
    MARK,
    MAX_LABELS,
    Plot,
    canvas,
    counted,
    domain_names,
    draw_strip,
    drawable,
    legend_right,
    mark_spike,
    positions,
    shade_segments,
)
from minimind_lite.records import Run
from minimind_lite.science.log_views import Curve
from minimind_lite.segments import Segment, off_domain
from minimind_lite.spikes import SpikeEvent

ROLLING, ROBUST = "#E69F00", "#0072B2"  # the two detectors


def loss_curve(
    runs: Mapping[str, Run],
    *,
    segments: Sequence[Segment] = (),
    events: Sequence[SpikeEvent] = (),
    strips: Sequence[str] | None = None,
    axis: str = "samples",
    title: str = "",
) -> Plot:
    """Training loss of up to five runs on one pair of axes.

    `events` mark spikes of the first run with their height and z. `segments` draw the domains of
    each batch under the curve, for the runs named in `strips` (the first, if left out). `axis` is
    "samples" seen or optimizer "steps". Raises `ValueError` for no run or more than five.
    """
    if not 1 <= len(runs) <= len(LOOKS):
        limit = f"1 to {len(LOOKS)} runs on one pair of axes"
        raise ValueError(f"loss_curve draws {limit}, got {len(runs)}; leave some out.")
    striped = (list(runs)[:1] if strips is None else list(strips)) if segments else []
    n = len(striped)
    with canvas((10, 4.5 + n / 2), rows=1 + n, heights=[12, *[1] * n]) as (figure, axes):
        ax, *below = axes
        for (label, run), look in zip(runs.items(), LOOKS):
            x, text = positions(run, axis), drawable(label)
            ax.plot(x, run.loss, color=look.color, ls=look.dash, lw=1.6, label=text)
        for event in events:
            few = len(events) <= MAX_LABELS
            mark_spike(ax, list(runs.values()), event=event, axis=axis, label=few)
        for strip, label in zip(below, striped):
            draw_strip(strip, runs[label], segments=segments, axis=axis, label=label)
        domains = domain_names(segments) if striped else {}
        patches = [Patch(color=color, label=name) for name, color in domains.items()]
        legend_right(ax, [*ax.get_legend_handles_labels()[0], *patches])
        ax.set(title=drawable(title), ylabel="training loss (nats per token)")
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + (0.2 if events else 0.05) * (high - low))
        axes[-1].set_xlabel("conversations seen" if axis == "samples" else "optimizer steps")
    return Plot(figure, _curve_summary(runs, events))


def _curve_summary(runs: Mapping[str, Run], events: Sequence[SpikeEvent]) -> str:
    text = "; ".join(_course(label, run) for label, run in runs.items()) + "."
    if not events:
        return text
    label, first = next(iter(runs.items()))
    listed = "; ".join(_event_in_words(first, event) for event in events[:MAX_LABELS])
    more = f"; and {len(events) - MAX_LABELS} more" if len(events) > MAX_LABELS else ""
    return f"{text} Spikes in {label}, height at the peak: {listed}{more}."


def _course(label: str, run: Run) -> str:
    tenth, highest = max(1, len(run) // 10), int(run.loss.argmax())
    return (
        f"{label}: {len(run)} steps, mean loss {run.loss[:tenth].mean():.2f} over the first "
        f"{tenth}, {run.loss[-tenth:].mean():.2f} over the last {tenth}, highest "
        f"{run.loss[highest]:.2f} at step {run.records[highest].step}"
    )


def _event_in_words(run: Run, event: SpikeEvent) -> str:
    records = run.records[event.start : event.stop]
    rows = np.concatenate([record.rows for record in records])
    place = f"steps {records[0].step}–{records[-1].step}"
    if (np.diff(rows) == 1).all():  # a stretch of the file
        place = f"rows {rows[0]}–{rows[-1]}"
    return f"+{event.peak_height:.2f} nats (z = {event.z:.0f}) at {place}"


def losses_by_row(
    runs: Mapping[str, Run],
    n_rows: int,
    *,
    segments: Sequence[Segment],
    epoch: int = 0,
    smooth: int = 32,
    title: str = "",
) -> Plot:
    """Loss of each conversation against its row in the file, whatever order it was trained in.

    Dots are the conversations of the first run, lines the running median over `smooth` rows.
    """
    losses = {label: run.losses_by_row(n_rows, epoch) for label, run in runs.items()}
    with canvas((10, 5)) as (figure, (ax,)):
        shade_segments(ax, segments, names=True)
        ax.plot(next(iter(losses.values())), ".", color="#999999", ms=2.5, zorder=1)
        for (label, values), look in zip(losses.items(), LOOKS):
            rows = np.flatnonzero(np.isfinite(values))  # a stopped run has not read the later ones
            windows = np.lib.stride_tricks.sliding_window_view(values[rows], smooth)
            x, medians = rows[: len(windows)] + smooth / 2, np.median(windows, axis=1)
            ax.plot(x, medians, c=look.color, ls=look.dash, lw=1.8, label=drawable(label))
        ax.set(title=drawable(title), xlabel="row in the file")
        ax.set_ylabel("loss of the conversation (nats per token)")
        legend_right(ax)
    text = "; ".join(f"{label}: {_heights(v, segments)}" for label, v in losses.items())
    return Plot(
        figure,
        f"Mean loss of each segment's conversations above the median Chinese one, in nats. {text}.",
    )


def _heights(losses: np.ndarray, segments: Sequence[Segment]) -> str:
    """Height of each segment that has a loss, in words; `losses` are by row (n_rows,)."""
    main = np.isfinite(losses) & ~off_domain(segments, len(losses))
    level = np.median(losses[main])
    means = {
        segment: np.nanmean(losses[segment.start : segment.stop])
        for segment in segments
        if np.isfinite(losses[segment.start : segment.stop]).any()
    }
    return ", ".join(
        f"{segment.name} ({len(segment)} rows) {mean - level:+.2f}"
        for segment, mean in means.items()
    )


def panels(
    curves: Mapping[str, Curve],
    *,
    run: Run | None = None,
    segments: Sequence[Segment] = (),
    detect: bool = False,
    earlier: Mapping[str, Curve] | None = None,
    title: str = "",
    height: float = 1.35,
) -> Plot:
    """One small panel per curve over the same conversations, with the run's domain strip below.

    With `detect`, the detector's events are marked in every curve that is long enough for it.
    `earlier` are curves by panel, drawn as a broad grey line.
    """
    n, strip = len(curves), run is not None
    heights = [10] * n + [2] * strip
    with canvas((10, height * n + 1.2), rows=n + strip, heights=heights) as (figure, axes):
        for ax, (name, curve), look in zip(axes, curves.items(), cycle(LOOKS)):
            if earlier and name in earlier:
                ax.plot(earlier[name].samples, earlier[name].values, color="#BBBBBB", lw=5)
            dots = "." if len(curve.values) < 60 else None
            ax.plot(curve.samples, curve.values, color=look.color, lw=1.3, marker=dots)
            for event in _events(curve) if detect else []:
                ax.plot(curve.samples[event.peak], curve.values[event.peak], "v", c=MARK, ms=8)
            heading = f"{title}\n{name}" if title and ax is axes[0] else name
            ax.set_title(drawable(heading), fontsize=11)
            ax.margins(y=0.25)
        if run is not None:
            draw_strip(axes[-1], run, segments=segments, label="rows")
        axes[n // 2].set_ylabel("loss as logged (nats)")
        axes[-1].set_xlabel("conversations seen")
    text = "; ".join(_logged_course(name, curve, detect) for name, curve in curves.items())
    return Plot(figure, f"{text}.")


def _events(curve: Curve) -> list[SpikeEvent]:
    return spikes.find(curve.values) if len(curve.values) > spikes.WINDOW else []


def _logged_course(name: str, curve: Curve, detect: bool) -> str:
    top, long_enough = int(np.argmax(curve.values)), len(curve.values) > spikes.WINDOW
    flagged = f", {counted(len(_events(curve)), 'spike')} flagged" if detect and long_enough else ""
    return (
        f"{name}: {len(curve.values)} points, mean {curve.values.mean():.2f}, highest "
        f"{curve.values[top]:.2f} after {curve.samples[top]:,} conversations{flagged}"
    )


def compare_detectors(
    values: Sequence[float], *, window: int, n_sigma: float = 7.0, title: str = ""
) -> Plot:
    """One series under two detectors: a rolling mean, and the robust z of `spikes`.

    The first flags what is `n_sigma` deviations from the mean of the `window` before (OLMo's rule).
    """
    x = np.asarray(values, dtype=float)
    windows = np.lib.stride_tricks.sliding_window_view(x[:-1], window)
    mean, reach = windows.mean(axis=1), n_sigma * np.maximum(windows.std(axis=1), 1e-12)
    rolling = np.zeros(len(x), dtype=bool)
    rolling[window:] = np.abs(x[window:] - mean) >= reach
    base = spikes.baseline(x, window=window)
    limit = base.median + np.maximum(spikes.THRESHOLD * base.sigma, spikes.MIN_HEIGHT)
    robust, steps = np.flatnonzero(base.flagged), np.arange(window, len(x))
    with canvas((10, 4.6)) as (figure, (ax,)):
        ax.plot(x, color="#111111", lw=1.4, label="the curve")
        label = f"rolling mean + {n_sigma:g} deviations"
        ax.plot(steps, mean + reach, c=ROLLING, ls="--", lw=1.8, label=label)
        label = f"robust: median + {spikes.THRESHOLD:g} sigma"
        ax.plot(limit, color=ROBUST, ls="-.", lw=1.8, label=label)
        at, label = np.flatnonzero(rolling), "flagged by rolling mean"
        ax.plot(at, x[at], "s", color=ROLLING, mec="#111111", ms=9, label=label)
        ax.plot(robust, x[robust], "v", color=ROBUST, ms=6, label="flagged by robust z")
        low, span = x.min(), np.ptp(x)
        ax.set(title=drawable(title), xlabel="steps", ylabel="loss (nats)")
        ax.set_ylim(low - 0.15 * span, x.max() + 0.5 * span)
        legend_right(ax)
    return Plot(
        figure,
        f"{len(x)} steps, window {window}. Flagged by the rolling mean and {n_sigma:g} deviations: "
        f"{_ranges(rolling)}. Flagged by the robust z: {_ranges(base.flagged)}.",
    )


def _ranges(flagged: np.ndarray) -> str:
    """The flagged steps in words: "3–5, 8"."""
    padded = np.concatenate([[False], flagged, [False]]).astype(int)
    edges = np.flatnonzero(np.diff(padded)).reshape(-1, 2)
    return ", ".join(f"{a}–{b - 1}" if b - a > 1 else f"{a}" for a, b in edges) or "none"
