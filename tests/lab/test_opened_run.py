"""The lab on any run folder: curve, rises in words, the very conversations of a step."""

import numpy as np
import pytest

from minimind_lite.files import jsonl, run_folder
from minimind_lite.files.encoded import file_stamp
from minimind_lite.lab import SpikeLab
from minimind_lite.lab.opened_run import OpenedRun
from minimind_lite.records import StepRecord

BATCH, STEPS = 2, 100


@pytest.fixture
def folder(tmp_path):
    """A spike at step 50, texts that try to be markup, two steps abandoned."""
    path = tmp_path / "talk.jsonl"
    talk = [
        (("user", f"Question {i} <b>bold</b> $x$"), ("assistant", f"Yes\x1b[2J {i}\nand no."))
        for i in range(BATCH * STEPS)
    ]
    jsonl.write(path, talk)
    info = {
        "lines_of": str(path),
        "data_stamp": list(file_stamp(path)),
        "train_config": {"order": "file", "optimizer": "adamw"},
        "probes_after": {"mine": 5.25},
    }
    loss = 1 + np.random.default_rng(0).normal(0, 0.02, STEPS)
    loss[50] += 2
    steps = [*range(42), *range(40, STEPS)]
    with run_folder.RunWriter(tmp_path / "my <i>run</i>", info) as writer:
        for step in steps:
            writer.write(
                StepRecord(
                    step=step,
                    epoch=0,
                    samples_seen=BATCH * step,
                    loss=loss[step],
                    tokens=20,
                    lr=1e-3,
                    grad_norm=1.0,
                    micro_losses=loss[step : step + 1],
                    rows=np.arange(BATCH) + BATCH * step,
                    sample_losses=loss[step] + np.array([-0.1, 0.1]),
                    sample_tokens=np.array([10, 10]),
                    probes={"mine": 5.5} if step == 0 else {},
                )
            )
    return tmp_path / "my <i>run</i>"


def test_a_step_has_its_conversations_the_hardest_first(folder):
    page = OpenedRun(folder).page(50)
    assert "Step 50, after 100 conversations: loss 3.0" in page
    assert "That is +2.0" in page
    assert page.index(">102<") < page.index(">101<")  # lines of rows 101 and 100
    assert "Question 101" in page and "and no." in page and "Question 99" not in page


def test_positions_are_those_of_the_run_that_was_not_abandoned(folder):
    opened = OpenedRun(folder)
    assert len(opened.run) == STEPS and len(opened.recorded) == STEPS + 2
    assert "Step 41," in opened.page(41)
    assert "2 more steps were abandoned" in opened.summary()


def test_texts_and_names_from_outside_never_become_markup(folder):
    opened = OpenedRun(folder)
    for page in (opened.page(50), opened.summary()):
        assert "<b>bold" not in page and "<i>" not in page and "\x1b" not in page
    assert "&lt;b&gt;bold" in opened.page(50) and "\\x1b[2J 1" in opened.page(50)


def test_the_rises_are_those_of_the_command_line(folder):
    opened = OpenedRun(folder)
    assert opened.choices() == [("1. step 50, +2.00", 50)]
    assert "Steps 50-50, lines 101-102" in opened.summary()
    assert "1. Steps" in opened.summary() and "mine" in opened.summary()


def test_the_picture_says_what_it_shows(folder):
    plot = OpenedRun(folder).picture(50)
    assert plot.summary.startswith("100 steps") and "rises at: step 50" in plot.summary
    ax, below = plot.figure.axes
    assert ax.get_legend_handles_labels()[1] == ["training loss", "step 50"]
    [line] = below.get_lines()
    assert line.get_ydata().tolist() == [5.5, 5.25]  # before the first step and after the last
    assert line.get_xdata().tolist() == [0, BATCH * STEPS]


def test_a_changed_file_leaves_the_losses_and_says_so(folder, tmp_path):
    (tmp_path / "talk.jsonl").write_text("other\n")
    page = OpenedRun(folder).page(50)
    assert "has changed since the run" in page and ">102<" in page and "Question" not in page


def test_the_panel_opens_the_first_rise_and_any_step(folder):
    view = SpikeLab.from_run(folder)
    assert view.position.value == 50 and "Step 50," in view.page.value
    before = bytes(view.image.value)
    view.position.value = 3
    assert "Step 3," in view.page.value and bytes(view.image.value) != before
    view.rises.value = 50
    assert view.position.value == 50 and "Step 50," in view.page.value


def test_in_chinese(folder):
    assert "第 50 步" in SpikeLab.from_run(folder, language="zh").page.value


@pytest.mark.parametrize("position", [-1, STEPS])
def test_a_step_that_is_not_there_is_refused(folder, position):
    with pytest.raises(ValueError, match="the run has 100 steps"):
        OpenedRun(folder).page(position)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run folder"):
        SpikeLab.from_run(tmp_path)
