"""The spikes of a run folder: steps, lines of the file, first words, ends, and advice."""

import numpy as np
import pytest

from minimind_lite.cli import main
from minimind_lite.files import jsonl, run_folder
from minimind_lite.files.encoded import file_stamp
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import run_probes

BATCH = 2
STEPS = 150


def record(step, loss, *, epoch=0, rows=None, one_row=0.0):
    rows = np.arange(BATCH * step, BATCH * (step + 1)) if rows is None else rows
    return StepRecord(
        step=step,
        epoch=epoch,
        samples_seen=BATCH * step,
        loss=loss,
        tokens=20,
        lr=1e-3,
        grad_norm=1.0,
        micro_losses=np.array([loss]),
        rows=rows,
        sample_losses=loss + np.array([-0.1 - one_row, 0.1 + one_row]),  # the second is harder
        sample_tokens=np.array([10, 10]),
        seconds=0.1,
        probes={"zh": {0: 5.5, 60: 4.0, 90: 6.0}[step]} if step in (0, 60, 90) else {},
    )


def curve():
    """Level 1, a spike at 50-52, a new level from 80 to 119, which then comes back."""
    loss = 1 + np.random.default_rng(0).normal(0, 0.02, STEPS)
    loss[50:53] += 2
    loss[80:120] += 1
    return loss


def write(folder, info, records):
    with run_folder.RunWriter(folder, info) as writer:
        for each in records:
            writer.write(each)
    return folder


@pytest.fixture
def info(tmp_path):
    """Of a file whose line 1 is bad and whose line 3 was held out."""
    path = tmp_path / "talk.jsonl"
    talk = [(("user", f"Question  {i}\nof many?"), ("assistant", "Yes.")) for i in range(400)]
    jsonl.write(path, talk)
    path.write_bytes(b"bad\n" + path.read_bytes())
    return {
        "lines_of": str(path),
        "data_stamp": list(file_stamp(path)),
        "skipped_lines": [1],
        "held_out_lines": [3],
        "train_config": {"order": "file", "optimizer": "adamw"},
        "probes_after": {"zh": 5.25},
    }


@pytest.fixture
def folder(info, tmp_path):
    records = [record(step, loss) for step, loss in enumerate(curve())]
    return write(tmp_path / "run", info, records)


