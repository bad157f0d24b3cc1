"""A learner who presses anything, five hundred times over: after each press the lab is consistent."""

import random
import threading
import time

import numpy as np
import pytest
from minimind_lite.lab.session import GHOSTS, LabSession
from minimind_lite.lab.state import CHOICES, LINES, MOST_PINS, PRESETS, VIEWS, LabState

from minimind_lite.lab import SpikeLab, recordings, widgets

ACTIONS = 500
TRAINING = {"now": 0, "in all": 0}  # training loops that have begun and not ended
SEEDS = range(20)


class Paper:
    """Stands for the canvas: takes the scene that would be painted, and paints nothing, which is what takes the time."""

    def png(self, scene, alt=""):
        self.scene, self.alt = scene, alt
        return b"\x89PNG" + repr((alt, scene.title)).encode()


def presses(lab, rng):
    """Every control that is there, each with something to do to it."""
    w = lab.widgets
    turn = lambda widget, values: lambda: setattr(widget, "value", rng.choice(values))
    yield from ((f"knob {n}", turn(k, CHOICES[n])) for n, k in w.knobs.items())
    yield from ((f"view {n}", turn(v, VIEWS[n])) for n, v in w.views.items())
    yield from ((f"line {n}", turn(w.lines[n], (True, False))) for n in LINES)
    yield from (
        (f"{n} button", b.click)
        for n, b in w.buttons.items()
        if not (widgets.OWN_CLOCK and n == "run")
    )
    yield from (
        (n, getattr(w, n).click)
        for n in ("pin", "compare", "previous", "next", "close", "language")
    )
    yield "preset", turn(w.preset, list(PRESETS))
    yield "spike", rng.choice([*(b.click for b in w.spikes.children[1:]), lambda: None])
    for row in w.pins.children[1:]:
        yield "rename", turn(row.children[0], ["a", "文件", "<i>", ""])
        yield "remove", row.children[1].click
    for dropdown in w.pair.values():
        yield "pair", turn(dropdown, [v for _, v in dropdown.options])
    yield from [
        ("tick", lambda: setattr(w.clock, "value", w.clock.value + 1))
    ] * 12  # what the clock does most


def consistent(lab):
    """What must hold after any press."""
    s, w = lab.session, lab.widgets
    assert (s.live is not None) == (s.status in ("running", "paused"))
    assert TRAINING["now"] <= 1, "two runs train at once"
    again = LabState.from_string(lab.state)
    assert again == s.state and w.state.value == lab.state
    assert {n: k.value for n, k in w.knobs.items()} == {n: getattr(s.state.run, n) for n in CHOICES}
    assert (
        len(s.ghosts) <= GHOSTS
        and len(s.pinned) <= MOST_PINS
        and [p.name for p in s.pinned] == [p.name for p in again.pins]
    )
    scene, now = lab.canvas.scene, s.current
    assert (scene.run is None) == (now.run is None) and scene.setup == now.knobs.setup()
    if now.run is not None:
        assert scene.run.loss.tolist() == now.run.loss.tolist() and [
            r.step for r in now.run.records
        ] == list(range(len(now.run)))
        assert (
            now.run.column("samples_seen").tolist()
            == np.cumsum([0, *(len(r.rows) for r in now.run.records[:-1])]).tolist()
        )
        assert s.state.opened is None or (0 <= s.state.opened < len(now.run)) == bool(w.page.value)
    assert s.status in ("running", "paused", "failed") or now.knobs == s.state.run, (
        "the curve is not what the knobs say"
    )
    assert not any(
        g.source == now.source == "recorded"
        and g.knobs.setup().plain() == now.knobs.setup().plain()
        for g in s.ghosts
    )
    assert w.buttons["run"].disabled == (s.status == "running") and w.status.value
    assert not any(
        kind in w.error.value for kind in ("KeyError", "AttributeError", "TypeError", "IndexError")
    ), w.error.value


@pytest.fixture
def light(quick, monkeypatch):
    """Estimating seconds and reading conversations is tested elsewhere, and would take most of the time."""
    real = recordings.steps

    def counted(*arguments):
        TRAINING["now"], TRAINING["in all"] = TRAINING["now"] + 1, TRAINING["in all"] + 1
        try:
            yield from real(*arguments)
        finally:
            TRAINING["now"] -= 1

    monkeypatch.setattr(recordings, "steps", counted)
    monkeypatch.setattr(LabSession, "seconds", lambda self: 1.0)
    monkeypatch.setattr("minimind_lite.lab.session.PATIENCE", 0.2)
    monkeypatch.setattr(
        "minimind_lite.lab.app.Inspector",
        lambda: type("Reader", (), {"open": lambda self, run, step: step})(),
    )
    monkeypatch.setattr(
        "minimind_lite.lab.app.page", lambda opened, record, language: f"step {record.step}"
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_pressed_the_lab_stays_consistent(light, seed):
    rng, lab = random.Random(seed), SpikeLab()
    lab.canvas = Paper()
    lab.panel()
    done = []
    try:
        for _ in range(ACTIONS):
            name, press = rng.choice(list(presses(lab, rng)))
            done.append(name)
            press()
            consistent(lab)
    except AssertionError as error:
        raise AssertionError(
            f"after {done[-6:]} (action {len(done)} of seed {seed}): {error}"
        ) from error
    finally:
        lab.close()
    assert {"tick", "stop button", "spike"} <= set(done)
    end = time.monotonic() + 10
    while (
        any(t.name == "minimind-lite-training" for t in threading.enumerate())
        and time.monotonic() < end
    ):
        time.sleep(0.02)
    assert not any(t.name == "minimind-lite-training" for t in threading.enumerate()), (
        "nothing trains after the lab is closed"
    )
    assert TRAINING["in all"] > 0
