"""What must hold before anything is trained: laws of batches, logs, buffers, resumes, step sizes.

Each is a closed form; where it helps, a simulation (`simulate_...`) only counts, so that a figure
can lay law, simulation and measurement over one another. Batches are not aligned with segments, so
laws are means over where the segment starts. A height is that of the batch with the largest share
of the segment, not of the largest loss, which would be biased upwards. In this order: visibility,
plotting, buffer, dispersion, accumulation, resume, step size and batch size.

    L rows of a segment   B of a batch   r = L/B   K of a buffer   N of the file
    I steps of a log line
    delta nats by which the segment is harder   sigma nats, deviation of a row   l losses, t tokens
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite import order
from minimind_lite.records import token_means
from minimind_lite.segments import Segment

Floats = float | np.ndarray
NOISE_DRAWS = 2000  # random base batches behind a measured sigma


def peak_share(r: Floats) -> Floats:
    """Mean share of a segment of r = L/B batches in its fullest batch: r - r²/4 up to 2, then 1.

    Over a uniform start. The row counts give (B L - floor(L²/4)) / B², the same for even L and
    1/(4 B²) more for odd. Height falls with B; noise falls as 1/√B; so z rises as √B up to
    B = L/2, is largest at B = 3L/4 exactly (0.770 delta √L / sigma), has 92 % of that at L/2 and
    97 % at L, and falls as 1/√B in the end.
    """
    r = np.asarray(r, dtype=float)
    shares = np.where(r < 2, r - r**2 / 4, 1.0)
    return shares if shares.ndim else float(shares)


def peak_share_at(length: int, batch_size: int, *, offset: int | np.ndarray) -> Floats:
    """That share, exactly, for a segment that starts `offset` rows into a batch (0 .. B-1).

    max(a, min(L - a, B)) / B with a = min(B - offset, L).
    """
    first = np.minimum(batch_size - np.asarray(offset), length)
    shares = np.maximum(first, np.minimum(length - first, batch_size)) / batch_size
    return shares if shares.ndim else float(shares)


def token_share(share: Floats, token_ratio: float) -> Floats:
    """Share of the tokens where a `share` s of the rows has `token_ratio` q times as many each.

    s q / (s q + 1 - s)
    """
    return share * token_ratio / (share * token_ratio + 1 - share)


def expected_height(
    delta: float, length: int, *, batch_size: int, token_ratio: float = 1.0
) -> float:
    """Height in nats: delta times the mean share of tokens in the fullest batch, over all B starts.

    `token_ratio`: tokens per row in the segment / in the base. At 1 it is delta `peak_share(L/B)`.
    """
    shares = peak_share_at(length, batch_size, offset=np.arange(batch_size))
    return delta * float(np.mean(token_share(shares, token_ratio)))


def row_sigma(losses: np.ndarray, tokens: np.ndarray) -> float:
    """The sigma whose 1/√B is the deviation of a token mean over B rows, in nats.

    √(mean t² (l - mu)²) / mean t, mu the token mean of all rows (N,): the linearized variance of a
    ratio of means. With equal tokens it is the standard deviation.
    """
    sums = sum_losses(losses, tokens)
    excess = sums - tokens * token_mean(sums, tokens)
    return float(np.sqrt(np.mean(excess**2)) / np.mean(tokens))


def sum_losses(losses: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Summed losses (N,) of rows, from their token means; 0 for a row without a token."""
    return np.where(tokens > 0, losses, 0.0) * tokens


def noise(sigma: float, batch_size: int) -> float:
    """Standard deviation of the loss of base batches, sigma / √B, in nats."""
    return sigma / math.sqrt(batch_size)


def expected_z(
    delta: float, sigma: float, *, length: int, batch_size: int, token_ratio: float = 1.0
) -> float:
    """Height over noise."""
    height = expected_height(delta, length, batch_size=batch_size, token_ratio=token_ratio)
    return height / noise(sigma, batch_size)


def rebin(losses: np.ndarray, tokens: np.ndarray, *, batch_size: int, phase: int = 0) -> np.ndarray:
    """Losses of batches (token means) from losses (N,) and supervised tokens (N,) of rows in order.

    With a `phase` in 1 .. B-1 the first batch has that many rows. The last may be short, too; NaN
    where a batch has no token. Raises `ValueError` for another phase.
    """
    starts = _batch_starts(len(losses), batch_size, phase)
    sums = np.add.reduceat(sum_losses(losses, tokens), starts)
    return token_means(sums, np.add.reduceat(tokens, starts))


