"""Lesson 02: parameters and the first loss: right answers, usual slips, a model of one's own."""

import math

import pytest

from minimind_lite.config import ModelConfig
from minimind_lite.lessons import lesson_02

C, KV = 512, 128  # MiniMind2-Small: 8 heads, 2 key/value heads of 64
ATTENTION = 2 * C * C + 2 * C * KV


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (ATTENTION, "✓ Right: 655,360, of which k and v hold 131,072."),
        (4 * C * C, "multi-head attention"),
        (8 * ATTENTION, "all blocks together"),
        (ATTENTION - C * C, "One C x C matrix is missing"),
        (C * C + C * KV, "q and k alone"),
        (ATTENTION + C, "the norm before attention"),
        (5, "There are four matrices: q_proj and o_proj are 512 x 512"),
    ],
)
def test_attention_parameters(answer, text, capsys):
    assert lesson_02.check_attention_parameters(answer) is (answer == ATTENTION)
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (10.37, "✓ Right: ln 32,000 = 10.37 nats."),
        (math.log2(32_000), "in bits"),
        (math.log10(32_000), "log10"),
        (32_000, "the perplexity"),
        (-10.37, "The sign"),
        (1.0, "has probability 1/32,000"),
    ],
)
def test_start_loss(answer, text, capsys):
    assert lesson_02.check_start_loss(answer) is (answer == 10.37)
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "✓ Right: 1,"),
        ({"vocab_size": 6401}, "MiniMind's tokenizer needs 6,400"),
        ({"n_layers": 8}, "Try a smaller `dim` or fewer layers."),
        ({"n_layers": 5}, "Try more layers or a larger `dim`."),
        ({"dim": 256, "n_layers": 1}, "trade some width for depth"),
    ],
)
def test_design(changes, text, capsys):
    fields = {"vocab_size": 6400, "dim": 128, "n_layers": 6, "n_heads": 4, "n_kv_heads": 1}
    assert lesson_02.check_design(ModelConfig(**(fields | changes))) is (not changes)
    assert text in capsys.readouterr().out
