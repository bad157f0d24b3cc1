"""Laws of batches, logs, buffers and resumes: law as a line, simulation open, measurement filled.

Numbers come from `law_checks`, one `Check` per line. Intervals are over seeds. Each sentence says
where law and measurement differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from minimind_lite.plots.base import (
    GREY,
    LOOKS,
    Plot,
    canvas,
    drawable,
    legend_right,
    log_axis,
    note,
)
from minimind_lite.plots.effects import reach
from minimind_lite.science.intervals import Interval, interval_over_seeds
from minimind_lite.science.law_checks import Check

KEY = (
    Line2D([], [], color=GREY, lw=1.8, label="law"),
    Line2D([], [], color=GREY, ls="none", marker="o", mfc="none", ms=10, label="simulation"),
    Line2D([], [], color=GREY, ls="none", marker="o", ms=5, label="measured, 95 % interval"),
)


def law_outside_interval(check: Check) -> list[float]:
    """Places whose measured interval does not contain the law; never one with a single seed."""
    laws = check.law_at.mean(axis=0)
    return [
        float(x) for x, i, law in zip(check.at, _measured(check), laws) if i.excludes(float(law))
    ]


def _measured(check: Check) -> list[Interval]:
    """Interval over the seeds at each measured place (m,)."""
    return [interval_over_seeds(column) for column in check.measured.T]


def agreement(check: Check, name: str, *, x_name: str, digits: int = 2) -> str:
    """At how many places the law lies in the measured interval, and the largest difference."""
    difference, outside = check.difference.mean(axis=0), law_outside_interval(check)
    worst = int(np.argmax(np.abs(difference)))
    n = len(check.at)
    inside = f"law inside the measured interval at {n - len(outside)} of {n}"
    if len(check.measured) == 1:
        inside = "one seed, no interval"
    if outside:
        inside += f", not at {x_name} = {', '.join(f'{x:g}' for x in outside)}"
    unit = " nats" if check.unit == "nats" else ""
    return (
        f"{name}: {inside}; largest difference {difference[worst]:+z.{digits}f}{unit} at "
        f"{x_name} = {check.at[worst]:g}"
    )


def draw_check(ax: Axes, check: Check, *, series: int, offset: float = 1.0) -> None:
    """One check in the look of a series (0 to 4).

    `offset` multiplies the measured places, so that intervals of several series do not overlap.
    """
    look = LOOKS[series]
    ax.plot(check.x, check.law, color=look.color, ls=look.dash, lw=1.8, zorder=2)
    ax.plot(
        check.sim_x,
        check.simulated,
        ls="none",
        marker=look.marker,
        mfc="none",
        mec=look.color,
        ms=10,
        zorder=3,
    )
    measured = _measured(check)
    ax.errorbar(
        check.at * offset,
        [i.mean for i in measured],
        yerr=np.array([reach(i) for i in measured]).T,
        color=look.color,
        ls="none",
        marker=look.marker,
        ms=5,
        capsize=3,
    )


def _key(where: Axes | Figure, names: Sequence[str] = ()) -> None:
    """A legend, right of one pair of axes or under a figure with several."""
    handles = [
        Line2D([], [], color=look.color, ls=look.dash, marker=look.marker, ms=6, label=drawable(n))
        for n, look in zip(names, LOOKS)
    ]
    if isinstance(where, Figure):
        shown = [*handles, *KEY]
        where.legend(handles=shown, fontsize=11, loc="outside lower center", ncols=4)
    else:
        legend_right(where, [*handles, *KEY])


def visibility(
    checks: Mapping[str, Mapping[str, Check]], lengths: Mapping[str, int], *, title: str = ""
) -> Plot:
    """Height, noise and z over batch sizes, a series per segment.

    `checks` are `law_checks.visibility` of each segment, `lengths` its rows. A dotted line marks
    3/4 of each length, where z turns over by the law. Noise is the same for all.
    """
    first = next(iter(checks.values()))
    labels = {"height": "height (nats)", "noise": "noise (nats)", "z": "z = height / noise"}
    with canvas((10.5, 5.2), columns=3) as (figure, axes):
        for ax, (field, label) in zip(axes, labels.items()):
            shown = [first] if field == "noise" else list(checks.values())
            for i, fields in enumerate(shown):
                draw_check(ax, fields[field], series=4 if field == "noise" else i)
            log_axis(ax, first[field].at)
            ax.set(xlabel="batch size B", title=label)
        height, noise, z = axes
        height.set_ylim(bottom=0)
        log_axis(noise, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5), axis="y")
        z.set_ylim(bottom=0)
        for look, (name, length) in zip(LOOKS, lengths.items()):
            turn, check = 0.75 * length, checks[name]["z"]
            top = float(np.interp(turn, check.x, check.law))
            z.plot([turn, turn], [0, top], color=look.color, ls=":", lw=1.2, zorder=1)
        _key(figure, [f"{name}, {lengths[name]} rows" for name in checks])
        figure.suptitle(drawable(title), x=0.01, ha="left")
    return Plot(figure, _visibility_summary(checks, lengths))


def _visibility_summary(
    checks: Mapping[str, Mapping[str, Check]], lengths: Mapping[str, int]
) -> str:
    texts = []
    for i, (name, fields) in enumerate(checks.items()):
        texts.append(agreement(fields["height"], f"{name}, height", x_name="B"))
        if i == 0:
            texts.append(agreement(fields["noise"], f"{name}, noise", x_name="B", digits=3))
        texts.append(agreement(fields["z"], f"{name}, z", x_name="B"))
    peaks = ", ".join(
        f"{name} {turnover(fields['z']):g} (¾ of its rows: {0.75 * lengths[name]:g})"
        for name, fields in checks.items()
    )
    return f"{'. '.join(texts)}. Measured z is largest at B = {peaks}."


def turnover(z: Check) -> float:
    """The measured batch size at which the mean z is largest."""
    return float(z.at[int(np.argmax(z.measured.mean(axis=0)))])


def plotting(checks: Mapping[str, tuple[Check, Check]], *, title: str = "") -> Plot:
    """Probability that a log of one step in I shows a segment, over I: at all, and half of it.

    `checks` are `law_checks.plotting` by the segment's name.
    """
    labels = ("a logged batch touches it", "a logged batch has half of min(L, B) of it")
    with canvas((10.5, 5), columns=2, sharey=True) as (figure, axes):
        for k, (ax, label) in enumerate(zip(axes, labels)):
            for i, pair in enumerate(checks.values()):
                draw_check(ax, pair[k], series=i)
            log_axis(ax, next(iter(checks.values()))[k].at)
            ax.set(xlabel="one step in I is logged: I", title=label, ylim=(0, 1.05))
        axes[0].set_ylabel("probability")
        _key(figure, list(checks))
        figure.suptitle(drawable(title), x=0.01, ha="left")
    return Plot(figure, _plotting_summary(checks))


def _plotting_summary(checks: Mapping[str, tuple[Check, Check]]) -> str:
    intervals = next(iter(checks.values()))[0].at
    last, differences = [], {}
    for name, pair in checks.items():
        touched, half = (check.measured.mean(axis=0)[-1] for check in pair)
        last.append(f"{name} {touched:.2f} touched, {half:.2f} half of it")
        for what, check in zip(("touched", "half of it"), pair):
            for at, difference in zip(intervals, check.difference.mean(axis=0)):
                differences[name, what, at] = difference
    largest = max(differences, key=lambda key: abs(differences[key]))
    name, what, at = largest
    return (
        f"With one step in {intervals[-1]:g} logged, measured probability: {'; '.join(last)}. "
        f"Largest mean difference from the law: {differences[largest]:+.2f} ({name}, {what}, "
        f"I = {at:g}); the law averages over starts, a recorded file has one."
    )


@contextmanager
def _one_panel(
    checks: Mapping[str, Check], *, title: str, spread: float = 1.0
) -> Iterator[tuple[Figure, Axes]]:
    """Checks on one pair of axes with their names beside them.

    `spread` is the factor between the measured places of one series and the next.
    """
    with canvas((10, 4.6)) as (figure, (ax,)):
        for i, check in enumerate(checks.values()):
            draw_check(ax, check, series=i, offset=spread ** (i - (len(checks) - 1) / 2))
        ax.set_title(drawable(title))
        _key(ax, list(checks) if len(checks) > 1 else [])
        yield figure, ax


def buffer(checks: Mapping[str, Check], lengths: Mapping[str, int], *, title: str = "") -> Plot:
    """Expected peak share of a segment over the rows K of a shuffle buffer.

    `checks` are `law_checks.peak_shares` by name. Thin lines: the rule of thumb 1 - exp(-L/K).
    """
    named = {f"{name}, L = {lengths[name]}": check for name, check in checks.items()}
    first = next(iter(checks.values()))
    powers = 2.0 ** np.arange(math.ceil(math.log2(first.x[0])), math.log2(first.x[-1]) + 0.001)
    with _one_panel(named, title=title, spread=1.06) as (figure, ax):
        for look, (name, check) in zip(LOOKS, checks.items()):
            rule = -np.expm1(-lengths[name] / check.x)
            ax.plot(check.x, rule, color=look.color, lw=0.8, ls=(0, (1, 1)), zorder=1)
        log_axis(ax, sorted({*first.at, *powers}))
        ax.set(xlabel="rows K that the buffer holds", ylim=(0, 1.05))
        ax.set_ylabel("share of the segment in its fullest batch")
    text = ". ".join(agreement(check, name, x_name="K") for name, check in checks.items())
    return Plot(figure, f"{text}.")


def dispersion(check: Check, orders: Sequence[str], *, title: str = "") -> Plot:
    """Dispersion index D of the off-domain rows under each order, log scale.

    `check` is `law_checks.dispersion`, `orders` the names of its places.
    """
    with _one_panel({"": check}, title=title) as (figure, ax):
        ax.lines[0].set_drawstyle("steps-mid")  # the law: orders are no scale
        ax.axhline(1, color=GREY, lw=0.8, ls=":")
        log_axis(ax, (0.5, 1, 2, 4, 8, 16), axis="y")
        ax.set_xticks(check.x, [drawable(name) for name in orders])
        ax.set(ylabel="dispersion index D", ylim=(0.5, 20))
    measured, law = check.measured.mean(axis=0), check.law_at.mean(axis=0)
    listed = ", ".join(
        f"{name} {m:.2f} (law {expected:.2f})" for name, m, expected in zip(orders, measured, law)
    )
    return Plot(figure, f"Dispersion index, measured: {listed}; 1 is what chance gives.")


def accumulation(check: Check, *, title: str = "") -> Plot:
    """Mean of means minus sum / sum, over the rows K of a micro-batch; `law_checks.accumulation`.

    Sum / sum is the line at zero, exactly.
    """
    with _one_panel({"": check}, title=title) as (figure, ax):
        ax.axhline(0, color="#111111", lw=1.2)
        note(ax, "sum / sum: no bias at any K", (check.at.max(), 0), align="right")
        log_axis(ax, sorted(check.at))
        ax.set(xlabel="rows K of a micro-batch", ylabel="mean of means − sum / sum (nats)")
        ax.margins(y=0.15)
    return Plot(figure, agreement(check, "Mean of means", x_name="K", digits=3) + ".")


def resume(checks: Mapping[str, Check], *, title: str = "") -> Plot:
    """Share of the rows read twice (and as many never) over the place of the break.

    `checks` are `law_checks.resume` by the order that goes on.
    """
    with _one_panel(checks, title=title, spread=1.04) as (figure, ax):
        ax.set(xlim=(0, 1), ylim=(0, 0.3), ylabel="read twice; as many never")
        ax.set_xlabel("share f of the epoch that was done at the break")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    measured = ", ".join(
        f"{name} {check.measured.mean():.1%} of the rows at f = {check.at[0]:.2f} "
        f"(law {check.law_at.mean():.1%})"
        for name, check in checks.items()
    )
    return Plot(figure, f"Read twice, and as many never, measured: {measured}.")


def height_against_share(
    points: Mapping[str, Sequence[tuple[float, float]]], *, title: str = ""
) -> Plot:
    """Measured over expected height of the fullest batches: a point per order, with intervals.

    `points` are `law_checks.share_times_hardness` of each seed, by order. On the line a batch costs
    what its rows cost a frozen model. Below it, the model had learned some of them by then.
    """
    means = {}
    for name, pairs in points.items():
        expected, measured = np.array(pairs, dtype=float).T
        means[name] = (interval_over_seeds(expected), interval_over_seeds(measured))
    edge = 1.15 * max(x.mean for x, _ in means.values())
    low = min(0, *(y.mean for _, y in means.values())) - 0.05
    with canvas((9.5, 5)) as (figure, (ax,)):
        ax.plot([0, edge], [0, edge], color=GREY, lw=1.4, label="frozen model")
        for n, (name, (x, y)) in enumerate(means.items()):
            look = LOOKS[n % len(LOOKS)]
            ax.errorbar(
                x.mean,
                y.mean,
                xerr=np.array([reach(x)]).T,
                yerr=np.array([reach(y)]).T,
                color=look.color,
                marker=look.marker,
                ms=8,
                capsize=3,
                ls="none",
                mfc=look.color if n < len(LOOKS) else "none",
                label=drawable(name),
            )
        ax.set(xlim=(0, edge), ylim=(low, edge), title=drawable(title))
        ax.set_xlabel("share of tokens × hardness for the frozen model (nats)")
        ax.set_ylabel("measured height (nats)")
        legend_right(ax)
    listed = "; ".join(
        f"{name} {x.mean:.2f} expected, {y.mean:.2f} measured" for name, (x, y) in means.items()
    )
    return Plot(figure, f"Fullest batch of each large segment, nats: {listed}.")
