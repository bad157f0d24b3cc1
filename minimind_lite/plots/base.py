"""What every picture shares: the canvas, the house style, the domain strip, and `Plot` itself.

Data go in; a figure and one sentence about it come out. The sentence is computed from the same
numbers and serves as alt text. Figures are made without pyplot, so nothing piles up between
cells, and any thread may draw. Colors are Okabe and Ito's, which any color vision can tell
apart. Every line also has a dash pattern and a marker of its own.
"""

from __future__ import annotations

import base64
import html
import io
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from minimind_lite.files.visible import shorten, visible
from minimind_lite.records import Run
from minimind_lite.segments import MAIN, Segment, domain_name, share
from minimind_lite.spikes import SpikeEvent

Dash = str | tuple[int, tuple[int, ...]]


class Look(NamedTuple):
    """How one series looks. Color, dash and marker go together, so none of them is needed alone."""

    color: str
    dash: Dash
    marker: str


LOOKS = (
    Look("#111111", "-", "o"),
    Look("#D55E00", "--", "s"),
    Look("#56B4E9", "-.", "^"),
    Look("#0072B2", ":", "D"),
    Look("#009E73", (0, (5, 1, 1, 1)), "v"),
)
MARK = "#D55E00"  # of a spike
GREY, LIGHT_GREY = "#555555", "#DDDDDD"
DOMAIN_COLORS = {
    "zh": LIGHT_GREY,
    "code": "#0072B2",
    "en": "#E69F00",
    "math": "#009E73",
    "zh_classical": "#CC79A7",
}
HATCHES = ("", "//", "..", "xx")
MAX_LINE, MAX_LABEL = 120, 56  # characters of a line, and of a name beside the axes
MAX_LABELS = 6  # labels over more spikes than this would cover each other
STYLE: dict[str, Any] = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "axes.unicode_minus": False,
    "figure.dpi": 100,
    "text.parse_math": False,  # a `$` in somebody's label is a dollar sign
    "text.usetex": False,  # and a backslash a backslash, whatever the user's settings are
}
# Classes of HTML in which JupyterLab and nbconvert typeset no formulas: a `$` stays a dollar sign.
NO_MATH = "mathjax_ignore tex2jax_ignore"
LATIN_FAMILY = "DejaVu Sans"
CJK_FAMILIES = [
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
]
# CJK radicals to ideographs, compatibility forms, full-width forms, and the rare ones past U+FFFF
CHINESE = re.compile("[\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]")
_LOCK = threading.RLock()  # matplotlib's text layout is not thread-safe


def cjk_font() -> str | None:
    """Family of a font with Chinese characters, None if there is none.

    The system's fonts come first, then the one of the package pylopdf-fonts-zh-cn.
    """
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
    """`text` if there are fonts for it, else `english`, else the characters' code points.

    A label may come from anywhere: control characters are written out, and one that begins with
    an underscore, which matplotlib leaves out of legends, is moved away from the edge.
    """
    if english is not None and CHINESE.search(text) and not cjk_font():
        return english
    text = "\n".join(shorten(line, MAX_LINE) for line in visible(text, keep="\n").split("\n"))
    missing = {c for c in text if not c.isascii() and not _has_glyph(c)}
    text = "".join(f"U+{ord(c):04X} " if c in missing else c for c in text)
    return f" {text}" if text.startswith("_") else text


def label_of(name: str) -> str:
    """A name beside the axes, short enough to leave them room; see `drawable`."""
    return "\n".join(shorten(line, MAX_LABEL) for line in drawable(name).split("\n"))


def _families() -> list[str]:
    """The fonts of a picture, in the order in which a character is looked up."""
    family = cjk_font()
    return [LATIN_FAMILY] if family is None else [LATIN_FAMILY, family]


def _has_glyph(character: str) -> bool:
    fonts = [get_font(findfont(family)) for family in _families()]
    return any(font.get_char_index(ord(character)) for font in fonts)


@contextmanager
def rendering() -> Iterator[None]:
    """Draw inside this: the house style holds, and no other thread draws meanwhile."""
    with _LOCK:
        with matplotlib.rc_context():
            matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
            matplotlib.rcParams["font.family"] = _families()
            yield


@contextmanager
def canvas(
    size: tuple[float, float],
    *,
    rows: int = 1,
    columns: int = 1,
    heights: Sequence[float] | None = None,
    sharey: bool | Literal["row"] = False,
) -> Iterator[tuple[Figure, list[Axes]]]:
    """An empty figure of `size` inches and its axes, row after row; draw inside the `with`.

    `heights` are relative heights of the rows. Axes in several rows share their x axis.
    """
    with rendering():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(
            rows, columns, sharex=rows > 1, sharey=sharey, height_ratios=heights, squeeze=False
        )
        yield figure, list(grid.ravel())
        for text in figure.findobj(Text):  # those that nobody sent through `drawable`
            text.set_text(drawable(text.get_text()))
        for legend in figure.findobj(Legend):
            for text in legend.findobj(Text):
                text.set_text(label_of(text.get_text()))


