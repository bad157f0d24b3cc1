"""The lab's figure, painted quickly: what stands still is drawn once, what moves is drawn over it.

A whole matplotlib drawing takes a tenth of a second, too long to follow a run with. So axes, grey
curves, pinned runs, domain strip and legend are drawn once and kept as pixels; each repaint copies
them and draws only the run of the moment. Limits of x are known before a run begins, and those of
y come from the runs that lie under it; when the run leaves them, everything is drawn anew.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import east_asian_width

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FormatStrFormatter
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from minimind_lite import log_views, order
from minimind_lite.files import shipped
from minimind_lite.lab.recordings import Setup
from minimind_lite.lab.state import MANY
from minimind_lite.lab.wording import say
from minimind_lite.plots.base import _RENDER, DOMAIN_COLOURS, MOST_LABELS, _style, cjk_font
from minimind_lite.records import Run
from minimind_lite.rows import batches
from minimind_lite.spikes import WINDOW, SpikeEvent

WIDTH, HEIGHT, PROBES_HEIGHT = (
    960,
    380,
    190,
)  # pixels; with the knobs above it, a screen of 1366 x 768 holds it
LEFT, RIGHT = 0.072, 0.765  # of the width; the legend has the rest
TICKS = 46  # pixels for numbers and name of the axis at the bottom
STRIP = 16  # rows of pixels in the strip: shares are drawn to a sixteenth
GREY = "#BBBBBB"
UNDER: Mapping[str, object] = {"color": "#999999", "lw": 4, "alpha": 0.45}
BAND: Mapping[str, object] = {"color": "#56B4E9", "alpha": 0.3, "lw": 0}
LOOKS: Mapping[str, Mapping[str, object]] = {  # of the lines that show one run in several ways
    "accumulated": {"color": "#111111", "ls": "-", "lw": 1.7},
    "micro-batches": {"color": "#56B4E9", "ls": "none", "marker": ".", "ms": 3},
    "smoothed": {"color": "#0072B2", "ls": "--", "lw": 1.7},
    "log": {"color": "#D55E00", "ls": "-.", "lw": 1.3, "marker": "x", "ms": 4},
}
PINNED = (
    ("#009E73", "--"),
    ("#CC79A7", "-."),
    ("#E69F00", (0, (5, 1, 1, 1))),
    ("#0072B2", ":"),
)  # colour and style of each pinned run
PROBE_STYLES = {"zh": "-", "code": "--", "en": "-.", "math": ":", "zh_classical": (0, (5, 1, 1, 1))}


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a picture of the lab shows."""

    setup: Setup  # of the run of the moment: its order is known before it runs
    run: Run | None  # the run of the moment, as far as it has come
    title: str
    under: Run | None = None  # recorded, under the live run
    under_name: str = "recorded"  # how it came about, a key of `wording`
    ghosts: Sequence[tuple[str, Run]] = ()  # in grey
    pinned: Sequence[tuple[str, Run]] = ()
    band: Sequence[Run] | None = (
        None  # whole runs of the same length, over seeds; empty where it was asked for in vain
    )
    events: Sequence[SpikeEvent] = ()  # of the run of the moment
    opened: int | None = None  # step whose conversations are being read
    lines: Sequence[str] = ("accumulated",)
    log_every: int = 8
    axis: str = "samples"
    scale: str = "linear"
    probes: bool = False
    language: str = "en"

    @property
    def words(self) -> str:
        """Language that can be drawn here."""
        return self.language if self.language == "en" or cjk_font() else "en"

    def still(self) -> tuple[object, ...]:
        """Equal for two scenes whose unmoving parts are the same."""
        runs = lambda named: tuple((name, id(run)) for name, run in named)
        under = (
            id(self.under),
            len(self.band or ()),
            *(
                ()
                if self.under is not None
                else (id(self.run) if self.run and self.complete() else 0,)
            ),
        )
        return (
            self.setup,
            self.title,
            under,
            runs(self.ghosts),
            runs(self.pinned),
            tuple(self.lines),
            self.axis,
            self.scale,
            self.probes,
            self.words,
        )

    def complete(self) -> bool:
        """Whether the run of the moment has come to its end."""
        return (
            self.run is not None
            and sum(len(r.rows) for r in self.run.records) == _n_rows() * self.setup.config.epochs
        )


