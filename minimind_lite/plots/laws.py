"""The laws of batches, logs, buffers and resumes, drawn: law as a line, simulation open, measurement filled with its interval.

Numbers come from `law_checks`, a `Check` for each line; intervals are Student-t over seeds. Every
figure has its sentence, which says where law and measurement part, computed from the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from minimind_lite.plots.base import _RENDER, FigureCanvasAgg, Plot, _style, drawable
from minimind_lite.science.evidence import interval
from minimind_lite.science.intervals import Interval
from minimind_lite.science.law_checks import Check

# Colour, line style and marker go together, so that none of them is needed alone.
SERIES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", (0, (5, 1, 1, 1)), "D"),
    ("#111111", ":", "v"),
)
KEY = (
    Line2D([], [], color="#555555", lw=1.8, label="law"),
    Line2D([], [], color="#555555", ls="none", marker="o", mfc="none", ms=10, label="simulation"),
    Line2D([], [], color="#555555", ls="none", marker="o", ms=5, label="measured, 95 % interval"),
)


def intervals(check: Check) -> list[Interval]:
    """Interval over the seeds of each measured place (m,)."""
    return [interval(column) for column in check.measured.T]


def misses(check: Check) -> list[float]:
    """Places whose measured interval does not hold the law; none can be missed with a single seed."""
    return [
        float(x)
        for x, i, law in zip(check.at, intervals(check), check.law_at.mean(axis=0))
        if i.excludes(float(law))
    ]


def agreement(check: Check, name: str, *, x_name: str, digits: int = 2) -> str:
    """One sentence: at how many places the law lies in the measured interval, where not, and the largest mean difference."""
    difference, outside = check.difference.mean(axis=0), misses(check)
    worst = int(np.argmax(np.abs(difference)))
    held = f"law inside the measured interval at {len(check.at) - len(outside)} of {len(check.at)}"
    if len(check.measured) == 1:
        held = "one seed, no interval"
    places = f", not at {x_name} = {', '.join(f'{x:g}' for x in outside)}" if outside else ""
    unit = f" {check.unit}" if check.unit == "nats" else ""
    return f"{name}: {held}{places}; largest difference {difference[worst]:+z.{digits}f}{unit} at {x_name} = {check.at[worst]:g}"


def _grid(
    size: tuple[float, float], columns: int, *, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, columns, squeeze=False, sharey=sharey)[0])


def draw(ax: Axes, check: Check, series: int, *, offset: float = 1.0, line: bool = True) -> None:
    """One check on some axes, in the colours of a series (0 to 4); `offset` multiplies the measured places, to keep intervals apart."""
    colour, style, marker = SERIES[series]
    if line:
        ax.plot(check.x, check.law, color=colour, ls=style, lw=1.8, zorder=2)
    ax.plot(
        check.sim_x,
        check.simulated,
        ls="none",
        marker=marker,
        mfc="none",
        mec=colour,
        ms=10,
        zorder=3,
    )
    found = intervals(check)
    mean = np.array([i.mean for i in found])
    bars = np.array(
        [[i.mean - i.low, i.high - i.mean] if math.isfinite(i.low) else [0, 0] for i in found]
    ).T
    ax.errorbar(
        check.at * offset,
        mean,
        yerr=bars,
        color=colour,
        ls="none",
        marker=marker,
        ms=5,
        capsize=3,
        lw=1.4,
        zorder=4,
    )


def _log2(ax: Axes, ticks: Sequence[float], *, axis: str = "x") -> None:
    getattr(ax, f"set_{axis}scale")("log", base=2)
    which = getattr(ax, f"{axis}axis")
    which.set_major_locator(FixedLocator(list(ticks)))
    which.set_minor_locator(NullLocator())
    which.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def _key(where: Axes | Figure, names: Sequence[str] = ()) -> None:
    """Right of one pair of axes, or under a figure with several."""
    own = [
        Line2D([], [], color=c, ls=s, marker=m, ms=6, label=drawable(n))
        for n, (c, s, m) in zip(names, SERIES)
    ]
    if isinstance(where, Figure):
        where.legend(handles=[*own, *KEY], fontsize=11, loc="outside lower center", ncols=4)
    else:
        where.legend(handles=[*own, *KEY], fontsize=11, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def visibility(
    checks: Mapping[str, Mapping[str, Check]],
    lengths: Mapping[str, int],
    *,
    title: str = "",
    size: tuple[float, float] = (10.5, 5.2),
) -> Plot:
    """Height, noise and z over batch sizes, a series per segment: `law_checks.visibility` of each, and its rows.

    A tick over the z of each segment marks 3/4 of its length, where the law turns over.
    """
    panels = {
        "height": ("height (nats)", 0.0),
        "noise": ("noise (nats)", None),
        "z": ("z = height / noise", 0.0),
    }
    with _RENDER, matplotlib.rc_context(_style()):
        figure, axes = _grid(size, 3)
        for ax, (field, (label, bottom)) in zip(axes, panels.items()):
            for i, found in enumerate(checks.values()):
                if field != "noise" or i == 0:
                    draw(ax, found[field], i if field != "noise" else 4)
            _log2(ax, next(iter(checks.values()))[field].at)
            ax.set(xlabel="batch size B", title=label)
            if bottom is not None:
                ax.set_ylim(bottom=bottom)
        _log2(axes[1], (0.01, 0.02, 0.05, 0.1, 0.2, 0.5), axis="y")
        for i, (name, length) in enumerate(lengths.items()):
            top = float(np.interp(0.75 * length, checks[name]["z"].x, checks[name]["z"].law))
            axes[2].plot(
                [0.75 * length] * 2, [0, top], color=SERIES[i][0], ls=":", lw=1.2, zorder=1
            )
        _key(figure, [f"{n}, {lengths[n]} rows" for n in checks])
        figure.suptitle(drawable(title), x=0.01, ha="left")
    said = [
        agreement(c, f"{n}, {f}", x_name="B", digits=3 if f == "noise" else 2)
        for n, found in checks.items()
        for f, c in found.items()
        if f != "noise" or n == next(iter(checks))
    ]
    peaks = ", ".join(
        f"{n} {turnover(found['z']):g} (¾ of its rows: {0.75 * lengths[n]:g})"
        for n, found in checks.items()
    )
    return Plot(figure, f"{'. '.join(said)}. Measured z is largest at B = {peaks}.")


def turnover(z: Check) -> float:
    """The measured batch size at which the mean z is largest."""
    return float(z.at[int(np.argmax(z.measured.mean(axis=0)))])


def plotting(
    checks: Mapping[str, tuple[Check, Check]],
    *,
    title: str = "",
    size: tuple[float, float] = (10.5, 5),
) -> Plot:
    """Probability that a log of one step in I shows a segment, over I: at all, and half of it; `law_checks.plotting` by name."""
    with _RENDER, matplotlib.rc_context(_style()):
        figure, axes = _grid(size, 2, sharey=True)
        for ax, k, label in zip(
            axes,
            (0, 1),
            ("a logged batch touches it", "a logged batch holds half of min(L, B) of it"),
        ):
            for i, pair in enumerate(checks.values()):
                draw(ax, pair[k], i)
            _log2(ax, next(iter(checks.values()))[k].at)
            ax.set(xlabel="one step in I is logged: I", title=label, ylim=(0, 1.05))
        axes[0].set_ylabel("probability")
        _key(figure, list(checks))
        figure.suptitle(drawable(title), x=0.01, ha="left")
    return Plot(figure, _plotting_summary(checks))


def _plotting_summary(checks: Mapping[str, tuple[Check, Check]]) -> str:
    every = next(iter(checks.values()))[0].at
    mean = lambda c: c.measured.mean(axis=0)[-1]
    tail = "; ".join(
        f"{n} {mean(touched):.2f} touched, {mean(half):.2f} half held"
        for n, (touched, half) in checks.items()
    )
    off = {
        (n, what, x): d
        for n, pair in checks.items()
        for what, c in zip(("touched", "half held"), pair)
        for x, d in zip(every, c.difference.mean(axis=0))
    }
    name, what, at = max(off, key=lambda k: abs(off[k]))
    return (
        f"With one step in {every[-1]:g} logged, measured probability: {tail}. Largest mean difference from the law: {off[name, what, at]:+.2f} "
        f"({name}, {what}, I = {at:g}); the law averages over starts, a recorded file has one."
    )


def buffer(
    checks: Mapping[str, Check],
    lengths: Mapping[str, int],
    *,
    title: str = "",
    size: tuple[float, float] = (10, 4.8),
) -> Plot:
    """Expected peak share of a segment over the rows K of a shuffle buffer; `law_checks.peak_shares` by name. Thin: 1 - exp(-L/K)."""
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _grid(size, 1)
        for i, (name, check) in enumerate(checks.items()):
            draw(ax, check, i, offset=1.06 ** (i - (len(checks) - 1) / 2))
            ax.plot(
                check.x,
                -np.expm1(-lengths[name] / check.x),
                color=SERIES[i][0],
                lw=0.8,
                ls=(0, (1, 1)),
                zorder=1,
            )
        check = next(iter(checks.values()))
        _log2(
            ax,
            sorted(
                {
                    *check.at,
                    *(
                        2.0
                        ** np.arange(
                            math.ceil(math.log2(check.x[0])), math.floor(math.log2(check.x[-1])) + 1
                        )
                    ),
                }
            ),
        )
        ax.set(
            xlabel="rows K that the buffer holds",
            ylabel="share of the segment in its fullest batch",
            ylim=(0, 1.05),
            title=drawable(title),
        )
        _key(ax, [f"{n}, L = {lengths[n]}" for n in checks])
    return Plot(figure, ". ".join(agreement(c, n, x_name="K") for n, c in checks.items()) + ".")


def dispersion(
    check: Check, orders: Sequence[str], *, title: str = "", size: tuple[float, float] = (10, 4.4)
) -> Plot:
    """Dispersion index D of the odd rows under each order, log scale; `law_checks.dispersion` and the orders' names."""
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _grid(size, 1)
        draw(ax, check, 0, line=False)
        ax.hlines(check.law, check.x - 0.3, check.x + 0.3, color=SERIES[0][0], lw=1.8)
        ax.axhline(1, color="#555555", lw=0.8, ls=":")
        _log2(ax, (0.5, 1, 2, 4, 8, 16), axis="y")
        ax.set_xticks(check.x, [drawable(n) for n in orders])
        ax.set(
            ylabel="dispersion index D",
            title=drawable(title),
            ylim=(0.5, 20),
            xlim=(-0.6, len(orders) - 0.4),
        )
        _key(ax)
    measured = check.measured.mean(axis=0)
    listed = ", ".join(
        f"{n} {m:.2f} (law {w:.2f})" for n, m, w in zip(orders, measured, check.law_at.mean(axis=0))
    )
    return Plot(figure, f"Dispersion index, measured: {listed}; 1 is what chance gives.")


