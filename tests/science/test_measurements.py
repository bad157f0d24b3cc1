"""What is measured without training, on a toy: every cut of a batch, and what sorts losses."""

import numpy as np
import pytest
import torch
from science.toy import SEGMENTS, N, ToyData, base_model, rows_of

from minimind_lite.files import shipped
from minimind_lite.science import measurements
from minimind_lite.science.token_stats import count_tokens, js_divergence
from minimind_lite.trainer import sample_losses

WORLD = ToyData()


@pytest.fixture(autouse=True)
def tiny_base(monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")
    monkeypatch.setattr(shipped, "base_model", lambda name="nano": base_model())


# Accumulation


def test_every_cut_of_a_batch_gives_the_same_gradient():
    values = measurements.audit(WORLD, 0, {"micro_batch_sizes": [16, 8, 2, 1]}).values
    assert 0 <= values["gradient_difference"] < 1e-12


def test_another_gradient_would_be_seen(monkeypatch):
    right = measurements.batch_gradient

    def biased(model, data, rows, *, config, workers):
        sums = right(model, data, rows, config=config, workers=workers)
        if config.micro_batch_size == 2:
            next(model.parameters()).grad.mul_(1.001)
        return sums

    monkeypatch.setattr(measurements, "batch_gradient", biased)
    values = measurements.audit(WORLD, 0, {"micro_batch_sizes": [16, 8, 2]}).values
    assert 1e-6 < values["gradient_difference"] < 1e-2


def test_memory_counts_weights_by_four_bytes_and_activations_by_the_largest_micro_batch():
    used = measurements.audit(WORLD, 0, {"micro_batch_sizes": [16, 4, 1]}).values["bytes"]
    weights = 4 * sum(p.numel() for p in base_model().parameters())
    assert used["weights"] == used["gradients"] == weights and used["optimizer"] == 2 * weights
    activations = used["activations"]
    assert activations["16"] > 2 * activations["4"] > 2 * activations["1"] > 0


def test_the_bytes_for_the_backward_pass_are_those_of_the_saved_tensors():
    """Of y = x * w twice: autograd saves x, w and the product; weights are not counted."""
    data, rows = rows_of(), np.arange(2)
    model = base_model()
    one = measurements._bytes_for_backward(model, data, rows, size=2)
    longest = measurements._bytes_for_backward(model, data, np.arange(40), size=1)
    alone = [
        measurements._bytes_for_backward(model, data, np.array([row]), size=1) for row in range(40)
    ]
    assert longest == max(alone) and one > max(alone[:2])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_seeds_audit_other_rows():
    sizes = {"micro_batch_sizes": [8, 1]}
    a, b = (measurements.audit(WORLD, seed, sizes).values["bytes"] for seed in (0, 1))
    assert a["activations"] != b["activations"] and a["weights"] == b["weights"]


def test_an_audit_leaves_the_default_precision_alone():
    measurements.audit(WORLD, 0, {"micro_batch_sizes": [2, 1]})
    assert torch.get_default_dtype() == torch.float32


# What sorts losses


@pytest.fixture(scope="module")
def keys():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "base_model", lambda name="nano": base_model())
        return measurements.sort_keys(WORLD, 0, {})


def test_the_losses_of_the_base_model_are_the_run(keys):
    (record,) = keys.run.records
    losses, tokens = sample_losses(base_model(), rows_of())
    assert record.rows.tolist() == list(range(N)) and len(keys.run) == 1
    assert record.sample_losses.tolist() == losses.tolist()
    assert record.loss == pytest.approx((losses * tokens).sum() / tokens.sum())
    assert keys.run.info["segments"] == [vars(s) for s in SEGMENTS]


def test_the_domain_explains_what_the_length_does_not(keys):
    explained = keys.values["explained"]
    assert set(explained) == {
        "domain",
        "language (share of Chinese characters)",
        "code share (brackets, operators)",
        "answer length",
        "rounds",
    }
    assert explained["domain"] > 0.8 > 0.2 > explained["answer length"]
    # Texts of the toy alternate, whatever the domain; every conversation has one round.
    assert explained["code share (brackets, operators)"] < 0.1
    assert explained["language (share of Chinese characters)"] < 0.1
    assert explained["rounds"] == pytest.approx(0)


def test_divergences_are_those_of_the_segments_from_the_chinese_rows(keys):
    data = rows_of()
    base = np.setdiff1d(np.arange(N), [*range(192, 240), *range(272, 288)])
    expected = js_divergence(
        count_tokens(data, 24, np.arange(192, 240)), count_tokens(data, 24, base)
    )
    assert keys.values["divergence"]["en"] == expected == pytest.approx(1)  # no common token
    assert set(keys.values["divergence"]) == {"en", "code_tiny"}


def test_keys_of_the_rows_by_hand():
    layout = WORLD.layout(0)
    keys = measurements._keys(layout, np.arange(N))
    language, code = list(keys.values())[1:3]
    assert language[:2].tolist() == [1.0, 0.0]  # 你好, {1}
    assert code[:2].tolist() == [0.0, pytest.approx(2 / 3)]
    assert keys["answer length"].tolist() == list(range(N)) and set(keys["rounds"]) == {2}
    assert len(np.unique(keys["domain"])) == 3


def test_variance_explained_by_hand():
    values = np.array([1.0, 1.0, 3.0, 3.0])
    assert measurements.explained(values, np.array([0, 0, 1, 1])) == pytest.approx(1.0)
    assert measurements.explained(values, np.array([0, 1, 0, 1])) == pytest.approx(0.0)
    # 4 within, of 20 in all
    rising = np.array([0.0, 2.0, 4.0, 6.0])
    assert measurements.explained(rising, np.array([0, 0, 1, 1])) == pytest.approx(0.8)


def test_a_key_of_many_values_is_cut_into_equal_groups():
    values = np.repeat([0.0, 1.0], 50)
    assert measurements.explained(values, np.arange(100), groups=2) == pytest.approx(1.0)
    assert measurements.explained(values, np.arange(100) % 50, groups=2) == pytest.approx(0.0)
