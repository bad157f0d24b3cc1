"""What must hold before anything is trained: laws of batches, logs, buffers, resumes and step sizes.

Each comes twice: in closed form, and as a simulation (`simulate_...`) that only counts, so that a
figure can lay law, simulation and measurement over one another. Batches are not aligned with
segments, so laws are means over where the segment starts. Heights are those of `spikes.at_rows`:
of the batch with the largest share of the segment, the first where several are wholly inside, not of
the largest loss, which would be biased upwards. In this order: visibility, plotting, buffer,
dispersion, accumulation, resume, step size and batch size.

    L rows of a segment   B of a batch   r = L/B   K of a buffer   N of the file   I steps per log line
    delta nats by which the segment is harder   sigma nats, deviation of a row   l losses, t tokens of rows
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite import order

Floats = float | np.ndarray
BASE_BATCHES = 5000  # at least so many regrouped batches behind a measured sigma


def peak_share(r: Floats) -> Floats:
    """Mean share of a segment of r = L/B batches in its fullest batch: r - r^2/4 up to r = 2, then 1.

    Over a uniform start. The row counts give (B L - floor(L^2/4)) / B^2, the same for even L and
    1/(4 B^2) more for odd. Height falls with B; noise falls as 1/sqrt(B); so z rises as sqrt(B)
    up to B = L/2, is largest at B = 3L/4 exactly (0.770 delta sqrt(L) / sigma), has 92 % of that at
    L/2 and 97 % at L, and falls as 1/sqrt(B) in the end.
    """
    r = np.asarray(r, dtype=float)
    found = np.where(r < 2, r - r**2 / 4, 1.0)
    return found if found.ndim else float(found)


def peak_share_at(length: int, batch_size: int, *, offset: int | np.ndarray) -> Floats:
    """That share, exactly, for a segment that starts `offset` rows into a batch (0 .. B-1): max(a, min(L - a, B)) / B, a = min(B - offset, L)."""
    first = np.minimum(batch_size - np.asarray(offset), length)
    found = np.maximum(first, np.minimum(length - first, batch_size)) / batch_size
    return found if found.ndim else float(found)


def token_share(share: Floats, token_ratio: float) -> Floats:
    """Share of the tokens where `share` of the rows have `token_ratio` times as many as the others: s q / (s q + 1 - s)."""
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
    """The sigma whose 1/sqrt(B) is the deviation of a token mean over B rows: sqrt(mean t^2 (l - mu)^2) / mean t, in nats.

    mu is the token mean of all rows (N,): the linearised variance of a ratio of means. With equal
    tokens it is the standard deviation.
    """
    sums = _sums(losses, tokens)
    return float(
        np.sqrt(np.mean((sums - tokens * token_mean(sums, tokens)) ** 2)) / np.mean(tokens)
    )


def _sums(losses: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return np.where(tokens > 0, losses, 0.0) * tokens  # a row without a token has loss NaN


def noise(sigma: float, batch_size: int) -> float:
    """Standard deviation of the loss of base batches, sigma / sqrt(B), in nats."""
    return sigma / math.sqrt(batch_size)


def expected_z(
    delta: float, sigma: float, *, length: int, batch_size: int, token_ratio: float = 1.0
) -> float:
    """Height over noise."""
    return expected_height(delta, length, batch_size=batch_size, token_ratio=token_ratio) / noise(
        sigma, batch_size
    )


def rebin(losses: np.ndarray, tokens: np.ndarray, *, batch_size: int, phase: int = 0) -> np.ndarray:
    """Losses of batches (token means) from losses (N,) and supervised tokens (N,) of rows in training order.

    With a `phase` in 1 .. B-1 the first batch has that many rows. The last may be short, too; NaN
    where a batch has no token. Raises `ValueError` for another phase.
    """
    if not 0 <= phase < batch_size:
        raise ValueError(
            f"phase must lie in 0 .. {batch_size - 1}, the rows of a short first batch, got {phase}."
        )
    starts = np.unique([0, *range(phase, len(losses), batch_size)])
    sums = np.add.reduceat(_sums(losses, tokens), starts)
    counts = np.add.reduceat(tokens, starts)
    return np.divide(sums, counts, out=np.full(len(starts), np.nan), where=counts > 0)


@dataclass(frozen=True, eq=False)
class Visibility:
    """How a segment shows at one batch size, by law or by measurement."""

    batch_size: int
    offsets: np.ndarray  # (starts,) rows of the segment's first batch that come before it
    shares: np.ndarray  # (starts,) share of tokens of the fullest batch
    heights: np.ndarray  # (starts,) its loss minus the mean of base batches, nats
    sigma: float  # deviation of base batches, nats

    @property
    def height(self) -> float:
        """Mean over the starts, nats."""
        return float(self.heights.mean())

    @property
    def z(self) -> float:
        """Mean height over sigma."""
        return self.height / self.sigma


def expected_visibility(
    losses: np.ndarray,
    tokens: np.ndarray,
    *,
    start: int,
    stop: int,
    batch_size: int,
    base_mask: np.ndarray,
    phases: Iterable[int] | None = None,
) -> Visibility:
    """The law, with delta, sigma and the ratio of tokens taken from the rows; arguments as in `measured_visibility`."""
    inside, base, sums = (
        np.arange(start, stop),
        _base_rows(base_mask, start, stop),
        _sums(losses, tokens),
    )
    delta = token_mean(sums[inside], tokens[inside]) - token_mean(sums[base], tokens[base])
    offsets = _offsets(int(np.searchsorted(base, start)), batch_size, phases)
    shares = token_share(
        peak_share_at(stop - start, batch_size, offset=offsets),
        tokens[inside].mean() / tokens[base].mean(),
    )
    return Visibility(
        batch_size,
        offsets,
        shares,
        delta * shares,
        noise(row_sigma(losses[base], tokens[base]), batch_size),
    )


def measured_visibility(
    losses: np.ndarray,
    tokens: np.ndarray,
    *,
    start: int,
    stop: int,
    batch_size: int,
    base_mask: np.ndarray,
    phases: Iterable[int] | None = None,
    seed: int | None = None,
) -> Visibility:
    """What rows start .. stop-1 make of a frozen model's losses (N,), re-binned at B with first batches of `phases` rows (default: each of 0 .. B-1).

    Rows that are neither in the segment nor in `base_mask` (N,) are taken out first, so that no other
    segment shares a batch with it; base rows wanted beyond an end of the file come from the other
    end. sigma, and the level from which heights count, are those of base rows in random groups of
    B. Rows keep their order, or with a `seed` get a new one for each phase, inside the segment and
    among the base (a frozen model's losses do not depend on it). Raises `ValueError` where the base
    has no two batches.
    """
    base, inside = _base_rows(base_mask, start, stop), np.arange(start, stop)
    before, rng = int(np.searchsorted(base, start)), np.random.default_rng(seed or 0)
    if len(base) < 2 * batch_size:
        raise ValueError(
            f"sigma needs two batches of {batch_size} base rows, the base has {len(base)}; take a smaller batch."
        )
    offsets = _offsets(before, batch_size, phases)
    mix = (
        (lambda rows: rng.permuted(np.tile(rows, (len(offsets), 1)), axis=1))
        if seed is not None
        else lambda rows: np.tile(rows, (len(offsets), 1))
    )
    around, within = mix(base), mix(inside)
    rows = np.concatenate([around[:, :before], within, around[:, before:]], axis=1)  # (starts, n)
    first = np.minimum(batch_size - offsets, len(inside))
    fullest = before - offsets + batch_size * (np.minimum(len(inside) - first, batch_size) > first)
    rows = np.take_along_axis(
        rows, (fullest[:, None] + np.arange(batch_size)) % rows.shape[1], axis=1
    )  # (starts, B)
    level, sigma = _base_batches(losses[base], tokens[base], batch_size=batch_size, rng=rng)
    counts, odd = tokens[rows].sum(axis=1), (rows >= start) & (rows < stop)
    heights = _sums(losses, tokens)[rows].sum(axis=1) / counts - level
    return Visibility(
        batch_size, offsets, (tokens[rows] * odd).sum(axis=1) / counts, heights, sigma
    )


def _base_rows(base_mask: np.ndarray, start: int, stop: int) -> np.ndarray:
    rows = np.flatnonzero(base_mask)
    return rows[(rows < start) | (rows >= stop)]


def _offsets(before: int, batch_size: int, phases: Iterable[int] | None) -> np.ndarray:
    return (before - np.array(list(range(batch_size) if phases is None else phases))) % batch_size


def _base_batches(
    losses: np.ndarray, tokens: np.ndarray, *, batch_size: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Mean and standard deviation of the losses of random batches of rows (n,)."""
    k = len(losses) // batch_size
    groups = rng.permuted(np.tile(np.arange(len(losses)), (-(-BASE_BATCHES // k), 1)), axis=1)[
        :, : k * batch_size
    ]
    groups = groups.reshape(-1, k, batch_size)
    found = _sums(losses, tokens)[groups].sum(axis=2) / tokens[groups].sum(
        axis=2
    )  # (partitions, k)
    # n - 1 within each partition: drawing without replacement then cancels, and sigma / sqrt(B) is left, however few batches.
    return float(found.mean()), float(np.sqrt(found.var(axis=1, ddof=1).mean()))


def simulate_visibility(
    delta: float, sigma: float, *, length: int, batch_size: int, starts: int = 400, seed: int = 0
) -> Visibility:
    """Normal losses of rows with equal tokens, cut into batches at random phases."""
    rng, n = np.random.default_rng(seed), 2 * length + 8 * batch_size
    losses, base = rng.normal(0, sigma, n), np.ones(n, bool)
    start = n // 3
    base[start : start + length] = False
    losses[~base] += delta - losses[~base].mean()  # only what chance leaves at each start is noise
    losses[base] -= losses[base].mean()
    return measured_visibility(
        losses,
        np.ones(n),
        start=start,
        stop=start + length,
        batch_size=batch_size,
        base_mask=base,
        phases=rng.integers(batch_size, size=starts),
        seed=seed,
    )


def logged_touch(length: int, batch_size: int, *, every: int) -> float:
    """Probability that some logged batch holds a row of the segment: min(1, (L + B - 1) / (B I)), over a uniform start."""
    return min(1.0, (length + batch_size - 1) / (batch_size * every))


def logged_half(length: int, batch_size: int, *, every: int) -> float:
    """Probability that some logged batch holds at least half of min(L, B): min(1, (max(L, B) + e) / (B I)), e = 1 if min(L, B) is even, else 0."""
    return min(
        1.0, (max(length, batch_size) + (min(length, batch_size) % 2 == 0)) / (batch_size * every)
    )


def simulate_logged(
    length: int, batch_size: int, *, every: int, draws: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """The two probabilities, counted: (touches, holds half) over random starts."""
    starts = np.random.default_rng(seed).integers(batch_size * every, size=draws)
    rows = starts[:, None] + np.arange(length)  # (draws, L)
    batches, wanted = rows // batch_size, min(length, batch_size) / 2
    span = batches.max() + 1
    held = np.bincount(
        (np.arange(draws)[:, None] * span + batches).ravel(), minlength=draws * span
    ).reshape(draws, span)
    largest = held[:, ::every].max(axis=1)
    return float(np.mean(largest > 0)), float(np.mean(largest >= wanted))


def buffer_share(length: int, size: int) -> float:
    """Largest mean share of a pure segment in a shuffle buffer's output: 1 - exp(-L/K).

    For a segment that starts after row K; the row counts give 1 - (1 - 1/K)^L. One that starts
    with a of its rows in the first fill keeps more, 1 - (1 - a/K)(1 - 1/K)^(L - a), and a buffer of
    the whole file L/N, below which no mean share can fall. `buffer_profile` has it all.
    """
    return -math.expm1(-length / size)


def buffer_profile(n: int, size: int, *, start: int, stop: int) -> np.ndarray:
    """Mean share of rows start .. stop-1 at each place of the output of `order.buffer`, (n,), exact for any K and segment.

    The buffer's mean content m obeys m <- m (1 - 1/K) + [the next row is inside], an exponential
    moving average; each draw takes a random one of its K rows.
    """
    inside, size = (np.arange(n) >= start) & (np.arange(n) < stop), min(size, n)
    content, profile = float(inside[:size].sum()), np.empty(n)
    for i in range(n - size):
        profile[i] = content / size
        content += inside[size + i] - content / size
    profile[n - size :] = content / size
    return profile


def simulate_buffer(
    n: int, size: int, *, start: int, stop: int, shuffles: int = 100, seed: int = 0
) -> np.ndarray:
    """The same profile (n,), counted: mean over `shuffles` real ones, place by place.

    Average over batches before looking for the largest (`batch_shares`): that of a single shuffle
    is biased upwards by its noise.
    """
    rows = np.stack([order.buffer(n, seed, epoch, size=size) for epoch in range(shuffles)])
    return np.mean((rows >= start) & (rows < stop), axis=0)


def batch_shares(profile: np.ndarray, batch_size: int) -> np.ndarray:
    """Mean of a profile (N,) over each whole batch. A buffer's largest lies about B p (1 - p) / (2 K), or more, below the profile's peak p."""
    return profile[: len(profile) // batch_size * batch_size].reshape(-1, batch_size).mean(axis=1)


def expected_dispersion(profile: np.ndarray, batch_size: int) -> float:
    """Mean of `order.dispersion_index` for an order with these probabilities (N,) of a member at each place.

    D = [Var over batches of their mean q + mean of q (1 - q) / B] / [p (1 - p) / B], p the mean of q:
    1 for a constant q (a shuffle; exactly (N - B)/(N - 1), since rows are not put back), B for a
    sorted file whose segments fill whole batches, about 1 + (B - 1) Var(q) / (p (1 - p)) in between.
    """
    shares = batch_shares(profile, batch_size)
    q = profile[: len(shares) * batch_size]
    p = q.mean()
    return float((shares.var() + (q * (1 - q)).mean() / batch_size) / (p * (1 - p) / batch_size))


def sorted_dispersion(lengths: Sequence[int], n: int, *, batch_size: int) -> float:
    """Mean of D over where segments of these lengths start in a file of n rows: a little under B.

    [sum g(L/B) B/n - p^2] / [p (1 - p) / B] with g(r) = r - 1/3 from r = 1, else r^2 - r^3/3: what a
    batch that the segment only partly fills takes away. For segments that never share a batch.
    """
    r, p = np.asarray(lengths) / batch_size, sum(lengths) / n
    squares = np.where(r >= 1, r - 1 / 3, r**2 - r**3 / 3).sum() * batch_size / n
    return float((squares - p**2) / (p * (1 - p) / batch_size))


def simulate_dispersion(
    kind: str, member: np.ndarray, *, batch_size: int, shuffles: int = 50, seed: int = 0
) -> float:
    """Mean dispersion index of `shuffles` orders of a kind (see `order.make`), for a group of the file's rows, `member` (N,)."""
    member = np.asarray(member, bool)
    return float(
        np.mean(
            [
                order.dispersion_index(
                    member[order.make(kind, len(member), seed=seed + i)], batch_size
                )
                for i in range(shuffles)
            ]
        )
    )


def token_mean(sums: np.ndarray, counts: np.ndarray) -> float:
    """Loss of the whole batch from sums (M,) and tokens (M,) of its micro-batches: sum / sum, in nats. `ValueError` without a token."""
    if not np.sum(counts) > 0:
        raise ValueError("there is no token to take a mean over: all counts are 0.")
    return float(np.sum(sums) / np.sum(counts))


def mean_of_means(sums: np.ndarray, counts: np.ndarray) -> float:
    """What the usual code reports instead: mean of sum / count over the micro-batches with tokens. `ValueError` without one."""
    sums, counts = np.asarray(sums, float), np.asarray(counts, float)
    if not (counts > 0).any():
        raise ValueError("there is no token to take a mean over: all counts are 0.")
    return float(np.mean(sums[counts > 0] / counts[counts > 0]))


def accumulation_bias(sums: np.ndarray, counts: np.ndarray) -> float:
    """mean_of_means - token_mean = -Cov(n, m) / mean(n), n tokens and m means of the micro-batches, population covariance; in nats.

    Also -corr(n, m) (deviation of n / mean n) (deviation of m): nothing where all n, or all m, are
    equal, or where the two do not go together. Positive where short answers are the hard ones.
    """
    n, s = (np.asarray(x, float)[np.asarray(counts) > 0] for x in (counts, sums))
    return float(-np.mean((n - n.mean()) * (s / n - (s / n).mean())) / n.mean())


def resume_rows(n: int, fraction: float) -> float:
    """Rows read twice in an epoch that goes on in another order at `fraction` f: f (1 - f) N, in expectation.

    As many are never read. It suffices that one of the orders is a random one: file order after a
    shuffle, as MiniMind resumed until 2026-01-18, loses as much.
    """
    return fraction * (1 - fraction) * n


def simulate_resume(
    n: int, fraction: float, *, kind: str = "shuffle", draws: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Rows read twice and rows never read, means over `draws`: a shuffle up to the fraction, then an order of `kind`."""
    done, twice, never = round(fraction * n), [], []
    for i in range(seed, seed + draws):
        times = np.bincount(order.shuffle(n, i, 0)[:done], minlength=n) + np.bincount(
            order.make(kind, n, seed=i, epoch=1)[done:], minlength=n
        )
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
    """Adam's square-root rule for a batch k times as large: sqrt(k) lr, 1 - beta becomes k (1 - beta), eps / sqrt(k).

    Source: Malladi et al., arXiv 2205.10287. It is a limit of small steps: raises `ValueError` beyond
    k = 1 / (1 - beta1), where no beta is left (10 for the usual 0.9).
    """
    scaled = tuple(1 - k * (1 - beta) for beta in betas)
    if k <= 0 or min(scaled) < 0:
        raise ValueError(
            f"the rule turns betas {betas} into {scaled} at k = {k:g}; k must lie in 0 .. {1 / (1 - min(betas)):g}."
        )
    return AdamSettings(math.sqrt(k) * learning_rate, (scaled[0], scaled[1]), eps / math.sqrt(k))


def linear_lr(learning_rate: float, k: float) -> float:
    """The linear rule, for SGD, for a batch k times as large: k lr (Goyal et al., arXiv 1706.02677)."""
    return k * learning_rate


def same_half_life(beta: float, k: float) -> float:
    """beta^k: the moment's half-life, counted in tokens, stays the same at a batch k times as large (Marek et al., arXiv 2507.07101)."""
    return beta**k


@dataclass(frozen=True)
class NoiseScale:
    """Of a gradient: squared norm of its mean, trace of its covariance per row, and their ratio, in rows."""

    signal: float  # |G|^2
    trace: float  # tr Sigma

    @property
    def simple(self) -> float:
        """B_simple = tr Sigma / |G|^2: the batch at which noise and signal are equal."""
        return self.trace / self.signal


def noise_scale(
    small_norms: np.ndarray, big_norms: np.ndarray, *, small: int, big: int
) -> NoiseScale:
    """From gradient norms at two batch sizes, (any number,) each, since E|G_B|^2 = |G|^2 + tr Sigma / B.

    Source: McCandless et al., arXiv 1812.06162, appendix A.1. Both parts are unbiased for
    independent rows, their ratio is not: give many norms. On sorted data rows of a batch are alike,
    and it is wrong. Raises `ValueError` unless small < big.
    """
    if not 0 < small < big:
        raise ValueError(f"two batch sizes are needed, small < big, got {small} and {big}.")
    s, b = float(np.mean(np.square(small_norms))), float(np.mean(np.square(big_norms)))
    return NoiseScale((big * b - small * s) / (big - small), (s - b) / (1 / small - 1 / big))


def simulate_gradient_norms(
    signal: float,
    trace: float,
    *,
    batch_size: int,
    dim: int = 100,
    draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Norms (draws,) of means of B independent normal gradients with |G|^2 = signal and tr Sigma = trace."""
    rng = np.random.default_rng([seed, batch_size])
    mean = np.full(dim, math.sqrt(signal / dim))
    return np.linalg.norm(
        mean + rng.normal(0, math.sqrt(trace / dim / batch_size), (draws, dim)), axis=1
    )
