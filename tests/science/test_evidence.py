"""Recorded trials as evidence: paired by seed, never stale, and each value by hand."""

from dataclasses import replace

import numpy as np
import pytest
from science.test_store import A, record
from science.toy import records_of

from minimind_lite.records import Run
from minimind_lite.science import evidence as ev
from minimind_lite.science import law_checks, segment_metrics
from minimind_lite.science.evidence import Evidence, change
from minimind_lite.science.intervals import Counts, crossed_interval, mean_interval
from minimind_lite.science.segment_metrics import Reading
from minimind_lite.science.store import MissingTrials, Store, Trial
from minimind_lite.science.trials import Variant

RECORDS = ev.recorded()
PULSE = ("E2", "base rows, pulse")


def trial(run: Run | None = None, **values: object) -> Trial:
    return Trial("T1", "a", 0, {}, values, run or Run({}, ()))


def run_of(losses: list[float], **info: object) -> Run:
    return Run({"segments": [], **info}, tuple(records_of(losses)))


# Pairs and staleness


def test_values_are_paired_by_seed(tmp_path):
    store, b = Store(tmp_path), Variant("b", A.procedure, {"x": 2})
    for seed in (0, 1, 2, 5):
        record(store, A, seed)
    for seed in (5, 1, 0, 7):
        record(store, b, seed)
    evidence = Evidence(store)
    assert evidence.common(("T1", "a"), ("T1", "b")) == [0, 1, 5]
    pairs = []
    interval = evidence.over_seeds(
        lambda a, b: pairs.append((a.seed, b.seed)) or float(b.seed), ("T1", "a"), ("T1", "b")
    )
    assert pairs == [(0, 0), (1, 1), (5, 5)] and interval == mean_interval([0.0, 1.0, 5.0])
    assert Evidence(store, seeds=(1, 2, 3)).common(("T1", "a"), ("T1", "b")) == [1]
    with pytest.raises(MissingTrials, match="no seed has all of T1 'a', T1 'c' recorded"):
        evidence.common(("T1", "a"), ("T1", "c"))


def test_a_change_is_the_first_trial_minus_the_second(tmp_path):
    store = Store(tmp_path)
    record(store, A, 0)
    record(store, Variant("b", A.procedure, {"x": 5}), 0)
    twice = lambda t: float(t.values["twice"])
    interval = Evidence(store).over_seeds(change(twice), ("T1", "a"), ("T1", "b"))
    assert interval.mean == 2 - 10 and interval.n == 1


def test_base_models_are_crossed_with_layouts(tmp_path):
    store, twice = Store(tmp_path), lambda t: float(t.values["twice"])
    for i, name in enumerate(("a", "a, nano-1", "a, nano-2")):
        variant = Variant(name, A.procedure, {"x": i})
        for seed in (0, 1, 2) if i else (0, 1, 2, 3):
            record(store, variant, seed)
    got = Evidence(store).over_bases(twice, ("T1", "a"), level=0.9)
    table = np.array([[0.0, 2.0, 4.0]] * 3)
    assert got == crossed_interval(table, level=0.9) and (got.n, got.bases) == (3, 3)
    one = Evidence(store, seeds=(3,)).over_bases(twice, ("T1", "a"))
    assert one == Evidence(store, seeds=(3,)).over_seeds(twice, ("T1", "a"))
    with pytest.raises(MissingTrials, match="T1 'b, nano-2'"):
        record(store, Variant("b", A.procedure, {"x": 1}), 0)
        record(store, Variant("b", A.procedure, {"x": 1}), 1)
        Evidence(store).over_bases(twice, ("T1", "b"))


def test_counts_keep_their_values(tmp_path):
    store, twice = Store(tmp_path), lambda t: float(t.values["twice"])
    record(store, A, 0)
    record(store, A, 3)
    assert Evidence(store).counts(twice, ("T1", "a"), of=5) == Counts((2, 2), of=5)


def test_a_replaced_trial_is_never_served_from_memory(tmp_path):
    """It used to be, for ever: the memory was the module's, and knew no content."""
    store = Store(tmp_path)
    record(store, A, 0)
    evidence = Evidence(store)
    twice = lambda t: float(t.values["twice"])
    assert evidence.over_seeds(twice, ("T1", "a")).mean == 2
    record(Store(tmp_path), replace(A, settings={"x": 49}), 0)  # another process
    assert evidence.over_seeds(twice, ("T1", "a")).mean == 98


def test_a_trial_is_read_once_while_nothing_changes(tmp_path):
    store = Store(tmp_path)
    record(store, A, 0)
    evidence = Evidence(store)
    assert evidence.trial("T1", "a", 0) is evidence.trial("T1", "a", 0)
    assert Evidence(store).trial("T1", "a", 0) is not evidence.trial("T1", "a", 0)