@dataclass(frozen=True)
class Plot:
    """A figure and the sentence that says what it shows; displays itself in a notebook."""

    figure: Figure
    summary: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", visible(self.summary, keep="\n"))

    def png(self) -> bytes:
        """The figure as PNG."""
        with rendering():
            buffer = io.BytesIO()
            metadata = {"Description": self.summary, "Software": None}
            self.figure.savefig(buffer, format="png", metadata=metadata)
            return buffer.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the PNG, with the sentence in its metadata."""
        Path(path).write_bytes(self.png())

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        return (
            {"image/png": base64.b64encode(self.png()).decode(), "text/plain": self.summary},
            {"image/png": {"alt": self.summary}},
        )

    def show(self) -> None:
        """Display the figure and, under it, its sentence: as HTML, since it may hold any label."""
        from IPython.display import HTML, display

        display(self)
        display(HTML(f"<p class='{NO_MATH}'><em>{html.escape(self.summary)}</em></p>"))


def counted(n: int, noun: str) -> str:
    """A number with its noun: "1 seed", "5 seeds"."""
    return f"{n} {noun}{'s' * (n != 1)}"


def positions(run: Run, axis: str) -> np.ndarray:
    """The x values of a run (steps,): "samples" seen so far, or the "steps" themselves."""
    return run.column("samples_seen" if axis == "samples" else "step")


def legend_right(ax: Axes, handles: Sequence[Artist] | None = None) -> None:
    """A legend right of the axes."""
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)


def log_axis(
    ax: Axes, ticks: Sequence[float] | np.ndarray, *, axis: Literal["x", "y"] = "x"
) -> None:
    """A logarithmic axis with these ticks, in plain figures."""
    which, scale = (ax.xaxis, ax.set_xscale) if axis == "x" else (ax.yaxis, ax.set_yscale)
    scale("log")
    which.set_major_locator(FixedLocator(list(ticks)))
    which.set_minor_locator(NullLocator())
    which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def note(ax: Axes, text: str, xy: tuple[float, float], *, align: str = "center") -> None:
    """A text a little above a point."""
    ax.annotate(
        text,
        xy,
        xytext=(0, 6),
        textcoords="offset points",
        ha=align,
        va="bottom",
        fontsize=11,
    )


def draw_strip(
    ax: Axes, run: Run, *, segments: Sequence[Segment], axis: str = "samples", label: str = ""
) -> None:
    """One bar per batch: the share of each domain in it."""
    x, last = positions(run, axis), len(run.records[-1].rows)
    edges = np.append(x, x[-1] + (last if axis == "samples" else 1))
    shares = {domain: np.zeros(len(run)) for domain in DOMAIN_COLORS}
    for segment in segments:
        shares[segment.domain] += share(run, segment, epoch=None)
    shares[MAIN] = 1 - np.sum(list(shares.values()), axis=0)
    bottom = np.zeros(len(run))
    for domain in sorted(DOMAIN_COLORS, key=lambda name: name == MAIN):  # the main one on top
        top, color = bottom + shares[domain], DOMAIN_COLORS[domain]
        ax.stairs(top, edges, baseline=bottom, fill=True, color=color, lw=0)
        bottom = top
    ax.set(yticks=[], ylim=(0, 1))
    ax.set_ylabel(drawable(label), rotation=0, ha="right", va="center", fontsize=11)
    for spine in ax.spines.values():
        spine.set_visible(False)


def mark_spike(ax: Axes, runs: Sequence[Run], *, event: SpikeEvent, axis: str, label: bool) -> None:
    """Mark a spike of the first run; its height and z go above what the other runs draw there."""
    x = positions(runs[0], axis)[event.peak]
    near = slice(max(event.start - 3, 0), event.stop + 3)
    peak = runs[0].loss[event.peak]
    ax.plot(x, peak, marker="v", color=MARK, ms=7, ls="none", zorder=5)
    if label:
        top = max(run.loss[near].max(initial=peak) for run in runs)
        note(ax, f"+{event.peak_height:.2f} nats\nz = {event.z:.0f}", (x, top))


def shade_segments(ax: Axes, segments: Sequence[Segment], *, names: bool = False) -> None:
    """The rows of each segment as a band in its domain's color; the x axis counts rows."""
    for segment in segments:
        color, middle = DOMAIN_COLORS[segment.domain], (segment.start + segment.stop) / 2
        ax.axvspan(segment.start, segment.stop, color=color, alpha=0.3, lw=0)
        if names:
            top = ax.get_xaxis_transform()
            ax.text(middle, 0.98, segment.name, transform=top, ha="center", va="top", fontsize=11)


def domain_names(segments: Sequence[Segment]) -> dict[str, str]:
    """Colors by name of the main domain and of those that the segments have, for a legend."""
    present = {MAIN, *(segment.domain for segment in segments)}
    return {domain_name(d): color for d, color in DOMAIN_COLORS.items() if d in present}
