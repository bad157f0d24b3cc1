"""Both cuts, into batches and into micro-batches, lose nothing and take nothing twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.rows import MULTIPLE, EncodedRows, batches, collate, micro_batches, pack

FEW = settings(max_examples=80, deadline=None)

# Three conversations of 3, 1 and 2 tokens.
DATA = EncodedRows(
    ids=np.array([11, 12, 13, 21, 31, 32], np.uint16),
    mask=np.array([0, 1, 1, 0, 1, 0], bool),
    offsets=np.array([0, 3, 4, 6]),
)


some_lengths = st.lists(st.integers(1, 60), min_size=1, max_size=30).map(np.array)


@FEW
@given(st.integers(0, 50), st.integers(1, 12))
def test_batches_in_a_row_are_the_order(n, batch_size):
    order = np.random.default_rng(0).permutation(n)
    cut = list(batches(order, batch_size))
    assert np.concatenate([np.empty(0, int), *cut]).tolist() == order.tolist()
    assert all(len(b) == batch_size for b in cut[:-1]) and all(
        0 < len(b) <= batch_size for b in cut
    )


@FEW
@given(some_lengths, st.integers(1, 200))
def test_a_budget_cuts_a_partition_that_fits(lengths, budget):
    parts = micro_batches(lengths, token_budget=budget)
    assert sorted(np.concatenate(parts)) == list(range(len(lengths)))
    for part in parts:
        assert len(part) and (len(part) == 1 or lengths[part].sum() <= budget + lengths.max())


@FEW
@given(some_lengths, st.integers(1, 200))
def test_micro_batches_come_in_multiples_and_none_could_give_a_row_away(lengths, budget):
    for multiple in (MULTIPLE, 8):
        check_parts(
            lengths, micro_batches(lengths, token_budget=budget, multiple=multiple), multiple
        )


def check_parts(lengths, parts, multiple):
    assert len(parts) % multiple == 0 or len(parts) == len(lengths)
    tokens = [lengths[part].sum() for part in parts]
    # Longest-first: a part took its last, shortest row while no other was emptier.
    assert all(t - lengths[part].min() <= min(tokens) for t, part in zip(tokens, parts))


@FEW
@given(some_lengths, st.integers(1, 12))
def test_a_micro_batch_size_keeps_consecutive_rows(lengths, size):
    parts = micro_batches(lengths, micro_batch_size=size)
    assert np.concatenate(parts).tolist() == list(range(len(lengths)))
    assert [len(p) for p in parts[:-1]] == [size] * (len(parts) - 1) and 0 < len(parts[-1]) <= size


def test_micro_batches_by_hand():
    # 24 tokens under a budget of 6: four parts. Longest first: 9, 5, 4, 3 open a part each,
    # then 2 joins 3 and 1 joins 4.
    lengths = np.array([9, 2, 5, 3, 1, 4])
    assert [p.tolist() for p in micro_batches(lengths, token_budget=6)] == [
        [0],
        [2],
        [5, 4],
        [3, 1],
    ]
    assert [p.tolist() for p in micro_batches(lengths, micro_batch_size=4)] == [
        [0, 1, 2, 3],
        [4, 5],
    ]


@pytest.mark.parametrize("how", [dict(token_budget=8), dict(micro_batch_size=8)])
def test_no_rows_make_no_micro_batches(how):
    # An empty part would be a forward pass over nothing.
    assert micro_batches(np.empty(0, int), **how) == []


def test_collate_by_hand():
    ids, mask = collate(DATA, np.array([2, 0, 1]))
    assert ids.tolist() == [[31, 32, 0], [11, 12, 13], [21, 0, 0]] and ids.dtype == np.int64
    assert (
        mask.tolist() == [[True, False, False], [False, True, True], [False, False, False]]
        and mask.dtype == bool
    )


def test_collate_pads_further_on_demand():
    ids, mask = collate(DATA, np.array([2]), pad_to=4)
    assert ids.tolist() == [[31, 32, 0, 0]] and mask.tolist() == [[True, False, False, False]]


@FEW
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 6399), st.booleans()), min_size=1, max_size=9),
        min_size=1,
        max_size=9,
    ),
    st.data(),
)
def test_collate_shows_each_row_and_then_only_padding(rows, data):
    flat = [token for row in rows for token in row]
    encoded = EncodedRows(
        np.array([i for i, _ in flat], np.uint16),
        np.array([m for _, m in flat]),
        np.cumsum([0, *map(len, rows)]),
    )
    picked = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, max_size=9))
    longest = max(len(rows[i]) for i in picked)
    ids, mask = collate(
        encoded, np.array(picked), pad_to=data.draw(st.none() | st.integers(longest, longest + 5))
    )
    for i, row_ids, row_mask in zip(picked, ids.tolist(), mask.tolist()):
        n = len(rows[i])
        assert list(zip(row_ids[:n], row_mask[:n])) == rows[i]
        assert not any(row_ids[n:]) and not any(
            row_mask[n:]
        )  # the first row may be supervised: padding must not copy it


def test_pack_by_hand():
    ids, mask, lengths = pack(DATA, np.array([2, 0, 1]))
    assert (
        ids.tolist() == [[31, 32, 11, 12, 13, 21]]
        and ids.dtype == np.int64
        and lengths == [2, 3, 1]
    )
    # Row 2 begins supervised, but its first token has nothing before it.
    assert mask.tolist() == [[False, False, False, True, True, False]] and mask.dtype == bool
    assert DATA.mask[4]  # and the data set is left as it was


def test_padding_that_would_cut_a_row_is_refused():
    with pytest.raises(ValueError, match="pad_to = 2 would cut a row of 3 tokens"):
        collate(DATA, np.array([0]), pad_to=2)


def test_supervised_tokens_are_counted_by_blocks_as_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 9, 40)
    mask = rng.random(lengths.sum()) < 0.5
    data = EncodedRows(np.zeros(len(mask), np.uint16), mask, np.cumsum([0, *lengths]))
    by_hand = [int(data.row(i)[1][1:].sum()) for i in range(40)]  # the first token never counts
    for block in (1, 7, 1 << 20):
        monkeypatch.setattr("minimind_lite.rows.BLOCK_TOKENS", block)
        assert data.supervised().tolist() == by_hand


def test_select_and_lengths_by_hand():
    picked = DATA.select([2, 0])
    assert picked.ids.tolist() == [31, 32, 11, 12, 13] and picked.lengths().tolist() == [2, 3]
    assert DATA.lengths(np.array([2, 0])).tolist() == [2, 3]
