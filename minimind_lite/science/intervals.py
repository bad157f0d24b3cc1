"""How large an effect is, and how sure: Student-t intervals over seeds.

Five seeds are few. A percentile bootstrap of five values covers about 84 % where it says 95. The
t interval covers what it says, for means of anything near normal. Two variants that ran on the
same layouts are compared in pairs: an interval of their differences, so what a layout adds to both
drops out.

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
    """A mean and its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float
    n: int  # values, or pairs

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int = 2, *, sign: str = "+") -> str:
        """In figures; the mean alone for a single seed. `sign` "" leaves a plus out."""
        if not math.isfinite(self.low):
            return f"{self.mean:{sign}z.{digits}f} (one seed)"
        return f"{self.mean:{sign}z.{digits}f} [{self.low:z.{digits}f}, {self.high:z.{digits}f}]"

    def excludes(self, value: float) -> bool:
        """The whole interval lies on one side of `value`."""
        return value < self.low or self.high < value

    def below(self, value: float) -> bool:
        """The whole interval lies below `value`."""
        return self.high < value

    def above(self, value: float) -> bool:
        """The whole interval lies above `value`."""
        return self.low > value

    def within(self, low: float, high: float) -> bool:
        """The whole interval lies in low .. high: the effect is shown to be that small."""
        return low <= self.low and self.high <= high


def mean_interval(values: Values, *, level: float = 0.95) -> Interval:
    """Mean of n values and its two-sided Student-t interval: mean ± t((1 + level)/2, n - 1) s / √n.

    s is the sample's standard deviation (n - 1 in the denominator). Source: Student, Biometrika 6
    (1908). Raises `ValueError` for fewer than two values, or one that is not finite.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(
            "an interval needs at least two values in one dimension, "
            f"got shape {x.shape}; run more seeds."
        )
    if not np.isfinite(x).all():
        bad = ", ".join(map(str, np.flatnonzero(~np.isfinite(x))))
        raise ValueError(
            f"value {bad} (from 0) of {len(x)} is not finite; leave its seed out on purpose, "
            "or find out why."
        )
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}; 0.95 is usual.")
    # Imported here: training needs no statistics, and loading them takes a second.
    from scipy import stats

    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1) * stats.sem(x))
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


def interval_over_seeds(values: Values) -> Interval:
    """The 95 % interval; unbounded for a single seed, so that no rule can decide on it."""
    if len(values) == 1:
        return Interval(float(values[0]), -math.inf, math.inf, 1)
    return mean_interval(values)
