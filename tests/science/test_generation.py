"""Generation: the likeliest token, or tokens drawn as often as the softmax says."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.config import ModelConfig
from minimind_lite.model import LanguageModel
from minimind_lite.science.generation import generate

TINY = ModelConfig(
    vocab_size=67, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, multiple_of=16, max_seq_len=24
)
quick = settings(deadline=None, max_examples=20)


def strong(config: ModelConfig = TINY) -> LanguageModel:
    """An fp64 model whose matrices are ten times larger than at the start of training."""
    model = LanguageModel(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    return model


prompts = st.lists(st.integers(0, TINY.vocab_size - 1), min_size=1, max_size=12)


def test_greedy_takes_the_likeliest_token_each_time():
    model, sequence = strong(), [5, 9]
    with torch.inference_mode():
        for _ in range(6):
            sequence.append(int(model(torch.tensor([sequence]))[0, -1].argmax()))
    assert generate(model, [5, 9], max_new_tokens=6) == sequence[2:]


def test_sampling_follows_its_seed():
    first, again, other = (
        generate(strong(), [1], max_new_tokens=12, temperature=1.0, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again != other


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_tokens_are_drawn_as_often_as_the_softmax_says(temperature):
    model = strong(dataclasses.replace(TINY, vocab_size=5))
    with torch.inference_mode():
        expected = (model(torch.tensor([[1, 2]]))[0, -1] / temperature).softmax(-1)
    drawn = torch.tensor(
        [
            generate(model, [1, 2], max_new_tokens=1, temperature=temperature, seed=seed)[0]
            for seed in range(500)
        ]
    )
    torch.testing.assert_close(
        drawn.bincount(minlength=5).double() / 500, expected, rtol=0, atol=0.07
    )  # 3 standard errors
    assert expected.max() - expected.min() > 0.2


@quick
@given(prompt=prompts, which=st.integers(0, 9))
def test_end_id_is_the_last_token(prompt, which):
    model = strong()
    free = generate(model, prompt, max_new_tokens=10, temperature=1.0)
    end_id = free[which]
    ended = generate(model, prompt, max_new_tokens=10, temperature=1.0, end_id=end_id)
    assert ended == free[: free.index(end_id) + 1]


def test_on_token_hears_every_token():
    tokens = []
    new = generate(strong(), [1, 2], max_new_tokens=5, on_token=tokens.append)
    assert new == tokens and len(tokens) == 5


def test_generation_ends_where_the_model_s_sight_ends():
    # Positions 20 .. 24 are filled; the full sequence predicts one more, which is never fed back.
    assert len(generate(strong(), [1] * 20, max_new_tokens=99)) == 5


def test_an_empty_prompt_is_an_error():
    with pytest.raises(ValueError, match="1 to max_seq_len = 24 tokens, got 0"):
        generate(strong(), [])


def test_too_long_a_prompt_is_an_error():
    with pytest.raises(ValueError, match="max_seq_len"):
        generate(strong(), [1] * 25)
