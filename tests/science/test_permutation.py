"""The permutation detector on series whose truth is known."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from minimind_lite.science import permutation
from minimind_lite.science.permutation import Batches, judge

FEW = settings(max_examples=25, deadline=None, derandomize=True)
BATCH = 16


def series(steps, *, seed=0, batch=BATCH):
    """Exchangeable rows: normal losses, and tokens from 20 to 200."""
    rng = np.random.default_rng(seed)
    n = steps * batch
    return Batches(rng.normal(5, 0.4, n), rng.integers(20, 200, n), np.full(steps, batch))


def raised(batches, start, stop, *, by=1.0):
    """Rows start .. stop-1 are so many nats higher."""
    losses = batches.losses.copy()
    losses[start:stop] += by
    return Batches(losses, batches.tokens, batches.sizes)


def test_p_of_the_second_batch_counted_by_hand():
    """Rows 1 2 | 3 4: one of six pairs has a mean of 3.5. The first batch has nothing before it."""
    four = Batches(np.array([1.0, 2, 3, 4]), np.array([7, 7, 7, 7]), np.array([2, 2]))
    assert judge(four).p == pytest.approx([1, 1 / 6])
    assert not judge(four).flagged.any() and judge(four).events == ()


def test_p_is_uniform_where_order_means_nothing():
    p = np.concatenate([judge(series(139, seed=seed)).p[1:] for seed in range(20)])
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(p < 0.01) == pytest.approx(0.01, abs=0.004)


def test_order_seldom_makes_an_event_where_it_means_nothing():
    events = [judge(series(60, seed=seed)).events for seed in range(200)]
    assert sum(map(bool, events)) <= 4  # 1 is expected at most; more than 4 has p = 0.004


@FEW
@given(st.integers(0, 1000))
def test_order_inside_a_batch_means_nothing(seed):
    batches = raised(series(40, seed=seed), 330, 420)
    rng = np.random.default_rng(seed)
    order = np.concatenate([BATCH * step + rng.permutation(BATCH) for step in range(40)])
    one = judge(batches)
    other = judge(Batches(batches.losses[order], batches.tokens[order], batches.sizes))
    assert one.p == pytest.approx(other.p, rel=1e-6)
    assert [e.start for e in one.events] == [e.start for e in other.events]


@FEW
@given(st.integers(0, 1000), st.integers(3 * BATCH, 1800), st.sampled_from([24, 64, 256]))
def test_a_planted_step_is_flagged_within_one_batch_of_its_start_and_end(seed, start, length):
    one = judge(raised(series(139, seed=seed), start, start + length))
    near = [e for e in one.events if abs(e.start - start // BATCH) <= 1]
    assert len(near) == 1 and abs(near[0].stop - 1 - (start + length - 1) // BATCH) <= 1
    assert near[0].height == pytest.approx(1.0, abs=0.5)


def test_the_middle_of_a_long_segment_is_no_spike():
    one = judge(raised(series(200), 60 * BATCH, 140 * BATCH))
    assert [(e.start, e.stop) for e in one.events] == [(60, 140)]
    assert [(c.start, round(c.rise)) for c in one.changes] == [(60, 1), (140, -1)]
    assert np.flatnonzero(one.flagged).tolist() == [60]


def test_the_second_step_is_judged_already():
    one = judge(raised(series(60), BATCH, 3 * BATCH, by=1.5))
    assert [(e.start, e.stop) for e in one.events] == [(1, 3)]


def test_a_segment_soon_after_another_is_judged_by_what_is_between_them():
    """A neighborhood that reached back into the first would hide the second, lower one."""
    both = raised(raised(series(80), 30 * BATCH, 50 * BATCH, by=2), 54 * BATCH, 56 * BATCH)
    assert [(e.start, e.stop) for e in judge(both).events] == [(30, 50), (54, 56)]


def test_two_blocks_that_rise_one_after_the_other_are_two_events():
    both = raised(raised(series(80), 30 * BATCH, 50 * BATCH), 40 * BATCH, 50 * BATCH)
    assert [(e.start, e.stop) for e in judge(both).events] == [(30, 40), (40, 50)]


def test_one_very_hard_row_is_no_spike_of_a_batch():
    assert judge(raised(series(80), 700, 701, by=30)).events == ()


def test_a_falling_curve_has_change_points_and_no_event():
    batches = series(120)
    slope = np.repeat(np.linspace(1.5, 0, 120), BATCH)
    one = judge(Batches(batches.losses + slope, batches.tokens, batches.sizes))
    assert one.events == () and one.changes and all(c.rise < 0 for c in one.changes)


def test_rows_without_tokens_and_short_batches_are_taken_as_they_are():
    batches = raised(series(60), 480, 560)
    losses, tokens = batches.losses.copy(), batches.tokens.copy()
    losses[[3, 500]], tokens[[3, 500]] = np.nan, 0
    sizes = np.append(np.full(59, BATCH), [9, 7])
    assert [e.start for e in judge(Batches(losses, tokens, sizes)).events] == [30]


def test_what_is_too_short_has_no_event():
    assert judge(series(1)).events == () and judge(series(1)).p.tolist() == [1]


def test_a_diverged_run_is_refused():
    batches = series(10)
    batches.losses[50] = np.nan
    with pytest.raises(ValueError, match="has no finite loss; judge a diverged run"):
        judge(batches)


def test_a_rate_is_shared_by_steps_and_change_points():
    assert permutation.FALSE_CHANGES + permutation.FALSE_DISCOVERIES == permutation.RATE


def test_long_runs_are_judged_quickly():
    """1,049 steps are promised in 10 seconds."""
    batches = raised(series(1049), 187 * BATCH, 560 * BATCH)
    start = time.perf_counter()
    assert [e.start for e in judge(batches).events] == [187]
    assert time.perf_counter() - start < 10
