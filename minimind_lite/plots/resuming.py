"""Ways of resuming a run, a row each: its curve over the uninterrupted one, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from minimind_lite.plots.base import GREY, LIGHT_GREY, LOOKS, Plot, drawable, rendering
from minimind_lite.plots.effects import COLOR, draw_interval, reach
from minimind_lite.records import Run
from minimind_lite.science.intervals import Interval

BEFORE = 15  # steps of the curve before the break
CLEAR = 0.02  # nats: what the sentence calls higher or lower is at least this much
COLUMNS = {  # what each narrow panel shows; a field of `Resumed.costs`, or the rows
    "jump": "training loss,\nfirst 10 steps",
    "tallest": "training loss,\ntallest step",
    "held_out_rise": "held-out loss,\nnext 20 steps",
    "off_domain": "off-domain held-\nout loss, the end",
    "rows": "rows read twice ●\nand never ○",
}


@dataclass(frozen=True)
class Resumed:
    """A way of resuming: one run, its costs over layouts, and the rows that a law expects."""

    run: Run
    costs: Mapping[str, Interval]  # fields of `resume_costs.Cost`
    expected: tuple[float, float]  # shares of rows read twice, and never


def ways_of_resuming(
    ways: Mapping[str, Resumed], whole: Run, *, broken_at: int, title: str = ""
) -> Plot:
    """A row for each way: the curve around the break, and costs with their intervals.

    `whole` is the uninterrupted run of the same layout as each `run`, broken off at a position.
    Costs are differences from uninterrupted runs, in nats; of rows, shares with the law as a line.
    """
    near = slice(max(0, broken_at - BEFORE), len(whole))
    with _grid(len(ways)) as (figure, rows):
        for number, ((name, way), (curve, *narrow)) in enumerate(zip(ways.items(), rows)):
            _draw_curve(curve, way.run, whole, near=near, broken_at=broken_at)
            label = drawable(name).replace(" ", "\n", 1)
            curve.set_ylabel(label, rotation=0, ha="right", va="center")
            for column, ax in zip(COLUMNS, narrow):
                if column == "rows":
                    _draw_rows(ax, way)
                else:
                    _draw_interval(ax, way.costs[column])
                if not number:
                    ax.set_title(COLUMNS[column], fontsize=11, loc="center")
        _finish(rows, title=title)
    return Plot(figure, f"{title.rstrip('.?')}. {_in_words(ways)}")


@contextmanager
def _grid(n: int) -> Iterator[tuple[Figure, list[list[Axes]]]]:
    """A figure of n rows: a wide panel and narrow ones, which share their axes by column."""
    with rendering():
        close = ConstrainedLayoutEngine(hspace=0, h_pad=0.01, wspace=0.02)
        figure = Figure(figsize=(13, 1.5 + 1.02 * n), layout=close)
        FigureCanvasAgg(figure)
        widths = [3.6, *(1.3 for _ in COLUMNS)]
        axes = figure.subplots(n, len(widths), sharex="col", width_ratios=widths, squeeze=False)
        for ax in axes[1:, 0]:
            ax.sharey(axes[0, 0])
        yield figure, [list(row) for row in axes]


def _draw_curve(ax: Axes, run: Run, whole: Run, *, near: slice, broken_at: int) -> None:
    """Training loss by position; the resumed run begins one step before the break."""
    x = np.arange(near.start, near.stop)
    color, dash, _ = LOOKS[0]
    ax.plot(x, whole.loss[near], c=color, ls=dash, lw=1.1, label="uninterrupted")
    color, dash, _ = LOOKS[1]
    after = slice(broken_at - 1, near.stop)
    ax.plot(
        np.arange(after.start, after.stop),
        run.loss[after],
        c=color,
        ls=dash,
        lw=2.2,
        label="resumed",
    )
    ax.axvline(broken_at - 0.5, color=GREY, lw=0.9, ls=":")
    ax.set_xlim(near.start, near.stop - 1)


def _draw_interval(ax: Axes, interval: Interval) -> None:
    ax.axvline(0, color=GREY, lw=0.9, ls=":")
    draw_interval(ax, interval, y=0, size=6)
    ax.annotate(
        f"{interval.mean:+z.2f}",
        (interval.mean, 0.3),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=11,
    )


def _draw_rows(ax: Axes, way: Resumed) -> None:
    """Filled: read twice; open: never; a line where the law has them."""
    lines = (("read_twice", 0.5, COLOR), ("never_read", -0.3, "none"))
    for (name, y, face), share in zip(lines, way.expected):
        interval = way.costs[name]
        below, above = reach(interval)
        ax.errorbar(
            interval.mean,
            y,
            xerr=[[below], [above]],
            color=COLOR,
            marker="o",
            mfc=face,
            ms=6,
            capsize=3,
        )
        ax.plot([share, share], [y - 0.35, y + 0.35], color=LOOKS[1].color, lw=1.4)
        ax.annotate(
            f"{interval.mean:.0%}",
            (interval.mean, y),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
        )


def _finish(rows: list[list[Axes]], *, title: str) -> None:
    """Scales, and what is written once for all rows."""
    for curve, *narrow in rows:
        curve.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        for ax in narrow:
            ax.set(ylim=(-1, 1.4), yticks=[])
            ax.spines["left"].set_visible(False)
            ax.spines["bottom"].set_color(LIGHT_GREY)
            ax.tick_params(bottom=ax in rows[-1])
    curve, *narrow = rows[-1]
    curve.set_xlabel("step (up: training loss, nats)")
    for ax in narrow:
        ax.margins(x=0.22)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.set_xlabel("nats")
    narrow[-1].set_xlim(-0.08, 0.75)
    narrow[-1].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    narrow[-1].set_xlabel("of all; line: law")
    rows[0][0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=11)
    rows[0][0].figure.suptitle(drawable(title), x=0.01, ha="left")


def _in_words(ways: Mapping[str, Resumed]) -> str:
    """Which ways show, which hurt the model, which miss rows, which end higher."""

    def listed(field: str) -> str:
        clear = {
            name: way.costs[field]
            for name, way in ways.items()
            if way.costs[field].above(0) and way.costs[field].mean >= CLEAR
        }
        return ", ".join(f"{name} {i}" for name, i in clear.items()) or "none"

    missed = ", ".join(
        f"{name} {way.costs['never_read'].mean:.0%} (law {way.expected[1]:.0%})"
        for name, way in ways.items()
        if way.costs["never_read"].mean > 0
    )
    return (
        "Differences from the uninterrupted run, nats. Training loss higher over the first 10 "
        f"steps: {listed('jump')}. Tallest step higher: {listed('tallest')}. Held-out loss higher "
        "in the 20 steps after the break: "
        f"{listed('held_out_rise')}. Off-domain held-out loss higher at the end: "
        f"{listed('off_domain')}. Rows never read: {missed or 'none'}."
    )
