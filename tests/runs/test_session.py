"""A run in parts is the run at once, to the last bit: broken off anywhere, rolled back or not."""

import copy
import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from science.toy import TINY, base_model, rows_of

from minimind_lite.config import TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.records import Run, StepRecord
from minimind_lite.runs import rollback
from minimind_lite.runs.rollback import RollbackPolicy, Rule, abandoned, resumed
from minimind_lite.runs.session import MemoryStates, State, TrainingSession, Wish
from minimind_lite.trainer import NonFiniteLoss, train

N = 88  # 6 batches of 16, the last one short
CONFIGS = {
    "adamw": TrainConfig(),
    "sgd, momentum": TrainConfig(optimizer="sgd", learning_rate=0.1, momentum=0.9),
    "frozen": TrainConfig(optimizer="none"),
    "bf16": TrainConfig(precision="bf16"),
    "mean of micro-batches": TrainConfig(micro_batch_size=5, loss_average="micro_batches"),
    "buffer, two epochs": TrainConfig(order="buffer:32", epochs=2, probe_every=3),
    "shuffle, stopped early": TrainConfig(order="shuffle", epochs=2, max_steps=8),
}
CALL = 12  # the toy detector calls at this step


@pytest.fixture(autouse=True)
def one_worker(monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a model this small only waits for a second one
    yield
    torch.set_num_threads(threads)


def session_of(config: TrainConfig, *, n: int = N, fresh: bool = True, **more) -> TrainingSession:
    """A session; not `fresh`: with a model that knows nothing of the run's."""
    model = base_model() if fresh else LanguageModel(TINY, seed=9)
    probes = {"held out": rows_of(24, segments=(), seed=2)}
    return TrainingSession(model, rows_of(n, segments=()), config, probes=probes, **more)


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def end_of(session: TrainingSession) -> tuple:
    """Everything that a session is, to the last bit."""
    state = session.save()
    return bits(state.weights), bits(state.moments), state.step, state.position, state.rollbacks


def plain(records: Iterable[StepRecord]) -> list[dict]:
    """Records to the last bit, without what a clock said."""
    columns = [asdict(r) | {"seconds": 0.0, "probe_seconds": 0.0} for r in records]
    return [
        {k: v if isinstance(v, dict) else np.asarray(v).tobytes() for k, v in row.items()}
        for row in columns
    ]


def steps_of(records: Iterable[StepRecord]) -> list[int]:
    return [record.step for record in records]


@pytest.mark.parametrize("name", CONFIGS)
def test_broken_off_anywhere_and_restored_is_never_broken_off(name):
    whole = session_of(CONFIGS[name])
    states = [whole.save()]
    for record in whole.steps():
        whole.records.append(record)
        states.append(whole.save())
    assert len(states) == {"buffer, two epochs": 13, "shuffle, stopped early": 9}.get(name, 7)
    for state in states:
        rest = session_of(CONFIGS[name], fresh=False)
        rest.restore(state)
        assert plain(rest.advance()) == plain(whole.records[state.step :])
        assert end_of(rest) == end_of(whole)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_session_is_the_trainer(name):
    session, model = session_of(CONFIGS[name]), base_model()
    records = list(train(model, session.data, CONFIGS[name], probes=session.probes))
    assert plain(session.advance()) == plain(records)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert bits(session.save().weights) == bits(weights)


def test_a_policy_that_always_says_none_changes_nothing():
    heard, config = [], CONFIGS["buffer, two epochs"]
    asked, alone = session_of(config, states=MemoryStates(2), every=2), session_of(config)
    records = asked.advance(policy=lambda step, loss: heard.append((step, loss)))
    assert plain(records) == plain(alone.advance()) and end_of(asked) == end_of(alone)
    assert heard == [(record.step, record.loss) for record in records]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_few_steps_at_a_time_are_all_at_once(n):
    config = CONFIGS["buffer, two epochs"]
    parts, whole = session_of(config), session_of(config)
    while parts.advance(n):
        pass
    whole.advance()
    assert plain(parts.records) == plain(whole.records) and end_of(parts) == end_of(whole)
    assert parts.advance() == [] and parts.advance(3) == []


@pytest.mark.parametrize("name", ["adamw", "sgd, momentum"])
def test_a_saved_state_is_not_changed_by_training_that_goes_on_or_starts_from_it(name):
    session = session_of(CONFIGS[name])
    session.advance(3)
    state = session.save()
    before = bits(state.weights), bits(state.moments)
    ends = []
    for other in (session, session_of(CONFIGS[name]), session_of(CONFIGS[name])):
        if other is not session:
            other.restore(state)
        other.advance()
        assert (bits(state.weights), bits(state.moments)) == before
        ends.append(end_of(other))
    assert ends[0] == ends[1] == ends[2]
    session.restore(state)  # the one that made it, too
    session.advance()
    assert end_of(session) == ends[0] and steps_of(session.records) == [0, 1, 2, 3, 4, 5, 3, 4, 5]


def test_a_state_from_before_the_first_step_forgets_the_moments():
    session = session_of(CONFIGS["adamw"])
    start = session.save()
    session.advance()
    end = end_of(session)
    assert start.moments == {} and end[1]
    session.restore(start)
    assert end_of(session)[1] == {}
    session.advance()
    assert end_of(session) == end


def test_other_settings_for_some_steps_leave_the_schedule_as_it_is():
    session = session_of(CONFIGS["adamw"])
    hot = session.config.replace(learning_rate=2 * session.config.learning_rate)
    session.advance(2)
    session.advance(2, config=hot)
    session.advance()
    usual = session_of(CONFIGS["adamw"]).advance()
    factors = [a.lr / b.lr for a, b in zip(session.records, usual, strict=True)]
    assert factors == pytest.approx([1, 1, 2, 2, 1, 1])


def once(wish: Wish, *, at: int = CALL):
    """A policy that wishes once, after step `at`."""
    left = [wish]
    return lambda step, loss: left.pop() if step == at and left else None


def test_after_a_rollback_positions_go_on_and_steps_go_back():
    positions = []
    session = session_of(TrainConfig(), n=320, states=MemoryStates(), every=5)
    for record in session.steps(policy=once(Wish("a test"))):
        session.records.append(record)
        positions.append(session.position)
        assert session.step == (10 if len(positions) == CALL + 1 else record.step + 1)
    assert positions == list(range(1, 24))
    assert steps_of(session.records) == [*range(13), *range(10, 20)]
    (rolled_back,) = session.rollbacks
    assert (rolled_back.called_at, rolled_back.back_to, rolled_back.position) == (12, 10, 13)
    assert np.flatnonzero(abandoned(session.run())).tolist() == [10, 11, 12]
    # A replay takes the same steps again, with the same bits.
    assert plain(session.records[13:16]) == plain(session.records[10:13])
    assert end_of(session)[0] == end_of(session_with_all_steps(320))[0]


def session_with_all_steps(n: int) -> TrainingSession:
    session = session_of(TrainConfig(), n=n)
    session.advance()
    return session


@pytest.mark.parametrize(
    ("steps", "void"),
    [
        ([], []),
        ([0, 1, 2], []),
        ([7, 8, 9], []),  # a run that was resumed
        ([0, 1, 2, 1, 2, 3], [1, 2]),
        ([0, 1, 2, 2], [2]),
        ([0, 1, 2, 3, 2, 3, 1, 2], [1, 2, 3, 4, 5]),  # the second one goes back further
        ([0, 1, 2, 0], [0, 1, 2]),
        ([0, 5, 10, 5, 10], [1, 2]),  # thinned
    ],
)
def test_abandoned_are_records_that_a_later_step_takes_the_place_of(steps, void):
    record = session_with_all_steps(16).records[0]
    run = Run({}, tuple(replace(record, step=step) for step in steps))
    assert np.flatnonzero(abandoned(run)).tolist() == void


def test_the_detector_of_a_policy_is_asked_about_the_steps_that_count():
    """The losses of abandoned steps are gone when the next step is judged."""
    lengths = []

    def detector(losses):
        lengths.append(len(losses))
        return len(losses) == CALL + 1

    session = session_of(TrainConfig(), n=320, states=MemoryStates(), every=5)
    policy = RollbackPolicy(Rule(quiet=0), detector=detector)
    session.advance(policy=policy)
    assert lengths == list(range(1, 21))  # of steps 10 to 12, taken again, nothing is asked
    assert policy.losses == session.run().loss[~abandoned(session.run())].tolist()


RULES = {
    "replay": Rule("replay", quiet=3),
    "skip": Rule("skip", skip=1, quiet=3),
    "reshuffle": Rule("reshuffle", back=3, quiet=2),
    "lower rate": Rule("replay", rate_factor=0.5, quiet=4),
}


@pytest.mark.parametrize("name", RULES)
def test_broken_off_at_any_record_of_a_run_with_rollbacks_it_goes_on_to_the_last_bit(
    name, monkeypatch
):
    """The toy detector calls at steps 4, 8 and 11, and sees no more than the real one does."""

    def find(losses):
        return [SimpleNamespace(start=step) for step in (4, 8, 11) if step == len(losses) - 1]

    monkeypatch.setattr(rollback.spikes, "find", find)
    config, rule = TrainConfig(order="shuffle", epochs=2), RULES[name]
    whole = session_of(config, n=104, states=MemoryStates(2), every=3)
    broken_off: list[tuple[State, MemoryStates]] = []
    for record in whole.steps(policy=RollbackPolicy(rule)):
        whole.records.append(record)
        broken_off.append((whole.save(), copy.deepcopy(whole.states)))
    assert len(whole.rollbacks) >= 2
    for state, states in broken_off:
        rest = session_of(config, n=104, fresh=False, states=states, every=3)
        rest.restore(state)
        before = Run({}, tuple(whole.records[: state.position]))
        policy = resumed(rule, before, state.rollbacks, step=state.step)
        assert plain(rest.advance(policy=policy)) == plain(whole.records[state.position :])
        assert end_of(rest) == end_of(whole)


@pytest.mark.parametrize("name", RULES)
def test_a_run_with_rollbacks_can_be_taken_step_by_step(name):
    ends = []
    for n in (1, 4, None):
        session = session_of(TrainConfig(), n=320, states=MemoryStates(2), every=5)
        policy = RollbackPolicy(RULES[name], detector=lambda losses: len(losses) in (7, 15))
        while session.advance(n, policy=policy):
            pass
        ends.append((plain(session.records), end_of(session)))
    assert ends[0] == ends[1] == ends[2] and len(ends[0][1][-1]) >= 2


def test_records_are_written_before_the_state_that_comes_after_them():
    events = []

    class Listening(MemoryStates):
        def add(self, state):
            events.append(("state", state.step))
            super().add(state)

    def write(record):
        events.append(("record", record.step))

    session = session_of(TrainConfig(), states=Listening(), every=3, write=write)
    session.advance(4)
    session.advance()
    expected = [("state", 0), *(("record", s) for s in range(3)), ("state", 3)]
    expected += [*(("record", s) for s in range(3, 6)), ("state", 6)]
    assert list(dict.fromkeys(events)) == expected


def test_memory_keeps_the_last_states_and_forgets_those_that_a_rollback_made_void():
    def state(step):
        return State({}, {}, step, step)

    states = MemoryStates(2)
    for step in (0, 5, 10):
        states.add(state(step))
    assert [states.before(step).step for step in (100, 10, 9, 4)] == [10, 10, 5, 5]
    states.add(state(5))
    assert states.before(100).step == 5


def test_records_before_a_loss_that_is_not_finite_are_not_lost():
    session = session_of(TrainConfig(learning_rate=1e3), n=320)
    with pytest.raises(NonFiniteLoss) as error:
        session.advance()
    assert error.value.step > 1
    assert steps_of(session.records) == list(range(error.value.step))
    assert session.step == session.position == error.value.step


def test_a_policy_without_states_is_told_what_it_needs():
    with pytest.raises(ValueError, match="needs states to go back to"):
        session_of(TrainConfig()).advance(policy=lambda step, loss: Wish("now"))


def test_what_a_run_says_of_itself():
    run = session_with_all_steps(32).run(info={"name": "a test"})
    assert run.info["rows"] == 32 and run.info["name"] == "a test" and len(run) == 2
    assert math.isfinite(run.info["probes_after"]["held out"])
