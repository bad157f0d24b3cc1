"""MiniMind's language model: a decoder of the Llama family, in one readable file.

Token embedding, `n_layers` blocks of attention and SwiGLU, a final norm, and a head that
shares its matrix with the embedding. The module returns hidden states or logits and nothing
else: the loss is in `loss`, optimization in `trainer`.

    B batch   T tokens   C channels   H query heads   K key/value heads   D head dim   V vocabulary

Architecture: github.com/jingyaogong/minimind, commit e7ed058, model/model.py (dense variant).
One convention differs there: MiniMind of that date rotates neighbouring channels (interleaved),
this model rotates the two halves (half-split, as Llama in Hugging Face and MiniMind since April
2025). The two are the same function up to a fixed permutation of the rows of q_proj and k_proj.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimind_lite.config import ModelConfig


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
    position = torch.arange(config.max_seq_len, dtype=torch.float64)  # (T,)
    angle = torch.outer(position, frequency)  # (T, D/2)
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)  # (T, D)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i+D/2}) by its position's angle: (B, heads, T, D) -> same.

    (a, b) becomes (a cos - b sin, b cos + a sin): x times cos, plus x with its halves exchanged
    times the signed sin.
    """
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)  # x may be in half precision
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: list[int] | None = None) -> Tensor:
    """Causal attention of q (B, H, T, D) to k and v (B, K, T, D): (B, H, T, D).

    With `lengths`, T holds packed sequences of these lengths, and each attends to itself alone.
    """
    grouped = q.shape[1] != k.shape[1]  # H / K query heads share a key/value head
    if lengths is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    sequences = zip(q.split(lengths, dim=2), k.split(lengths, dim=2), v.split(lengths, dim=2))
    return torch.cat([attend(*sequence) for sequence in sequences], dim=2)


class Attention(nn.Module):
    """Causal grouped-query attention (Ainslie et al., arXiv 2305.13245): (B, T, C) -> (B, T, C).

    H query heads share K key/value heads; K = H is multi-head, K = 1 multi-query attention.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        C, D = config.dim, config.head_dim()
        self.head_dim = D
        self.q_proj = nn.Linear(C, config.n_heads * D, bias=False)
        self.k_proj = nn.Linear(C, config.n_kv_heads * D, bias=False)
        self.v_proj = nn.Linear(C, config.n_kv_heads * D, bias=False)
        self.o_proj = nn.Linear(config.n_heads * D, C, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, lengths: list[int] | None = None
    ) -> Tensor:
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, -1, self.head_dim).transpose(1, 2)  # (B, H, T, D)
        k = self.k_proj(x).view(B, T, -1, self.head_dim).transpose(1, 2)  # (B, K, T, D)
        v = self.v_proj(x).view(B, T, -1, self.head_dim).transpose(1, 2)  # (B, K, T, D)
        y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, lengths)  # (B, H, T, D)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))  # (B, T, C)


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
        self, x: Tensor, cos: Tensor, sin: Tensor, lengths: list[int] | None = None
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin, lengths)
        x = x + self.feed_forward(self.ffn_norm(x))
        return x


class LanguageModel(nn.Module):
    """Token ids (B, T) -> logits (B, T, V). Position t predicts token t + 1.

    Batches are padded on the right, where causality keeps padding from reaching any real token,
    or packed end to end (`lengths` in `hidden`): neither needs an attention mask. Initial weights
    are N(0, 0.02^2), those that write into the residual stream divided by sqrt(2 n_layers)
    (GPT-2, section 2.3), drawn from `seed`.
    """

    cos: Tensor  # (max_seq_len, D)
    sin: Tensor  # (max_seq_len, D)

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        cos, sin = rotary_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialize(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                writes_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / (2 * self.config.n_layers) ** 0.5 if writes_residual else 0.02
                parameter.normal_(0.0, std, generator=generator)

    def hidden(self, ids: Tensor, *, lengths: list[int] | None = None) -> Tensor:
        """Final hidden states (B, T, C) of ids (B, T).

        With `lengths`, ids (1, T) are sequences of these lengths end to end, without padding: each
        starts at position 0 and sees itself only, so the result is that of each by itself.
        Raises `ValueError` for a sequence longer than `max_seq_len`.
        """
        sizes = lengths or [ids.shape[1]]
        if max(sizes) > self.config.max_seq_len:
            raise ValueError(
                f"the model sees at most max_seq_len = {self.config.max_seq_len} tokens, "
                f"got {max(sizes)}: shorten the text or raise max_seq_len in ModelConfig."
            )
        cos = torch.cat([self.cos[:size] for size in sizes])  # (T, D)
        sin = torch.cat([self.sin[:size] for size in sizes])  # (T, D)
        x = self.embedding(ids)  # (B, T, C)
        for block in self.blocks:
            x = block(x, cos, sin, lengths)  # (B, T, C)
        return self.norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., C), with the tied embedding matrix."""
        return F.linear(hidden, self.embedding.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.hidden(ids))  # (B, T, V)
