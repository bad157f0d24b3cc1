"""The model: held to laws (causality, rotation), to attention written out by hand, and to a
reference.

Weights are ten times larger than a fresh model's, because under small ones attention is close
to uniform and logits close to zero, and a wrong model would pass; fp64, so tolerances can be tight.
"""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.config import ModelConfig
from minimind_lite.loss import masked_cross_entropy
from minimind_lite.model import Attention, LanguageModel, RMSNorm, rotary_table, rotate

TINY = ModelConfig(
    vocab_size=67, dim=32, n_layers=2, n_heads=4, n_kv_heads=2, multiple_of=16, max_seq_len=24
)
quick = settings(deadline=None, max_examples=20)


def strong(config: ModelConfig = TINY, seed: int = 0) -> LanguageModel:
    """An fp64 model whose matrices are ten times larger than at the start of training."""
    model = LanguageModel(config, seed=seed).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    return model


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(TINY.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Size and start


def test_minimind2_small_has_minimind_s_number_of_parameters():
    with torch.device("meta"):
        model = LanguageModel(ModelConfig.preset("minimind2_small"))
    assert sum(p.numel() for p in model.parameters()) == 25_829_888


@quick
@given(
    K=st.integers(1, 3),
    group=st.integers(1, 3),
    half=st.integers(1, 8),
    n_layers=st.integers(1, 3),
    vocab_size=st.integers(1, 99),
    multiple_of=st.sampled_from([1, 16, 64]),
)
def test_parameters_by_part_are_those_of_the_built_model(
    K, group, half, n_layers, vocab_size, multiple_of
):
    config = ModelConfig(
        vocab_size=vocab_size,
        dim=K * group * 2 * half,
        n_layers=n_layers,
        n_heads=K * group,
        n_kv_heads=K,
        multiple_of=multiple_of,
    )
    with torch.device("meta"):
        model = LanguageModel(config)
    count = lambda part: sum(p.numel() for name, p in model.named_parameters() if part in name)
    assert config.parameters_by_part() == {
        "embedding (tied with the head)": count("embedding"),
        "attention": count("attention."),
        "feed-forward": count("feed_forward"),
        "norms": count("norm"),
    }
    assert config.n_parameters() == count("")


def test_head_is_the_embedding_matrix():
    model = strong()
    hidden = normal(5, TINY.dim)
    assert torch.equal(model.head(hidden), hidden @ model.embedding.weight.T)


def test_untrained_model_knows_nothing():
    """Every token about equally likely: ln V nats."""
    config = ModelConfig.preset("nano")
    ids = torch.randint(config.vocab_size, (4, 64), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        total, count = masked_cross_entropy(
            LanguageModel(config)(ids), ids, torch.ones_like(ids, dtype=torch.bool)
        )
    assert total / count == pytest.approx(math.log(config.vocab_size), rel=0.02)


def test_weights_follow_the_seed_and_nothing_else():
    first = LanguageModel(TINY, seed=1).state_dict()
    torch.manual_seed(99)
    again, other = (
        LanguageModel(TINY, seed=1).state_dict(),
        LanguageModel(TINY, seed=2).state_dict(),
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


def test_rms_norm_by_hand():
    norm = RMSNorm(2, eps=12.5)
    norm.weight.data = torch.tensor([1.0, 2.0])
    # mean square of (3, 4) is 12.5, plus eps 25: divided by 5, times the weight
    assert torch.allclose(norm(torch.tensor([3.0, 4.0])), torch.tensor([0.6, 1.6]))


# What a position may see


@quick
@given(t=st.integers(0, 11), shift=st.integers(1, TINY.vocab_size - 1), seed=st.integers(0, 9))
def test_a_token_changes_no_logits_before_itself(t, shift, seed):
    model, ids = strong(), tokens(2, 12, seed=seed)
    changed = ids.clone()
    changed[:, t] = (ids[:, t] + shift) % TINY.vocab_size
    with torch.inference_mode():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=1e-12)
    assert (
        (after - before)[:, t:].abs().amax(dim=(0, 2)) > 1e-4
    ).all()  # and every one from there on


@quick
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    pad=st.integers(0, TINY.vocab_size - 1),
)
def test_right_padding_changes_no_real_position(lengths, pad):
    model, rows = strong(), [tokens(n, seed=n) for n in lengths]
    batch = torch.full((len(rows), max(lengths)), pad)
    for i, row in enumerate(rows):
        batch[i, : len(row)] = row
    with torch.inference_mode():
        padded = model(batch)
        for i, row in enumerate(rows):
            torch.testing.assert_close(
                padded[i, : len(row)], model(row[None])[0], rtol=0, atol=1e-12
            )


def test_too_long_a_sequence_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"max_seq_len = 24 tokens, got 25.*shorten"):
        LanguageModel(TINY)(tokens(1, 25))
    assert LanguageModel(TINY)(tokens(1, 24)).shape == (1, 24, TINY.vocab_size)


