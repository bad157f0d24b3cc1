"""A batch cut into micro-batches: its loss, its gradient and its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from minimind_lite.plots.base import (
    GREY,
    HATCHES,
    LIGHT_GREY,
    LOOKS,
    Plot,
    canvas,
    counted,
    drawable,
    legend_right,
    log_axis,
    note,
)
from minimind_lite.science import laws

PART_COLORS = ("#0072B2", "#E69F00", "#009E73", LIGHT_GREY)
SMALLEST = 1e-17  # a gap of zero has no place on a log axis


def three_means(counts: Sequence[int], means: Sequence[float], *, title: str = "") -> Plot:
    """Micro-batches as blocks, as wide as their tokens and as high as their loss.

    Lines: the last one's loss, the mean of means, and sum / tokens.
    """
    n, m = np.asarray(counts, dtype=float), np.asarray(means, dtype=float)
    lines = {
        "last micro-batch": (float(m[-1]), LOOKS[1]),
        "mean of means": (laws.mean_of_means(n * m, n), LOOKS[3]),
        "sum of losses / tokens": (laws.token_mean(n * m, n), LOOKS[0]),
    }
    with canvas((9.5, 4.2)) as (figure, (ax,)):
        _draw_blocks(ax, n, m)
        for name, (value, look) in lines.items():
            ax.axhline(
                value,
                color=look.color,
                ls=look.dash,
                lw=2.2,
                label=drawable(f"{name}: {value:.2f}"),
            )
        ax.set(xlim=(0, n.sum()), ylim=(0, 1.12 * m.max()), title=drawable(title))
        ax.set_xlabel("supervised tokens, micro-batch after micro-batch")
        ax.set_ylabel("loss (nats per token)")
        legend_right(ax)
    blocks = " and ".join(f"{counted(int(a), 'token')} at {b:g}" for a, b in zip(n, m))
    values = ", ".join(f"{name} {value:.2f}" for name, (value, _) in lines.items())
    return Plot(figure, f"Micro-batches of {blocks} nats: {values}.")


def _draw_blocks(ax: Axes, widths: np.ndarray, heights: np.ndarray) -> None:
    lefts = np.cumsum(widths) - widths
    for i, (left, width, height) in enumerate(zip(lefts, widths, heights)):
        hatch = HATCHES[i % len(HATCHES)]
        block = Rectangle((left, 0), width, height, fc=LIGHT_GREY, ec="#111111", hatch=hatch)
        ax.add_patch(block)
        narrow = width < 0.13 * widths.sum()  # then its text goes beside it
        ax.text(
            left + width * (1.3 if narrow else 0.5),
            height * (0.93 if narrow else 0.5),
            f"{chr(65 + i)}: {counted(int(width), 'token')}\n× {height:g} nats",
            ha="left" if narrow else "center",
            va="center",
            fontsize=11,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
        )


def gradient_gaps(gaps: Mapping[str, Mapping[int, float]], *, title: str = "") -> Plot:
    """How far the gradient of a cut batch is from that of the whole batch, relative, log scale.

    `gaps` by the way of averaging, then by the conversations in a micro-batch.
    """
    sizes = sorted({k for by_size in gaps.values() for k in by_size})
    with canvas((9.5, 4.2)) as (figure, (ax,)):
        for (name, by_size), look in zip(gaps.items(), LOOKS):
            x, y = [sizes.index(k) for k in by_size], [max(v, SMALLEST) for v in by_size.values()]
            color, dash, marker = look
            ax.plot(x, y, c=color, ls=dash, marker=marker, ms=9, label=drawable(name))
        ax.axhline(1e-6, color=GREY, lw=1, ls=":")
        note(ax, "limit: one part in a million", (0, 1e-6), align="left")
        log_axis(ax, 10.0 ** np.arange(-16, 1, 2), axis="y")
        ax.set(ylim=(SMALLEST, 10), title=drawable(title))
        ax.set(xlabel="conversations in a micro-batch", ylabel="difference / largest entry")
        ax.set_xticks(range(len(sizes)), [str(k) for k in sizes])
        legend_right(ax)
    text = "; ".join(f"{name}: at most {max(v.values()):.1g}" for name, v in gaps.items())
    return Plot(
        figure,
        "Largest difference of the gradient from the whole batch's, as a share of its largest "
        f"entry, double precision. {text}.",
    )


def bias_scatter(
    cuts: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], *, title: str = ""
) -> Plot:
    """Mean of means minus token mean of every step, against the most it could be.

    The most is (deviation of n / mean n) x deviation of m: tokens n and means m go perfectly
    together there. `cuts` are (sums, tokens) of the micro-batches of each step.
    """
    points = {
        name: np.array([bias_and_limit(sums, counts) for sums, counts in steps])
        for name, steps in cuts.items()
    }
    with canvas((9.5, 4.6)) as (figure, (ax,)):
        for (name, xy), look in zip(points.items(), LOOKS[1:]):
            limits, biases = xy[:, 1], xy[:, 0]
            ax.scatter(limits, biases, s=25, c=look.color, marker=look.marker, label=drawable(name))
        edge = 1.05 * max(xy[:, 1].max() for xy in points.values())
        ax.plot([0, edge], [0, -edge], color="#111111", lw=1.4)
        ax.plot([0, edge], [0, edge], color="#111111", lw=1.4, label="law: no step beyond")
        ax.axhline(0, color=GREY, lw=1, ls=":")
        ax.set(title=drawable(title), xlim=(0, edge))
        ax.set_xlabel("unequal lengths × unequal losses (nats)")
        ax.set_ylabel("mean of means − token mean (nats)")
        legend_right(ax)
    text = "; ".join(
        f"{name}: {np.abs(xy[:, 0]).mean():.3f} nats off on average, "
        f"{np.abs(xy[:, 0]).max():.3f} at most"
        for name, xy in points.items()
    )
    return Plot(
        figure,
        f"Mean of means against the token mean of the same step. {text}. No step is beyond the "
        "law's edges.",
    )


def bias_and_limit(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Mean of means minus token mean of one step, and the most it could be, nats."""
    n, s = counts[counts > 0].astype(float), sums[counts > 0]
    bias = laws.mean_of_means(s, n) - laws.token_mean(s, n)
    return bias, float(n.std() / n.mean() * (s / n).std())


