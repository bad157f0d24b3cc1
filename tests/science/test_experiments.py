"""What is declared, is declared in plain values and bears on some claim."""

import json

import pytest

from minimind_lite.config import TrainConfig
from minimind_lite.science import claims, experiments, laws
from minimind_lite.science.experiments import EXPERIMENTS


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda e: e.id)
def test_an_experiment_is_declared_in_plain_values(experiment):
    assert experiment.question.endswith("?") and experiment.prediction and experiment.claims
    assert len({v.name for v in experiment.variants}) == len(experiment.variants) > 0
    for variant in experiment.variants:
        assert json.loads(json.dumps(variant.settings)) == variant.settings and variant.cost > 0
        # Raises for a field or a value that there is not.
        TrainConfig.from_dict(variant.settings.get("config", {}))


def test_every_claim_is_somebody_s_business():
    named = {claim for e in EXPERIMENTS.values() for claim in e.claims}
    assert named == {claim.id for claim in claims.CLAIMS} and len(named) == 22


def test_the_rules_of_learning_rate_and_batch_size():
    config = {v.name: v.settings["config"] for v in EXPERIMENTS["E4"].variants}
    assert config["B=64 fixed"] == {"batch_size": 64}
    assert config["B=64 linear"] == {"batch_size": 64, "learning_rate": 2e-3}
    scaled = laws.scaled_adam(5e-4, (0.9, 0.999), eps=1e-8, k=4)
    assert config["B=64 sqrt"]["learning_rate"] == scaled.learning_rate == 1e-3
    assert config["B=64 sqrt"]["betas"] == list(scaled.betas)


def test_an_unknown_variant_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match="E9 has no variant 'again'; it has hard rows, replay"):
        EXPERIMENTS["E9"].variant("again")


def test_a_signature_changes_with_any_setting_and_with_the_procedure():
    file = EXPERIMENTS["E1"].variant("file")
    frozen = EXPERIMENTS["E1"].variant("frozen")
    assert file.signature() == file.signature() != frozen.signature()
    assert EXPERIMENTS["E7"].variant("audit").signature() != file.signature()


def test_the_optimizers_are_the_variants_of_e3():
    assert [v.name for v in EXPERIMENTS["E3"].variants] == list(experiments.OPTIMIZERS)
