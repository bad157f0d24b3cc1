"""Rules decide by intervals and by nothing else; README says what the records say; the controls behave."""

import math
import re

import pytest

from minimind_lite.files import shipped
from minimind_lite.science import claims, evidence
from minimind_lite.science.intervals import Interval
from minimind_lite.science.trials import Trial

RECORDS = evidence.recorded()
BY_ID = {c.id: c.rule for c in claims.CLAIMS}


class Fake:
    """Evidence whose intervals are given in the order in which a rule asks for them."""

    def __init__(self, *means: float, half: float = 0.01, n: int = 5) -> None:
        self.means, self.half, self.n = list(means), half, n

    def each(self, value, *which):
        mean = self.means.pop(0) if len(self.means) > 1 else self.means[0]
        return Interval(mean, mean - self.half, mean + self.half, self.n)

    def common(self, *which):
        return [0]

    def trial(self, *which):
        return Trial(
            "",
            "",
            0,
            {},
            {},
            type("R", (), {"info": {"model_config": {"dim": which[1] == "lite", "norm_eps": 1}}})(),
        )


@pytest.mark.parametrize(
    ("claim", "means", "outcome"),
    [
        ("C1", (1.0, 5.0, 0.5), claims.HOLDS),
        ("C1", (0.1, 5.0, 0.5), claims.WRONG),
        ("C1", (1.0, 2.0, 0.5), claims.OPEN),
        ("C2", (0.5, 9.0, 0.0), claims.HOLDS),
        ("C2", (-0.5, 9.0, 0.0), claims.PART),
        ("C2", (-0.5, -9.0, 0.0), claims.WRONG),
        ("C3", (1.0, 0.1, 10.0, 0.0, 2.0), claims.WRONG),
        ("C3", (0.1, 0.1, 10.0, 0.5, 2.0), claims.HOLDS),
        (
            "C3",
            (1.0, 0.1, 10.0, 0.0, 0.0),
            claims.OPEN,
        ),  # without a control that is sick, nothing is said
        ("C4", (0.9, 0.0), claims.HOLDS),
        ("C4", (0.5, -2.0), claims.PART),
        ("C4", (-0.5, 0.0), claims.WRONG),
        ("C4", (-0.5, -2.0), claims.OPEN),
        ("C5", (0.0,), claims.WRONG),
        ("C5", (99.0,), claims.HOLDS),
        ("C5", (99.0, 0.0), claims.PART),
        ("C5", (-99.0,), claims.OPEN),
        ("C6", (0.0, 0.0), claims.WRONG),
        ("C6", (99.0, 0.0), claims.HOLDS),
        ("C7", (1.0,), claims.NOT_HERE),
        ("R1", (-1.0, 0.0, 3.0, 0.0, -0.3), claims.HOLDS),
        ("R1", (-1.0, 0.0, 3.0, 0.0, 0.3), claims.PART),
        ("R1", (0.0, 5.0, 3.0, 0.0, 0.0), claims.WRONG),
        ("R2", (0.9, 0.0, 0.1, 0.7), claims.PART),
        ("R2", (0.0, 0.0, 0.1, 0.7), claims.HOLDS),
        ("R2", (0.9, 0.0, 0.1, 0.1), claims.WRONG),
        ("R3", (0.1, 0.1), claims.WRONG),
        ("R3", (-0.1, -0.1), claims.HOLDS),
        ("R3", (0.1, -0.0), claims.OPEN),
        ("R4", (0.1, 0.2, -14.0, 0.05, 0.0), claims.PART),
        ("R4", (0.1, 0.2, -3.0, 0.05, 0.0), claims.WRONG),
        ("R4", (0.1, 0.2, -14.0, -0.05, 0.0), claims.HOLDS),
        ("R5", (1.0, 4.0, 2.0), claims.HOLDS),
        ("R5", (1.0, 4.0, 0.0), claims.WRONG),
        ("R6", (0.0, 2.0, 0.0), claims.HOLDS),
        ("R6", (0.0, 0.0, 0.0), claims.WRONG),
        ("R8", (0.0, 0.0, 0.2, -0.4, 0.4), claims.PART),
        ("R8", (0.0, -0.4, -0.4, -0.4, 0.4), claims.HOLDS),
        ("R8", (0.0, 0.0, 0.2, 0.4, 0.4), claims.WRONG),
        ("R9", (0.0, 0.5), claims.PART),
        ("R9", (0.0, 0.0), claims.HOLDS),
        ("R9", (0.5, 0.5), claims.WRONG),
    ],
)
def test_a_rule_goes_by_its_intervals(claim, means, outcome):
    assert BY_ID[claim](Fake(*means))[0] == outcome


def test_learning_rates_and_batches():
    """R7 asks six heights against B = 16, then the mean inside, then six heights."""
    assert BY_ID["R7"](Fake(*[0.0] * 6, 0.0, *[1.0] * 6))[0] == claims.WRONG
    assert BY_ID["R7"](Fake(*[0.0] * 6, -0.3, *[1.0] * 6))[0] == claims.PART
    assert BY_ID["R7"](Fake(*[-0.9] * 6, -0.3, *[0.1] * 6))[0] == claims.HOLDS


@pytest.mark.parametrize("claim", [c for c in BY_ID if c != "C7"])
@pytest.mark.parametrize("mean", [-1.0, 0.0, 1.0])
def test_one_seed_decides_nothing(claim, mean):
    assert BY_ID[claim](Fake(mean, half=math.inf, n=1))[0] == claims.OPEN


def test_two_conditions_at_once_are_undecided():
    assert claims._decide(holds=True, wrong=True) == claims.OPEN == claims._decide()
    assert claims._decide(part=True) == claims.PART


# The records


@pytest.fixture(scope="module")
def board():
    return claims.scoreboard(RECORDS)


def test_every_verdict_rests_on_at_least_five_seeds(board):
    assert [v.claim.id for v in board] == [
        *(f"C{i}" for i in range(1, 8)),
        *(f"R{i}" for i in range(1, 10)),
    ]
    assert min(v.seeds for v in board) >= 5


def test_readme_says_what_the_records_say(board):
    readme = (shipped.folder().parent / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- scoreboard -->\n(.*?)\n<!-- /scoreboard -->", readme, re.DOTALL)[1]
    assert table == claims.markdown(board)
    assert all(
        row.split("|")[1].strip() == v.claim.id
        for row, v in zip(table.splitlines()[2:], board, strict=True)
    )


def test_the_positive_control_is_sick_and_the_hard_rows_are_not():
    assert RECORDS.each(evidence.probe_rise, claims.PULSE).above(claims.HARM)
    assert RECORDS.each(evidence.probe_rise, claims.ROWS).below(claims.HARM)
    assert RECORDS.each(evidence.event_height, claims.ROWS).above(claims.SPIKE)


def test_the_negative_control_keeps_its_spike_though_it_is_shuffled():
    assert RECORDS.each(evidence.largest, ("E9", "pulse, nothing")).above(claims.SPIKE)
    assert RECORDS.each(evidence.events, claims.SHUFFLED).mean == 0


def test_a_frozen_model_is_not_changed_by_anything():
    """Its held-out loss after a pass is that of the base model before any other run."""
    for seed in RECORDS.common(claims.FROZEN, claims.FILE):
        frozen, trained = (
            RECORDS.trial(*claims.FROZEN, seed).run,
            RECORDS.trial(*claims.FILE, seed).run,
        )
        assert frozen.info["probes_after"] == trained.records[0].probes and math.isnan(
            frozen.records[0].grad_norm
        )