def curves(run: Run, lines: Sequence[str], log_every: int) -> dict[str, log_views.Curve]:
    """One run in several ways, by the name of the line."""
    found: dict[str, log_views.Curve] = {}
    for name in lines:
        if name == "micro-batches":
            size = log_views.micro_batch_size(run)
            samples = np.concatenate(
                [r.samples_seen + size * np.arange(len(r.micro_losses)) for r in run.records]
            )
            found[name] = log_views.Curve(
                samples, np.concatenate([r.micro_losses for r in run.records])
            )
        else:
            found[name] = {
                "accumulated": log_views.full,
                "smoothed": log_views.moving_average,
                "log": lambda r: log_views.minimind(r, log_every),
            }[name](run)
    return found


@lru_cache(maxsize=1)
def _n_rows() -> int:
    return len(shipped.conversations())


@lru_cache(maxsize=64)
def _strip(setup: Setup, axis: str) -> np.ndarray:
    """Which domains every batch of a run holds, as colours (STRIP, x, 3): x conversations or steps. The order is known before the run."""
    config, n = setup.config, _n_rows()
    domains, colours = list(DOMAIN_COLOURS), np.array([to_rgb(c) for c in DOMAIN_COLOURS.values()])
    member = np.zeros(n, int)  # zh
    for segment in shipped.segments():
        member[segment.start : segment.stop] = domains.index(segment.domain)
    member = np.where(member == 0, len(domains), member)  # Chinese on top of the pile
    columns = []
    for epoch in range(config.epochs):
        for rows in batches(
            order.make(config.order, n, seed=config.seed, epoch=epoch), config.batch_size
        ):
            pile = np.sort(member[rows])
            colour = colours[pile[(np.arange(STRIP) * len(pile)) // STRIP] % len(domains)]
            columns += [colour] * (len(rows) if axis == "samples" else 1)
    return np.array(columns).transpose(1, 0, 2)


class Canvas:
    """One figure that is painted again and again; `png` gives its bytes."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._frame: tuple[object, ...] | None = None
        self._still: list[Artist] = []
        self._kept: tuple[object, ...] = ()  # runs whose ids are in the key stay alive with it
        self._figure = Figure(dpi=100)
        self._canvas = FigureCanvasAgg(self._figure)
        self._axes: dict[str, Axes] = {}
        self.drawn: dict[
            str, np.ndarray
        ] = {}  # what was painted of the run of the moment: y of each line

    def png(self, scene: Scene, alt: str = "") -> bytes:
        """Paint a scene; `alt` goes into the picture's metadata."""
        with _RENDER, matplotlib.rc_context(_style()):
            shown = curves(scene.run, scene.lines, scene.log_every) if scene.run is not None else {}
            if scene.still() != self._key or not self._fits(shown, scene):
                self._draw_still(scene, shown)
            self._canvas.restore_region(self._background)
            self._draw_moving(scene, shown)
            pixels = Image.frombuffer(
                "RGBA",
                self._canvas.get_width_height(),
                self._canvas.buffer_rgba(),
                "raw",
                "RGBA",
                0,
                1,
            )
            out, about = io.BytesIO(), PngInfo()
            about.add_itxt("Description", alt)
            pixels.convert("RGB").save(out, format="png", compress_level=1, pnginfo=about)
            return out.getvalue()

    # What stands still

    def _draw_still(self, scene: Scene, shown: Mapping[str, log_views.Curve]) -> None:
        frame = (scene.probes, scene.scale, scene.axis, scene.words)
        if (
            frame != self._frame
        ):  # ticks and labels are dear: axes are made anew only where they must be
            self._place(scene)
            self._frame, self._still = frame, []
        for artist in self._still:
            artist.remove()
        self._still = [
            *self._curves_that_stay(scene),
            *self._strip_of(scene),
            *self._legends(scene),
        ]
        self._title.set_text(scene.title if scene.words == scene.language else "")
        self._limits(scene, shown)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)
        self._key = scene.still()
        self._kept = (scene.run, scene.under, *(run for _, run in (*scene.ghosts, *scene.pinned)))

    def _curves_that_stay(self, scene: Scene) -> list[Artist]:
        ax, artists = self._axes["loss"], []
        for i, (_, run) in enumerate(scene.ghosts):
            x = self._x(run, scene)
            inside = x <= self._last_x(
                scene
            )  # they are there by the way, and must not change the axis
            artists += ax.plot(
                x[inside], run.loss[inside], color=GREY, ls=("-", "--")[i % 2], lw=1, zorder=1
            )
        if scene.band:
            losses = np.array([run.loss for run in scene.band])
            artists.append(
                ax.fill_between(
                    self._x(scene.band[0], scene),
                    losses.min(axis=0),
                    losses.max(axis=0),
                    zorder=0,
                    **BAND,
                )
            )
        if scene.under is not None:
            artists += ax.plot(self._x(scene.under, scene), scene.under.loss, zorder=1.5, **UNDER)
        for (_, run), (colour, style) in zip(scene.pinned, PINNED):
            artists += ax.plot(
                self._x(run, scene), run.loss, color=colour, ls=style, lw=1.4, zorder=2
            )
        return artists + (
            self._probe_lines(scene.under, scene, lw=4, alpha=0.35) if scene.probes else []
        )

    def _place(self, scene: Scene) -> None:
        """Axes at fixed places: a layout engine would take longer than the drawing."""
        bottom = (
            PROBES_HEIGHT - TICKS + 14 if scene.probes else 0
        )  # one pair of axes has the numbers for both
        height, language, figure = HEIGHT + bottom, scene.words, self._figure
        figure.clear()
        figure.set_size_inches(WIDTH / 100, height / 100)
        box = lambda low, tall: (
            LEFT,
            low / height,
            RIGHT - LEFT,
            tall / height,
        )  # pixels from below, and of height
        strip = figure.add_axes(box(bottom + TICKS, 18))
        loss = figure.add_axes(box(bottom + TICKS + 26, HEIGHT - TICKS - 56), sharex=strip)
        self._axes = {"loss": loss, "strip": strip}
        self._title = figure.text(LEFT, 1 - 8 / height, "", va="top", fontsize=12)
        loss.tick_params(labelbottom=False)
        loss.set_ylabel(say(language, "loss"), fontsize=11)
        if scene.probes:
            self._axes["probes"] = figure.add_axes(
                box(TICKS, PROBES_HEIGHT - TICKS - 10), sharex=strip
            )
            self._axes["probes"].set_ylabel(say(language, "held-out"), fontsize=11)
            strip.tick_params(labelbottom=False)
        strip.set(yticks=[])
        strip.spines[:].set_visible(False)
        self._axes[list(self._axes)[-1]].set_xlabel(say(language, scene.axis), fontsize=11)
        for ax in self._axes.values():
            ax.tick_params(labelsize=11)
        if scene.scale == "log":
            loss.set_yscale("log")
            for axis in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter):
                axis(FormatStrFormatter("%.1f"))

    def _strip_of(self, scene: Scene) -> list[Artist]:
        extent = (0, self._end(scene), 0, 1)
        return [
            self._axes["strip"].imshow(
                _strip(scene.setup, scene.axis),
                aspect="auto",
                origin="lower",
                interpolation="nearest",
                extent=extent,
            )
        ]

    def _limits(self, scene: Scene, shown: Mapping[str, log_views.Curve]) -> None:
        """Room for every curve that is there, and for labels above the highest."""
        runs = (
            [run for _, run in scene.pinned]
            + list(scene.band or ())
            + ([scene.under] if scene.under is not None else [])
        )
        values = [run.loss for run in runs] + [c.values for c in shown.values()]
        values += [run.loss[self._x(run, scene) <= self._last_x(scene)] for _, run in scene.ghosts]
        values = np.concatenate(values) if values else np.array([5.0, 6.0])
        lowest, highest = np.nanmin(values), np.nanmax(values)
        room = max(highest - lowest, 0.2)
        loss = self._axes["loss"]
        loss.set_xlim(0, self._last_x(scene))
        self._axes["strip"].set_ylim(0, 1)
        if scene.scale == "log":
            loss.set_ylim(lowest * 0.98, highest * (highest / lowest) ** 0.3 * 1.02)
        else:
            loss.set_ylim(lowest - 0.06 * room, highest + 0.26 * room)
        if scene.probes:
            losses = np.concatenate(
                [
                    np.array([v for r in run.records for v in r.probes.values()] or [5.5])
                    for run in (scene.under, scene.run)
                    if run is not None
                ]
                or [np.array([5.0, 7.0])]
            )
            self._axes["probes"].set_ylim(losses.min() - 0.1, losses.max() + 0.1)

    def _legends(self, scene: Scene) -> list[Artist]:
        language, beside = (
            scene.words,
            {
                "bbox_to_anchor": (RIGHT + 0.006, 0.99),
                "loc": "upper left",
                "fontsize": 10.5,
                "borderaxespad": 0,
            },
        )
        handles: list[Artist] = [
            Line2D([], [], label=say(language, f"line={name}"), **LOOKS[name])
            for name in scene.lines
        ]
        handles += (
            [Line2D([], [], label=say(language, scene.under_name), **UNDER)]
            if scene.under is not None
            else []
        )
        handles += (
            [Patch(label=say(language, "range", n=len(scene.band)), **BAND)] if scene.band else []
        )
        handles += [
            Line2D([], [], color=colour, ls=style, label=_short(name))
            for (name, _), (colour, style) in zip(scene.pinned, PINNED)
        ]
        handles += [
            Line2D([], [], color=GREY, ls=("-", "--")[i % 2], label=_short(name))
            for i, (name, _) in enumerate(scene.ghosts)
        ]
        above = self._figure.legend(handles=handles, handlelength=1.8, **beside)
        beside |= {
            "loc": "lower left",
            "bbox_to_anchor": (RIGHT + 0.006, 0.02),
            "handlelength": 1.8 if scene.probes else 1,
        }
        domains = dict.fromkeys(["zh", *(s.domain for s in shipped.segments())])
        mark = (
            (lambda d: Line2D([], [], color=_darker(d), ls=PROBE_STYLES[d]))
            if scene.probes
            else (lambda d: Patch(color=DOMAIN_COLOURS[d]))
        )
        return [
            above,
            self._figure.legend(
                [mark(d) for d in domains],
                [say(language, f"domain:{d}") for d in domains],
                **beside,
            ),
        ]

    # What moves

    def _draw_moving(self, scene: Scene, shown: Mapping[str, log_views.Curve]) -> None:
        ax, self.drawn = self._axes["loss"], {}
        if scene.run is None:
            text = ax.text(
                0.5,
                0.5,
                say(scene.words, "nothing"),
                transform=ax.transAxes,
                ha="center",
                va="center",
                fontsize=13,
            )
            ax.draw_artist(text)
            text.remove()
            return
        artists: list[Artist] = []
        for name, curve in shown.items():
            x = curve.samples if scene.axis == "samples" else _steps_of(scene.run, curve.samples)
            artists += ax.plot(x, curve.values, zorder=3, **LOOKS[name])
            self.drawn[name] = curve.values
        x, loss = self._x(scene.run, scene), scene.run.loss
        whole = (
            "accumulated" in scene.lines
        )  # what the detector reads: without it, its marks would float
        if not scene.complete() and whole:
            artists += ax.plot(x[-1:], loss[-1:], "o", color="#111111", ms=5, zorder=4)
        for event in scene.events if whole else ():
            artists += ax.plot(
                x[event.peak], loss[event.peak], "v", color="#D55E00", ms=7, zorder=5
            )
            if len(scene.events) <= MOST_LABELS:
                label = f"+{event.peak_height:.2f}\nz {event.z:.0f}"
                artists.append(
                    ax.annotate(
                        label,
                        (x[event.peak], loss[event.peak]),
                        xytext=(0, 6),
                        textcoords="offset points",
                        ha="center",
                        va="bottom",
                        fontsize=11,
                        zorder=5,
                    )
                )
        if scene.opened is not None and scene.opened < len(x):
            artists.append(ax.axvline(x[scene.opened], color="#CC79A7", ls=":", lw=2, zorder=2.5))
        if scene.probes:
            artists += self._probe_lines(scene.run, scene, lw=1.5)
        for artist in sorted(artists, key=lambda a: a.get_zorder()):
            artist.axes.draw_artist(artist)
            artist.remove()

    def _probe_lines(self, run: Run | None, scene: Scene, **look: float) -> list[Artist]:
        lines: list[Artist] = []
        for name in run.probe_names() if run is not None else ():
            steps, losses = run.probe(name)
            x = self._x(run, scene)[steps]
            if after := run.info.get("probes_after"):
                x, losses = np.append(x, self._end(scene)), np.append(losses, after[name])
            lines += self._axes["probes"].plot(
                x, losses, color=_darker(name), ls=PROBE_STYLES[name], **look
            )
        return lines

    def _fits(self, shown: Mapping[str, log_views.Curve], scene: Scene) -> bool:
        """Whether the run of the moment lies within the limits that were drawn, with room for its labels."""
        low, high = self._axes["loss"].get_ylim()
        values = [
            v
            for curve in shown.values()
            for v in (np.nanmin(curve.values), np.nanmax(curve.values))
        ]
        fits = all(low <= v <= high - 0.15 * (high - low) for v in values)
        if scene.probes and scene.run is not None:
            low, high = self._axes["probes"].get_ylim()
            fits = fits and all(
                low <= v <= high for r in scene.run.records for v in r.probes.values()
            )
        return fits

    def _x(self, run: Run, scene: Scene) -> np.ndarray:
        return run.column("samples_seen" if scene.axis == "samples" else "step")

    def _last_x(self, scene: Scene) -> int:
        """Where the axis ends: with the longest of the run of the moment and the pinned runs."""
        of = lambda run: (
            sum(len(r.rows) for r in run.records) if scene.axis == "samples" else len(run)
        )
        return max([self._end(scene), *(of(run) for _, run in scene.pinned)])

    def _end(self, scene: Scene) -> int:
        config = scene.setup.config
        return (
            _n_rows() * config.epochs if scene.axis == "samples" else config.total_steps(_n_rows())
        )


