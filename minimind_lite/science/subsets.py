"""The distribution of a token mean over random subsets of rows, for many pools at once.

An exact permutation test asks how many subsets of a pool have a mean as high as one of them. There
are 10^30 ways to take 16 rows of 496, so the share is approximated, not counted. Given how many
rows were chosen, independent choices make every subset as likely as any other, and a double
saddlepoint approximation is close far out in the tail: Skovgaard, J. Appl. Prob. 24 (1987); Booth
and Butler, Biometrika 77 (1990). The tests hold it to counts and to draws.

    S pools   n rows of a pool
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minimind_lite.science.laws import sum_losses

NEWTON_STEPS = 60  # a bound; a handful is usual
CHUNK = 1 << 18  # rows of pools that are worked on at once


@dataclass(frozen=True, eq=False)
class Pools:
    """Consecutive rows of a series; the last `sizes` rows of each are judged, (S,) each."""

    starts: np.ndarray  # first row
    stops: np.ndarray  # one past the last
    sizes: np.ndarray  # rows that are judged


def share_as_high(losses: np.ndarray, tokens: np.ndarray, *, pools: Pools) -> np.ndarray:
    """Share of the subsets of a pool that have a token mean as high as its last rows, (S,).

    A subset has as many rows as are judged. From losses (N,), token means of rows in nats, and
    their tokens (N,). 1 where the judged rows have no token, or all rows the same loss; never below
    1 / (number of subsets).
    """
    from scipy.special import gammaln, ndtr

    sums, p = sum_losses(losses, tokens), np.ones(len(pools.starts))
    totals, counts = (np.concatenate([[0], np.cumsum(values)]) for values in (sums, tokens))
    starts, stops, sizes = pools.starts, pools.stops, pools.sizes
    judged = counts[stops] - counts[stops - sizes]
    # A subset is as high where its tokens' losses above this level sum to 0 or more.
    level = (totals[stops] - totals[stops - sizes]) / np.maximum(judged, 1)
    widths = stops - starts
    for part in _chunks(np.flatnonzero((judged > 0) & (widths > sizes)), widths):
        n, size, offsets = widths[part], sizes[part], np.arange(widths[part].max())
        inside = offsets < n[:, None]  # (S, n)
        rows = np.minimum(starts[part, None] + offsets, len(sums) - 1)
        excess = np.where(inside, sums[rows] - tokens[rows] * level[part, None], 0.0)
        fewest = np.exp(gammaln(size + 1) + gammaln(n - size + 1) - gammaln(n + 1))
        p[part] = np.maximum(ndtr(-_tail_score(excess, inside, sizes=size)), fewest)
    return p


def _chunks(tests: np.ndarray, widths: np.ndarray) -> Iterator[np.ndarray]:
    """Tests (S,) in parts of about CHUNK rows."""
    if len(tests):
        at_once = max(1, CHUNK // int(widths[tests].max()))
        yield from np.split(tests, range(at_once, len(tests), at_once))


def _tail_score(excess: np.ndarray, inside: np.ndarray, *, sizes: np.ndarray) -> np.ndarray:
    """Normal score r (S,) of the share of subsets whose `excess` (S, n) sums to 0 or more.

    The share is 1 - Phi(r), r = w + log(u/w)/w. `inside` (S, n) marks the rows of the pools,
    `sizes` (S,) counts those of a subset.
    """
    n = inside.sum(axis=1)
    mean = excess.sum(axis=1) / n
    x = np.where(inside, excess - mean[:, None], 0.0)
    sigma = np.sqrt((x**2).sum(axis=1) / n)
    spread = sigma > 1e-12 * np.maximum(np.abs(excess).max(axis=1), 1e-300)
    x = x / np.where(spread, sigma, 1.0)[:, None]
    target = -sizes * mean / np.where(spread, sigma, 1.0)
    share = sizes / n
    a, b, information = _saddlepoint(x, inside, sizes=sizes, target=target)
    chosen = np.log1p(share[:, None] * np.expm1(np.minimum(a[:, None] + b[:, None] * x, 700.0)))
    cumulant = np.where(inside, chosen, 0.0).sum(axis=1)
    w = np.sign(b) * np.sqrt(2 * np.maximum(a * sizes + b * target - cumulant, 0.0))
    u = b * np.sqrt(np.maximum(information, 0.0) / (sizes * (1 - share)))
    usable = (np.abs(w) > 1e-4) & (u / np.where(w == 0, 1.0, w) > 1e-12)
    ratio, safe_w = np.where(usable, u / np.where(w == 0, 1.0, w), 1.0), np.where(usable, w, 1.0)
    return np.where(spread, w + np.log(ratio) / safe_w, -np.inf)


def _saddlepoint(
    x: np.ndarray, inside: np.ndarray, *, sizes: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tilts a, b (S,) under which independent choices of rows hit size and sum on average.

    A row is chosen with the odds size / (n - size) exp(a + b x). Damped Newton steps; also the
    determinant of the information (S,).
    """
    from scipy.special import expit

    odds = np.log(sizes / (inside.sum(axis=1) - sizes))
    a, b, determinant = np.zeros((3, len(x)))
    active = np.arange(len(x))
    for _ in range(NEWTON_STEPS):
        y = x[active]
        chance = inside[active] * expit((odds + a)[active, None] + b[active, None] * y)
        weight = chance * (1 - chance)
        off_size = chance.sum(axis=1) - sizes[active]
        off_sum = (chance * y).sum(axis=1) - target[active]
        weighted = weight * y
        aa, ab, bb = weight.sum(axis=1), weighted.sum(axis=1), (weighted * y).sum(axis=1)
        determinant[active] = aa * bb - ab**2
        scale = np.maximum(determinant[active], 1e-30)
        step_a = (bb * off_size - ab * off_sum) / scale
        step_b = (aa * off_sum - ab * off_size) / scale
        decrement = np.sqrt(np.maximum(step_a * off_size + step_b * off_sum, 0.0))
        damping = np.where(decrement > 0.25, 1 / (1 + decrement), 1.0)
        a[active] -= damping * step_a
        b[active] -= damping * step_b
        active = active[decrement > 1e-8]
        if not len(active):
            break
    return a, b, determinant
