"""Orders, batch sizes and cleaning compared: variants with their intervals side by side, and height against share.

Data in, a `Plot` with its sentence out, as in `plots`. An interval over a single seed is endless; its point is drawn alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from minimind_lite.plots.base import _RENDER, Plot, _style, drawable
from minimind_lite.plots.laws import SERIES, _grid
from minimind_lite.science.evidence import interval
from minimind_lite.science.intervals import Interval


def forest(
    panels: Mapping[str, Mapping[str, Interval]],
    *,
    title: str = "",
    effects: bool = False,
    one_scale: bool = False,
    digits: int = 2,
    size: tuple[float, float] | None = None,
) -> Plot:
    """Mean and interval of variants (rows, top to bottom), a panel for each quantity; all panels have the same rows.

    `effects`: the values are differences, so they get a sign. Every axis holds zero. `one_scale`: the
    panels share their axis, so that a small effect looks small. A panel's name should say its unit.
    """
    names = list(next(iter(panels.values())))
    with _RENDER, matplotlib.rc_context(_style()):
        figure, axes = _grid(
            size or (2.4 + 2.7 * len(panels), 1.5 + 0.5 * len(names)), len(panels), sharey=True
        )
        for ax, (what, found) in zip(axes, panels.items()):
            for row, name in enumerate(names):
                i, (colour, _, marker) = found[name], SERIES[row % len(SERIES)]
                bar = [[i.mean - i.low], [i.high - i.mean]] if math.isfinite(i.low) else None
                ax.errorbar(
                    i.mean, row, xerr=bar, color=colour, marker=marker, ms=7, capsize=4, lw=1.6
                )
                ax.annotate(
                    f"{i.mean:{'+' if effects else ''}z.{digits}f}",
                    (i.mean, row),
                    xytext=(0, 8),
                    textcoords="offset points",
                    ha="center",
                    fontsize=11,
                )
            ax.axvline(
                0, color="#555555", lw=0.9, ls=":"
            )  # and with it the axis holds zero: a small difference looks small
            ax.set_title(drawable(what), fontsize=12)
            ax.margins(x=0.15)
            ax.xaxis.set_major_locator(MaxNLocator(4))
        if one_scale:
            low, high = (
                f(edge)
                for f, edge in (
                    (min, [ax.get_xlim()[0] for ax in axes]),
                    (max, [ax.get_xlim()[1] for ax in axes]),
                )
            )
            for ax in axes:
                ax.set_xlim(low, high)
        axes[0].set_yticks(range(len(names)), [drawable(n) for n in names])
        axes[0].set_ylim(len(names) - 0.5, -0.7)
        figure.suptitle(drawable(title), x=0.01, ha="left")
    said = "; ".join(
        f"{what}: " + ", ".join(f"{n} {i.text(digits, sign='')}" for n, i in found.items())
        for what, found in panels.items()
    )
    return Plot(figure, f"{title}. Mean and 95 % interval. {said}.")


def height_against_share(
    points: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str = "",
    size: tuple[float, float] = (9.5, 5),
) -> Plot:
    """Height found over height expected of the fullest batches: a point per order, intervals over seeds both ways.

    `points` are `law_checks.share_times_hardness` of each seed, by order. On the line a batch costs
    what its rows cost a frozen model; below it, the model had learnt some of them by then.
    """
    found = {
        name: tuple(interval(np.array(column)) for column in zip(*pairs))
        for name, pairs in points.items()
    }
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _grid(size, 1)
        reach = 1.15 * max(x.mean for x, _ in found.values())
        ax.plot([0, reach], [0, reach], color="#555555", lw=1.4, label="frozen model")
        for n, (name, both) in enumerate(found.items()):
            colour, _, marker = SERIES[n % len(SERIES)]
            bars = [
                [[i.mean - i.low], [i.high - i.mean]] if math.isfinite(i.low) else None
                for i in both
            ]
            ax.errorbar(
                both[0].mean,
                both[1].mean,
                xerr=bars[0],
                yerr=bars[1],
                color=colour,
                marker=marker,
                ms=8,
                capsize=3,
                ls="none",
                mfc=colour if n < len(SERIES) else "none",
                label=drawable(name),
            )
        ax.set(
            xlabel="share of tokens × hardness for the frozen model (nats)",
            ylabel="height found (nats)",
            title=drawable(title),
            xlim=(0, reach),
            ylim=(min(0, *(y.mean for _, y in found.values())) - 0.05, reach),
        )
        ax.legend(fontsize=11, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    listed = "; ".join(
        f"{n} {x.mean:.2f} expected, {y.mean:.2f} found" for n, (x, y) in found.items()
    )
    return Plot(figure, f"Fullest batch of each large segment, nats: {listed}.")
