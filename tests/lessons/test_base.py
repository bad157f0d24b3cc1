"""Predictions, folded answers, progress and the other small machinery of the lessons."""

import time

import pytest

from minimind_lite.files import work
from minimind_lite.lessons import base

REASON = "because"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORK", str(tmp_path))
    return tmp_path


@pytest.fixture
def shown(monkeypatch):
    """Texts that a cell would show."""
    texts = []
    monkeypatch.setattr(base, "display", lambda thing, **_: texts.append(thing.data))
    return texts


def question():
    return base.predict("05-enough", "Which?", choices=["this", "that"])


# Predictions


def test_a_prediction_is_stored_between_sessions():
    question().choose("b", 80, reason=REASON)
    assert question().made == {
        "question": "Which?",
        "choice": "b",
        "confidence": 80,
        "reason": REASON,
    }


def test_predictions_do_not_overwrite_each_other():
    question().choose("b")
    base.predict("06-batch", "Other?", choices=["yes", "no"]).choose("a")
    assert question().made["choice"] == "b"


@pytest.mark.parametrize("choice", ["c", "", "ab", None, 1, ["a"], {}, float("nan")])
def test_another_choice_is_an_error(choice):
    with pytest.raises(ValueError, match="choose one of the letters a, b"):
        question().choose(choice, 50)
    assert question().made is None


@pytest.mark.parametrize("confidence", [101, -1, None, "50", float("nan"), True, []])
def test_another_confidence_is_an_error(confidence):
    with pytest.raises(ValueError, match="confidence is a percentage"):
        question().choose("a", confidence)


def test_a_reason_that_is_no_text_is_an_error():
    """Stored, it would end every later report of the lab with an AttributeError."""
    with pytest.raises(ValueError, match="the reason is a text"):
        question().choose("a", 50, reason=None)
    assert question().made is None


@pytest.mark.parametrize("stored", [{}, {"choice": "z"}, {"choice": None}, {"choice": ["a"]}])
def test_a_stored_prediction_that_fits_no_choice_counts_as_none(stored, shown):
    work.save_prediction("05-enough", stored)
    assert question().made is None
    question().reveal("a", "")
    assert question().panel().children[1].value is None


def test_a_stored_prediction_without_confidence_can_be_shown(shown):
    work.save_prediction("05-enough", {"choice": "b", "confidence": "much", "reason": 3})
    question().reveal("b", "")
    assert "70 % sure" in shown[0]
    assert question().panel().children[1].value == "b"


def test_a_damaged_file_is_named(folder):
    (folder / "predictions.json").write_text("{")
    with pytest.raises(ValueError, match=r"predictions\.json is damaged"):
        assert question().made


def test_without_a_prediction_the_result_is_folded(shown):
    question().reveal("a", "So <it> is.")
    assert "no prediction yet" in shown[0] and "a)" not in shown[0]
    assert shown[1].startswith("<details>") and "So &lt;it&gt; is." in shown[1]


def test_reveal_says_right_and_wrong(shown):
    question().choose("a", 60)
    question().reveal("a", "So it is.")
    question().reveal("b", "")
    assert "**That is right.**" in shown[0] and "**Measured: a)** this So it is." in shown[0]
    assert "a)** this 60 % sure" in shown[1] and "Not this time" in shown[1]
    assert "A block is a piece of the file." in shown[1]  # the text for this choice, by key


def test_a_choice_without_a_text_is_no_error(shown):
    asked = base.predict("00-shuffle", "?", choices=["w", "x", "y", "z"])
    asked.choose("c")
    asked.reveal("a", "")
    assert "Not this time" in shown[0]


def test_the_save_button_saves_and_says_what_is_missing():
    prediction = question()
    choice, _, last = prediction.panel().children[1:]
    save, status = last.children
    save.click()
    assert status.value == "choose an answer first"
    choice.value = "b"
    save.click()
    assert prediction.made["choice"] == "b" and status.value.startswith("saved")


def test_a_prediction_needs_two_choices():
    with pytest.raises(ValueError, match="2 to 8 choices, got 1"):
        base.predict("05-enough", "?", choices=["only"])


# Answers


def test_an_answer_is_folded_and_escaped(shown, monkeypatch):
    monkeypatch.setattr(base, "texts", lambda *_: {"answer": "a < b"})
    base.answer("05-1")
    assert shown[0].startswith("<details>") and "a &lt; b" in shown[0]


@pytest.mark.parametrize("key", ["05-9", "05", "", "99-1", "../checks-1", "05-enough"])
def test_an_unknown_key_is_an_error_that_names_the_known_ones(key):
    with pytest.raises(ValueError, match="no exercises with the key"):
        base.answer(key)


# Progress


class Handle:
    def __init__(self):
        self.texts = []

    def update(self, markdown):
        self.texts.append(markdown.data)


@pytest.fixture
def line(monkeypatch):
    handle = Handle()
    monkeypatch.setattr(base, "display", lambda *_, **__: handle)
    monkeypatch.setattr(base, "REPAINT_SECONDS", 0.0)
    return handle


def test_progress_that_begins_at_zero_goes_on(line):
    """Division by the steps done stopped the experiment at step 0."""
    progress = base.Progress()
    for done in (0, 1, 2):
        time.sleep(0.001)
        progress("training", done, 2)
    assert line.texts[-1] == "training: 2 steps, done."
    assert "step 1 of 2, about 0 s left" in line.texts[0]


@pytest.mark.parametrize(("done", "total"), [(0, 0), (1, 0), (3, 2)])
def test_progress_over_the_end_is_done(line, done, total):
    base.Progress()("training", done, total)
    assert line.texts == [f"training: {total} steps, done."]


def test_the_same_experiment_again_starts_a_new_line(line):
    progress = base.Progress()
    progress("training", 2, 2)
    first = progress._start
    time.sleep(0.001)
    progress("training", 1, 2)
    assert progress._start > first


def test_progress_outside_a_notebook_is_silent(monkeypatch):
    monkeypatch.setattr(base, "display", lambda *_, **__: None)
    base.Progress()("training", 1, 1)


# Start-up


def test_show_source_names_file_and_line(shown):
    base.show_source(base.fold)
    assert "`lessons/base.py`, line " in shown[0] and "def fold(" in shown[0]
