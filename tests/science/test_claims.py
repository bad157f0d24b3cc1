"""A claim measures what it says; README says what the records say; the controls behave."""

import math
import re

import pytest

from minimind_lite.files import shipped
from minimind_lite.science import claims, rules
from minimind_lite.science import evidence as ev
from minimind_lite.science.experiments import EXPERIMENTS
from minimind_lite.science.intervals import Interval
from minimind_lite.science.store import MissingTrials, Trial

RECORDS = ev.recorded()
BY_ID = {claim.id: claim for claim in claims.CLAIMS}
FILE, FROZEN, SHUFFLED = ("E1", "file"), ("E1", "frozen"), ("E1", "shuffled")
HARD_ROWS, PULSE = ("E2", "off-domain rows, no pulse"), ("E2", "base rows, pulse")


class ByVariant:
    """Evidence with a value per variant: an effect gets the one that its trials have."""

    def __init__(self, **numbers: float) -> None:
        self.asked: list[tuple[ev.Value, tuple[ev.Which, ...]]] = []

    def over_seeds(self, value, *which):
        self.asked.append((value, which))
        return Interval(0.0, -0.01, 0.01, 5)


def test_every_trial_of_an_effect_is_declared():
    for claim in claims.CLAIMS:
        for effect in claim.effects.values():
            for experiment, variant in effect.trials:
                assert EXPERIMENTS[experiment].variant(variant), (claim.id, effect.text)


def test_a_claim_is_measured_on_experiments_that_name_it():
    for claim in claims.CLAIMS:
        used = {experiment for e in claim.effects.values() for experiment, _ in e.trials}
        assert any(claim.id in EXPERIMENTS[experiment].claims for experiment in used), claim.id


def test_an_effect_with_minus_is_the_difference_of_the_same_value():
    jump = BY_ID["C1"].effects["jump"]
    assert jump.trials == (FILE, SHUFFLED)
    file, shuffled = (RECORDS.trial(*which, 0) for which in (FILE, SHUFFLED))
    assert jump.value(file, shuffled) == ev.tallest_step(file) - ev.tallest_step(shuffled) > 0


@pytest.mark.parametrize(
    ("claim", "effect", "value", "trials"),
    [
        ("C3", "frozen", ev.height, (FROZEN,)),
        ("C3", "harm", ev.harm, (FILE,)),
        ("C3", "control", ev.probe_rise, (PULSE,)),
        ("C3", "after the end", ev.recovery, (FROZEN,)),
        ("C4", "correlation", ev.rank_correlation, (("E6", "sort keys"), FROZEN)),
        ("R1", "events", ev.events, (SHUFFLED,)),
        ("R5", "hard rows", ev.event_height, (HARD_ROWS,)),
        ("R6", "hard rows", ev.probe_rise, (HARD_ROWS,)),
        ("R8", "replayed", ev.change_on_replay, (("E9", "hard rows, replay"),)),
        ("R9", "hard rows", ev.harm, (FILE,)),
    ],
)
def test_an_effect_is_the_value_that_its_text_says(claim, effect, value, trials):
    declared = BY_ID[claim].effects[effect]
    assert (declared.value, declared.trials) == (value, trials)


def test_the_signs_of_differences():
    """Which trial is taken from which: a swap would turn the verdict round."""
    first_minus_second = {
        ("C2", "trained"): (("E4", "B=64 fixed"), ("E4", "B=4 fixed")),
        ("C4", "exposure"): (("E11", "exposure 20"), ("E11", "exposure 0")),
        ("C6", "recovery"): (("E12", "pico"), ("E12", "lite")),
        ("R1", "tallest"): (SHUFFLED, FILE),
        ("R1", "held-out"): (SHUFFLED, FILE),
        ("R2", "cost"): (("E8", "clean"), SHUFFLED),
        ("R2", "broken"): (("E8", "garbage, shuffled"), ("E8", "garbage removed")),
        ("R3", "trained"): (("E4", "B=4 fixed"), ("E4", "B=64 fixed")),
        ("R5", "probe"): (PULSE, HARD_ROWS),
        ("R8", "skip"): (("E9", "hard rows, skip"), FILE),
        ("R8", "cure"): (("E9", "pulse, skip"), ("E9", "pulse, nothing")),
        ("R9", "pulse"): (PULSE, ("E2", "base rows, no pulse")),
    }
    for (claim, effect), trials in first_minus_second.items():
        assert BY_ID[claim].effects[effect].trials == trials, (claim, effect)


