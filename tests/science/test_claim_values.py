"""Numbers that one claim asks for, each by hand."""

from dataclasses import replace

import numpy as np
import pytest
from science.test_decomposition import BLOCKS, a_pass
from science.test_evidence import reading, run_of, trial, with_readings

from minimind_lite.records import Run
from minimind_lite.science import claim_values as values
from minimind_lite.science import evidence
from minimind_lite.science.store import Trial

RECORDS = evidence.recorded()
OFF_DOMAIN = ("code", "en", "math", "zh_classical")


def with_probes(probes: dict[str, list[float]], **info: object) -> Trial:
    """Held-out losses before each step, and after the last."""
    n = len(next(iter(probes.values()))) - 1
    after = {name: series[-1] for name, series in probes.items()}
    run = run_of([2.0] * n, probes_after=after, **info)
    measured = [{name: series[i] for name, series in probes.items()} for i in range(n)]
    records = (replace(record, probes=at) for record, at in zip(run.records, measured))
    return trial(Run(run.info, tuple(records)))


# Spikes


def test_the_height_of_unseen_domains_leaves_classical_chinese_out():
    heights = {"code": 1.0, "en": 2.0, "math": 6.0, "zh_classical": 50.0}
    seen = with_readings(**{label: reading(height=h) for label, h in heights.items()})
    assert values.height_of_unseen(seen) == 3.0


def test_the_lowest_height_is_that_of_one_trial():
    low, high = (with_readings(code=reading(height=h)) for h in (0.5, 2.0))
    assert values.lowest_height(high, low, high) == 0.5


def test_values_of_the_audit_and_of_the_sort_keys():
    used = {"weights": 10, "gradients": 10, "optimizer": 20, "activations": {"1": 5, "16": 60}}
    audit = trial(bytes=used, gradient_difference=1e-12)
    assert values.activations_saved(audit) == 5 / 60 and values.memory_saved(audit) == 45 / 100
    assert values.log_gradient_difference(audit) == pytest.approx(-12)
    keys = trial(
        explained={"domain": 0.7, "answer length": 0.1}, divergence={"code": 0.9, "en": 0.1}
    )
    assert values.explained_by_domain(keys) == 0.7
    assert values.explained_by_domain_over_length(keys) == pytest.approx(0.6)
    falling = with_readings(code=reading(height=1.0), en=reading(height=2.0))
    assert values.rank_correlation(keys, falling) == pytest.approx(-1.0)


def test_the_distance_of_the_means_passes_over_micro_batches_without_tokens():
    run = run_of([2.0, 4.0])
    micro = (np.array([1.0, 4.0]), np.array([4.5, np.nan]))
    records = tuple(replace(r, micro_losses=m) for r, m in zip(run.records, micro))
    assert values.distance_of_means(trial(Run({}, records))) == 0.5


def test_differences_of_visibility_are_those_of_its_parts():
    frozen = RECORDS.trial("E1", "frozen", 0)
    at = {size: evidence.visibility_at(frozen, size) for size in (4, 16, 64, 256)}
    assert values.height_at_256_over_16(frozen) == at[256].height - at[16].height < 0
    assert values.z_at_64_over_4(frozen) == at[64].z - at[4].z > 0
    assert values.noise_at_4_over_64(frozen) == at[4].noise - at[64].noise > 0


# Held-out losses


def test_what_is_learnt_and_forgotten_over_a_pass():
    series = {probe: [5.0, 4.0, 3.0, 3.5] for probe in OFF_DOMAIN}
    series["en"], series["zh"] = [5.0, 4.9, 4.9, 4.9], [9.0, 9.0, 0.0, 9.0]
    over = with_probes(series)
    assert values.fall_of_least(over) == pytest.approx(0.1)
    assert values.off_domain_change(over) == pytest.approx(-(3 * 1.5 + 0.1) / 4)
    assert values.forgotten(over) == pytest.approx(3 * 0.5 / 4)
    assert values.most_forgotten(over) == pytest.approx(0.5)


def test_more_is_paid_where_the_price_is_more_than_harm():
    shuffled = with_probes({probe: [5.0, 4.0] for probe in OFF_DOMAIN})
    for price, costs in ((0.05, 0.0), (0.2, 1.0), (-0.2, 0.0)):
        file = with_probes({probe: [5.0, 4.0 + price] for probe in OFF_DOMAIN})
        assert values.costs_more(file, shuffled) == costs


