"""Hits and false alarms of two detectors, counted by hand and on what is recorded."""

import numpy as np
import pytest

from minimind_lite.records import Run, StepRecord
from minimind_lite.science import detectors, evidence, permutation
from minimind_lite.science.detectors import BATCH, Series
from minimind_lite.science.permutation import Batches


def quiet(steps=139, seed=0):
    rng = np.random.default_rng(seed)
    n = steps * BATCH
    return Batches(rng.normal(5, 0.3, n), rng.integers(50, 150, n), np.full(steps, BATCH))


def test_hits_delays_and_false_alarms_by_hand(monkeypatch):
    """Starts 9, 43, 70 and 100; segments at 10-14, 40-44, 60-64 (not to flag), 90-93."""
    fixed = {"fixed": lambda batches: [9, 43, 65, 100]}
    monkeypatch.setattr(detectors, "DETECTORS", fixed)
    places = ((10, 14), (40, 44), (60, 64), (90, 93))
    [row] = detectors.compare({"a": [Series(quiet(), places, (True, True, False, True))]})
    assert (row.series, row.detector, row.runs, row.steps) == ("a", "fixed", 1, 139)
    assert (row.segments, row.hits, row.delay) == (3, 1, 1.0)  # -1 and 3 batches; 90 not at all
    assert (row.false_alarms, row.runs_with_alarms) == (1, 1)  # 65 is a batch after the third
    assert row.hit_share == pytest.approx(100 / 3)
    assert row.alarms_per_1000 == pytest.approx(1000 / 139)


def test_a_kind_without_segments_has_neither_hits_nor_delay(monkeypatch):
    monkeypatch.setattr(detectors, "DETECTORS", {"none": lambda batches: []})
    [row] = detectors.compare({"a": [Series(quiet())] * 3})
    assert (row.runs, row.hits, row.delay, row.false_alarms) == (3, 0, None, 0)
    assert np.isnan(row.hit_share)


def test_a_shuffle_keeps_every_row_with_its_tokens():
    batches = quiet()
    [one, other] = detectors.shuffled(batches, 2)
    pairs = sorted(zip(batches.losses, batches.tokens))
    assert sorted(zip(one.batches.losses, one.batches.tokens)) == pairs
    assert not np.array_equal(one.batches.losses, other.batches.losses)


