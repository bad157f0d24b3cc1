"""How large an effect is, and how sure: Student-t intervals over seeds, of values and of paired differences.

Five seeds are few. A percentile bootstrap of five values covers about 84 % where it says 95; the
t interval covers what it says, for means of anything near normal. Two variants that were run on
the same layouts are compared in pairs, so that what a layout adds to both drops out.

    n values, one per seed
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval, in the unit of the values (of `ratio`: none)."""

    mean: float
    low: float
    high: float
    n: int  # values, or pairs

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int = 2, *, sign: str = "+") -> str:
        """In figures; the mean alone where one seed leaves the interval endless. `sign` "" leaves a plus out."""
        if not math.isfinite(self.low):
            return f"{self.mean:{sign}z.{digits}f} (one seed)"
        return f"{self.mean:{sign}z.{digits}f} [{self.low:z.{digits}f}, {self.high:z.{digits}f}]"

    def excludes(self, value: float) -> bool:
        """The whole interval lies on one side of `value`."""
        return value < self.low or self.high < value

    def below(self, x: float) -> bool:
        """The whole interval lies below x."""
        return self.high < x

    def above(self, x: float) -> bool:
        """The whole interval lies above x."""
        return self.low > x

    def within(self, low: float, high: float) -> bool:
        """The whole interval lies in low .. high: an effect shown to be that small, not one that was merely not found."""
        return low <= self.low and self.high <= high


def mean_interval(values: Values, *, level: float = 0.95) -> Interval:
    """Mean of n values and its two-sided Student-t interval: mean ± t((1 + level)/2, n - 1) s / sqrt(n).

    s is the sample's standard deviation (n - 1 in the denominator). Source: Student, Biometrika 6
    (1908). Raises `ValueError` for fewer than two values, or one that is not finite.
    """
    x = _checked(values, "value")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}; 0.95 is usual.")
    from scipy.stats import (
        t,
    )  # here, since training needs no statistics, and a second to load is long

    half = float(t.ppf((1 + level) / 2, len(x) - 1)) * x.std(ddof=1) / math.sqrt(len(x))
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


def paired(a: Values, b: Values, *, level: float = 0.95) -> Interval:
    """Mean of the differences a - b, pair by pair (n,), with its interval.

    Pair i of both must be of one seed. Raises `ValueError` for other lengths, fewer than two
    pairs, or a pair with a value that is not finite.
    """
    a, b = _pairs(a, b)
    return mean_interval(a - b, level=level)


def ratio(a: Values, b: Values, *, level: float = 0.95) -> Interval:
    """Geometric mean of a / b, pair by pair (n,), with its interval: exp of the interval of ln a - ln b.

    1 is no effect. Raises `ValueError` as `paired` does, and for a value that is not positive.
    """
    a, b = _pairs(a, b)
    if (a <= 0).any() or (b <= 0).any():
        raise ValueError(
            f"a ratio needs positive values, got {a.min():g} and {b.min():g} at the least; take `paired` differences."
        )
    log = mean_interval(np.log(a) - np.log(b), level=level)
    return Interval(math.exp(log.mean), math.exp(log.low), math.exp(log.high), log.n)


def _checked(values: Values, what: str) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(
            f"an interval needs at least two {what}s in one dimension, got shape {x.shape}; run more seeds."
        )
    if not np.isfinite(x).all():
        raise ValueError(
            f"{what} {', '.join(map(str, np.flatnonzero(~np.isfinite(x))))} (from 0) of {len(x)} is not finite; "
            "leave its seed out on purpose, or find out why."
        )
    return x


def _pairs(a: Values, b: Values) -> tuple[np.ndarray, np.ndarray]:
    if len(a) != len(b):
        raise ValueError(
            f"pairs need as many values on both sides, got {len(a)} and {len(b)}; match them by seed."
        )
    _checked(np.asarray(a, float) + np.asarray(b, float), "pair")
    return np.asarray(a, float), np.asarray(b, float)
