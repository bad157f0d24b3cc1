"""Which term makes the spike, and where: the three terms of `decomposition` over recorded trials.

A seed is a layout. Boundaries of one layout are averaged first, and intervals are over layouts: two
boundaries of one file are not independent. What a frozen model shows cancels over a whole file
(whatever it rises by at one boundary it falls by at others), so a mean over *all* boundaries says
little of it. The question is what makes a spike: a boundary at which the loss rises enough for the
detector, `spikes.MIN_HEIGHT` nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from minimind_lite import segments, spikes
from minimind_lite.records import Run
from minimind_lite.science import decomposition
from minimind_lite.science.bases import BASES, Base
from minimind_lite.science.decomposition import TERMS, Boundary, Terms
from minimind_lite.science.evidence import OTHER_BASES, Evidence, Which
from minimind_lite.science.harm_experiments import EXPOSURES, LENGTHS
from minimind_lite.science.intervals import Interval, crossed_interval, interval_over_seeds
from minimind_lite.science.store import MissingTrials
from minimind_lite.segments import CHINESE, MAIN, Segment

SAME_KIND = ("", *(f", {base}" for base in OTHER_BASES))  # bases, behind the names of variants


@dataclass(frozen=True)
class TermIntervals:
    """A height and its terms over seeds, nats; the means add up as the terms of one file do."""

    height: Interval
    unfamiliar: Interval
    transferred: Interval
    specialized: Interval
    lead: Interval  # of the largest term over the next, seed by seed

    @classmethod
    def over_seeds(cls, per_seed: Sequence[Terms]) -> TermIntervals:
        """From the terms of each seed."""
        return cls.over_bases([[terms] for terms in per_seed])

    @classmethod
    def over_bases(cls, per_seed: Sequence[Sequence[Terms]]) -> TermIntervals:
        """From the terms of each base model in each seed; with several, over both."""
        values = np.array([[astuple(terms) for terms in of_bases] for of_bases in per_seed])
        means = values.mean(axis=(0, 1))
        second, first = np.argsort(means[1:])[-2:] + 1
        height, *terms = (_interval(values[..., i]) for i in range(len(means)))
        lead = _interval(values[..., first] - values[..., second])
        return cls(height, terms[0], terms[1], terms[2], lead)

    @property
    def dominant(self) -> str:
        """The term with the largest mean: what makes the height, if `lead` is above zero."""
        return max(TERMS, key=lambda name: self.term(name).mean)

    def term(self, name: str) -> Interval:
        """By name, one of `TERMS`."""
        return getattr(self, name)


def _interval(values: np.ndarray) -> Interval:
    """Of values (seeds, bases)."""
    if 1 in values.shape:
        return interval_over_seeds(values.mean(axis=1))
    return crossed_interval(values)


def mean_terms(terms: Sequence[Terms]) -> Terms:
    """Their mean, each term by itself; the mean of the heights is still the sum."""
    return Terms(*np.mean([astuple(each) for each in terms], axis=0).tolist())


def by_segment(
    evidence: Evidence, trained: Which, frozen: Which, *, ends: bool = False, bases: bool = False
) -> dict[str, TermIntervals]:
    """The terms where each segment or block starts, or where it `ends`, by label; tallest first.

    Over the seeds that have such a boundary; the first block of a file has no start. With `bases`,
    over base models of other pretraining seeds as well. Raises `MissingTrials` where no seed has
    all.
    """
    pairs = [
        ((trained[0], trained[1] + base), (frozen[0], frozen[1] + base))
        for base in (SAME_KIND if bases else SAME_KIND[:1])
    ]
    per_label: dict[str, list[list[Terms]]] = {}
    for seed in evidence.common(*(which for pair in pairs for which in pair)):
        of_seed: dict[str, list[Terms]] = {}
        for pair in pairs:
            for label, terms in _of_segments(*_file(evidence, *pair, seed), ends=ends):
                of_seed.setdefault(label, []).append(terms)
        for label, of_bases in of_seed.items():
            per_label.setdefault(label, []).append(of_bases)
    table = {label: TermIntervals.over_bases(values) for label, values in per_label.items()}
    return dict(sorted(table.items(), key=lambda item: -item[1].height.mean))


def _of_segments(
    run: Run, boundaries: Sequence[Boundary], *, ends: bool
) -> Iterator[tuple[str, Terms]]:
    """Label and terms of the boundaries at which a listed segment starts or ends."""
    listed = segments.of_run(run)
    for boundary in boundaries:
        segment = boundary.before if ends else boundary.after
        if segment in listed:
            yield segment.label, boundary.terms


@dataclass(frozen=True)
class Regime:
    """One kind of file under one kind of base model."""

    exposure: str  # one of EXPOSURES
    chinese: int  # Chinese conversations that this base model has read in pretraining
    length: int  # one of LENGTHS: conversations of a block, at most
    boundaries: TermIntervals | None  # over all boundaries; None where no file has any
    after_chinese: TermIntervals | None  # over those where a Chinese block ends
    after_others: TermIntervals | None  # over those where a block of another domain ends
    spikes: TermIntervals | None  # over those that rise by MIN_HEIGHT
    n_boundaries: float  # of a file, mean over the seeds
    n_spikes: float


def regime_map(evidence: Evidence) -> list[Regime]:
    """What the terms are for each exposure and block length that is recorded (E18).

    Raises `MissingTrials` where none is.
    """
    regimes = []
    for exposure in EXPOSURES:
        for length in LENGTHS:
            file, frozen = (("E18", f"{exposure} {length} {kind}") for kind in ("file", "frozen"))
            if _recorded(evidence, file, frozen):
                seeds = evidence.common(file, frozen)
                files = [_file(evidence, file, frozen, seed)[1] for seed in seeds]
                regimes.append(_regime(exposure, length, files))
    if not regimes:
        raise MissingTrials(
            "no trial of E18 is recorded; python -m minimind_lite claims --only E18 makes them."
        )
    return regimes


def _regime(exposure: str, length: int, files: Sequence[Sequence[Boundary]]) -> Regime:
    def over(chosen: Callable[[Boundary], bool]) -> TermIntervals | None:
        of_files = [[b.terms for b in boundaries if chosen(b)] for boundaries in files]
        means = [mean_terms(terms) for terms in of_files if terms]
        return TermIntervals.over_seeds(means) if means else None

    base = BASES.get(EXPOSURES[exposure], Base(seed=0))  # else the shipped one: as by default
    return Regime(
        exposure,
        base.chinese + len(CHINESE) * base.reserved,
        length,
        boundaries=over(lambda boundary: True),
        after_chinese=over(_after_chinese),
        after_others=over(lambda boundary: not _after_chinese(boundary)),
        spikes=over(_rises),
        n_boundaries=float(np.mean([len(boundaries) for boundaries in files])),
        n_spikes=float(np.mean([sum(map(_rises, boundaries)) for boundaries in files])),
    )


def _rises(boundary: Boundary) -> bool:
    return boundary.terms.height >= spikes.MIN_HEIGHT


def _after_chinese(boundary: Boundary) -> bool:
    return boundary.before.domain in (MAIN, *CHINESE)


# Can the heights of a trained run be told from a frozen one? (E15)


@dataclass(frozen=True)
class Point:
    """One segment or block in one file, under one base model."""

    family: str  # "mixed": short segments in Chinese; "blocks": whole domains end to end
    seed: int  # of the layout
    label: str
    terms: Terms  # a frozen model's height is `unfamiliar`
    held_out: float  # change of its domain's held-out loss before it, nats; NaN: not measured


@dataclass(frozen=True)
class Fit:
    """A line through points: height of the trained run = slope · height of the frozen + intercept.

    By the identity the frozen height misses exactly transferred + specialized. Both are of the very
    rows of the height. What can be known of them from other rows is how the domain's held-out loss
    had changed before.
    """

    n: int  # points
    files: int  # layouts
    slope: float
    intercept: float  # nats
    r_squared: float  # of the line
    r_squared_as_is: float  # of the frozen height itself as the prediction; below 0: worse than
    # the mean of all heights
    slopes: Interval  # of lines through the points of one layout each
    residual: float  # standard deviation around the line, nats
    by_held_out: float  # share of the residuals' variance that the change of held-out loss
    # explains, of the points that have it; NaN where fewer than three have


def frozen_against_trained(evidence: Evidence) -> dict[str, list[Point]]:
    """A point for every start of a segment or block in E1, E17 and E18, by family.

    What is not recorded is left out.
    """
    pairs = {
        "mixed": [("E1", f"file{base}", f"frozen{base}") for base in SAME_KIND],
        "blocks": [("E17", f"blocks, file{base}", f"blocks, frozen{base}") for base in SAME_KIND]
        + [("E18", f"{e} {n} file", f"{e} {n} frozen") for e in EXPOSURES for n in LENGTHS],
    }
    return {
        family: [
            point
            for experiment, file, frozen in which
            for point in _points(evidence, family, (experiment, file), (experiment, frozen))
        ]
        for family, which in pairs.items()
    }


def _points(evidence: Evidence, family: str, trained: Which, frozen: Which) -> Iterator[Point]:
    seeds = evidence.common(trained, frozen) if _recorded(evidence, trained, frozen) else []
    for seed in seeds:
        run = evidence.trial(*trained, seed).run
        of_label = {segment.label: segment for segment in segments.of_run(run)}
        terms_of = decomposition.of_runs(run, evidence.trial(*frozen, seed).run)
        for label, terms in terms_of.items():
            yield Point(family, seed, label, terms, _change_before(run, of_label[label]))


def _change_before(run: Run, segment: Segment) -> float:
    """Held-out loss of the segment's domain, last measured before it, minus the first, nats."""
    probe = MAIN if segment.domain in CHINESE else segment.domain
    positions, losses = run.probe(probe)
    before = losses[positions <= np.argmax(segments.share(run, segment) > 0)]
    return float(before[-1] - before[0]) if len(before) else float("nan")