def test_a_planted_segment_is_where_its_truth_says():
    plain = [Series(quiet(seed=seed)) for seed in range(20)]
    for before, after in zip(plain, detectors.planted(plain, rows=40, excess=2, within=30)):
        raised = np.flatnonzero(after.batches.losses - before.batches.losses > 1)
        assert len(raised) == 40 and np.ptp(raised) == 39 and after.rising == (True,)
        assert after.segments == ((raised[0] // BATCH, raised[-1] // BATCH),)
        assert after.segments[0][0] >= 1 and after.segments[0][1] < 30


def test_both_detectors_flag_what_is_tall_and_one_what_comes_early():
    late, early = quiet(), quiet()
    late.losses[800:880] += 1
    early.losses[80:160] += 1
    assert detectors.starts_by_z(late) == detectors.starts_by_permutation(late) == [50]
    assert detectors.starts_by_z(early) == [] and detectors.starts_by_permutation(early) == [5]
    assert detectors.starts_by_z(quiet(30)) == []


def test_one_very_hard_row_is_a_spike_for_z_alone():
    batches = quiet()
    batches.losses[1000] += 30
    assert detectors.starts_by_z(batches) == [62]
    assert detectors.starts_by_permutation(batches) == []


def test_of_whole_blocks_those_count_that_are_higher_than_what_comes_before():
    """Blocks of 64 rows at 5, 6, 5.2 and 5.4 nats: only the second has to be flagged."""
    levels, names = np.repeat([5, 6, 5.2, 5.4], 64), ("zh_chat", "code", "zh_writing", "math")
    blocks = [dict(domain=d, start=64 * i, stop=64 * i + 64) for i, d in enumerate(names)]
    records = [
        StepRecord(
            step=i,
            epoch=0,
            samples_seen=BATCH * i,
            loss=float(levels[rows].mean()),
            tokens=10 * BATCH,
            lr=0.0,
            grad_norm=1.0,
            micro_losses=levels[rows].mean(keepdims=True),
            rows=rows,
            sample_losses=levels[rows],
            sample_tokens=np.full(BATCH, 10),
        )
        for i, rows in enumerate(np.arange(256).reshape(-1, BATCH))
    ]
    whole = detectors.of_run(Run({"family": "blocks", "segments": blocks}, tuple(records)))
    assert whole.segments == ((4, 7), (8, 11), (12, 15)) and whole.rising == (True, False, False)
    mixed = detectors.of_run(Run({"segments": blocks}, tuple(records)))
    assert mixed.rising == (True, True, True)  # of a mixed file every segment counts


def test_on_eight_recorded_layouts_no_fewer_hits_than_z_and_no_false_alarm():
    records = evidence.recorded()
    runs: dict[str, list[Run]] = {
        name: [records.trial("E1", name, seed).run for seed in range(8)]
        for name in ("frozen", "file")
    }
    kinds = {name: map(detectors.of_run, several) for name, several in runs.items()}
    rows = {(row.series, row.detector): row for row in detectors.compare(kinds)}
    for name in runs:
        z, conversations = rows[name, "z"], rows[name, "permutation"]
        assert conversations.hits >= z.hits and conversations.hits >= 39
        assert conversations.false_alarms == z.false_alarms == 0


def test_the_stated_rate_holds_on_recorded_shuffles():
    """200 re-binned shuffles of every recorded frozen run."""
    for row in detectors.recorded():
        if row.detector == "permutation" and row.series.endswith("shuffled"):
            expected = permutation.RATE * row.runs
            assert row.runs_with_alarms <= expected + 2 * np.sqrt(expected), row


def test_the_module_says_what_is_recorded():
    """Its first lines say which detector judges what."""
    rows = {(row.series, row.detector): row for row in detectors.recorded()}
    z, other = (
        {series: row for (series, name), row in rows.items() if name == detector}
        for detector in detectors.DETECTORS
    )
    files = [s for s in z if s.endswith(("frozen", "trained"))]
    assert len(files) == 6 and all(other[s].hits > z[s].hits for s in files)
    single, early = (
        "planted a single row, +20 nats",
        "planted 64 rows in the first 30 steps, +0.6 nats",
    )
    assert z[single].hits > 0.4 * z[single].segments and other[single].hits == 0
    assert z[early].hits == 0 and other[early].hits > 0.7 * other[early].segments
    heavy = "log-normal rows, shuffled"
    assert z[heavy].false_alarms > 200 * max(other[heavy].false_alarms, 1)
    half = "planted 8 rows, +0.6 nats"
    assert max(z[half].hit_share, other[half].hit_share) < 1


def test_recorded_hits_are_no_fewer_than_z_s_where_a_segment_fills_a_batch():
    rows = detectors.recorded()
    less = ("planted 8 rows, +0.6 nats", "planted a single row, +20 nats")
    for z, conversations in zip(rows[::2], rows[1::2]):
        assert z.series == conversations.series
        assert conversations.hits >= z.hits or z.series in less


def test_a_small_record_is_written_and_read(tmp_path, monkeypatch):
    monkeypatch.setattr(detectors, "all_series", lambda n: {"a": [Series(quiet(40))] * n})
    detectors.record(tmp_path / "detectors.json", shuffles=2)
    monkeypatch.setattr(detectors.shipped, "folder", lambda: tmp_path)
    assert [(row.detector, row.runs, row.steps) for row in detectors.recorded()] == [
        ("z", 2, 80),
        ("permutation", 2, 80),
    ]
