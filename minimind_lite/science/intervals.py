"""How large an effect is, and how sure: Student-t intervals over layouts, and over base models.

Five layouts are few. A percentile bootstrap of five values covers about 84 % where it says 95. The
t interval covers what it says, for means of anything near normal. Two variants that ran on the
same layouts are compared in pairs: an interval of their differences, so what a layout adds to both
drops out. A count gets no interval: it shows its values.

    n values, one per layout   m values of a layout, one per base model
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
    n: int  # layouts: values, or pairs
    bases: int = 1  # base models behind each

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


@dataclass(frozen=True)
class Counts:
    """A count for each layout: its values, for a count has no interval below zero."""

    values: tuple[int, ...]
    of: int | None = None  # how many there could be
    bases: int = 1

    def __str__(self) -> str:
        most = "" if self.of is None else f" of {self.of}"
        return ", ".join(map(str, self.values)) + most

    @property
    def n(self) -> int:
        """Layouts."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Per layout."""
        return sum(self.values) / self.n

    def below(self, value: float) -> bool:
        """Every layout's count is below `value`, and there is more than one layout."""
        return self.n > 1 and max(self.values) < value

    def above(self, value: float) -> bool:
        """Every layout's count is above `value`, and there is more than one layout."""
        return self.n > 1 and min(self.values) > value


Measured = Interval | Counts


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


def interval_over_seeds(values: Values, *, level: float = 0.95) -> Interval:
    """The interval; unbounded for a single seed, so that no rule can decide on it."""
    if len(values) == 1:
        return Interval(float(values[0]), -math.inf, math.inf, 1)
    return mean_interval(values, level=level)


def crossed_interval(values: Values, *, level: float = 0.95) -> Interval:
    """Mean over layouts x base models (n, m), both taken for random, and its interval.

    A value is mean + layout + base + rest, each value's own draw of the rest. With the mean squares
    A of the layouts, B of the bases and E of the rest, the mean's variance is (A + B - E) / nm, and
    it has (A + B - E)^2 / (A^2/(n - 1) + B^2/(m - 1) + E^2/((n - 1)(m - 1))) degrees of freedom
    (Satterthwaite, Biometrics Bulletin 2, 1946). A and B smaller than E are taken for E: no
    variance is below zero. Raises `ValueError` for fewer than two layouts or bases.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 2 or min(x.shape) < 2 or not np.isfinite(x).all():
        raise ValueError(
            f"needs finite values of two layouts and two bases at least, got shape {x.shape}."
        )
    from scipy import stats

    (n, m), mean = x.shape, float(x.mean())
    layouts, bases = x.mean(axis=1) - mean, x.mean(axis=0) - mean
    rest = x - mean - layouts[:, None] - bases
    e = float((rest**2).sum() / ((n - 1) * (m - 1)))
    a = max(e, float(m * (layouts**2).sum() / (n - 1)))
    b = max(e, float(n * (bases**2).sum() / (m - 1)))
    if a + b == 0:
        return Interval(mean, mean, mean, n, m)
    freedom = (a + b - e) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1) + e**2 / ((n - 1) * (m - 1)))
    half = float(stats.t.ppf((1 + level) / 2, freedom) * math.sqrt((a + b - e) / (n * m)))
    return Interval(mean, mean - half, mean + half, n, m)


def level_of_each(n: int, *, together: float = 0.95) -> float:
    """Level of each of n intervals that are to be right together: 1 - (1 - together) / n.

    Bonferroni's correction. Holm's decides a little more, but only for one null value each, and
    has no intervals to show; a rule compares one interval with several margins. What is decided
    here Holm's correction decides as well. Source: Holm, Scandinavian Journal of Statistics 6
    (1979).
    """
    return 1 - (1 - together) / n
