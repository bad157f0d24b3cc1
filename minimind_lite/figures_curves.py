"""Pictures of verdicts, of accumulation and of curves as they are logged: data in, a `Plot` out, as in `plots`.

`scoreboard` shows what `claims.scoreboard` found. It knows verdicts by their shape alone, so that
this module stays below the rules that make them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import matplotlib
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from .effects import Interval
from .plots import _RENDER, Plot, _axes, _style, drawable

# Outcome -> colour of the cell, mark before the words; black on each is easy to read, and the mark needs no colour.
OUTCOMES = {"holds": ("#5FC9A8", "✓"), "holds in part": ("#F0C24B", "◐"), "wrong": ("#F0A078", "✗"),
            "not testable here": ("#DDDDDD", "–"), "undecided": ("#FFFFFF", "?")}
# Columns of the scoreboard: left edge and width in pixels, of 900
COLUMNS = {"": (4, 32), "claim": (38, 220), "our bet": (268, 170), "verdict": (448, 126), "measured first": (586, 184), "95 % interval": (778, 116)}
WIDTH, LINE, TEXT = 900, 17, 11  # pixels, pixels, points


class _Claim(Protocol):
    id: str
    text: str
    prediction: str


class Judged(Protocol):
    """What a verdict has to have: see `claims.Verdict`."""

    claim: _Claim
    outcome: str
    effects: dict[str, Interval]


def scoreboard(verdicts: Sequence[Judged]) -> Plot:
    """A row per claim: what it says, what was bet, the verdict, and the first effect of its rule with its interval.

    Each interval is drawn on its own scale, with a line at zero. 900 pixels wide.
    """
    cells = [[v.claim.id, *(_wrapped(drawable(text), COLUMNS[column][1]) for column, text in
                            (("claim", v.claim.text), ("our bet", v.claim.prediction), ("measured first", next(iter(v.effects)))))] for v in verdicts]
    heights = [LINE * max(3.1, *(text.count("\n") + 1 for text in row)) + 12 for row in cells]
    total = sum(heights) + 30
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes((WIDTH / 100, total / 100))
        figure.set_layout_engine("none")
        ax.set_position((0, 0, 1, 1))
        ax.set(xlim=(0, WIDTH), ylim=(total, 0))
        ax.set_axis_off()
        for name, (left, _) in COLUMNS.items():
            ax.text(left, 16, name, fontsize=TEXT + 1, va="center")
        top = 30.0
        for verdict, row, height in zip(verdicts, cells, heights):
            ax.axhline(top, color="#AAAAAA", lw=0.8)
            _row(ax, verdict, row, top, height)
            top += height
    return Plot(figure, _tally(verdicts))


def _row(ax: Axes, verdict: Judged, row: Sequence[str], top: float, height: float) -> None:
    """One claim: its texts, the verdict's cell, the interval."""
    middle = top + height / 2
    for column, text in zip(("", "claim", "our bet", "measured first"), row):
        ax.text(COLUMNS[column][0], middle, text, fontsize=TEXT, va="center", linespacing=1.15)
    (left, width), (colour, mark) = COLUMNS["verdict"], OUTCOMES[verdict.outcome]
    ax.add_patch(Rectangle((left, top + 5), width, height - 10, facecolor=colour, edgecolor="#111111", lw=0.8,
                           ls="--" if verdict.outcome == "undecided" else "-"))
    ax.text(left + width / 2, middle, _wrapped(f"{mark} {verdict.outcome}", width - 16), fontsize=TEXT, va="center", ha="center", linespacing=1.15)
    _interval(ax, next(iter(verdict.effects.values())), middle)


def _interval(ax: Axes, found: Interval, middle: float) -> None:
    """Mean and interval in figures, and under them as a bar with a dot, its scale such that all of it and zero are in."""
    left, width = COLUMNS["95 % interval"]
    known = math.isfinite(found.low) and math.isfinite(found.high)
    digits = 0 if max(abs(x) for x in (found.mean, found.low, found.high) if math.isfinite(x)) >= 100 else 2
    figures = f"{found.mean:+.{digits}f}\n" + (f"[{found.low:.{digits}f}, {found.high:.{digits}f}]" if known else "(one seed)")
    ax.text(left + width / 2, middle - 10, figures, fontsize=TEXT, va="center", ha="center", linespacing=1.05)
    low, high = (found.low, found.high) if known else (found.mean, found.mean)
    start, stop = min(0.0, low), max(0.0, high)
    at = lambda x: left + 6 + (width - 12) * (x - start) / ((stop - start) or 1.0)
    y = middle + 20
    ax.plot([at(0), at(0)], [y - 6, y + 6], color="#111111", lw=1.2)
    ax.plot([at(low), at(high)], [y, y], color="#0072B2", lw=3, solid_capstyle="butt")
    ax.plot(at(found.mean), y, "o", color="#0072B2", ms=6)


def _wrapped(text: str, width: float, size: float = TEXT) -> str:
    """Text broken at spaces so that no line is wider than `width` pixels at 100 dots per inch, words apart."""
    lines, wide = [""], lambda s: TextPath((0, 0), s, size=size).get_extents().width * 100 / 72 if s else 0.0
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if wide(longer) <= width or not lines[-1] else [lines[-1], word]
    return "\n".join(lines)


def _tally(verdicts: Sequence[Judged]) -> str:
    """How many claims came out how, and which."""
    names = {outcome: [v.claim.id for v in verdicts if v.outcome == outcome] for outcome in OUTCOMES}
    verb = lambda outcome, ids: outcome.replace("holds", "hold") if len(ids) > 1 else outcome
    found = [f"{len(ids)} {verb(outcome, ids)} ({', '.join(ids)})" for outcome, ids in names.items() if ids]
    seeds = [min(i.n for i in v.effects.values()) for v in verdicts]
    behind = f"{min(seeds)} seed{'s' * (min(seeds) != 1)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)} seeds"
    return (f"Of {len(verdicts)} claims: {'; '.join(found)}. Each is judged on {behind}; bars are 95 % intervals, each on its own scale, "
            "the upright line is zero.")
