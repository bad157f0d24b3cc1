"""The detector finds what was planted, where and how tall, and keeps silent where nothing was."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite import spikes
from minimind_lite.spikes import baseline, find

# The noise is drawn from a fixed seed: a test of a statistic must not depend on the day it runs.
FEW = settings(max_examples=40, deadline=None, derandomize=True)
NOISE = 0.05  # nats; its 2 sigma are 0.1


def curve(seed, n=200):
    """A loss that falls from 3 to 2.5 nats, with noise."""
    return 3 - 0.5 * np.arange(n) / n + np.random.default_rng(seed).normal(0, NOISE, n)


def naive(values, window=30):
    """What one writes first: mean and standard deviation of all values before, spikes and all."""
    return [
        i
        for i in range(window, len(values))
        if values[i] - np.mean(values[i - window : i]) > 6 * np.std(values[i - window : i])
    ]


@FEW
@given(
    st.integers(0, 999),
    st.integers(35, 150),
    st.sampled_from([0.8, 1.5, 4.0]),
    st.sampled_from([1, 5, 25]),
)
def test_a_planted_spike_is_folded_where_it_is_and_as_tall_as_it_is(seed, start, height, steps):
    values = curve(seed)
    values[start : start + steps] += height
    (event,) = find(values)
    assert (
        event.start == start and start + steps <= event.stop <= start + steps + 5
    )  # 2 sigma are passed by chance now and then
    assert start <= event.peak < start + steps and not event.level_shift
    # The baseline is the median of falling values: 15 steps late, and so 0.04 nats high.
    assert event.onset_height == pytest.approx(height - 0.04, abs=5 * NOISE)
    assert event.onset_height <= event.peak_height == pytest.approx(height - 0.04, abs=5 * NOISE)
    assert event.z == pytest.approx(
        event.peak_height / NOISE, rel=0.6
    )  # sigma is estimated from 30 values


def test_a_clean_series_is_silent():
    assert [seed for seed in range(60) if find(curve(seed))] == []


def test_a_quiet_series_is_not_flagged_for_noise():
    values = np.zeros(50)
    values[40] = 0.29  # many sigma, but not worth a look
    assert find(values) == []
    assert [e.start for e in find(values, min_height=0.2)] == [40]


def test_an_event_by_hand():
    # Median 1, MAD 0.1, so sigma 0.14826: it starts at 6 sigma = 0.89 and ends under 2 sigma =
    # 0.30.
    (event,) = find([1.0, 1.2, 0.8, 1.1, 0.9, 2.0, 3.0, 1.4, 1.2, 0.9], window=5)
    assert (event.start, event.stop, event.peak, event.steps, event.level_shift) == (
        5,
        8,
        6,
        3,
        False,
    )
    assert (event.onset_height, event.peak_height) == pytest.approx((1.0, 2.0))
    assert event.mean_height == pytest.approx((1.0 + 2.0 + 0.4) / 3)
    assert event.z == pytest.approx(2.0 / 0.14826)


def test_a_baseline_by_hand():
    base = baseline([1.0, 1.2, 0.8, 1.1, 0.9, 2.0, 3.0, 1.2, 0.9], window=5)
    assert (
        np.isnan(base.median[:5]).all() and np.isnan(base.z[:5]).all()
    )  # nothing is judged before the window is full
    assert base.flagged.tolist() == [False] * 5 + [True, True, False, False]
    # 2.0 and 3.0 stay out; 1.2 is judged by the first five and then pushes the oldest of them out.
    assert base.median[5:].tolist() == pytest.approx([1.0, 1.0, 1.0, 1.1])
    assert base.sigma[5:].tolist() == pytest.approx([0.14826] * 4)
    assert base.z[5:].tolist() == pytest.approx(np.array([1.0, 2.0, 0.2, -0.2]) / 0.14826)


@FEW
@given(st.integers(0, 999), st.integers(60, 150))
def test_a_spike_does_not_hide_the_next(seed, start):
    values = curve(seed)
    values[start : start + 5] += 3.0
    values[start + 15 : start + 20] += 1.0
    assert [e.start for e in find(values)] == [start, start + 15]
    folded = naive(values)
    assert (
        start in folded and start + 15 not in folded
    )  # the first spike has widened the scale that judges the second


def test_the_end_of_a_spike_is_not_flagged():
    # A spike that had become the baseline would make a dip of the ordinary values after it.
    values = curve(0)
    values[80:105] += 1.0
    base = baseline(values)
    assert (
        base.flagged[80:105].all()
        and not base.flagged[110:].any()
        and (np.abs(base.z[110:]) < 5).all()
    )


@FEW
@given(st.integers(0, 999), st.integers(40, 80))
def test_a_level_shift_is_marked_and_becomes_the_new_baseline(seed, start):
    values = curve(seed)
    values[start:] += 1.0
    values[start + 40] += 1.5
    shift, spike = find(values)
    assert (shift.start, shift.level_shift) == (start, True)
    assert (
        31 <= shift.steps <= 31 + 5
    )  # one more than the window, then the new level is the level, at once
    assert (spike.start, spike.steps <= 5, spike.level_shift) == (start + 40, True, False)
    assert spike.onset_height == pytest.approx(1.5, abs=6 * NOISE)  # above the new level


def test_the_longest_spike_and_the_shortest_level_shift_by_hand():
    before, noise = [1.0, 1.2, 0.8, 1.1, 0.9], [3.0, 3.2, 2.8, 3.1, 2.9, 3.0]
    assert [(e.stop, e.level_shift) for e in find([*before, *noise[:5], 1.0, 1.0], window=5)] == [
        (10, False)
    ]
    assert [(e.stop, e.level_shift) for e in find([*before, *noise, 3.0, 3.1], window=5)] == [
        (11, True)
    ]


def test_an_event_that_the_series_cuts_off_ends_with_it():
    values = curve(0)
    values[195:] += 1.0
    assert [(e.start, e.stop) for e in find(values)] == [(195, 200)]


def test_a_dip_is_no_spike():
    values = curve(0)
    values[100:110] -= 1.0
    assert find(values) == []


def test_a_series_shorter_than_the_window_has_no_events():
    assert find([1.0] * 29 + [9.0]) == [] and find([]) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_run_is_an_error_that_says_where(bad):
    values = curve(0)
    values[[70, 90]] = bad
    for function in (find, baseline):
        with pytest.raises(ValueError, match="not finite at position 70"):
            function(values)


def test_a_window_too_short_for_a_deviation_is_refused():
    with pytest.raises(ValueError, match="window of 5 or more, got 4"):
        baseline(curve(0), window=4)


def test_a_spike_right_after_a_level_shift_is_an_event_of_its_own():
    """It was swallowed by the shift, its height from one baseline and its z from another."""
    noise = np.tile([0.0, 0.1], 60)
    values = noise + 5.0
    values[30:61] += 1.0  # a level shift: the 31st value makes it one
    values[61:63] += 3.0  # and right after it a spike above the new level
    values[63:] += 1.0
    shift, spike = find(values)
    assert (shift.start, shift.stop, shift.level_shift) == (30, 61, True)
    assert (spike.start, spike.stop, spike.level_shift) == (61, 63, False)
    base = baseline(values)
    for event in (shift, spike):  # height and z of an event are of one baseline
        assert event.peak_height == pytest.approx(values[event.peak] - base.median[event.start])
        assert event.z == pytest.approx(event.peak_height / base.sigma[event.start])
    assert spike.peak_height == pytest.approx(2.0, abs=0.11)


# Borders that a small change of the detector would move


def planted(*tail):
    """Thirty values around 5 nats with a robust sigma of 0.14826, and then some."""
    return np.array([*np.tile([4.9, 5.1], 15), *tail])


def test_the_detector_never_looks_ahead():
    values = curve(3)
    values[60:100] += 1.0  # a level shift, whose values become the baseline
    whole = baseline(values)
    for n in range(60, 110):
        part = baseline(values[:n])
        np.testing.assert_array_equal(part.event, whole.event[:n])
        np.testing.assert_array_equal(part.median, whole.median[:n])


def test_a_value_that_stands_out_must_also_be_tall():
    assert find(planted(6.0), min_height=0.99) and not find(planted(6.0), min_height=1.01)


def test_an_event_begins_at_the_threshold_and_lasts_to_its_end(monkeypatch):
    z = baseline(planted(6.0)).z[30]
    assert find(planted(6.0), threshold=z) and not find(planted(6.0), threshold=z + 1e-9)
    (event,) = find(planted(7.0, 5.6, 5.0))  # 5.6 begins nothing, but is above END_Z sigma
    assert (event.start, event.stop) == (30, 32)
    monkeypatch.setattr("minimind_lite.spikes.END_Z", baseline(planted(7.0, 5.6)).z[31])
    assert find(planted(7.0, 5.6, 5.0))[0].stop == 32


def test_the_detector_can_not_see_the_truth():
    # It reads numbers and nothing else: no record, no truth file, no data folder, no model.
    source = Path(spikes.__file__).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported |= {"." * node.level + (node.module or "")} | {
                alias.name for alias in node.names if node.module is None
            }
    assert imported == {"__future__", "dataclasses", "collections.abc", "numpy"}
    assert "blocks.json" not in source and "open(" not in source