# Values by hand


def reading(**values: float) -> Reading:
    fields = {"height": 0.0, "mean_height": 0.0, "z": 0.0, "flagged": False, "recovery": 0}
    return Reading(**(fields | {"harm": 0.0} | values))


def with_readings(**readings: Reading) -> Trial:
    made = trial()
    made.__dict__["readings"] = readings  # as `cached_property` keeps them
    return made


def test_means_are_over_the_large_segments():
    t = with_readings(
        code=reading(height=1.0, mean_height=0.5, recovery=16, harm=0.2, flagged=True),
        math=reading(height=3.0, mean_height=1.5, recovery=0, harm=-0.2, flagged=True),
        en_tiny=reading(height=99.0, mean_height=99.0, recovery=99, harm=99.0, flagged=True),
    )
    assert ev.height(t) == 2.0 and ev.mean_height_inside(t) == 1.0
    assert ev.recovery(t) == 8.0 and ev.harm(t) == 0.0
    assert ev.flagged(t) == 3.0  # of all five


def test_values_of_a_pulse():
    losses = [2.0] * 10 + [2.5, 6.0, 3.0, 2.2]
    run = run_of(losses, event=[10, 12])
    probes = {9: 1.0, 11: 3.0, 13: 1.5}
    records = tuple(
        replace(r, probes={"zh": probes[i]} if i in probes else {})
        for i, r in enumerate(run.records)
    )
    t = trial(Run(run.info, records))
    assert ev.median_before(t) == 2.0 and ev.event_height(t) == 4.0
    assert ev.probe_rise(t) == 2.0


def test_the_step_after_the_event_still_belongs_to_it():
    assert ev.event_height(trial(run_of([2.0] * 10 + [2.5, 2.5, 7.0, 9.0], event=[10, 12]))) == 5.0


def test_held_out_losses_at_the_end():
    final = {"zh": 1.0, "code": 2.0, "en": 4.0, "math": 6.0, "zh_classical": 8.0}
    t = trial(run_of([1.0], probes_after=final))
    assert ev.final_probe_loss(t) == 21 / 5 and ev.final_probe_loss(t, "zh", "en") == 2.5
    assert ev.held_out_chinese(t) == 1.0 and ev.held_out_off_domain(t) == 5.0


def test_roughness_leaves_segments_out_and_knows_the_noise():
    rng = np.random.default_rng(0)
    losses = (3 - np.arange(400) / 1000 + rng.normal(0, 0.05, 400)).tolist()
    losses[100:110] = [9.0] * 10
    segment = {"domain": "en", "start": 200, "stop": 220}
    run = run_of(losses, segments=[segment])
    assert ev.roughness(trial(run)) == pytest.approx(0.05, rel=0.15)


def test_a_replay_s_change_is_that_of_equal_steps_with_equal_rows():
    records = list(records_of([1.0, 2.0, 3.0]))
    again = [replace(records[1], loss=2.25), replace(records[2], rows=records[0].rows, loss=99.0)]
    assert ev.change_on_replay(trial(Run({}, (*records, *again)))) == 0.25
    assert np.isnan(ev.change_on_replay(trial(Run({}, tuple(records)))))


# One estimator


def test_claims_and_lesson_measure_visibility_with_one_function():
    """They differ in nothing but the batch that is looked at: as it lies, or drawn at random."""
    frozen = RECORDS.trial("E1", "frozen", 0)
    names = law_checks.large(frozen.run)
    for size in (4, 64):
        claims = ev.visibility_at(frozen, size)
        checks = [law_checks.visibility([frozen.run], name, batches=(size,)) for name in names]
        lesson = {f: np.mean([c[f].measured[0, 0] for c in checks]) for f in checks[0]}
        assert claims.noise == lesson["noise"]
        assert claims.height == pytest.approx(lesson["height"], rel=0.1)
        assert claims.z == pytest.approx(lesson["z"], rel=0.1)


def test_losses_sorted_back_are_read_like_any_curve():
    shuffled = RECORDS.trial("E1", "shuffled", 0)
    readings = segment_metrics.read(segment_metrics.in_file_order(shuffled.run))
    assert ev.sorted_back_height(shuffled) == ev.over_large(readings, "height") > 0.3


def test_tallest_step_and_events_are_the_detector_s():
    pulse = RECORDS.trial(*PULSE, 0)
    assert ev.events(pulse) >= 1 and ev.tallest_step(pulse) > 1
    assert ev.tallest_step(pulse) == segment_metrics.tallest_step(pulse.run)