def fit(points: Sequence[Point]) -> Fit:
    """The line through the points. Raises `ValueError` for fewer than three points a layout."""
    from scipy import stats

    frozen = np.array([point.terms.unfamiliar for point in points])
    trained = np.array([point.terms.height for point in points])
    seeds = np.array([point.seed for point in points])
    if len(points) < 3 or min(np.bincount(seeds)[np.unique(seeds)]) < 3:
        raise ValueError(f"a line needs three points of each layout, got {len(points)} in all.")
    line = stats.linregress(frozen, trained)
    residuals = trained - (line.slope * frozen + line.intercept)
    held_out = np.array([point.held_out for point in points])
    known = np.isfinite(held_out)
    of_layouts = [
        stats.linregress(frozen[seeds == seed], trained[seeds == seed]).slope
        for seed in np.unique(seeds)
    ]
    return Fit(
        n=len(points),
        files=len(of_layouts),
        slope=float(line.slope),
        intercept=float(line.intercept),
        r_squared=float(line.rvalue**2),
        r_squared_as_is=float(1 - ((trained - frozen) ** 2).mean() / trained.var()),
        slopes=interval_over_seeds(of_layouts),
        residual=float(residuals.std(ddof=2)),
        by_held_out=_explained(residuals[known], held_out[known]),
    )


def _explained(values: np.ndarray, by: np.ndarray) -> float:
    """Share of the variance of some values that a line through another quantity explains."""
    return float(np.corrcoef(values, by)[0, 1] ** 2) if len(values) > 2 else float("nan")


def _recorded(evidence: Evidence, *which: Which) -> bool:
    try:
        return bool(evidence.common(*which))
    except MissingTrials:
        return False


def _file(
    evidence: Evidence, trained: Which, frozen: Which, seed: int
) -> tuple[Run, list[Boundary]]:
    """The trained run of a layout, and its boundaries."""
    run = evidence.trial(*trained, seed).run
    return run, decomposition.at_boundaries(run, evidence.trial(*frozen, seed).run)
