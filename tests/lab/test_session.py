"""What a learner does at the lab, without widgets: what is shown, what trains, what stays."""

import random
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from minimind_lite.files import shipped
from minimind_lite.lab.curves import describe
from minimind_lite.lab.session import MAX_GHOSTS, LabSession
from minimind_lite.lab.state import CHOICES, LabState, Pin, Settings
from minimind_lite.lab.status import status_text

UNRECORDED = Settings(optimizer="sgd", batch_size=4)


@pytest.fixture
def session(quick):
    made = LabSession(LabState(), quick)
    yield made
    made.close()
    assert made.idle(20), "a thread that trains on would be counted in the next test"


def steps_of(session):
    return len(session.current.run or ())


def trained(session, steps, seconds=120.0):
    """Tick until so many steps are done."""
    end = time.monotonic() + seconds
    while session.status == "running" and steps_of(session) < steps and time.monotonic() < end:
        session.tick()
        time.sleep(0.01)
    return steps_of(session)


def to_the_end(session, seconds=120.0):
    end = time.monotonic() + seconds
    while session.status == "running" and time.monotonic() < end:
        session.tick()
        time.sleep(0.01)


def test_a_setting_is_answered_from_the_records_and_starts_nothing(session):
    session.choose(Settings(order="shuffle"))
    assert session.current.source == "recorded"
    assert steps_of(session) == 139
    assert session.live is None
    assert session.events() == []
    assert [g.name for g in session.ghosts] == ["file order, batch 16"]


def test_what_is_not_recorded_is_said_with_its_cost(session):
    session.choose(Settings(order="buffer:32", learning_rate=2e-3, optimizer="sgd"))
    assert session.current.run is None
    assert session.total == 139
    assert status_text(session).startswith("Not recorded. Run trains it now: 139 steps, about")


def test_the_cost_is_known_from_the_first_moment(session):
    assert 1 < session.seconds() < 200
    assert "(about" in status_text(session)


def test_run_trains_over_the_recorded_curve(session):
    recorded = session.answer.run
    session.start()
    assert trained(session, 3) >= 3
    assert session.current.source == "trained"
    assert session.under.run.loss.tolist() == recorded.loss.tolist()


def test_run_again_starts_no_second_run(session):
    session.start()
    live = session.live
    session.start()
    assert session.live is live


def test_pause_holds_and_run_goes_on(session):
    session.start()
    trained(session, 2)
    session.pause()
    done = steps_of(session)
    time.sleep(0.1)
    assert session.status == "paused"
    assert session.tick() == 0
    assert steps_of(session) == done
    live = session.live
    session.start()
    assert session.live is live
    assert trained(session, done + 2) >= done + 2
    steps = [r.step for r in session.current.run.records]
    assert steps == list(range(len(steps))), "none is lost"


def test_step_is_one_step(session):
    assert session.step() == 1
    assert session.status == "paused"
    assert session.step() == 1
    assert [r.step for r in session.current.run.records] == [0, 1]


def test_stop_ends_the_thread_and_keeps_the_curve(session):
    session.start()
    n = trained(session, 2)
    session.stop()
    assert session.status == "stopped"
    assert session.live is None
    assert steps_of(session) >= n
    assert session.idle(2)
    session.start()
    assert session.current.run is None
    assert session.ghosts[-1].name.startswith("file order, batch 16, trained here, first")


def test_a_setting_that_changes_during_a_run_changes_nothing_of_it(session):
    session.start()
    trained(session, 2)
    session.choose(Settings(order="shuffle"))
    assert session.changed
    assert session.status == "running"
    assert session.current.settings.order == "file"
    session.stop()
    assert session.status == "ready"
    assert session.current.settings.order == "shuffle"
    assert session.current.source == "recorded"


def test_the_status_keeps_step_loss_and_seconds_when_the_settings_change(session):
    session.start()
    trained(session, 2)
    session.choose(Settings(order="shuffle"))
    text = status_text(session)
    assert text.startswith("Training: step ")
    assert "loss" in text
    assert "s left" in text
    assert text.endswith("To train the new ones: Stop, then Run.")


def test_a_run_that_ends_under_other_settings_is_shown_and_done(quick):
    session = LabSession(LabState(Settings(batch_size=256)), quick)
    session.start()
    session.choose(Settings(batch_size=256, order="shuffle"))
    to_the_end(session)
    assert session.status == "finished"
    assert session.current.settings.order == "file"
    assert steps_of(session) == 9
    assert status_text(session).startswith("Done: 9 steps")
    assert "Reset shows what is recorded" in status_text(session)
    session.reset()
    assert session.current.settings.order == "shuffle"


