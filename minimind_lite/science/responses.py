"""Dose and response (E14): what a rate and a length of a segment leave behind, by its domain.

`dose` reads the same Chinese batches from the same weights twice: after `length` rows of a domain,
and without them. The difference is the dent, so nothing else is in it. Here are its records.

    rate x length = dose
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimind_lite.science.evidence import Evidence
from minimind_lite.science.forgetting import half_life
from minimind_lite.science.intervals import Interval, interval_over_seeds
from minimind_lite.segments import MAIN

EXPERIMENT = "E14"
RATES = (0.25, 0.5, 1, 2, 4)  # times the usual learning rate
BATCH = 16  # conversations of each batch after the segment


@dataclass(frozen=True)
class Response:
    """What one dose did in one layout."""

    rate: float  # times the usual learning rate
    length: int  # rows of the domain
    domain: str
    dent: float  # of the first Chinese batch after the rows, nats
    half_life: float  # of the dent, conversations; NaN where there is none
    chinese: float  # rise of held-out Chinese while the rows are read, nats
    forgotten: float  # mean rise of the held-out losses of the three other domains, nats
    learnt: float  # fall of the domain's held-out loss, nats


def variant(rate: float) -> str:
    """Name of the recorded trial of a rate."""
    return f"rate x{rate:g}"


def responses(evidence: Evidence) -> dict[int, list[Response]]:
    """All doses of each layout that has every rate recorded. Raises `MissingTrials` for none."""
    seeds = evidence.common(*((EXPERIMENT, variant(rate)) for rate in RATES))
    return {
        seed: [
            _response(rate, entry)
            for rate in RATES
            for entry in evidence.trial(EXPERIMENT, variant(rate), seed).values["dose"]
        ]
        for seed in seeds
    }


def _response(rate: float, entry: Mapping[str, Any]) -> Response:
    dent, rises = np.array(entry["dent"]), entry["forgotten"]
    others = [rise for probe, rise in rises.items() if probe not in (MAIN, entry["domain"])]
    return Response(
        rate=rate,
        length=entry["length"],
        domain=entry["domain"],
        dent=float(dent[0]),
        half_life=half_life(dent, BATCH * np.arange(len(dent))),
        chinese=rises[MAIN],
        forgotten=float(np.mean(others)),
        learnt=entry["learnt"],
    )


def curve(
    layouts: Mapping[int, Sequence[Response]],
    field: str,
    *,
    along: str,
    domain: str,
    fixed: float,
) -> dict[float, Interval]:
    """Interval over layouts of a response's `field` against "rate" or "length".

    The other of the two is `fixed`.
    """
    other = "length" if along == "rate" else "rate"
    points: dict[float, list[float]] = {}
    for row in layouts.values():
        for response in row:
            if response.domain == domain and getattr(response, other) == fixed:
                value = getattr(response, field)
                points.setdefault(getattr(response, along), []).append(value)
    return {x: interval_over_seeds(values) for x, values in sorted(points.items())}


def slopes(responses: Sequence[Response], field: str, *, domain: str) -> dict[str, float]:
    """Growth of a `field` with each doubling of rate and of length, nats, in one layout.

    Least squares of the field on log2 rate and log2 length, over all doses of the domain.
    """
    rows = [response for response in responses if response.domain == domain]
    rates, lengths = np.log2([r.rate for r in rows]), np.log2([r.length for r in rows])
    design = np.column_stack([np.ones(len(rows)), rates, lengths])
    values = np.array([getattr(response, field) for response in rows])
    _, rate, length = np.linalg.lstsq(design, values)[0]
    return {"rate": float(rate), "length": float(length)}


def slope_over_domains(
    responses: Sequence[Response], field: str, *, against: Mapping[str, float]
) -> float:
    """Slope of a domain's mean `field` on a property of the domains, in one layout.

    `against`: its divergence from Chinese, say, or the height of its spike.
    """
    means = [
        np.mean([getattr(response, field) for response in responses if response.domain == domain])
        for domain in against
    ]
    return float(np.polyfit(list(against.values()), means, 1)[0])
