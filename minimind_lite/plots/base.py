"""Data in, a matplotlib figure and one sentence about it out.

Figures are made without pyplot, so nothing stacks up between cells and callbacks on any thread
may draw. Colours are Okabe & Ito's (distinguishable with any colour vision) and every line
also has its own style. The sentence is computed from the same numbers and serves as alt text.
"""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patches import Patch

from minimind_lite.files.shipped import NAMES, Segment
from minimind_lite.records import Run
from minimind_lite.spikes import SpikeEvent

DOMAIN_COLOURS = {
    "zh": "#DDDDDD",
    "code": "#0072B2",
    "en": "#E69F00",
    "math": "#009E73",
    "zh_classical": "#CC79A7",
}
LINES = (
    ("#111111", "-"),
    ("#D55E00", "--"),
    ("#56B4E9", "-."),
    ("#0072B2", ":"),
    ("#009E73", (0, (5, 1, 1, 1))),
)
STYLE = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "axes.unicode_minus": False,
    "figure.dpi": 100,
}
CJK_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Heiti TC",
)
MOST_LABELS = (
    6  # beyond that, labels over spikes would cover each other; the sentence still has them all
)
_RENDER = (
    threading.RLock()
)  # matplotlib's text layout is not thread-safe, and callbacks may come on any thread


@lru_cache(maxsize=1)
def cjk_font() -> str | None:
    """Family of a font with Chinese characters: the system's, else that of pylopdf-fonts-zh-cn, else None."""
    installed = {font.name for font in fontManager.ttflist}
    for family in CJK_FAMILIES:
        if family in installed:
            return family
    try:
        import pylopdf_fonts_zh_cn
    except ImportError:
        return None
    path = Path(pylopdf_fonts_zh_cn.__file__).with_name("NotoSansSC-Regular.otf")
    fontManager.addfont(path)
    return next(font.name for font in fontManager.ttflist if font.fname == str(path))


def drawable(text: str, english: str | None = None) -> str:
    """`text`, if a font for it is at hand; else `english`, else the characters' code points."""
    # CJK radicals to ideographs, compatibility forms, full-width forms, and the rare ones beyond U+FFFF
    chinese = "[\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
    if cjk_font() or not re.search(chinese, text):
        return text
    return (
        english if english is not None else re.sub(chinese, lambda m: f"U+{ord(m[0]):04X} ", text)
    )


