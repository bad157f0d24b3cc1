"""What spikes are made of: three terms, a map of regimes, frozen against trained heights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from minimind_lite.plots.base import (
    GREY,
    LOOKS,
    Look,
    Plot,
    canvas,
    counted,
    drawable,
    legend_right,
    log_axis,
)
from minimind_lite.plots.effects import reach
from minimind_lite.science.decomposition import TERMS
from minimind_lite.science.intervals import Interval
from minimind_lite.science.regimes import Fit, Point, Regime, TermIntervals
from minimind_lite.segments import domain_name
from minimind_lite.spikes import MIN_HEIGHT

# Sky blue, yellow and vermilion: none is a domain's color.
COLORS = {"unfamiliar": "#56B4E9", "transferred": "#F0E442", "specialized": "#D55E00"}
HATCH = {"unfamiliar": "", "transferred": "..", "specialized": "//"}
LEGENDS = {
    "unfamiliar": "unfamiliar",
    "transferred": "transferred (−) or\nforgotten (+)",
    "specialized": "specialized",
}
LIGHT = 0.45  # opacity of a cell behind its figures
FAMILIES = {"mixed": "short segments", "blocks": "long blocks"}


def stacked_terms(panels: Mapping[str, Mapping[str, TermIntervals]], *, title: str) -> Plot:
    """A bar of three terms for each segment (by label) of each panel, and the height's interval.

    Terms above zero go right, those below it go left; the black mark is the height, their sum.
    """
    lengths = [len(rows) for rows in panels.values()]
    size = (10.5, 1.5 + 0.5 * sum(lengths) + 0.4 * len(panels))
    with canvas(size, rows=len(panels), heights=lengths) as (figure, axes):
        for ax, (name, rows) in zip(axes, panels.items()):
            for place, terms in enumerate(rows.values()):
                _stack(ax, terms, place)
            ax.axvline(0, color="#111111", lw=0.8)
            ax.set_yticks(range(len(rows)), [_name(label) for label in rows])
            ax.set_ylim(len(rows) - 0.4, -0.6)
            ax.set_title(drawable(name), fontsize=12)
            ax.margins(x=0.14)
        axes[-1].set_xlabel("nats per token")
        handles = [
            Patch(facecolor=COLORS[term], hatch=HATCH[term], edgecolor="#111111", label=label)
            for term, label in LEGENDS.items()
        ]
        legend_right(axes[0], handles)
        figure.suptitle(drawable(title), x=0.01, ha="left")
    described = "; ".join(
        f"{name}: "
        + ", ".join(f"{_name(label)} {_in_words(terms)}" for label, terms in rows.items())
        for name, rows in panels.items()
    )
    return Plot(figure, f"{title.rstrip('?.')}. Nats, mean and 95 % interval. {described}.")


def _name(label: str) -> str:
    """For people: English, tiny English ... of a segment's label."""
    name = domain_name(label.removesuffix("_tiny"))
    return f"tiny {name}" if label.endswith("_tiny") else name


def _stack(ax: Axes, terms: TermIntervals, place: int) -> None:
    """One bar: each term is put on its side of zero, behind those before it."""
    ends = {True: 0.0, False: 0.0}
    for name in TERMS:
        value = terms.term(name).mean
        ax.barh(
            place,
            value,
            left=ends[value >= 0],
            height=0.62,
            color=COLORS[name],
            hatch=HATCH[name],
            edgecolor="#111111",
            lw=0.6,
        )
        ends[value >= 0] += value
    height = terms.height
    below, above = reach(height)
    ax.errorbar(
        height.mean, place, xerr=[[below], [above]], color="#111111", marker="D", ms=6, capsize=4
    )
    right = max(ends[True], height.mean + above)
    ax.text(right, place, f"  {height.mean:+z.2f}", va="center", fontsize=11)


def _in_words(terms: TermIntervals) -> str:
    parts = " ".join(f"{terms.term(name).mean:+z.2f} {name}" for name in TERMS)
    return f"{terms.height.text()} = {parts}"


