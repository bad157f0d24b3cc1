"""Intervals: a worked example, what they cover, and the words about them."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.science import intervals
from minimind_lite.science.intervals import Counts, Interval

numbers = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


def test_mean_interval_by_hand():
    # 1 .. 5: mean 3, s = sqrt(10 / 4), t(0.975, 4) = 2.7764 (tables), half width 2.7764
    # sqrt(2.5 / 5) = 1.9632
    found = intervals.mean_interval([1, 2, 3, 4, 5])
    assert (found.mean, found.n) == (3, 5)
    assert (found.low, found.high) == pytest.approx((3 - 1.9632, 3 + 1.9632), abs=1e-4)


def test_two_values_by_hand():
    # s / sqrt(2) = 1, t(0.975, 1) = 12.706
    assert intervals.mean_interval([0, 2]).high == pytest.approx(1 + 12.706, abs=1e-3)


def test_another_level_by_hand():
    # t(0.9, 4) = 1.5332
    assert intervals.mean_interval([1, 2, 3, 4, 5], level=0.8).low == pytest.approx(
        3 - 1.5332 * 0.5**0.5, abs=1e-4
    )


def test_five_values_cover_what_they_say():
    rng, level, draws = np.random.default_rng(0), 0.95, 1500
    inside = sum(
        not intervals.mean_interval(x).excludes(7) for x in rng.normal(7, 3, size=(draws, 5))
    )
    assert inside / draws == pytest.approx(level, abs=4 * (level * (1 - level) / draws) ** 0.5)


def test_a_bootstrap_of_five_values_covers_about_84_percent():
    # What the module's first lines say, and why it does not use one.
    rng, draws = np.random.default_rng(0), 1500
    x = rng.normal(7, 3, size=(draws, 5))
    means = x[np.arange(draws)[:, None, None], rng.integers(5, size=(draws, 400, 5))].mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert np.mean((low <= 7) & (high >= 7)) == pytest.approx(0.84, abs=0.03)


@settings(deadline=None)
@given(numbers, st.floats(-50, 50))
def test_an_interval_moves_and_mirrors_with_its_values(values, shift):
    first, moved, mirrored = (
        intervals.mean_interval(v) for v in (values, np.array(values) + shift, -np.array(values))
    )
    assert first.low <= first.mean <= first.high
    assert moved.low == pytest.approx(first.low + shift, abs=1e-6)
    assert (mirrored.low, mirrored.high) == pytest.approx((-first.high, -first.low), abs=1e-9)


def test_no_spread_is_an_interval_without_width():
    found = intervals.mean_interval([0.5] * 5)
    assert (found.low, found.mean, found.high) == (0.5, 0.5, 0.5)


def test_one_seed_has_an_unbounded_interval():
    found = intervals.interval_over_seeds([2.5])
    assert (found.mean, found.low, found.high, found.n) == (2.5, -math.inf, math.inf, 1)
    assert str(found) == "+2.50 (one seed)" and found.text(1, sign="") == "2.5 (one seed)"
    assert intervals.interval_over_seeds([1, 2, 3]) == intervals.mean_interval([1, 2, 3])


def test_intervals_that_hold_together_by_hand():
    # Three effects: each at 1 - 0.05/3 = 0.98333, t(0.99167, 4) = 3.9608 (R), half width
    # 3.9608 sqrt(2.5 / 5) = 2.8007. Alone it would be 1.9632, as above.
    level = intervals.level_of_each(3)
    assert level == pytest.approx(0.983333, abs=1e-6) and intervals.level_of_each(1) == 0.95
    first = intervals.mean_interval([1, 2, 3, 4, 5], level=level)
    assert first.high == pytest.approx(3 + 2.8007, abs=1e-3)


def test_intervals_that_hold_together_miss_one_in_twenty_times():
    rng, level, draws = np.random.default_rng(1), intervals.level_of_each(4), 800
    together = 0
    for x in rng.normal(0, 1, size=(draws, 4, 5)):
        together += all(
            not intervals.mean_interval(values, level=level).excludes(0) for values in x
        )
    assert together / draws == pytest.approx(0.95, abs=0.025)


# Layouts x base models


def test_crossed_interval_by_hand():
    # Layout means 2, 4, 6, base means 3, 5, mean 4, rest ±0.5, ∓0.5, 0:
    # A = 2 (4 + 0 + 4) / 2 = 8, B = 3 (1 + 1) / 1 = 6, E = (4 · 0.25) / 2 = 0.5.
    # Variance (8 + 6 - 0.5) / 6 = 2.25; df = 13.5² / (64/2 + 36/1 + 0.25/2) = 2.6752;
    # t(0.975, 2.6752) = 3.4126 (between 4.3027 for 2 and 3.1824 for 3), half width 5.1189
    table = np.array([[1.5, 2.5], [2.5, 5.5], [5.0, 7.0]])
    got = intervals.crossed_interval(table)
    assert (got.mean, got.n, got.bases) == (4, 3, 2)
    assert got.high - got.mean == pytest.approx(got.mean - got.low)
    assert got.high == pytest.approx(4 + 5.1189, abs=1e-3)


@pytest.mark.parametrize(
    ("layouts", "bases", "rest"),
    [(1, 1, 1), (1, 0.3, 0.3), (0.3, 1, 0.3), (1, 0, 0.1), (0, 0, 1)],
)
def test_the_crossed_interval_covers_what_it_says(layouts, bases, rest):
    """8 layouts x 3 bases, both random, each with its own spread: 0.95 or more, never less."""
    rng, draws = np.random.default_rng(0), 600
    inside = 0
    for _ in range(draws):
        table = rng.normal(0, layouts, (8, 1)) + rng.normal(0, bases, (1, 3))
        table = table + rng.normal(0, rest, (8, 3))
        inside += not intervals.crossed_interval(table).excludes(0)
    assert inside / draws > 0.95 - 3 * (0.95 * 0.05 / draws) ** 0.5


def test_a_t_interval_over_all_values_forgets_that_bases_are_few():
    """Why the crossed one is needed: with 24 values of 3 bases it covers less than half."""
    rng, draws = np.random.default_rng(0), 300
    tables = rng.normal(0, 1, (draws, 1, 3)) + rng.normal(0, 0.1, (draws, 8, 3))
    plain = [not intervals.mean_interval(table.ravel()).excludes(0) for table in tables]
    assert np.mean(plain) < 0.6


def test_bases_that_agree_leave_the_layouts_interval():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    got = intervals.crossed_interval(np.column_stack([values, values, values]))
    plain = intervals.mean_interval(values)
    assert (got.low, got.high) == pytest.approx((plain.low, plain.high))
    same = intervals.crossed_interval(np.full((4, 3), 0.5))
    assert (same.low, same.mean, same.high) == (0.5, 0.5, 0.5)


# Counts


def test_a_count_shows_its_values():
    flagged = Counts((5, 5, 4, 5, 5), of=5)
    assert str(flagged) == "5, 5, 4, 5, 5 of 5" and str(Counts((0, 2))) == "0, 2"
    assert (flagged.n, flagged.mean) == (5, 4.8)
    assert flagged.above(3) and not flagged.above(4) and flagged.below(6) and not flagged.below(5)
    assert not Counts((5,)).above(3) and not Counts((0,)).below(1)


def test_words():
    interval = Interval(1.0, 0.5, 1.5, 5)
    assert interval.excludes(0) and interval.excludes(1.6) and not interval.excludes(0.5)
    assert (
        interval.above(0.4)
        and not interval.above(0.5)
        and interval.below(1.6)
        and not interval.below(1.5)
    )
    assert interval.within(0.5, 1.5) and not interval.within(0.6, 2) and not interval.within(0, 1.4)


def test_as_text():
    assert str(Interval(1.07, 0.91, 1.234, 5)) == "+1.07 [0.91, 1.23]"
    assert str(Interval(-0.001, -0.2, 0.199, 5)) == "+0.00 [-0.20, 0.20]"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: intervals.mean_interval([1.0]), r"at least two values .* shape \(1,\)"),
        (lambda: intervals.mean_interval([[1.0, 2.0]]), r"one dimension, got shape \(1, 2\)"),
        (
            lambda: intervals.mean_interval([1, float("nan"), 2, float("inf")]),
            r"value 1, 3 \(from 0\) of 4 is not finite",
        ),
        (
            lambda: intervals.mean_interval([1, 2], level=95),
            "level must lie between 0 and 1, got 95",
        ),
        (
            lambda: intervals.crossed_interval(np.zeros((3, 1))),
            r"two layouts and two bases at least, got shape \(3, 1\)",
        ),
    ],
)
def test_what_can_go_wrong_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_statistics_are_loaded_only_when_used():
    code = "import sys; from minimind_lite.science import intervals; print('scipy' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )
