"""`train --precision auto` measures, chooses, and leaves the model as it was."""

import numpy as np
import pytest
import torch

from minimind_lite.bench import precision
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.rows import EncodedRows

TINY = ModelConfig(vocab_size=32, dim=8, n_layers=1, n_heads=2, n_kv_heads=1, multiple_of=8)


def rows(n=8, length=6):
    ids = np.arange(n * length, dtype=np.uint16) % 32
    return EncodedRows(ids, np.ones(n * length, bool), np.arange(n + 1) * length)


def test_the_model_is_left_as_it_was():
    model = LanguageModel(TINY)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    config = TrainConfig(batch_size=4)
    choice, sentence = precision.faster_precision(model, rows(), config=config, rounds=1)
    assert choice in ("fp32", "bf16")
    assert sentence.startswith(f"precision: {choice}, since a batch takes ")
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("gain, choice", [(1.5, "bf16"), (1.1, "fp32"), (0.8, "fp32")])
def test_bf16_must_gain_enough(monkeypatch, gain, choice):
    clock = [0.0]

    def batch_gradient(*_, config, workers):
        clock[0] += gain if config.precision == "fp32" else 1.0

    monkeypatch.setattr(precision, "batch_gradient", batch_gradient)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    measured = precision.faster_precision(LanguageModel(TINY), rows(), config=TrainConfig())
    assert measured[0] == choice
