"""A policy goes back when the detector calls, keeps the schedule, and loses what it must."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from science.toy import N, base_model, rows_of

from minimind_lite.config import TrainConfig
from minimind_lite.optimizer import learning_rate
from minimind_lite.records import Run
from minimind_lite.runs.course import Rollback
from minimind_lite.runs.rollback import (
    RULES,
    TAIL,
    RollbackPolicy,
    RollbacksSpent,
    Rule,
    abandoned,
    sentence,
    spike_starts,
)
from minimind_lite.runs.session import MemoryStates, TrainingSession, Wish
from minimind_lite.science.procedures import pulsed
from minimind_lite.trainer import NonFiniteLoss, batches_of_run

SIZE, EVERY, SKIP, CALL = 16, 5, 3, 12  # states at 0, 5, 10; the call comes at step 12
CONFIG = TrainConfig(seed=0)
WHOLE = N // SIZE  # steps
FACTOR = 2000.0  # of the learning rate in a pulse
KINDS = {
    "replay": Rule("replay", quiet=EVERY),
    "skip": Rule("skip", skip=SKIP, quiet=EVERY),
    "reshuffle": Rule("reshuffle", quiet=EVERY),
    "lower-rate": Rule("replay", rate_factor=0.5, quiet=EVERY),
}


@pytest.fixture(autouse=True)
def one_worker(monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a model this small only waits for a second one
    yield
    torch.set_num_threads(threads)


def session_of(
    config: TrainConfig = CONFIG, *, n: int = N, order: np.ndarray | None = None, states: int = 1
) -> TrainingSession:
    data = rows_of(n) if order is None else rows_of(n).select(order)
    memory = MemoryStates(states)
    return TrainingSession(base_model(), data, config, states=memory, every=EVERY)


def calls_at(*steps: int) -> Callable[..., bool]:
    """A detector that calls at these steps."""
    return lambda losses: len(losses) - 1 in steps


def rolled_back(kind: str, *steps: int) -> TrainingSession:
    session = session_of()
    session.advance(policy=RollbackPolicy(KINDS[kind], detector=calls_at(*(steps or (CALL,)))))
    return session


def steps_of(session: TrainingSession) -> list[int]:
    return [record.step for record in session.records]


def rows_at(session: TrainingSession, positions: range) -> list[int]:
    return np.concatenate([session.records[i].rows for i in positions]).tolist()


def all_rows(session: TrainingSession) -> list[int]:
    return rows_at(session, range(len(session.records)))


def test_without_a_policy_nothing_is_gone_back_to():
    session = session_of()
    session.advance()
    assert steps_of(session) == list(range(WHOLE)) and session.rollbacks == ()
    assert all_rows(session) == list(range(N))


def test_a_replay_takes_the_same_steps_again_to_the_last_bit():
    session = rolled_back("replay")
    assert steps_of(session) == [*range(CALL + 1), *range(10, WHOLE)]
    losses = [record.loss for record in session.records]
    assert losses[13:16] == losses[10:13]  # steps 10, 11, 12
    assert rows_at(session, range(13, 16)) == rows_at(session, range(10, 13))
    assert set(all_rows(session)) == set(range(N))


def test_skip_leaves_out_the_rows_from_the_state_to_some_batches_after_the_call():
    session = rolled_back("skip")
    again = CALL + 1  # position of the first step after the rollback
    next_row = SIZE * (CALL + 1 + SKIP)
    assert rows_at(session, range(again, len(session.records))) == list(range(next_row, N))
    # Rows of steps 10 to 12 were read before the rollback; those of the SKIP batches never.
    assert set(range(N)) - set(all_rows(session)) == set(range(SIZE * (CALL + 1), next_row))
    assert len(session.records) == CALL + 1 + (N - next_row) // SIZE


@pytest.mark.parametrize("kind", ["replay", "skip", "reshuffle"])
def test_a_rollback_holds_the_schedule_of_the_whole_file(kind):
    """Rows that are skipped used to shorten it: the rate jumped down after each rollback."""
    for record in rolled_back(kind, CALL, 18).records:
        assert record.lr == learning_rate(CONFIG, record.step, WHOLE)


def test_a_lower_rate_is_half_of_it_from_there_on_and_a_quarter_after_the_next():
    session = rolled_back("lower-rate", CALL, 18)
    rates = [r.lr / learning_rate(CONFIG, r.step, WHOLE) for r in session.records]
    assert steps_of(session) == [*range(13), *range(10, 19), *range(15, 20)]
    assert rates == pytest.approx([1.0] * 13 + [0.5] * 9 + [0.25] * 5)


def test_a_reshuffle_reads_every_row_that_is_left_in_another_order():
    session = rolled_back("reshuffle")
    again = rows_at(session, range(CALL + 1, len(session.records)))
    assert sorted(again) == list(range(10 * SIZE, N)) and again != list(range(10 * SIZE, N))


def test_after_a_call_the_detector_is_silent_for_the_quiet_period():
    session = rolled_back("replay", CALL, CALL + 1, CALL + EVERY, CALL + EVERY + 1)
    calls = [r.called_at for r in session.rollbacks]
    assert calls == [CALL, CALL + EVERY + 1]
    assert [r.reason for r in session.rollbacks] == [f"a spike starts at step {c}" for c in calls]


def test_going_back_further_than_the_last_state():
    session = session_of(states=3)
    session.advance(policy=RollbackPolicy(Rule(back=5, quiet=EVERY), detector=calls_at(CALL)))
    assert [r.back_to for r in session.rollbacks] == [5]  # the newest at or before 12 - 5


@pytest.mark.parametrize(("kind", "repeated"), [("replay", True), ("skip", False)])
def test_a_replay_repeats_a_pulse_of_its_steps_and_a_run_told_otherwise_does_not(kind, repeated):
    session = session_of()
    policy = RollbackPolicy(KINDS[kind], detector=calls_at(CALL))
    while session.step < WHOLE:
        hot = session.step in (11, 12) and (repeated or not session.rollbacks)
        if not session.advance(1, config=pulsed(CONFIG, FACTOR) if hot else None, policy=policy):
            break
    high = [i for i, r in enumerate(session.records) if r.lr > 2 * CONFIG.learning_rate]
    assert high == ([11, 12, 14, 15] if repeated else [11, 12])


def test_the_rows_of_a_record_are_those_of_the_data_whatever_the_rollbacks():
    session = rolled_back("reshuffle", CALL, 18)
    for record in session.records:
        assert record.sample_tokens.tolist() == session.data.supervised()[record.rows].tolist()


def test_after_so_many_rollbacks_it_stops_and_says_why():
    rule = Rule("skip", quiet=0, at_most=2)
    session = session_of()
    with pytest.raises(RollbacksSpent) as error:
        session.advance(policy=RollbackPolicy(rule, detector=calls_at(6, 9, CALL)))
    assert str(error.value) == (
        "a spike starts at step 12, after 2 rollbacks (called at steps 6, 9): going back doesn't "
        "help here. Read the rows of these steps, or lower the learning rate and start again."
    )
    assert [r.called_at for r in session.rollbacks] == [6, 9]


def test_a_policy_is_two_numbers_in_and_a_wish_out():
    rule = Rule("skip", back=7, skip=2, rate_factor=0.5, quiet=3)
    policy = RollbackPolicy(rule, detector=calls_at(2))
    assert [policy(step, 1.0) for step in (0, 1)] == [None, None]
    assert policy(2, 9.0) == Wish("a spike starts at step 2", 7, "skip", 2, 0.5)
    assert policy.calls == [2] and policy.losses == [1.0, 1.0, 9.0]
    assert policy(1, 2.0) is None and policy.losses == [1.0, 2.0]  # steps 1 and 2 are void


def test_a_loss_that_is_not_finite_is_a_call_even_in_the_quiet_period():
    policy = RollbackPolicy(Rule(quiet=50), detector=calls_at(2))
    for step in range(3):
        policy(step, 1.0)
    assert policy(1, math.nan).reason == "the loss is not finite at step 1"
    assert policy.calls == [2, 1] and policy.losses == [1.0]


ABSURD = TrainConfig(seed=0, learning_rate=1e4)  # the toy model is lost within five steps


def test_absurd_is_absurd():
    with pytest.raises(NonFiniteLoss):
        session_of(ABSURD).advance()


def test_a_run_that_diverges_goes_back_and_gets_through_with_a_lower_rate():
    session = session_of(ABSURD)
    rule = Rule("replay", back=5, rate_factor=0.01, at_most=3)
    session.advance(policy=RollbackPolicy(rule, detector=calls_at()))
    assert 1 <= len(session.rollbacks) <= 3 and steps_of(session)[-1] == WHOLE - 1
    first = session.rollbacks[0]
    assert first.reason == f"the loss is not finite at step {first.called_at}"
    assert first.back_to == 0 and first.position == first.called_at  # that step left no record
    run = session.run()
    assert np.isfinite(run.loss).all() and (~abandoned(run)).sum() == WHOLE
    factor = 0.01 ** len(session.rollbacks)
    rate = learning_rate(ABSURD, WHOLE - 1, WHOLE) * factor
    assert session.records[-1].lr == pytest.approx(rate)


def test_where_a_lower_rate_is_not_low_enough_it_stops_and_names_the_steps():
    session, policy = session_of(ABSURD), RollbackPolicy(RULES["lower-rate"])
    with pytest.raises(
        RollbacksSpent, match=r"the loss is not finite at step \d+, after 3 rollbacks"
    ):
        session.advance(policy=policy)
    assert [r.rate_factor for r in session.rollbacks] == [0.5] * 3 and len(policy.calls) == 3


def test_the_palm_recipe_skips_what_the_paper_skips():
    """arXiv 2204.02311, section 5.1: from a checkpoint roughly 100 steps before the spike started,
    skipping roughly 200 to 500 batches, which cover those before and during the spike."""
    size, call = 2, 230
    data, config = rows_of(600 * size), TrainConfig(batch_size=size, order="shuffle")
    session = TrainingSession(base_model(), data, config, states=MemoryStates(4), every=50)
    usual = [b.rows.tolist() for b in batches_of_run(len(data), config)]
    session.advance(policy=RollbackPolicy(RULES["palm"], detector=calls_at(call)))
    (rollback,) = session.rollbacks
    assert (rollback.called_at, rollback.back_to, rollback.then) == (call, 100, "skip")
    again = [r.rows.tolist() for r in session.records[call + 1 :]]
    skipped = len(usual) - 100 - len(again)
    assert 200 <= skipped <= 500 and 100 + skipped > call
    assert again == usual[100 + skipped :]


def test_every_preset_is_a_rule_with_an_end_and_a_quiet_period():
    assert set(RULES) == {"replay", "skip", "reshuffle", "lower-rate", "palm"}
    for rule in RULES.values():
        assert 1 <= rule.at_most <= 20 and rule.quiet >= rule.back > 0
    assert RULES["lower-rate"].rate_factor == 0.5


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="no policy 'again'; choose one of replay, skip"):
        Rule("again")


def test_the_detector_is_shown_no_more_than_it_needs():
    """A long run is judged by its last losses, with the same answer."""
    noise = np.random.default_rng(0).normal(2.0, 0.05, size=4 * TAIL).tolist()
    assert not spike_starts(noise)
    assert spike_starts([*noise, 4.0]) and not spike_starts([*noise, 4.0, 3.9])
    assert not spike_starts([*noise[:20], 9.0])  # its window is not full


def test_the_real_detector_calls_when_a_pulse_wrecks_the_model_and_a_skip_cures_it():
    """With the real detector: its window is full after 30 steps."""
    n, pulse = 40 * SIZE, (31, 32, 33)
    order = np.random.default_rng(1).permutation(n)
    ends, calls = {}, {}
    for kind in ("nothing", "skip"):
        session = session_of(n=n, order=order)
        policy = RollbackPolicy(Rule("skip", skip=SKIP, quiet=EVERY, at_most=100))

        def ask(step: int, loss: float, policy=policy, kind=kind) -> Wish | None:
            wish = policy(step, loss)
            return wish if kind == "skip" else None

        for _ in range(3 * n // SIZE):
            hot = session.step in pulse and not session.rollbacks
            session.advance(1, config=pulsed(CONFIG, FACTOR) if hot else None, policy=ask)
        ends[kind] = np.mean([r.loss for r in session.records[-2:]])
        calls[kind] = policy.calls
    assert calls["skip"][:1] == calls["nothing"][:1] and 31 < calls["skip"][0] <= 35
    assert ends["skip"] < ends["nothing"] - 0.1


def test_a_rollback_that_no_step_has_followed_abandons_its_steps_too():
    """A stop between a rollback and its next step: no later record shows it, the info does."""
    session = session_of(CONFIG)
    session.advance(CALL + 1, policy=RollbackPolicy(KINDS["skip"], detector=calls_at(CALL)))
    records = session.run().records
    assert not abandoned(Run({}, records)).any()
    info = {"rollbacks": [past.to_dict() for past in session.rollbacks]}
    assert np.flatnonzero(abandoned(Run(info, records))).tolist() == [10, 11, 12]


def test_a_rollback_is_said_in_words():
    past = Rollback(30, 20, "skip", skip=5, rate_factor=0.5, reason="a spike starts at step 30")
    words = "back to step 20, then without the next 16 batches, at 0.5 times the learning rate."
    assert sentence(past) == f"a spike starts at step 30: {words}"
