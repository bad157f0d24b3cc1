"""Each rule on each side of its margins, by the names of its effects."""

import math

import pytest

from minimind_lite.science import rules
from minimind_lite.science.claims import CLAIMS
from minimind_lite.science.intervals import Counts, Interval
from minimind_lite.science.rules import (
    CONTRADICTED,
    NOT_HERE,
    NOT_SUPPORTED,
    PART,
    RULES,
    SUPPORTED,
    UNCLEAR,
)


def around(mean: float, half: float = 0.01) -> Interval:
    return Interval(mean, mean - half, mean + half, 8)


def effects(means: dict[str, float]) -> dict[str, Interval]:
    return {name: around(mean) for name, mean in means.items()}


# Effects that support a claim, then what changes and what comes out.
CASES = {
    "C1": (
        dict(jump=1.0, flagged=5.0, domain=0.5),
        [
            ({}, SUPPORTED),
            (dict(jump=0.1), NOT_SUPPORTED),
            (dict(jump=-0.5), CONTRADICTED),
            (dict(flagged=2.0), UNCLEAR),
            (dict(domain=-0.5), UNCLEAR),
        ],
    ),
    "C2": (
        dict(taller=0.5, fatter=0.3, z=9.0),
        [
            ({}, SUPPORTED),
            (dict(taller=-0.5), PART),
            (dict(taller=-0.5, fatter=0.0), PART),
            (dict(taller=-0.5, z=0.0), PART),
            (dict(taller=-0.5, fatter=0.0, z=0.0), NOT_SUPPORTED),
            (dict(taller=-0.5, fatter=-0.3, z=-9.0), CONTRADICTED),
        ],
    ),
    "C3": (
        dict(forgotten=0.0, dent=0.0, frozen=99.0, control=2.0),
        [
            ({}, SUPPORTED),
            (dict(frozen=0.0), NOT_SUPPORTED),
            (dict(forgotten=0.4), CONTRADICTED),
            (dict(dent=0.2, frozen=0.0), CONTRADICTED),
            # Without a control that is harmed, nothing is told.
            (dict(forgotten=0.4, control=0.0), UNCLEAR),
        ],
    ),
    "C4": (
        dict(exposure=0.0, correlation=0.9),
        [
            ({}, SUPPORTED),
            (dict(exposure=-2.0), PART),
            (dict(correlation=-0.5), CONTRADICTED),
            (dict(exposure=-2.0, correlation=-0.5), UNCLEAR),
        ],
    ),
    "C5": (
        dict(sgd=99.0, momentum=99.0, mixed=99.0),
        [
            ({}, SUPPORTED),
            (dict(mixed=0.0), PART),
            (dict(sgd=0.0), UNCLEAR),
            (dict(sgd=0.0, momentum=0.0), NOT_SUPPORTED),
            (dict(sgd=-99.0, momentum=-99.0), CONTRADICTED),
        ],
    ),
    "C6": (
        dict(least=0.5, larger=0.0),
        [
            ({}, SUPPORTED),
            (dict(larger=0.3), PART),
            (dict(least=0.05), NOT_SUPPORTED),
            (dict(least=-0.2, larger=0.3), CONTRADICTED),
        ],
    ),
    "C7": ({}, [({}, NOT_HERE)]),
    "R1": (
        {"tallest": -1.0, "held-out": -0.3, "events": 0.0},
        [
            ({}, SUPPORTED),
            ({"events": 3.0}, UNCLEAR),
            ({"held-out": 0.3}, PART),
            ({"tallest": 0.0}, NOT_SUPPORTED),
            ({"tallest": 0.5}, CONTRADICTED),
        ],
    ),
    "R2": (
        dict(cost=0.0, domain=0.7, gain=0.0, broken=0.1),
        [
            ({}, SUPPORTED),
            (dict(cost=0.9), PART),
            (dict(cost=0.9, gain=-0.5), UNCLEAR),
            (dict(broken=-0.1), UNCLEAR),
            (dict(cost=0.9, domain=0.1), CONTRADICTED),
        ],
    ),
    "R3": (
        dict(trained=-0.1, frozen=0.1),
        [({}, SUPPORTED), (dict(trained=0.1), CONTRADICTED), (dict(trained=0.0), UNCLEAR)],
    ),
    "R4": (
        dict(bias=-0.05, gradient=-14.0, activations=0.1),
        [
            ({}, SUPPORTED),
            (dict(bias=0.05), PART),
            (dict(gradient=-3.0), CONTRADICTED),
            (dict(activations=1.5), CONTRADICTED),
        ],
    ),
    "R5": (
        {"probe": 2.0, "hard rows": 1.0, "pulse": 4.0},
        [
            ({}, SUPPORTED),
            ({"hard rows": 0.0}, UNCLEAR),
            ({"pulse": 0.0}, UNCLEAR),
            ({"probe": 0.0}, NOT_SUPPORTED),
            ({"probe": -1.0}, CONTRADICTED),
        ],
    ),
    "R6": (
        {"pulse": 2.0, "hard rows": 0.0, "calm": 0.0},
        [
            ({}, SUPPORTED),
            ({"hard rows": 0.5}, UNCLEAR),
            ({"calm": 1.0}, UNCLEAR),
            ({"pulse": 0.0}, NOT_SUPPORTED),
            ({"pulse": 0.0, "hard rows": 0.5}, CONTRADICTED),
        ],
    ),
    "R7": (
        dict(lowest=0.1, rate=0.0),
        [
            ({}, SUPPORTED),
            (dict(lowest=1.0), NOT_SUPPORTED),
            (dict(lowest=1.0, rate=-0.3), PART),
            (dict(lowest=1.0, rate=0.3), PART),
        ],
    ),
    "R8": (
        dict(cure=-0.4, replay=-0.4, skip=0.2),
        [
            ({}, SUPPORTED),
            (dict(replay=0.0, skip=-0.4), SUPPORTED),
            (dict(replay=0.0), PART),
            (dict(cure=0.0), NOT_SUPPORTED),
            (dict(cure=0.4), CONTRADICTED),
        ],
    ),
    "R9": (
        dict(order=0.0, bulk=0.0, pulse=0.0),
        [
            ({}, SUPPORTED),
            (dict(pulse=0.5), PART),
            (dict(order=0.4, pulse=0.5), CONTRADICTED),
            (dict(bulk=0.4, pulse=0.5), CONTRADICTED),
            (dict(order=0.4), UNCLEAR),
        ],
    ),
    "N1": (
        {"dent": -0.5, "lost": -0.2, "pair's spike": 1.0, "pair's price": 0.4},
        [
            ({}, SUPPORTED),
            ({"dent": 0.9}, PART),
            ({"dent": 0.9, "lost": 0.9}, CONTRADICTED),
            ({"pair's price": 0.0}, UNCLEAR),
        ],
    ),
    "N2": (
        dict(mixed=0.4, blocks=0.4, orders=1.0, shuffled=-0.5),
        [
            ({}, SUPPORTED),
            (dict(blocks=0.0), PART),
            (dict(orders=0.0), PART),
            (dict(shuffled=0.2), UNCLEAR),
            (dict(mixed=0.0), NOT_SUPPORTED),
            (dict(mixed=-0.4), CONTRADICTED),
        ],
    ),
    "N3": (
        dict(exposure=-2.0, correlation=0.0),
        [
            ({}, SUPPORTED),
            (dict(correlation=0.9), PART),
            (dict(exposure=-0.1), NOT_SUPPORTED),
            (dict(exposure=0.5), CONTRADICTED),
        ],
    ),
    "N4": (
        dict(wider=0.3, taller=-0.2),
        [
            ({}, SUPPORTED),
            (dict(taller=0.2), PART),
            (dict(wider=0.05), NOT_SUPPORTED),
            (dict(wider=-0.2), CONTRADICTED),
        ],
    ),
    "N5": (
        {"pulse": 2.0, "hard rows": 0.0, "segments": 0.0},
        [
            ({}, SUPPORTED),
            ({"segments": 0.3}, PART),
            ({"segments": 3.0}, UNCLEAR),
            ({"pulse": 0.0}, NOT_SUPPORTED),
            ({"pulse": 0.0, "hard rows": 0.5}, CONTRADICTED),
        ],
    ),
    "N6": (
        dict(length=0.5, exposure=0.5, mixed=-0.5, narrow=0.5),
        [
            ({}, SUPPORTED),
            (dict(narrow=-0.2), PART),
            (dict(exposure=0.0), PART),
            (dict(length=0.0, exposure=0.0), NOT_SUPPORTED),
            (dict(length=-0.5, exposure=0.0), CONTRADICTED),
            (dict(length=-0.5), UNCLEAR),
        ],
    ),
}


