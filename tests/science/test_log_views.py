"""One run as it may be logged: each curve by hand, from two steps of two micro-batches."""

from dataclasses import replace

import numpy as np
import pytest

from minimind_lite.records import Run, StepRecord
from minimind_lite.science import log_views


def step(i: int, losses: list[float], tokens: list[int]) -> StepRecord:
    """Four conversations, cut in two micro-batches of two."""
    x, n = np.array(losses), np.array(tokens)
    known = np.where(n > 0, x, 0) * n
    micro = np.divide(np.add.reduceat(known, [0, 2]), np.add.reduceat(n, [0, 2]))
    return StepRecord(
        step=i,
        epoch=0,
        samples_seen=4 * i,
        loss=float(known.sum() / n.sum()),
        tokens=int(n.sum()),
        lr=0.1 * (i + 1),
        grad_norm=1.0,
        micro_losses=micro,
        rows=np.arange(4 * i, 4 * i + 4),
        sample_losses=x,
        sample_tokens=n,
        seconds=0.0,
    )


# Step 0: micro-batches 2.0 (20 tokens) and 5.0 (2 tokens); step 1: 1.0 (4 tokens) and 3.0 (4
# tokens)
RUN = Run(
    {}, (step(0, [2.0, 2.0, 5.0, 5.0], [10, 10, 1, 1]), step(1, [1.0, 1.0, 3.0, 3.0], [2, 2, 4, 0]))
)


def test_full_last_and_mean_of_means():
    assert log_views.full(RUN).values == pytest.approx([50 / 22, 16 / 8])
    assert log_views.last_micro_batch(RUN).values == pytest.approx([5.0, 3.0])
    assert log_views.mean_of_means(RUN).values == pytest.approx([3.5, 2.0])
    assert log_views.full(RUN).samples.tolist() == [0, 4]


def test_any_other_cut_is_worked_out_from_the_conversations():
    # That of step 1's last conversation has no token.
    assert log_views.last_micro_batch(RUN, 1).values == pytest.approx([5.0, 3.0])
    assert log_views.mean_of_means(RUN, 1).values == pytest.approx([3.5, 5 / 3])
    assert log_views.mean_of_means(RUN, 4).values == pytest.approx(log_views.full(RUN).values)
    sums, counts = log_views.micro_sums(RUN, 2)[0]
    assert (sums.tolist(), counts.tolist()) == ([40.0, 10.0], [20, 2])


def test_minimind_prints_one_micro_batch_in_n_divided():
    every_third = log_views.minimind(RUN, 3)  # micro-batches 0 and 3 of four
    assert every_third.values == pytest.approx(
        [2.0 / 2, 3.0 / 2]
    ) and every_third.samples.tolist() == [0, 6]
    assert log_views.minimind(RUN, 3, divided=False).values == pytest.approx([2.0, 3.0])


def test_the_count_of_micro_batches_starts_again_in_each_epoch():
    """As the script's does; lines used to be numbered over all epochs of one."""
    first = tuple(replace(r, micro_losses=np.array([2.0, 4.0, 6.0])) for r in RUN.records)
    second = tuple(replace(r, epoch=1, samples_seen=r.samples_seen + 8) for r in first)
    run = Run({}, first + second)
    assert log_views.lines(run, 4) == [
        "Epoch:[1/2](0/6) loss:0.667 lr:0.100000000000",
        "Epoch:[1/2](4/6) loss:1.333 lr:0.200000000000",
        "Epoch:[2/2](0/6) loss:0.667 lr:0.100000000000",
        "Epoch:[2/2](4/6) loss:1.333 lr:0.200000000000",
    ]
    shown = log_views.minimind(run, 4, divided=False)
    assert shown.values.tolist() == [2.0, 4.0, 2.0, 4.0]
    assert shown.samples.tolist() == [0, 6, 8, 14]


def test_an_interval_s_mean_weighs_by_tokens():
    assert log_views.interval_mean(RUN, 2).values == pytest.approx([(50 + 16) / 30])
    assert log_views.interval_mean(RUN, 1).values == pytest.approx(RUN.loss)


def test_a_moving_average_starts_at_the_truth():
    first, second = RUN.loss
    assert log_views.moving_average(RUN, beta=0.9).values == pytest.approx(
        [first, (0.9 * first + second) / 1.9]
    )
    with pytest.raises(ValueError, match="beta"):
        log_views.moving_average(RUN, beta=1.0)


def test_lines_as_the_script_prints_them():
    assert log_views.lines(RUN, 3) == [
        "Epoch:[1/1](0/4) loss:1.000 lr:0.100000000000",
        "Epoch:[1/1](3/4) loss:1.500 lr:0.200000000000",
    ]
