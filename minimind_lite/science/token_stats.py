"""How often each token comes, and how far apart two such distributions are.

A loss spike is said to come from "a change in token distribution". That can be measured: count
the supervised tokens of two groups of conversations and compare the counts. Only frequencies are
compared here. What a model knows of the order of tokens is not in them; a lesson shows what that
leaves out.

    V vocabulary   N conversations   p, q token distributions, (V,), each with sum 1
"""

from __future__ import annotations

import numpy as np

from minimind_lite.rows import EncodedRows


def count_tokens(data: EncodedRows, vocab_size: int, rows: np.ndarray | None = None) -> np.ndarray:
    """How often each token is supervised, in all conversations or in some `rows`: (V,) int64."""
    chosen = data if rows is None else data.select(rows)
    return np.bincount(chosen.ids[chosen.mask], minlength=vocab_size)


def _distribution(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts, dtype=float)
    if counts.ndim != 1 or (counts < 0).any() or not counts.sum() > 0:
        raise ValueError(
            "a token distribution needs non-negative counts (V,) with a positive sum, got shape "
            f"{counts.shape}, sum {counts.sum()}: does the group have any supervised token?"
        )
    return counts / counts.sum()


def entropy(counts: np.ndarray) -> float:
    """H(p) = -sum p log2 p of a distribution given by counts (V,), in bits per token."""
    from scipy import stats

    return float(stats.entropy(_distribution(counts), base=2))


def js_by_token(counts_p: np.ndarray, counts_q: np.ndarray) -> np.ndarray:
    """What each token adds to the Jensen-Shannon divergence: (V,), in bits, none negative.

    [p log2(p/m) + q log2(q/m)] / 2 with m = (p + q) / 2; a token that neither group has adds 0.
    """
    from scipy.special import rel_entr

    p, q = _distribution(counts_p), _distribution(counts_q)
    m = (p + q) / 2
    parts = (rel_entr(p, m) + rel_entr(q, m)) / (2 * np.log(2))
    return np.maximum(parts, 0)  # rounding may leave -1e-20 where p = q


def js_divergence(counts_p: np.ndarray, counts_q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two token distributions given by counts (V,), in bits.

    H(m) - [H(p) + H(q)] / 2 with m = (p + q) / 2: 0 for equal distributions, 1 where no token is
    common (Lin, IEEE Trans. Inf. Theory 37, 1991). Read: how many bits one token tells, on
    average, about which of two equally likely groups it was drawn from.
    """
    return float(js_by_token(counts_p, counts_q).sum())


def sampling_floor(
    data: EncodedRows,
    vocab_size: int,
    *,
    rows: np.ndarray,
    size: int,
    draws: int = 10,
    seed: int = 0,
) -> float:
    """The divergence that means nothing: `size` random rows against the rest of `rows`, in bits.

    Small samples miss rare tokens, so two samples of one source are never at 0. Mean over
    `draws`. Raises `ValueError` where `size` leaves no rest.
    """
    if not 0 < size < len(rows):
        raise ValueError(f"size must leave a rest of the {len(rows)} rows, got {size}.")
    rng, whole = np.random.default_rng(seed), count_tokens(data, vocab_size, rows)
    divergences = []
    for _ in range(draws):
        part = count_tokens(data, vocab_size, rng.permutation(rows)[:size])
        divergences.append(js_divergence(part, whole - part))
    return float(np.mean(divergences))


def unigram_loss(counts: np.ndarray, counts_in_training: np.ndarray) -> float:
    """Loss of a model that knows only how often each token came in its training: nats per token.

    The loss is on tokens counted in `counts` (V,): -sum p ln q, with q from the training counts
    plus one each, so that no token has probability 0. It is the entropy of p plus the
    Kullback-Leibler divergence of p from q: here, and only here, "loss follows the change in
    token distribution" is an identity.
    """
    p = _distribution(counts)
    q = _distribution(np.asarray(counts_in_training, dtype=float) + 1)
    return float(-(p * np.log(q)).sum())


def group_loss(losses: np.ndarray, tokens: np.ndarray, *, rows: np.ndarray) -> float:
    """Loss of a group of conversations, sum over tokens / number of tokens, in nats.

    `losses` (N,) are token means per conversation, `tokens` (N,) their supervised tokens.
    Conversations without a supervised token take no part. Raises `ValueError` where none has one.
    """
    rows = np.asarray(rows)
    rows = rows[tokens[rows] > 0]
    if not len(rows):
        raise ValueError("no conversation of the group has a supervised token.")
    return float((losses[rows] * tokens[rows]).sum() / tokens[rows].sum())
