"""The Spike Lab: knobs, a curve that answers at once, a run that trains over it, and spikes that open.

    lab = SpikeLab(preset="as reported")        all knobs
    lab = SpikeLab(knobs=("order", "batch"))    a teacher's choice of knobs
    lab = SpikeLab.from_state("lab=1&…")        what somebody sent

A thin shell: `session` knows which run is shown and trains it, `figures_lab` paints, `inspection`
opens a step, `comparison` puts two runs side by side. Rules that it keeps, each for a reason:

 1. The browser is the clock. `widgets.Play` ticks; a tick takes what was trained, repaints, and pays
    for the next moment of training. Nothing queues up, and a closed page trains nothing.
 2. A figure is PNG bytes in a `widgets.Image`: redrawn in place, never stacked, on any front end.
 3. One lock around every callback: some kernels run callbacks on a second thread.
 4. An error in a callback is shown in the panel; nobody would see it elsewhere.
 5. One run at a time in a kernel: a new lab, or a run started in another, ends the run before.
 6. `run()` is the same in the foreground, for front ends without widgets; interrupt is its Stop.
 7. The stored notebook shows a picture, since the lab carries one beside its widgets.
"""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakSet

import ipywidgets as W
import numpy as np
from IPython import get_ipython
from IPython.display import DisplayHandle, display

from minimind_lite.lab import compare, report
from minimind_lite.lab.figure import Canvas, Scene, mimebundle, sentence
from minimind_lite.lab.inspect import Inspector, page
from minimind_lite.lab.session import LabSession, Shown, renamed, status_of
from minimind_lite.lab.state import KNOBS, LabState
from minimind_lite.lab.state import preset as named_preset
from minimind_lite.lab.widgets import OWN_CLOCK, Panel, tip
from minimind_lite.lab.wording import say
from minimind_lite.lessons import base

NOW = -1  # the run of the moment, among the places of pinned runs
PATIENCE = 0.5  # seconds that the first picture may wait for an estimate of the training time
REPAINT = 0.2  # seconds between two pictures of a run in the foreground
_labs: WeakSet[SpikeLab] = WeakSet()  # of this kernel


