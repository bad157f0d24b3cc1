"""Let a model write: one token after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch

from minimind_lite.model import LanguageModel


@torch.inference_mode()
def generate(
    model: LanguageModel,
    ids: list[int],
    *,
    max_new_tokens: int = 64,
    end_id: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    on_token: Callable[[int], None] | None = None,
) -> list[int]:
    """Continue one prompt; returns the new token ids, `end_id` (if it comes) last.

    `temperature` 0 takes the likeliest token; above 0, tokens are drawn with `seed`. Every step
    reads the whole sequence again: a cache of keys and values would save that work, and is left
    out of the model that is trained. Ends at `max_seq_len`. Raises `ValueError` for an empty or
    too long prompt.
    """
    limit = model.config.max_seq_len
    if not 0 < len(ids) <= limit:
        raise ValueError(f"a prompt has 1 to max_seq_len = {limit} tokens, got {len(ids)}.")
    device = model.embedding.weight.device
    generator = torch.Generator(device="cpu").manual_seed(seed)
    sequence = list(ids)
    for _ in range(min(max_new_tokens, limit - len(ids) + 1)):
        hidden = model.hidden(torch.tensor([sequence], device=device))  # (1, T, C)
        logits = model.head(hidden[0, -1]).float().cpu()  # (V,)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            chances = (logits / temperature).softmax(-1)
            token = int(torch.multinomial(chances, 1, generator=generator))
        sequence.append(token)
        if on_token is not None:
            on_token(token)
        if token == end_id:
            break
    return sequence[len(ids) :]
