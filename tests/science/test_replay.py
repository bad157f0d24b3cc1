"""Recorded trials, picked by a seed, are trained again: bit-equal here, or as tall elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
from science.test_store import TOY, A, B, a_run, curve, record

from minimind_lite.files.provenance import environment, same_bits
from minimind_lite.records import Run
from minimind_lite.science import evidence, replay
from minimind_lite.science.experiments import EXPERIMENTS
from minimind_lite.science.fingerprint import code_fingerprint
from minimind_lite.science.procedures import one_pass
from minimind_lite.science.store import Store
from minimind_lite.science.trials import Outcome, SharedData, Variant

RECORDS, STEPS = evidence.recorded(), 40  # over the first segment of most layouts
PLAIN = [
    (experiment.id, variant.name)
    for experiment in EXPERIMENTS.values()
    for variant in experiment.variants
    if variant.procedure is one_pass
    and not {"rows", "off_domain_weight", "model"} & set(variant.settings)
    and variant.settings["config"].get("batch_size", 16) == 16
]
PICKED = [PLAIN[i] for i in np.random.default_rng(173).choice(len(PLAIN), size=2, replace=False)]


@pytest.fixture(scope="module")
def shared():
    return SharedData()


@pytest.mark.parametrize("which", PICKED, ids=" ".join)
def test_a_recorded_trial_can_be_made_again(shared, which):
    seeds = RECORDS.common(which)
    trial = RECORDS.trial(*which, seeds[len(which[1]) % len(seeds)])
    agreement = replay.compare(replay.rerun(trial, shared=shared, max_steps=STEPS), trial)
    assert agreement.good, str(agreement)
    assert agreement.same_bits or not agreement.same_environment


def test_only_plain_passes_are_replayed():
    with pytest.raises(ValueError, match="E9 'pulse, skip' is no plain pass"):
        replay.rerun(RECORDS.trial("E9", "pulse, skip", 0))
    with pytest.raises(ValueError, match="E8 'clean' is no plain pass"):
        replay.rerun(RECORDS.trial("E8", "clean", 0))


def test_what_agreement_asks_for():
    same_place = replay.Agreement(True, False, 1e-7, {"en": 0.0})
    assert not same_place.good  # the same environment owes the same bits
    assert replay.Agreement(False, False, 0.3, {"en": 0.05, "math": -0.09}).good
    elsewhere = replay.Agreement(False, False, 0.3, {"en": 0.05, "math": -0.11})
    assert not elsewhere.good and "height 0.11 nats, in another" in str(elsewhere)


def test_a_recording_agrees_with_itself():
    trial = RECORDS.trial("E1", "frozen", 0)
    found = replay.compare(trial.run, trial)
    assert found.same_bits and found.largest == 0 and set(found.heights.values()) == {0.0}
    assert found.same_environment == same_bits(environment(), trial.info["environment"])


# Trials of older code


def changed(shared, seed, settings):
    """What today's code makes of variant b: another loss."""
    run = a_run(height=1e-12)
    return Outcome(run, {"seed": seed, "twice": 2 * settings["x"]})


def test_differences_are_named(tmp_path):
    store = Store(tmp_path)
    record(store, A, 0)
    trial = store.get("T1", "a", 0)
    same = {"seed": 0, "twice": 2}
    assert replay.differences(Outcome(a_run(), same), trial) == []
    assert replay.differences(Outcome(a_run(), {"seed": 0, "twice": 3}), trial) == ["twice"]
    assert replay.differences(Outcome(a_run(), {"seed": 0}), trial) == ["twice"]
    assert replay.differences(Outcome(a_run(height=1e-12), same), trial) == ["loss"]
    shorter = Run(a_run().info, a_run().records[:2])
    assert "loss" in replay.differences(Outcome(shorter, same), trial)
    unprobed = tuple(replace(r, probes={}) for r in a_run().records)
    assert replay.differences(Outcome(Run({}, unprobed), same), trial) == ["probe/zh"]


def test_what_replays_to_the_last_bit_is_adopted_and_nothing_else(tmp_path, in_this_process):
    store, today = Store(tmp_path), code_fingerprint(curve.__module__)
    for seed in (0, 3):
        record(store, A, seed, code="older")
        record(store, B, seed, code="older")
    b_today = Variant("b", changed, B.settings)
    toy = replace(TOY, variants=(A, b_today))
    found = {str(j): d for j, d in replay.verify([toy], store, processes=1)}
    assert found == {"T1 'a' seed 0": [], "T1 'b' seed 0": ["loss"]}
    assert store.info("T1", "a", 3)["verified"] == {"code": today, "replayed": "seed 0, 3 steps"}
    assert [old[1] for old in store.of_other_code([toy])] == ["b", "b"]
    assert list(replay.verify([replace(TOY, variants=(A,))], store, processes=1)) == []


def test_what_another_machine_recorded_is_neither_run_nor_adopted(tmp_path, monkeypatch):
    store = Store(tmp_path)
    record(store, A, 0, code="older")
    elsewhere = environment() | {"processor": "another"}
    monkeypatch.setattr(replay.provenance, "environment", lambda: elsewhere)
    ((_, different),) = replay.verify([replace(TOY, variants=(A,))], store, processes=1)
    assert different == ["environment"] and len(store.of_other_code([TOY])) == 1
