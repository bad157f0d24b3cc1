"""Pictures of verdicts, of accumulation and of curves as they are logged: data in, a `Plot` out, as in `plots`.

`scoreboard` shows what `claims.scoreboard` found. It knows verdicts by their shape alone, so that
this module stays below the rules that make them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from minimind_lite import spikes
from minimind_lite.files.shipped import Segment
from minimind_lite.log_views import Curve
from minimind_lite.plots.base import (
    _RENDER,
    DOMAIN_COLOURS,
    LINES,
    Plot,
    _axes,
    _strip,
    _style,
    drawable,
)
from minimind_lite.records import Run
from minimind_lite.science import laws, segment_metrics
from minimind_lite.science.intervals import Interval

# Outcome -> colour of the cell, mark before the words; black on each is easy to read, and the mark needs no colour.
OUTCOMES = {
    "holds": ("#5FC9A8", "✓"),
    "holds in part": ("#F0C24B", "◐"),
    "wrong": ("#F0A078", "✗"),
    "not testable here": ("#DDDDDD", "–"),
    "undecided": ("#FFFFFF", "?"),
}
# Columns of the scoreboard: left edge and width in pixels, of 900
COLUMNS = {
    "": (4, 32),
    "claim": (38, 220),
    "our bet": (268, 170),
    "verdict": (448, 126),
    "measured first": (586, 184),
    "95 % interval": (778, 116),
}
WIDTH, LINE, TEXT = 900, 17, 11  # pixels, pixels, points
MARKERS = ("o", "s", "^", "D", "v")
HATCHES = ("", "//", "..", "xx")


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
    cells = [
        [
            v.claim.id,
            *(
                _wrapped(drawable(text), COLUMNS[column][1])
                for column, text in (
                    ("claim", v.claim.text),
                    ("our bet", v.claim.prediction),
                    ("measured first", next(iter(v.effects))),
                )
            ),
        ]
        for v in verdicts
    ]
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
    ax.add_patch(
        Rectangle(
            (left, top + 5),
            width,
            height - 10,
            facecolor=colour,
            edgecolor="#111111",
            lw=0.8,
            ls="--" if verdict.outcome == "undecided" else "-",
        )
    )
    ax.text(
        left + width / 2,
        middle,
        _wrapped(f"{mark} {verdict.outcome}", width - 16),
        fontsize=TEXT,
        va="center",
        ha="center",
        linespacing=1.15,
    )
    _interval(ax, next(iter(verdict.effects.values())), middle)


def _interval(ax: Axes, found: Interval, middle: float) -> None:
    """Mean and interval in figures, and under them as a bar with a dot, its scale such that all of it and zero are in."""
    left, width = COLUMNS["95 % interval"]
    known = math.isfinite(found.low) and math.isfinite(found.high)
    largest = max(abs(x) for x in (found.mean, found.low, found.high) if math.isfinite(x))
    digits = (
        0 if largest >= 100 else 1 if largest >= 10 else 2
    )  # so that the figures fit their column
    figures = f"{found.mean:+z.{digits}f}\n" + (
        f"[{found.low:z.{digits}f}, {found.high:z.{digits}f}]" if known else "(one seed)"
    )
    ax.text(
        left + width / 2,
        middle - 10,
        figures,
        fontsize=TEXT,
        va="center",
        ha="center",
        linespacing=1.05,
    )
    low, high = (found.low, found.high) if known else (found.mean, found.mean)
    start, stop = min(0.0, low), max(0.0, high)
    at = lambda x: left + 6 + (width - 12) * (x - start) / ((stop - start) or 1.0)
    y = middle + 20
    ax.plot([at(0), at(0)], [y - 6, y + 6], color="#111111", lw=1.2)
    ax.plot([at(low), at(high)], [y, y], color="#0072B2", lw=3, solid_capstyle="butt")
    ax.plot(at(found.mean), y, "o", color="#0072B2", ms=6)


def _wrapped(text: str, width: float, size: float = TEXT) -> str:
    """Text broken at spaces so that no line is wider than `width` pixels at 100 dots per inch, words apart."""
    lines, wide = (
        [""],
        lambda s: TextPath((0, 0), s, size=size).get_extents().width * 100 / 72 if s else 0.0,
    )
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if wide(longer) <= width or not lines[-1] else [lines[-1], word]
    return "\n".join(lines)


def _tally(verdicts: Sequence[Judged]) -> str:
    """How many claims came out how, and which."""
    names = {
        outcome: [v.claim.id for v in verdicts if v.outcome == outcome] for outcome in OUTCOMES
    }
    verb = lambda outcome, ids: outcome.replace("holds", "hold") if len(ids) > 1 else outcome
    found = [
        f"{len(ids)} {verb(outcome, ids)} ({', '.join(ids)})"
        for outcome, ids in names.items()
        if ids
    ]
    seeds = [min(i.n for i in v.effects.values()) for v in verdicts]
    behind = (
        f"{min(seeds)} seed{'s' * (min(seeds) != 1)}"
        if min(seeds) == max(seeds)
        else f"{min(seeds)} to {max(seeds)} seeds"
    )
    return (
        f"Of {len(verdicts)} claims: {'; '.join(found)}. Each is judged on {behind}; bars are 95 % intervals, each on its own scale, "
        "the upright line is zero."
    )


# Accumulation


def three_means(
    counts: Sequence[int],
    means: Sequence[float],
    *,
    title: str = "",
    size: tuple[float, float] = (9.5, 4.2),
) -> Plot:
    """Micro-batches as blocks, as wide as their tokens and as high as their loss; lines: last, mean of means, sum / tokens."""
    n, m = np.asarray(counts, float), np.asarray(means, float)
    found = {
        "last micro-batch": float(m[-1]),
        "mean of means": laws.mean_of_means(n * m, n),
        "sum of losses / tokens": laws.token_mean(n * m, n),
    }
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size)
        for i, (left, width, height) in enumerate(zip(np.cumsum(n) - n, n, m)):
            ax.add_patch(
                Rectangle(
                    (left, 0),
                    width,
                    height,
                    facecolor=DOMAIN_COLOURS["zh"],
                    edgecolor="#111111",
                    hatch=HATCHES[i % len(HATCHES)],
                )
            )
            narrow, text = (
                width < 0.13 * n.sum(),
                f"{chr(65 + i)}: {width:g} token{'' if width == 1 else 's'}\n× {height:g} nats",
            )
            ax.text(
                left + width * (1.3 if narrow else 0.5),
                height * (0.93 if narrow else 0.5),
                text,
                ha="left" if narrow else "center",
                va="center",
                fontsize=11,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
            )
        for (name, value), (colour, style) in zip(found.items(), (LINES[1], LINES[3], LINES[0])):
            ax.axhline(value, color=colour, ls=style, lw=2.2, label=f"{name}: {value:.2f}")
        ax.set(
            title=drawable(title),
            xlabel="supervised tokens, micro-batch after micro-batch",
            ylabel="loss (nats per token)",
            xlim=(0, n.sum()),
            ylim=(0, 1.12 * m.max()),
        )
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
    return Plot(
        figure,
        "Micro-batches of "
        + " and ".join(f"{a:g} token{'' if a == 1 else 's'} at {b:g}" for a, b in zip(n, m))
        + " nats: "
        + ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        + ".",
    )


def gradient_gaps(
    gaps: Mapping[str, Mapping[int, float]],
    *,
    title: str = "",
    size: tuple[float, float] = (9.5, 4.2),
) -> Plot:
    """How far the gradient of a batch cut into micro-batches is from that of the whole: relative, log scale, a series per way of averaging."""
    sizes = sorted({size for own in gaps.values() for size in own})
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size)
        for (name, own), (colour, style), marker in zip(gaps.items(), LINES, MARKERS):
            x = [sizes.index(k) for k in own]
            ax.plot(
                x,
                [max(v, 1e-17) for v in own.values()],
                color=colour,
                ls=style,
                marker=marker,
                ms=9,
                label=drawable(name),
            )
        ax.axhline(1e-6, color="#555555", lw=1, ls=":")
        ax.annotate(
            "limit: one part in a million",
            (0, 1e-6),
            xytext=(0, 5),
            textcoords="offset points",
            ha="left",
            fontsize=11,
        )
        ax.set(
            yscale="log",
            ylim=(1e-17, 10),
            title=drawable(title),
            xlabel="conversations in a micro-batch",
            ylabel="difference / largest entry",
        )
        ax.set_xticks(range(len(sizes)), [str(k) for k in sizes])
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
    text = "; ".join(f"{name}: at most {max(own.values()):.1g}" for name, own in gaps.items())
    return Plot(
        figure,
        f"Largest difference of the gradient from the whole batch's, as a share of its largest entry, double precision. {text}.",
    )


def bias_scatter(
    cuts: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    *,
    title: str = "",
    size: tuple[float, float] = (9.5, 4.6),
) -> Plot:
    """Mean of means minus token mean of every step, against the most it could be: (deviation of n / mean n) x deviation of m.

    `cuts` hold (sums, tokens) of the micro-batches of each step. The law's edges are where n and m go perfectly together.
    """
    found = {
        name: np.array([_bias_and_limit(*step) for step in steps]) for name, steps in cuts.items()
    }
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size)
        for (name, points), (colour, _), marker in zip(found.items(), LINES[1:], MARKERS):
            ax.plot(
                points[:, 1],
                points[:, 0],
                ls="none",
                marker=marker,
                ms=5,
                alpha=0.7,
                color=colour,
                label=drawable(name),
            )
        edge = 1.05 * max(points[:, 1].max() for points in found.values())
        for sign in (-1, 1):
            ax.plot(
                [0, edge],
                [0, sign * edge],
                color="#111111",
                lw=1.4,
                ls="-",
                label="law: no step beyond" if sign == 1 else None,
            )
        ax.axhline(0, color="#555555", lw=1, ls=":")
        ax.set(
            title=drawable(title),
            xlabel="unequal lengths × unequal losses (nats)",
            ylabel="mean of means − token mean (nats)",
            xlim=(0, edge),
        )
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
    text = "; ".join(
        f"{name}: {np.abs(p[:, 0]).mean():.3f} nats off on average, {np.abs(p[:, 0]).max():.3f} at most"
        for name, p in found.items()
    )
    return Plot(
        figure,
        f"Mean of means against the token mean of the same step. {text}. No step is beyond the law's edges.",
    )


def _bias_and_limit(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    n, s = counts[counts > 0].astype(float), sums[counts > 0]
    return laws.mean_of_means(s, n) - laws.token_mean(s, n), float(
        n.std() / n.mean() * (s / n).std()
    )


def memory_bars(
    bars: Mapping[str, Mapping[str, float]],
    *,
    title: str = "",
    size: tuple[float, float] | None = None,
) -> Plot:
    """Stacked bars of bytes: what each setting (first key) needs, part by part (second key), in MB (10^6 bytes)."""
    parts, totals = (
        list(next(iter(bars.values()))),
        {name: sum(own.values()) / 1e6 for name, own in bars.items()},
    )
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size or (9.5, 1.6 + 0.5 * len(bars)))
        left = np.zeros(len(bars))
        for part, colour, hatch in zip(
            parts, ("#0072B2", "#E69F00", "#009E73", "#DDDDDD"), HATCHES
        ):
            values = np.array([own[part] / 1e6 for own in bars.values()])
            ax.barh(
                list(bars),
                values,
                left=left,
                height=0.66,
                color=colour,
                hatch=hatch,
                edgecolor="#333333",
                lw=0.6,
                label=part,
            )
            left += values
        for i, total in enumerate(totals.values()):
            ax.text(total, i, f" {total:,.1f} MB", va="center", fontsize=11)
        ax.invert_yaxis()
        ax.margins(x=0.14)
        ax.set(title=drawable(title), xlabel="memory (MB)")
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
    first, *_, last = bars
    shares = ", ".join(f"{part} {bars[first][part] / 1e6:,.1f}" for part in parts)
    return Plot(
        figure,
        f"{first}: {totals[first]:,.1f} MB ({shares}). "
        + ", ".join(f"{n}: {t:,.1f} MB" for n, t in list(totals.items())[1:])
        + f". {last} needs {totals[last] / totals[first]:.0%} of the memory of {first}.",
    )


# One run, as it may be logged


def panels(
    curves: Mapping[str, Curve],
    *,
    run: Run | None = None,
    segments: Sequence[Segment] = (),
    detect: bool = False,
    under: Mapping[str, Curve] | None = None,
    title: str = "",
    height: float = 1.35,
) -> Plot:
    """One small panel per curve over the same conversations, with the run's domain strip under them.

    With `detect`, the detector's events are marked in every curve that is long enough for it. `under`
    are earlier curves, by panel, as a broad grey line.
    """
    with _RENDER, matplotlib.rc_context(_style()):
        figure, axes = _axes(
            (10, height * len(curves) + 1.2),
            len(curves) + (run is not None),
            [10] * len(curves) + [2] * (run is not None),
        )
        for ax, (name, curve), (colour, _) in zip(
            axes, curves.items(), (LINES[0], *LINES[1:], LINES[1])
        ):
            if under and name in under:
                ax.plot(under[name].samples, under[name].values, color="#BBBBBB", lw=5)
            ax.plot(
                curve.samples,
                curve.values,
                color=colour,
                lw=1.3,
                marker="." if len(curve.values) < 60 else None,
            )
            for event in _events(curve) if detect else []:
                ax.plot(
                    curve.samples[event.peak], curve.values[event.peak], "v", color="#D55E00", ms=8
                )
            ax.set_title(drawable(name), fontsize=11)
            ax.margins(y=0.25)
        axes[0].set_title(
            drawable(f"{title}\n{next(iter(curves))}" if title else next(iter(curves))), fontsize=11
        )
        if run is not None:
            _strip(axes[-1], run, segments, "samples", "rows")
        axes[len(curves) // 2].set_ylabel("loss as logged (nats)")
        axes[-1].set_xlabel("conversations seen")
    return Plot(
        figure, "; ".join(_course(name, curve, detect) for name, curve in curves.items()) + "."
    )


def _events(curve: Curve) -> list[spikes.SpikeEvent]:
    return spikes.find(curve.values) if len(curve.values) > spikes.WINDOW else []


def _course(name: str, curve: Curve, detect: bool) -> str:
    top, events = int(np.argmax(curve.values)), len(_events(curve))
    found = (
        f", {events} event{'s' * (events != 1)} found"
        if detect and len(curve.values) > spikes.WINDOW
        else ""
    )
    return (
        f"{name}: {len(curve.values)} points, mean {curve.values.mean():.2f}, highest {curve.values[top]:.2f} "
        f"after {curve.samples[top]:,} conversations{found}"
    )


def intervals(
    series: Mapping[str, Mapping[str, Interval]],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    digits: int = 2,
    size: tuple[float, float] = (9.5, 4.2),
) -> Plot:
    """Means with their intervals over seeds, side by side at each place (second key), a marker and a line per series (first key)."""
    places = list(next(iter(series.values())))
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size)
        for i, ((name, found), (colour, style), marker) in enumerate(
            zip(series.items(), LINES, MARKERS)
        ):
            x, mean = (
                np.arange(len(places)) + 0.1 * (i - (len(series) - 1) / 2),
                np.array([found[p].mean for p in places]),
            )
            reach = np.array(
                [
                    [f.mean - f.low, f.high - f.mean] if math.isfinite(f.low) else [0, 0]
                    for f in (found[p] for p in places)
                ]
            ).T
            ax.errorbar(
                x,
                mean,
                yerr=reach,
                color=colour,
                ls=style,
                lw=1.4,
                marker=marker,
                ms=8,
                capsize=4,
                label=drawable(name),
            )
        ax.axhline(0, color="#555555", lw=0.8, ls=":")
        ax.set_xticks(range(len(places)), [drawable(p) for p in places])
        ax.set(title=drawable(title), xlabel=xlabel, ylabel=ylabel)
        ax.margins(x=0.1, y=0.12)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
    say = lambda f: (
        f"{f.mean:z.{digits}f}"
        + (f" [{f.low:z.{digits}f}, {f.high:z.{digits}f}]" if math.isfinite(f.low) else "")
    )
    text = "; ".join(
        f"{name}: " + ", ".join(f"{say(found[p])} at {p}" for p in places)
        for name, found in series.items()
    )
    seeds = min(f.n for found in series.values() for f in found.values())
    return Plot(
        figure,
        f"{title}. {text} ({ylabel}; {seeds} seed{'s' * (seeds != 1)}"
        + (", 95 % intervals)." if seeds > 1 else ")."),
    )


def troubles(
    runs: Mapping[str, Run],
    *,
    probe: str = "zh",
    title: str = "",
    size: tuple[float, float] = (10, 5.4),
) -> Plot:
    """Above, the training loss of runs that met trouble at the same step; below, a held-out probe of each."""
    event = next(iter(runs.values())).info["event"]
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax, below) = _axes(size, 2, [1, 1])
        for (name, run), (colour, style), marker in zip(runs.items(), LINES, MARKERS):
            ax.plot(
                run.column("step"), run.loss, color=colour, ls=style, lw=1.6, label=drawable(name)
            )
            below.plot(
                *segment_metrics.probe_to_the_end(run, probe),
                color=colour,
                ls=style,
                lw=1.6,
                marker=marker,
                ms=5,
            )
        for each in (ax, below):
            each.axvspan(*event, color="#DDDDDD", lw=0, zorder=0)
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
        ax.set(title=drawable(title), ylabel="training loss (nats)")
        below.set(
            ylabel="held-out Chinese (nats)" if probe == "zh" else f"held-out {probe} (nats)",
            xlabel="optimiser steps (grey: the trouble)",
        )
    said = []
    for name, run in runs.items():
        steps, losses = segment_metrics.probe_to_the_end(run, probe)
        before = losses[steps <= event[0]][-1]
        said.append(
            f"{name}: training loss up to {run.loss[event[0] : event[1] + 1].max():.2f}, probe {before:.2f} before, "
            f"{losses.max():.2f} at most, {losses[-1]:.2f} at the end"
        )
    return Plot(figure, "; ".join(said) + ".")


def judged(
    values: Sequence[float],
    *,
    window: int,
    n_sigma: float = 7.0,
    title: str = "",
    size: tuple[float, float] = (10, 4.6),
) -> Plot:
    """One series under two judges: `n_sigma` deviations from a rolling mean (OLMo's rule), and the robust z of `spikes`."""
    x = np.asarray(values, float)
    windows = np.lib.stride_tricks.sliding_window_view(x[:-1], window)
    mean, deviation, steps = (
        windows.mean(axis=1),
        np.maximum(windows.std(axis=1), 1e-12),
        np.arange(window, len(x)),
    )
    rolling, base = np.zeros(len(x), bool), spikes.baseline(x, window=window)
    rolling[window:] = np.abs(x[window:] - mean) >= n_sigma * deviation
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size)
        ax.plot(x, color="#111111", lw=1.4, label="the curve")
        ax.plot(
            steps,
            mean + n_sigma * deviation,
            color="#E69F00",
            ls="--",
            lw=1.8,
            label=f"rolling mean + {n_sigma:g} deviations",
        )
        ax.plot(
            base.median + np.maximum(spikes.THRESHOLD * base.sigma, spikes.MIN_HEIGHT),
            color="#0072B2",
            ls="-.",
            lw=1.8,
            label=f"robust: median + {spikes.THRESHOLD:g} sigma",
        )
        ax.plot(
            np.flatnonzero(rolling),
            x[rolling],
            "s",
            color="#E69F00",
            mec="#111111",
            ms=9,
            label="flagged by rolling mean",
        )
        ax.plot(
            np.flatnonzero(base.flagged),
            x[base.flagged],
            "v",
            color="#0072B2",
            ms=6,
            label="flagged by robust z",
        )
        reach = x.max() - x.min()
        ax.set(
            title=drawable(title),
            xlabel="steps",
            ylabel="loss (nats)",
            ylim=(x.min() - 0.15 * reach, x.max() + 0.5 * reach),
        )
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
    return Plot(
        figure,
        f"{len(x)} steps, window {window}. Flagged by the rolling mean and {n_sigma:g} deviations: {_stretches(rolling)}. "
        f"Flagged by the robust z: {_stretches(base.flagged)}.",
    )


def _stretches(flagged: np.ndarray) -> str:
    edges = np.flatnonzero(
        np.diff(np.concatenate([[False], flagged, [False]]).astype(int))
    ).reshape(-1, 2)
    return ", ".join(f"{a}–{b - 1}" if b - a > 1 else f"{a}" for a, b in edges) or "none"
