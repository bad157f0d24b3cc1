"""Every way of taking a step has the same gradient, with the threads that its user would have."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from minimind_lite.bench import steps
from minimind_lite.bench.recipes import LADDER, LLAMA, OURS, VARIANTS, Recipe
from minimind_lite.config import ModelConfig
from minimind_lite.files import shipped
from minimind_lite.model import LanguageModel

TINY = ModelConfig(
    vocab_size=2048, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, multiple_of=16, max_seq_len=512
)


@pytest.fixture(scope="module")
def data():
    rows = shipped.sft_rows(shipped.chat())
    return rows.select(np.argsort(rows.lengths(), kind="stable")[:48])


@pytest.fixture(scope="module")
def differences(data):
    return steps.gradient_differences(LanguageModel(TINY), data, np.array([0, 11, 30, 47]))


def test_every_variant_of_ours_has_the_gradient_of_minimind_s_step(differences):
    assert list(differences) == [name for name in VARIANTS if not VARIANTS[name].llama]
    for name, difference in differences.items():
        assert difference <= steps.SAME_GRADIENT[VARIANTS[name].precision], name


def test_the_variants_do_compute_differently(differences):
    assert differences["minimind"] == 0
    assert all(difference > 0 for name, difference in differences.items() if name != "minimind")
    assert differences["ours-bf16"] > 1e-4  # bf16 does round


def with_weights_of(model, llama):
    """Hugging Face's Llama with our weights."""
    names = {
        "embedding": "model.embed_tokens",
        "blocks": "model.layers",
        "norm": "model.norm",
        "attention_norm": "input_layernorm",
        "attention": "self_attn",
        "ffn_norm": "post_attention_layernorm",
        "feed_forward": "mlp",
    }
    weights = {
        ".".join(names.get(part, part) for part in name.split(".")): weight
        for name, weight in model.state_dict().items()
    }
    llama.load_state_dict(weights | {"lm_head.weight": model.embedding.weight})
    return llama


def test_hugging_face_llama_is_the_same_function_with_the_same_loss(data):
    """With our weights: so the baseline computes what ours does, padding left out."""
    model, rows = LanguageModel(TINY), np.array([0, 11, 47])
    with Recipe(LLAMA, model, data) as theirs, Recipe(OURS, model, data) as ours:
        with_weights_of(model, theirs.model)
        theirs.gradient(rows)
        ours.gradient(rows)
        expected = model.embedding.weight.grad
        torch.testing.assert_close(theirs.model.model.embed_tokens.weight.grad, expected)
        assert sum(p.numel() for p in theirs.model.parameters()) == TINY.n_parameters()


@pytest.mark.parametrize("name", ["minimind", "ours", "llama"])
def test_a_variant_is_timed(name, data):
    timing = steps.time_variant(name, LanguageModel(TINY), data, np.array([[0, 1], [2, 3]]))
    assert timing.tokens == data.lengths()[:4].sum() / 2
    assert timing.seconds > 0 and timing.flops > 0 and timing.peak_mb > 0
    assert timing.parts == (1 if name != "ours" else 2)  # two rows are at most two parts


def test_useful_flops_by_hand():
    config = ModelConfig(vocab_size=10, dim=4, n_layers=1, n_heads=2, n_kv_heads=1, multiple_of=8)
    blocks = config.n_parameters() - 40
    # Two conversations of 3 and 5 tokens, 2 and 4 of them supervised.
    expected = 6 * blocks * 8 + 6 * 40 * 6 + 6 * 1 * 4 * (9 + 25)
    assert steps.useful_flops(config, np.array([3, 5]), np.array([2, 4])) == expected


def child(*arguments):
    command = [sys.executable, "-m", "minimind_lite.bench.steps", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_baseline_runs_with_the_threads_that_its_user_has():
    """Defect 6.11: a pool of workers left the plain recipe on one thread in an operation."""
    command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    timing = child("--variant", "longest", "--model", "nano")
    assert timing["threads"] == int(done.stdout)
    assert timing["workers"] == 0


def test_the_ladder_adds_one_idea_at_a_time():
    fields = ("pad_to", "head_everywhere", "packed", "fused", "side_by_side", "precision")
    rungs = list(LADDER.values())
    for lower, upper in itertools.pairwise(rungs):
        changed = [name for name in fields if getattr(lower, name) != getattr(upper, name)]
        assert len(changed) == 1, (lower.title, upper.title, changed)
