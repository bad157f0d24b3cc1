"""One learner at one bench: what the knobs answer, the run that trains, the runs that stay. No widget and no figure.

    turn a knob -> the recorded run, at once          (nothing starts)
    run         -> a live run over the recorded one   (never two)
    pin         -> a curve that stays while the knobs change

The run of the moment is either the recorded answer to the knobs or the live run, whose knobs stay
as they were when it began.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from minimind_lite import spikes
from minimind_lite.chat import EncodedRows
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.lab import recordings
from minimind_lite.lab.state import MANY, MOST_PINS, Knobs, LabState, Pin
from minimind_lite.lab.wording import say
from minimind_lite.lab.worker import LiveRun
from minimind_lite.records import Run, StepRecord
from minimind_lite.spikes import WINDOW
from minimind_lite.trainer import make_optimizer, mean_loss

LEASE = 0.6  # seconds of training that one tick of the clock pays for: a few ticks, so that none is missed, and no more
GHOSTS = 2  # runs that stay in grey without being pinned
PATIENCE = 10.0  # seconds that Step waits for its step: the largest batch and all probes take less
TIME_AGAIN = (1, 2, 4)  # seconds: at first the page and the cells below take much of the processor
SPEED = 20  # last steps from which the remaining time is worked out


@dataclass(frozen=True, eq=False)
class Shown:
    """A curve with its name: recorded, worked out, or trained here. Without a run, it is yet to be trained."""

    name: str
    knobs: Knobs
    run: Run | None
    source: str  # recorded | rearranged | trained
    steps: int | None = None  # steps done, where it was stopped before its end


def describe_knobs(knobs: Knobs, language: str = "en") -> str:
    """A run in a few words: its order and batch, and whatever else is not at its default."""
    kind, _, size = knobs.order.partition(":")
    words = [say(language, f"order:{kind}", k=size), say(language, "d.batch", v=knobs.batch)]
    for name, value in knobs.changes().items():
        if name not in ("order", "batch", "log_every") and not (
            name == "average" and knobs.accumulation == 1
        ):
            value = min(value, knobs.batch) if name == "accumulation" else value
            words.append(
                say(language, f"d.optimizer={value}")
                if name == "optimizer"
                else say(language, f"d.{name}", v=value)
            )
    return say(language, "comma").join(words)


def own_name(shown: Shown, language: str) -> str:
    """The name that the lab gives a curve: its knobs, whether it was trained here, and how far it came."""
    more = [say(language, "trained")] if shown.source == "trained" else []
    more += [say(language, "stopped at", n=shown.steps)] if shown.steps is not None else []
    return say(language, "comma").join([describe_knobs(shown.knobs, language), *more])


def renamed(shown: Shown, before: str, now: str) -> Shown:
    """The same curve, its name in another language if the lab gave it."""
    return (
        replace(shown, name=own_name(shown, now))
        if shown.name == own_name(shown, before)
        else shown
    )


def _same(a: Shown, b: Shown) -> bool:
    """Whether two were cut and trained alike, and so are one in every line."""
    return (a.source, a.knobs.setup(), a.steps) == (b.source, b.knobs.setup(), b.steps)


def _same_curve(a: Shown, b: Shown) -> bool:
    """Whether two have the same losses of steps, however they were cut."""
    return (a.source, a.knobs.setup().plain(), a.steps) == (
        b.source,
        b.knobs.setup().plain(),
        b.steps,
    )


class LabSession:
    """The state of a lab and the runs in it; every public method leaves both consistent."""

    def __init__(self, state: LabState) -> None:
        self.state = state
        self.recordings = recordings.Recordings()
        self.status = "ready"  # ready | running | paused | stopped | finished | failed
        self.error = ""
        self.ghosts: list[Shown] = []  # newest last
        self.pinned: list[Shown] = []
        self.under: Shown | None = None  # the recorded run of the live one's knobs, to lie under it
        self.live: LiveRun | None = None
        self._closed: LiveRun | None = None
        self._live_knobs: Knobs | None = None
        self._records: list[StepRecord] = []
        self._after: dict[str, float] = {}
        self._warm: threading.Event | None = None
        self._found: tuple[tuple[object, ...], list[spikes.SpikeEvent]] | None = None
        self.answer = self._recorded(state.run)
        for pin in state.pins:
            found = self._recorded(pin.knobs, name=pin.name)
            run = (
                Run(found.run.info, found.run.records[: pin.steps])
                if found.run is not None
                else None
            )
            self.pinned.append(replace(found, run=run, steps=pin.steps))
        self._pins_to_state()

    # What is there

    @cached_property
    def data(self) -> EncodedRows:
        """data/sft.jsonl, encoded when first needed."""
        return shipped.sft_rows(shipped.chat())

    @cached_property
    def probes(self) -> dict[str, EncodedRows]:
        """Held-out conversations by domain."""
        return shipped.probes(shipped.chat())

    @property
    def current(self) -> Shown:
        """The run of the moment: the live one, if there is one, else the recorded answer to the knobs."""
        if self._live_knobs is None:
            return self.answer
        run = Run(self._info(self._live_knobs), tuple(self._records)) if self._records else None
        steps = len(self._records) if len(self._records) < self.total else None
        return Shown(
            describe_knobs(self._live_knobs, self.state.language),
            self._live_knobs,
            run,
            "trained",
            steps,
        )

    @property
    def total(self) -> int:
        """Optimiser steps of the run of the moment, when it is whole."""
        return (self._live_knobs or self.state.run).setup().config.total_steps(self.n_rows)

    @cached_property
    def n_rows(self) -> int:
        """Conversations of the file."""
        return len(shipped.conversations())

    @property
    def changed(self) -> bool:
        """Whether the knobs say something else than the live run."""
        return self._live_knobs is not None and self._live_knobs.setup() != self.state.run.setup()

    def events(self) -> list[spikes.SpikeEvent]:
        """Spikes of the run of the moment; looked for once."""
        key = (self.answer, self._live_knobs, len(self._records))
        if self._found is None or self._found[0] != key:
            run = self.current.run
            self._found = (key, [] if run is None else spikes.find(run.loss))
        return self._found[1]

    def seconds(self) -> float | None:
        """About how long the rest of the run of the moment, or a new one, takes on this machine; None before it is known."""
        if self.status in ("running", "paused") and len(self._records) > 1:
            # Its first step pays for the start, and a step with probes for more than itself.
            last = [r.seconds for r in self._records[1:][-SPEED:]]
            return float(np.mean(last)) * (self.total - len(self._records))
        probe_rows = sum(map(len, self.probes.values())) if self.state.probes else 0
        return self.recordings.seconds(self.state.run.setup(), self.n_rows, probe_rows)

    def warm_up(self, *, wait: float = 0.0) -> None:
        """Do in the background, once, what the first step would wait for: data, a timed batch, an optimiser. Waits for the timing, if asked."""
        if self._warm is None:
            self._warm = threading.Event()
            threading.Thread(
                target=self._do_warm_up, name="minimind-lite-warm-up", daemon=True
            ).start()
        self._warm.wait(wait)

    def _do_warm_up(self) -> None:
        torch.set_num_threads(1)  # a setting of each thread
        try:
            model = shipped.base_model(recordings.MODEL)
            self.recordings.time_a_batch(model, self.data)
        finally:
            self._warm.set()
        make_optimizer(
            model, TrainConfig()
        )  # the first one of a process makes torch load a great deal
        for delay in TIME_AGAIN:
            time.sleep(delay)
            if self.live is None:
                with suppress(RuntimeError):  # the interpreter is going down
                    self.recordings.time_a_batch(model, self.data)

    # What a learner does

    def turn(self, knobs: Knobs) -> None:
        """Other knobs: shows what is recorded for them. A run that trains or is paused goes on being shown."""
        if knobs == self.state.run:
            return
        alike = knobs.setup() == self.state.run.setup()  # log_every turns no run into another
        self.state = replace(self.state, run=knobs)
        if alike or self.status in ("running", "paused"):
            if self._live_knobs is not None and not self.changed:
                self._live_knobs = knobs
            self.answer = self._recorded(knobs)
            return
        self._shelve()
        self._to_answer()

    def view(self, **changes: object) -> None:
        """Other axes, lines, language or opened step; touches no run."""
        before, self.state = self.state.language, replace(self.state, **changes)
        if self.state.language != before:
            self._rename_all(before)

    def start(self) -> None:
        """Run: resume a paused run, or begin one with the knobs as they are. While one trains, nothing."""
        if self.status == "running":
            return
        if self.status != "paused" or self.changed:
            self._begin()
        self.status = "running"
        self.live.lease(LEASE)

    def tick(self) -> int:
        """Take what was trained since the last tick and pay for more; the number of new steps. Raises what training raised."""
        if self.status != "running":
            return 0
        self.live.lease(LEASE)
        return self._take()

    def pause(self) -> None:
        """Hold the run; a step in flight is finished first and, if it is quick, taken."""
        if self.status == "running":
            self.live.lease(0)
            self._take(wait=0.2 if self.live.busy else 0.0)
            if self.status == "running":
                self.status = "paused"

    def step(self) -> int:
        """Train one optimiser step, of a paused run or a new one; the number of new steps. Raises what training raised."""
        if self.status == "running":
            self.pause()
        if self.status != "paused" or self.changed:
            self._begin()
            self.status = "paused"
        self.live.allow(1)
        return self._take(wait=PATIENCE)

    def stop(self) -> None:
        """End the live run at once; its curve stays until a knob is turned."""
        if self.status in ("running", "paused"):
            self.live.lease(0)
            self._take()
            if self.status in ("running", "paused"):  # it may just have come to its end
                self._ended("stopped")

    def reset(self) -> None:
        """Forget the live run and the grey ones, and show what is recorded for the knobs; pinned runs stay."""
        self._release()
        self.ghosts = []
        self._to_answer()

    def pin(self, name: str | None = None) -> None:
        """Keep the curve of the moment. Raises `ValueError` where there is none, where it is pinned already, or where MOST_PINS are."""
        now, language = self.current, self.state.language
        if now.run is None:
            raise ValueError(say(language, "nothing to pin"))
        if len(self.pinned) == MOST_PINS:
            raise ValueError(say(language, "too many pins"))
        if any(p.run is not None and _same(p, now) for p in self.pinned):
            raise ValueError(say(language, "pinned twice"))
        self.pinned.append(replace(now, name=name or own_name(now, language)))
        self._pins_to_state()

    def rename(self, index: int, name: str) -> None:
        """Another name for a pinned run; an empty one gives back the name that its knobs make."""
        pin = self.pinned[index]
        self.pinned[index] = replace(pin, name=name.strip() or own_name(pin, self.state.language))
        self._pins_to_state()

    def remove(self, index: int) -> None:
        """Let a pinned run go."""
        del self.pinned[index]
        self._pins_to_state()

    def close(self) -> None:
        """End whatever trains, as Stop does; the session can be thrown away."""
        self.stop()

    def idle(self, seconds: float) -> bool:
        """Wait until a run that was ended has finished its step in flight; whether it has."""
        return self._closed is None or self._closed.join(seconds)

    # How it is done

    def _recorded(self, knobs: Knobs, *, name: str = "") -> Shown:
        setup = knobs.setup()
        run = self.recordings.find(setup)
        source = "rearranged" if run is not None and run.info.get("rearranged") else "recorded"
        return Shown(name or describe_knobs(knobs, self.state.language), knobs, run, source)

    def _rename_all(self, before: str) -> None:
        """Names that the lab gave, in the language of now; those that a learner gave stay."""
        self.answer = self._recorded(self.state.run)
        self.ghosts, self.pinned = (
            [renamed(x, before, self.state.language) for x in shown]
            for shown in (self.ghosts, self.pinned)
        )
        if self.under is not None:
            self.under = renamed(self.under, before, self.state.language)
        self._pins_to_state()

    def _info(self, knobs: Knobs) -> dict[str, object]:
        setup = knobs.setup()
        return {
            "train_config": setup.config.to_dict(),
            "pulse": setup.pulse,
            "base": recordings.MODEL,
            "rows": self.n_rows,
            **({"probes_after": self._after} if self._after else {}),
        }

    def _begin(self) -> None:
        """A new live run with the knobs as they are; the old curve stays in grey."""
        self._release()
        if self._live_knobs is not None:  # the recorded answer will lie under the new run
            self._shelve()
        knobs, probed, after = self.state.run, self.state.probes, {}
        self._live_knobs, self._records, self._after, self.error = knobs, [], after, ""
        self.state = replace(self.state, opened=None)
        self.under = self.answer if self.answer.run is not None else None

        def steps(live: LiveRun) -> Iterator[StepRecord]:
            model, probes = shipped.base_model(recordings.MODEL), self.probes if probed else {}
            # Asked by every micro-batch: a large batch takes a second, too long to wait for after Stop.
            model.blocks[0].register_forward_pre_hook(lambda *_: live.check())
            yield from recordings.steps(knobs.setup(), model, self.data, probes)
            after.update({name: mean_loss(model, rows) for name, rows in probes.items()})

        self.live = LiveRun(steps, after=self._closed)

    def _take(self, *, wait: float = 0.0) -> int:
        try:
            new = self.live.take(wait=wait)
        except Exception as error:
            self.status, self.error = "failed", f"{type(error).__name__}: {error}"
            self._release()
            raise
        self._records += new
        if self.live.ended:
            self._ended("finished")
        return len(new)

    def _ended(self, status: str) -> None:
        """The live run is over; where the knobs say something else by now, it makes room for their answer."""
        self.recordings.learn_time(self._records)
        self._release()
        self.status = status
        if self.changed:
            self._shelve()
            self._to_answer()

    def _release(self) -> None:
        """Let go of the thread; what it trained stays."""
        if self.live is not None:
            self.live.close()
            self._closed, self.live = self.live, None

    def _shelve(self) -> None:
        """The curve of the moment becomes a grey one, unless it is pinned or there is none."""
        now = self.current
        if now.run is not None and not any(_same_curve(p, now) for p in self.pinned):
            grey = replace(now, name=own_name(now, self.state.language))
            self.ghosts = [*(g for g in self.ghosts if not _same_curve(g, grey)), grey][-GHOSTS:]

    def _to_answer(self) -> None:
        self._live_knobs, self.under, self._records, self._after, self.status, self.error = (
            None,
            None,
            [],
            {},
            "ready",
            "",
        )
        self.state, self.answer = replace(self.state, opened=None), self._recorded(self.state.run)
        self.ghosts = [g for g in self.ghosts if not _same_curve(g, self.answer)]

    def _pins_to_state(self) -> None:
        self.state = replace(
            self.state, pins=tuple(Pin(p.name, p.knobs, p.steps) for p in self.pinned)
        )


def status_of(session: LabSession) -> str:
    """What is going on, and what a press of Run would do, in words."""
    words, now, total = session.state.language, session.current, session.total
    done, left = 0 if now.run is None else len(now.run), session.seconds()
    if session.status == "ready":
        known = "ready" if now.run is not None else "unrecorded"
        return say(
            words,
            known if left is not None else f"{known} unknown",
            steps=total,
            events=_events_said(session),
            seconds=left,
        )
    if session.status in ("running", "paused") and session.changed:
        return say(words, "changed" if session.status == "running" else "changed paused")
    if session.status == "running":
        return (
            say(words, "running", done=done, steps=total, loss=now.run.loss[-1], seconds=left or 0)
            if done
            else say(words, "starting")
        )
    return say(
        words,
        session.status,
        done=done,
        steps=total,
        events=_events_said(session),
        error=session.error,
    )


def _events_said(session: LabSession) -> str:
    language, n, steps = (
        session.state.language,
        len(session.events()),
        len(session.current.run or ()),
    )
    if steps <= WINDOW:
        return say(language, "too short")
    found = say(language, f"events={n}") if n < 2 else say(language, "events", n=n)
    return (
        found
        if steps >= MANY
        else say(language, "judged", events=found, n=steps - WINDOW, window=WINDOW)
    )
