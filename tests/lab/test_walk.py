"""Learners who press anything: after each press the lab is consistent, on one thread or two.

Nothing is replaced but the model, which is tiny: pictures are painted, steps are opened.
"""

import random
import threading
import time

import numpy as np
import pytest

from minimind_lite.lab import SpikeLab, plan, widgets
from minimind_lite.lab.session import MAX_GHOSTS
from minimind_lite.lab.state import CHOICES, LINES, MAX_PINS, PRESETS, VIEWS, LabState

PRESSES = 120
SEEDS = range(3)
STATES = ["lab=2&order=shuffle&pulse=40", "lab=2&batch_size=256&steps=3&probes=True", "nonsense"]
OUR_ERRORS = ("KeyError", "AttributeError", "TypeError", "IndexError", "TraitError")


class Training:
    """How many training loops are under way."""

    now, most, begun = 0, 0, 0


@pytest.fixture
def training(quick, monkeypatch):
    count, real = Training(), plan.steps

    def counted(*arguments, **named):
        count.now, count.begun = count.now + 1, count.begun + 1
        count.most = max(count.most, count.now)
        try:
            yield from real(*arguments, **named)
        finally:
            count.now -= 1

    monkeypatch.setattr(plan, "steps", counted)
    return count


def presses(lab, rng):
    """Every control of the panel, with something to do to it."""
    w = lab.widgets

    def set_to(widget, values):
        return lambda: setattr(widget, "value", rng.choice(values))

    yield from ((f"setting {n}", set_to(d, CHOICES[n])) for n, d in w.settings.items())
    yield from ((f"view {n}", set_to(v, VIEWS[n])) for n, v in w.views.items())
    yield from ((f"line {n}", set_to(w.lines[n], (True, False))) for n in LINES)
    for name, button in w.buttons.items():
        if not (widgets.OWN_CLOCK and name == "run"):
            yield f"{name} button", button.click
    yield "language", w.language.click
    yield "preset", set_to(w.preset, list(PRESETS))
    yield "state", set_to(w.state, STATES)
    yield "spike", rng.choice([*(b.click for b in w.spikes), lambda: None])
    for field, remover in zip(w.pin_names, w.pin_removers):
        yield "rename", set_to(field, ["a", "文件", "<i>", "$", ""])
        yield "remove", remover.click
    for _ in range(20):  # what the clock does most
        yield "tick", lambda: setattr(w.clock, "value", w.clock.value + 1)


def check(lab, *, alone=True):
    """What must hold after any press; the widgets agree where nobody else is pressing one."""
    s, w = lab.session, lab.widgets
    with s.lock:
        assert (s.live is not None) == (s.status in ("running", "paused"))
        assert LabState.from_string(lab.state) == s.drawn
        chosen = {n: getattr(s.state.run, n) for n in CHOICES}
        assert not alone or {n: d.value for n, d in w.settings.items()} == chosen
        assert len(s.ghosts) <= MAX_GHOSTS
        assert len(s.pinned) <= MAX_PINS
        assert [p.name for p in s.pinned] == [p.name for p in s.state.pins]
        now = s.current
        if now.run is not None:
            records = now.run.records
            assert [r.step for r in records] == list(range(len(records)))
            before = np.cumsum([0, *(len(r.rows) for r in records[:-1])])
            assert now.run.column("samples_seen").tolist() == before.tolist()
            if "accumulated" in s.state.lines and s.status != "running":
                assert lab.canvas.drawn["accumulated"].tolist() == now.run.loss.tolist()
        if s.status in ("ready", "stopped"):
            assert now.settings == s.state.run, "the curve is not what the settings say"
        if now.source == "recorded" and now.steps is None:
            assert not any(g.same_losses(now) for g in s.ghosts)
        assert w.buttons["run"].disabled == (s.status == "running")
        assert w.status.value
        assert not any(kind in w.error.value for kind in OUR_ERRORS), w.error.value


def walk(lab, seed, names, *, alone=True):
    rng = random.Random(seed)
    for _ in range(PRESSES):
        name, press = rng.choice(list(presses(lab, rng)))
        names.append(name)
        press()
        try:
            check(lab, alone=alone)
        except AssertionError as error:
            raise AssertionError(f"after {names[-6:]}: {error}") from error


def trains():
    return any(t.name == "minimind-lite-training" for t in threading.enumerate())


def wait_for_threads(seconds=10.0):
    end = time.monotonic() + seconds
    while trains() and time.monotonic() < end:
        time.sleep(0.02)
    assert not trains(), "nothing trains after the lab is closed"


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_pressed_the_lab_stays_consistent(training, seed):
    lab, names = SpikeLab(), []
    lab.panel()
    try:
        walk(lab, seed, names)
        lab.session.reset()
        assert lab.session.step() == 1  # it still trains, whatever was pressed
    finally:
        lab.close()
    wait_for_threads()
    assert training.begun > 0
    assert training.most == 1, "two runs trained at once"


def test_whatever_is_pressed_on_two_threads_the_lab_stays_consistent(training):
    """As ipykernel 7 does it: callbacks of two widgets may come on two threads at once."""
    lab, errors = SpikeLab(), []
    lab.panel()

    def learner(seed):
        try:
            walk(lab, seed, [], alone=False)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=learner, args=(seed,)) for seed in (10, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    check(lab)
    lab.close()
    assert errors == []
    wait_for_threads()
    assert training.most == 1
