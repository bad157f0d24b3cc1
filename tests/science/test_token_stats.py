"""Distances between token distributions: hand-made examples, and the laws a divergence obeys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from minimind_lite.rows import EncodedRows
from minimind_lite.science import token_stats

counts = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)
# Three conversations; supervised tokens are 2 and 3 | 3 | none
DATA = EncodedRows(
    np.array([1, 2, 3, 1, 3, 1], np.uint16),
    np.array([0, 1, 1, 0, 1, 0], bool),
    np.array([0, 3, 5, 6]),
)


def test_counts_are_of_supervised_tokens_only():
    assert token_stats.count_tokens(DATA, 5).tolist() == [0, 0, 1, 2, 0]
    assert token_stats.count_tokens(DATA, 5, np.array([1])).tolist() == [0, 0, 0, 1, 0]


def test_entropy_of_a_fair_coin_is_one_bit():
    assert token_stats.entropy([7, 7]) == 1 and token_stats.entropy([3, 0]) == 0


@settings(deadline=None)
@given(counts, counts)
def test_divergence_is_symmetric_and_between_0_and_1_bit(p, q):
    assert token_stats.js_divergence(p, q) == pytest.approx(token_stats.js_divergence(q, p))
    assert -1e-12 <= token_stats.js_divergence(p, q) <= 1 + 1e-12


@settings(deadline=None)
@given(counts, counts)
def test_divergence_is_what_mixing_adds_to_the_entropy(p, q):
    mixed = np.array(p) / sum(p) + np.array(q) / sum(q)
    assert token_stats.js_divergence(p, q) == pytest.approx(
        token_stats.entropy(mixed) - (token_stats.entropy(p) + token_stats.entropy(q)) / 2, abs=1e-9
    )


@settings(deadline=None)
@given(counts, counts)
def test_divergence_is_scipy_s_distance_squared_and_the_textbook_s_sum(p, q):
    found = token_stats.js_divergence(p, q)
    if p != q:  # scipy's square root of a rounded zero may be NaN
        a, b = np.array(p) / sum(p), np.array(q) / sum(q)
        distance = jensenshannon(a, b, base=2) if np.abs(a - b).max() > 1e-9 else 0.0
        assert found == pytest.approx(distance**2, abs=1e-12)
    assert found == pytest.approx(textbook_divergence(p, q), abs=1e-12)


def textbook_divergence(p, q):
    p, q = np.array(p) / sum(p), np.array(q) / sum(q)
    m = (p + q) / 2
    return sum(
        side[i] * np.log2(side[i] / m[i]) / 2 for side in (p, q) for i in np.flatnonzero(side)
    )


def test_what_each_token_adds_sums_up_to_the_divergence():
    parts = token_stats.js_by_token([3, 1, 0, 0], [1, 3, 4, 0])
    assert parts.sum() == token_stats.js_divergence([3, 1, 0, 0], [1, 3, 4, 0])
    assert parts[2] == pytest.approx(0.25) and parts[3] == 0 and (parts >= 0).all()


def test_the_sampling_floor_is_a_small_sample_s_divergence_from_the_rest():
    rng = np.random.default_rng(0)
    ids = rng.integers(8, size=600).astype(np.uint16)
    data = EncodedRows(ids, np.ones(600, bool), np.arange(0, 601, 3))
    floor = [
        token_stats.sampling_floor(data, 8, rows=np.arange(200), size=size) for size in (4, 100)
    ]
    assert 0 < floor[1] < floor[0] < 0.5
    with pytest.raises(ValueError, match="a rest of the 200 rows, got 200"):
        token_stats.sampling_floor(data, 8, rows=np.arange(200), size=200)


def test_only_shares_count():
    assert token_stats.js_divergence([1, 2, 0], [10, 20, 0]) == pytest.approx(0)
    assert token_stats.js_divergence([1, 0], [0, 1]) == pytest.approx(1)


def test_a_group_without_tokens_is_an_error():
    with pytest.raises(ValueError, match="supervised token"):
        token_stats.js_divergence([0, 0], [1, 1])


def test_the_frequency_model_pays_the_entropy_plus_the_kullback_leibler_divergence():
    p, seen = np.array([3, 1]), np.array([0, 2])
    q = np.array([1 / 4, 3 / 4])  # one added to each
    assert token_stats.unigram_loss(p, seen) == pytest.approx(
        -(0.75 * np.log(q[0]) + 0.25 * np.log(q[1]))
    )


def test_group_loss_weighs_conversations_by_their_tokens():
    assert token_stats.group_loss(
        np.array([1.0, 5.0, np.nan]), np.array([5, 1, 0]), rows=np.arange(3)
    ) == pytest.approx(10 / 6)
    with pytest.raises(ValueError, match="no conversation"):
        token_stats.group_loss(np.array([np.nan]), np.array([0]), rows=np.array([0]))
