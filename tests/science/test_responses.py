"""Dose and response: entries by hand, curves over layouts, slopes of a known law."""

import math

import numpy as np
import pytest

from minimind_lite.science import responses
from minimind_lite.science.store import Trial

LENGTHS = (32, 64, 128, 256)
DISTANCE = {"code": 0.9, "zh_classical": 0.2}


def entry(domain: str, length: int, dent: float) -> dict[str, object]:
    """Rises of Chinese 0.1, of the other domains 0.2 and 0.4; the dent halves in two batches."""
    rises = {"zh": 0.1, "en": 0.2, "math": 0.4}
    series = (dent * 2.0 ** (-np.arange(12) / 2)).tolist()
    return {
        "domain": domain,
        "length": length,
        "dent": series,
        "forgotten": rises,
        "learnt": 0.5,
    }


def dent_of(rate: float, length: int, domain: str, seed: int) -> float:
    """0.1 more with each doubling of the rate, 0.05 of the length, less with distance."""
    law = 0.1 * math.log2(rate) + 0.05 * math.log2(length) - DISTANCE[domain]
    return law + 1 + 0.01 * seed


class Records:
    """Two layouts with every rate."""

    def common(self, *which: tuple[str, str]) -> list[int]:
        assert {experiment for experiment, _ in which} == {"E14"}
        assert [v for _, v in which] == [f"rate x{r}" for r in ("0.25", "0.5", "1", "2", "4")]
        return [0, 1]

    def trial(self, experiment: str, variant: str, seed: int) -> Trial:
        rate = float(variant.removeprefix("rate x"))
        doses = [
            entry(domain, length, dent_of(rate, length, domain, seed))
            for domain in DISTANCE
            for length in LENGTHS
        ]
        return Trial(experiment, variant, seed, {}, {"dose": doses}, None)


LAYOUTS = responses.responses(Records())


def test_each_dose_is_a_response():
    assert list(LAYOUTS) == [0, 1] and len(LAYOUTS[0]) == 5 * 2 * len(LENGTHS)
    first = LAYOUTS[1][0]
    assert (first.rate, first.length, first.domain) == (0.25, 32, "code")
    assert first.dent == pytest.approx(-0.2 + 0.25 - 0.9 + 1.01)
    assert first.half_life == pytest.approx(32) and first.learnt == 0.5
    assert first.chinese == 0.1 and first.forgotten == pytest.approx(0.3)


class OfCode(Records):
    """A dose of code, whose held-out loss is among the changes."""

    def trial(self, experiment: str, variant: str, seed: int) -> Trial:
        rises = {"zh": 9.0, "code": -1.0, "en": 0.2, "math": 0.4}
        values = {"dose": [entry("code", 32, 1.0) | {"forgotten": rises}]}
        return Trial(experiment, variant, seed, {}, values, None)


def test_its_domain_does_not_count_as_forgotten():
    assert responses.responses(OfCode())[0][0].forgotten == pytest.approx(0.3)


def test_a_curve_along_one_dose_holds_the_other():
    along = responses.curve(LAYOUTS, "dent", along="length", domain="code", fixed=2)
    assert list(along) == list(LENGTHS)
    assert along[64].mean == pytest.approx(0.1 + 0.3 - 0.9 + 1.005) and along[64].n == 2
    rates = responses.curve(LAYOUTS, "dent", along="rate", domain="code", fixed=64)
    assert list(rates) == [0.25, 0.5, 1, 2, 4] and rates[2] == along[64]


def test_slopes_are_those_of_the_law():
    for domain in DISTANCE:
        slopes = responses.slopes(LAYOUTS[0], "dent", domain=domain)
        assert slopes == pytest.approx({"rate": 0.1, "length": 0.05})


def test_the_dent_falls_with_distance():
    slope = responses.slope_over_domains(LAYOUTS[0], "dent", against=DISTANCE)
    assert slope == pytest.approx(-1.0)
