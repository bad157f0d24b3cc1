"""Orders are permutations and nothing else; what they do to a segment follows from counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite import order

FEW = settings(max_examples=60, deadline=None)
kinds = st.sampled_from(
    [
        "file",
        "shuffle_once",
        "shuffle",
        "buffer:1",
        "buffer:7",
        "buffer:500",
        "block:1",
        "block:7",
        "block:500",
    ]
)
sizes, seeds, epochs = st.integers(0, 60), st.integers(0, 2**32), st.integers(0, 9)


@FEW
@given(kinds, sizes, seeds, epochs)
def test_every_order_is_a_repeatable_permutation(kind, n, seed, epoch):
    rows = order.make(kind, n, seed=seed, epoch=epoch)
    assert rows.dtype == np.int64 and sorted(rows) == list(range(n))
    assert np.array_equal(rows, order.make(kind, n, seed=seed, epoch=epoch))


def test_other_random_numbers_do_not_move_an_order():
    first = order.make("shuffle", 50)
    np.random.rand(10)
    assert np.array_equal(first, order.make("shuffle", 50))


@pytest.mark.parametrize(
    "kind, moves",
    [
        ("file", False),
        ("shuffle_once", False),
        ("shuffle", True),
        ("buffer:8", True),
        ("block:8", True),
    ],
)
def test_what_a_new_epoch_changes(kind, moves):
    first, second = (order.make(kind, 100, epoch=epoch) for epoch in (0, 1))
    assert np.array_equal(first, second) is not moves


@pytest.mark.parametrize(
    "kind, moves",
    [
        ("file", False),
        ("shuffle_once", True),
        ("shuffle", True),
        ("buffer:8", True),
        ("block:8", True),
    ],
)
def test_what_a_new_seed_changes(kind, moves):
    first, second = (order.make(kind, 100, seed=seed) for seed in (0, 1))
    assert np.array_equal(first, second) is not moves


def test_the_first_epoch_of_both_shuffles_is_the_same():
    # So that "set_epoch was forgotten" is the only difference between them.
    assert np.array_equal(order.shuffle_once(40, seed=3), order.shuffle(40, seed=3, epoch=0))


def test_a_shuffle_is_uniform():
    # 2400 shuffles of 4 rows: each of the 24 orders 100 times, give or take 5 standard deviations.
    counts = {}
    for seed in range(2400):
        key = tuple(order.shuffle(4, seed))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24 and all(50 < count < 150 for count in counts.values())


@FEW
@given(sizes, seeds)
def test_a_buffer_of_one_row_is_file_order(n, seed):
    assert np.array_equal(order.buffer(n, seed, size=1), np.arange(n))


def test_a_buffer_of_the_whole_file_is_a_full_shuffle():
    counts = {}
    for seed in range(1200):
        key = tuple(order.buffer(3, seed, size=5))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 6 and all(130 < count < 270 for count in counts.values())


@FEW
@given(st.integers(1, 60), st.integers(1, 70), seeds)
def test_a_buffer_lets_no_row_come_early(n, size, seed):
    # Row r enters the buffer when r - K + 1 rows have left it, so it can't be drawn before.
    rows = order.buffer(n, seed, size=size)
    assert (np.arange(n) >= rows - size + 1).all()


def test_a_buffer_can_reach_that_bound():
    assert any(order.buffer(20, seed, size=5)[6] == 10 for seed in range(100))


@FEW
@given(st.integers(1, 60), st.integers(2, 20), seeds)
def test_blocks_keep_the_order_inside(n, size, seed):
    rows = order.block(n, seed, size=size)
    jumps = np.diff(rows, prepend=-2) != 1
    assert (
        rows[jumps] % size == 0
    ).all()  # only the first row of a block may follow a row that is not the one before it


def test_blocks_by_hand():
    assert any(order.block(7, seed, size=3).tolist() == [6, 3, 4, 5, 0, 1, 2] for seed in range(50))


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "files",
        "FILE",
        "sorted",
        "file:3",
        "shuffle:3",
        "file:",
        "buffer",
        "buffer:",
        "buffer:0",
        "buffer:-1",
        "buffer:1.5",
        "buffer:x",
        "block",
        "block:0",
        "block: 3",
        "buffer:3:4",
    ],
)
def test_an_unknown_order_is_refused_with_the_choices(kind):
    with pytest.raises(
        ValueError, match="choose one of file, shuffle_once, shuffle, buffer:K, block:K"
    ):
        order.make(kind, 10)


def test_make_calls_the_order_it_names():
    assert np.array_equal(
        order.make("buffer:8", 50, seed=2, epoch=3), order.buffer(50, 2, 3, size=8)
    )
    assert np.array_equal(order.make("block:8", 50, seed=2, epoch=3), order.block(50, 2, 3, size=8))
    assert np.array_equal(order.make("shuffle", 50, seed=2, epoch=3), order.shuffle(50, 2, 3))
    assert np.array_equal(
        order.make("shuffle_once", 50, seed=2, epoch=3), order.shuffle_once(50, 2)
    )


@pytest.mark.parametrize("length, size", [(64, 256), (128, 128), (128, 512), (256, 128)])
def test_buffer_law(length, size):
    # The buffer is an exponential moving average of the file, so a pure segment of L rows reaches 1
    # - exp(-L/K).
    n, start, batch, shuffles = 2048, 1024, 8, 120
    share = np.zeros(n // batch)
    for seed in range(shuffles):
        rows = order.buffer(n, seed, size=size)
        share += ((rows >= start) & (rows < start + length)).reshape(-1, batch).mean(
            axis=1
        ) / shuffles
    # Averaged first: the largest share of one shuffle would be biased upwards by its noise.
    assert share.max() == pytest.approx(1 - np.exp(-length / size), abs=0.04)


@pytest.mark.parametrize("kind", [order.shuffle, order.shuffle_once])
def test_seed_and_epoch_are_zero_unless_given(kind):
    assert kind(50).tolist() == kind(50, 0, 0).tolist() != kind(50, 1, 0).tolist()


def test_no_rows_have_an_order_too():
    for kind in ("file", "shuffle", "buffer:4", "block:4"):
        assert order.make(kind, 0).tolist() == []