def regime_map(regimes: Sequence[Regime]) -> Plot:
    """A cell for each exposure and block length: what its spikes are made of, on average.

    The color is that of the largest term; without one, the file has no spike. A star: the largest
    term is clearly ahead, its lead over the next has an interval above zero.
    """
    exposures = {regime.exposure: regime.chinese for regime in regimes}
    lengths = list(dict.fromkeys(regime.length for regime in regimes))
    largest = Counter(regime.spikes.dominant for regime in regimes if regime.spikes)
    listed = ", ".join(f"{name} in {n}" for name, n in largest.most_common())
    title = f"The largest part of a spike, in {counted(len(regimes), 'kind')} of files: {listed}"
    size = (2.4 + 2.6 * len(lengths), 1.9 + 1.75 * len(exposures))
    with canvas(size) as (figure, (ax,)):
        for regime in regimes:
            place = lengths.index(regime.length), list(exposures).index(regime.exposure)
            _cell(ax, regime, *place)
        ax.set(xlim=(-0.5, len(lengths) - 0.5), ylim=(len(exposures) - 0.5, -0.5))
        ax.set_xticks(range(len(lengths)), [f"{length} conversations" for length in lengths])
        ax.set_yticks(
            range(len(exposures)),
            [f"{exposure}\n{chinese:,} read" for exposure, chinese in exposures.items()],
        )
        ax.set(xlabel="length of a block, at most", ylabel="Chinese conversations in pretraining")
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.set_title(
            f"means over boundaries that rise by {MIN_HEIGHT:g} nats or more, ± 95 %; "
            "★ clearly ahead of the next",
            fontsize=11,
        )
        figure.suptitle(title, x=0.01, ha="left")
    described = "; ".join(_cell_in_words(regime) for regime in regimes)
    return Plot(figure, f"{title}. Means over the spikes of a file, in nats. {described}.")


def _cell(ax: Axes, regime: Regime, x: int, y: int) -> None:
    terms = regime.spikes
    color = COLORS[terms.dominant] if terms else "#FFFFFF"
    ax.add_patch(
        Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, facecolor=color, alpha=LIGHT, edgecolor=GREY)
    )
    ax.add_patch(Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, fill=False, edgecolor=GREY))
    of_all = f"{regime.n_spikes:.1f} of {regime.n_boundaries:.1f} boundaries rise"
    if terms is None:
        ax.text(x, y, "no spike", ha="center", va="center", fontsize=11)
        return
    lines = [(f"height {_with_half_width(terms.height)}", False)]
    for name in TERMS:
        star = " ★" if name == terms.dominant and terms.lead.above(0) else ""
        text = f"{name} {_with_half_width(terms.term(name))}{star}"
        lines.append((text, name == terms.dominant))
    lines.append((of_all, False))
    for place, (line, boxed) in enumerate(lines):
        ax.text(
            x,
            y + 0.19 * (place - 2),
            line,
            ha="center",
            va="center",
            fontsize=11,
            bbox={"facecolor": "white", "edgecolor": GREY, "pad": 3} if boxed else None,
        )


def _with_half_width(interval: Interval) -> str:
    """Mean ± half of the interval; the mean alone for a single seed."""
    below, _ = reach(interval)
    return f"{interval.mean:+z.2f}" + (f" ± {below:.2f}" if below else "")


def _cell_in_words(regime: Regime) -> str:
    where = f"exposure {regime.exposure} ({regime.chinese}), blocks of {regime.length}"
    if regime.spikes is None:
        return f"{where}: no spike"
    return f"{where}: {_in_words(regime.spikes)}, largest {regime.spikes.dominant}"


AFTER = {"where a Chinese block ends": "after_chinese", "where another ends": "after_others"}


