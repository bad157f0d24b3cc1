"""A run as columns: by position, whatever its step numbers are."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.records import Run, StepRecord, micro_sums

FEW = settings(max_examples=30, deadline=None)


def record(step, **changes):
    """A record of one conversation."""
    values = dict(
        step=step,
        epoch=0,
        samples_seen=step,
        loss=0.1 + step,
        tokens=5,
        lr=1e-4,
        grad_norm=1.0,
        micro_losses=np.array([0.1 + step]),
        rows=np.array([step]),
        sample_losses=np.array([0.1 + step]),
        sample_tokens=np.array([5]),
    )
    return StepRecord(**values | changes)


def test_losses_by_row_are_in_file_order():
    # Six rows in two epochs, read as 4 1 | 5 0 and 2 3 | 4 1: the first lacks rows 2 and 3.
    epochs = [
        (0, [4, 1], [0.4, 0.1]),
        (0, [5, 0], [0.5, 0.0]),
        (1, [2, 3], [1.2, 1.3]),
        (1, [4, 1], [1.4, np.nan]),
    ]
    run = Run(
        {},
        tuple(
            record(i, epoch=epoch, rows=np.array(rows), sample_losses=np.array(losses))
            for i, (epoch, rows, losses) in enumerate(epochs)
        ),
    )
    np.testing.assert_array_equal(run.losses_by_row(6), [0.0, 0.1, np.nan, np.nan, 0.4, 0.5])
    np.testing.assert_array_equal(
        run.losses_by_row(6, epoch=1), [np.nan, np.nan, 1.2, 1.3, 1.4, np.nan]
    )


@FEW
@given(st.permutations(range(12)), st.integers(1, 5))
def test_losses_by_row_undo_any_order(order, batch_size):
    cuts = [np.array(order[i : i + batch_size]) for i in range(0, 12, batch_size)]
    run = Run(
        {}, tuple(record(i, rows=rows, sample_losses=rows / 8) for i, rows in enumerate(cuts))
    )
    assert run.losses_by_row(12).tolist() == [row / 8 for row in range(12)]


def test_probes_are_placed_by_position_not_by_step_number():
    """Of a run that was thinned, or that took steps twice, the step numbers are only labels."""
    steps = [0, 4, 8, 4, 8]
    run = Run({}, tuple(record(s, probes={"zh": float(i)}) for i, s in enumerate(steps)))
    assert [part.tolist() for part in run.probe("zh")] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert run.column("step").tolist() == steps
    assert [part.tolist() for part in run.every(2).probe("zh")] == [[0, 1, 2], [0.0, 2.0, 4.0]]


def test_micro_sums_by_hand():
    losses, tokens = np.array([1.0, 5.0, np.nan]), np.array([5, 1, 0])
    sums, counts = micro_sums(losses, tokens, 2)
    assert sums.tolist() == [10.0, 0.0] and counts.tolist() == [6, 0]
