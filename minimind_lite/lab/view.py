"""The panel of a lab at work: what its controls do, and how it comes to show what the session says.

Every callback goes through `act`: it holds the session's lock, since some kernels run callbacks on
a second thread; it repaints; and it shows an error in the panel, since nobody would see it
elsewhere. A control that the lab itself sets, while it paints, changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any

import ipywidgets as W
import numpy as np

from minimind_lite.lab.compare import comparison_page
from minimind_lite.lab.curves import Curve
from minimind_lite.lab.i18n import say
from minimind_lite.lab.session import LEASE, LabSession
from minimind_lite.lab.state import CHOICES, LINES, SETTINGS, LabState, Value, with_choice
from minimind_lite.lab.state import preset as named_preset
from minimind_lite.lab.status import status_text
from minimind_lite.lab.step_page import step_page
from minimind_lite.lab.templates import render
from minimind_lite.lab.widgets import OWN_CLOCK, Panel, show
from minimind_lite.spikes import WINDOW

Action = Callable[[], object]


def nothing() -> None:
    """An action that only repaints."""


class LabView:
    """The panel of one session.

    `picture` gives the figure as PNG with its sentence; `start` does something that trains, after
    it has ended the runs of other labs.
    """

    def __init__(
        self,
        session: LabSession,
        *,
        picture: Callable[[], tuple[bytes, str]],
        start: Callable[[Action], None],
    ) -> None:
        state = session.state
        self.session = session
        self.panel = Panel(state, presets=state.settings == SETTINGS)
        self._picture = picture
        self._start = start
        self._closed = self._painting = False
        self._last_tick = 0.0
        self._compared: tuple[Curve, Curve] | None = None
        self._opened: tuple[object, ...] = ()  # what the page of the opened step was made of
        self._spikes: list[int] = []  # positions that the spike buttons open
        self._wire(self.panel)
        self.act(nothing)

    def close(self) -> None:
        """Close every widget; a late click then does nothing."""
        with self.session.lock:
            self._closed = True
            self.panel.close()

    def _wire(self, w: Panel) -> None:
        """What each control does."""
        for name, widget in w.settings.items():
            self._on_change(widget, partial(self._choose, name))
        for name, widget in w.views.items():
            self._on_change(widget, partial(self._view, name))
        for name, widget in w.lines.items():
            self._on_change(widget, partial(self._show_line, name))
        for i, (field, remover) in enumerate(zip(w.pin_names, w.pin_removers)):
            self._on_change(field, partial(self.session.rename, i))
            self._on_click(remover, partial(self._remove, i))
        self._on_change(w.preset, self._choose_preset)
        self._on_change(w.state, self._load)
        self._on_change(w.box, self._views_counted, trait="_view_count")
        self._on_click(w.language, self._other_language)
        w.on_spike = lambda number: self.act(partial(self._open_spike, number))
        w.clock.observe(self._tick, "value")
        if OWN_CLOCK:  # its own buttons are Run and Pause; a tick starts nothing
            w.clock.observe(self._clock_pressed, "_playing")
        for name, action in self._actions().items():
            self._on_click(w.buttons[name], action)
        w.buttons["run"].on_click(lambda _: self._train(self.session.start))
        w.buttons["step"].on_click(lambda _: self._train(self.session.step))
        w.buttons["go_on"].on_click(lambda _: self._train(self.session.go_on))

    def _actions(self) -> dict[str, Action]:
        """Of the buttons that train nothing."""
        return {
            "pause": self.session.pause,
            "stop": self.session.stop,
            "reset": self._reset,
            "pin": self.session.pin,
            "compare": self._compare,
            "hide": self._hide_comparison,
            "previous": partial(self._walk, -1),
            "next": partial(self._walk, 1),
            "close": partial(self._open, None),
        }

    def _on_click(self, button: W.Button, action: Action) -> None:
        button.on_click(lambda _: self.act(action))

    def _on_change(
        self, widget: W.Widget, action: Callable[[Any], object], *, trait: str = "value"
    ) -> None:
        widget.observe(lambda change: self.act(partial(action, change["new"])), trait)

    def act(self, action: Action, *, tick: bool = False) -> None:
        """Do something under the session's lock and repaint; an error is shown in the panel.

        A tick does not wait for the lock: the next one will do. Nor does it take an error away, or
        repaint where nothing is new.
        """
        if not self.session.lock.acquire(blocking=not tick):
            return
        try:
            if self._closed or self._painting:
                return
            before = (self.session.status, len(self.session.current.run or ()))
            error = self._error_of(action)
            unchanged = before == (self.session.status, len(self.session.current.run or ()))
            if not (tick and unchanged):
                error = self._error_of(self._paint) or error
            if error or not tick:
                self.panel.error.value = error
        finally:
            self.session.lock.release()

    def _error_of(self, action: Action) -> str:
        """Do something; what went wrong, as HTML, "" if nothing did."""
        try:
            action()
        except Exception as error:
            text = str(error)
            if not isinstance(error, ValueError):
                text = f"{type(error).__name__}: {error}"
            title = say(self.session.state.language, "label.error")
            values = {"text": text, "role": "alert", "title": title}
            return render("status.html", self.session.state.language, values)
        return ""

    def _train(self, action: Action) -> None:
        self._last_tick = time.monotonic()
        self._start(lambda: self.act(action))

    def _clock_pressed(self, change: Mapping[str, Any]) -> None:
        with self.session.lock:
            if self._painting:
                return
        if change["new"]:
            self._train(self.session.start)
        else:
            self.act(self.session.pause)

    def _tick(self, _: object) -> None:
        self._last_tick = time.monotonic()
        self.act(self.session.tick, tick=True)

    def _views_counted(self, count: int) -> None:
        """Pause where nobody watches: the panel is gone, or is back at a run without ticks."""
        silent = time.monotonic() - self._last_tick > LEASE
        if self.session.status == "running" and (count == 0 or silent):
            self.session.pause()

    def _choose(self, name: str, value: Value) -> None:
        self.session.choose(with_choice(self.session.state.run, name, value))

    def _view(self, name: str, value: Value) -> None:
        self.session.view(with_choice(self.session.state, name, value))

    def _show_line(self, name: str, shown: bool) -> None:
        """One line always stays: else the only curve would be that of another run."""
        state = self.session.state
        lines = tuple(n for n in LINES if (shown if n == name else n in state.lines))
        self.session.view(replace(state, lines=lines or ("accumulated",)))

    def _open(self, position: int | None) -> None:
        self.session.view(replace(self.session.state, opened=position))

    def _open_spike(self, number: int) -> None:
        if number < len(self._spikes):  # else a late click on a button that is put away
            self._open(self._spikes[number])

    def _choose_preset(self, name: str) -> None:
        if name:
            chosen, state = named_preset(name), self.session.state
            self.session.choose(chosen.run)
            self.session.view(replace(chosen, language=state.language))

    def _load(self, text: str) -> None:
        """What was pasted into the state's field; the panel keeps the settings that it shows."""
        loaded = LabState.from_string(text)
        self._hide_comparison()
        self.session.load(replace(loaded, settings=self.session.state.settings))

    def _other_language(self) -> None:
        state = self.session.state
        before, now = state.language, "zh" if state.language == "en" else "en"
        self.session.view(replace(state, language=now))
        if self._compared is not None:
            a, b = self._compared
            renamed = a.renamed(before=before, now=now), b.renamed(before=before, now=now)
            self._show_comparison(*renamed)

    def _reset(self) -> None:
        self._hide_comparison()
        self.session.reset()

    def _remove(self, index: int) -> None:
        removed = self.session.pinned[index : index + 1]
        if self._compared is not None and any(curve in self._compared for curve in removed):
            self._hide_comparison()
        self.session.remove(index)

    def _walk(self, by: int) -> None:
        opened = self.session.state.opened
        if opened is not None:
            self._open(opened + by)

    def _compare(self) -> None:
        other = self.session.other()
        if other is None:
            raise ValueError(say(self.session.state.language, "refuse.two_runs"))
        self._show_comparison(other, self.session.current)

    def _show_comparison(self, a: Curve, b: Curve) -> None:
        if a.run is not None and b.run is not None:
            self._compared = a, b
            names, language = (a.name, b.name), self.session.state.language
            page = comparison_page(a.run, b.run, names=names, language=language)
            self.panel.comparison.value = page

    def _hide_comparison(self) -> None:
        self._compared = None
        self.panel.comparison.value = ""

    # Painting: every widget as the session says

    def _paint(self) -> None:
        self._painting = True
        try:
            self._paint_all(self.panel)
        finally:
            self._painting = False

    def _paint_all(self, w: Panel) -> None:
        s, language = self.session, self.session.state.language
        if w.language_shown != language:
            w.set_language(language)
        w.image.value, summary = self._picture()
        w.sentence.value = render("sentence.html", language, {"text": summary})
        status = {"text": status_text(s), "role": "status", "silent": s.status == "running"}
        w.status.value = render("status.html", language, status)
        w.show_choice(s.state, self._unrecorded())
        w.state.value = s.drawn.to_string()
        running = s.status == "running"
        w.buttons["run"].disabled = running
        w.buttons["pause"].disabled = not running
        w.buttons["stop"].disabled = s.live is None
        show(w.buttons["hide"], self._compared is not None)
        show(w.buttons["go_on"], s.leftover is not None)
        if not running:
            w.stop_clock()
        elif not OWN_CLOCK:
            w.clock.playing = True
        self._paint_spikes(w)
        w.show_pins([p.name for p in s.pinned], [self._pin_note(p) for p in s.pinned])
        other = s.other()
        w.buttons["compare"].disabled = other is None or s.current.run is None
        w.compare_label.value = (
            escape(say(language, "label.with", name=other.name)) if other else ""
        )
        self._paint_page(w)

    def _unrecorded(self) -> frozenset[tuple[str, Value]]:
        """Options that would lead to a run that is not recorded."""
        run, has = self.session.state.run, self.session.materials.has
        return frozenset(
            (name, value)
            for name in self.session.state.settings
            for value in CHOICES[name]
            if value != getattr(run, name) and not has(with_choice(run, name, value).spec())
        )

    def _pin_note(self, pin: Curve) -> str:
        language = self.session.state.language
        return "" if pin.run else say(language, "refuse.pin_missing", name=pin.name)

    def _paint_spikes(self, w: Panel) -> None:
        """A button per spike of the run of the moment, or for its highest step."""
        run, events = self.session.current.run, self.session.events()
        language = self.session.state.language
        labels = [
            say(language, "label.spike", i=i, height=event.peak_height, z=event.z)
            for i, event in enumerate(events, start=1)
        ]
        self._spikes = [event.peak for event in events]
        if run is not None:
            first = WINDOW if len(run) > WINDOW else 0  # before that, the model is still new
            highest = first + int(np.argmax(run.loss[first:]))
            if not any(event.start <= highest < event.stop for event in events):
                labels.append(say(language, "label.highest"))
                self._spikes.append(highest)
        w.show_spikes(labels, [say(language, "help.open", step=step) for step in self._spikes])

    def _paint_page(self, w: Panel) -> None:
        """The conversations of the opened step."""
        opened, run = self.session.state.opened, self.session.current.run
        language = self.session.state.language
        record = None
        if run is not None and opened is not None and opened < len(run):
            record = run.records[opened]
        if (record, language) == self._opened:
            return
        self._opened = (record, language)
        show(w.walk, record is not None)
        w.page.value = ""
        if run is not None and opened is not None and record is not None:
            step = self.session.materials.inspector().open(run, opened)
            w.page.value = step_page(step, language=language)