@pytest.mark.parametrize(
    ("claim", "change", "outcome"),
    [(claim, change, outcome) for claim, (_, cases) in CASES.items() for change, outcome in cases],
)
def test_a_rule_goes_by_its_effects(claim, change, outcome):
    supporting, _ = CASES[claim]
    assert RULES[claim](effects(supporting | change)) == outcome


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.id != "C7"], ids=lambda c: c.id)
@pytest.mark.parametrize("mean", [-1.0, 0.0, 1.0])
def test_one_layout_decides_nothing(claim, mean):
    unbounded, one = Interval(mean, -math.inf, math.inf, 1), Counts((round(mean),))
    deciding = {name: e for name, e in claim.effects.items() if not e.beside}
    assert claim.rule({n: one if e.count else unbounded for n, e in deciding.items()}) == UNCLEAR


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
def test_a_rule_asks_for_its_deciding_effects_and_for_no_others(claim):
    """So that what is printed as deciding does decide, and is what the level is corrected for."""
    asked = set()

    class Watched(dict):
        def __getitem__(self, name):
            asked.add(name)
            return super().__getitem__(name)

    deciding = [name for name, effect in claim.effects.items() if not effect.beside]
    for mean in (-2.0, -0.2, 0.0, 0.2, 2.0, 99.0):
        claim.rule(Watched({name: around(mean) for name in deciding}))
    for name in CASES[claim.id][0]:
        for mean in (-2.0, 2.0, 99.0):
            claim.rule(Watched(effects(CASES[claim.id][0] | {name: mean})))
    assert asked == set(deciding) == set(CASES[claim.id][0])


def test_every_word_of_a_verdict_comes_out_of_some_rule():
    outcomes = {outcome for _, cases in CASES.values() for _, outcome in cases}
    assert outcomes == {SUPPORTED, PART, NOT_SUPPORTED, CONTRADICTED, NOT_HERE, UNCLEAR}


def test_a_claim_names_its_part_where_its_rule_can_say_in_part():
    in_part = {claim for claim, (_, cases) in CASES.items() if PART in [o for _, o in cases]}
    assert in_part == {claim.id for claim in CLAIMS if claim.part}


def test_two_conditions_at_once_tell_nothing():
    assert rules.decide(supported=True, contrary=True) == UNCLEAR == rules.decide()
    assert rules.decide(part=True, nothing=True) == PART
    assert rules.decide(nothing=True, contrary=True) == CONTRADICTED
    assert rules.decide(nothing=True) == NOT_SUPPORTED


def test_an_interval_across_a_margin_tells_nothing():
    wide = {"frozen": around(0.1), "trained": around(0.0, half=0.5)}
    assert RULES["R3"](wide) == UNCLEAR
