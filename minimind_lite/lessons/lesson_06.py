"""Lesson 06: what a batch size does to a spike."""

from __future__ import annotations

import math

from minimind_lite.lessons.checks import Exercise
from minimind_lite.science import laws


def check_noise_ratio(answer: object, *, small: int = 4, large: int = 64) -> bool:
    """How many times as noisy a curve of batches of `small` is as one of batches of `large`."""
    right = math.sqrt(large / small)
    slips = {"no_root": large / small, "inverse": 1 / right}
    values = {"small": small, "large": large}
    return Exercise("06-1").check_number(answer, right, tolerance=0.05, slips=slips, values=values)


def check_height(
    answer: object, *, delta: float = 1.3, length: int = 64, batch_size: int = 256
) -> bool:
    """Expected height in nats of a segment that is `delta` harder, in batches larger than it."""
    r = length / batch_size
    share = float(laws.peak_share(r))
    slips, values = {"inside": delta, "best": delta * r, "share": share}, {"r": r, "share": share}
    return Exercise("06-2").check_number(
        answer, delta * share, tolerance=0.006, slips=slips, values=values
    )


def check_turnover(answer: object, *, length: int = 200) -> bool:
    """The batch size at which the expected z of a segment of `length` rows is largest."""
    sizes = range(1, 4 * length)
    right = max(sizes, key=lambda b: laws.expected_z(1.0, 1.0, length=length, batch_size=b))
    slips, values = {"half": length / 2, "whole": length}, {"share": right / length}
    return Exercise("06-3").check_number(
        answer, right, tolerance=0.02 * length, slips=slips, values=values
    )
