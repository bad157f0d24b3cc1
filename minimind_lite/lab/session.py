"""One learner at the lab: what the settings answer, the run that trains, the runs that stay.

    choose a setting -> the recorded run, at once          (nothing starts)
    run              -> a live run over the recorded one   (never two)
    pin              -> a curve that stays while the settings change

The run of the moment is either the recorded answer to the settings or the live run, whose
settings stay as they were when it began. There is no widget and no figure here.

A cell and a button may come at once, on two threads: the lock belongs to the session, and every
public method takes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Concatenate, Literal, ParamSpec, TypeVar

import numpy as np

from minimind_lite import spikes
from minimind_lite.lab import leftovers
from minimind_lite.lab.curves import Curve, default_label, describe
from minimind_lite.lab.i18n import say
from minimind_lite.lab.materials import Materials
from minimind_lite.lab.state import MAX_PINS, LabState, Pin, Settings, pin_name
from minimind_lite.lab.worker import LiveRun, Training
from minimind_lite.records import Run

LEASE = 0.6  # seconds of training that a tick of the clock pays for: a few ticks, no more
MAX_GHOSTS = 2  # runs that stay in grey without being pinned
STEP_TIMEOUT = 10.0  # seconds that Step waits: the largest batch and all probes take less
PAUSE_TIMEOUT = 0.2  # seconds that Pause waits for a step in flight
SPEED_STEPS = 20  # last steps from which the remaining time is worked out

Status = Literal["ready", "running", "paused", "stopped", "finished", "failed"]
P = ParamSpec("P")
R = TypeVar("R")


def _locked(
    method: Callable[Concatenate[LabSession, P], R],
) -> Callable[Concatenate[LabSession, P], R]:
    """Hold the session's lock while a method runs."""

    @wraps(method)
    def with_lock(session: LabSession, *args: P.args, **kwargs: P.kwargs) -> R:
        with session.lock:
            return method(session, *args, **kwargs)

    return with_lock


