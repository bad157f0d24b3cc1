"""What a learner does at the lab, without widgets: what is shown, what trains, what stays."""

import time

import numpy as np
import pytest
from minimind_lite.lab.session import GHOSTS, LabSession, describe_knobs
from minimind_lite.lab.state import Knobs, LabState, Pin


@pytest.fixture
def session(quick):
    made = LabSession(LabState())
    yield made
    made.close()


def trained(session, steps, seconds=20.0):
    """Tick until so many steps are there."""
    end = time.monotonic() + seconds
    while (
        session.status == "running"
        and len(session.current.run or ()) < steps
        and time.monotonic() < end
    ):
        session.tick()
        time.sleep(0.01)
    return len(session.current.run or ())


def test_a_knob_is_answered_from_the_records_and_starts_nothing(session):
    session.turn(Knobs(order="shuffle"))
    assert (
        session.current.source == "recorded"
        and len(session.current.run) == 139
        and session.live is None
    )
    assert session.events() == [] and [g.name for g in session.ghosts] == ["file order, batch 16"]


def test_what_is_not_recorded_is_said_with_its_cost(session):
    session.turn(Knobs(order="buffer:32", learning_rate=2e-3, optimizer="sgd"))
    assert session.current.run is None and session.total == 139 and session.seconds() is None
    session.warm_up(wait=20)
    assert session.seconds() > 0


def test_run_trains_over_the_recorded_curve(session):
    recorded = session.answer.run
    session.start()
    assert trained(session, 3) >= 3
    assert (
        session.current.source == "trained"
        and session.under.run.loss.tolist() == recorded.loss.tolist()
    )


def test_run_again_starts_no_second_run(session):
    session.start()
    live = session.live
    session.start()
    assert session.live is live


def test_pause_holds_and_run_goes_on(session):
    session.start()
    trained(session, 2)
    session.pause()
    held = len(session.current.run)
    time.sleep(0.1)
    assert session.status == "paused" and session.tick() == 0 and len(session.current.run) == held
    live = session.live
    session.start()
    assert session.live is live and trained(session, held + 2) >= held + 2
    assert [r.step for r in session.current.run.records] == list(range(len(session.current.run))), (
        "none is lost"
    )


def test_step_is_one_step(session):
    assert session.step() == 1 and session.status == "paused" and session.step() == 1
    assert [r.step for r in session.current.run.records] == [0, 1]


def test_stop_ends_the_thread_and_keeps_the_curve(session):
    session.start()
    n = trained(session, 2)
    session.stop()
    assert session.status == "stopped" and session.live is None and len(session.current.run) >= n
    assert session._closed.join(2)
    session.start()
    assert session.current.run is None and session.ghosts[-1].name.startswith(
        "file order, batch 16, trained here, first"
    )


def test_a_knob_turned_during_a_run_changes_nothing_of_it(session):
    session.start()
    trained(session, 2)
    session.turn(Knobs(order="shuffle"))
    assert session.changed and session.status == "running" and session.current.knobs.order == "file"
    session.stop()
    assert (
        session.status == "ready"
        and session.current.knobs.order == "shuffle"
        and session.current.source == "recorded"
    )


def test_run_after_a_turned_knob_leaves_the_paused_run_in_grey(session):
    session.step()
    session.turn(Knobs(order="shuffle"))
    session.start()
    trained(session, 1)
    assert session.current.knobs.order == "shuffle" and session.ghosts[-1].source == "trained"


def test_a_run_ends_by_itself(quick):
    session = LabSession(LabState(Knobs(batch=256), probes=True))
    session.start()
    trained(session, 9)
    end = time.monotonic() + 10
    while session.status == "running" and time.monotonic() < end:
        session.tick()
        time.sleep(0.02)
    assert session.status == "finished" and session.live is None
    assert set(session.current.run.info["probes_after"]) == {
        "zh",
        "code",
        "en",
        "math",
        "zh_classical",
    }


def test_reset_shows_what_is_recorded(session):
    session.step()
    session.reset()
    assert session.status == "ready" and session.current.source == "recorded" and not session.ghosts


