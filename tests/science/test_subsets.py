"""Shares of subsets: counted by hand, by enumeration and by draws, against the approximation."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.science.subsets import Pools, share_as_high

FEW = settings(max_examples=40, deadline=None, derandomize=True)


def share(losses, tokens, size):
    """Of the subsets of one pool, with its last rows judged."""
    pool = Pools(*np.array([[0], [len(losses)], [size]]))
    return float(share_as_high(np.asarray(losses, float), np.asarray(tokens), pools=pool)[0])


def counted(losses, tokens, size):
    """The same by enumeration."""
    rows = np.array(list(combinations(range(len(losses)), size)))
    means = (losses * tokens)[rows].sum(axis=1) / tokens[rows].sum(axis=1)
    judged = np.average(losses[-size:], weights=tokens[-size:])
    return float(np.mean(means >= judged - 1e-12))


def test_the_highest_two_of_four_rows_are_one_subset_of_six():
    assert share([1, 2, 3, 4], [10, 10, 10, 10], 2) == pytest.approx(1 / 6)


def test_rows_that_are_all_alike_give_1():
    assert share([2, 2, 2, 2], [10, 5, 10, 1], 2) == 1
    assert share([1, 2, 3, np.nan], [1, 1, 1, 0], 1) == 1  # judged rows without a token
    assert share([1, 2], [1, 1], 2) == 1  # the pool holds one subset


@pytest.mark.parametrize("n, size", [(16, 8), (20, 4)])
@pytest.mark.parametrize("spread", [0.1, 1.0, 2.0])
def test_the_approximation_is_near_the_count_of_all_subsets(n, size, spread):
    """Losses that are log-normal, up to very heavy tails; token counts from 5 to 200."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        losses, tokens = rng.lognormal(0, spread, n), rng.integers(5, 200, n)
        exact = counted(losses, tokens, size)
        assert share(losses, tokens, size) == pytest.approx(exact, rel=0.35, abs=0.03)


@pytest.mark.parametrize("spread, most", [(0.3, 0.15), (1.0, 0.3)])
def test_the_tail_of_a_large_pool_is_near_that_of_many_draws(spread, most):
    """496 rows and 100,000 subsets of 16: shares of 10 %, 1 % and 0.1 %."""
    rng = np.random.default_rng(1)
    losses, tokens = rng.lognormal(0, spread, 496), rng.integers(5, 200, 496)
    draws = np.argsort(rng.random((100_000, 496), dtype=np.float32), axis=1)[:, :16]
    means = (losses * tokens)[draws].sum(axis=1) / tokens[draws].sum(axis=1)
    for exact in (0.1, 0.01, 0.001):
        judged = draws[np.argsort(means)[int((1 - exact) * len(means))]]
        order = np.append(np.delete(np.arange(496), judged), judged)
        assert share(losses[order], tokens[order], 16) == pytest.approx(exact, rel=most)


@FEW
@given(st.integers(0, 1000))
def test_order_inside_the_judged_rows_and_inside_the_rest_means_nothing(seed):
    rng = np.random.default_rng(seed)
    losses, tokens = rng.normal(5, 1, 40), rng.integers(5, 200, 40)
    order = np.append(rng.permutation(32), 32 + rng.permutation(8))
    assert share(losses[order], tokens[order], 8) == pytest.approx(share(losses, tokens, 8))


@FEW
@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(0.1, 10))
def test_level_and_scale_mean_nothing(seed, level, scale):
    rng = np.random.default_rng(seed)
    losses, tokens = rng.normal(5, 1, 40), rng.integers(5, 200, 40)
    moved = share(level + scale * losses, tokens, 8)
    assert moved == pytest.approx(share(losses, tokens, 8), rel=1e-6)


def test_pools_of_other_lengths_don_t_touch_each_other():
    rng = np.random.default_rng(2)
    losses, tokens = rng.normal(5, 1, 90), rng.integers(5, 200, 90)
    pools = Pools(np.array([0, 30, 10]), np.array([40, 60, 90]), np.array([8, 4, 16]))
    alone = [
        share(losses[a:b], tokens[a:b], k)
        for a, b, k in zip(pools.starts, pools.stops, pools.sizes)
    ]
    assert share_as_high(losses, tokens, pools=pools) == pytest.approx(alone)


def test_a_batch_far_above_gives_a_tiny_share_and_no_warning():
    losses = np.append(np.random.default_rng(3).normal(5, 0.1, 480), np.full(16, 9.0))
    assert 0 < share(losses, np.full(496, 50), 16) < 1e-28
