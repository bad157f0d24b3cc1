"""What makes a row hard: what the base has read of its kind (E11), and what explains it (E6)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minimind_lite.plots.base import GREY, Plot, canvas, drawable
from minimind_lite.plots.effects import COLOR, reach
from minimind_lite.plots.forgetting import LINE_COLORS, MARKERS, label_ends
from minimind_lite.science.intervals import Interval
from minimind_lite.segments import domain_name


def height_by_exposure(heights: Mapping[str, Mapping[int, Interval]], *, title: str = "") -> Plot:
    """Height of each domain's spike in a frozen model, against what the base has read of it.

    `heights`: domain -> conversations of it in pretraining -> interval over layouts. Exposures are
    drawn at equal distances.
    """
    texts: list[str] = []
    ends: dict[str, float] = {}
    with canvas((9, 5)) as (figure, (ax,)):
        for domain, points in heights.items():
            x, color = np.arange(len(points)), LINE_COLORS[domain]
            shift = 0.03 * (len(ends) - 1.5)  # so that error bars don't cover each other
            means = [interval.mean for interval in points.values()]
            errors = np.array([reach(interval) for interval in points.values()]).T
            ax.errorbar(
                x + shift,
                means,
                yerr=errors,
                color=color,
                marker=MARKERS[domain],
                ms=7,
                lw=2.2,
                capsize=4,
            )
            ends[domain] = means[-1]
            listed = ", ".join(f"{k}: {interval}" for k, interval in points.items())
            texts.append(f"{domain_name(domain)} {listed}")
            ax.set_xticks(x, [f"{k}" for k in points])
        ax.axhline(0, color=GREY, lw=0.9, ls=":")
        label_ends(ax, ends, x=x[-1] + 0.06, values=False)
        ax.set_xlim(-0.3, x[-1] + 0.1)
        ax.set(title=drawable(title), ylabel="height of the spike, frozen model (nats)")
        ax.set_xlabel("conversations of the domain in pretraining")
    return Plot(figure, f"{title.rstrip('.?')}. Height in nats by exposure: {'; '.join(texts)}.")


def explained(shares: Mapping[str, Interval], *, title: str = "") -> Plot:
    """How much of the variance of conversations' losses each property explains, a bar each."""
    with canvas((10, 1.6 + 0.55 * len(shares))) as (figure, (ax,)):
        means = [interval.mean for interval in shares.values()]
        errors = np.array([reach(interval) for interval in shares.values()]).T
        names = [drawable(name) for name in shares]
        bars = ax.barh(names, means, xerr=errors, height=0.62, color=COLOR, capsize=4)
        ax.bar_label(bars, [f"{mean:.0%}" for mean in means], padding=8)
        ax.invert_yaxis()
        ax.set(xlim=(0, 1), title=drawable(title))
        ax.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        ax.set_xlabel("share of the variance of conversations' losses")
    listed = ", ".join(f"{name} {interval.text(2, sign='')}" for name, interval in shares.items())
    return Plot(figure, f"{title.rstrip('.?')}. Share of the variance explained: {listed}.")
