"""MiniMind's language model: a decoder of the Llama family, in one readable file.

Token embedding, `n_layers` blocks of attention and SwiGLU, a final norm, and a head that
shares its matrix with the embedding. The module returns hidden states or logits and nothing
else: loss lives in `loss`, optimisation in `trainer`.

    B batch   T tokens   C channels   H query heads   K key/value heads   D head dim   V vocabulary

Architecture: github.com/jingyaogong/minimind, commit e7ed058, model/model.py (dense variant).
One convention differs there: MiniMind of that date rotates neighbouring channels (interleaved),
this model rotates the two halves (half-split, as Llama in Hugging Face and MiniMind since April
2025). The two are the same function up to a fixed permutation of the rows of q_proj and k_proj.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimind_lite.config import ModelConfig

KVCache = list[tuple[Tensor, Tensor]]  # per block: keys and values, each (B, K, T_past, D)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, over the last axis: (..., C) -> (..., C).

    No mean is subtracted and no bias added (Zhang & Sennrich, arXiv 1910.07467, eq. 4).
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotary_table(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """cos and sin of position x frequency, each (max_seq_len, D), in fp32, as `rotate` wants them.

    Frequency i is theta^(-2i/D), i = 0 .. D/2 - 1, repeated for the second half of the channels
    (Su et al., arXiv 2104.09864, section 3.3; half-split layout). The first half of the sines
    carries the minus sign of the rotation matrix.
    """
    D = config.head_dim()
    frequency = config.rope_theta ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)  # (D/2,)
    angle = torch.outer(
        torch.arange(config.max_seq_len, dtype=torch.float64), frequency
    )  # (T, D/2)
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)  # (T, D)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i+D/2}) by its position's angle: (B, heads, T, D) -> same.

    (a, b) becomes (a cos - b sin, b cos + a sin): x times cos, plus x with its halves exchanged
    times the signed sin.
    """
    cos, sin = (
        cos.to(x.dtype),
        sin.to(x.dtype),
    )  # x may be in half precision, under autocast or by its weights
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class Attention(nn.Module):
    """Causal grouped-query attention (Ainslie et al., arXiv 2305.13245): (B, T, C) -> (B, T, C).

    H query heads share K key/value heads; K = H is multi-head, K = 1 multi-query attention.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C, D, self.D = config.dim, config.head_dim(), config.head_dim()
        self.grouped = config.n_heads != config.n_kv_heads
        self.q_proj = nn.Linear(C, config.n_heads * D, bias=False)
        self.k_proj = nn.Linear(C, config.n_kv_heads * D, bias=False)
        self.v_proj = nn.Linear(C, config.n_kv_heads * D, bias=False)
        self.o_proj = nn.Linear(config.n_heads * D, C, bias=False)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
        lengths: list[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, -1, self.D).transpose(1, 2)  # (B, H, T, D)
        k = self.k_proj(x).view(B, T, -1, self.D).transpose(1, 2)  # (B, K, T, D)
        v = self.v_proj(x).view(B, T, -1, self.D).transpose(1, 2)  # (B, K, T, D)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if past is not None:
            k, v = (
                torch.cat([past[0], k], dim=2),
                torch.cat([past[1], v], dim=2),
            )  # (B, K, T_past + T, D)
        # A single new token may see all the past; more than one needs the causal triangle.
        assert past is None or T == 1, "with a cache, feed one token at a time"
        attend = partial(
            F.scaled_dot_product_attention, is_causal=past is None, enable_gqa=self.grouped
        )
        if lengths is None:
            y = attend(q, k, v)  # (B, H, T, D)
        else:  # packed: each sequence attends to itself alone
            y = torch.cat(
                [attend(*qkv) for qkv in zip(*(t.split(lengths, dim=2) for t in (q, k, v)))], dim=2
            )
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1)), (k, v)  # (B, T, C)


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)) (Shazeer, arXiv 2002.05202): (B, T, C) -> (B, T, C)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C, hidden = config.dim, config.hidden_dim()
        self.gate_proj = nn.Linear(C, hidden, bias=False)
        self.up_proj = nn.Linear(C, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): (B, T, C) -> (B, T, C)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
        lengths: list[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, cache = self.attention(self.attention_norm(x), cos, sin, past, lengths)
        x = x + y
        x = x + self.feed_forward(self.ffn_norm(x))
        return x, cache


class LanguageModel(nn.Module):
    """Token ids (B, T) -> logits (B, T, V). Position t predicts token t + 1.

    Batches are padded on the right, where causality keeps padding from reaching any real token, or
    packed end to end (`lengths` in `hidden`): neither needs an attention mask. Initial weights are N(0, 0.02^2), those that write into the
    residual stream divided by sqrt(2 n_layers) (GPT-2, section 2.3), drawn from `seed`.
    """

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        cos, sin = rotary_table(config)
        self.register_buffer("cos", cos, persistent=False)  # (max_seq_len, D)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                writes_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / (2 * self.config.n_layers) ** 0.5 if writes_residual else 0.02
                parameter.normal_(0.0, std, generator=generator)

    def hidden(
        self, ids: Tensor, cache: KVCache | None = None, *, lengths: list[int] | None = None
    ) -> Tensor:
        """Final hidden states (B, T, C) of ids (B, T); `cache`, a list, is read and extended in place.

        With `lengths`, ids (1, T) are sequences of these lengths end to end, without padding: each
        starts at position 0 and sees itself only, so the result is that of each by itself.
        Raises `ValueError` for a sequence longer than `max_seq_len`.
        """
        start = cache[0][0].shape[2] if cache else 0
        longest = start + (max(lengths) if lengths else ids.shape[1])
        if longest > self.config.max_seq_len:
            raise ValueError(
                f"the model sees at most max_seq_len = {self.config.max_seq_len} tokens, got {longest}: "
                "shorten the text or raise max_seq_len in ModelConfig."
            )
        cos, sin = (
            self._at(table, start, longest, lengths) for table in (self.cos, self.sin)
        )  # (T, D)
        x = self.embedding(ids)  # (B, T, C)
        for i, block in enumerate(self.blocks):
            x, kv = block(x, cos, sin, cache[i] if start else None, lengths)
            if cache is not None:
                cache[i : i + 1] = [kv]
        return self.norm(x)

    def _at(self, table: Tensor, start: int, stop: int, lengths: list[int] | None) -> Tensor:
        """Rows of a rotary table for the positions of a call."""
        return table[start:stop] if lengths is None else torch.cat([table[:n] for n in lengths])

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., C), with the tied embedding matrix."""
        return F.linear(hidden, self.embedding.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.hidden(ids))  # (B, T, V)

    @torch.inference_mode()
    def generate(
        self,
        ids: list[int],
        max_new_tokens: int = 64,
        *,
        end_id: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        use_cache: bool = True,
        on_token: Callable[[int], None] | None = None,
    ) -> list[int]:
        """Continue one prompt; returns the new token ids, `end_id` (if met) last.

        `temperature` 0 takes the likeliest token; above 0, tokens are drawn with `seed`.
        With `use_cache` each step feeds one token and re-uses keys and values; without it the
        whole sequence is recomputed: same result, T times the work. Generation ends at
        `max_seq_len`. Raises `ValueError` for an empty or too long prompt.
        """
        if not ids:
            raise ValueError("generate needs at least one token of prompt, got none.")
        if len(ids) > self.config.max_seq_len:
            raise ValueError(
                f"the prompt has {len(ids)} tokens, the model sees at most max_seq_len = {self.config.max_seq_len}: shorten it."
            )
        device = self.embedding.weight.device
        generator = torch.Generator(device="cpu").manual_seed(seed)
        sequence, cache = list(ids), [] if use_cache else None
        for _ in range(min(max_new_tokens, self.config.max_seq_len - len(ids) + 1)):
            feed = sequence[-1:] if cache else sequence
            logits = (
                self.head(self.hidden(torch.tensor([feed], device=device), cache)[:, -1])[0]
                .float()
                .cpu()
            )  # (V,)
            token = (
                int(logits.argmax())
                if temperature == 0
                else int(
                    torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
                )
            )
            sequence.append(token)
            if on_token is not None:
                on_token(token)
            if token == end_id:
                break
        return sequence[len(ids) :]