def accumulation(check: Check, *, title: str = "", size: tuple[float, float] = (9.5, 4.4)) -> Plot:
    """Mean of means minus sum / sum over the rows K of a micro-batch; `law_checks.accumulation`. Sum / sum is the line at zero, exactly."""
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _grid(size, 1)
        draw(ax, check, 1)
        ax.axhline(0, color="#111111", lw=1.2)
        ax.annotate(
            "sum / sum: no bias at any K",
            (check.at.max(), 0),
            xytext=(0, 6),
            textcoords="offset points",
            ha="right",
            fontsize=11,
        )
        _log2(ax, sorted(check.at))
        ax.set(
            xlabel="rows K of a micro-batch",
            ylabel="mean of means − sum / sum (nats)",
            title=drawable(title),
        )
        ax.margins(y=0.15)
        _key(ax)
    return Plot(figure, agreement(check, "Mean of means", x_name="K", digits=3) + ".")


def resume(
    checks: Mapping[str, Check], *, title: str = "", size: tuple[float, float] = (9.5, 4.4)
) -> Plot:
    """Share of the rows read twice (and as many never) over the place of the break; `law_checks.resume` by the order that goes on."""
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _grid(size, 1)
        for i, check in enumerate(checks.values()):
            draw(ax, check, i, offset=1 + 0.04 * (i - (len(checks) - 1) / 2))
        ax.set(
            xlabel="share f of the epoch that was done at the break",
            ylabel="read twice; as many never",
            title=drawable(title),
            xlim=(0, 1),
        )
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
        ax.set_ylim(0, 0.3)
        _key(ax, list(checks))
    measured = ", ".join(
        f"{n} {c.measured.mean():.1%} of the rows at f = {c.at[0]:.2f} (law {c.law_at.mean():.1%})"
        for n, c in checks.items()
    )
    return Plot(figure, f"Read twice, and as many never, measured: {measured}.")
