"""Each rule on each side of its margins, by the names of its effects."""

import math

import pytest

from minimind_lite.science import rules
from minimind_lite.science.claims import CLAIMS
from minimind_lite.science.intervals import Interval
from minimind_lite.science.rules import HOLDS, NOT_HERE, OPEN, PART, RULES, WRONG

OPTIMIZERS = tuple(next(c for c in CLAIMS if c.id == "C5").effects)
R7 = tuple(next(c for c in CLAIMS if c.id == "R7").effects)


def around(mean: float, half: float = 0.01) -> Interval:
    return Interval(mean, mean - half, mean + half, 5)


def effects(**means: float) -> dict[str, Interval]:
    return {name.replace("_", " "): around(mean) for name, mean in means.items()}


def r7(change: float, rate: float, height: float) -> dict[str, float]:
    kinds = {"change": change, "rate": rate, "height": height}
    return {name: kinds[name.split()[0]] for name in R7}


CASES = [
    ("C1", dict(jump=1.0, flagged=5.0, domain=0.5), HOLDS),
    ("C1", dict(jump=0.1, flagged=5.0, domain=0.5), WRONG),
    ("C1", dict(jump=1.0, flagged=2.0, domain=0.5), OPEN),
    ("C1", dict(jump=1.0, flagged=5.0, domain=-0.5), OPEN),
    ("C2", dict(nats=0.5, z=9.0, trained=0.0), HOLDS),
    ("C2", dict(nats=-0.5, z=9.0, trained=9.0), PART),
    ("C2", dict(nats=-0.5, z=-9.0, trained=0.0), WRONG),
    ("C3", dict(frozen=1.0, learning=0.1, after=10.0, harm=0.0, control=2.0), WRONG),
    ("C3", dict(frozen=1.0, learning=0.1, after=99.0, harm=0.0, control=2.0), OPEN),
    ("C3", dict(frozen=0.1, learning=0.1, after=10.0, harm=0.5, control=2.0), HOLDS),
    ("C3", dict(frozen=0.1, learning=0.1, after=10.0, harm=0.0, control=2.0), OPEN),
    # Without a control that is harmed, nothing is said.
    ("C3", dict(frozen=1.0, learning=0.1, after=10.0, harm=0.0, control=0.0), OPEN),
    ("C4", dict(correlation=0.9, exposure=0.0), HOLDS),
    ("C4", dict(correlation=0.5, exposure=-2.0), PART),
    ("C4", dict(correlation=-0.5, exposure=0.0), WRONG),
    ("C4", dict(correlation=-0.5, exposure=-2.0), OPEN),
    ("C5", dict.fromkeys(OPTIMIZERS, 0.0), WRONG),
    ("C5", dict.fromkeys(OPTIMIZERS, 99.0), HOLDS),
    ("C5", dict.fromkeys(OPTIMIZERS, 0.0) | {"frozen": 99.0}, PART),
    ("C5", dict.fromkeys(OPTIMIZERS, -99.0), OPEN),
    ("C6", dict(recovery=0.0, height=9.0), WRONG),
    ("C6", dict(recovery=99.0, height=0.0), HOLDS),
    ("C7", dict(order=1.0, exposure=1.0, size=1.0), NOT_HERE),
    ("R1", {"tallest": -1.0, "events": 0.0, "held-out": -0.3}, HOLDS),
    ("R1", {"tallest": -1.0, "events": 3.0, "held-out": -0.3}, OPEN),
    ("R1", {"tallest": -1.0, "events": 0.0, "held-out": 0.3}, PART),
    ("R1", {"tallest": 0.0, "events": 5.0, "held-out": 0.0}, WRONG),
    ("R2", dict(cost=0.9, gain=0.0, broken=0.1, domain=0.7), PART),
    ("R2", dict(cost=0.9, gain=-0.5, broken=0.1, domain=0.7), OPEN),
    ("R2", dict(cost=0.0, gain=0.0, broken=0.1, domain=0.7), HOLDS),
    ("R2", dict(cost=0.0, gain=0.0, broken=-0.1, domain=0.7), OPEN),
    ("R2", dict(cost=0.9, gain=0.0, broken=0.1, domain=0.1), WRONG),
    ("R3", dict(frozen=0.1, trained=0.1), WRONG),
    ("R3", dict(frozen=0.1, trained=-0.1), HOLDS),
    ("R3", dict(frozen=-0.1, trained=0.1), OPEN),
    ("R4", dict(activations=0.1, memory=0.2, gradient=-14.0, bias=0.05, height=0.0), PART),
    ("R4", dict(activations=0.1, memory=0.2, gradient=-14.0, bias=-0.05, height=0.0), HOLDS),
    ("R4", dict(activations=0.1, memory=0.2, gradient=-3.0, bias=0.05, height=0.0), WRONG),
    ("R4", dict(activations=1.5, memory=0.2, gradient=-14.0, bias=0.05, height=0.0), WRONG),
    ("R5", dict(hard_rows=1.0, pulse=4.0, probe=2.0), HOLDS),
    ("R5", dict(hard_rows=0.0, pulse=4.0, probe=2.0), OPEN),
    ("R5", dict(hard_rows=1.0, pulse=0.0, probe=2.0), OPEN),
    ("R5", dict(hard_rows=1.0, pulse=4.0, probe=0.0), WRONG),
    ("R6", dict(hard_rows=0.0, pulse=2.0, calm=0.0), HOLDS),
    ("R6", dict(hard_rows=3.0, pulse=2.0, calm=0.0), OPEN),
    ("R6", dict(hard_rows=0.0, pulse=2.0, calm=1.0), OPEN),
    ("R6", dict(hard_rows=0.0, pulse=0.0, calm=0.0), WRONG),
    ("R7", r7(change=0.0, rate=0.0, height=1.0), WRONG),
    ("R7", r7(change=0.0, rate=-0.3, height=1.0), PART),
    ("R7", r7(change=-0.9, rate=-0.3, height=0.1), HOLDS),
    ("R7", r7(change=0.0, rate=-0.3, height=0.1), OPEN),
    ("R8", dict(replayed=0.0, replay=0.0, skip=0.2, cure=-0.4, resume=0.4), PART),
    ("R8", dict(replayed=0.0, replay=-0.4, skip=0.2, cure=-0.4, resume=0.4), HOLDS),
    ("R8", dict(replayed=0.0, replay=0.0, skip=-0.4, cure=-0.4, resume=0.4), HOLDS),
    ("R8", dict(replayed=0.0, replay=0.0, skip=0.2, cure=0.4, resume=0.4), WRONG),
    ("R8", dict(replayed=9.0, replay=0.0, skip=0.2, cure=0.0, resume=9.0), OPEN),
    ("R9", dict(hard_rows=0.0, pulse=0.5), PART),
    ("R9", dict(hard_rows=0.0, pulse=0.0), HOLDS),
    ("R9", dict(hard_rows=0.5, pulse=0.5), WRONG),
]


