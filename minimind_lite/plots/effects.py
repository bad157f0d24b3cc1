"""Numbers side by side: bars, and means with their intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from minimind_lite.plots.base import (
    GREY,
    LOOKS,
    Look,
    Plot,
    canvas,
    counted,
    drawable,
    legend_right,
    note,
)
from minimind_lite.science.intervals import Interval

COLOR = "#0072B2"


def reach(interval: Interval) -> tuple[float, float]:
    """How far the interval goes below and above its mean; nothing for a single seed."""
    if not math.isfinite(interval.low):
        return 0.0, 0.0
    return interval.mean - interval.low, interval.high - interval.mean


def draw_intervals(
    ax: Axes,
    x: np.ndarray,
    intervals: Sequence[Interval],
    *,
    look: Look,
    size: float,
    line: bool = False,
    label: str | None = None,
) -> None:
    """Means as markers with their intervals as bars, joined by a line if asked for."""
    ax.errorbar(
        x,
        [interval.mean for interval in intervals],
        yerr=np.array([reach(interval) for interval in intervals]).T,
        color=look.color,
        ls=look.dash if line else "none",
        marker=look.marker,
        ms=size,
        capsize=3,
        lw=1.4,
        label=label,
    )


def bar_chart(
    values: Mapping[str, float],
    *,
    title: str,
    xlabel: str,
    colors: Mapping[str, str] | None = None,
    limits: tuple[float, float] | None = None,
    digits: int = 2,
) -> Plot:
    """Horizontal bars with their numbers; `limits` are those of the axis. Labels may be Chinese."""
    with canvas((9, 1.4 + 0.42 * len(values))) as (figure, (ax,)):
        bars = ax.barh(
            [drawable(name) for name in values],
            list(values.values()),
            height=0.66,
            color=[(colors or {}).get(name, COLOR) for name in values],
        )
        ax.bar_label(bars, [f"{value:,.{digits}f}" for value in values.values()], padding=6)
        ax.axvline(0, color="#111111", lw=0.8)
        ax.invert_yaxis()
        ax.margins(x=0.16)
        if limits:
            ax.set_xlim(*limits)
        ax.set(title=drawable(title), xlabel=drawable(xlabel))
    described = ", ".join(f"{name} {value:,.{digits}f}" for name, value in values.items())
    return Plot(figure, f"{title}: {described} ({xlabel}).")


def forest(
    panels: Mapping[str, Mapping[str, Interval]],
    *,
    title: str = "",
    effects: bool = False,
    one_scale: bool = False,
    digits: int = 2,
) -> Plot:
    """Mean and interval of variants (rows, top to bottom), a panel for each quantity.

    All panels have the same rows. `effects`: the values are differences, so they get a sign. Every
    axis contains zero. `one_scale`: the panels share their axis, so a small effect looks small.
    A panel's name should say its unit.
    """
    names, sign = list(next(iter(panels.values()))), "+" if effects else ""
    size = (2.4 + 2.7 * len(panels), 1.5 + 0.5 * len(names))
    with canvas(size, columns=len(panels), sharey=True) as (figure, axes):
        for ax, (quantity, intervals) in zip(axes, panels.items()):
            for row, name in enumerate(names):
                _forest_row(ax, intervals[name], row=row, text=f"{sign}z.{digits}f")
            ax.axvline(0, color=GREY, lw=0.9, ls=":")
            ax.set_title(drawable(quantity), fontsize=12)
            ax.margins(x=0.15)
            ax.xaxis.set_major_locator(MaxNLocator(4))
        if one_scale:
            low = min(ax.get_xlim()[0] for ax in axes)
            high = max(ax.get_xlim()[1] for ax in axes)
            for ax in axes:
                ax.set_xlim(low, high)
        axes[0].set_yticks(range(len(names)), [drawable(name) for name in names])
        axes[0].set_ylim(len(names) - 0.5, -0.7)
        figure.suptitle(drawable(title), x=0.01, ha="left")
    listed = "; ".join(
        f"{quantity}: "
        + ", ".join(f"{name} {i.text(digits, sign='')}" for name, i in intervals.items())
        for quantity, intervals in panels.items()
    )
    return Plot(figure, f"{title.rstrip('?.')}. Mean and 95 % interval. {listed}.")


def _forest_row(ax: Axes, interval: Interval, *, row: int, text: str) -> None:
    below, above = reach(interval)
    ax.errorbar(
        interval.mean,
        row,
        xerr=[[below], [above]],
        color=COLOR,
        marker="o",
        ms=7,
        capsize=4,
        lw=1.6,
    )
    note(ax, format(interval.mean, text), (interval.mean, row))


def intervals(
    series: Mapping[str, Mapping[str, Interval]],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    digits: int = 2,
) -> Plot:
    """Means with their intervals over seeds, side by side at each place.

    `series` by name, then by place; each has a marker and a line of its own.
    """
    places = list(next(iter(series.values())))
    with canvas((9.5, 4.2)) as (figure, (ax,)):
        for i, ((name, values), look) in enumerate(zip(series.items(), LOOKS)):
            x = np.arange(len(places)) + 0.1 * (i - (len(series) - 1) / 2)
            shown = [values[place] for place in places]
            draw_intervals(ax, x, shown, look=look, size=8, line=True, label=drawable(name))
        ax.axhline(0, color=GREY, lw=0.8, ls=":")
        ax.set_xticks(range(len(places)), [drawable(place) for place in places])
        ax.set(title=drawable(title), xlabel=xlabel, ylabel=ylabel)
        ax.margins(x=0.1, y=0.12)
        legend_right(ax)
    listed = "; ".join(
        f"{name}: " + ", ".join(f"{values[p].text(digits, sign='')} at {p}" for p in places)
        for name, values in series.items()
    )
    n = min(i.n for values in series.values() for i in values.values())
    seeds = counted(n, "seed") + (", 95 % intervals" if n > 1 else "")
    return Plot(figure, f"{title}. {listed} ({ylabel}; {seeds}).")
