"""A claim measures what it says; README says what the records say; the controls behave."""

import math
import re
from dataclasses import replace
from itertools import product

import pytest

from minimind_lite.files import shipped
from minimind_lite.science import claim_values as values
from minimind_lite.science import claims, rules
from minimind_lite.science import evidence as ev
from minimind_lite.science.experiments import EXPERIMENTS
from minimind_lite.science.intervals import Counts, Interval
from minimind_lite.science.store import MissingTrials, Trial

RECORDS = ev.recorded()
BY_ID = {claim.id: claim for claim in claims.CLAIMS}
FILE, FROZEN, SHUFFLED = ("E1", "file"), ("E1", "frozen"), ("E1", "shuffled")
TALL, FLAT = ("E16", "tall spike, no forgetting"), ("E16", "flat curve, forgetting")
HARD_ROWS, PULSE = ("E2", "off-domain rows, no pulse"), ("E2", "base rows, pulse")


class Zero:
    """Evidence in which every effect is zero; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[ev.Which, ...]] = []
        self.levels: list[float] = []

    def over_seeds(self, value, *which, level):
        self.asked.append(which)
        self.levels.append(level)
        return Interval(0.0, -0.01, 0.01, 8)

    def over_bases(self, value, *which, level):
        return replace(self.over_seeds(value, *which, level=level), bases=3)

    def counts(self, value, *which, of):
        return Counts((0,) * 8, of)


def test_every_trial_of_an_effect_is_declared():
    for claim in claims.CLAIMS:
        for effect in claim.effects.values():
            bases = ["", *(f", {base}" for base in ev.OTHER_BASES)] if effect.bases else [""]
            for (experiment, variant), base in product(effect.trials, bases):
                assert EXPERIMENTS[experiment].variant(variant + base), (claim.id, effect.text)


def test_a_claim_says_what_was_tested_what_was_bet_and_over_what_it_speaks():
    bets = {rules.SUPPORTED, rules.PART, rules.NOT_SUPPORTED, rules.CONTRADICTED, rules.NOT_HERE}
    when = {"before the runs", "after the records", "after the first records, before the rest"}
    for claim in claims.CLAIMS:
        assert claim.tested and claim.generalizes and claim.prediction, claim.id
        assert claim.bet in bets and claim.declared in when, claim.id
        deciding = [effect for effect in claim.effects.values() if not effect.beside]
        assert deciding or claim.id == "C7"
        assert list(claim.effects.values())[: len(deciding)] == deciding, claim.id  # first


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
        ("C3", "forgotten", values.forgotten, (FILE,)),
        ("C3", "dent", values.dent_after_classical, (FILE, FROZEN)),
        ("C3", "frozen", ev.recovery, (FROZEN,)),
        ("C3", "control", ev.probe_rise, (PULSE,)),
        ("C4", "correlation", values.rank_correlation, (("E6", "sort keys"), FROZEN)),
        ("C6", "least", values.fall_of_least, (SHUFFLED,)),
        ("R1", "events", ev.events, (SHUFFLED,)),
        ("R5", "hard rows", ev.event_height, (HARD_ROWS,)),
        ("R6", "calm", ev.probe_rise, (("E2", "base rows, no pulse"),)),
        ("R8", "replayed", ev.change_on_replay, (("E9", "hard rows, replay"),)),
        ("N2", "shuffled", values.off_domain_change, (SHUFFLED,)),
        ("N5", "pulse", values.first_probe_rise, (PULSE,)),
        ("N6", "mixed", values.specialized_over_unfamiliar, (FILE, FROZEN)),
    ],
)
def test_an_effect_is_the_value_that_its_text_says(claim, effect, value, trials):
    declared = BY_ID[claim].effects[effect]
    assert (declared.value, declared.trials) == (value, trials)


def test_the_signs_of_differences():
    """Which trial is taken from which: a swap would turn the verdict round."""
    low = {n: (("E18", f"low {n} file"), ("E18", f"low {n} frozen")) for n in (64, 350)}
    high = (("E18", "high 350 file"), ("E18", "high 350 frozen"))
    slow, frozen = ("E17", "blocks, adam 1e-4"), ("E17", "blocks, frozen")
    first_minus_second = {
        ("C2", "fatter"): (("E4", "B=64 fixed"), ("E4", "B=4 fixed")),
        ("C4", "exposure"): (("E11", "exposure 20"), ("E11", "exposure 0")),
        ("C5", "sgd"): (("E17", "blocks, sgd 0.05"), slow, frozen),
        ("C5", "mixed"): (FROZEN, FILE),
        ("C6", "larger"): (SHUFFLED, ("E12", "lite, shuffled")),
        ("R1", "tallest"): (SHUFFLED, FILE),
        ("R1", "held-out"): (SHUFFLED, FILE),
        ("R2", "cost"): (("E8", "clean"), SHUFFLED),
        ("R2", "broken"): (("E8", "garbage, shuffled"), ("E8", "garbage removed")),
        ("R3", "trained"): (("E4", "B=4 fixed"), ("E4", "B=64 fixed")),
        ("R5", "probe"): (PULSE, HARD_ROWS),
        ("R8", "skip"): (("E9", "hard rows, skip"), FILE),
        ("R8", "cure"): (("E9", "pulse, skip"), ("E9", "pulse, nothing")),
        ("R9", "order"): (FILE, SHUFFLED),
        ("R9", "pulse"): (PULSE, ("E2", "base rows, no pulse")),
        ("N1", "pair's spike"): (TALL, FLAT),
        ("N1", "pair's price"): (FLAT, TALL),
        ("N2", "blocks"): (("E17", "blocks, file"), ("E17", "blocks, shuffled")),
        ("N4", "wider"): (("E4", "B=64 fixed"), ("E4", "B=4 fixed")),
        ("N6", "length"): (*low[350], *low[64]),
        ("N6", "exposure"): (*low[350], *high),
    }
    for (claim, effect), trials in first_minus_second.items():
        assert BY_ID[claim].effects[effect].trials == trials, (claim, effect)


def test_what_decides_is_corrected_for_its_number_and_what_stands_beside_is_not():
    evidence = Zero()
    verdict = claims.judge(BY_ID["R7"], evidence)
    assert evidence.levels == [0.975, 0.975, *[0.95] * 6]
    assert list(verdict.effects)[1] == "mean inside a segment, B=64 linear − fixed (nats)"
    claims.judge(BY_ID["R1"], counted := Zero())
    assert counted.levels == [0.975, 0.975]  # a count has no interval


def test_a_verdict_in_words():
    verdict = claims.judge(BY_ID["C2"], Zero())
    assert verdict.outcome == rules.NOT_SUPPORTED and verdict.seeds == 8
    assert verdict.measured() == "height at batch 256 − at 16, frozen (nats): +0.00 [-0.01, 0.01]"
    assert verdict.design() == "8 layouts × 3 bases"
    assert verdict.bet_failed and verdict.of_bet() == "failed"
    part = replace(verdict, outcome=rules.PART)
    assert part.in_words().startswith("supported in part: against the noise")
    assert not part.bet_failed and part.of_bet() == "came true"
    open_ = replace(verdict, outcome=rules.UNCLEAR)
    assert not open_.bet_failed and open_.of_bet() == "open"
    assert claims.judge(BY_ID["C7"], Zero()).design() == "no test"


def test_missing_trials_leave_a_claim_out_only_if_asked(tmp_path):
    nothing = ev.Evidence(ev.stores.Store(tmp_path))
    assert claims.scoreboard(nothing, partial=True) == []
    with pytest.raises(MissingTrials):
        claims.scoreboard(nothing)


def test_a_board_of_some_claims():
    board = claims.scoreboard(RECORDS, only=("R5", "N4"))
    assert [v.claim.id for v in board] == ["R5", "N4"]
    text = claims.text(board)
    assert text.startswith("R5  Watch several metrics, not only training loss.\n    SUPPORTED\n")
    assert "\n    bet: wider by more than 0.1 nats, and not taller → came true (rule" in text
    assert "\n    decides  height at batch 64 − at 4, trained (nats): -0.25 [" in text
    assert "\n    speaks of: layouts; one base model, one corpus (5 layouts)" in text
    assert " ".join(text.split()).endswith(claims.CORRECTION)


def test_the_board_as_markdown():
    row = claims.markdown([claims.judge(BY_ID["C2"], Zero())]).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == [
        "C2",
        "A large batch amplifies the effect.",
        "wrong in nats, true of visibility only (failed; rule after the first records, before "
        "the rest)",
    ]
    assert cells[5] == "**not supported**" and cells[6].endswith("(8 layouts × 3 bases)")


# The records


@pytest.fixture(scope="module")
def board():
    return claims.scoreboard(RECORDS)


def test_every_verdict_rests_on_at_least_five_layouts(board):
    numbers = {"C": range(1, 8), "R": range(1, 10), "N": range(1, 7)}
    assert [v.claim.id for v in board] == [f"{k}{i}" for k, ids in numbers.items() for i in ids]
    assert min(v.seeds for v in board) >= 5


def test_readme_says_what_the_records_say(board):
    pages = [shipped.folder().parent / name for name in ("README.md", "docs/results.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages if page.exists())
    table = re.search(r"<!-- scoreboard -->\n(.*?)\n<!-- /scoreboard -->", text, re.DOTALL)[1]
    assert table == claims.markdown(board)


def test_the_positive_control_is_harmed_and_english_rows_leave_the_bulk_alone():
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