@pytest.mark.parametrize(("claim", "means", "outcome"), CASES)
def test_a_rule_goes_by_its_effects(claim, means, outcome):
    means = {"after the end" if name == "after" else name: mean for name, mean in means.items()}
    assert RULES[claim](effects(**means)) == outcome


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.id != "C7"], ids=lambda c: c.id)
@pytest.mark.parametrize("mean", [-1.0, 0.0, 1.0])
def test_one_seed_decides_nothing(claim, mean):
    unbounded = Interval(mean, -math.inf, math.inf, 1)
    assert claim.rule(dict.fromkeys(claim.effects, unbounded)) == OPEN


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
def test_a_rule_asks_for_nothing_that_its_claim_does_not_measure(claim):
    """And every effect that decides is told from the others: a wrong name would be a KeyError."""
    assert claim.rule(dict.fromkeys(claim.effects, around(0.0))) in (
        HOLDS,
        PART,
        WRONG,
        NOT_HERE,
        OPEN,
    )


def test_two_conditions_at_once_are_undecided():
    assert rules.decide(holds=True, wrong=True) == OPEN == rules.decide()
    assert rules.decide(part=True) == PART


def test_an_interval_across_a_margin_is_undecided():
    wide = {"frozen": around(0.1), "trained": around(0.0, half=0.5)}
    assert RULES["R3"](wide) == OPEN
