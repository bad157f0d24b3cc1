"""Predictions and the other small machinery of the lessons."""

import pytest

from minimind_lite import spikes
from minimind_lite.files.shipped import recorded_run, segments
from minimind_lite.lessons import base, checks


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORK", str(tmp_path))
    return tmp_path


@pytest.fixture
def shown(monkeypatch):
    """Markdown texts that a cell would show."""
    texts = []
    monkeypatch.setattr(base, "display", lambda thing, **_: texts.append(thing.data))
    return texts


def question():
    return base.predict("t-1", "Which?", ["this", "that"])


def test_a_prediction_is_kept_between_sessions():
    question().choose("b", 80, "because")
    assert question().made == {
        "question": "Which?",
        "choice": "b",
        "confidence": 80,
        "reason": "because",
    }


def test_predictions_do_not_overwrite_each_other():
    question().choose("b")
    base.predict("t-2", "Other?", ["yes", "no"]).choose("a")
    assert question().made["choice"] == "b"


@pytest.mark.parametrize(
    "choice, confidence", [("c", 50), ("", 50), ("ab", 50), ("a", 101), ("a", -1)]
)
def test_a_bad_prediction_is_an_error(choice, confidence):
    with pytest.raises(ValueError):
        question().choose(choice, confidence)
    assert question().made is None


def test_a_damaged_file_is_named(work):
    (work / "predictions.json").write_text("{")
    with pytest.raises(ValueError, match=r"predictions\.json is damaged"):
        assert question().made


def test_reveal_without_a_prediction_goes_on(shown):
    question().reveal("a", "So it is.")
    assert "no prediction yet" in shown[0] and "**Measured: a)** this So it is." in shown[0]


def test_reveal_says_right_and_wrong(shown):
    question().choose("a")
    question().reveal("a", "")
    question().reveal("b", "", others={"a": "This is why not."})
    assert "**It did.**" in shown[0]
    assert "It did otherwise" in shown[1] and "This is why not." in shown[1]


def test_the_save_button_saves_and_shows_errors():
    prediction = question()
    choice, _, last = prediction.panel().children[1:]
    save, said = last.children
    save.click()
    assert said.value.startswith("error")
    choice.value = "b"
    save.click()
    assert prediction.made["choice"] == "b" and said.value.startswith("saved")


def test_open_step_shows_the_hardest_first(shown):
    run = recorded_run("nano-file")
    base.open_step(run, spikes.find(run.loss)[0].peak, most=2)
    rows = [line for line in shown[0].splitlines() if line.startswith("| ")][1:]
    losses = [float(row.split("|")[2]) for row in rows]
    assert len(losses) == 2 and losses[0] >= losses[1]


def test_a_folded_answer_is_escaped(shown):
    base.answer("a < b")
    assert "a &lt; b" in shown[0] and "<details>" in shown[0]


# Exercises: untouched, wrong, right


def test_first_spike(capsys):
    run = recorded_run("nano-file")
    assert not checks.check_row_in_first_spike(None, run)
    assert not checks.check_row_in_first_spike(0, run)
    assert not checks.check_row_in_first_spike(10**6, run)
    assert checks.check_row_in_first_spike(segments()[0].start + 20, run)
    assert "not yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    "order, says",
    [
        (None, "not yet"),
        ("shuffle", 'write "buffer:K"'),
        (7, 'write "buffer:K"'),
        ("buffer:x", "no order"),
    ],
)
def test_buffer_exercise_explains(order, says, capsys):
    assert not checks.check_buffer_removes_spikes(order)
    assert says in capsys.readouterr().out


def test_hardest_line(capsys):
    run = recorded_run("nano-3epochs-as-reported")
    last = [e for e in spikes.find(run.loss) if run.records[e.start].epoch == 2]
    record = run.records[max(last, key=lambda e: e.peak_height).peak]
    line = int(record.rows[record.sample_losses.argmax()]) + 1
    assert checks.check_hardest_line(line, run)
    assert not checks.check_hardest_line(int(record.rows[record.sample_losses.argmin()]) + 1, run)
    assert not checks.check_hardest_line(1, run)
    assert not checks.check_hardest_line(None, run)
    assert "right step, but not its hardest" in capsys.readouterr().out


def test_log_shows_segment():
    run, tiny = recorded_run("nano-3epochs-as-reported"), segments()[-1]
    right = [n for n in range(5) if checks.check_log_shows_segment(n, run, tiny, interval=4)]
    assert len(right) == 1
    assert not checks.check_log_shows_segment(None, run, tiny, interval=4)
