"""Lesson 05: what an order does to the batches, as a law."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minimind_lite.lessons.checks import Exercise, is_number
from minimind_lite.science import laws


def check_buffer_size(answer: object, *, length: int = 256, share: float = 0.2) -> bool:
    """The smallest buffer K that keeps the expected peak share of `length` rows at `share`.

    A buffer up to 5 % larger is right, too.
    """
    exercise = Exercise("05-1")
    if not is_number(answer) or answer < 1:
        return exercise.refuse(answer)
    least, peak, problems = -length / math.log1p(-share), laws.buffer_share(length, answer), []
    if answer < math.floor(least):
        problems.append(exercise.say("small", size=answer, peak=peak, share=share))
    if answer > 1.05 * least + 1:
        problems.append(exercise.say("large", size=answer, peak=peak, share=share))
    rows = math.ceil(least)
    return exercise.verdict(problems, least=rows, times=rows / length, share=share)


def check_dispersion(answer: object, member: Sequence[int], *, batch_size: int) -> bool:
    """Dispersion index of a toy order.

    `member` says, in training order, which rows are off-domain.
    """
    rows = np.array(member, dtype=bool)
    shares, p = rows.reshape(-1, batch_size).mean(axis=1), float(rows.mean())
    variance, chance = float(shares.var()), p * (1 - p) / batch_size
    slips = {
        "variance": variance,
        "sample": float(shares.var(ddof=1)) / chance,
        "no_batch": variance / (p * (1 - p)),
    }
    listed = ", ".join(f"{share:g}" for share in shares)
    values = {"shares": listed, "p": p, "variance": variance, "chance": chance}
    right = laws.dispersion_index(rows, batch_size)
    return Exercise("05-2").check_number(answer, right, tolerance=0.02, slips=slips, values=values)


def check_never_read(answer: object, *, n: int = 10_000, fraction: float = 0.3) -> bool:
    """Rows never read in an epoch of `n` that stops at `fraction` and goes on in another order."""
    right, tolerance = laws.resume_rows(n, fraction), 0.005 * n
    slips = {"read": fraction * n, "left": (1 - fraction) * n, "twice": (1 - fraction) ** 2 * n}
    return Exercise("05-3").check_number(answer, right, tolerance=tolerance, slips=slips)