def _batch_starts(n: int, batch_size: int, phase: int) -> np.ndarray:
    if not 0 <= phase < batch_size:
        raise ValueError(
            f"phase must lie in 0 .. {batch_size - 1}, the rows of a short first batch, "
            f"got {phase}."
        )
    starts = np.arange(phase, n, batch_size)
    return np.append(0, starts) if phase else starts


@dataclass(frozen=True, eq=False)
class Visibility:
    """How a segment shows at one batch size, by law or by measurement."""

    heights: np.ndarray  # (phases,) loss of the fullest batch minus the base's, nats
    sigma: float  # deviation of base batches, nats

    @property
    def height(self) -> float:
        """Mean over the phases, nats."""
        return float(np.mean(self.heights))

    @property
    def z(self) -> float:
        """Mean height over sigma."""
        return self.height / self.sigma


def expected_visibility(
    losses: np.ndarray,
    tokens: np.ndarray,
    *,
    segment: Segment,
    batch_size: int,
    base: np.ndarray,
) -> Visibility:
    """The law, with delta, sigma and the ratio of tokens taken from the rows.

    Arguments as in `measured_visibility`; heights are those of all B phases.
    """
    inside = np.arange(segment.start, segment.stop)
    sums = sum_losses(losses, tokens)
    delta = token_mean(sums[inside], tokens[inside]) - token_mean(sums[base], tokens[base])
    ratio = tokens[inside].mean() / tokens[base].mean()
    rows = peak_share_at(len(segment), batch_size, offset=np.arange(batch_size))
    shares = np.asarray(token_share(rows, ratio))
    sigma = noise(row_sigma(losses[base], tokens[base]), batch_size)
    return Visibility(delta * shares, sigma)


def measured_visibility(
    losses: np.ndarray,
    tokens: np.ndarray,
    *,
    segment: Segment,
    batch_size: int,
    base: np.ndarray,
    phases: Iterable[int],
    seed: int | None = None,
) -> Visibility:
    """What a segment makes of a frozen model's losses (N,), cut into batches of B.

    A height is the loss of the batch with most rows of the segment, minus the mean of the base rows
    (`base` (N,) is their mask), for first batches of `phases` rows. sigma is the deviation of
    random batches of base rows. A frozen model's losses do not depend on the order of the rows.
    So, with a `seed`, that batch takes random rows of the segment and of the base in place of
    those that lie there, and no other segment can be in it.
    """
    sums, base_rows = sum_losses(losses, tokens), np.flatnonzero(base)
    rng = np.random.default_rng(0)
    drawn = rng.choice(base_rows, size=(NOISE_DRAWS, batch_size))
    sigma = float((sums[drawn].sum(axis=1) / tokens[drawn].sum(axis=1)).std())
    level, heights, rng = token_mean(sums[base], tokens[base]), [], np.random.default_rng(seed)
    for phase in phases:
        starts = _batch_starts(len(losses), batch_size, int(phase))
        stops = np.append(starts[1:], len(losses))
        inside = np.minimum(stops, segment.stop) - np.maximum(starts, segment.start)
        fullest = int(np.argmax(inside))
        rows = np.arange(starts[fullest], stops[fullest])
        if seed is not None:
            k, segment_rows = inside[fullest], np.arange(segment.start, segment.stop)
            outside = rng.choice(base_rows, batch_size - k, replace=False)
            rows = np.append(rng.choice(segment_rows, k, replace=False), outside)
        heights.append(sums[rows].sum() / tokens[rows].sum() - level)
    return Visibility(np.array(heights), sigma)


def logged_touch(length: int, batch_size: int, *, every: int) -> float:
    """Probability that some logged batch holds a row of the segment, over a uniform start.

    min(1, (L + B - 1) / (B I))
    """
    return min(1.0, (length + batch_size - 1) / (batch_size * every))


def logged_half(length: int, batch_size: int, *, every: int) -> float:
    """Probability that some logged batch holds at least half of min(L, B).

    min(1, (max(L, B) + e) / (B I)), e = 1 if min(L, B) is even, else 0.
    """
    even = min(length, batch_size) % 2 == 0
    return min(1.0, (max(length, batch_size) + even) / (batch_size * every))


