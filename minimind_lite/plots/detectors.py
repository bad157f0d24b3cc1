"""What two detectors flag, and what they flag wrongly, on series whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minimind_lite.plots.base import GREY, LIGHT_GREY, LOOKS, Plot, canvas, label_of
from minimind_lite.science.detectors import Row

LOOK_OF = {"z": LOOKS[1], "permutation": LOOKS[3]}


def hits(rows: Sequence[Row]) -> Plot:
    """Share of segments that are flagged within one batch of their start, by kind of series."""
    judged = [row for row in rows if row.segments]
    by_z, by_permutation = ([r.hits for r in judged if r.detector == d] for d in LOOK_OF)
    no_fewer = sum(a <= b for a, b in zip(by_z, by_permutation))
    return _dots(
        judged,
        lambda row: row.hit_share,
        title="The permutation detector flags no fewer segments in "
        f"{no_fewer} of {len(by_z)} kinds of series",
        xlabel="segments flagged within one batch of their start (%)",
        digits=0,
    )


def false_alarms(rows: Sequence[Row]) -> Plot:
    """False alarms per 1,000 steps where order means nothing, by kind of series."""
    judged = [row for row in rows if not row.segments]
    totals = {d: sum(r.false_alarms for r in judged if r.detector == d) for d in LOOK_OF}
    steps = sum(row.steps for row in judged if row.detector == "z")
    return _dots(
        judged,
        lambda row: row.alarms_per_1000,
        title=f"In {steps:,} shuffled steps, z raises {totals['z']:,} false alarms, "
        f"the permutation detector {totals['permutation']:,}",
        xlabel="false alarms per 1,000 steps",
        digits=3,
    )


def _dots(
    rows: Sequence[Row], value: Callable[[Row], float], *, title: str, xlabel: str, digits: int
) -> Plot:
    """A line for each kind of series, from one detector's value to the other's."""
    names = list(dict.fromkeys(row.series for row in rows))
    values = {(row.series, row.detector): value(row) for row in rows}
    with canvas((10, 1.7 + 0.46 * len(names))) as (figure, (ax,)):
        for y, name in enumerate(names):
            both = [values[name, detector] for detector in LOOK_OF]
            ax.plot(both, [y, y], color=LIGHT_GREY, lw=5, zorder=1)
        widest = int(np.argmax([abs(values[n, "z"] - values[n, "permutation"]) for n in names]))
        for detector, (color, _, marker) in LOOK_OF.items():
            x = [values[name, detector] for name in names]
            ax.plot(x, range(len(names)), color=color, marker=marker, ms=9, ls="none")
            at = (x[widest], widest)
            ax.annotate(
                detector, at, (0, 9), textcoords="offset points", ha="center", fontsize=11, c=color
            )
        ax.axvline(0, color=GREY, lw=0.9, ls=":")
        ax.set_yticks(range(len(names)), [label_of(name) for name in names])
        ax.set_ylim(len(names) - 0.5, -0.9)
        ax.set_xlabel(xlabel)
        ax.margins(x=0.1)
        figure.suptitle(title, x=0.01, ha="left")
    listed = "; ".join(
        f"{name}: " + ", ".join(f"{d} {values[name, d]:.{digits}f}" for d in LOOK_OF)
        for name in names
    )
    return Plot(figure, f"{title}. {xlabel[0].upper()}{xlabel[1:]}: {listed}.")
