"""The speed-ups of the fast path as a waterfall: what each idea multiplies the speed by, and where that leads."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from minimind_lite.bench.steps import Row
from minimind_lite.plots.base import _RENDER, Plot, _style

COLOURS, HATCHES = ("#0072B2", "#E69F00", "#009E73"), ("", "//", "..")  # a model each


def waterfall(rows: Sequence[Row]) -> Plot:
    """One panel per model: each bar reaches from the speed before an idea to the speed with it (times the plain recipe, log axis)."""
    models = list(dict.fromkeys(r.model for r in rows))
    with _RENDER, matplotlib.rc_context(_style()):
        figure = Figure(figsize=(4.2 + 3.0 * len(models), 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
        for ax, model, colour, hatch in zip(axes, models, COLOURS, HATCHES):
            _panel(ax, [r for r in rows if r.model == model], colour, hatch)
            ax.set_title(model)
        axes[0].set_yticks(
            range(len(names := [r.variant for r in rows if r.model == models[0]])), names
        )
        axes[0].invert_yaxis()
        figure.supxlabel("times as many tokens per second as the plain recipe", fontsize=12)
    best = {m: max((r for r in rows if r.model == m), key=lambda r: r.speed_up) for m in models}
    return Plot(
        figure,
        "Speed-ups over the plain recipe: "
        + "; ".join(
            f"{m} {r.speed_up:.1f} times with “{r.variant}”, at {r.utilisation:.0%} of the matrix-product peak"
            for m, r in best.items()
        )
        + ".",
    )


def _panel(ax: matplotlib.axes.Axes, rows: Sequence[Row], colour: str, hatch: str) -> None:
    before = 1.0
    for i, row in enumerate(rows):
        low, high = sorted((before, row.speed_up))
        ax.barh(
            i,
            max(high - low, 0.01),
            left=low,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            height=0.7,
        )
        ax.annotate(
            f"{row.speed_up:.1f}×"
            if i == 0
            else f"{row.speed_up:.1f}×  (×{row.speed_up / before:.2f})",
            (high, i),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
        )
        before = row.speed_up
    ax.set_xscale("log")
    largest = max(r.speed_up for r in rows)
    ax.set(xlim=(0.9, largest * 4), xticks=[t for t in (1, 2, 5, 10, 20, 50) if t <= largest * 1.2])
    ax.set_xticklabels([f"{t:g}" for t in ax.get_xticks()])
    ax.minorticks_off()