def memory_bars(bars: Mapping[str, Mapping[str, float]], *, title: str = "") -> Plot:
    """Stacked bars of bytes, in MB (10^6 bytes): `bars` by setting, then by part."""
    parts = list(next(iter(bars.values())))
    totals = {name: sum(by_part.values()) / 1e6 for name, by_part in bars.items()}
    with canvas((9.5, 1.6 + 0.5 * len(bars))) as (figure, (ax,)):
        left = np.zeros(len(bars))
        for part, color, hatch in zip(parts, PART_COLORS, HATCHES):
            values = np.array([by_part[part] / 1e6 for by_part in bars.values()])
            ax.barh(
                list(bars),
                values,
                left=left,
                height=0.66,
                color=color,
                hatch=hatch,
                edgecolor="#333333",
                lw=0.6,
                label=drawable(part),
            )
            left += values
        for row, total in enumerate(totals.values()):
            ax.text(total, row, f" {total:,.1f} MB", va="center", fontsize=11)
        ax.invert_yaxis()
        ax.margins(x=0.14)
        ax.set(title=drawable(title), xlabel="memory (MB)")
        legend_right(ax)
    first, *others = bars
    shares = ", ".join(f"{part} {bars[first][part] / 1e6:,.1f}" for part in parts)
    rest = ", ".join(f"{name}: {totals[name]:,.1f} MB" for name in others)
    return Plot(
        figure,
        f"{first}: {totals[first]:,.1f} MB ({shares}). {rest}. {others[-1]} needs "
        f"{totals[others[-1]] / totals[first]:.0%} of the memory of {first}.",
    )
