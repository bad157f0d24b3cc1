"""The speed-ups as a waterfall: what each idea multiplies the speed by, and where that leads."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from minimind_lite.bench.compare import Row
from minimind_lite.bench.recipes import LADDER
from minimind_lite.plots.base import HATCHES, LOOKS, Plot, canvas

TICKS = (1, 2, 5, 10, 20, 50)


def waterfall(rows: Sequence[Row]) -> Plot:
    """One panel a model: each bar goes from the speed without an idea to the speed with it.

    Speeds are times MiniMind's step in fp32; the dashed line is Hugging Face Llama in fp32.
    """
    models = list(dict.fromkeys(row.model for row in rows))
    with canvas((4.2 + 3.0 * len(models), 4.2), columns=len(models), sharey=True) as (figure, axes):
        for i, (ax, model) in enumerate(zip(axes, models)):
            panel = {row.variant: row for row in rows if row.model == model}
            _panel(ax, panel, color=LOOKS[i % len(LOOKS)].color, hatch=HATCHES[i % len(HATCHES)])
            ax.set_title(model)
        titles = [variant.title for variant in LADDER.values()]
        axes[0].set_yticks(range(len(titles)), titles)
        axes[0].invert_yaxis()
        figure.supxlabel("times as many tokens per second as MiniMind's step (fp32)", fontsize=12)
    return Plot(figure, _summary(rows))


def _summary(rows: Sequence[Row]) -> str:
    parts = [
        f"{row.model} {row.times['minimind']:.1f} times MiniMind's step and "
        f"{row.times['llama']:.1f} times Hugging Face Llama"
        for row in rows
        if row.variant == "ours"
    ]
    return f"Real tokens per second in fp32: {'; '.join(parts)}."


def _panel(ax: Axes, rows: dict[str, Row], *, color: str, hatch: str) -> None:
    before = 1.0
    for i, name in enumerate(LADDER):
        speed = rows[name].times["minimind"]
        low, high = sorted((before, speed))
        width = max(high - low, 0.01)
        ax.barh(i, width, left=low, color=color, hatch=hatch, edgecolor="white", height=0.7)
        label = f"{speed:.1f}×" if i == 0 else f"{speed:.1f}×  (×{speed / before:.2f})"
        ax.annotate(label, (high, i), (5, 0), textcoords="offset points", va="center", fontsize=11)
        before = speed
    ax.axvline(rows["llama"].times["minimind"], color="black", linestyle="--", linewidth=1)
    largest = max(row.times["minimind"] for row in rows.values())
    ticks = [tick for tick in TICKS if tick <= largest * 1.2]
    ax.set_xscale("log")
    ax.set_xlim(0.9, largest * 4)
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