def _steps_of(run: Run, samples: np.ndarray) -> np.ndarray:
    """Conversations seen as steps, and parts of a step for micro-batches: the last step of an epoch may have fewer of them."""
    last = run.records[-1]
    return np.interp(
        samples,
        [*run.column("samples_seen"), last.samples_seen + len(last.rows)],
        [*run.column("step"), last.step + 1],
    )


def _darker(domain: str) -> str:
    return (
        "#111111" if domain == "zh" else DOMAIN_COLOURS[domain]
    )  # the strip's grey would be too pale for a line


def _short(name: str, most: int = 24) -> str:
    """As much of a name as the legend has room for; a Chinese character is two wide."""
    widths = np.cumsum([2 if east_asian_width(c) in "WF" else 1 for c in name])
    return (
        name
        if not len(name) or widths[-1] <= most
        else name[: int(np.searchsorted(widths, most))] + "…"
    )


def sentence(scene: Scene) -> str:
    """What the picture shows, from the same numbers: its alternative text."""
    run, tell = scene.run, lambda key, **values: say(scene.language, key, **values)
    if run is None:
        return tell("s.none", title=scene.title)
    top, tenth = int(run.loss.argmax()), max(1, len(run) // 10)
    seen = lambda step: run.records[step].samples_seen
    if len(run) <= WINDOW:
        return tell(
            "s.short",
            title=scene.title,
            steps=len(run),
            top=run.loss[top],
            at=seen(top),
            events=tell("too short"),
        )
    said = [
        tell(
            "s.course",
            title=scene.title,
            steps=len(run),
            first=run.loss[:tenth].mean(),
            last=run.loss[-tenth:].mean(),
            tenth=tenth,
            top=run.loss[top],
            at=seen(top),
        )
    ]
    listed = [
        tell("s.event", height=e.peak_height, z=e.z, at=seen(e.peak))
        for e in scene.events[:MOST_LABELS]
    ]
    listed += (
        [tell("s.more", n=len(scene.events) - MOST_LABELS)]
        if len(scene.events) > MOST_LABELS
        else []
    )
    judged = len(run) - WINDOW
    none = (
        tell("s.no events") if len(run) >= MANY else tell("s.none judged", n=judged, window=WINDOW)
    )
    said.append(tell("s.events", listed=tell("s.and").join(listed)) if listed else none)
    if scene.band is not None and not len(scene.band):
        said.append(tell("no band"))
    if scene.probes and len(probe := run.probe("zh")[1]):
        said.append(
            tell(
                "s.probe",
                first=probe[0],
                last=run.info.get("probes_after", {}).get("zh", probe[-1]),
            )
        )
    return ("" if scene.language == "zh" else " ").join(said)


def mimebundle(png: bytes, alt: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """A picture with its alternative text, as a notebook's output."""
    return {"image/png": base64.b64encode(png).decode(), "text/plain": alt}, {
        "image/png": {"alt": alt}
    }
