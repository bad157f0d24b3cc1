"""Readings of curves that were drawn by hand, at segments and at flagged events."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minimind_lite import order
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import segment_metrics
from minimind_lite.science.segment_metrics import (
    at_rows,
    epoch_folding,
    harm,
    recovery,
    spike_score,
    width,
)
from minimind_lite.spikes import find

# The noise is drawn from a fixed seed: a test of a statistic must not depend on the day it runs.
FEW = settings(max_examples=40, deadline=None, derandomize=True)

SIZE, BASE, DELTA = 4, 5.0, 2.0
SEGMENTS = [
    {"domain": "en", "start": 40, "stop": 76},
    {"domain": "math", "start": 122, "stop": 158},
]  # 36 rows each; the second between two batches
N = 200


def row_losses() -> np.ndarray:
    """Base with a small, known ripple; DELTA more in the segments."""
    losses = BASE + 0.01 * (np.arange(N) % 4 - 1.5)
    for s in SEGMENTS:
        losses[s["start"] : s["stop"]] += DELTA
    return losses


def a_run(order: np.ndarray, size: int = SIZE, probe=lambda step: 5.2) -> Run:
    losses, records = row_losses(), []
    for i, rows in enumerate(np.split(order, range(size, N, size))):
        records.append(
            StepRecord(
                step=i,
                epoch=0,
                samples_seen=i * size,
                loss=float(losses[rows].mean()),
                tokens=10 * len(rows),
                lr=0.0,
                grad_norm=1.0,
                micro_losses=np.array([losses[rows].mean()]),
                rows=rows,
                sample_losses=losses[rows],
                sample_tokens=np.full(len(rows), 10),
                seconds=0.0,
                probes={"zh": probe(i)} if i % 5 == 0 else {},
            )
        )
    return Run({"segments": SEGMENTS, "probes_after": {"zh": probe(len(records))}}, tuple(records))


def test_a_box_has_the_height_of_the_box_and_nothing_to_recover_from():
    found = segment_metrics.read(a_run(np.arange(N)))
    assert found["en"].height == found["en"].mean_height == pytest.approx(DELTA)
    # Ten base batches are too few for the detector's window.
    assert found["en"].recovery == 0 and found["en"].flagged is False
    # It begins and ends inside a batch: one more.
    assert found["math"].height == pytest.approx(DELTA) and found["math"].recovery == SIZE


def test_harm_is_what_the_probe_keeps():
    def read(harmed_from: int):
        probe = lambda step: 5.2 + 0.5 * (step >= harmed_from)
        return segment_metrics.read(a_run(np.arange(N), probe=probe))

    assert read(99)["en"].harm == 0 and read(15)["en"].harm == pytest.approx(0.5)
    # After the second segment there is one measurement: that after the last step.
    assert read(40)["math"].harm == pytest.approx(0.5)


def test_readings_go_by_positions_not_by_step_numbers():
    """A run that goes on from step 1000 reads the same."""
    run = a_run(np.arange(N), probe=lambda step: 5.2 + 0.5 * (step >= 15))
    records = tuple(replace(r, step=r.step + 1000) for r in run.records)
    assert segment_metrics.read(Run(run.info, records)) == segment_metrics.read(run)


def test_losses_that_order_does_not_change_sort_back_into_the_file_s_curve():
    shuffled = a_run(np.random.default_rng(0).permutation(N))
    assert segment_metrics.in_file_order(shuffled, SIZE).loss == pytest.approx(
        a_run(np.arange(N)).loss
    )
    assert segment_metrics.read(segment_metrics.in_file_order(shuffled, SIZE))[
        "en"
    ].height == pytest.approx(DELTA)


def test_rows_come_back_in_file_order():
    rows = segment_metrics.file_rows(a_run(np.random.default_rng(1).permutation(N)))
    assert rows.losses == pytest.approx(row_losses()) and set(rows.tokens) == {10}
    assert np.flatnonzero(rows.off_domain).tolist() == [*range(40, 76), *range(122, 158)]


def test_a_row_read_twice_is_refused():
    run = a_run(np.arange(N))
    twice = Run(run.info, (*run.records, run.records[0]))
    with pytest.raises(ValueError, match="every row must be read once, got 204 rows, 200 diff"):
        segment_metrics.file_rows(twice)


def test_only_the_epoch_that_is_asked_for_is_read():
    run = a_run(np.arange(N))
    second = tuple(replace(r, epoch=1, loss=r.loss + 1.0) for r in run.records)
    both = Run(run.info, (*run.records, *second))
    assert segment_metrics.read(both)["en"].height == pytest.approx(DELTA)
    # Its baseline is made of the last 30 base batches before it, 20 of the first epoch.
    assert segment_metrics.read(both, epoch=1)["en"].height == pytest.approx(DELTA + 1.0)
    assert set(segment_metrics.read(both, epoch=2)) == set()


def test_the_tallest_step_is_judged_by_the_detector_s_own_baseline():
    losses = [1.0, 1.2] * 16 + [3.0, 1.0]
    run = run_of(losses, np.arange(len(losses) * 4).reshape(-1, 4))
    assert segment_metrics.tallest_step(run) == pytest.approx(3.0 - 1.1)


# At given rows, and at flagged events


def curve(seed, n=200):
    """A loss that falls from 3 to 2.5 nats, with noise."""
    return 3 - 0.5 * np.arange(n) / n + np.random.default_rng(seed).normal(0, 0.05, n)


def run_of(losses, rows, *, probes=None):
    """A run with the given loss and rows at each step."""
    records = tuple(
        StepRecord(
            step=i,
            epoch=0,
            samples_seen=0,
            loss=float(loss),
            tokens=len(r),
            lr=1e-3,
            grad_norm=1.0,
            micro_losses=np.array([loss]),
            rows=np.asarray(r),
            sample_losses=np.full(len(r), loss),
            sample_tokens=np.ones(len(r), int),
            probes=(probes or {}).get(i, {}),
        )
        for i, (loss, r) in enumerate(zip(losses, rows))
    )
    return Run({}, records)


# Batches of 4 rows in file order; rows 22 .. 29 are off-domain: half of step 5, all of step 6,
# half of step 7.
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
    # Only the half batch at its start is high.
    losses = [1.0, 1.2, 0.8, 1.1, 0.9, 3.0, 1.0, 1.0, 1.0, 1.0]
    found = at_rows(run_of(losses, np.arange(40).reshape(10, 4)), 22, 30, window=5)
    assert (found.step, found.flagged) == (6, True) and found.height == pytest.approx(0.0)


def test_an_event_of_a_neighboring_segment_is_not_of_this_one():
    """One event, steps 5 to 7. Of the rows it was said that both segments are flagged."""
    assert at_rows(HAND, 20, 28, window=5).flagged is True  # it starts with them
    assert at_rows(HAND, 28, 32, window=5).flagged is False  # step 7: it only goes on there


def test_an_event_that_starts_in_a_batch_of_two_segments_is_of_the_higher_rows():
    """Step 5 has rows 20 and 21 of one segment at the level, 22 and 23 of the next one above it."""
    records = list(HAND.records)
    records[5] = replace(records[5], sample_losses=np.array([1.0, 1.0, 3.0, 3.0]))
    run = Run(HAND.info, tuple(records))
    assert at_rows(run, 16, 22, window=5).flagged is False
    assert at_rows(run, 22, 30, window=5).flagged is True


def test_a_reading_is_flagged_by_the_event_that_starts_with_its_segment():
    """Two segments side by side: the event of the first goes on over the second, a lower one."""
    rows, losses = np.arange(160).reshape(40, 4), np.array([1.0, 1.2, 0.8, 1.1, 0.9] * 8)
    losses[32:36] += [2, 2, 0.7, 0.7]
    side_by_side = [("en", 128, 136), ("math", 136, 144)]
    info = {"segments": [dict(domain=d, start=a, stop=b) for d, a, b in side_by_side]}
    readings = segment_metrics.read(replace(run_of(losses, rows), info=info))
    assert {label: r.flagged for label, r in readings.items()} == {
        "en_tiny": True,
        "math_tiny": False,
    }


def test_at_rows_passes_over_a_batch_before_the_window_is_full():
    rows = np.arange(40).reshape(10, 4)
    # As in a shuffled order: the fullest batch came too early.
    rows[[2, 8]] = [[100, 101, 102, 103], [104, 2, 3, 4]]
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
    # No constant windows, whose deviation is rounding.
    values = np.round(values, 1) + np.arange(len(values)) % 3
    score, hits = spike_score(values, window=window, n_sigma=n_sigma), []
    for i in range(window, len(values)):
        mean = sum(values[i - window : i]) / window
        sigma = (sum((v - mean) ** 2 for v in values[i - window : i]) / window) ** 0.5
        # On the border, rounding decides.
        assume(sigma < 1e-9 or abs(abs(values[i] - mean) - n_sigma * sigma) > 1e-9)
        hits.append(abs(values[i] - mean) >= n_sigma * max(sigma, 1e-12))
    assert np.isnan(score) if not hits else score == pytest.approx(100 * sum(hits) / len(hits))


def test_spike_score_by_hand():
    # 0 2 0 2 has mean 1 and deviation 1, so 8 is 7 sigma off; then 2 0 2 8 has 3 and 3, and 6 is 1
    # sigma off.
    assert spike_score([0, 2, 0, 2, 8, 6], window=4, n_sigma=7) == 50.0
    assert spike_score([0, 2, 0, 2, 7.9, 6], window=4, n_sigma=7) == 0.0
    assert spike_score([0, 2, 0, 2, -6, 6], window=4, n_sigma=7) == 50.0  # both sides count


@pytest.fixture
def segment_run():
    """120 batches of 8 rows; rows 480 .. 639 are a nat harder. Probes every 20 steps."""
    losses = curve(0, 120)
    losses[60:80] += 1.0
    probes = {
        step: {"zh": 3.0 - step / 1000, "code": 5.0 - step / 20} for step in range(0, 120, 20)
    }
    return run_of(losses, np.arange(960).reshape(120, 8), probes=probes)


def test_recovery_from_a_segment_is_its_end(segment_run):
    (event,) = find(segment_run.loss)
    assert width(segment_run, event) == 160 and recovery(segment_run, event, length=160) == 0


def test_recovery_by_hand():
    (event,) = find(HAND.loss, window=5)
    assert (event.start, event.stop) == (5, 8)
    assert width(HAND, event) == 12 and recovery(HAND, event, length=8) == 4


def test_a_slow_decay_is_a_recovery():
    losses = curve(0, 200)
    losses[60:80] += 1.0
    # A damaged model: the excess relaxes after the segment has ended.
    losses[80:] += np.exp(-np.arange(120) / 10)
    run = run_of(losses, np.arange(1600).reshape(200, 8))
    assert recovery(run, find(losses)[0], length=160) > 80


def test_harm_by_hand(segment_run):
    # The event is [60, 80): probes before are those of step 60 (measured before its update), after
    # those of step 80.
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


def test_harm_goes_by_positions_not_by_step_numbers(segment_run):
    """A run that keeps one step in four has steps 0, 4, 8 ...; it used to show no harm at all."""
    losses = curve(0, 240)
    losses[160:200] += 1.0
    hurt = {step: {"zh": 3.0 + 2.0 * (step > 160)} for step in range(0, 240, 20)}
    thinned = run_of(losses, np.arange(1920).reshape(240, 8), probes=hurt).every(4)
    (event,) = find(thinned.loss)
    assert (event.start, event.stop) == (40, 50)
    assert harm(thinned, event) == {"zh": pytest.approx(2.0)}


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
