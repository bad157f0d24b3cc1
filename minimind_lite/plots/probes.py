"""Training loss above, a held-out loss below: what a spike shows, and what it did to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from minimind_lite.plots.base import (
    LIGHT_GREY,
    LOOKS,
    Plot,
    canvas,
    drawable,
    legend_right,
    shade_segments,
)
from minimind_lite.records import Run
from minimind_lite.science import segment_metrics
from minimind_lite.segments import Segment, domain_name


def loss_and_probe(
    runs: Mapping[str, Run],
    *,
    segments: Sequence[Segment] = (),
    probe: str = "zh",
    title: str = "",
) -> Plot:
    """Training loss and a held-out probe of runs, both on a scale of the same length in nats.

    `segments` are shaded. So are the steps at which a run was disturbed on purpose, from the
    `event` in its info.
    """
    texts = []
    with canvas((10, 5.4), rows=2) as (figure, (ax, below)):
        for (name, run), look in zip(runs.items(), LOOKS):
            color, dash, marker = look
            end = run.records[-1].samples_seen + len(run.records[-1].rows)
            samples = np.append(run.column("samples_seen"), end)
            ax.plot(samples[:-1], run.loss, c=color, ls=dash, lw=1.6, label=drawable(name))
            at, losses = segment_metrics.probe_to_the_end(run, probe)
            below.plot(samples[at], losses, c=color, ls=dash, lw=1.6, marker=marker, ms=5)
            texts.append(
                f"{name}: training loss from {run.loss.min():.2f} to {run.loss.max():.2f}, probe "
                f"{losses[0]:.2f} at first, {losses.max():.2f} at most, {losses[-1]:.2f} at the end"
            )
            for panel in (ax, below) if "event" in run.info else ():
                at_event = np.searchsorted(run.column("step"), run.info["event"])
                first, last = samples[at_event]
                panel.axvspan(first, last, color=LIGHT_GREY, lw=0, zorder=0)
        shade_segments(ax, segments, names=True)
        shade_segments(below, segments)
        low, high = below.get_ylim()
        span, middle = np.ptp(ax.get_ylim()), (low + high) / 2
        below.set_ylim(min(low, middle - span / 2), max(high, middle + span / 2))
        legend_right(ax)
        ax.set(title=drawable(title), ylabel="training loss (nats)")
        below.set(ylabel=f"held-out {domain_name(probe)} (nats)", xlabel="conversations seen")
    return Plot(figure, f"{'; '.join(texts)}.")
