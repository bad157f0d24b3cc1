"""Layouts: what a seed may change, what it may not, and that nothing held out gets in."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite import order
from minimind_lite.conversations import Conversation
from minimind_lite.files import jsonl, shipped
from minimind_lite.science import layouts
from minimind_lite.segments import Segment

DATA = shipped.folder()
FEW = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**63 - 1)


@pytest.fixture(scope="module")
def pool():
    return layouts.pool()


@pytest.fixture(scope="module")
def drawn(pool):
    """Layouts of the first seeds."""
    return [layouts.draw(seed, pool=pool) for seed in range(8)]


# The pool


def test_the_pool_is_the_corpus_without_probes_and_pretraining(pool):
    # Corpus sizes of the data card, less 36 probes of each domain, less pretraining (552 Chinese, 2
    # of
    # each other domain)
    assert {d: len(pool[d]) for d in layouts.OFF_DOMAIN} == {
        "code": 382,
        "en": 382,
        "math": 282,
        "zh_classical": 282,
    }
    assert sum(len(pool[d]) for d in layouts.CHINESE) == 2220 - 3 * 36 - 552
    taken = {
        c.messages for name in ("probes", "pretrain") for c in jsonl.read(DATA / f"{name}.jsonl")
    }
    assert not taken & {c.messages for rows in pool.values() for c in rows}


def test_the_pool_is_in_corpus_order_and_holds_what_the_shipped_file_uses(pool):
    for domain, rows in pool.items():
        assert [c.line for c in rows] == sorted({c.line for c in rows}) and {
            Path(c.file).stem for c in rows
        } == {domain}
    assert {c.messages for c in shipped.conversations()} <= {
        c.messages for rows in pool.values() for c in rows
    }


# A layout


def rows_of(layout, segment):
    """The rows of the pool that a segment holds."""
    return layout.rows[segment.start : segment.stop]


@FEW
@given(seeds)
def test_every_layout_keeps_the_rules(pool, seed):
    layout = layouts.draw(seed, pool=pool)
    assert sorted((s.domain, len(s)) for s in layout.segments) == sorted(layouts.SEGMENTS)
    edges = [*itertools.chain(*((s.start, s.stop) for s in layout.segments)), len(layout)]
    assert edges[0] >= 500 and all(b - a >= 200 for a, b in zip(edges[1::2], edges[2::2]))
    assert len(layout) == len(layout.rows) == len(layout.domains) == 1560 + 664
    assert len({c.messages for c in layout.conversations}) == len(layout)
    for segment in layout.segments:
        assert set(layout.domains[segment.start : segment.stop]) == {segment.domain}
    assert set(layout.domains[~layout.off_domain()]) == set(layouts.CHINESE)


@FEW
@given(seeds)
def test_every_row_leads_back_to_its_line_of_the_corpus(pool, seed):
    layout, table = layouts.draw(seed, pool=pool), [c for rows in pool.values() for c in rows]
    assert [table[i] for i in layout.rows] == list(layout.conversations)
    assert [Path(c.file).stem for c in layout.conversations] == layout.domains.tolist()
    row = layout.conversations[seed % len(layout)]
    assert [c.messages for c in jsonl.read(row.file) if c.line == row.line] == [row.messages]


@FEW
@given(seeds)
def test_same_seed_same_layout(pool, seed):
    first, second = (layouts.draw(seed, pool=pool) for _ in range(2))
    assert np.array_equal(first.rows, second.rows) and first.segments == second.segments


def test_a_seed_changes_places_order_and_rows(drawn):
    for a, b in itertools.combinations(drawn, 2):
        assert [s.start for s in a.segments] != [s.start for s in b.segments]
        for segment in a.segments:
            mine = rows_of(a, segment)
            other = next(
                rows_of(b, s)
                for s in b.segments
                if (s.domain, len(rows_of(b, s))) == (segment.domain, len(mine))
            )
            assert set(mine) != set(other)
        chinese = a.rows[~a.off_domain()], b.rows[~b.off_domain()]
        assert sorted(chinese[0]) == sorted(chinese[1]) and not np.array_equal(*chinese)
    assert len({tuple(s.domain for s in layout.segments) for layout in drawn}) > 4


def test_a_seed_shares_no_random_numbers_with_orders_or_with_the_shipped_file(pool, drawn):
    # Else order and layout of one seed would be tied together: [seed] and [seed, 0] are one and the
    # same generator.
    assert np.array_equal(np.random.default_rng(3).permutation(50), order.shuffle(50, 3))
    chinese = np.flatnonzero(
        np.isin(np.repeat(list(pool), [len(r) for r in pool.values()]), layouts.CHINESE)
    )
    for seed, layout in enumerate(drawn):
        for epoch in range(20):
            assert not np.array_equal(
                layout.rows[~layout.off_domain()], chinese[order.shuffle(len(chinese), seed, epoch)]
            )


def test_every_order_of_the_segments_is_as_likely(pool):
    first = Counter(layouts.draw(seed, pool=pool).segments[0].domain for seed in range(300))
    assert first["en"] == pytest.approx(120, abs=35)  # two of five; a standard deviation is 8.5
    assert all(first[d] == pytest.approx(60, abs=28) for d in ("code", "math", "zh_classical"))


def test_off_domain_rows_by_hand():
    segments = (Segment("code", 2, 4), Segment("en", 5, 6))
    conversation = Conversation((("user", "?"), ("assistant", "!")), "memory", 1, 0)
    layout = layouts.Layout(0, (conversation,) * 7, segments, np.arange(7), np.array(["zh"] * 7))
    assert np.flatnonzero(layout.off_domain()).tolist() == [2, 3, 5] and len(layout) == 7


def test_a_layout_without_segments_is_all_chinese(pool):
    layout = layouts.draw(0, pool=pool, segments=())
    assert len(layout) == 1560 and not layout.off_domain().any()


def test_a_domain_of_one_s_own(pool):
    garbage = [
        Conversation((("user", "?"), ("assistant", f"noise {i}")), "memory", i, 0)
        for i in range(64)
    ]
    own = {**pool, "garbage": garbage}
    layout = layouts.draw(1, pool=own, segments=(*layouts.SEGMENTS, ("garbage", 64)), gap=150)
    (segment,) = [s for s in layout.segments if s.domain == "garbage"]
    inside = layout.conversations[segment.start : segment.stop]
    assert {c.messages for c in inside} == {c.messages for c in garbage}
    assert [layout.domains[i] for i in (segment.start - 1, segment.start)] != ["garbage"] * 2


# Encoding


def test_selecting_from_the_encoded_pool_is_encoding_the_layout(pool, drawn):
    chat = shipped.chat()
    chosen = layouts.pool_rows(chat, pool).select(drawn[0].rows)
    some = np.arange(0, len(drawn[0]), 37)
    for row in some:
        ids, mask = chat.encode(drawn[0].conversations[row].messages, max_len=512)
        assert chosen.row(row)[0].tolist() == list(ids)
        assert chosen.row(row)[1].tolist() == list(mask)
    assert chosen.supervised().min() > 0 and chosen.lengths().max() <= 512


# What the build script lays out with


def test_lay_out_by_hand():
    class Last:  # puts every spare row before the first segment
        def integers(self, stop, size):
            return np.full(size, stop - 1)

    rows, found = layouts.lay_out(
        [1, 2, 3, 4],
        {"code": "abc"},
        rng=Last(),
        segments=(("code", 2), ("code", 1)),
        first_gap=1,
        gap=1,
    )
    assert rows == [1, 2, "a", "b", 3, "c", 4]
    assert found == [Segment("code", 2, 4), Segment("code", 5, 6)]


@FEW
@given(
    st.lists(st.integers(1, 4), max_size=5),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 30),
    seeds,
)
def test_lay_out_uses_every_chinese_row_once_and_in_order(sizes, first_gap, gap, spare, seed):
    n, others = first_gap + gap * len(sizes) + spare, list(range(1000, 1000 + sum(sizes)))
    rows, found = layouts.lay_out(
        list(range(n)),
        {"en": others},
        rng=np.random.default_rng(seed),
        segments=[("en", s) for s in sizes],
        first_gap=first_gap,
        gap=gap,
    )
    assert [r for r in rows if r < 1000] == list(range(n))
    assert [r for r in rows if r >= 1000] == others
    assert [len(s) for s in found] == sizes
    edges = [*itertools.chain(*((s.start, s.stop) for s in found)), len(rows)]
    assert edges[0] >= first_gap and all(b - a >= gap for a, b in zip(edges[1::2], edges[2::2]))


@pytest.mark.parametrize(
    "settings_, message",
    [
        ({"first_gap": 561}, "1560 Chinese rows are too few for the gaps; 1 are missing"),
        (
            {"segments": (("code", 300), ("code", 83))},
            "segments of code want 383 rows, there are 382",
        ),
        ({"segments": (("garbage", 4),)}, "segments of garbage want 4 rows, there are 0"),
    ],
)
def test_what_can_not_be_laid_out_is_said(pool, settings_, message):
    with pytest.raises(ValueError, match=message):
        layouts.draw(0, pool=pool, **settings_)


# Long-block files


@given(seed=seeds, length=st.none() | st.integers(1, 600), reserved=st.integers(0, 200))
@FEW
def test_a_block_holds_one_domain_and_no_row_twice(pool, seed, length, reserved):
    layout = layouts.draw_blocks(seed, pool=pool, length=length, reserved=reserved)
    assert sorted(s.domain for s in layout.segments) == sorted(pool)
    stops = [0, *(s.stop for s in layout.segments)]
    assert [s.start for s in layout.segments] == stops[:-1] and stops[-1] == len(layout)
    for segment in layout.segments:
        available = len(pool[segment.domain])
        if segment.domain in layouts.CHINESE:
            available -= reserved
        assert len(segment) == min(length or available, available)
        inside = layout.conversations[segment.start : segment.stop]
        assert {Path(c.file).stem for c in inside} == {segment.domain}
        lines = {c.line for c in inside}
        first_reserved = [c.line for c in pool[segment.domain]][available:]
        assert len(lines) == len(inside) and not lines & set(first_reserved)
    assert layout.family == "blocks"
    assert len(set(layout.rows.tolist())) == len(layout)


def test_a_seed_draws_the_order_of_the_blocks_and_their_rows(pool):
    a, b = (layouts.draw_blocks(seed, pool=pool) for seed in (0, 1))
    assert [s.domain for s in a.segments] != [s.domain for s in b.segments]
    again = layouts.draw_blocks(0, pool=pool)
    assert again.rows.tolist() == a.rows.tolist() and again.segments == a.segments
    shorter = layouts.draw_blocks(0, pool=pool, length=64)
    assert [s.domain for s in shorter.segments] == [s.domain for s in a.segments]


def test_rows_of_the_pool_are_the_conversations(pool):
    layout = layouts.draw_blocks(3, pool=pool, length=40)
    flat = [c for rows in pool.values() for c in rows]
    assert [flat[i] for i in layout.rows] == list(layout.conversations)


def test_off_domain_are_the_blocks_that_are_not_chinese(pool):
    layout = layouts.draw_blocks(0, pool=pool, length=10)
    chinese = np.isin(layout.domains.astype(str), layouts.CHINESE)
    assert layout.off_domain().tolist() == (~chinese).tolist()


def test_a_block_without_a_row_is_refused(pool):
    with pytest.raises(ValueError, match="at least one row, got length 0"):
        layouts.draw_blocks(0, pool=pool, length=0)