# Attention


def attention_by_hand(attention: Attention, x: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    """(T, C) -> (T, C), one head and one query at a time, pairs of channels turned as complex
    numbers.
    """
    T, D = len(x), config.head_dim()
    angle = torch.outer(
        torch.arange(T), config.rope_theta ** (-torch.arange(0, D, 2).double() / D)
    )  # (T, D/2)

    def turned(vectors):  # (T, D)
        z = torch.complex(vectors[:, : D // 2], vectors[:, D // 2 :]) * torch.exp(1j * angle)
        return torch.cat([z.real, z.imag], dim=1)

    heads = []
    for h in range(config.n_heads):
        mine, shared = slice(h * D, (h + 1) * D), h * config.n_kv_heads // config.n_heads
        theirs = slice(shared * D, (shared + 1) * D)
        q, k = (
            turned(x @ attention.q_proj.weight[mine].T),
            turned(x @ attention.k_proj.weight[theirs].T),
        )
        v = x @ attention.v_proj.weight[theirs].T
        heads.append(
            torch.stack(
                [
                    torch.softmax(k[: t + 1] @ q[t] / math.sqrt(D), dim=0) @ v[: t + 1]
                    for t in range(T)
                ]
            )
        )
    return torch.cat(heads, dim=1) @ attention.o_proj.weight.T


@pytest.mark.parametrize("K", [4, 2, 1], ids=["multi-head", "grouped", "multi-query"])
def test_attention_is_the_one_written_out_by_hand(K):
    config = dataclasses.replace(TINY, n_kv_heads=K, rope_theta=100.0)
    attention, x = strong(config).blocks[0].attention, 3 * normal(10, TINY.dim)
    cos, sin = (table[:10].double() for table in rotary_table(config))
    torch.testing.assert_close(
        attention(x[None], cos, sin)[0],
        attention_by_hand(attention, x, config),
        rtol=0,
        atol=1e-5,
    )


def test_grouped_query_is_multi_head_with_repeated_keys_and_values():
    grouped = strong().blocks[0].attention
    full = Attention(dataclasses.replace(TINY, n_kv_heads=TINY.n_heads)).double()
    weights = grouped.state_dict()
    for name in ("k_proj.weight", "v_proj.weight"):
        per_head = weights[name].view(TINY.n_kv_heads, TINY.head_dim(), TINY.dim)
        weights[name] = per_head.repeat_interleave(TINY.n_heads // TINY.n_kv_heads, dim=0).flatten(
            0, 1
        )
    full.load_state_dict(weights)
    x, (cos, sin) = 3 * normal(2, 9, TINY.dim), (table[:9].double() for table in rotary_table(TINY))
    torch.testing.assert_close(grouped(x, cos, sin)[0], full(x, cos, sin)[0], rtol=0, atol=1e-12)


# Rotary embedding


def test_rotation_by_hand():
    """Pairs are (0, 2) and (1, 3); theta^0 = 1 and theta^(-2/4) = 0.1 radians per position, so 3
    and 0.3 at position 3.
    """
    cos, sin = rotary_table(
        ModelConfig(dim=4, n_heads=1, n_kv_heads=1, rope_theta=100.0, max_seq_len=4)
    )
    expected = [
        [math.cos(3), 0, math.sin(3), 0],
        [0, math.cos(0.3), 0, math.sin(0.3)],
        [-math.sin(3), 0, math.cos(3), 0],
        [0, -math.sin(0.3), 0, math.cos(0.3)],
    ]
    for unit, turned in zip(torch.eye(4), expected):
        assert rotate(unit, cos[3], sin[3]).tolist() == pytest.approx(turned, abs=1e-6)
        assert torch.equal(rotate(unit, cos[0], sin[0]), unit)


def score(m: int, n: int, theta: float) -> float:
    """q at position m times k at position n."""
    config = dataclasses.replace(TINY, rope_theta=theta, max_seq_len=64)
    cos, sin = (table.double() for table in rotary_table(config))
    q, k = normal(config.head_dim(), seed=1), normal(config.head_dim(), seed=2)
    return float(rotate(q, cos[m], sin[m]) @ rotate(k, cos[n], sin[n]))


@quick
@given(
    m=st.integers(0, 31),
    n=st.integers(0, 31),
    shift=st.integers(1, 32),
    theta=st.sampled_from([10.0, 1e4, 1e6]),
)
def test_scores_depend_on_relative_position_alone(m, n, shift, theta):
    assert score(m + shift, n + shift, theta) == pytest.approx(score(m, n, theta), abs=1e-5)


def test_scores_change_with_distance_and_with_theta():
    assert abs(score(20, 0, 1e4) - score(1, 0, 1e4)) > 0.1
    assert abs(score(20, 0, 1e4) - score(20, 0, 10.0)) > 0.1


def test_no_table_is_shared_between_two_thetas():
    """A table cached under a key without theta would serve the first model's to the second."""
    ids, near = tokens(1, 20), dataclasses.replace(TINY, rope_theta=10.0)
    first = strong()
    alone = first(ids)
    assert (strong(near)(ids) - alone).abs().max() > 1e-3
    assert torch.equal(first(ids), alone) and torch.equal(strong()(ids), alone)


def test_half_split_is_interleaved_under_a_permutation():
    """MiniMind of February 2025 turns neighbours: same function once the rows of q_proj and k_proj
    are permuted.
    """
    T, D = TINY.max_seq_len, TINY.head_dim()
    x, (cos, sin) = normal(T, D), (table.double() for table in rotary_table(TINY))
    angle = torch.outer(
        torch.arange(T), TINY.rope_theta ** (-torch.arange(0, D, 2).double() / D)
    )  # (T, D/2)
    neighbours = torch.arange(D).view(2, D // 2).T.flatten()  # 0, D/2, 1, D/2 + 1, ...
    pairs = torch.view_as_complex(x[:, neighbours].view(T, D // 2, 2))
    interleaved = torch.view_as_real(pairs * torch.exp(1j * angle)).flatten(1)
    torch.testing.assert_close(interleaved, rotate(x, cos, sin)[:, neighbours], rtol=0, atol=1e-6)


# A reference


def test_parity_with_transformers_llama():
    transformers = pytest.importorskip("transformers")
    config = ModelConfig(
        vocab_size=67,
        dim=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        max_seq_len=48,
        rope_theta=500.0,
        norm_eps=1e-3,
    )
    reference = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=67,
            hidden_size=32,
            intermediate_size=config.hidden_dim(),
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=48,
            rms_norm_eps=1e-3,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            attn_implementation="eager",
        )
    )
    model = strong(config).float()
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
        ".".join(names.get(part, part) for part in name.split(".")): p
        for name, p in model.state_dict().items()
    }
    reference.load_state_dict(weights | {"lm_head.weight": model.embedding.weight})
    ids = tokens(3, 48)
    with torch.inference_mode():
        torch.testing.assert_close(model(ids), reference(ids).logits, rtol=0, atol=1e-5)


# Packed sequences


@quick
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_packed_sequences_give_what_each_gives_by_itself(lengths):
    model, ids = strong(), tokens(1, sum(lengths))
    alone = torch.cat([model.hidden(part) for part in ids.split(lengths, dim=1)], dim=1)
    torch.testing.assert_close(model.hidden(ids, lengths=lengths), alone, rtol=0, atol=1e-10)


def test_a_packed_sequence_may_be_as_long_as_the_model_sees_and_no_longer():
    model, most = strong(), TINY.max_seq_len
    assert model.hidden(tokens(1, 2 * most), lengths=[most, most]).shape == (1, 2 * most, TINY.dim)
    with pytest.raises(ValueError, match=f"at most max_seq_len = {most} tokens, got {most + 1}"):
        model.hidden(tokens(1, most + 3), lengths=[2, most + 1])


def test_a_model_in_half_precision_rotates_in_half_precision():
    model = LanguageModel(TINY).bfloat16()
    assert model(tokens(2, 5)).dtype == torch.bfloat16
