"""What comes back after a break, on a toy world: exactly what a variant says, and no more."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from science.toy import N, ToyData, base_model, losses_of

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.optimizer import learning_rate
from minimind_lite.runs.session import State
from minimind_lite.science import laws, procedures, resume_costs, resuming
from minimind_lite.science.experiments import EXACT, LOSSES
from minimind_lite.science.store import Trial

WORLD = ToyData()
BATCHES = N // 16
BREAK = round(0.45 * BATCHES)


@pytest.fixture(autouse=True)
def tiny_base(monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")
    monkeypatch.setattr(shipped, "base_model", lambda name="nano": base_model())


def rows_of_run(run):
    return np.concatenate([r.rows for r in run.records])


# E10: the process goes on


def resume(restores: str):
    return resuming.resume(WORLD, 3, {"restores": restores})


def uninterrupted():
    return procedures.one_pass(WORLD, 3, {"config": {"order": "shuffle"}}).run


def test_a_resume_with_everything_is_the_uninterrupted_run():
    outcome = resume("all")
    assert losses_of(outcome.run) == losses_of(uninterrupted())
    assert outcome.values == {"read_twice": 0, "never_read": 0}
    assert outcome.run.info["resumed_at"] == BATCHES // 2


def test_a_resume_in_file_order_reads_rows_twice_and_as_many_never():
    outcome = resume("all but the order")
    half = BATCHES // 2
    rows = rows_of_run(outcome.run)
    assert rows[16 * half :].tolist() == list(range(16 * half, N))
    assert outcome.values["read_twice"] == outcome.values["never_read"] > 40
    assert outcome.values["never_read"] == N - len(np.unique(rows))


def test_a_resume_in_another_order_skips_that_order_s_first_half():
    outcome, half = resume("another order"), BATCHES // 2
    other = procedures.one_pass(WORLD, 1003, {"config": {"order": "shuffle"}}).run
    expected = rows_of_run(other)[16 * half :]
    assert rows_of_run(outcome.run)[16 * half :].tolist() == expected.tolist()


def test_a_resume_with_weights_alone_begins_again_with_order_and_schedule():
    outcome, half = resume("weights"), BATCHES // 2
    run = outcome.run
    assert run.column("step").tolist() == list(range(half + BATCHES))
    assert rows_of_run(run)[16 * half :].tolist() == rows_of_run(uninterrupted()).tolist()
    rates = run.column("lr")
    assert rates[half] == rates[0] > rates[half - 1]
    assert outcome.values == {"read_twice": 16 * half, "never_read": 0}


@pytest.mark.parametrize("restores", ["all", "all but the order", "another order"])
def test_a_resume_goes_on_with_the_schedule(restores):
    for record in resume(restores).run.records:
        assert record.lr == learning_rate(TrainConfig(), record.step, BATCHES)


# E19: a checkpoint that loses something


def trial(name: str) -> Trial:
    outcome = resuming.resume_from(WORLD, 3, {**EXACT, **LOSSES[name]})
    return Trial("E19", name, 3, {}, outcome.values, outcome.run)


@pytest.fixture(scope="module")
def trials():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMIND_LITE_WORKERS", "1")
        patch.setattr(shipped, "base_model", lambda name="nano": base_model())
        return {name: trial(name) for name in LOSSES}


def test_what_is_uninterrupted_is_a_pass(trials):
    whole = trials["uninterrupted"]
    assert losses_of(whole.run) == losses_of(uninterrupted())
    assert whole.run.info["resumed_at"] == BREAK


def test_only_an_exact_resume_has_the_same_bits(trials):
    whole = trials["uninterrupted"]
    same = {name for name, t in trials.items() if resume_costs.same_bits(t, whole)}
    assert same == {"uninterrupted", "exact"}


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_differs_before_the_break(name, trials):
    before = losses_of(trials[name].run)[:BREAK]
    assert before == losses_of(trials["uninterrupted"].run)[:BREAK]


@pytest.mark.parametrize("name", ["half-precision weights", "half-precision moments"])
def test_half_precision_goes_on_with_the_same_rows(name, trials):
    whole, resumed = trials["uninterrupted"].run, trials[name].run
    assert rows_of_run(resumed).tolist() == rows_of_run(whole).tolist()
    assert resumed.column("lr").tolist() == whole.column("lr").tolist()


def test_moments_show_one_step_after_the_break_and_weights_at_once(trials):
    """The first loss after the break is read before the first update."""
    first = trials["uninterrupted"].run.loss[BREAK]
    for name in ("no optimizer state", "half-precision moments"):
        assert trials[name].run.loss[BREAK] == first
        assert trials[name].run.loss[BREAK + 1] != trials["uninterrupted"].run.loss[BREAK + 1]
    assert trials["half-precision weights"].run.loss[BREAK] != first


def test_weights_only_is_a_restart(trials):
    run, whole = trials["weights only"].run, trials["uninterrupted"].run
    assert run.column("step").tolist() == list(range(BREAK + BATCHES))
    assert run.column("samples_seen").tolist() == [16 * i for i in range(BREAK + BATCHES)]
    assert run.column("lr")[BREAK:].tolist() == whole.column("lr").tolist()
    assert rows_of_run(run)[16 * BREAK :].tolist() == rows_of_run(whole).tolist()


@pytest.mark.parametrize("name", ["order restarted", "file order", "another shuffle"])
def test_a_lost_order_keeps_the_schedule(name, trials):
    run, whole = trials[name].run, trials["uninterrupted"].run
    assert run.column("lr").tolist() == whole.column("lr").tolist()
    assert run.column("step").tolist() == list(range(BATCHES))


def test_a_lost_order_reads_other_rows(trials):
    after = {name: rows_of_run(t.run)[16 * BREAK :].tolist() for name, t in trials.items()}
    assert after["file order"] == list(range(16 * BREAK, N))
    first = rows_of_run(trials["uninterrupted"].run)[: N - 16 * BREAK]
    assert after["order restarted"] == first.tolist()
    another = procedures.one_pass(WORLD, 1003, {"config": {"order": "shuffle"}}).run
    assert after["another shuffle"] == rows_of_run(another)[16 * BREAK :].tolist()


@pytest.mark.parametrize("name", LOSSES)
def test_held_out_losses_are_close_around_the_break(name, trials):
    measured, _ = trials[name].run.probe("zh")
    steps = trials[name].run.column("step")[measured]
    gaps = np.diff(steps[(steps >= BREAK - 3) & (steps < BATCHES)])
    assert gaps.max() <= 3 and steps[0] == 0


@pytest.mark.parametrize("name", LOSSES)
def test_rows_are_counted(name, trials):
    times = np.bincount(rows_of_run(trials[name].run), minlength=N)
    values = trials[name].values
    assert values["read_twice"] == (times > 1).sum()
    assert values["never_read"] == (times == 0).sum()
    expected = resume_costs.expected_shares({**EXACT, **LOSSES[name]}, 16 * BREAK / N)
    assert np.allclose([values["read_twice"] / N, values["never_read"] / N], expected, atol=0.06)


def state() -> State:
    tiny = torch.tensor([1e-9, 1.0001, 3e-5])
    moments = {"0.exp_avg_sq": tiny.clone(), "0.step": torch.tensor(9.0)}
    return State({"w": tiny}, moments, step=9, position=9)


def test_each_loss_takes_what_it_says_and_leaves_the_rest():
    whole = state()

    def back(**lost):
        return resuming.what_comes_back(whole, {**EXACT, **lost})

    assert back() == whole
    half = back(weights="half")
    assert half.weights["w"].tolist() == whole.weights["w"].half().tolist()
    assert half.weights["w"].dtype == torch.float32 and half.moments is whole.moments
    small = back(moments="half")
    assert small.moments["0.exp_avg_sq"][0] == 0  # too small for half precision
    assert small.moments["0.step"] == 9 and small.weights is whole.weights
    assert back(moments="none") == dataclasses.replace(whole, moments={})
    assert back(step=False) == dataclasses.replace(whole, step=0)


def test_no_moments_are_a_fresh_optimizer():
    session = resuming.TrainingSession(base_model(), WORLD.data(WORLD.layout(0)), TrainConfig())
    session.advance(3)
    assert session.save().moments
    session.restore(resuming.what_comes_back(session.save(), {**EXACT, "moments": "none"}))
    assert session.save().moments == {} and session.step == 3


# The resume law

broken = st.tuples(st.integers(20, 3000), st.floats(0.0, 1.0), st.integers(0, 2**31))


@settings(deadline=None, max_examples=60)
@given(broken, st.sampled_from(["file", "another"]))
def test_rows_read_twice_follow_the_law(drawn, order):
    """A count of this kind is hypergeometric; it lies within six of its deviations."""
    twice, never, n, f = counts(drawn, order)
    assert twice == never
    law = laws.resume_rows(n, f)
    assert abs(twice - law) <= 6 * f * (1 - f) * np.sqrt(n) + 1


@settings(deadline=None, max_examples=30)
@given(broken)
def test_an_order_begun_again_reads_twice_all_that_it_can(drawn):
    twice, never, n, f = counts(drawn, "again")
    assert 0 <= twice - never < 16  # a whole batch is read in place of the last, short one
    assert twice / n == pytest.approx(min(f, 1 - f), abs=16 / n)


@settings(deadline=None, max_examples=30)
@given(broken)
def test_an_order_that_goes_on_loses_nothing(drawn):
    assert counts(drawn, "goes on")[:2] == (0, 0)


def counts(drawn, order):
    """Rows read twice and never, n, and the share f that was read before the break."""
    n, share, seed = drawn
    config = TrainConfig(order="shuffle", seed=seed)
    whole = resuming.batches_from(0, n, config, order="goes on")
    at = round(share * len(whole))
    batches = whole[:at] + resuming.batches_from(at, n, config, order=order)
    assert [b.step for b in batches] == list(range(len(whole)))
    times = np.bincount(np.concatenate([b.rows for b in batches]), minlength=n)
    done = sum(len(b.rows) for b in whole[:at])
    return (times > 1).sum(), (times == 0).sum(), n, done / n


# What it costs


def test_an_exact_resume_costs_nothing(trials):
    cost = resume_costs.cost(trials["exact"], trials["uninterrupted"])
    assert set(vars(cost).values()) == {0.0}


def test_costs_are_differences_from_the_uninterrupted_run(trials):
    whole, resumed = trials["uninterrupted"], trials["file order"]
    cost = resume_costs.cost(resumed, whole)
    after, as_it_was = losses_of(resumed.run)[BREAK:], losses_of(whole.run)[BREAK:]
    assert cost.jump == pytest.approx(np.mean(after[:10]) - np.mean(as_it_was[:10]))
    assert cost.tallest == max(after) - max(as_it_was)
    ends = [t.run.info["probes_after"] for t in (resumed, whole)]
    means = [np.mean(list(end.values())) for end in ends]
    assert cost.held_out == means[0] - means[1]
    assert cost.never_read == resumed.values["never_read"] / N


def test_the_highest_held_out_loss_is_one_close_after_the_break(trials):
    whole, resumed = trials["uninterrupted"], trials["half-precision moments"]

    def highest(run):
        probed = [r.probes for r in run.records[BREAK : BREAK + 20] if r.probes]
        return max((probes["zh"] + probes["en"]) / 2 for probes in probed)

    rise = resume_costs.cost(resumed, whole).held_out_rise
    assert rise == pytest.approx(highest(resumed.run) - highest(whole.run))


def test_steps_that_only_a_restart_takes_do_not_count(trials):
    """A restart goes on for longer, so its highest of all steps would be another number."""
    restart, whole = trials["weights only"], trials["uninterrupted"]
    late = [
        dataclasses.replace(r, loss=99.0) if i >= BATCHES else r
        for i, r in enumerate(restart.run.records)
    ]
    run = dataclasses.replace(restart.run, records=tuple(late))
    later = resume_costs.cost(dataclasses.replace(restart, run=run), whole)
    assert later.tallest == resume_costs.cost(restart, whole).tallest < 50


def test_one_other_bit_is_another_run(trials):
    whole = trials["uninterrupted"]
    records = list(whole.run.records)
    records[-1] = dataclasses.replace(records[-1], loss=np.nextafter(records[-1].loss, 9))
    changed = dataclasses.replace(whole, run=dataclasses.replace(whole.run, records=tuple(records)))
    assert not resume_costs.same_bits(changed, whole)
    other_weights = dataclasses.replace(whole, values={**whole.values, "weights": "?"})
    assert not resume_costs.same_bits(other_weights, whole)