def test_a_verdict_shows_its_effects_by_their_texts_and_hides_those_that_only_decide():
    evidence = ByVariant()
    verdict = claims.judge(BY_ID["R7"], evidence)
    assert len(evidence.asked) == 13 and len(verdict.effects) == 7
    assert list(verdict.effects)[-1] == "mean inside, B=64 linear − fixed (nats)"
    assert verdict.outcome == rules.OPEN and verdict.seeds == 5
    assert verdict.measured() == "height, B=4 fixed − B=16 (nats): +0.00 [-0.01, 0.01]"


def test_missing_trials_leave_a_claim_out_only_if_asked(tmp_path):
    nothing = ev.Evidence(ev.stores.Store(tmp_path))
    assert claims.scoreboard(nothing, partial=True) == []
    with pytest.raises(MissingTrials):
        claims.scoreboard(nothing)


def test_a_board_of_some_claims():
    board = claims.scoreboard(RECORDS, only=("R3", "C1"))
    assert [v.claim.id for v in board] == ["C1", "R3"]
    text = claims.text(board)
    assert text.startswith("C1  Unlike segments of a concatenated file make the loss jump.  →  H")
    assert "\nR3  A smaller batch smooths the curve.  →  WRONG  (5 seeds; our bet: wrong" in text
    assert "\n      segments flagged in file order (of 5): +4.40" in text


# The records


@pytest.fixture(scope="module")
def board():
    return claims.scoreboard(RECORDS)


def test_every_verdict_rests_on_at_least_five_seeds(board):
    causes, remedies = (f"C{i}" for i in range(1, 8)), (f"R{i}" for i in range(1, 10))
    assert [v.claim.id for v in board] == [*causes, *remedies]
    assert min(v.seeds for v in board) >= 5


def test_readme_says_what_the_records_say(board):
    pages = [shipped.folder().parent / name for name in ("README.md", "docs/results.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.exists())
    table = re.search(r"<!-- scoreboard -->\n(.*?)\n<!-- /scoreboard -->", text, re.DOTALL)[1]
    assert table == claims.markdown(board)


def test_the_positive_control_is_harmed_and_hard_rows_harm_nothing():
    assert RECORDS.over_seeds(ev.probe_rise, PULSE).above(rules.HARM)
    assert RECORDS.over_seeds(ev.probe_rise, HARD_ROWS).below(rules.HARM)
    assert RECORDS.over_seeds(ev.event_height, HARD_ROWS).above(rules.SPIKE)


def test_the_negative_control_keeps_its_spike_though_it_is_shuffled():
    assert RECORDS.over_seeds(ev.tallest_step, ("E9", "pulse, nothing")).above(rules.SPIKE)
    assert RECORDS.over_seeds(ev.events, SHUFFLED).mean == 0


def test_a_frozen_model_is_not_changed_by_anything():
    """Its held-out loss after a pass is that of the base model before any other run."""
    for seed in RECORDS.common(FROZEN, FILE):
        frozen, trained = (RECORDS.trial(*which, seed).run for which in (FROZEN, FILE))
        assert frozen.info["probes_after"] == trained.records[0].probes
        assert math.isnan(frozen.records[0].grad_norm)


def test_rollbacks_hold_the_schedule_of_the_whole_file():
    """In the first recordings, rows that were skipped shortened it, and the rate jumped down."""
    file = {r.step: r.lr for r in RECORDS.trial(*FILE, 0).run.records}
    for policy in ("replay", "skip", "reshuffle"):
        run = RECORDS.trial("E9", f"hard rows, {policy}", 0).run
        assert all(r.lr == file[r.step] for r in run.records), policy


def test_a_trial_is_a_trial_of_some_variant():
    trial = RECORDS.trial(*FILE, 3)
    assert isinstance(trial, Trial) and (trial.variant, trial.seed) == ("file", 3)
