"""One run of anybody's: its training loss with the places where it rises, and held-out losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minimind_lite.plots.base import LIGHT_GREY, LOOKS, MARK, Plot, canvas, drawable, legend_right
from minimind_lite.records import Run
from minimind_lite.science.run_events import Rise
from minimind_lite.science.segment_metrics import probe_to_the_end
from minimind_lite.segments import DOMAINS

MAX_PROBES = len(LOOKS)  # held-out losses on one pair of axes


def run_curve(
    run: Run, *, rises: Sequence[Rise] = (), opened: int | None = None, title: str = ""
) -> Plot:
    """Training loss, its rises shaded and numbered; below it up to five held-out losses.

    `opened` is the position of a step that is marked. Held-out sets of the user's come
    before the shipped ones.
    """
    probes = probe_order(run)[:MAX_PROBES]
    last = run.records[-1]
    samples = np.append(run.column("samples_seen"), last.samples_seen + len(last.rows))
    with canvas((10, 4 + 2 * bool(probes)), rows=1 + bool(probes)) as (figure, (ax, *below)):
        ax.plot(samples[:-1], run.loss, color=LOOKS[0].color, lw=1.4, label="training loss")
        for number, rise in enumerate(rises, 1):
            ax.axvspan(samples[rise.start], samples[rise.stop], color=LIGHT_GREY, lw=0, zorder=0)
            top = (samples[rise.start], 1.0)
            ax.text(*top, str(number), transform=ax.get_xaxis_transform(), va="top", fontsize=11)
        if opened is not None:
            label = f"step {run.records[opened].step}"
            ax.plot(samples[opened], run.loss[opened], "v", color=MARK, ms=8, label=label)
        for name, look in zip(probes, LOOKS):
            at, losses = probe_to_the_end(run, name)
            [line] = below[0].plot(samples[at], losses, c=look.color, ls=look.dash, lw=1.5)
            line.set(marker=look.marker, markersize=4, label=drawable(name))
            below[0].set_ylabel("held-out loss (nats)")
            legend_right(below[0])
        legend_right(ax)
        ax.set(title=drawable(title), ylabel="training loss (nats)")
        [*below, ax][0].set_xlabel("conversations seen")
    places = ", ".join(f"step {run.records[rise.start].step}" for rise in rises) or "nowhere"
    return Plot(
        figure,
        f"{len(run)} steps, loss {run.loss[0]:.2f} at first, {run.loss[-1]:.2f} at the end; it "
        f"rises at: {places}.",
    )


def probe_order(run: Run) -> list[str]:
    """Names of the held-out sets; those that do not come with the project first."""
    return sorted(run.probe_names(), key=_is_shipped)


def _is_shipped(name: str) -> bool:
    return name in DOMAINS
