"""Where a run rises: the row at which a block begins, one rise of two detectors, and its end."""

import math

import numpy as np
import pytest

from minimind_lite.records import Run, StepRecord
from minimind_lite.science import run_events

BATCH = 8


def a_run(losses, *, steps=None):
    """One pass in file order over rows with these losses."""
    records = []
    for step, batch in enumerate(np.arange(len(losses)).reshape(-1, BATCH)):
        number = step if steps is None else steps[step]
        records.append(
            StepRecord(
                step=number,
                epoch=0,
                samples_seen=BATCH * step,
                loss=float(losses[batch].mean()),
                tokens=10 * BATCH,
                lr=0.0,
                grad_norm=0.0,
                micro_losses=losses[batch],
                rows=batch,
                sample_losses=losses[batch],
                sample_tokens=np.full(BATCH, 10),
            )
        )
    return Run({}, tuple(records))


def rows(n, *, seed=0, block=None, height=1.0):
    losses = np.random.default_rng(seed).normal(5, 0.4, n)
    if block is not None:
        losses[slice(*block)] += height
    return losses


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("start", [400, 403, 407])
def test_a_block_begins_where_it_begins_to_a_row_or_two(seed, start):
    run = a_run(rows(1200, seed=seed, block=(start, start + 400), height=1.5))
    rise = max(run_events.find(run), key=lambda r: r.height)
    assert abs(run_events.first_row(run, rise) - start) <= 4
    assert rise.kind == "shift" and abs(rise.stop - (start + 400) // BATCH) <= 1
    assert not rise.by_chance and not rise.goes_on and run_events.in_file_order(run, rise)


def test_what_both_detectors_see_is_one_rise():
    run = a_run(rows(800, block=(400, 480)))
    [rise] = run_events.find(run)
    assert math.isfinite(rise.z) and math.isfinite(rise.p)
    assert (rise.start, rise.stop, rise.kind) == (50, 60, "spike")


def test_one_hard_row_is_seen_by_z_alone():
    losses = rows(800)
    losses[403] += 12
    run = a_run(losses)
    [rise] = [r for r in run_events.find(run) if r.start == 50]
    assert rise.by_chance and math.isfinite(rise.z)
    assert run_events.hardest_row(run, rise).row == 403
    assert run_events.hardest_row(run, rise).share > 0.9


def test_a_rise_ends_at_the_latest_where_the_next_begins():
    losses = rows(1600, block=(400, 1600))
    losses[960:] += 1.5
    first, second = run_events.find(a_run(losses))
    assert first.stop == second.start == 120 and not first.goes_on
    assert second.goes_on and second.stop == 200 and second.kind == "shift"


def test_shuffled_heavy_tailed_losses_rise_nowhere_for_p():
    """z has about one false alarm in four such passes; none of them is called a block."""
    n_z = n_p = 0
    for seed in range(10):
        losses = 5 + np.random.default_rng(seed).standard_t(2, 4000)
        for rise in run_events.find(a_run(losses)):
            n_z, n_p = n_z + rise.by_chance, n_p + (not rise.by_chance)
    assert n_z >= 1 and n_p == 0


def test_abandoned_steps_are_left_out():
    steps = [*range(60), *range(50, 90)]
    run = a_run(rows(800), steps=steps)
    course = run_events.course_of(run)
    assert course.column("step").tolist() == list(range(90))
    assert course.records[50] is run.records[60]
    whole = a_run(rows(800))
    assert run_events.course_of(whole) is whole


def test_a_run_of_one_step_rises_nowhere():
    assert run_events.find(a_run(rows(8))) == []
