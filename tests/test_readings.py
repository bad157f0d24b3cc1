"""Readings of curves that were drawn by hand."""

import numpy as np
import pytest

from minimind_lite.records import Run, StepRecord
from minimind_lite.science import laws, segment_metrics

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
    assert (
        found["en"].recovery == 0 and found["en"].flagged is False
    )  # ten base batches are too few for the detector's window
    assert (
        found["math"].height == pytest.approx(DELTA) and found["math"].recovery == SIZE
    )  # begins and ends inside a batch: one more


def test_harm_is_what_the_probe_keeps():
    assert segment_metrics.read(a_run(np.arange(N)))["en"].harm == 0
    assert segment_metrics.read(a_run(np.arange(N), probe=lambda step: 5.2 + 0.5 * (step >= 15)))[
        "en"
    ].harm == pytest.approx(0.5)
    # between the second segment and the end there is one measurement, that after the last step at the latest
    assert segment_metrics.read(a_run(np.arange(N), probe=lambda step: 5.2 + 0.5 * (step >= 40)))[
        "math"
    ].harm == pytest.approx(0.5)


def test_losses_that_order_does_not_change_sort_back_into_the_file_s_curve():
    shuffled = a_run(np.random.default_rng(0).permutation(N))
    assert segment_metrics.in_file_order(shuffled, SIZE).loss == pytest.approx(
        a_run(np.arange(N)).loss
    )
    assert segment_metrics.read(segment_metrics.in_file_order(shuffled, SIZE))[
        "en"
    ].height == pytest.approx(DELTA)


@pytest.mark.parametrize("phase", [0, 1, 3])
@pytest.mark.parametrize("size", [2, 4, 7])
def test_rebinning_loses_nothing(size, phase):
    values, starts = segment_metrics.rebinned(a_run(np.arange(N)), size, phase=phase % size)
    counts = np.diff(np.append(starts, N))
    assert (
        (values * counts).sum() == pytest.approx(row_losses().sum())
        and starts[0] == 0
        and counts.max() <= size
    )


def test_a_segment_shorter_than_the_batch_is_seen_in_part():
    run = a_run(np.arange(N), size=N)
    height, noise, z = segment_metrics.visibility(
        run, segment_metrics.segments(run)[0], 48, phases=48
    )
    # The second segment may fall into no batch with the first: 46 rows lie between them. r = 36/48.
    assert height == pytest.approx(
        DELTA * laws.peak_share(36 / 48), abs=0.06
    ) and z == pytest.approx(height / noise)
    assert segment_metrics.visibility(run, segment_metrics.segments(run)[0], 12)[
        0
    ] == pytest.approx(DELTA, abs=0.01)
