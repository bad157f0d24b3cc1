"""Lesson 02: the parameters of a model, and the loss that it starts with."""

from __future__ import annotations

import math

from minimind_lite.config import ModelConfig
from minimind_lite.lessons.checks import Exercise

# What the designed model has to be
VOCABULARY, MIN_PARAMETERS, MAX_PARAMETERS = 6400, 1_800_000, 2_000_000


def check_attention_parameters(answer: object) -> bool:
    """Parameters of the attention of one block of MiniMind2-Small."""
    config = ModelConfig.preset("minimind2_small")
    C, kv = config.dim, config.n_kv_heads * config.head_dim()
    right = config.parameters_by_part()["attention"] // config.n_layers
    slips = {
        "multi_head": 4 * C * C,
        "all_blocks": right * config.n_layers,
        "one_missing": right - C * C,
        "q_and_k": C * C + C * kv,
        "norm": right + C,
    }
    values = {"C": C, "kv": 2 * C * kv}
    return Exercise("02-1").check_number(answer, right, tolerance=0.5, slips=slips, values=values)


def check_start_loss(answer: object, *, vocab_size: int = 32_000) -> bool:
    """Loss, in nats, of an untrained model with a vocabulary of `vocab_size`."""
    right = math.log(vocab_size)
    slips = {
        "bits": math.log2(vocab_size),
        "log10": math.log10(vocab_size),
        "perplexity": vocab_size,
        "sign": -right,
    }
    values = {"vocab_size": vocab_size}
    return Exercise("02-2").check_number(answer, right, tolerance=0.02, slips=slips, values=values)


def check_design(answer: object) -> bool:
    """A model for MiniMind's vocabulary that is not mostly embedding.

    It has 1.8 to 2.0 M parameters, less than half of them in the embedding.
    """
    exercise = Exercise("02-3")
    if not isinstance(answer, ModelConfig):
        return exercise.refuse(answer)
    parts, total, problems = answer.parameters_by_part(), answer.n_parameters(), []
    for part, n in parts.items():
        print(f"{part:33s}{n:>10,}  {n / total:6.1%}")
    if answer.vocab_size != VOCABULARY:
        problems.append(exercise.say("vocabulary", n=answer.vocab_size, needed=VOCABULARY))
    limits = {"total": total, "low": MIN_PARAMETERS, "high": MAX_PARAMETERS}
    if total > MAX_PARAMETERS:
        problems.append(exercise.say("large", **limits))
    if total < MIN_PARAMETERS:
        problems.append(exercise.say("small", **limits))
    share = next(iter(parts.values())) / total
    if share >= 0.5:
        problems.append(exercise.say("embedding", share=share))
    return exercise.verdict(problems, total=total, share=share)
