"""What a pass learns and forgets: matrix, held-out curves, dents, doses, curves that look alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from minimind_lite.plots.base import (
    DOMAIN_COLORS,
    GREY,
    LOOKS,
    Plot,
    canvas,
    draw_strip,
    drawable,
    legend_right,
    note,
)
from minimind_lite.plots.effects import reach
from minimind_lite.records import Run
from minimind_lite.science.intervals import Interval
from minimind_lite.science.segment_metrics import probe_to_the_end
from minimind_lite.segments import DOMAINS, LARGE, MAIN, domain_name, of_run

# The main domain is light grey as a ground, which is too pale for a line.
LINE_COLORS = DOMAIN_COLORS | {MAIN: GREY}
MARKERS = dict(zip(DOMAINS, "oDs^v"))
LEARNT_TO_FORGOTTEN = "PuOr_r"  # purple: held-out loss fell; orange: it rose

Curve = tuple[np.ndarray, np.ndarray]  # conversations (n,), values (n,)


def forgetting_matrix(
    panels: Mapping[str, Mapping[str, Mapping[str, Interval]]], *, title: str = ""
) -> Plot:
    """Change of held-out losses (columns) while a domain is read (rows), a panel for each order.

    All panels have one color scale. A cell has its mean, and a frame where the interval is above 0.
    The main domain's row is all that is left of the pass when the segments are taken out.
    """
    cells = [cell for table in panels.values() for row in table.values() for cell in row.values()]
    most = max(abs(cell.mean) for cell in cells)
    with canvas((2.2 + 5.2 * len(panels), 5.2), columns=len(panels), sharey=True) as (figure, axes):
        for ax, (name, table) in zip(axes, panels.items()):
            image = _draw_cells(ax, table, most=most)
            ax.set_title(drawable(name), fontsize=12)
        axes[0].set_ylabel("while reading …")
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.set_label("learnt  ←  nats  →  forgotten")
        figure.suptitle(drawable(title), x=0.01, ha="left")
    return Plot(figure, f"{title.rstrip('.?')}. {_matrix_in_words(panels)}")


def _draw_cells(ax: Axes, table: Mapping[str, Mapping[str, Interval]], *, most: float) -> AxesImage:
    """Colors from -`most` to `most`, and numbers."""
    read = [domain for domain in DOMAINS if domain in table]
    values = np.array([[table[row][probe].mean for probe in DOMAINS] for row in read])
    image = ax.imshow(values, cmap=LEARNT_TO_FORGOTTEN, vmin=-most, vmax=most, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        color = "#FFFFFF" if abs(value) > 0.6 * most else "#111111"
        ax.text(j, i, f"{value:+z.2f}", ha="center", va="center", color=color)
        if table[read[i]][DOMAINS[j]].above(0):
            corner = (j - 0.47, i - 0.46)
            ax.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, ec="#111111", lw=1.6))
    names = [domain_name(domain).replace(" ", "\n") for domain in DOMAINS]
    ax.set_xticks(range(len(DOMAINS)), names, fontsize=11)
    rest = f"{domain_name(MAIN)}\n(all the rest)"
    ax.set_yticks(range(len(read)), [rest if d == MAIN else domain_name(d) for d in read])
    ax.set_xlabel("held-out loss of …")
    return image


def _matrix_in_words(panels: Mapping[str, Mapping[str, Mapping[str, Interval]]]) -> str:
    """Of each order: how many cells rise, and the largest rise."""
    texts = []
    for name, table in panels.items():
        cells = {(row, probe): cell for row in table for probe, cell in table[row].items()}
        up = sum(cell.above(0) for cell in cells.values())
        (row, probe), most = max(cells.items(), key=lambda item: item[1].mean)
        texts.append(
            f"{name}: {up} of {len(cells)} held-out losses rise with an interval above zero; "
            f"largest change {domain_name(probe)} while reading {domain_name(row)}, {most} nats"
        )
    return f"{'; '.join(texts)}."


def learnt_and_forgotten(file: Run, shuffled: Run, *, title: str = "") -> Plot:
    """Held-out loss of each domain over a pass in file order, above what is read.

    From its value before training: below zero is learnt, a rise is forgotten. The shuffled pass
    over the same file is dashed.
    """
    with canvas((10.5, 6.4), rows=2, heights=[12, 1]) as (figure, (ax, strip)):
        ends = {}
        for domain in DOMAINS:
            color, marker = LINE_COLORS[domain], MARKERS[domain]
            x, y = held_out_change(file, domain)
            ax.plot(x, y, color=color, lw=2.4, marker=marker, ms=5, markevery=[-1])
            ends[domain] = y[-1]
            ax.plot(*held_out_change(shuffled, domain), color=color, lw=1.1, ls="--")
        for segment in of_run(file):
            color = DOMAIN_COLORS[segment.domain]
            ax.axvspan(segment.start, segment.stop, color=color, alpha=0.15, lw=0)
        label_ends(ax, ends, x=x[-1])
        ax.axhline(0, color=GREY, lw=0.9, ls=":")
        ax.set_ylabel("held-out loss since the start (nats)")
        ax.set_title(drawable(f"{title}\nsolid: file order, dashed: shuffled").strip(), fontsize=12)
        draw_strip(strip, file, segments=of_run(file), label="read")
        strip.set_xlabel("conversations seen")
    return Plot(figure, f"{title.rstrip('.?')}. {_courses_in_words(file, shuffled)}")


def held_out_change(run: Run, probe: str) -> Curve:
    """Conversations seen, and a held-out loss there minus its first value, nats."""
    positions, losses = probe_to_the_end(run, probe)
    return _samples_at(run)[positions], losses - losses[0]


def label_ends(ax: Axes, ends: Mapping[str, float], *, x: float, values: bool = True) -> None:
    """Domains' names right of their lines' ends at `x`, moved apart where they would overlap.

    With their `values`, or without.
    """
    low, high = ax.get_ylim()
    step, place = (high - low) / 22, -np.inf
    for domain in sorted(ends, key=ends.__getitem__):
        place = max(ends[domain], place + step)
        ax.annotate(
            domain_name(domain) + (f" {ends[domain]:+z.2f}" if values else ""),
            (x, place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=LINE_COLORS[domain],
            annotation_clip=False,
        )


def _courses_in_words(file: Run, shuffled: Run) -> str:
    texts = []
    for domain in DOMAINS:
        _, change = held_out_change(file, domain)
        end = held_out_change(shuffled, domain)[1][-1]
        texts.append(
            f"{domain_name(domain)} at least {change.min():+.2f}, at most {change.max():+.2f}, at "
            f"the end {change[-1]:+.2f} (shuffled {end:+.2f})"
        )
    return f"Change of held-out loss in file order, nats: {'; '.join(texts)}."


def dents(
    curves: Mapping[str, Sequence[Curve]],
    half_lives: Mapping[str, Interval],
    *,
    title: str = "",
) -> Plot:
    """Loss that a segment left on the Chinese batches after it, against conversations since.

    `curves` are those of the layouts, by domain: thin, and their mean at each batch, broad. A
    half-life is marked on the mean where there is one.
    """
    texts, ends = [], {}
    with canvas((10, 5)) as (figure, (ax,)):
        for domain, layouts in curves.items():
            color = LINE_COLORS[domain]
            for samples, values in layouts:
                ax.plot(samples, values, color=color, lw=0.6, alpha=0.5)
            x, mean = _mean_curve(layouts)
            ax.plot(x, mean, color=color, lw=2.6, marker=MARKERS[domain], ms=5)
            ends[domain] = mean[-1]
            texts.append(f"{domain_name(domain)} {mean[0]:+.2f} at first, {mean[-1]:+.2f} at last")
            if domain in half_lives:
                life = half_lives[domain]
                ax.axvline(life.mean, color=color, ls=":", lw=1.6)
                note(
                    ax,
                    f"half-life {life.mean:.0f} conversations",
                    (life.mean, ax.get_ylim()[1] * 0.9),
                    align="left",
                )
                texts[-1] += f", half-life {life.text(0, sign='')} conversations ({life.n} layouts)"
        ax.axhline(0, color=GREY, lw=0.9, ls=":")
        label_ends(ax, ends, x=ax.get_xlim()[1], values=False)
        ax.set(title=drawable(title), xlabel="conversations since the segment ended")
        ax.set_ylabel("trained − frozen, above the level before (nats)")
    return Plot(figure, f"{title.rstrip('.?')}. Dent in nats: {'; '.join(texts)}.")


def _mean_curve(layouts: Sequence[Curve]) -> Curve:
    """Mean of curves batch by batch, as far as all of them reach."""
    n = min(len(values) for _, values in layouts)
    x = np.mean([samples[:n] for samples, _ in layouts], axis=0)
    return x, np.mean([values[:n] for _, values in layouts], axis=0)


def dose_response(
    panels: Mapping[str, Mapping[str, Mapping[float, Interval]]], *, ylabel: str, title: str = ""
) -> Plot:
    """A response against a dose, a line for each domain; a panel for each kind of dose.

    `panels`: label of the x axis -> domain -> dose -> interval over layouts. Doses double.
    """
    texts = []
    size = (2.2 + 4.7 * len(panels), 4.8)
    with canvas(size, columns=len(panels), sharey=True) as (figure, axes):
        for ax, (xlabel, lines) in zip(axes, panels.items()):
            for place, (domain, points) in enumerate(lines.items()):
                x = np.log2(list(points))
                shift = 0.06 * (place - (len(lines) - 1) / 2)  # error bars side by side
                errors = np.array([reach(interval) for interval in points.values()]).T
                means = [interval.mean for interval in points.values()]
                ax.errorbar(
                    x + shift,
                    means,
                    yerr=errors,
                    color=LINE_COLORS[domain],
                    marker=MARKERS[domain],
                    ms=6,
                    lw=2,
                    capsize=3,
                )
                listed = ", ".join(f"{dose:g}: {i.mean:+.2f}" for dose, i in points.items())
                texts.append(f"{domain_name(domain)} against {xlabel} {listed}")
            ends = {domain: list(points.values())[-1].mean for domain, points in lines.items()}
            if ax is axes[-1]:
                label_ends(ax, ends, x=x[-1] + 0.1)
            ax.set_xticks(x, [f"{dose:g}" for dose in points])
            ax.axhline(0, color=GREY, lw=0.9, ls=":")
            ax.set_xlabel(drawable(xlabel))
        axes[0].set_ylabel(drawable(ylabel))
        figure.suptitle(drawable(title), x=0.01, ha="left")
    return Plot(figure, f"{title.rstrip('.?')}. {ylabel}: {'; '.join(texts)}.")


def against_learning(
    points: Mapping[str, tuple[Interval, Interval]], *, ylabel: str, title: str = ""
) -> Plot:
    """What an optimizer does against how much it learns: a point with both intervals for each.

    `points`: "sgd 0.05" -> fall of held-out Chinese (nats), and what is compared. Settings of one
    optimizer, the word before the first space, are joined by a line.
    """
    families: dict[str, list[str]] = {}
    for name in points:
        families.setdefault(name.split()[0], []).append(name)
    with canvas((9.5, 5.2)) as (figure, (ax,)):
        for look, (family, names) in zip(LOOKS, families.items()):
            names = sorted(names, key=lambda name: points[name][0].mean)
            x, y = ([points[name][axis] for name in names] for axis in (0, 1))
            ax.errorbar(
                [interval.mean for interval in x],
                [interval.mean for interval in y],
                xerr=np.array([reach(interval) for interval in x]).T,
                yerr=np.array([reach(interval) for interval in y]).T,
                color=look.color,
                ls=look.dash,
                marker=look.marker,
                ms=7,
                capsize=3,
                label=drawable(family),
            )
        ax.axhline(0, color=GREY, lw=0.9, ls=":")
        ax.set(title=drawable(title), ylabel=drawable(ylabel))
        ax.set_xlabel("learnt: fall of held-out Chinese over the pass (nats)")
        legend_right(ax)
    listed = "; ".join(
        f"{name} learnt {learnt}, {value}" for name, (learnt, value) in points.items()
    )
    return Plot(figure, f"{title.rstrip('.?')}. Fall of held-out Chinese, {ylabel}: {listed}.")


def look_alikes(
    pairs: Mapping[str, Mapping[str, Run]], *, probes: Sequence[str] = LARGE, title: str = ""
) -> Plot:
    """Training loss left, mean held-out loss of the `probes` right; a row for each pair of runs."""
    texts = []
    listed = "off-domain" if probes == LARGE else ", ".join(map(domain_name, probes))
    size = (11, 0.8 + 3.1 * len(pairs))
    with canvas(size, rows=len(pairs), columns=2) as (figure, axes):
        for curves, held_out, (name, runs) in zip(axes[::2], axes[1::2], pairs.items()):
            texts.append(f"{name}: {_draw_pair(curves, held_out, runs=runs, probes=probes)}")
            curves.set_title(drawable(name), fontsize=12)
            curves.set_ylabel("training loss (nats)")
            held_out.set_ylabel(f"held-out {listed} (nats)")
        for ax in axes[-2:]:
            ax.set_xlabel("conversations seen")
        figure.suptitle(drawable(title), x=0.01, ha="left")
    sentence = f"Highest training loss, and held-out {listed} at the end, nats. {'. '.join(texts)}."
    return Plot(figure, f"{title.rstrip('.?')}. {sentence}")


def _draw_pair(
    curves: Axes, held_out: Axes, *, runs: Mapping[str, Run], probes: Sequence[str]
) -> str:
    """Both curves of each run; their highest and last values in words."""
    ends, texts = [], []
    for (label, run), look in zip(runs.items(), LOOKS):
        color, dash, marker = look
        x = run.column("samples_seen")
        curves.plot(x, run.loss, c=color, ls=dash, lw=1.3, label=drawable(label))
        x, y = mean_held_out(run, probes)
        every = -(-len(x) // 16)  # some marks are enough where probes are dense
        held_out.plot(x, y, c=color, ls=dash, lw=1.8, marker=marker, ms=4, markevery=every)
        ends.append((y[-1], x[-1]))
        texts.append(f"{label} {run.loss.max():.2f} and {y[-1]:.2f}")
    for end, (y_last, x_last) in enumerate(sorted(ends)):  # the lower number goes below its line
        offset, align = ((0, 6), "bottom") if end else ((0, -6), "top")
        held_out.annotate(
            f"{y_last:.2f}",
            (x_last, y_last),
            xytext=offset,
            textcoords="offset points",
            ha="center",
            va=align,
        )
    held_out.margins(y=0.15)
    curves.legend(loc="upper right", fontsize=11)
    low, high = curves.get_ylim()
    curves.set_ylim(low, high + 0.3 * (high - low))
    return "; ".join(texts)


def mean_held_out(run: Run, probes: Sequence[str]) -> Curve:
    """Conversations seen, and the mean of some held-out losses there, nats."""
    measured = [probe_to_the_end(run, probe) for probe in probes]
    return _samples_at(run)[measured[0][0]], np.mean([losses for _, losses in measured], axis=0)


def _samples_at(run: Run) -> np.ndarray:
    """Conversations seen before each step and after the last, (steps + 1,)."""
    last = run.records[-1]
    return np.append(run.column("samples_seen"), last.samples_seen + len(last.rows))