def simulate_logged(
    length: int, batch_size: int, *, every: int, draws: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """The two probabilities, counted: (touches, holds half) over random starts."""
    starts = np.random.default_rng(seed).integers(batch_size * every, size=draws)
    batches = (starts[:, None] + np.arange(length)) // batch_size  # (draws, L)
    n_batches = batches.max() + 1
    cells = (np.arange(draws)[:, None] * n_batches + batches).ravel()
    rows_in_batch = np.bincount(cells, minlength=draws * n_batches).reshape(draws, n_batches)
    largest = rows_in_batch[:, ::every].max(axis=1)
    half = min(length, batch_size) / 2
    return float(np.mean(largest > 0)), float(np.mean(largest >= half))


def buffer_share(length: float, size: float) -> float:
    """Largest mean share of a pure segment in a shuffle buffer's output: 1 - exp(-L/K).

    For a segment that starts after row K; the row counts give 1 - (1 - 1/K)^L. One that starts
    with a of its rows in the first fill keeps more, 1 - (1 - a/K)(1 - 1/K)^(L - a), and a buffer of
    the whole file L/N, below which no mean share can fall. `buffer_profile` has it all.
    """
    return -math.expm1(-length / size)


def buffer_profile(n: int, size: int, *, start: int, stop: int) -> np.ndarray:
    """Mean share of rows start .. stop-1 at each place of the output of `order.buffer`, (n,).

    Exact for any K and segment. The buffer's mean content m obeys m <- m (1 - 1/K) + [the next row
    is inside], an exponential moving average; each draw takes a random one of its K rows.
    """
    inside, size = (np.arange(n) >= start) & (np.arange(n) < stop), min(size, n)
    content, profile = float(inside[:size].sum()), np.empty(n)
    for i in range(n - size):
        profile[i] = content / size
        content += inside[size + i] - content / size
    profile[n - size :] = content / size
    return profile


def batch_shares(profile: np.ndarray, batch_size: int) -> np.ndarray:
    """Mean of a profile (N,) over each whole batch."""
    return profile[: len(profile) // batch_size * batch_size].reshape(-1, batch_size).mean(axis=1)


def dispersion_index(member: np.ndarray, batch_size: int) -> float:
    """How unevenly batches hold a group of rows: Var(share over batches) / (p (1 - p) / B).

    `member` (N,) says, in training order, which rows belong to the group; only whole batches
    count. 1 is what independent draws give, about B a fully sorted file, below 1 more even than
    chance. Raises `ValueError` where there is no whole batch, or all or none are members.
    """
    member = np.asarray(member, dtype=bool)
    whole = len(member) // batch_size * batch_size
    shares = batch_shares(member, batch_size) if whole else np.zeros(1)
    p = float(shares.mean())
    if not 0 < p < 1:
        raise ValueError(
            "the dispersion index needs whole batches with members and others in them; got "
            f"{whole} rows in whole batches of {batch_size}, share of members {p:.3f}."
        )
    return float(shares.var() / (p * (1 - p) / batch_size))


def expected_dispersion(profile: np.ndarray, batch_size: int) -> float:
    """Mean of `dispersion_index` for an order with these probabilities (N,) of a member.

    D = [Var over batches of their mean q + mean of q (1 - q) / B] / [p (1 - p) / B], p the mean of
    q: 1 for a constant q (a shuffle; exactly (N - B)/(N - 1), since rows are not put back), B for a
    sorted file whose segments fill whole batches, about 1 + (B - 1) Var(q) / (p (1 - p)) between.
    """
    shares = batch_shares(profile, batch_size)
    q = profile[: len(shares) * batch_size]
    p = q.mean()
    return float((shares.var() + (q * (1 - q)).mean() / batch_size) / (p * (1 - p) / batch_size))


def sorted_dispersion(lengths: Sequence[int], n: int, *, batch_size: int) -> float:
    """Mean of D over where segments of these lengths start in a file of n rows: a bit under B.

    [sum g(L/B) B/n - p²] / [p (1 - p) / B] with g(r) = r - 1/3 from r = 1, else r² - r³/3: what a
    batch that the segment only partly fills takes away. For segments that never share a batch.
    """
    r, p = np.asarray(lengths) / batch_size, sum(lengths) / n
    squares = np.where(r >= 1, r - 1 / 3, r**2 - r**3 / 3).sum() * batch_size / n
    return float((squares - p**2) / (p * (1 - p) / batch_size))


def simulate_dispersion(
    kind: str, member: np.ndarray, *, batch_size: int, shuffles: int = 50, seed: int = 0
) -> float:
    """Mean dispersion index of `shuffles` orders of a kind, for a group of rows, `member` (N,)."""
    indices = [
        dispersion_index(member[order.make(kind, len(member), seed=seed + i)], batch_size)
        for i in range(shuffles)
    ]
    return float(np.mean(indices))


def token_mean(sums: np.ndarray, counts: np.ndarray) -> float:
    """Loss of a whole batch from sums (M,) and tokens (M,) of its micro-batches, in nats.

    Raises `ValueError` without a token.
    """
    if not np.sum(counts) > 0:
        raise ValueError("there is no token to take a mean over: all counts are 0.")
    return float(np.sum(sums) / np.sum(counts))


def mean_of_means(sums: np.ndarray, counts: np.ndarray) -> float:
    """What the usual code reports instead: mean of sum / count over micro-batches with tokens.

    Raises `ValueError` without a token.
    """
    sums, counts = np.asarray(sums, float), np.asarray(counts, float)
    if not (counts > 0).any():
        raise ValueError("there is no token to take a mean over: all counts are 0.")
    return float(np.mean(sums[counts > 0] / counts[counts > 0]))


def accumulation_bias(sums: np.ndarray, counts: np.ndarray) -> float:
    """mean_of_means - token_mean = -Cov(n, m) / mean(n), in nats.

    n tokens and m means of the micro-batches, population covariance. No bias where all n, or all
    m, are equal, or where the two do not go together. Positive where short answers are hard.
    """
    has_tokens = np.asarray(counts) > 0
    n, s = np.asarray(counts, float)[has_tokens], np.asarray(sums, float)[has_tokens]
    return float(-np.mean((n - n.mean()) * (s / n - (s / n).mean())) / n.mean())


def resume_rows(n: int, fraction: float) -> float:
    """Rows read twice in an epoch that goes on in another order at `fraction` f: f (1 - f) N.

    In expectation; as many are never read. It suffices that one of the orders is a random one:
    file order after a shuffle, as MiniMind resumed until 2026-01-18, loses as much.
    """
    return fraction * (1 - fraction) * n


def simulate_resume(
    n: int, fraction: float, *, kind: str = "shuffle", draws: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Rows read twice and rows never read, means over `draws`.

    A shuffle up to the fraction, then an order of `kind`.
    """
    done, twice, never = round(fraction * n), [], []
    for i in range(seed, seed + draws):
        first, rest = order.shuffle(n, i, 0)[:done], order.make(kind, n, seed=i, epoch=1)[done:]
        times = np.bincount(np.append(first, rest), minlength=n)
        twice.append((times == 2).sum())
        never.append((times == 0).sum())
    return float(np.mean(twice)), float(np.mean(never))


@dataclass(frozen=True)
class AdamSettings:
    """Adam's numbers at a batch size."""

    learning_rate: float
    betas: tuple[float, float]
    eps: float


def scaled_adam(
    learning_rate: float, betas: tuple[float, float], *, eps: float, k: float
) -> AdamSettings:
    """Adam's square-root rule for a batch k times as large.

    √k lr, 1 - beta becomes k (1 - beta), eps / √k. Source: Malladi et al., arXiv 2205.10287. It is
    a limit of small steps: raises `ValueError` beyond k = 1 / (1 - beta1), where no beta is left
    (10 for the usual 0.9).
    """
    first, second = (1 - k * (1 - beta) for beta in betas)
    if k <= 0 or min(first, second) < 0:
        raise ValueError(
            f"the rule turns betas {betas} into {(first, second)} at k = {k:g}; "
            f"k must lie in 0 .. {1 / (1 - min(betas)):g}."
        )
    return AdamSettings(math.sqrt(k) * learning_rate, (first, second), eps / math.sqrt(k))


def linear_lr(learning_rate: float, k: float) -> float:
    """The linear rule, for SGD, for a batch k times as large: k lr (Goyal et al., 1706.02677)."""
    return k * learning_rate
