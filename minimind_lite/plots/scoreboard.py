"""What was claimed, what was bet, and what the records say: one row per claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from minimind_lite.plots.base import Plot, canvas, counted, drawable
from minimind_lite.science.claims import Verdict
from minimind_lite.science.intervals import Counts, Interval, Measured
from minimind_lite.science.rules import (
    CONTRADICTED,
    NOT_HERE,
    NOT_SUPPORTED,
    PART,
    SUPPORTED,
    UNCLEAR,
)


class Column(NamedTuple):
    """A column of the scoreboard, in pixels of 900."""

    left: int
    width: int


# Outcome -> color of the cell, and the mark before the words: the mark needs no color.
OUTCOMES = {
    SUPPORTED: ("#5FC9A8", "✓"),
    PART: ("#F0C24B", "◐"),
    NOT_SUPPORTED: ("#DDDDDD", "○"),
    CONTRADICTED: ("#F0A078", "✗"),
    NOT_HERE: ("#FFFFFF", "–"),
    UNCLEAR: ("#FFFFFF", "?"),
}
COLUMNS = {
    "": Column(4, 32),
    "claim": Column(38, 220),
    "our bet": Column(268, 156),
    "verdict": Column(434, 120),
    "what decides": Column(566, 204),
    "interval": Column(778, 116),
}
FAILED = "#B03A00"  # a bet that failed
WIDTH, LINE, POINTS = 900, 17, 11  # of the picture and of a line of text, pixels; of letters


def scoreboard(verdicts: Sequence[Verdict]) -> Plot:
    """A row per claim: what it says, what was bet, the verdict, and the effect that decides.

    Each interval is drawn on its own scale, with a line at zero. 900 pixels wide.
    """
    texts = [_texts(verdict) for verdict in verdicts]
    lines = [max(text.count("\n") + 1 for text in row.values()) for row in texts]
    heights = [LINE * max(3.1, n) + 12 for n in lines]
    total = sum(heights) + 30
    with canvas((WIDTH / 100, total / 100)) as (figure, (ax,)):
        figure.set_layout_engine("none")
        ax.set_position((0, 0, 1, 1))
        ax.set(xlim=(0, WIDTH), ylim=(total, 0))
        ax.set_axis_off()
        for name, column in COLUMNS.items():
            ax.text(column.left, 16, name, fontsize=POINTS + 1, va="center")
        top = 30.0
        for verdict, row, height in zip(verdicts, texts, heights):
            ax.axhline(top, color="#AAAAAA", lw=0.8)
            middle = top + height / 2
            for name, text in row.items():
                color = FAILED if name == "our bet" and verdict.bet_failed else "#111111"
                place = (COLUMNS[name].left, middle)
                ax.text(*place, text, fontsize=POINTS, va="center", linespacing=1.15, color=color)
            _draw_outcome(ax, verdict.outcome, middle=middle, height=height - 10)
            _draw_effect(ax, next(iter(verdict.effects.values())), middle)
            top += height
    return Plot(figure, _tally(verdicts))


def _texts(verdict: Verdict) -> dict[str, str]:
    """The texts of a row by column, broken into lines that fit."""
    part = f" In part: {verdict.claim.part}." if verdict.outcome == PART else ""
    texts = {
        "": verdict.claim.id,
        "claim": verdict.claim.text + part,
        "our bet": f"{verdict.claim.prediction} → {verdict.of_bet()}",
        "what decides": f"{next(iter(verdict.effects))}; {verdict.design()}",
    }
    return {name: _wrapped(drawable(text), COLUMNS[name].width) for name, text in texts.items()}


def _draw_outcome(ax: Axes, outcome: str, *, middle: float, height: float) -> None:
    (left, width), (color, mark) = COLUMNS["verdict"], OUTCOMES[outcome]
    dash = "--" if outcome == UNCLEAR else "-"
    corner = (left, middle - height / 2)
    ax.add_patch(Rectangle(corner, width, height, fc=color, ec="#111111", lw=0.8, ls=dash))
    _draw_centered(ax, _wrapped(f"{mark} {outcome}", width - 16), x=left + width / 2, y=middle)


def _draw_effect(ax: Axes, effect: Measured, middle: float) -> None:
    """Mean and interval in figures, and under them as a bar with a dot; zero is on its scale.

    A count is written as its values.
    """
    left, width = COLUMNS["interval"]
    if isinstance(effect, Counts):
        _draw_centered(ax, _wrapped(str(effect), width), x=left + width / 2, y=middle)
        return
    _draw_centered(ax, _in_figures(effect), x=left + width / 2, y=middle - 10)
    known = math.isfinite(effect.low)
    low, high = (effect.low, effect.high) if known else (effect.mean, effect.mean)
    start, stop = min(0.0, low), max(0.0, high)
    scale = (width - 12) / ((stop - start) or 1.0)
    zero, low, high, mean = (left + 6 + scale * (x - start) for x in (0.0, low, high, effect.mean))
    y = middle + 20
    ax.plot([zero, zero], [y - 6, y + 6], color="#111111", lw=1.2)
    ax.plot([low, high], [y, y], color="#0072B2", lw=3, solid_capstyle="butt")
    ax.plot(mean, y, "o", color="#0072B2", ms=6)


def _draw_centered(ax: Axes, text: str, *, x: float, y: float) -> None:
    ax.text(x, y, text, fontsize=POINTS, ha="center", va="center", linespacing=1.1)


def _in_figures(interval: Interval) -> str:
    """The mean and, in a second line, its interval, as exact as the column has room for."""
    values = (interval.mean, interval.low, interval.high)
    largest = max(abs(x) for x in values if math.isfinite(x))
    digits = 2 - (largest >= 10) - (largest >= 100)
    if not math.isfinite(interval.low):
        return f"{interval.mean:+z.{digits}f}\n(one seed)"
    low, high = f"{interval.low:z.{digits}f}", f"{interval.high:z.{digits}f}"
    return f"{interval.mean:+z.{digits}f}\n[{low}, {high}]"


def _wrapped(text: str, width: float) -> str:
    """Text broken at spaces so that no line is wider than `width` pixels at 100 dots per inch."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _pixels(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _pixels(text: str) -> float:
    return TextPath((0, 0), text, size=POINTS).get_extents().width * 100 / 72 if text else 0.0


def _tally(verdicts: Sequence[Verdict]) -> str:
    """How many claims came out how, which, and which bets failed."""
    parts = []
    for outcome in OUTCOMES:
        ids = [verdict.claim.id for verdict in verdicts if verdict.outcome == outcome]
        if ids:
            parts.append(f"{len(ids)} {outcome} ({', '.join(ids)})")
    layouts = {verdict.seeds for verdict in verdicts}
    most = counted(max(layouts), "layout")
    behind = most if len(layouts) == 1 else f"{min(layouts)} to {most}"
    failed = [verdict.claim.id for verdict in verdicts if verdict.bet_failed]
    bets = f"bets that failed: {', '.join(failed)}" if failed else "no bet failed"
    return (
        f"Of {len(verdicts)} claims: {'; '.join(parts)}; {bets}. Each is judged on {behind}; the "
        "intervals that decide on a claim hold together at 95 %, each is drawn on its own scale, "
        "the upright line is zero."
    )
