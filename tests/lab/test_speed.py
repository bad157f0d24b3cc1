"""The estimated seconds: what they are made of, by hand."""

import math

import pytest

from minimind_lite.config import TrainConfig
from minimind_lite.lab.plan import RunSpec
from minimind_lite.lab.speed import MIN_STEPS, SECONDS_PER_ROW, Speed
from minimind_lite.records import StepRecord

N = 2224


def record(step, rows, seconds, *, grad_norm=1.0):
    return StepRecord(
        step=step,
        epoch=0,
        samples_seen=0,
        loss=5.0,
        tokens=10,
        lr=1e-3,
        grad_norm=grad_norm,
        micro_losses=None,
        rows=range(rows),
        sample_losses=None,
        sample_tokens=None,
        seconds=seconds,
        probe_seconds=100.0,  # counts for nothing
    )


def learned(seconds, rows=16):
    speed = Speed()
    speed.learn([record(i, rows, seconds) for i in range(MIN_STEPS + 1)])
    return speed


@pytest.mark.parametrize(
    "changes, rows",
    [
        ({}, N + 2 * 139),
        ({"batch_size": 4}, N + 2 * 556),
        ({"batch_size": 256}, N + 2 * 9),
        ({"epochs": 3}, 3 * (N + 2 * 139)),
        ({"optimizer": "none"}, (N + 2 * 139) / 3),
    ],
)
def test_a_conversation_costs_what_it_has_cost_and_a_step_two_more(changes, rows):
    speed = learned(0.18)  # 16 conversations and the step's two: 0.01 s each
    seconds = speed.seconds(RunSpec(TrainConfig(**changes)), N)
    assert seconds == pytest.approx(0.01 * rows)


def test_probes_cost_a_third_at_every_measurement():
    more = learned(0.18).seconds(RunSpec(), N, probe_rows=252) - learned(0.18).seconds(RunSpec(), N)
    assert more == pytest.approx(0.01 * (N / 320 + 2) * 252 / 3)


def test_before_anything_is_measured_there_is_an_estimate():
    assert Speed().seconds(RunSpec(), N) == pytest.approx(SECONDS_PER_ROW * (N + 2 * 139))


def test_a_run_that_is_too_short_or_frozen_teaches_nothing():
    speed = Speed()
    speed.learn([record(i, 16, 9.0) for i in range(MIN_STEPS)])
    speed.learn([record(i, 16, 9.0, grad_norm=math.nan) for i in range(50)])
    assert speed.seconds(RunSpec(), N) == Speed().seconds(RunSpec(), N)


def test_a_timed_batch_is_close_to_a_run(shared_materials):
    """Within a factor of four of the run that it is an estimate of, whatever else computes."""
    from minimind_lite.files import shipped
    from minimind_lite.lab.plan import session_of, steps

    speed = Speed()
    speed.time_a_batch(shipped.base_model(), shared_materials.rows)
    estimate = speed.seconds(RunSpec(), N)
    rows, model = shared_materials.rows, shipped.base_model()
    run = steps(RunSpec(), session_of(RunSpec(), model, data=rows, probes={}))
    records = [next(run) for _ in range(MIN_STEPS + 1)]
    run.close()
    speed.learn(records)
    assert 1 / 4 < estimate / speed.seconds(RunSpec(), N) < 4
    speed.time_a_batch(shipped.base_model(), shared_materials.rows)
    assert speed.seconds(RunSpec(), N) == pytest.approx(learned_from(records))


def learned_from(records):
    speed = Speed()
    speed.learn(records)
    return speed.seconds(RunSpec(), N)
