"""Mystery runs: the causes are what the runs are, and a wrong answer is told why."""

import pytest

from minimind_lite.lessons import lesson_12 as lesson

RIGHT = {letter: cause for letter, (_, cause) in lesson.MYSTERIES.items()}


@pytest.fixture(scope="module")
def runs():
    return lesson.mysteries()


def state(letter):
    settings, _ = lesson.MYSTERIES[letter]
    return "lab=2&" + "&".join(f"{name}={value}" for name, value in settings.changes().items())


def test_six_runs_of_six_causes_and_two_that_are_none_of_them(runs):
    assert len(set(RIGHT.values())) == 6 and set(RIGHT.values()) | {"g", "h"} == set(
        lesson.causes()
    )
    assert list(runs) == list("ABCDEF") and all(len(run) for run in runs.values())


def test_the_sick_run_is_told_by_the_held_out_loss(runs):
    letter, text = lesson.telltale(runs)
    assert letter == "d" and "held-out Chinese" in text


def test_evidence_has_a_row_per_run_and_gives_no_cause_away(runs):
    rows = lesson.evidence(runs)
    assert [row["run"] for row in rows] == list(lesson.MYSTERIES)
    frozen = next(letter for letter, cause in RIGHT.items() if cause == "b")
    start, end = next(r["held-out Chinese"] for r in rows if r["run"] == frozen).split(" → ")
    assert start == end
    assert not any(cause in str(rows) for cause in lesson.causes().values())


@pytest.mark.parametrize("letter", lesson.MYSTERIES)
def test_a_wrong_cause_is_told_why_and_a_right_one_is_not(letter, capsys):
    assert lesson.check_mysteries(RIGHT) and "Right, all of them." in capsys.readouterr().out
    assert not lesson.check_mysteries(RIGHT | {letter: "g"})
    out = capsys.readouterr().out
    assert f"{letter}: hardly a healthy shuffled run. " in out and out.count("✗") == 1
    assert not lesson.check_mysteries(RIGHT | {letter: "x"})
    assert "choose one of the letters" in capsys.readouterr().out
    assert not lesson.check_mysteries(RIGHT | {letter: None})
    assert f"{letter}: not answered yet." in capsys.readouterr().out


@pytest.mark.parametrize("letter", lesson.MYSTERIES)
def test_a_state_is_compared_step_by_step(letter, capsys):
    assert lesson.check_state(state(letter), letter)
    assert "step for step" in capsys.readouterr().out
    other = next(k for k in lesson.MYSTERIES if k != letter)
    assert not lesson.check_state(state(other), letter)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "Not answered yet"),
        (5, "expected a state of the lab as text"),
        ("hello", "state"),
        ("lab=2&order=shuffle&optimizer=sgd&batch_size=4", "not recorded"),
        ("lab=2&order=file&batch_size=4", "steps"),
    ],
)
def test_other_states_are_answered_in_words(answer, text, capsys):
    assert not lesson.check_state(answer, "B")
    assert text in capsys.readouterr().out


def test_the_curves_are_unnamed(runs):
    plot = lesson.curves(runs)
    assert plot.summary.startswith("Six training-loss curves without names. A: 139 steps")
    assert len(plot.figure.axes) == 6 and plot.png()
