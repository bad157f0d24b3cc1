"""Which rows are read after rollbacks: nothing twice, nothing lost that was not to be left out."""

import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.config import TrainConfig
from minimind_lite.runs.course import AFTERWARDS, Rollback, batches_after
from minimind_lite.trainer import Batch, batches_of_run

ORDERS = ("file", "shuffle", "shuffle_once", "buffer:5", "block:3")


@st.composite
def courses(draw, *, thens: tuple[str, ...] = AFTERWARDS, most: int = 4):
    """A number of rows, a configuration, and rollbacks as they may follow one another."""
    n = draw(st.integers(1, 60))
    config = TrainConfig(
        batch_size=draw(st.integers(1, 9)),
        epochs=draw(st.integers(1, 3)),
        order=draw(st.sampled_from(ORDERS)),
        seed=draw(st.integers(0, 3)),
    )
    total, rollbacks = config.total_steps(n), []
    for _ in range(draw(st.integers(0, most))):
        called_at = draw(st.integers(0, total))
        back_to = draw(st.integers(0, called_at))
        then, skip = draw(st.sampled_from(thens)), draw(st.integers(0, 5))
        rollbacks.append(Rollback(called_at, back_to, then, skip))
    return n, config, rollbacks


def plain(batches) -> list[tuple]:
    return [(b.step, b.epoch, b.samples_seen, b.rows.tolist()) for b in batches]


def rows_by_step(batches) -> list[list[int]]:
    return [batch.rows.tolist() for batch in batches]


def rows_of_epoch(batches: list[Batch], epoch: int) -> list[int]:
    return [row for batch in batches if batch.epoch == epoch for row in batch.rows.tolist()]


@given(courses(most=0), st.integers(0, 30))
def test_without_rollbacks_it_is_the_course_of_the_trainer(course, start):
    n, config, _ = course
    expected = plain(batches_of_run(n, config, start_step=start))
    assert plain(batches_after(n, config, start_step=start)) == expected


@given(courses(thens=("replay",)))
def test_a_replay_changes_nothing(course):
    n, config, rollbacks = course
    assert plain(batches_after(n, config, rollbacks)) == plain(batches_of_run(n, config))


@given(courses(thens=("skip",), most=1))
def test_a_skip_leaves_out_just_the_abandoned_batches_and_those_it_names(course):
    n, config, rollbacks = course
    expected = rows_by_step(batches_of_run(n, config))
    for r in rollbacks:
        del expected[r.back_to : r.called_at + 1 + r.skip]
    assert rows_by_step(batches_after(n, config, rollbacks)) == expected


@given(courses(thens=("reshuffle",), most=1))
def test_a_reshuffle_reads_what_is_left_of_the_epoch_once_and_later_epochs_as_before(course):
    n, config, rollbacks = course
    before = list(batches_of_run(n, config))
    after = list(batches_after(n, config, rollbacks))
    assert [len(b.rows) for b in after] == [len(b.rows) for b in before]
    for r in rollbacks[:1]:
        epoch = before[r.back_to].epoch if r.back_to < len(before) else config.epochs
        later = [b.step for b in before if b.step < r.back_to or b.epoch > epoch]
        assert [plain(after)[s] for s in later] == [plain(before)[s] for s in later]
    for epoch in range(config.epochs):
        assert sorted(rows_of_epoch(after, epoch)) == list(range(n))


def test_a_reshuffle_does_change_the_order():
    config = TrainConfig(batch_size=4, epochs=2)
    once = rows_by_step(batches_after(60, config, [Rollback(7, 5, "reshuffle")]))
    assert once[:5] == rows_by_step(batches_of_run(60, config))[:5]
    assert once[5:15] != rows_by_step(batches_of_run(60, config))[5:15]
    twice = rows_by_step(batches_after(60, config, [Rollback(7, 5, "reshuffle")] * 2))
    assert twice[5:15] != once[5:15], "the second one must draw another order than the first"
    other = rows_by_step(batches_after(60, config.replace(seed=1), [Rollback(7, 5, "reshuffle")]))
    assert other[5:15] != once[5:15]


@settings(max_examples=200)
@given(courses(), st.data())
def test_the_laws_of_every_course(course, data):
    n, config, rollbacks = course
    batches = list(batches_after(n, config, rollbacks))
    assert [b.step for b in batches] == list(range(len(batches)))
    seen = np.cumsum([0, *(len(b.rows) for b in batches)])[:-1]
    assert [b.samples_seen for b in batches] == seen.tolist()
    assert all(1 <= len(b.rows) <= config.batch_size for b in batches)
    assert [b.epoch for b in batches] == sorted(b.epoch for b in batches)
    for epoch in range(config.epochs):
        rows = rows_of_epoch(batches, epoch)
        assert len(set(rows)) == len(rows) and set(rows) <= set(range(n))
        if all(r.then != "skip" for r in rollbacks):
            assert len(rows) == n
    # A pure function: the same again, any tail of it, and the first steps alone.
    start = data.draw(st.integers(0, len(batches) + 2))
    assert plain(batches_after(n, config, rollbacks, start_step=start)) == plain(batches)[start:]
    limit = data.draw(st.integers(1, len(batches) + 2))
    limited = config.replace(max_steps=limit)
    assert plain(batches_after(n, limited, rollbacks)) == plain(batches)[:limit]


@given(courses())
def test_what_was_read_before_the_step_it_went_back_to_stays_read(course):
    n, config, rollbacks = course
    for k, rollback in enumerate(rollbacks):
        kept = islice(batches_after(n, config, rollbacks[:k]), rollback.back_to)
        again = islice(batches_after(n, config, rollbacks[: k + 1]), rollback.back_to)
        assert plain(again) == plain(kept)


def test_two_courses_that_are_read_in_turn_do_not_disturb_each_other():
    config, rollbacks = TrainConfig(batch_size=4), [Rollback(7, 5, "reshuffle")] * 2
    expected = rows_by_step(batches_after(60, config, rollbacks))
    pairs = zip(batches_after(60, config, rollbacks), batches_after(60, config, rollbacks))
    for (one, other), rows in zip(pairs, expected, strict=True):
        assert one.rows.tolist() == other.rows.tolist() == rows


def test_a_skip_goes_on_into_the_next_epoch():
    config = TrainConfig(batch_size=4, epochs=2)  # 3 steps an epoch
    after = list(batches_after(12, config, [Rollback(2, 1, "skip", skip=1)]))
    assert [(b.epoch, b.rows.tolist()) for b in after] == [
        (0, [0, 1, 2, 3]),
        (1, [4, 5, 6, 7]),
        (1, [8, 9, 10, 11]),
    ]


def test_max_steps_counts_steps_that_are_taken_not_batches_that_are_left_out():
    config = TrainConfig(batch_size=4, max_steps=5)
    after = list(batches_after(60, config, [Rollback(3, 2, "skip", skip=4)]))
    assert [b.rows[0] // 4 for b in after] == [0, 1, 8, 9, 10]


def test_a_rollback_is_plain_json_and_refuses_what_it_does_not_know():
    rollback = Rollback(12, 10, "skip", 3, 0.5, "a spike starts at step 12", 13)
    assert Rollback(**json.loads(json.dumps(rollback.to_dict()))) == rollback
    with pytest.raises(ValueError, match="one of replay, skip, reshuffle, got 'again'"):
        Rollback(12, 10, "again")
