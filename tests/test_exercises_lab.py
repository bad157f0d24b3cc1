"""Mystery runs: the causes are what the runs are, and a wrong answer is told why."""

import pytest
from minimind_lite.lab.recordings import Setup

from minimind_lite.lessons import checks_lab as e

RIGHT = {letter: cause for letter, (_, cause) in e.MYSTERIES.items()}
STATES = {
    letter: f"lab=1&{'&'.join(f'{k}={v}' for k, v in knobs.changes().items())}"
    for letter, (knobs, _) in e.MYSTERIES.items()
}


def test_six_runs_of_six_causes_and_two_that_are_none_of_them():
    assert len(set(RIGHT.values())) == 6 and set(RIGHT.values()) | {"g", "h"} == set(e.CAUSES)
    assert all(len(e.mystery(letter)) for letter in e.MYSTERIES)
    with pytest.raises(ValueError, match="mystery runs are A, B"):
        e.mystery("Z")


def test_the_sick_run_is_told_by_the_held_out_loss(capsys):
    letter, said = e.telltale()
    assert letter == "d" and "held-out Chinese" in said


def test_evidence_has_a_row_per_run_and_gives_no_cause_away():
    rows = e.evidence()
    assert [r["run"] for r in rows] == list(e.MYSTERIES)
    frozen = next(letter for letter, cause in RIGHT.items() if cause == "b")
    start, end = next(r["held-out Chinese"] for r in rows if r["run"] == frozen).split(" → ")
    assert start == end
    assert not any(cause in str(rows) for cause in e.CAUSES.values())


@pytest.mark.parametrize("letter", e.MYSTERIES)
def test_a_wrong_cause_is_told_why_and_a_right_one_is_not(letter, capsys):
    assert e.check_mysteries(RIGHT) and "Right, all six" in capsys.readouterr().out
    assert not e.check_mysteries(RIGHT | {letter: "g"})
    said = capsys.readouterr().out
    assert (
        f"{letter}: hardly a healthy shuffled run. {e.HINTS[RIGHT[letter]]}" in said
        and said.count("✗") == 1
    )
    assert (
        not e.check_mysteries(RIGHT | {letter: "x"})
        and "choose one of the letters" in capsys.readouterr().out
    )
    assert (
        not e.check_mysteries(RIGHT | {letter: None})
        and f"{letter}: not yet." in capsys.readouterr().out
    )


@pytest.mark.parametrize("letter", e.MYSTERIES)
def test_a_state_is_compared_step_by_step(letter, capsys):
    assert e.check_state(letter, STATES[letter]) and "step for step" in capsys.readouterr().out
    other = next(k for k in e.MYSTERIES if k != letter)
    assert not e.check_state(letter, STATES[other])


@pytest.mark.parametrize(
    "state, said",
    [
        (None, "not yet"),
        ("hello", "no lab state"),
        ("lab=1&order=shuffle&optimizer=sgd&batch=4", "not recorded"),
        ("lab=1&order=file&batch=4", "steps"),
    ],
)
def test_other_states_are_answered_in_words(state, said, capsys):
    assert not e.check_state("B", state) and said in capsys.readouterr().out


def test_the_curves_are_unnamed():
    plot = e.curves()
    assert (
        plot.summary.startswith("Six training-loss curves without names. A: 139 steps")
        and len(plot.figure.axes) == 6
    )
    assert e.MYSTERIES["E"][0].setup() == Setup()