def test_only_a_few_ghosts_stay(session):
    for batch in (4, 8, 32, 64):
        session.turn(Knobs(batch=batch))
    assert [g.knobs.batch for g in session.ghosts] == [8, 32] and len(session.ghosts) == GHOSTS


def test_pins_stay_are_renamed_and_removed(session):
    session.pin()
    session.turn(Knobs(order="shuffle"))
    session.pin("the cure")
    session.rename(0, "the reported run")
    assert [p.name for p in session.state.pins] == [
        "the reported run",
        "the cure",
    ] and not session.ghosts
    session.rename(1, " ")
    assert session.pinned[1].name == "shuffled, batch 16"
    session.remove(0)
    assert [p.knobs.order for p in session.pinned] == ["shuffle"]


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda s: s.pin(), "pinned already"),
        (lambda s: s.turn(Knobs(optimizer="sgd", batch=4)) or s.pin(), "no curve to pin"),
        (
            lambda s: [s.turn(Knobs(batch=b)) or s.pin() for b in (4, 8, 32, 64)],
            "Four runs are pinned",
        ),
    ],
)
def test_a_pin_that_can_t_be_is_refused(session, spoil, complaint):
    session.pin()
    with pytest.raises(ValueError, match=complaint):
        spoil(session)


def test_pins_come_back_from_the_state(session):
    session.pin("whole")
    session.step()
    session.step()
    session.pin("first two")
    again = LabSession(LabState.from_string(session.state.to_string()))
    assert [len(p.run) for p in again.pinned] == [139, 2] and again.state == session.state
    half = LabSession(
        LabState.from_string(
            "lab=1&order=file&pin=" + "name%3Dmine%26optimizer%3Dsgd%26batch%3D4%26steps%3D50"
        )
    )
    half.view(language="zh")
    assert half.state.pins[0].steps == 50 and half.pinned[0].run is None
    unknown = LabSession(LabState(pins=(Pin("mine", Knobs(optimizer="sgd", batch=4)),)))
    assert unknown.pinned[0].run is None and unknown.state.pins[0].name == "mine"


def test_an_error_in_training_is_raised_where_it_is_seen(session, monkeypatch):
    from minimind_lite.files import shipped

    monkeypatch.setattr(shipped, "base_model", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        session.step()
    assert session.status == "failed" and session.live is None and session.error == "OSError: disk"


def test_the_live_run_is_the_recorded_one():
    """With the shipped model: the first steps are the recorded losses."""
    session = LabSession(LabState(Knobs(order="shuffle", seed=3)))
    for _ in range(3):
        session.step()
    np.testing.assert_allclose(session.current.run.loss, session.under.run.loss[:3], atol=2e-6)
    session.close()


def test_runs_are_named_by_what_is_not_at_its_default():
    assert describe_knobs(Knobs()) == "file order, batch 16"
    assert (
        describe_knobs(Knobs(order="buffer:128", optimizer="none", epochs=3, log_every=1))
        == "buffer of 128, batch 16, frozen, 3 epochs"
    )
    assert (
        describe_knobs(Knobs(order="shuffle", seed=2, pulse=40), "zh")
        == "打乱，批大小 16，种子 2，学习率脉冲 ×40"
    )
    assert describe_knobs(Knobs(average="micro_batches")) == "file order, batch 16", (
        "without accumulation there is one mean"
    )


def test_a_run_that_ends_while_the_knobs_say_something_else_makes_room_for_their_answer(quick):
    session = LabSession(LabState(Knobs(batch=256)))
    session.start()
    session.turn(Knobs(batch=256, order="shuffle"))
    end = time.monotonic() + 20
    while session.status == "running" and time.monotonic() < end:
        session.tick()
        time.sleep(0.02)
    assert (
        session.status == "ready"
        and session.current.source == "recorded"
        and session.current.knobs.order == "shuffle"
    )
    assert session.ghosts[-1].source == "trained" and len(session.ghosts[-1].run) == 9


def test_accumulation_is_named_as_it_is_cut():
    assert describe_knobs(Knobs(batch=4, accumulation=8)) == "file order, batch 4, in 4 parts"