def test_the_state_is_that_of_what_is_drawn(session):
    """B11: a changed setting, or a run that was stopped, must not be stored as another run."""
    session.step()
    session.step()
    session.choose(Settings(batch_size=64))
    assert session.drawn.to_string() == "lab=2&order=file&steps=2"
    session.stop()
    assert session.drawn.to_string() == "lab=2&order=file&batch_size=64"


def test_a_stopped_run_comes_back_as_long_as_it_was(session, quick):
    session.step()
    session.step()
    again = LabSession(LabState.from_string(session.drawn.to_string()), quick)
    assert steps_of(again) == 2
    assert "probes_after" not in again.current.run.info
    assert again.drawn == session.drawn
    whole = LabSession(LabState(steps=999), quick)
    assert steps_of(whole) == 139
    assert whole.drawn.steps is None, "a run has no more steps than it has"


def test_run_after_other_settings_leaves_the_paused_run_in_grey(session):
    session.step()
    session.choose(Settings(order="shuffle"))
    session.start()
    trained(session, 1)
    assert session.current.settings.order == "shuffle"
    assert session.ghosts[-1].source == "trained"


def test_a_run_ends_by_itself(quick):
    session = LabSession(LabState(Settings(batch_size=256), probes=True), quick)
    session.start()
    to_the_end(session)
    assert session.status == "finished"
    assert session.live is None
    assert set(session.current.run.info["probes_after"]) == set(quick.probes)


def test_reset_shows_what_is_recorded(session):
    session.step()
    session.reset()
    assert session.status == "ready"
    assert session.current.source == "recorded"
    assert not session.ghosts


def test_only_a_few_ghosts_stay(session):
    for batch_size in (4, 8, 32, 64):
        session.choose(Settings(batch_size=batch_size))
    assert [g.settings.batch_size for g in session.ghosts] == [8, 32]
    assert len(session.ghosts) == MAX_GHOSTS


def test_pins_stay_are_renamed_and_removed(session):
    session.pin()
    session.choose(Settings(order="shuffle"))
    session.pin("shuffled run")
    session.rename(0, "the reported run")
    assert [p.name for p in session.state.pins] == ["the reported run", "shuffled run"]
    assert not session.ghosts
    session.rename(1, " ")
    assert session.pinned[1].name == "shuffled, batch 16"
    session.remove(0)
    assert [p.settings.order for p in session.pinned] == ["shuffle"]
    session.remove(7)
    session.rename(7, "nobody")
    assert len(session.pinned) == 1, "a late click does nothing"


def pin_five(session):
    for batch_size in (4, 8, 32, 64):
        session.choose(Settings(batch_size=batch_size))
        session.pin()


def pin_nothing(session):
    session.choose(UNRECORDED)
    session.pin()


@pytest.mark.parametrize(
    "act, complaint",
    [
        (LabSession.pin, "pinned already"),
        (pin_nothing, "no curve to pin"),
        (pin_five, "Four runs are pinned"),
    ],
)
def test_a_pin_that_can_t_be_is_refused(session, act, complaint):
    session.pin()
    with pytest.raises(ValueError, match=complaint):
        act(session)


def test_pins_come_back_from_the_state(session, quick):
    session.pin("whole")
    session.step()
    session.step()
    session.pin("first two")
    again = LabSession(LabState.from_string(session.drawn.to_string()), quick)
    assert [len(p.run) for p in again.pinned] == [139, 2]
    assert again.drawn == session.drawn
    pins = (Pin("mine", UNRECORDED, 50), Pin("long", Settings(), 500))
    other = LabSession(LabState(pins=pins, language="zh"), quick)
    assert other.pinned[0].run is None
    assert other.state.pins[0] == pins[0]
    assert other.pinned[1].steps is None, "a pin claims no more steps than its run has"


def test_a_language_renames_what_the_lab_has_named(session):
    session.pin()
    session.choose(Settings(order="shuffle"))
    session.pin("mine")
    session.view(LabState(language="zh"))
    assert [p.name for p in session.pinned] == ["文件顺序，批大小 16", "mine"]
    session.view(LabState(language="en"))
    assert [p.name for p in session.pinned] == ["file order, batch 16", "mine"]


def test_a_step_that_is_not_there_is_not_opened(session, quick):
    session.view(LabState(opened=138))
    assert session.state.opened == 138
    for position in (139, 10_000):
        session.view(LabState(opened=position))
        assert session.state.opened == 138
    assert LabSession(LabState(opened=10_000), quick).state.opened is None


