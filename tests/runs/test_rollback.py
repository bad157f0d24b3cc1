"""A watched run goes back when the detector calls, keeps its schedule, and loses what it must."""

from types import SimpleNamespace

import numpy as np
import pytest
from minimind_lite.science.rollback import Pulse, WatchedRun
from minimind_lite.science.training_session import TrainingSession
from science.toy import N, base_model, rows_of

from minimind_lite.config import TrainConfig
from minimind_lite.optimizer import learning_rate
from minimind_lite.science import rollback
from minimind_lite.science.procedures import pulsed

SIZE, EVERY, SKIP, CALL = 16, 5, 3, 12  # checkpoints at 0, 5, 10; the call comes at step 12
CONFIG = TrainConfig(seed=0)


def watched(
    policy: str, *, pulse: tuple[int, ...] = (), order: np.ndarray | None = None, n: int = N
):
    data = rows_of(n)
    session = TrainingSession(base_model(), data, CONFIG)
    return WatchedRun(
        session,
        data,
        order=np.arange(n) if order is None else order,
        policy=policy,
        every=EVERY,
        skip=SKIP,
        pulse=Pulse(pulse, pulsed(CONFIG, 2000.0)),
        rng=np.random.default_rng(0),
    )


@pytest.fixture(autouse=True)
def one_worker(monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")


@pytest.fixture
def calls(monkeypatch):
    """A detector that calls at given steps: those where so many losses are known."""
    steps = {CALL}

    def find(losses):
        return [SimpleNamespace(start=step) for step in steps if step < len(losses)]

    monkeypatch.setattr(rollback.spikes, "find", find)
    return steps


def steps_of(run: WatchedRun) -> list[int]:
    return [record.step for record in run.session.records]


def rows_at(run: WatchedRun, positions: range) -> list[int]:
    return np.concatenate([run.session.records[i].rows for i in positions]).tolist()


def test_nothing_counts_the_calls_and_goes_on(calls):
    run = watched("nothing")
    run.train()
    assert run.calls == [CALL] and steps_of(run) == list(range(N // SIZE))
    assert rows_at(run, range(N // SIZE)) == list(range(N)) and run.rows_never_read() == 0


def test_a_replay_takes_the_same_steps_again_to_the_last_bit(calls):
    run = watched("replay")
    run.train()
    assert steps_of(run) == [*range(CALL + 1), *range(10, N // SIZE)]
    losses = [record.loss for record in run.session.records]
    assert losses[13:16] == losses[10:13]  # steps 10, 11, 12
    assert run.session.records[12].rows.tolist() == run.session.records[15].rows.tolist()
    assert run.losses == losses[:10] + losses[13:] and run.rows_never_read() == 0


def test_skip_leaves_out_the_rows_from_the_checkpoint_to_some_batches_after_the_call(calls):
    run = watched("skip")
    run.train()
    first_again = CALL + 1  # position of the first step after the rollback
    next_row = SIZE * (CALL + 1 + SKIP)
    assert rows_at(run, range(first_again, first_again + 1)) == list(
        range(next_row, next_row + SIZE)
    )
    # Rows of steps 10 to 12 were read before the rollback; those of the SKIP batches never.
    assert run.rows_never_read() == SIZE * SKIP
    never = set(range(N)) - set(rows_at(run, range(len(run.session.records))))
    assert never == set(range(SIZE * (CALL + 1), next_row))
    assert len(run.session.records) == CALL + 1 + (N - next_row) // SIZE


@pytest.mark.parametrize("policy", rollback.POLICIES)
def test_a_rollback_holds_the_schedule_of_the_whole_file(calls, policy):
    """Rows that are skipped used to shorten it: the rate jumped down after each rollback."""
    run = watched(policy)
    run.train()
    for record in run.session.records:
        assert record.lr == learning_rate(CONFIG, record.step, N // SIZE)


def test_a_reshuffle_reads_every_row_that_is_left_in_another_order(calls):
    run = watched("reshuffle")
    run.train()
    again = rows_at(run, range(CALL + 1, len(run.session.records)))
    assert sorted(again) == list(range(10 * SIZE, N)) and again != list(range(10 * SIZE, N))
    assert run.rows_never_read() == 0


def test_after_a_call_the_detector_is_silent_for_as_long_as_a_checkpoint_lasts(calls):
    calls |= {CALL + 1, CALL + EVERY, CALL + EVERY + 1}
    run = watched("nothing")
    run.train()
    assert run.calls == [CALL, CALL + EVERY + 1]


def test_a_replay_repeats_the_pulse_and_a_skip_does_not(calls):
    for policy, repeated in (("replay", True), ("skip", False), ("reshuffle", False)):
        run = watched(policy, pulse=(11, 12))
        run.train()
        high = [i for i, r in enumerate(run.session.records) if r.lr > 2 * CONFIG.learning_rate]
        assert high == ([11, 12, 14, 15] if repeated else [11, 12]), policy


def test_the_rows_of_a_record_are_those_of_the_file_whatever_the_order(calls):
    order = np.random.default_rng(5).permutation(N)
    run = watched("skip", order=order)
    run.train()
    assert rows_at(run, range(CALL + 1)) == order[: SIZE * (CALL + 1)].tolist()
    data = rows_of()
    record = run.session.records[CALL + 1]
    assert record.sample_tokens.tolist() == data.supervised()[record.rows].tolist()


def test_the_detector_calls_when_a_pulse_wrecks_the_model_and_a_skip_cures_it():
    """With the real detector: its window is full after 30 steps."""
    n, pulse = 40 * SIZE, (31, 32, 33)
    order = np.random.default_rng(1).permutation(n)
    wrecked = watched("nothing", pulse=pulse, order=order, n=n)
    wrecked.train()
    cured = watched("skip", pulse=pulse, order=order, n=n)
    cured.train()
    assert cured.calls[:1] == wrecked.calls[:1] and 31 < cured.calls[0] <= 35
    last = [np.mean([r.loss for r in run.session.records[-2:]]) for run in (wrecked, cured)]
    assert last[1] < last[0] - 0.1


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="no policy 'again'; choose one of nothing, replay"):
        watched("again")
