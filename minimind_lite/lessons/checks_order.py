"""Checks of the exercises on shuffling (lesson 05) and on batch size (lesson 06); in the manner of `exercises`.

Right answers are worked out from the laws, so they stay right when a number in an exercise is changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minimind_lite import order
from minimind_lite.lessons.base import verdict
from minimind_lite.lessons.checks import NOT_YET, is_number
from minimind_lite.science import laws


def _number(
    value: object,
    right: float,
    *,
    tolerance: float,
    slips: Mapping[str, float],
    advice: str,
    success: str,
) -> bool:
    """Right within `tolerance`; otherwise the first of the `slips` (advice -> wrong value) that it is near, else the general advice."""
    if value is None:
        return verdict([NOT_YET], "")
    if not is_number(value):
        return verdict([f"expected a number, got {value!r}."], "")
    if abs(value - right) <= tolerance:
        return verdict([], success)
    said = next((text for text, wrong in slips.items() if abs(value - wrong) <= tolerance), advice)
    return verdict([f"{value:g} is not it. {said}"], "")


# Lesson 05


def check_buffer_size(size: int | None, *, length: int = 256, share: float = 0.2) -> bool:
    """The smallest buffer K that keeps the expected peak share of `length` rows at `share` or less: within 5 % above."""
    if size is None:
        return verdict([NOT_YET], "")
    if not is_number(size) or not size > 0:
        return verdict([f"expected a positive number of rows, got {size!r}."], "")
    least, found = -length / math.log1p(-share), laws.buffer_share(length, size)
    problems = []
    if size < math.floor(least):
        problems.append(
            f"K = {size:g} lets the share rise to {found:.0%}. Solve 1 - exp(-L/K) = {share:g} for K."
        )
    if size > 1.05 * least + 1:
        problems.append(
            f"K = {size:g} is enough ({found:.0%}), but a smaller one is, too. Solve 1 - exp(-L/K) = {share:g} for K."
        )
    return verdict(
        problems,
        f"Right: K = {math.ceil(least)} rows, {math.ceil(least) / length:.1f} times the segment, for a peak of {share:.0%}.",
    )


def check_dispersion(value: float | None, member: Sequence[int], batch_size: int) -> bool:
    """Dispersion index of a toy order: `member` says, in training order, which rows are odd."""
    odd = np.array(member, bool)
    shares, p = odd.reshape(-1, batch_size).mean(axis=1), float(odd.mean())
    slips = {
        "That is the variance over the batches; divide it by what chance gives, p (1 - p) / B.": float(
            shares.var()
        ),
        "You divided by n - 1 batches in the variance; D is defined with n.": float(
            shares.var(ddof=1) / (p * (1 - p) / batch_size)
        ),
        "You left out the B under p (1 - p): a batch of B rows varies less than a row.": float(
            shares.var() / (p * (1 - p))
        ),
    }
    listed = ", ".join(f"{s:g}" for s in shares)
    return _number(
        value,
        order.dispersion_index(odd, batch_size),
        tolerance=0.02,
        slips=slips,
        advice=f"The batches' shares are {listed}; p = {p:g}. Variance of the shares over p (1 - p) / B.",
        success=f"Right: shares {listed}, variance {shares.var():.4g}, chance {p * (1 - p) / batch_size:.4g}.",
    )


def check_never_read(rows: float | None, *, n: int = 10_000, fraction: float = 0.3) -> bool:
    """Rows never read in an epoch of `n` that is broken off at `fraction` and goes on in another random order."""
    slips = {
        "That many rows were read before the break; some of them come again, others not.": fraction
        * n,
        "That many are left to read after the break; not all of them are new.": (1 - fraction) * n,
        "Those are the rows that neither half holds if each row had two chances of f; the second half has 1 - f.": (
            1 - fraction
        )
        ** 2
        * n,
    }
    return _number(
        rows,
        laws.resume_rows(n, fraction),
        tolerance=0.005 * n,
        slips=slips,
        advice="Never read: not in the first part (chance 1 - f), and among the rows that the new order skips (chance f).",
        success=f"Right: {laws.resume_rows(n, fraction):,.0f} rows are never read, and as many are read twice.",
    )


# Lesson 06


def check_turnover(batch_size: float | None, *, length: int = 200) -> bool:
    """The batch size at which the expected z of a segment of `length` rows with equal tokens is largest."""
    z = {b: laws.expected_z(1.0, 1.0, length=length, batch_size=b) for b in range(1, 4 * length)}
    right = max(z, key=z.get)
    slips = {
        "Up to there a batch fits wholly inside; z still rises beyond it, more slowly.": length / 2,
        "There the best case is a batch that is exactly the segment; on average over its start, z is past its top.": length,
    }
    return _number(
        batch_size,
        right,
        tolerance=0.02 * length,
        slips=slips,
        advice="Try laws.expected_z(1, 1, length=..., batch_size=b) for many b, or differentiate sqrt(B) (r - r^2/4), r = L/B.",
        success=f"Right: z is largest at B = {right}, {right / length:.2f} of the segment.",
    )


def check_noise_ratio(ratio: float | None, *, small: int = 4, large: int = 64) -> bool:
    """How many times as noisy a curve of batches of `small` is as one of batches of `large`."""
    slips: dict[str, float] = {
        "That is the ratio of the batch sizes; noise goes with its square root.": large / small,
        "The other way round: fewer rows in a mean, more noise.": math.sqrt(small / large),
    }
    return _number(
        ratio,
        math.sqrt(large / small),
        tolerance=0.05,
        slips=slips,
        advice="The deviation of a mean of B rows is sigma / sqrt(B).",
        success=f"Right: sqrt({large}/{small}) = {math.sqrt(large / small):g}.",
    )


def check_height(
    nats: float | None, *, delta: float = 1.3, length: int = 64, batch_size: int = 256
) -> bool:
    """Expected height in nats of a segment that is `delta` harder, with equal tokens, in batches larger than it."""
    r = length / batch_size
    shape: Callable[[float], float] = laws.peak_share
    slips = {
        "That is the height of a batch wholly inside; here a batch has other rows, too.": delta,
        "That is the best case, all rows of the segment in one batch; often its start splits it over two.": delta
        * r,
        "The share alone; times delta.": shape(r),
    }
    return _number(
        nats,
        delta * shape(r),
        tolerance=0.006,
        slips=slips,
        advice="Height = delta times the peak share r - r^2/4, with r = L/B.",
        success=f"Right: r = {r:g}, share {shape(r):.3f}, height {delta * shape(r):.2f} nats.",
    )