class SpikeLab:
    """One lab: as the last line of a cell it shows its panel. `session` is what it does, `widgets` how it looks.

    `preset` names a choice of all knobs (`lab_state.PRESETS`), `knobs` those that are shown (all, if
    left out), and any further choice of a `LabState` may be given by name: `lines`, `axis`, `scale`,
    `band`, `probes`, `language`. Raises `ValueError` for anything unknown.
    """

    def __init__(
        self,
        preset: str | None = None,
        knobs: Sequence[str] | None = None,
        *,
        lines: Sequence[str] | None = None,
        axis: str | None = None,
        scale: str | None = None,
        band: bool | None = None,
        probes: bool | None = None,
        language: str | None = None,
        state: LabState | None = None,
    ) -> None:
        as_tuple = lambda names: None if names is None else tuple(names)
        given = {
            "knobs": as_tuple(knobs),
            "lines": as_tuple(lines),
            "axis": axis,
            "scale": scale,
            "band": band,
            "probes": probes,
            "language": language,
        }
        if state is not None and preset is not None:
            raise ValueError("a preset and a state both say everything; give one of them.")
        chosen = state or (named_preset(preset) if preset else LabState())
        chosen = replace(chosen, **{k: v for k, v in given.items() if v is not None})
        self._only_one()
        _labs.add(self)
        self.session = LabSession(chosen)
        self.canvas, self.inspector = Canvas(), None
        self.widgets: Panel | None = None
        self._lock, self._teller = threading.RLock(), None
        self._presets = chosen.knobs == KNOBS
        self._compared: tuple[Shown, Shown] | None = None
        self._rows_shown: tuple[object, ...] = ()
        self._pins_shown = 0
        self._spikes_shown: tuple[object, ...] = ()
        self._page_shown: tuple[object, ...] = ()
        self._png, self.summary = b"", ""

    @classmethod
    def from_state(cls, text: str) -> SpikeLab:
        """The lab of a state string. Raises `ValueError` for one that can't be read."""
        return cls(state=LabState.from_string(text))

    @property
    def state(self) -> str:
        """The whole choice as one string; `from_state` makes the same lab of it."""
        return self.session.state.to_string()

    # What is seen

    def scene(self) -> Scene:
        """What the figure shows now."""
        s, state = self.session, self.session.state
        now, named = s.current, lambda shown: [(x.name, x.run) for x in shown if x.run is not None]
        band = s.recordings.seeds(now.knobs.setup()) if state.band else None
        return Scene(
            now.knobs.setup(),
            now.run,
            self._title(now),
            under=s.under and s.under.run,
            under_name=s.under.source if s.under else "recorded",
            ghosts=named(s.ghosts),
            pinned=named(s.pinned),
            band=band,
            events=s.events(),
            opened=state.opened,
            lines=state.lines,
            log_every=state.run.log_every,
            axis=state.axis,
            scale=state.scale,
            probes=state.probes,
            language=state.language,
        )

    def png(self) -> bytes:
        """The figure as it stands; its sentence is then in `summary`."""
        scene = self.scene()
        self.summary = sentence(scene)
        return self.canvas.png(scene, alt=self.summary)

    def _title(self, now: Shown) -> str:
        return f"{now.name} ({say(self.session.state.language, 'not recorded' if now.run is None and now.source != 'trained' else now.source)})"

    def status(self) -> str:
        """What is going on, and what a press of Run would do."""
        return status_of(self.session)

    # What a learner does, without widgets

    def run(self, steps: int | None = None) -> None:
        """Train in the foreground, redrawing in place; the notebook's interrupt button is the stop. `steps`: just so many."""
        self._only_one()
        handle, painted = self._picture(None), time.monotonic()
        try:
            for _ in self._foreground(steps):
                if (
                    handle is not None and time.monotonic() - painted > REPAINT
                ):  # there is no handle outside a notebook
                    self._picture(handle)
                    painted = time.monotonic()
        except KeyboardInterrupt:
            self.session.stop()
        if handle is not None:
            self._picture(handle)
        if self.widgets is not None:
            self._paint()
        print(self.status())

    def _picture(self, handle: DisplayHandle | None) -> DisplayHandle | None:
        """Show the figure in a cell's output, or anew in the place of `handle`; the form that the oldest front end takes."""
        if get_ipython() is None:
            return None  # a terminal would print the picture's bytes
        data, metadata = mimebundle(self.png(), self.summary)
        return (display if handle is None else handle.update)(
            data, metadata=metadata, raw=True, **({"display_id": True} if handle is None else {})
        )

    def _foreground(self, steps: int | None) -> Iterator[int]:
        """Steps done, as they are done: just so many one by one, or all of them on a lease."""
        if steps is not None:
            for _ in range(steps):
                done = self.session.step()
                if self.session.status != "paused":  # it came to its end
                    return
                yield done
            return
        self.session.start()
        while self.session.status == "running":
            time.sleep(REPAINT / 4)
            yield self.session.tick()

    def report(self, conclusion: str = "", *, name: str = "lab-report") -> Path:
        """Write what is seen, its state, the comparison and a conclusion to my_work/, as one HTML file; returns where."""
        compared = self.widgets.comparison.value if self.widgets else ""
        text = report.page(
            picture=self.png(),
            summary=self.summary,
            state=self.state,
            comparison=compared,
            conclusion=conclusion,
            predictions=base.predictions(),
            language=self.session.state.language,
        )
        return report.write(base.work_folder(), name, text)

    def close(self) -> None:
        """End the run and take the panel away."""
        self.session.close()
        if self.widgets is not None:
            self.widgets.clock.close()
            self.widgets.box.close()
            self.widgets = None

    # The panel

    def panel(self) -> W.Widget:
        """Knobs, buttons and curve; built once, so that showing it twice shows the same run."""
        if self.widgets is None:
            self.session.warm_up()
            self.widgets = Panel(self.session.state, presets=self._presets)
            self._wire(self.widgets)
            self.session.warm_up(wait=PATIENCE)
            self._paint()
        return self.widgets.box

    def _wire(self, w: Panel) -> None:
        on = lambda button, action: button.on_click(lambda _: self._guarded(action))

        def changed(widget: W.Widget, action: Callable[[object], object]) -> None:
            widget.observe(
                lambda change: (
                    None
                    if self._teller == threading.get_ident()
                    else self._guarded(lambda: action(change["new"]))
                ),
                "value",
            )

        for name, knob in w.knobs.items():
            changed(
                knob,
                lambda value, name=name: self.session.turn(
                    replace(self.session.state.run, **{name: value})
                ),
            )
        for name, view in w.views.items():
            changed(view, lambda value, name=name: self.session.view(**{name: value}))
        for box in w.lines.values():
            changed(
                box,
                lambda _: self.session.view(lines=tuple(n for n, b in w.lines.items() if b.value)),
            )
        changed(w.preset, self._preset)
        on(w.language, lambda: self._speak("zh" if self.session.state.language == "en" else "en"))
        for name, action in {
            "run": self._run,
            "pause": self.session.pause,
            "step": self._step,
            "stop": self.session.stop,
            "reset": self.session.reset,
        }.items():
            on(w.buttons[name], action)
        w.clock.observe(lambda change: self._ticked(), "value")
        if OWN_CLOCK:  # its own buttons are Run and Pause; a tick starts nothing
            w.clock.observe(
                lambda change: (
                    None
                    if self._teller == threading.get_ident()
                    else self._guarded(self._run if change["new"] else self.session.pause)
                ),
                "_playing",
            )
        w.box.observe(
            lambda change: change["new"] == 0 and self._guarded(self.session.pause), "_view_count"
        )  # its cell was cleared or deleted
        on(w.pin, self.session.pin)
        on(w.compare, self._compare)
        on(w.previous, lambda: self._walk(-1))
        on(w.next, lambda: self._walk(1))
        on(w.close, lambda: self.session.view(opened=None))

    def _ticked(self) -> None:
        if self.session.status == "running":
            self._guarded(self.session.tick, wait=False, idle=0)
        else:
            self._hold_clock()  # a tick that was under way when the run ended

    def _run(self) -> None:
        self._only_one()
        self.session.start()
        if not OWN_CLOCK:
            self.widgets.clock.playing = True

    def _only_one(self) -> None:
        """End the run of every other lab, and have its panel say so."""
        for lab in [x for x in _labs if x is not self and x.session.live is not None]:
            lab.session.close()
            if lab.widgets is not None:
                lab._guarded(lambda: None, wait=False)

    def _step(self) -> None:
        self._only_one()
        self.session.step()

    def _preset(self, name: str) -> None:
        if name:
            chosen = named_preset(name)
            self.session.turn(chosen.run)
            self.session.view(
                **{k: getattr(chosen, k) for k in ("axis", "scale", "band", "probes", "lines")}
            )

    def _speak(self, language: str) -> None:
        before = self.session.state.language
        self.session.view(language=language)
        self._tell(lambda: self.widgets.label(language))
        self._spikes_shown = self._rows_shown = self._page_shown = ()
        if self._compared:
            self._compared = tuple(renamed(x, before, language) for x in self._compared)
            self._show_comparison()

    def _open(self, step: int) -> None:
        run = self.session.current.run
        if run is not None and 0 <= step < len(run):
            self.session.view(opened=step)

    def _walk(self, by: int) -> None:
        if self.session.state.opened is not None:
            self._open(self.session.state.opened + by)

    def _compare(self) -> None:
        """Two runs side by side: pinned ones by their place, the run of the moment as `NOW`."""
        places = [d.value for d in self.widgets.pair.values()]
        if None in places or places[0] == places[1]:
            raise ValueError(say(self.session.state.language, "two runs"))
        self._compared = tuple(
            self.session.current if i == NOW else self.session.pinned[i] for i in places
        )
        self._show_comparison()

    def _show_comparison(self) -> None:
        language = self.session.state.language
        runs = {
            x.name
            if x is not self._compared[0] or x.name != self._compared[1].name
            else f"{x.name} (1)": x.run
            for x in self._compared
        }
        self.widgets.comparison.value = compare.page(runs, language=language)

    # Painting

    def _guarded(
        self, action: Callable[[], object], *, wait: bool = True, idle: object = ...
    ) -> None:
        """Do something under the lock and repaint, unless it gives `idle`; an error is shown, for nobody else would see it."""
        if not self._lock.acquire(blocking=wait):
            return  # a tick is still at work on another thread: the next will do; a click would be lost
        try:
            if (
                wait and self.widgets.error.value
            ):  # a learner has gone on; a tick takes no message away
                self.widgets.error.value = ""
            try:
                unchanged = action() == idle and self.session.status == "running"
            except Exception:
                self._paint()
                raise
            if not unchanged:
                self._paint()
        except Exception as error:
            text = (
                str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            )
            self.widgets.error.value = f"<div role='alert'><b>{say(self.session.state.language, 'error')}:</b> {html.escape(text)}</div>"
        finally:
            self._lock.release()

    def _tell(self, action: Callable[[], object]) -> None:
        """Set widgets without taking their change for a learner's."""
        before, self._teller = self._teller, threading.get_ident()
        try:
            action()
        finally:
            self._teller = before

    def _paint(self) -> None:
        """Bring every widget to what the session says; those that are right already are left alone."""
        w = self.widgets
        self._png = self.png()
        w.image.value, w.sentence.value, w.status.value = (
            self._png,
            html.escape(self.summary, quote=False),
            html.escape(self.status(), quote=False),
        )
        self._tell(lambda: w.show_choice(self.session.state))
        w.show_state(self.state)
        self._buttons()
        self._spike_buttons()
        self._pin_rows()
        self._show_page()

    def _buttons(self) -> None:
        status, w = self.session.status, self.widgets
        w.buttons["run"].disabled = status == "running"
        w.buttons["pause"].disabled = status != "running"
        w.buttons["stop"].disabled = status not in ("running", "paused")
        if status != "running":
            self._hold_clock()

    def _hold_clock(self) -> None:
        name = "_playing" if OWN_CLOCK else "playing"
        if self.widgets is not None and getattr(self.widgets.clock, name):
            self._tell(lambda: setattr(self.widgets.clock, name, False))

    def _spike_buttons(self) -> None:
        """A button per spike of the run of the moment, or one for its highest step."""
        w, s, words = self.widgets, self.session, self.session.state.language
        run = s.current.run
        found = [(i, e.peak, e.peak_height, e.z) for i, e in enumerate(s.events(), start=1)]
        key = (words, tuple(found), run is not None and int(np.argmax(run.loss)))
        if key == self._spikes_shown:
            return
        self._spikes_shown = key
        said = [
            (say(words, "spike", i=i, height=height, z=z), peak) for i, peak, height, z in found
        ]
        if run is not None and not any(e.start <= np.argmax(run.loss) < e.stop for e in s.events()):
            said.append((say(words, "peak"), int(np.argmax(run.loss))))
        buttons = []
        for text, step in said:
            button = W.Button(
                description=text,
                tooltip=say(words, "spike?", step=step),
                layout=W.Layout(width="auto"),
            )
            button.on_click(lambda _, step=step: self._guarded(lambda: self._open(step)))
            buttons.append(button)
        w.spikes.children = [W.Label(say(words, "spikes")), *buttons] if buttons else []

    def _pin_rows(self) -> None:
        """A row per pinned run: its name, which can be changed, and a button to remove it; and the choices of Compare."""
        w, s, words = self.widgets, self.session, self.session.state.language
        key = (words, tuple((id(p), p.name) for p in s.pinned), s.current.run is None)
        if key == self._rows_shown:
            return
        self._rows_shown, rows = key, []
        for i, pin in enumerate(s.pinned):
            name = W.Text(value=pin.name, continuous_update=False, layout=W.Layout(width="320px"))
            tip(name, say(words, "rename?"))
            name.observe(
                lambda change, i=i: self._guarded(lambda: s.rename(i, change["new"])), "value"
            )
            gone = W.Button(
                description=say(words, "remove"),
                tooltip=say(words, "remove?"),
                layout=W.Layout(width="96px"),
            )
            gone.on_click(lambda _, i=i: self._guarded(lambda: s.remove(i)))
            missing = [W.Label(say(words, "pin missing", name=pin.name))] if pin.run is None else []
            rows.append(W.HBox([name, gone, *missing]))
        w.pins.children = [W.Label(say(words, "pinned")), *rows] if rows else []
        options = [(p.name, i) for i, p in enumerate(s.pinned) if p.run is not None]
        options += [(say(words, "this run"), NOW)] if s.current.run is not None else []
        chosen = (
            [d.value for d in w.pair.values()]
            if len(s.pinned) >= self._pins_shown
            else [None, None]
        )  # places hold while none is removed
        self._pins_shown = len(s.pinned)
        still = len(set(chosen)) == 2 and set(chosen) <= {place for _, place in options}
        for dropdown, before, default in zip(w.pair.values(), chosen, (0, 1)):
            dropdown.options = options or [("", None)]
            if still:
                dropdown.value = before
            elif len(options) > default:
                dropdown.index = default

    def _show_page(self) -> None:
        """The conversations of the opened step."""
        w, s = self.widgets, self.session
        step, run = s.state.opened, s.current.run
        key = (
            s.state.language,
            step,
            id(run.records[step])
            if step is not None and run is not None and step < len(run)
            else None,
        )
        if key == self._page_shown:
            return
        self._page_shown = key
        there = key[2] is not None
        w.walk.layout.display = "flex" if there else "none"
        if not there:
            w.page.value = ""
            return
        self.inspector = self.inspector or Inspector()
        w.page.value = page(
            self.inspector.open(run, step), run.records[step], language=s.state.language
        )

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict, dict]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.panel().model_id}
        data, metadata = mimebundle(self._png, self.summary)
        return {**data, "application/vnd.jupyter.widget-view+json": view}, metadata
