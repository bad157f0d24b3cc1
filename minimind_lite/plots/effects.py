"""Numbers side by side: bars, and means with their intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from minimind_lite.plots.base import (
    GREY,
    Plot,
    canvas,
    drawable,
    label_of,
    note,
)
from minimind_lite.science.intervals import Interval

COLOR = "#0072B2"


def reach(interval: Interval) -> tuple[float, float]:
    """How far the interval goes below and above its mean; nothing for a single seed."""
    if not math.isfinite(interval.low):
        return 0.0, 0.0
    return interval.mean - interval.low, interval.high - interval.mean


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
            range(len(values)),  # two names may look the same
            list(values.values()),
            height=0.66,
            color=[(colors or {}).get(name, COLOR) for name in values],
        )
        ax.bar_label(bars, [f"{value:,.{digits}f}" for value in values.values()], padding=6)
        ax.axvline(0, color="#111111", lw=0.8)
        ax.set_yticks(range(len(values)), [label_of(name) for name in values])
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
        axes[0].set_yticks(range(len(names)), [label_of(name) for name in names])
        axes[0].set_ylim(len(names) - 0.5, -0.7)
        figure.suptitle(drawable(title), x=0.01, ha="left")
    listed = "; ".join(
        f"{quantity}: "
        + ", ".join(f"{name} {i.text(digits, sign='')}" for name, i in intervals.items())
        for quantity, intervals in panels.items()
    )
    return Plot(figure, f"{title.rstrip('?.')}. Mean and 95 % interval. {listed}.")


def draw_interval(ax: Axes, interval: Interval, *, y: float, size: float) -> None:
    """A mean as a dot of `size` points, and how far its interval reaches."""
    below, above = reach(interval)
    ax.errorbar(
        interval.mean,
        y,
        xerr=[[below], [above]],
        color=COLOR,
        marker="o",
        ms=size,
        capsize=4,
        lw=1.6,
    )


def _forest_row(ax: Axes, interval: Interval, *, row: int, text: str) -> None:
    draw_interval(ax, interval, y=row, size=7)
    note(ax, format(interval.mean, text), (interval.mean, row))
