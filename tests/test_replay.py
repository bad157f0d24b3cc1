"""Recorded trials, picked by a seed, are trained again: bit-equal here, or as tall elsewhere."""

import numpy as np
import pytest

from minimind_lite.science import evidence, replay
from minimind_lite.science.experiments import EXPERIMENTS
from minimind_lite.science.procedures import one_pass
from minimind_lite.science.trials import World, environment

RECORDS, STEPS = evidence.recorded(), 45  # over the first segment of every layout
PLAIN = [
    (e.id, v.name)
    for e in EXPERIMENTS.values()
    for v in e.variants
    if v.procedure is one_pass
    and not {"rows", "odd_weight", "model"} & set(v.settings)
    and v.settings["config"].get("batch_size", 16) == 16
]
PICKED = [PLAIN[i] for i in np.random.default_rng(173).choice(len(PLAIN), size=2, replace=False)]


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.mark.parametrize("which", PICKED, ids=" ".join)
def test_a_recorded_trial_can_be_made_again(world, which):
    seeds = RECORDS.common(which)
    trial = RECORDS.trial(*which, seeds[len(which[1]) % len(seeds)])
    agreement = replay.compare(replay.again(trial, world=world, max_steps=STEPS), trial)
    assert agreement.good, str(agreement)
    assert agreement.same_bits or not agreement.same_environment


def test_only_plain_passes_are_replayed():
    with pytest.raises(ValueError, match="E9 'pulse, skip' is no plain pass"):
        replay.again(RECORDS.trial("E9", "pulse, skip", 0))
    with pytest.raises(ValueError, match="E8 'clean' is no plain pass"):
        replay.again(RECORDS.trial("E8", "clean", 0))


def test_what_agreement_asks_for():
    here = replay.Agreement(True, False, 1e-7, {"en": 0.0})
    assert not here.good  # the same environment owes the same bits
    assert replay.Agreement(False, False, 0.3, {"en": 0.05, "math": -0.09}).good
    assert not replay.Agreement(False, False, 0.3, {"en": 0.05, "math": -0.11}).good
    assert "height 0.11 nats" in str(
        replay.Agreement(False, False, 0.3, {"en": 0.05, "math": -0.11})
    )


def test_a_recording_agrees_with_itself():
    trial = RECORDS.trial("E1", "frozen", 0)
    found = replay.compare(trial.run, trial)
    assert found.same_bits and found.largest == 0 and set(found.heights.values()) == {0.0}
    assert found.same_environment == (environment() == trial.info["environment"])
