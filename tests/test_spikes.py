"""The detector finds what was planted, where and how tall, and keeps silent where nothing was."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minimind_lite import order, spikes
from minimind_lite.records import Run, StepRecord
from minimind_lite.spikes import (
    at_rows,
    baseline,
    epoch_folding,
    find,
    harm,
    recovery,
    spike_score,
    width,
)

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


def run_of(losses, rows, *, epoch=0, probes=None):
    """A run with the given loss and rows at each step."""
    return Run(
        {},
        tuple(
            StepRecord(
                step=i,
                epoch=epoch,
                samples_seen=0,
                loss=loss,
                tokens=len(r),
                lr=1e-3,
                grad_norm=1.0,
                micro_losses=np.array([loss]),
                rows=np.asarray(r),
                sample_losses=np.full(len(r), loss),
                sample_tokens=np.ones(len(r), int),
                seconds=0.0,
                probes=(probes or {}).get(i, {}),
            )
            for i, (loss, r) in enumerate(zip(losses, rows))
        ),
    )


@FEW
@given(
    st.integers(0, 999),
    st.integers(35, 150),
    st.sampled_from([0.8, 1.5, 4.0]),
    st.sampled_from([1, 5, 25]),
)
def test_a_planted_spike_is_found_where_it_is_and_as_tall_as_it_is(seed, start, height, steps):
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


def test_a_quiet_series_is_not_flagged_for_dust():
    values = np.zeros(50)
    values[40] = 0.29  # many sigma, but not worth a look
    assert find(values) == []
    assert [e.start for e in find(values, min_height=0.2)] == [40]


def test_an_event_by_hand():
    # Median 1, MAD 0.1, so sigma 0.14826: it starts at 6 sigma = 0.89 and ends under 2 sigma = 0.30.
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
    found = naive(values)
    assert (
        start in found and start + 15 not in found
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
    with pytest.raises(ValueError, match="window of at least 5 steps, got 4"):
        baseline(curve(0), window=4)


# Batches of 4 rows in file order; rows 22 .. 29 are odd: half of step 5, all of step 6, half of step 7.
HAND = run_of([1.0, 1.2, 0.8, 1.1, 0.9, 2.0, 3.0, 1.5, 1.0, 1.0], np.arange(40).reshape(10, 4))


def test_at_rows_by_hand():
    found = at_rows(HAND, 22, 30, window=5)
    assert (found.step, found.share, found.flagged) == (6, 1.0, True)
    assert (found.height, found.z, found.baseline) == pytest.approx((2.0, 2.0 / 0.14826, 1.0))


@pytest.mark.parametrize(
    "start, stop, step, share",
    [
        (20, 28, 5, 1.0),  # two batches lie wholly inside: the first
        (21, 26, 5, 0.75),  # none does: the fullest
        (22, 26, 5, 0.5),  # two are as full: the first
        (25, 26, 6, 0.25),
    ],
)
def test_at_rows_judges_the_first_of_the_fullest_batches(start, stop, step, share):
    found = at_rows(HAND, start, stop, window=5)
    assert (found.step, found.share) == (step, share)


def test_at_rows_also_answers_where_nothing_was_flagged():
    found = at_rows(HAND, 32, 36, window=5)
    assert (found.step, found.flagged) == (8, False) and found.height == pytest.approx(0.0)


def test_at_rows_is_flagged_by_any_batch_of_the_segment():
    losses = [
        1.0,
        1.2,
        0.8,
        1.1,
        0.9,
        3.0,
        1.0,
        1.0,
        1.0,
        1.0,
    ]  # only the half batch at its start stands out
    found = at_rows(run_of(losses, np.arange(40).reshape(10, 4)), 22, 30, window=5)
    assert (found.step, found.flagged) == (6, True) and found.height == pytest.approx(0.0)


def test_at_rows_passes_over_a_batch_before_the_window_is_full():
    rows = np.arange(40).reshape(10, 4)
    rows[[2, 8]] = [
        [100, 101, 102, 103],
        [104, 2, 3, 4],
    ]  # as in a shuffled order: the fullest batch came too early
    assert (at_rows(run_of(HAND.loss, rows), 100, 105, window=5).step) == 8


@pytest.mark.parametrize(
    "where, message",
    [
        (dict(start=500, stop=600), "no batch of epoch 0 holds rows 500 .. 599"),
        (dict(start=22, stop=30, epoch=1), "no batch of epoch 1 holds rows 22 .. 29"),
        (dict(start=4, stop=8), "rows 4 .. 7 come before the baseline's window of 5 steps is full"),
    ],
)
def test_at_rows_says_why_it_has_no_answer(where, message):
    with pytest.raises(ValueError, match=message):
        at_rows(HAND, window=5, **where)


@FEW
@given(
    st.lists(st.floats(0, 9), min_size=1, max_size=40),
    st.integers(2, 12),
    st.sampled_from([1.0, 2.0, 3.0]),
)
def test_spike_score_counts_what_brute_force_counts(values, window, n_sigma):
    values = (
        np.round(values, 1) + np.arange(len(values)) % 3
    )  # no constant windows, whose deviation is rounding
    score, hits = spike_score(values, window=window, n_sigma=n_sigma), []
    for i in range(window, len(values)):
        mean = sum(values[i - window : i]) / window
        sigma = (sum((v - mean) ** 2 for v in values[i - window : i]) / window) ** 0.5
        assume(
            sigma < 1e-9 or abs(abs(values[i] - mean) - n_sigma * sigma) > 1e-9
        )  # on the border, rounding decides
        hits.append(abs(values[i] - mean) >= n_sigma * max(sigma, 1e-12))
    assert np.isnan(score) if not hits else score == pytest.approx(100 * sum(hits) / len(hits))


def test_spike_score_by_hand():
    # 0 2 0 2 has mean 1 and deviation 1, so 8 lies 7 sigma off; then 2 0 2 8 has 3 and 3, and 6 lies 1 sigma off.
    assert spike_score([0, 2, 0, 2, 8, 6], window=4, n_sigma=7) == 50.0
    assert spike_score([0, 2, 0, 2, 7.9, 6], window=4, n_sigma=7) == 0.0
    assert spike_score([0, 2, 0, 2, -6, 6], window=4, n_sigma=7) == 50.0  # both sides count


@pytest.fixture
def segment_run():
    """120 batches of 8 rows; rows 480 .. 639 are harder by a nat and then simply end. Probes every 20 steps."""
    losses = curve(0, 120)
    losses[60:80] += 1.0
    probes = {
        step: {"zh": 3.0 - step / 1000, "code": 5.0 - step / 20} for step in range(0, 120, 20)
    }
    return run_of(losses, np.arange(960).reshape(120, 8), probes=probes)


def test_recovery_from_a_segment_is_its_end(segment_run):
    (event,) = find(segment_run.loss)
    assert width(segment_run, event) == 160 and recovery(segment_run, event, 160) == 0


def test_recovery_by_hand():
    (event,) = find(HAND.loss, window=5)
    assert (event.start, event.stop) == (5, 8)
    assert width(HAND, event) == 12 and recovery(HAND, event, 8) == 4


def test_a_slow_decay_is_a_recovery():
    losses = curve(0, 200)
    losses[60:80] += 1.0
    losses[80:] += np.exp(
        -np.arange(120) / 10
    )  # a damaged model: the excess relaxes after the segment has ended
    run = run_of(losses, np.arange(1600).reshape(200, 8))
    assert recovery(run, find(losses)[0], 160) > 80


def test_harm_by_hand(segment_run):
    # The event is [60, 80): probes before are those of step 60 (measured before its update), after those of step 80.
    (event,) = find(segment_run.loss)
    assert (event.start, event.stop) == (60, 80)
    assert harm(segment_run, event) == pytest.approx({"zh": -0.02, "code": -1.0})


def test_harm_needs_a_probe_on_both_sides():
    run = run_of(
        HAND.loss,
        np.arange(40).reshape(10, 4),
        probes={2: {"early": 1.0, "both": 2.0}, 9: {"late": 1.0, "both": 2.5}},
    )
    (event,) = find(run.loss, window=5)
    assert harm(run, event) == {"both": 0.5}


def epochs_of(orders, batch=8, seed=0):
    """Loss of batches over several epochs, on rows of which 3 % are hard; falling and noisy."""
    rng = np.random.default_rng(seed)
    difficulty = np.where(rng.random(len(orders[0])) < 0.03, 3.0, 0.0)
    losses = np.concatenate([difficulty[rows].reshape(-1, batch).mean(axis=1) for rows in orders])
    return losses + np.linspace(3, 2, len(losses)) + rng.normal(0, 0.02, len(losses))


@pytest.mark.parametrize("kind", ["file", "shuffle_once"])
def test_a_repeated_order_folds_at_whole_epochs_only(kind):
    n = 1600
    found = epoch_folding(
        epochs_of([order.make(kind, n, seed=1, epoch=e) for e in range(4)]), n // 8
    )
    assert list(found) == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert all(found[lag] > 0.9 for lag in (1.0, 2.0, 3.0))
    assert all(abs(found[lag]) < 0.25 for lag in (0.5, 1.5, 2.5, 3.5))


def test_a_new_order_in_each_epoch_folds_nowhere():
    n = 1600
    found = epoch_folding(
        epochs_of([order.make("shuffle", n, seed=1, epoch=e) for e in range(4)]), n // 8
    )
    assert all(abs(value) < 0.25 for value in found.values())


def test_a_trend_alone_does_not_fold():
    values = np.linspace(3, 2, 400) + np.random.default_rng(0).normal(0, 0.01, 400)
    assert all(abs(value) < 0.25 for value in epoch_folding(values, 100).values())


def test_folding_needs_half_an_epoch_of_overlap():
    values = curve(0, 190)
    assert list(epoch_folding(values, 100)) == [0.5, 1.0]
    with pytest.raises(ValueError, match=r"at least 1\.5 epochs, got 149 steps of 100 per epoch"):
        epoch_folding(values[:149], 100)


def test_the_detector_can_not_see_the_truth():
    # It reads records and nothing else: no truth file, no data folder, no model.
    source = Path(spikes.__file__).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported |= {"." * node.level + (node.module or "")} | {
                alias.name for alias in node.names if node.module is None
            }
    assert imported == {"__future__", "dataclasses", "collections.abc", "numpy", "minimind_lite.records"}
    assert "blocks.json" not in source and "assets" not in source and "open(" not in source
