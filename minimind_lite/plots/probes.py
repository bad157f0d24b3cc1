"""Training loss above, a held-out loss below: what a spike shows, and what it did to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from minimind_lite.plots.base import (
    LIGHT_GREY,
    LOOKS,
    MARK,
    Plot,
    canvas,
    drawable,
    legend_right,
    shade_segments,
)
from minimind_lite.records import Run
from minimind_lite.science import segment_metrics
from minimind_lite.segments import Segment, domain_name


def loss_and_probe(runs: Mapping[str, Run], *, probe: str = "zh", title: str = "") -> Plot:
    """Training loss and a held-out probe of runs that were disturbed at the same steps.

    The steps come from the `event` in the first run's info; they are shaded grey.
    """
    event = cast(tuple[int, int], next(iter(runs.values())).info["event"])
    with canvas((10, 5.4), rows=2) as (figure, (ax, below)):
        for (name, run), look in zip(runs.items(), LOOKS):
            color, dash, marker = look
            ax.plot(run.column("step"), run.loss, c=color, ls=dash, lw=1.6, label=drawable(name))
            steps, losses = segment_metrics.probe_to_the_end(run, probe)
            below.plot(steps, losses, c=color, ls=dash, lw=1.6, marker=marker, ms=5)
        for panel in (ax, below):
            panel.axvspan(*event, color=LIGHT_GREY, lw=0, zorder=0)
        legend_right(ax)
        ax.set(title=drawable(title), ylabel="training loss (nats)")
        below.set_ylabel(f"held-out {domain_name(probe)} (nats)")
        below.set_xlabel("optimizer steps (grey: the disturbance)")
    text = "; ".join(f"{name}: {_peak_and_probe(run, event, probe)}" for name, run in runs.items())
    return Plot(figure, f"{text}.")


def _peak_and_probe(run: Run, event: tuple[int, int], probe: str) -> str:
    steps, losses = segment_metrics.probe_to_the_end(run, probe)
    start, stop = event
    return (
        f"training loss up to {run.loss[start : stop + 1].max():.2f}, probe "
        f"{losses[steps <= start][-1]:.2f} before, {losses.max():.2f} at most, "
        f"{losses[-1]:.2f} at the end"
    )


def on_one_scale(
    run: Run, segments: Sequence[Segment], *, probe: str = "zh", title: str = ""
) -> Plot:
    """Training loss above, a probe below, both axes as long in nats; segments are shaded."""
    steps, losses = segment_metrics.probe_to_the_end(run, probe)
    end = run.records[-1].samples_seen + len(run.records[-1].rows)
    samples = np.append(run.column("samples_seen"), end)
    with canvas((10, 5.2), rows=2) as (figure, (ax, below)):
        ax.plot(samples[:-1], run.loss, color="#111111", lw=1.6)
        below.plot(samples[steps], losses, color=MARK, ls="--", marker="o", lw=1.6)
        for panel in (ax, below):
            shade_segments(panel, segments, alpha=0.35)
        for segment in segments:
            ax.annotate(
                segment.name,
                ((segment.start + segment.stop) / 2, 1),
                xycoords=("data", "axes fraction"),
                rotation=20,
                ha="left",
                fontsize=11,
            )
        span, middle = np.ptp(ax.get_ylim()), float(np.median(losses))
        below.set_ylim(middle - span / 2, middle + span / 2)
        ax.set_ylabel("training\nloss (nats)")
        ax.set_title(drawable(title), pad=52)
        below.set(ylabel=f"held-out\n{domain_name(probe)} (nats)", xlabel="conversations seen")
    return Plot(
        figure,
        f"{title}. Training loss goes from {run.loss.min():.2f} to {run.loss.max():.2f} nats; the "
        f"probe, at {len(losses)} measurements, from {losses.min():.2f} to {losses.max():.2f}. "
        "Both scales span the same number of nats.",
    )