def test_the_first_rise_after_a_pulse_and_the_largest_of_several():
    steep = with_probes({"zh": [3.0, 3.1, 4.0, 9.0, 3.0]}, event=[1, 3])
    mild = with_probes({"zh": [3.0, 3.0, 3.2, 3.5, 3.0]}, event=[1, 3])
    assert values.first_probe_rise(steep) == pytest.approx(0.9)
    assert values.largest_probe_rise(mild, steep, mild) == pytest.approx(5.9)


def test_the_bulk_s_rise_is_the_largest_of_the_segments():
    segments = [{"domain": "code", "start": 2, "stop": 4}, {"domain": "en", "start": 6, "stop": 8}]
    over = with_probes({"zh": [3.0, 3.0, 3.4, 3.1, 3.2, 3.0]}, segments=segments)
    assert values.bulk_rise(over) == pytest.approx(0.4)


def test_the_largest_rise_is_that_of_another_domain_s_probe():
    segments = [
        {"domain": "code", "start": 20, "stop": 60},
        {"domain": "en", "start": 60, "stop": 98},
    ]
    code, en = [3.0] * 10 + [9.0] * 21 + [9.5] * 20, [5.0] * 10 + [4.0] * 30 + [8.0] * 11
    over = with_probes(
        dict.fromkeys(OFF_DOMAIN, [1.0] * 51) | {"code": code, "en": en}, segments=segments
    )
    assert values.largest_off_domain_rise(over) == pytest.approx(0.5)  # of code while en is read


def test_height_against_what_the_others_lose():
    """The lower spike costs the others more: a correlation of -1."""
    n, segments = 4, []
    for i, domain in enumerate(OFF_DOMAIN):
        segments.append({"domain": domain, "start": 100 * i, "stop": 100 * i + 50})
    losses = {probe: [0.0] * (n + 1) for probe in OFF_DOMAIN}
    over = with_probes(losses, segments=segments)
    rises = {s: dict.fromkeys(OFF_DOMAIN, 4.0 - i) | {s: 99.0} for i, s in enumerate(OFF_DOMAIN)}
    over.__dict__["readings"] = {s: reading(height=i) for i, s in enumerate(OFF_DOMAIN)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values.forgetting, "rises", lambda run: rises)
        assert values.height_against_loss(over) == pytest.approx(-1.0)


# What a segment leaves, and what a spike is made of


def test_half_lives_are_compared_block_by_block(monkeypatch):
    lives = {"a": {"en": 40.0, "code": 80.0}, "b": {"en": 10.0, "code": float("nan")}}
    monkeypatch.setattr(values.forgetting, "half_lives", lambda run, frozen: lives[run])
    first, second, frozen = (Trial("T1", name, 0, {}, {}, name) for name in ("a", "b", "f"))
    assert values.half_life(first, frozen) == 60.0
    assert values.half_life_change(first, second, frozen) == 30.0


def test_terms_are_means_over_boundaries():
    """Everyday Chinese comes down by 2, code by 1; frozen losses are 5, 7 and 5."""
    block = np.repeat([0, 1, 2], [100, 190, 110])
    frozen = trial(a_pass(np.array([5.0, 7.0, 5.0])[block], listed=BLOCKS))
    trained = trial(a_pass(np.array([3.0, 6.0, 5.0])[block], listed=BLOCKS))
    assert values.specialized(trained, frozen) == pytest.approx(1.5)
    assert values.specialized_over_unfamiliar(trained, frozen) == pytest.approx(-0.5)
    pairs = (trained, frozen, frozen, frozen)
    assert values.specialized_change(*pairs) == pytest.approx(1.5)
    assert values.specialized_change_after_chinese(*pairs) == pytest.approx(2.0)
    assert values.specialized_change_after_others(*pairs) == pytest.approx(1.0)


def test_the_dent_is_the_one_after_classical_chinese():
    file, frozen = (RECORDS.trial("E1", name, 0) for name in ("file", "frozen"))
    dents = values.forgetting.dents(file.run, frozen.run)
    assert values.dent_after_classical(file, frozen) == dents["zh_classical"] != dents["code"]
