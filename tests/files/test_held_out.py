"""Rows kept back: evenly spaced, none twice, and the rest is what a copy of the rest would be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimind_lite.files.held_out import choose, spaced, split
from minimind_lite.rows import EncodedRows, collate, pack


def rows_of(lengths, seed=0):
    rng, n = np.random.default_rng(seed), int(np.sum(lengths))
    ids = rng.integers(0, 100, n).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return EncodedRows(ids, rng.random(n) < 0.5, offsets)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=40), st.data())
def test_chosen_rows_are_what_a_copy_of_them_is(lengths, data):
    whole = rows_of(lengths)
    rows = np.array(data.draw(st.permutations(range(len(lengths)))))[: len(lengths) // 2 + 1]
    chosen, copy = choose(whole, rows), whole.select(rows)
    every = np.arange(len(rows))
    assert len(chosen) == len(copy)
    assert chosen.lengths().tolist() == copy.lengths().tolist()
    assert chosen.lengths(every[::-1]).tolist() == copy.lengths(every[::-1]).tolist()
    assert chosen.supervised().tolist() == copy.supervised().tolist()
    for a, b in zip(
        (*pack(chosen, every), *collate(chosen, every)), (*pack(copy, every), *collate(copy, every))
    ):
        assert np.array_equal(a, b)
    for i in every:
        assert all(np.array_equal(a, b) for a, b in zip(chosen.row(i), copy.row(i)))
    again = chosen.select(every[:1])
    assert np.array_equal(again.ids, copy.select(every[:1]).ids)


@given(st.integers(2, 5000), st.data())
def test_held_out_rows_are_evenly_spaced_and_no_row_is_lost(n_rows, data):
    n = data.draw(st.integers(1, n_rows // 2))
    rows = spaced(n_rows, n)
    assert len(np.unique(rows)) == n and rows[0] >= 0 and rows[-1] < n_rows
    gaps = np.diff(np.concatenate([[-rows[0] - 1], rows, [2 * n_rows - rows[-1] - 1]]))
    assert gaps.min() >= n_rows // n - 1 and gaps.max() <= n_rows // n + 2


def test_a_split_is_a_partition():
    whole = rows_of([3, 1, 4, 1, 5, 9, 2, 6])
    parts = split(whole, 2)
    assert parts.rows.tolist() == [2, 6]
    assert parts.held_out.lengths().tolist() == [4, 2]
    assert parts.train.lengths().tolist() == [3, 1, 1, 5, 9, 6]
    assert parts.train.ids is whole.ids  # a file of gigabytes is not copied


@pytest.mark.parametrize("n", [0, 5, 100])
def test_more_than_half_is_refused(n):
    with pytest.raises(ValueError, match="half of the 8 conversations at most"):
        split(rows_of([1] * 8), n)