@dataclass(frozen=True)
class Plot:
    """A figure and the sentence that says what it shows; displays itself in a notebook."""

    figure: Figure
    summary: str

    def png(self) -> bytes:
        """The figure as PNG."""
        with _RENDER, matplotlib.rc_context(_style()):
            buffer = io.BytesIO()
            self.figure.savefig(
                buffer, format="png", metadata={"Description": self.summary, "Software": None}
            )
            return buffer.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the PNG, the sentence in its metadata."""
        Path(path).write_bytes(self.png())

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict, dict]:
        return (
            {"image/png": base64.b64encode(self.png()).decode(), "text/plain": self.summary},
            {"image/png": {"alt": self.summary}},
        )

    def show(self) -> None:
        """Display the figure and, under it, its sentence."""
        from IPython.display import Markdown, display

        display(self)
        display(Markdown(f"*{self.summary}*"))


def _style() -> dict[str, object]:
    return {**STYLE, "font.family": ["DejaVu Sans", *([cjk_font()] if cjk_font() else [])]}


def _axes(
    size: tuple[float, float], rows: int = 1, ratios: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 1, sharex=True, height_ratios=ratios, squeeze=False)
    return figure, list(grid[:, 0])


def _x(run: Run, axis: str) -> np.ndarray:
    return run.column("samples_seen" if axis == "samples" else "step")


def _strip(ax: Axes, run: Run, segments: Sequence[Segment], axis: str, label: str) -> None:
    """One bar per batch: the share of each domain in it."""
    x, rows = _x(run, axis), [r.rows for r in run.records]
    left = np.append(x, x[-1] + (len(rows[-1]) if axis == "samples" else 1))
    shares = {
        d: np.array(
            [
                sum(np.mean((r >= s.start) & (r < s.stop)) for s in segments if s.domain == d)
                for r in rows
            ]
        )
        for d in DOMAIN_COLOURS
        if d != "zh"
    }
    bottom = np.zeros(len(rows))
    for domain, share in {**shares, "zh": 1 - sum(shares.values())}.items():
        ax.stairs(
            bottom + share, left, baseline=bottom, fill=True, color=DOMAIN_COLOURS[domain], lw=0
        )
        bottom = bottom + share
    ax.set(yticks=[], ylim=(0, 1))
    ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=11)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _mark(ax: Axes, runs: Sequence[Run], event: SpikeEvent, axis: str, *, label: bool) -> None:
    """Mark a spike of the first run; its height and z stand above whatever the other runs draw there."""
    x, near = _x(runs[0], axis)[event.peak], slice(max(event.start - 3, 0), event.stop + 3)
    top = max(run.loss[near].max(initial=runs[0].loss[event.peak]) for run in runs)
    ax.plot(x, runs[0].loss[event.peak], marker="v", color="#D55E00", ms=7, ls="none", zorder=5)
    if label:
        ax.annotate(
            f"+{event.peak_height:.2f} nats\nz = {event.z:.0f}",
            (x, top),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=11,
        )


def loss_curve(
    runs: Mapping[str, Run],
    *,
    segments: Sequence[Segment] = (),
    events: Sequence[SpikeEvent] = (),
    ghosts: Sequence[Run] = (),
    band: Sequence[Run] = (),
    axis: str = "samples",
    strips: Sequence[str] | None = None,
    title: str = "",
    size: tuple[float, float] = (10, 5),
) -> Plot:
    """Training loss of up to five runs on one pair of axes.

    `events` mark spikes of the first run with their height and z; `segments` draw, under the
    curve, which domains each batch held, for the runs named in `strips` (the first, if left out);
    `ghosts` are earlier runs in grey; `band` shades the range over seeds. `axis` is "samples" seen
    or optimiser "steps". Raises `ValueError` for no run or more than five.
    """
    if not 1 <= len(runs) <= len(LINES):
        raise ValueError(
            f"loss_curve draws 1 to {len(LINES)} runs on one pair of axes, got {len(runs)}; leave some out."
        )
    shown = (
        [(label, runs[label]) for label in (list(runs)[:1] if strips is None else strips)]
        if segments
        else []
    )
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax, *below) = _axes(size, 1 + len(shown), [12, *[1] * len(shown)])
        for i, ghost in enumerate(ghosts):
            ax.plot(
                _x(ghost, axis),
                ghost.loss,
                color="#BBBBBB",
                lw=1,
                zorder=1,
                label="earlier" if i == 0 else None,
            )
        if band:
            lowest, highest = (
                np.min([r.loss for r in band], axis=0),
                np.max([r.loss for r in band], axis=0),
            )
            ax.fill_between(
                _x(band[0], axis),
                lowest,
                highest,
                color="#56B4E9",
                alpha=0.3,
                lw=0,
                label=f"range over {len(band)} seeds",
            )
        for (label, run), (colour, style) in zip(runs.items(), LINES):
            ax.plot(_x(run, axis), run.loss, color=colour, ls=style, lw=1.6, label=drawable(label))
        for event in events:
            _mark(ax, list(runs.values()), event, axis, label=len(events) <= MOST_LABELS)
        for strip, (label, run) in zip(below, shown):
            _strip(strip, run, segments, axis, label)
        present = [d for d in DOMAIN_COLOURS if d == "zh" or d in {s.domain for s in segments}]
        handles = [Patch(color=DOMAIN_COLOURS[d], label=NAMES[d]) for d in present] if shown else []
        ax.legend(
            handles=ax.get_legend_handles_labels()[0] + handles,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            fontsize=11,
        )
        ax.set(title=drawable(title), ylabel="training loss (nats per token)")
        lowest, highest = ax.get_ylim()
        ax.set_ylim(lowest, highest + (0.2 if events else 0.05) * (highest - lowest))
        (below or [ax])[-1].set_xlabel(
            "conversations seen" if axis == "samples" else "optimiser steps"
        )
    return Plot(figure, _curve_summary(runs, segments, events))


def _curve_summary(
    runs: Mapping[str, Run], segments: Sequence[Segment], events: Sequence[SpikeEvent]
) -> str:
    def course(label: str, run: Run) -> str:
        tenth = max(1, len(run) // 10)
        return (
            f"{label}: {len(run)} steps, mean loss {run.loss[:tenth].mean():.2f} over the first {tenth}, "
            f"{run.loss[-tenth:].mean():.2f} over the last {tenth}, highest {run.loss.max():.2f} at step {int(run.loss.argmax())}"
        )

    text = "; ".join(course(label, run) for label, run in runs.items()) + "."
    if events:
        first = next(iter(runs.values()))
        rows = lambda e: f"{first.records[e.start].rows[0]}–{first.records[e.stop - 1].rows[-1]}"
        listed = "; ".join(
            f"+{e.peak_height:.2f} nats (z = {e.z:.0f}) at rows {rows(e)}"
            for e in events[:MOST_LABELS]
        )
        more = f"; and {len(events) - MOST_LABELS} more" if len(events) > MOST_LABELS else ""
        text += f" Spikes in {next(iter(runs))}, height at the peak: {listed}{more}."
    return text


def message(text: str, size: tuple[float, float] = (9.5, 4.4)) -> Plot:
    """A sentence where a curve will be."""
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size)
        ax.text(0.5, 0.5, drawable(text), ha="center", va="center", fontsize=14)
        ax.set_axis_off()
    return Plot(figure, text)


def bar_chart(
    values: Mapping[str, float],
    *,
    title: str,
    xlabel: str,
    errors: Mapping[str, float] | None = None,
    colours: Mapping[str, str] | None = None,
    limits: tuple[float, float] | None = None,
    digits: int = 2,
    size: tuple[float, float] | None = None,
) -> Plot:
    """Horizontal bars with their numbers; `errors` are half-widths of intervals, `limits` the axis. Labels may be Chinese."""
    names = list(values)
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size or (9, 1.4 + 0.42 * len(names)))
        bars = ax.barh(
            [drawable(n) for n in names],
            list(values.values()),
            height=0.66,
            xerr=None if errors is None else [errors[n] for n in names],
            color=[(colours or {}).get(n, "#0072B2") for n in names],
            ecolor="#111111",
            capsize=4,
        )
        ax.bar_label(bars, [f"{v:,.{digits}f}" for v in values.values()], padding=6)
        ax.axvline(0, color="#111111", lw=0.8)
        ax.invert_yaxis()
        ax.margins(x=0.16)
        if limits:
            ax.set_xlim(*limits)
        ax.set(title=drawable(title), xlabel=drawable(xlabel))
    described = ", ".join(f"{n} {v:,.{digits}f}" for n, v in values.items())
    return Plot(figure, f"{title}: {described} ({xlabel}).")


def losses_by_row(
    runs: Mapping[str, Run],
    n_rows: int,
    segments: Sequence[Segment],
    *,
    epoch: int = 0,
    smooth: int = 32,
    title: str = "",
    size: tuple[float, float] = (10, 5),
) -> Plot:
    """Loss of each conversation against its row in the file, whatever order it was trained in.

    Dots are the conversations of the first run, lines the running median over `smooth` rows.
    """
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes(size)
        for segment in segments:
            ax.axvspan(
                segment.start, segment.stop, color=DOMAIN_COLOURS[segment.domain], alpha=0.25, lw=0
            )
            ax.text(
                (segment.start + segment.stop) / 2,
                0.98,
                segment.name,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=11,
            )
        heights = {}
        for i, ((label, run), (colour, style)) in enumerate(zip(runs.items(), LINES)):
            losses = run.losses_by_row(n_rows, epoch)
            if i == 0:
                ax.plot(losses, ".", color="#999999", ms=2.5, zorder=1)
            met = np.flatnonzero(np.isfinite(losses))  # a stopped run has not met the later rows
            windows = np.lib.stride_tricks.sliding_window_view(losses[met], smooth)
            ax.plot(
                met[: len(windows)] + smooth / 2,
                np.median(windows, axis=1),
                color=colour,
                ls=style,
                lw=1.8,
                label=label,
            )
            inside = np.zeros(n_rows, bool)
            for segment in segments:
                inside[segment.start : segment.stop] = True
            rows = np.arange(n_rows)
            heights[label] = {
                f"{s.name} ({s.stop - s.start} rows)": float(
                    losses[met[(rows[met] >= s.start) & (rows[met] < s.stop)]].mean()
                    - np.median(losses[met[~inside[met]]])
                )
                for s in segments
                if np.isfinite(losses[s.start : s.stop]).any()
            }
        ax.set(
            title=drawable(title),
            xlabel="row in the file",
            ylabel="loss of the conversation (nats per token)",
        )
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
    text = "; ".join(
        f"{label}: " + ", ".join(f"{name} {h:+.2f}" for name, h in hs.items())
        for label, hs in heights.items()
    )
    return Plot(
        figure,
        f"Mean loss of each segment's conversations above the median Chinese one, in nats. {text}.",
    )