def test_an_error_in_training_is_raised_where_it_is_seen(session, monkeypatch):
    def broken(*_):
        raise OSError("disk")

    monkeypatch.setattr(shipped, "base_model", broken)
    with pytest.raises(OSError, match="disk"):
        session.step()
    assert session.status == "failed"
    assert session.live is None
    assert session.error == "OSError: disk"
    assert "Stopped by an error at step 0 of 139: OSError: disk" in status_text(session)


def test_stopping_a_run_that_has_failed_raises_nothing(session, monkeypatch):
    """Who stops a run of another lab is not the one who waits for it."""

    def broken(*_):
        raise ArithmeticError("A diverged")

    monkeypatch.setattr(shipped, "base_model", broken)
    session.start()
    time.sleep(0.2)
    session.stop()
    session.close()
    assert session.status == "failed"
    assert session.error == "ArithmeticError: A diverged"


def test_the_live_run_is_the_recorded_one(shared_materials):
    """With the shipped model: the first steps are the recorded losses."""
    session = LabSession(LabState(Settings(order="shuffle", seed=3)), shared_materials)
    for _ in range(3):
        session.step()
    np.testing.assert_allclose(session.current.run.loss, session.under.run.loss[:3], atol=2e-6)
    session.close()


@pytest.mark.parametrize(
    "settings, language, name",
    [
        (Settings(), "en", "file order, batch 16"),
        (
            Settings(order="buffer:128", optimizer="none", epochs=3, log_every=1),
            "en",
            "buffer of 128, batch 16, frozen, 3 epochs",
        ),
        (
            Settings(order="shuffle", seed=2, pulse=40),
            "zh",
            "每轮打乱，批大小 16，种子 2，学习率脉冲 ×40",
        ),
        (Settings(loss_average="micro_batches"), "en", "file order, batch 16"),
        (Settings(batch_size=4, accumulation_steps=8), "en", "file order, batch 4, in 4 parts"),
    ],
)
def test_runs_are_named_by_what_is_not_at_its_default(settings, language, name):
    assert describe(settings, language) == name


def test_everything_changes_when_a_state_is_loaded(session):
    session.start()
    session.load(LabState.from_string("lab=2&order=shuffle&pulse=40&opened=5"))
    assert session.live is None
    assert session.status == "ready"
    assert session.state.opened == 5
    assert session.current.settings == Settings(order="shuffle", pulse=40)


# A second thread


def test_every_public_method_takes_the_lock():
    lone = {"close", "idle", "live"}  # close is stop; the others must not wait for the lock
    for name, member in vars(LabSession).items():
        function = member.fget if isinstance(member, property) else member
        if callable(function) and not name.startswith("_") and name not in lone:
            assert hasattr(function, "__wrapped__"), name


def in_two_threads(*actions, seconds=60.0):
    """Do two things at once, from the same moment; what either raised."""
    errors, together = [], threading.Barrier(len(actions))

    def work(action):
        together.wait()
        try:
            action()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads), "the two wait for each other"
    return errors


def test_ticks_and_stops_from_two_threads(session):
    """Issue 6.3: a stop between two lines of a tick took the run away from under it."""
    done = threading.Event()

    def stops():
        for _ in range(1000):
            session.start()
            session.stop()
        done.set()

    def ticks():
        while not done.is_set():
            session.tick()
            session.current, session.total, session.events(), session.drawn
            status_text(session)

    assert in_two_threads(stops, ticks) == []


def test_anything_from_two_threads_leaves_the_session_consistent(session):
    def play(seed):
        rng = random.Random(seed)

        def choose():
            session.choose(Settings(**{n: rng.choice(v) for n, v in CHOICES.items()}))

        acts = [
            *(session.start, session.stop, session.pause, session.reset, session.step, choose),
            *[session.tick] * 6,
        ]
        for _ in range(150):
            rng.choice(acts)()
            with session.lock:
                trains = session.status in ("running", "paused")
                assert (session.live is not None) == trains
                run = session.current.run
                if run is not None:
                    assert [r.step for r in run.records] == list(range(len(run)))

    assert in_two_threads(lambda: play(1), lambda: play(2)) == []


def test_no_two_runs_train_at_once_whoever_starts_them(session, monkeypatch):
    from minimind_lite.lab import plan

    inside, most = [0], [0]
    real = plan.steps

    def counted(*arguments, **named):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        try:
            yield from real(*arguments, **named)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(plan, "steps", counted)

    def restart():
        for _ in range(15):
            session.step()
            session.reset()

    assert in_two_threads(restart, restart) == []
    assert most[0] == 1


def test_ghosts_are_different_runs(session):
    for batch_size in (4, 8, 4, 8, 16):
        session.choose(Settings(batch_size=batch_size))
    assert all(not a.same_losses(b) for a, b in pairwise(session.ghosts))