class LabSession:
    """The state of a lab and the runs in it; every public method leaves both consistent."""

    state: LabState
    status: Status
    answer: Curve  # what is recorded for the settings
    error: str  # of a run that failed
    by_other_lab: bool  # ended this run

    def __init__(self, state: LabState, materials: Materials | None = None) -> None:
        self.lock = threading.RLock()
        self.materials = materials or Materials()
        self.ghosts: list[Curve] = []  # newest last
        self.pinned: list[Curve] = []
        self.under: Curve | None = None  # the recorded run of the live one's settings
        self.training: Training | None = None
        self._closed: LiveRun | None = None  # the worker before, which may be in its last step
        self._events: tuple[tuple[object, int], list[spikes.SpikeEvent]] | None = None
        self.load(state)

    # What is shown

    @property
    def live(self) -> LiveRun | None:
        """The worker of a run that trains or is paused."""
        return None if self.training is None else self.training.worker

    @property
    @_locked
    def current(self) -> Curve:
        """The run of the moment: the live one, if there is one, else the recorded answer."""
        training = self.training
        if training is None:
            return self.answer
        run = training.run(self.materials.n_rows)
        done = 0 if run is None else len(run)
        name = describe(training.settings, self.state.language)
        return Curve(
            name, training.settings, run, "trained", steps=done if done < self.total else None
        )

    @property
    @_locked
    def drawn(self) -> LabState:
        """The state of what is drawn: the settings may have changed since the run began."""
        current = self.current
        whole = current.run is None or self.status == "running"
        steps = None if whole else current.steps
        return replace(self.state, run=current.settings, steps=steps)

    @property
    @_locked
    def total(self) -> int:
        """Optimizer steps of the run of the moment, when it is whole."""
        settings = self.state.run if self.training is None else self.training.settings
        return settings.spec().config.total_steps(self.materials.n_rows)

    @property
    @_locked
    def changed(self) -> bool:
        """Whether the settings say something else than the live run."""
        training = self.training
        return training is not None and training.settings.spec() != self.state.run.spec()

    @property
    @_locked
    def leftover(self) -> leftovers.Leftover | None:
        """A run of these settings that was broken off, here or by an earlier kernel."""
        spec, probes = self.state.run.spec(), self.state.probes
        return None if self.live else leftovers.leftover(spec, probes=probes)

    @_locked
    def events(self) -> list[spikes.SpikeEvent]:
        """Spikes of the run of the moment; detected once."""
        run = self.current.run
        shown = self.answer if self.training is None else self.training
        key = (shown, 0 if run is None else len(run))
        if self._events is None or self._events[0] != key:
            self._events = (key, [] if run is None else spikes.find(run.loss))
        return self._events[1]

    @_locked
    def seconds(self) -> float:
        """About how long the rest of the run of the moment, or a new one, takes here."""
        if self.training is not None and self.live is not None and len(self.training.records) > 1:
            # The first step pays for the start.
            last = [r.seconds + r.probe_seconds for r in self.training.records[1:][-SPEED_STEPS:]]
            return float(np.mean(last)) * (self.total - len(self.training.records))
        probe_rows = sum(map(len, self.materials.probes.values())) if self.state.probes else 0
        spec, n_rows = self.state.run.spec(), self.materials.n_rows
        return self.materials.speed.seconds(spec, n_rows, probe_rows=probe_rows)

    @_locked
    def other(self) -> Curve | None:
        """What the run of the moment is compared with: the last pinned run, else the one before."""
        curves = [c for c in (*self.ghosts, *self.pinned) if c.run is not None]
        return next((c for c in reversed(curves) if not c.same_run(self.current)), None)

    # What a learner does

    @_locked
    def load(self, state: LabState) -> None:
        """Everything as a state says; a run that trains is ended."""
        self._release()
        self.state = state
        self.ghosts = []
        self.pinned = [self._recorded(p.settings, name=p.name, steps=p.steps) for p in state.pins]
        self._show_answer(steps=state.steps)
        inside = state.opened is not None and state.opened < self.total
        self.state = replace(self.state, opened=state.opened if inside else None)
        self._pins_to_state()

    @_locked
    def choose(self, settings: Settings) -> None:
        """Other settings: shows what is recorded for them. A run that trains goes on."""
        if settings == self.state.run:
            return
        same = settings.spec() == self.state.run.spec()  # log_every makes no other run
        self.state = replace(self.state, run=settings)
        if same or self.live is not None:
            if self.training is not None and not self.changed:
                self.training.settings = settings
            self.answer = self._recorded(settings, steps=self.answer.steps if same else None)
            return
        self._push_ghost()
        self._show_answer()

    @_locked
    def view(self, state: LabState) -> None:
        """Axes, lines, band, probes, language and opened step of `state`; touches no run.

        A step that the run does not have is not opened.
        """
        before, run = self.state, self.current.run
        opened = state.opened
        if opened is not None and not 0 <= opened < len(run or ()):
            opened = before.opened
        fixed = {n: getattr(before, n) for n in ("run", "steps", "settings", "pins")}
        self.state = replace(state, opened=opened, **fixed)
        if state.language != before.language:
            self._translate_names(before.language)

    @_locked
    def start(self) -> None:
        """Run: resume a paused run, or begin one with these settings. While one trains, nothing."""
        if self.status == "running":
            return
        worker = self.live
        if worker is None or self.status != "paused" or self.changed:
            worker = self._begin()
        self.status = "running"
        worker.lease(LEASE)

    @_locked
    def go_on(self) -> None:
        """Go on with the run of these settings that was broken off; without one, nothing."""
        if self.leftover is not None:
            self._begin(go_on=True).lease(LEASE)
            self.status = "running"

    @_locked
    def tick(self) -> int:
        """Take what was trained since the last tick and pay for more; the number of new steps.

        Raises what training raised.
        """
        if self.live is None or self.status != "running":
            return 0
        self.live.lease(LEASE)
        return self._take(self.live)

    @_locked
    def pause(self) -> None:
        """Hold the run; a step in flight is finished first and, if it is quick, taken.

        Raises what training raised.
        """
        if self.live is not None and self.status == "running":
            self.live.lease(0)
            self._take(self.live, wait=PAUSE_TIMEOUT if self.live.busy else 0.0)
            if self.live is not None:
                self.status = "paused"

    @_locked
    def step(self) -> int:
        """Train one optimizer step, of a paused run or a new one; the number of new steps.

        Raises what training raised.
        """
        self.pause()
        worker = self.live
        if worker is None or self.changed:
            worker = self._begin()
        self.status = "paused"
        worker.allow(1)
        return self._take(worker, wait=STEP_TIMEOUT)

    @_locked
    def stop(self, *, by_other_lab: bool = False) -> None:
        """End the live run at once. Its curve stays; if the settings have changed, in grey.

        An error of the training is in the status; it is not raised, since whoever stops a run is
        not the one who waits for it.
        """
        if self.live is None:
            return
        self.live.lease(0)
        try:
            self._take(self.live)
        except Exception:
            return
        if self.live is None:  # it had just come to its end
            return
        self._end("stopped")
        self.by_other_lab = by_other_lab
        if self.changed:
            self._push_ghost()
            self._show_answer()

    @_locked
    def reset(self) -> None:
        """Forget the live run and the grey ones, show what is recorded; pinned runs stay."""
        self._release()
        self.ghosts = []
        self._show_answer()

    @_locked
    def pin(self, name: str | None = None) -> None:
        """Keep the curve of the moment. Raises `ValueError` where that can't be."""
        now, language = self.current, self.state.language
        if now.run is None:
            raise ValueError(say(language, "refuse.nothing_to_pin"))
        if len(self.pinned) == MAX_PINS:
            raise ValueError(say(language, "refuse.max_pins"))
        if any(p.run is not None and p.same_run(now) for p in self.pinned):
            raise ValueError(say(language, "refuse.pinned_twice"))
        label = pin_name(name or default_label(now, language))
        self.pinned.append(replace(now, name=label))
        self._pins_to_state()

    @_locked
    def rename(self, index: int, name: str) -> None:
        """Another name for a pinned run; an empty one gives back the name that the lab gave."""
        if index < len(self.pinned):
            pin = self.pinned[index]
            label = pin_name(name.strip() or default_label(pin, self.state.language))
            self.pinned[index] = replace(pin, name=label)
            self._pins_to_state()

    @_locked
    def remove(self, index: int) -> None:
        """Let a pinned run go."""
        del self.pinned[index : index + 1]
        self._pins_to_state()

    def close(self) -> None:
        """End whatever trains, as Stop does; the session can be thrown away."""
        self.stop()

    def idle(self, seconds: float) -> bool:
        """Wait until a run that was ended has finished its step in flight; whether it has."""
        return self._closed is None or self._closed.join(seconds)

    # How it is done

    def _recorded(self, settings: Settings, *, name: str = "", steps: int | None = None) -> Curve:
        spec = settings.spec()
        run = self.materials.run(spec)
        source: Literal["recorded", "rearranged"] = "recorded"
        if run is not None and run.info.get("rearranged"):
            source = "rearranged"
        if steps is not None and steps >= spec.config.total_steps(self.materials.n_rows):
            steps = None
        if run is not None and steps is not None:
            info = {name: value for name, value in run.info.items() if name != "probes_after"}
            run = Run(info, run.records[:steps])
        language = self.state.language
        return Curve(name or describe(settings, language), settings, run, source, steps)

    def _translate_names(self, before: str) -> None:
        now = self.state.language
        self.answer = self.answer.renamed(before=before, now=now)
        self.ghosts = [g.renamed(before=before, now=now) for g in self.ghosts]
        self.pinned = [p.renamed(before=before, now=now) for p in self.pinned]
        self._pins_to_state()

    def _begin(self, *, go_on: bool = False) -> LiveRun:
        """A live run with the settings as they are; the curve of another stays in grey."""
        self._release()
        if self.training is not None and not (go_on and not self.changed):
            self._push_ghost()  # the recorded answer will be under the new run
        training = Training(self.state.run)
        self.training, self.error, self.by_other_lab = training, "", False
        self.answer = self._recorded(self.state.run)
        self.under = self.answer if self.answer.run is not None else None
        self.state = replace(self.state, opened=None, steps=None)
        return training.begin(
            self.materials, probes=self.state.probes, after=self._closed, go_on=go_on
        )

    def _take(self, worker: LiveRun, *, wait: float = 0.0) -> int:
        try:
            new = worker.take(wait=wait)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            self._end("failed")
            raise
        if self.training is not None:
            self.training.records += new
        if worker.ended:
            self._end("finished")
        return len(new)

    def _end(self, status: Status) -> None:
        """The live run is over; its curve stays."""
        if self.training is not None:
            self.materials.speed.learn(self.training.records)
        self._release()
        self.status = status

    def _release(self) -> None:
        """Let go of the thread; what it trained stays."""
        if self.training is not None and self.training.worker is not None:
            self.training.worker.close()
            self._closed, self.training.worker = self.training.worker, None

    def _push_ghost(self) -> None:
        """The curve of the moment becomes a grey one, unless it is pinned or there is none."""
        now = self.current
        if now.run is not None and not any(p.same_losses(now) for p in self.pinned):
            grey = replace(now, name=default_label(now, self.state.language))
            others = [g for g in self.ghosts if not g.same_losses(grey)]
            self.ghosts = [*others, grey][-MAX_GHOSTS:]

    def _show_answer(self, *, steps: int | None = None) -> None:
        self.training, self.under = None, None
        self.status, self.error, self.by_other_lab = "ready", "", False
        self.answer = self._recorded(self.state.run, steps=steps)
        self.state = replace(self.state, opened=None, steps=self.answer.steps)
        self.ghosts = [g for g in self.ghosts if not g.same_losses(self.answer)]

    def _pins_to_state(self) -> None:
        pins = tuple(Pin(p.name, p.settings, p.steps) for p in self.pinned)
        self.state = replace(self.state, pins=pins)
