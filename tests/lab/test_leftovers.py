"""A live run goes on after its kernel is gone; another kernel's run is left alone."""

import time

import numpy as np
import pytest

from minimind_lite.files.run_folder import lock
from minimind_lite.files.work import work_folder
from minimind_lite.lab.leftovers import folder_of, leftover
from minimind_lite.lab.session import LabSession
from minimind_lite.lab.state import LabState, Settings

SETTINGS = Settings(batch_size=64)  # 35 steps


@pytest.fixture
def new_lab(quick):
    """Labs as kernels make them: each knows nothing of those before."""
    labs = []

    def make(settings=SETTINGS, **state):
        labs.append(LabSession(LabState(settings, **state), quick))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()
        assert lab.idle(10)


def until(lab, condition, *, seconds=30.0):
    """Tick until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (lab.status, lab.error)
        lab.tick()
        time.sleep(0.01)


def steps(lab):
    return 0 if lab.training is None else len(lab.training.records)


def broken_off(lab, after):
    """Train some steps; then the kernel goes down as Jupyter stops it."""
    lab.start()
    until(lab, lambda: steps(lab) >= after)
    lab.stop()
    assert lab.idle(10)


def test_without_a_run_there_is_nothing_to_go_on_with(new_lab):
    lab = new_lab()
    assert lab.leftover is None
    lab.go_on()
    assert lab.status == "ready" and lab.live is None


@pytest.mark.parametrize("settings", [SETTINGS, Settings(batch_size=64, pulse=40, order="shuffle")])
def test_a_run_that_was_broken_off_goes_on_to_the_last_bit(new_lab, settings):
    whole = new_lab(settings)
    whole.start()
    until(whole, lambda: whole.status == "finished")
    assert whole.leftover is None  # it came to its end
    broken_off(new_lab(settings), 12)
    lab = new_lab(settings)
    assert lab.leftover is not None and lab.leftover.done >= 12
    lab.go_on()
    until(lab, lambda: lab.status == "finished")
    expected, records = whole.current.run, lab.current.run
    assert [r.step for r in records.records] == [r.step for r in expected.records]
    np.testing.assert_array_equal(records.loss, expected.loss)
    assert lab.leftover is None


def test_it_goes_on_in_the_same_lab_too(new_lab):
    lab = new_lab()
    broken_off(lab, 5)
    assert lab.status == "stopped" and lab.leftover is not None
    lab.go_on()
    until(lab, lambda: lab.status == "finished")
    assert [r.step for r in lab.current.run.records] == list(range(lab.total))
    assert lab.ghosts == []


def test_run_begins_anew(new_lab):
    broken_off(new_lab(), 12)
    lab = new_lab()
    lab.start()
    until(lab, lambda: steps(lab) >= 1)
    assert lab.training.records[0].step == 0
    lab.pause()
    until(lab, lambda: lab.status == "paused")
    assert steps(lab) < 12


def test_other_settings_have_other_runs(new_lab):
    broken_off(new_lab(), 5)
    assert new_lab(Settings(batch_size=32)).leftover is None
    assert new_lab(probes=True).leftover is None
    lab = new_lab(Settings(batch_size=32))
    lab.choose(SETTINGS)
    assert lab.leftover is not None


def test_a_folder_that_another_kernel_has_is_left_alone(new_lab):
    """Training goes on without one."""
    folder = folder_of(SETTINGS.spec(), probes=False)
    folder.mkdir(parents=True)
    taken = lock(folder)
    lab = new_lab()
    lab.start()
    until(lab, lambda: lab.status == "finished")
    assert len(lab.current.run) == 35 and not (folder / "config.json").exists()
    taken.release()


def test_a_damaged_folder_is_an_error_that_names_it(new_lab):
    broken_off(new_lab(), 12)
    folder = folder_of(SETTINGS.spec(), probes=False)
    for path in folder.glob("checkpoints/*/state.json"):
        path.write_text("{}")
    lab = new_lab()
    lab.go_on()
    with pytest.raises(ValueError, match="has no whole checkpoint"):
        until(lab, lambda: False)
    assert lab.status == "failed" and str(folder) in lab.error


def test_folders_are_runs_as_any_other(new_lab):
    from minimind_lite.files import run_folder

    broken_off(new_lab(), 5)
    [folder] = (work_folder() / "lab").iterdir()
    assert len(run_folder.load(folder)) >= 5
    assert leftover(SETTINGS.spec(), probes=False).folder == folder


def test_the_panel_offers_to_go_on(quick, new_lab):
    from minimind_lite.lab.app import SpikeLab

    lab = SpikeLab(state=LabState(SETTINGS))
    lab._ipython_display_()
    assert lab.widgets.buttons["go_on"].layout.display == "none"
    broken_off(new_lab(), 12)
    again = SpikeLab(state=LabState(SETTINGS))
    again._ipython_display_()
    button, done = again.widgets.buttons["go_on"], again.session.leftover.done
    assert button.layout.display != "none" and button.description == "Go on"
    sentence = f"was broken off after step {done} of 35: Go on continues it"
    assert sentence in again.widgets.status.value
    button.click()
    until(again.session, lambda: again.session.status == "finished")
    assert len(again.session.current.run) == 35
    again.session.choose(Settings())
    assert again.widgets.buttons["go_on"].layout.display == "none"
    for each in (lab, again):
        each.session.close()