def spikes(capsys, folder, *words):
    assert main(["spikes", str(folder), *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_rise_has_lines_first_words_an_end_and_advice(folder, capsys):
    """It was steps alone."""
    name, first, spike, begins, most, advice = spikes(capsys, folder)[:6]
    assert name == f"Run folder: {folder}"
    assert first == "Steps: 150; the loss rises at 2 places."
    # Rows 100 .. 105; lines 1 and 3 gave no row, and line 2 is row 0.
    assert spike.startswith("1. Steps 50-52, lines 103-108: +2.")
    assert spike.endswith("A spike: it is over at step 53, line 109.")
    assert begins == "   begins about here, line 103: Question 101 of many?"
    assert most.startswith("   adds most at the peak, line 10") and most.endswith("of many?")
    assert "compare lines 87-102 with 103-118" in advice and "--order shuffle" in advice


def test_a_level_shift_has_the_end_at_which_the_loss_comes_back(folder, capsys):
    """All five of a stranger's file were printed as if they had ended after 31 steps."""
    shift = spikes(capsys, folder)[6]
    assert shift.startswith("2. Steps 80-119, lines 163-242: +1.")
    assert shift.endswith("A level shift: the loss stays up until step 120, line 243.")


def test_a_level_shift_that_never_ends_goes_on_to_the_end(info, tmp_path, capsys):
    loss = curve()
    loss[120:] += 1
    records = [record(step, value) for step, value in enumerate(loss)]
    shift = spikes(capsys, write(tmp_path / "run", info, records))[6]
    assert shift.startswith("2. Steps 80-149") and shift.endswith(
        "It goes on to the end of the run."
    )


def test_a_rise_that_is_learnt_comes_down_slowly(info, tmp_path, capsys):
    loss = curve()
    loss[80:120] = 1 + 2 * np.exp(-np.arange(40) / 12) + loss[80:120] - 2
    records = [record(step, value) for step, value in enumerate(loss)]
    slow = spikes(capsys, write(tmp_path / "run", info, records))[6]
    [step] = [int(word.strip(",")) for word in slow.partition("gone at step ")[2].split()[:1]]
    assert "It comes down slowly" in slow and abs(step - (80 + 12 * np.log(2))) <= 3


def test_one_line_that_makes_a_spike_is_named(info, tmp_path, capsys):
    records = [record(s, 3 if s == 60 else v, one_row=2 * (s == 60)) for s, v in enumerate(curve())]
    lines = spikes(capsys, write(tmp_path / "run", info, records))
    [advice] = [line for line in lines if "alone makes" in line]
    assert "line 124 alone makes 10" in advice and "read it" in advice  # row 121


def test_what_random_batches_do_as_well_is_called_chance(info, tmp_path, capsys):
    """z alone has a false alarm in one of four shuffled passes over a stranger's file."""
    rng = np.random.default_rng(0)
    wide = [record(s, 1 + rng.normal(0, 0.02), one_row=3.0) for s in range(STEPS)]
    wide[70] = record(70, 1.5, one_row=3.0)
    lines = spikes(capsys, write(tmp_path / "run", info, wide))
    at = next(i for i, line in enumerate(lines) if "Steps 70-70" in line)
    assert "no p below chance" in lines[at]
    assert "do nothing" in lines[at + 3] or "alone makes" in lines[at + 3]


@pytest.mark.parametrize(
    "order, span, advice",
    [
        ("shuffle", "6 lines from all over the file", "their order is not the cause"),
        ("buffer:8", "6 lines, most of them from 1", "mixes neighbors only"),
    ],
)
def test_rows_that_are_no_stretch_of_the_file_are_not_given_as_one(
    info, tmp_path, capsys, order, span, advice
):
    rng = np.random.default_rng(1)
    rows = rng.permutation(BATCH * STEPS)
    if order != "shuffle":
        rows = np.arange(BATCH * STEPS) ^ 3  # neighbors change places
    batches = rows.reshape(STEPS, BATCH)
    records = [record(s, v, rows=batches[s]) for s, v in enumerate(curve())]
    info["train_config"]["order"] = order
    lines = spikes(capsys, write(tmp_path / "run", info, records))
    assert span in lines[2] and "begins about" not in lines[3]
    assert advice in lines[4]
    assert "--optimizer none" not in lines[-1]  # that is for file order


def test_a_frozen_model_is_not_told_to_shuffle(info, tmp_path, capsys):
    info["train_config"]["optimizer"] = "none"
    records = [record(step, loss) for step, loss in enumerate(curve())]
    text = "\n".join(spikes(capsys, write(tmp_path / "run", info, records)))
    assert "learns nothing" in text and "--order shuffle" not in text


def test_a_place_that_comes_back_in_every_epoch_is_said(info, tmp_path, capsys):
    loss = np.concatenate([curve()[:75], curve()[:75]])
    half = STEPS // 2
    records = [
        record(s, v, epoch=s // half, rows=np.arange(BATCH) + BATCH * (s % half))
        for s, v in enumerate(loss)
    ]
    text = "\n".join(spikes(capsys, write(tmp_path / "run", info, records)))
    assert "(epoch 1), lines 103-108" in text and "(epoch 2), lines 103-108" in text
    assert "1 of these are in later epochs" in text


def test_steps_that_a_rollback_abandoned_are_not_judged(info, tmp_path, capsys):
    """Positions and steps differ there, and the spike that was abandoned is none of the run's."""
    calm = curve()
    calm[50:53] -= 2
    records = [record(s, v) for s, v in enumerate(curve()[:55])]
    records += [record(s, v) for s, v in list(enumerate(calm))[40:]]
    text = spikes(capsys, write(tmp_path / "run", info, records))
    assert text[1] == "Steps: 150; the loss rises at 1 place."
    assert text[2].startswith("15 more steps were abandoned")
    assert text[3].startswith("1. Steps 80-119")


def test_held_out_losses_are_a_table_from_start_to_end(folder, capsys):
    """They took 9 % of the training time, and none was printed."""
    head, zh, lost = spikes(capsys, folder)[-4:-1]
    assert " ".join(head.split()) == "held-out loss (nats) start lowest (step) worst (step) end"
    assert " ".join(zh.split()) == "zh 5.50 4.00 (60) 6.00 (90) 5.25"
    assert "zh (+1.25)" in lost


def test_a_run_that_was_broken_off_ends_with_its_last_measurement(info, tmp_path, capsys):
    """It may hold what was measured before it went on."""
    records = [record(step, loss) for step, loss in enumerate(curve())]
    folder = write(tmp_path / "run", info | {"finished": False}, records)
    [zh] = [line for line in spikes(capsys, folder) if line.startswith("zh ")]
    assert " ".join(zh.split()) == "zh 5.50 4.00 (60) 6.00 (90) 6.00"


def test_a_run_too_short_for_z_is_judged_by_its_conversations(tmp_path, capsys):
    records = [record(s, 3.0 if 10 <= s < 14 else 1.0 + s % 3 / 10) for s in range(20)]
    _, first, rise = spikes(capsys, write(tmp_path / "run", {}, records))[:3]
    assert "too few for z" in first and "rises at 1 place" in first
    assert rise.startswith("1. Steps 10-13, lines 21-28: +") and "on average" in rise
    assert "no z: fewer than 30 steps before it" in rise  # it has none that is low


def test_a_rise_in_the_first_steps_of_a_long_run_has_no_z(tmp_path, capsys):
    """It said that no z was at or above the threshold, where none had been worked out."""
    records = [record(s, 3.0 if 10 <= s < 14 else 1.0 + s % 3 / 10) for s in range(60)]
    [_, first, rise, *_] = spikes(capsys, write(tmp_path / "run", {}, records))
    assert "too few for z" not in first and rise.startswith("1. Steps 10-13")
    assert "on average, no z: fewer than 30 steps before it, p = " in rise


def test_the_detector_can_be_set(folder, capsys):
    high = spikes(capsys, folder, "--min-height", "5")
    assert "no z at or above the threshold, p = " in high[2]  # the other one sees it still
    few = spikes(capsys, folder, "--window", "200")
    assert "too few for z, which takes more than 200" in few[1]
    assert main(["spikes", str(folder), "--window", "3"]) == 1
    assert "window of 5 or more" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["x", "nan", "-1", "inf"])
def test_a_threshold_that_is_no_number_is_refused(folder, capsys, word):
    with pytest.raises(SystemExit):
        main(["spikes", str(folder), f"--threshold={word}"])
    assert "is not a number from 0 on" in capsys.readouterr().err


def test_texts_of_a_file_that_has_changed_are_not_shown(folder, tmp_path, capsys):
    (tmp_path / "talk.jsonl").write_bytes((tmp_path / "talk.jsonl").read_bytes() + b"\n")
    text = "\n".join(spikes(capsys, folder))
    assert "lines 103-108" in text and "of many?" not in text
    assert "has changed since the run" in text  # and that is said
    (tmp_path / "talk.jsonl").unlink()
    assert main(["spikes", str(folder)]) == 0


def test_what_a_terminal_would_obey_is_shown(info, tmp_path, capsys):
    path = tmp_path / "talk.jsonl"
    path.write_bytes(path.read_bytes().replace(b"of many", b"\\u001b[2J\\u202eof many"))
    info["data_stamp"] = list(file_stamp(path))
    records = [record(step, loss) for step, loss in enumerate(curve())]
    text = "\n".join(spikes(capsys, write(tmp_path / "run", info, records)))
    assert "\\x1b[2J" in text and "\x1b" not in text and "\u202e" not in text


def test_many_rises_are_cut_to_the_highest(info, tmp_path, capsys):
    loss = 1 + np.random.default_rng(0).normal(0, 0.02, 1000)
    loss[40::35] += np.linspace(1, 2, len(loss[40::35]))
    records = [record(step, value) for step, value in enumerate(loss)]
    lines = spikes(capsys, write(tmp_path / "run", {}, records))
    assert sum(line.lstrip().startswith("Advice") for line in lines) == 20
    assert any("the 20 highest of 28" in line for line in lines)


def test_what_is_no_run_folder_is_one_line(tmp_path, capsys):
    assert main(["spikes", str(tmp_path / "nothing")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "is no run folder" in line


def test_a_held_out_loss_that_only_rose_was_not_learnt(monkeypatch):
    """Its lowest value was at the start: "learnt and lost again" was false."""
    table = {
        "zh": run_probes.HeldOut(5.5, 5.5, 0, 5.8, 40, 5.8),
        "en": run_probes.HeldOut(6.0, 5.0, 20, 6.0, 0, 5.5),
    }
    monkeypatch.setattr(run_probes, "held_out", lambda run: table)
    lines = run_probes.held_out_lines(Run({}, ()))
    assert lines[-2:] == [
        "Learnt and lost again by the end, above the lowest: en (+0.50).",
        "Worse at the end than at the start: zh (+0.30).",
    ]