def specialization(regimes: Sequence[Regime]) -> Plot:
    """How far the block before has come down, against its length: a line for each exposure.

    Left: where a Chinese block ends; right: where a block of another domain ends.
    """
    drawn: list[Interval] = []
    texts = []
    with canvas((10.5, 4.6), columns=2, sharey=True) as (figure, axes):
        for ax, (panel, kind) in zip(axes, AFTER.items()):
            for exposure, look in zip(dict.fromkeys(r.exposure for r in regimes), LOOKS):
                cells = [r for r in regimes if r.exposure == exposure and getattr(r, kind)]
                lengths = [regime.length for regime in cells]
                terms = [getattr(regime, kind).specialized for regime in cells]
                ax.errorbar(
                    lengths,
                    [interval.mean for interval in terms],
                    yerr=np.transpose([reach(interval) for interval in terms]),
                    c=look.color,
                    ls=look.dash,
                    marker=look.marker,
                    capsize=4,
                    label=drawable(f"{exposure}\n({cells[0].chinese:,} read)"),
                )
                drawn += terms
                listed = ", ".join(f"{n}: {i.text()}" for n, i in zip(lengths, terms))
                texts.append(f"{panel}, exposure {exposure}, by length: {listed}")
            ax.axhline(0, color=GREY, lw=0.8)
            log_axis(ax, sorted({regime.length for regime in regimes}))
            ax.set_title(panel, fontsize=12)
            ax.set_xlabel("conversations of a block, at most")
        axes[0].set_ylabel("specialized (nats)")
        legend_right(axes[1])
        low, *_, high = sorted(interval.mean for interval in drawn)
        title = f"Specialized: the block before has come down by {low:.2f} to {high:.2f} nats"
        figure.suptitle(title, x=0.01, ha="left")
    return Plot(figure, f"{title}, mean and 95 % interval. {'; '.join(texts)}.")


def frozen_against_trained(
    points: Mapping[str, Sequence[Point]],
    fits: Mapping[str, Fit],
) -> Plot:
    """A point for each segment or block: its height in a frozen run, and in the trained one.

    Families have a color, a marker and a fitted line each; the grey line is "the same height".
    """
    texts = []
    with canvas((10.5, 6.2)) as (figure, (ax,)):
        for (family, of_family), look in zip(points.items(), (LOOKS[3], LOOKS[1])):
            _family(ax, of_family, fits[family], name=FAMILIES[family], look=look)
            texts.append(_fit_in_words(FAMILIES[family], fits[family]))
        low = min(ax.get_xlim()[0], ax.get_ylim()[0])
        high = max(ax.get_xlim()[1], ax.get_ylim()[1])
        ax.plot([low, high], [low, high], color=GREY, lw=1, ls="-", zorder=0)
        ax.text(low, low, "   same height", va="center", fontsize=11, color=GREY)
        ax.set(xlabel="height in the frozen run (nats)", ylabel="height in the trained run (nats)")
        shares = ", ".join(f"{line.r_squared:.0%} ({FAMILIES[f]})" for f, line in fits.items())
        title = f"Of the heights' variance a frozen run explains {shares}"
        figure.suptitle(title, x=0.01, ha="left")
        legend_right(ax)
    return Plot(figure, f"{title}. {' '.join(texts)}")


def _family(ax: Axes, points: Sequence[Point], line: Fit, *, name: str, look: Look) -> None:
    """Its points and its line."""
    frozen = np.array([point.terms.unfamiliar for point in points])
    trained = np.array([point.terms.height for point in points])
    label = (
        f"{name}\n{counted(line.n, 'point')}, {counted(line.files, 'layout')}\n"
        f"R² {line.r_squared:.2f}, slope {line.slope:.2f}"
    )
    color, dash, marker = look
    ax.plot(frozen, trained, c=color, marker=marker, ls="none", ms=5, alpha=0.6, label=label)
    ends = np.array([frozen.min(), frozen.max()])
    ax.plot(ends, line.slope * ends + line.intercept, c=color, ls=dash, lw=2)


def _fit_in_words(name: str, line: Fit) -> str:
    slopes = line.slopes
    known = ""
    if math.isfinite(line.by_held_out):
        known = (
            f"; of what the line misses ({line.residual:.2f} nats), the change of held-out loss "
            f"before explains {line.by_held_out:.0%} where it was measured"
        )
    return (
        f"{name[0].upper()}{name[1:]}: {line.n} points of {counted(line.files, 'layout')}, R² "
        f"{line.r_squared:.2f}, slope {line.slope:.2f}, of single layouts "
        f"{slopes.text(sign='')}{known}."
    )
