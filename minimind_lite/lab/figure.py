"""The lab's figure, painted quickly: what is still is drawn once, what moves is drawn over it.

A whole matplotlib drawing takes a tenth of a second, too long to follow a run with. So axes, grey
curves, pinned runs, domain strip and legend are drawn once and kept as pixels; each repaint copies
them and draws only the run of the moment. Limits of x are known before a run begins, and those of
y come from the runs under it; when the run leaves them, everything is drawn again.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from minimind_lite import order
from minimind_lite.files.visible import visible
from minimind_lite.lab.curves import fit_labels
from minimind_lite.lab.i18n import say
from minimind_lite.lab.scene import Scene, line_of
from minimind_lite.plots.base import DOMAIN_COLORS, MAX_LABELS, drawable, rendering
from minimind_lite.records import Run
from minimind_lite.rows import batches
from minimind_lite.segments import MAIN, domain_name, domains

WIDTH, HEIGHT, PROBES_HEIGHT = 960, 380, 190  # pixels; a screen of 1366 x 768 holds it
LEFT, RIGHT = 0.072, 0.765  # of the width; the legend has the rest
TICKS = 46  # pixels for numbers and name of the axis at the bottom
STRIP = 16  # rows of pixels in the strip: shares are drawn to a sixteenth
LEGEND_SIZE = 10.5  # points
LABEL_WIDTH = (1 - RIGHT) * WIDTH - 48  # pixels of a label in the legend, beside its line
BLACK, GREY, VERMILION, PINK = "#111111", "#8A8A8A", "#D55E00", "#CC79A7"

Look = Mapping[str, Any]  # keywords of matplotlib

UNDER: Look = {"color": "#999999", "lw": 4, "alpha": 0.45}
BAND: Look = {"color": "#56B4E9", "alpha": 0.3, "lw": 0}
LINE_LOOKS: Mapping[str, Look] = {  # of the lines that show one run in several ways
    "accumulated": {"color": BLACK, "ls": "-", "lw": 1.7},
    "micro-batches": {"color": "#56B4E9", "ls": "none", "marker": ".", "ms": 3},
    "smoothed": {"color": "#0072B2", "ls": "--", "lw": 1.7},
    "log": {"color": VERMILION, "ls": "-.", "lw": 1.3, "marker": "x", "ms": 4},
}
GHOST_LOOKS: tuple[Look, ...] = (
    {"color": GREY, "lw": 1, "ls": "-"},
    {"color": GREY, "lw": 1, "ls": "--"},
)
PIN_LOOKS: tuple[Look, ...] = (
    {"color": "#009E73", "lw": 1.4, "ls": "--"},
    {"color": PINK, "lw": 1.4, "ls": "-."},
    {"color": "#E69F00", "lw": 1.4, "ls": (0, (5, 1, 1, 1))},
    {"color": "#0072B2", "lw": 1.4, "ls": ":"},
)
PROBE_DASHES = {"zh": "-", "code": "--", "en": "-.", "math": ":", "zh_classical": (0, (5, 1, 1, 1))}


def strip_colors(scene: Scene) -> np.ndarray:
    """Which domains every batch holds, as colors (STRIP, x, 3) uint8: x conversations or steps."""
    config, n = scene.spec.config, scene.n_rows
    names = [d for d in DOMAIN_COLORS if d != MAIN] + [MAIN]  # Chinese on top of the pile
    colors = np.array([to_rgb(DOMAIN_COLORS[d]) for d in names])
    colors = np.round(255 * colors).astype(np.uint8)
    domain = domains(scene.segments, n)
    member = np.array([names.index(d) for d in domain])
    columns = []
    for epoch in range(config.epochs):
        rows_in_order = order.make(config.order, n, seed=config.seed, epoch=epoch)
        for rows in batches(rows_in_order, config.batch_size):
            pile = np.sort(member[rows])
            column = colors[pile[np.arange(STRIP) * len(pile) // STRIP]]
            columns += [column] * (len(rows) if scene.axis == "samples" else 1)
    return np.array(columns).transpose(1, 0, 2)


class Canvas:
    """One figure that is painted again and again; `png` gives its bytes."""

    def __init__(self) -> None:
        self.drawn: dict[str, np.ndarray] = {}  # y of each line of the run of the moment
        self.labels: list[str] = []  # of the upper legend
        self._key: tuple[object, ...] | None = None
        self._frame: tuple[object, ...] | None = None
        self._still: list[Artist] = []
        self._runs: tuple[object, ...] = ()  # their ids are in the key: they live as long as it
        self._figure = Figure(dpi=100)
        self._canvas = FigureCanvasAgg(self._figure)
        self._axes: dict[str, Axes] = {}

    def png(self, scene: Scene, *, alt: str = "") -> bytes:
        """Paint a scene; `alt` goes into the picture's metadata."""
        with rendering():
            lines = {}
            if scene.run is not None:
                lines = {name: line_of(name, scene) for name in scene.lines}
            self.drawn = {name: y for name, (_, y) in lines.items()}
            if scene.still_key() != self._key or not self._fits(scene):
                self._draw_still(scene)
            self._canvas.restore_region(self._background)
            self._draw_moving(scene, lines)
            size, pixels = self._canvas.get_width_height(), self._canvas.buffer_rgba()
            picture = Image.frombuffer("RGBA", size, pixels, "raw", "RGBA", 0, 1).convert("RGB")
        out, about = io.BytesIO(), PngInfo()
        about.add_itxt("Description", visible(alt, keep="\n"))
        picture.save(out, format="png", compress_level=1, pnginfo=about)
        return out.getvalue()

    # What is still

    def _draw_still(self, scene: Scene) -> None:
        frame = (scene.probes, scene.scale, scene.axis, scene.drawn_language)
        if frame != self._frame:  # ticks and labels are expensive to draw
            self._place_axes(scene)
            self._frame, self._still = frame, []
        for artist in self._still:
            artist.remove()
        self._still = [*self._still_curves(scene), self._strip(scene), *self._legends(scene)]
        self._title.set_text(
            drawable(scene.title) if scene.drawn_language == scene.language else ""
        )
        self._set_limits(scene)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)
        self._key = scene.still_key()
        others = [run for _, run in (*scene.ghosts, *scene.pinned)]
        self._runs = (scene.run, scene.under, *others)

    def _place_axes(self, scene: Scene) -> None:
        """Axes at fixed places: a layout engine would take longer than the drawing."""
        language, figure = scene.drawn_language, self._figure
        below = PROBES_HEIGHT - TICKS + 14 if scene.probes else 0  # one axis has both's numbers
        height = HEIGHT + below
        figure.clear()
        figure.set_size_inches(WIDTH / 100, height / 100)

        def box(low: float, tall: float) -> tuple[float, float, float, float]:
            return LEFT, low / height, RIGHT - LEFT, tall / height  # from pixels

        strip = figure.add_axes(box(below + TICKS, 18))
        loss = figure.add_axes(box(below + TICKS + 26, HEIGHT - TICKS - 56), sharex=strip)
        self._axes = {"loss": loss, "strip": strip}
        lowest = strip
        if scene.probes:
            lowest = figure.add_axes(box(TICKS, PROBES_HEIGHT - TICKS - 10), sharex=strip)
            lowest.set_ylabel(say(language, "figure.held_out"), fontsize=11)
            strip.tick_params(labelbottom=False)
            self._axes["probes"] = lowest
        lowest.set_xlabel(say(language, f"figure.{scene.axis}"), fontsize=11)
        loss.tick_params(labelbottom=False)
        loss.set_ylabel(say(language, "figure.loss"), fontsize=11)
        strip.set(yticks=[], ylim=(0, 1))
        strip.spines[:].set_visible(False)
        for ax in self._axes.values():
            ax.tick_params(labelsize=11)
        if scene.scale == "log":
            loss.set_yscale("log")
            loss.yaxis.set_major_locator(MaxNLocator(5))
            loss.yaxis.set_major_formatter(FormatStrFormatter("%.1f"))
            loss.yaxis.set_minor_locator(NullLocator())
        self._title = figure.text(LEFT, 1 - 8 / height, "", va="top", fontsize=12)

    def _still_curves(self, scene: Scene) -> list[Artist]:
        ax = self._axes["loss"]
        artists: list[Artist] = []
        for (_, run), look in zip(scene.ghosts, GHOST_LOOKS):
            x = scene.x(run)
            inside = x <= scene.last_x()  # a ghost must not change the axis
            artists += ax.plot(x[inside], run.loss[inside], zorder=1, **look)
        if scene.band:
            losses = np.array([run.loss for run in scene.band])
            x = scene.x(scene.band[0])
            shade = ax.fill_between(x, losses.min(axis=0), losses.max(axis=0), zorder=0, **BAND)
            artists.append(shade)
        if scene.under is not None:
            artists += ax.plot(scene.x(scene.under), scene.under.loss, zorder=1.5, **UNDER)
        for (_, run), look in zip(scene.pinned, PIN_LOOKS):
            artists += ax.plot(scene.x(run), run.loss, zorder=2, **look)
        if scene.probes and scene.under is not None:
            artists += self._probe_lines(scene.under, scene, lw=4, alpha=0.35)
        return artists

    def _strip(self, scene: Scene) -> Artist:
        return self._axes["strip"].imshow(
            strip_colors(scene),
            aspect="auto",
            origin="lower",
            interpolation="nearest",
            extent=(0, scene.end(), 0, 1),
        )

    def _set_limits(self, scene: Scene) -> None:
        """Room for every curve, and for labels above the highest."""
        runs = [run for _, run in scene.pinned] + list(scene.band or ())
        if scene.under is not None:
            runs.append(scene.under)
        losses = [run.loss for run in runs] + list(self.drawn.values())
        losses += [run.loss[scene.x(run) <= scene.last_x()] for _, run in scene.ghosts]
        values = np.concatenate(losses) if losses else np.array([5.0, 6.0])
        lowest, highest = np.nanmin(values), np.nanmax(values)
        room = max(highest - lowest, 0.2)
        ax = self._axes["loss"]
        ax.set_xlim(0, scene.last_x())
        self._axes["strip"].set_ylim(0, 1)
        if scene.scale == "log":
            ax.set_ylim(lowest * 0.98, highest * (highest / lowest) ** 0.3 * 1.02)
        else:
            ax.set_ylim(lowest - 0.06 * room, highest + 0.26 * room)
        if scene.probes:
            probes = _probe_values(scene.under) + _probe_values(scene.run) or [5.0, 7.0]
            self._axes["probes"].set_ylim(min(probes) - 0.1, max(probes) + 0.1)

    def _legends(self, scene: Scene) -> list[Artist]:
        language = scene.drawn_language
        handles: list[Artist] = [
            Line2D([], [], label=say(language, f"label.{name}"), **LINE_LOOKS[name])
            for name in scene.lines
        ]
        if scene.under is not None:
            handles.append(Line2D([], [], label=scene.under_label, **UNDER))
        if scene.band:
            label = say(language, "figure.band", n=len(scene.band))
            handles.append(Patch(label=label, **BAND))
        named = [(name, look) for (name, _), look in zip(scene.pinned, PIN_LOOKS)]
        named += [(name, look) for (name, _), look in zip(scene.ghosts, GHOST_LOOKS)]
        separator = say(language, "name.comma")
        names = [drawable(name) for name, _ in named]
        labels = fit_labels(names, drawable(scene.name), separator, fits=self._label_fits)
        looks = [look for _, look in named]
        handles += [Line2D([], [], label=n, **look) for n, look in zip(labels, looks)]
        shown = dict.fromkeys([MAIN, *(s.domain for s in scene.segments)])
        marks: list[Artist] = []
        for domain in shown:
            if scene.probes:
                mark: Artist = Line2D([], [], color=_line_color(domain), ls=PROBE_DASHES[domain])
            else:
                mark = Patch(color=DOMAIN_COLORS[domain])
            mark.set_label(domain_name(domain, language))
            marks.append(mark)
        self.labels = [str(handle.get_label()) for handle in handles]
        return [
            self._legend(handles, "upper left", 0.99, handlelength=1.8),
            self._legend(marks, "lower left", 0.02, handlelength=1.8 if scene.probes else 1),
        ]

    def _legend(
        self,
        handles: list[Artist],
        loc: Literal["upper left", "lower left"],
        y: float,
        *,
        handlelength: float,
    ) -> Artist:
        return self._figure.legend(
            handles=handles,
            loc=loc,
            bbox_to_anchor=(RIGHT + 0.006, y),
            fontsize=LEGEND_SIZE,
            borderaxespad=0,
            labelspacing=0.3,
            handlelength=handlelength,
        )

    def _label_fits(self, text: str) -> bool:
        """Whether a label of the legend is not wider than its room, as it will be drawn."""
        font = FontProperties(size=LEGEND_SIZE)
        width, _, _ = self._canvas.get_renderer().get_text_width_height_descent(text, font, False)
        return width <= LABEL_WIDTH

    # What moves

    def _draw_moving(
        self, scene: Scene, lines: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> None:
        ax = self._axes["loss"]
        artists: list[Artist] = []
        if scene.run is None:
            text = say(scene.drawn_language, "figure.nothing")
            middle = {"ha": "center", "va": "center", "transform": ax.transAxes}
            artists.append(ax.text(0.5, 0.5, text, middle, fontsize=13))
        else:
            for name, (x, y) in lines.items():
                artists += ax.plot(x, y, zorder=3, **LINE_LOOKS[name])
            artists += self._marks(scene, scene.run)
        for artist in sorted(artists, key=_zorder):
            self._figure.draw_artist(artist)
            artist.remove()

    def _marks(self, scene: Scene, run: Run) -> list[Artist]:
        """Its last step, its spikes with their heights, the opened step, and held-out losses."""
        ax = self._axes["loss"]
        artists: list[Artist] = []
        x, loss = scene.x(run), run.loss
        if "accumulated" in scene.lines:  # what the detector reads; other lines have no marks
            if not scene.complete:
                artists += ax.plot(x[-1:], loss[-1:], "o", color=BLACK, ms=5, zorder=4)
            for event in scene.events:
                at = (x[event.peak], loss[event.peak])
                artists += ax.plot(*at, "v", color=VERMILION, ms=7, zorder=5)
                if len(scene.events) <= MAX_LABELS:
                    text = f"+{event.peak_height:.2f}\nz {event.z:.0f}"
                    above: Look = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
                    artists.append(ax.annotate(text, at, fontsize=11, zorder=5, **above))
        if scene.opened is not None and scene.opened < len(x):
            artists.append(ax.axvline(x[scene.opened], color=PINK, ls=":", lw=2, zorder=2.5))
        if scene.probes:
            artists += self._probe_lines(run, scene, lw=1.5)
        return artists

    def _probe_lines(self, run: Run, scene: Scene, **look: float) -> list[Artist]:
        lines: list[Artist] = []
        x, after = scene.x(run), run.info.get("probes_after", {})
        for name in run.probe_names():
            measured = [i for i, r in enumerate(run.records) if name in r.probes]
            at, losses = x[measured], np.array([run.records[i].probes[name] for i in measured])
            if name in after:
                at, losses = np.append(at, scene.end()), np.append(losses, after[name])
            style: Look = {"color": _line_color(name), "ls": PROBE_DASHES[name], **look}
            lines += self._axes["probes"].plot(at, losses, **style)
        return lines

    def _fits(self, scene: Scene) -> bool:
        """Whether the run of the moment is within the limits, with room for its labels."""
        low, high = self._axes["loss"].get_ylim()
        top = high - 0.15 * (high - low)
        fits = all(low <= np.nanmin(y) and np.nanmax(y) <= top for y in self.drawn.values())
        if scene.probes:
            low, high = self._axes["probes"].get_ylim()
            fits = fits and all(low <= v <= high for v in _probe_values(scene.run))
        return fits


def _zorder(artist: Artist) -> float:
    return artist.get_zorder()


def _probe_values(run: Run | None) -> list[float]:
    records = () if run is None else run.records
    return [v for r in records for v in r.probes.values()]


def _line_color(domain: str) -> str:
    return BLACK if domain == MAIN else DOMAIN_COLORS[domain]  # the strip's grey is too pale
