"""The Spike Lab: settings, a curve that answers at once, a live run over it, spikes that open.

    lab = SpikeLab(preset="as reported")              all settings
    lab = SpikeLab(settings=("order", "batch_size"))  a teacher's choice of them
    lab = SpikeLab.from_state("lab=2&…")              what somebody sent
    SpikeLab.from_run("my_work/file")                 a run folder, to read

A thin shell: `session` knows which run is shown and trains it, `figure` paints it, `view` is the
panel, `inspect` opens a step, `compare` puts two runs side by side. Rules that it keeps, each for
a reason:

 1. The browser is the clock. `widgets.Play` ticks; a tick takes what was trained, repaints, and
    pays for the next moment of training. Nothing queues up, and a closed page trains nothing.
 2. A figure is PNG bytes in a `widgets.Image`: redrawn in place, on any front end.
 3. Whatever a cell or a button does holds the session's lock: some kernels run callbacks on a
    second thread.
 4. An error in a callback is shown in the panel; nobody would see it elsewhere.
 5. One run at a time in a kernel: a run started in one lab ends that of another.
 6. `run()` is the same in the foreground, for front ends without widgets; interrupt is its Stop.
 7. The stored notebook shows a picture: the lab displays one before its panel.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import ipywidgets as W
from IPython import get_ipython
from IPython.display import DisplayHandle, display

from minimind_lite.files.work import predictions, work_folder
from minimind_lite.lab.curves import Curve
from minimind_lite.lab.figure import Canvas
from minimind_lite.lab.i18n import say
from minimind_lite.lab.materials import Materials
from minimind_lite.lab.opened_run import OpenedRun
from minimind_lite.lab.report import Report, report_page, write_report
from minimind_lite.lab.run_view import RunView
from minimind_lite.lab.scene import Scene, sentence
from minimind_lite.lab.session import LabSession
from minimind_lite.lab.state import LabState
from minimind_lite.lab.state import preset as named_preset
from minimind_lite.lab.status import status_text
from minimind_lite.lab.templates import render
from minimind_lite.lab.view import LabView, nothing
from minimind_lite.lab.widgets import Panel
from minimind_lite.records import Run

REPAINT = 0.2  # seconds between two pictures of a run in the foreground
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class SpikeLab:
    """One lab: as the last line of a cell it shows its panel.

    `preset` names a choice of all settings (`state.PRESETS`), `settings` those that the panel
    shows (all, if left out). Any further choice of a `LabState` may be given by name. Raises
    `ValueError` for anything unknown.
    """

    _labs: ClassVar[WeakSet[SpikeLab]] = WeakSet()  # of this kernel
    # Taken before any session's lock, so that two labs can't wait for each other.
    _one_run: ClassVar[threading.RLock] = threading.RLock()

    def __init__(
        self,
        preset: str | None = None,
        settings: Sequence[str] | None = None,
        *,
        lines: Sequence[str] | None = None,
        axis: str | None = None,
        scale: str | None = None,
        band: bool | None = None,
        probes: bool | None = None,
        language: str | None = None,
        state: LabState | None = None,
    ) -> None:
        if state is not None and preset is not None:
            raise ValueError("a preset and a state both say everything; give one of them.")
        given = {"axis": axis, "scale": scale, "band": band, "probes": probes, "language": language}
        chosen: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        for name, names in (("settings", settings), ("lines", lines)):
            if names is not None:
                chosen[name] = tuple(names)
        start = state or (named_preset(preset) if preset else LabState())
        start = replace(start, **chosen)
        with self._one_run:
            self._stop_other_labs()
            shared = [lab.session.materials for lab in self._labs] or [Materials()]
            self.session: LabSession = LabSession(start, shared[0])
            self._labs.add(self)
        self.canvas = Canvas()
        self.summary = ""  # the sentence of the last picture
        self.view: LabView | None = None  # None before the panel is shown

    @classmethod
    def from_state(cls, text: str) -> SpikeLab:
        """The lab of a state string. Raises `ValueError` for one that can't be read."""
        return cls(state=LabState.from_string(text))

    @staticmethod
    def from_run(folder: str | Path, *, language: str = "en") -> RunView:
        """A run folder that `train --out` wrote: curve, rises, and the conversations of each step.

        Raises `ValueError` where it is none, or has no step.
        """
        return RunView(OpenedRun(folder), language=language)

    @property
    def state(self) -> str:
        """What is drawn, as one string; `from_state` makes the same lab of it."""
        return self.session.drawn.to_string()

    def status(self) -> str:
        """What is going on, and what a press of Run would do."""
        return status_text(self.session)

    # The figure

    def scene(self) -> Scene:
        """What the figure shows now."""
        s = self.session
        with s.lock:
            now, state, language = s.current, s.state, s.state.language
            spec = now.settings.spec()
            return Scene(
                spec,
                now.run,
                now.title(language),
                n_rows=s.materials.n_rows,
                segments=s.materials.segments,
                name=now.name,
                under=s.under.run if s.under else None,
                under_label=say(language, f"source.{s.under.source}") if s.under else "",
                ghosts=_named(s.ghosts),
                pinned=_named(s.pinned),
                band=s.materials.seeds(spec) if state.band else None,
                events=s.events(),
                opened=state.opened,
                lines=state.lines,
                log_every=state.run.log_every,
                axis=state.axis,
                scale=state.scale,
                probes=state.probes,
                language=language,
            )

    def png(self) -> bytes:
        """The figure; its sentence is then in `summary`."""
        with self.session.lock:
            scene = self.scene()
            self.summary = sentence(scene)
            return self.canvas.png(scene, alt=self.summary)

    # What a learner does, without widgets

    def run(self, steps: int | None = None) -> None:
        """Train in the foreground, redrawing in place, all steps or so many.

        The notebook's interrupt button is the stop.
        """
        handle = self._display_picture() if get_ipython() is not None else None
        painted = time.monotonic()
        try:
            for _ in self._foreground(steps):
                if handle is not None and time.monotonic() - painted > REPAINT:
                    self._update_picture(handle)
                    painted = time.monotonic()
        except KeyboardInterrupt:
            self.session.stop()
        if handle is not None:
            self._update_picture(handle)
        if self.view is not None:
            self.view.act(nothing)
        print(self.status())

    def _foreground(self, steps: int | None) -> Iterator[int]:
        """Steps done, as they are done: so many one by one, or all of them on a lease."""
        if steps is None:
            self._train(self.session.start)
            while self.session.status == "running":
                time.sleep(REPAINT / 4)
                yield self.session.tick()
            return
        for _ in range(steps):
            self._train(self.session.step)
            if self.session.status != "paused":  # it came to its end
                return
            yield 1

    def _display_picture(self) -> DisplayHandle:
        """Show the figure in a cell's output, in the form that the oldest front end takes."""
        data, metadata = self._picture()
        return display(data, metadata=metadata, raw=True, display_id=True)

    def _update_picture(self, handle: DisplayHandle) -> None:
        data, metadata = self._picture()
        handle.update(data, metadata=metadata, raw=True)

    def _picture(self) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        png = base64.b64encode(self.png()).decode()
        return {"image/png": png, "text/plain": self.summary}, {"image/png": {"alt": self.summary}}

    def report(self, conclusion: str = "", *, name: str = "lab-report") -> Report:
        """Write what is drawn, its state, what is open beside it, and a conclusion to my_work/.

        One HTML file; as the last line of a cell it shows itself, with a link to download it.
        """
        with self.session.lock:
            panel, language = self.widgets, self.session.state.language
            page = report_page(
                png=self.png(),
                summary=self.summary,
                state=self.state,
                comparison=panel.comparison.value if panel else "",
                opened=panel.page.value if panel else "",
                conclusion=conclusion,
                predictions=predictions(),
                language=language,
            )
        return write_report(work_folder(), name, page, language=language)

    def close(self) -> None:
        """End the run and take the panel away; a late click then does nothing."""
        with self._one_run:
            self._labs.discard(self)
        with self.session.lock:
            self.session.close()
            if self.view is not None:
                self.view.close()
                self.view = None

    # The panel

    @property
    def widgets(self) -> Panel | None:
        """The widgets of the panel, where it is shown."""
        return None if self.view is None else self.view.panel

    def panel(self) -> W.Widget:
        """Settings, buttons and curve; made once, so that showing it twice shows the same run."""
        with self.session.lock:
            if self.view is None:
                self.session.materials.warm_up()
                self.view = LabView(
                    self.session,
                    picture=lambda: (self.png(), self.summary),
                    start=self._train,
                )
            return self.view.panel.box

    def _ipython_display_(self) -> None:
        """The picture by itself, then the panel: a notebook opened later shows the first."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.panel().model_id}
        data, metadata = self._picture()
        display(data, metadata=metadata, raw=True)
        text = render("sentence.html", self.session.state.language, {"text": self.summary})
        display({WIDGET_VIEW: view, "text/html": text, "text/plain": self.summary}, raw=True)

    def _train(self, action: Callable[[], object]) -> None:
        """Do something that trains, here and nowhere else."""
        with self._one_run:
            self._stop_other_labs()
            action()

    def _stop_other_labs(self) -> None:
        """End the run of every other lab, and have its panel say so."""
        for lab in [x for x in self._labs if x is not self and x.session.live is not None]:
            lab.session.stop(by_other_lab=True)
            if lab.view is not None:
                lab.view.act(nothing)


def _named(curves: Sequence[Curve]) -> list[tuple[str, Run]]:
    return [(curve.name, curve.run) for curve in curves if curve.run is not None]
