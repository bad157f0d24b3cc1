"""The spikes of a run folder: steps, lines of the file, first words, level shifts by name."""

import numpy as np
import pytest

from minimind_lite.cli import main
from minimind_lite.files import jsonl, run_folder
from minimind_lite.files.encoded import file_stamp
from minimind_lite.records import StepRecord

BATCH = 2


def record(step, loss):
    rows = np.arange(BATCH * step, BATCH * (step + 1))
    return StepRecord(
        step=step,
        epoch=0,
        samples_seen=BATCH * step,
        loss=loss,
        tokens=20,
        lr=1e-3,
        grad_norm=1.0,
        micro_losses=np.array([loss]),
        rows=rows,
        sample_losses=np.array([loss, loss + 1]),  # the second is the harder one
        sample_tokens=np.array([10, 10]),
        seconds=0.1,
        probes={"zh": 5.5} if step == 0 else {},
    )


@pytest.fixture
def folder(tmp_path):
    """120 steps with a spike at 50-52 and a new level from 80 on; line 1 of the file is bad."""
    path, noise = tmp_path / "talk.jsonl", np.random.default_rng(0).normal(0, 0.02, 120)
    talk = [(("user", f"Question  {i}\nof many?"), ("assistant", "Yes.")) for i in range(240)]
    jsonl.write(path, talk)
    path.write_bytes(b"bad\n" + path.read_bytes())
    loss = 1 + noise
    loss[50:53] += 2
    loss[80:] += 1
    info = {
        "lines_of": str(path),
        "data_stamp": list(file_stamp(path)),
        "skipped_lines": [1],
        "train_config": {"order": "file"},
        "probes_after": {"zh": 5.25},
    }
    with run_folder.RunWriter(tmp_path / "run", info) as writer:
        for step, value in enumerate(loss):
            writer.write(record(step, value))
    return tmp_path / "run"


def test_events_are_lines_of_the_file_with_their_first_words(folder, capsys):
    """It was steps alone, and a level shift looked like a spike that had ended."""
    assert main(["spikes", str(folder)]) == 0
    first, spike, words, shift, more, _, _, _, advice, probes = capsys.readouterr().out.splitlines()
    assert first == f"Steps: 120; spike events: 2. Run folder: {folder}"
    # Rows 100 .. 105, and line 1 gave no row.
    assert spike.startswith("  steps 50-52: +2.") and spike.endswith("lines 102-107")
    assert "line 103" in words or "line 105" in words or "line 107" in words
    assert "Question 101 of many?" in words or "of many?" in words
    assert (
        "steps 80-110 and on: +1." in shift
        and "a level shift" in shift
        and "lines 162-223 and on" in shift
    )
    assert "of many?" in more and "--order shuffle" in advice
    assert probes == "Held-out loss, start to end, nats: zh 5.50 to 5.25."


def test_what_the_other_detector_says_is_named_and_has_ends(folder, capsys):
    """A level shift has lines up to the end of the run; z gives up after its window."""
    assert main(["spikes", str(folder)]) == 0
    title, spike, shift = capsys.readouterr().out.splitlines()[5:8]
    assert title == (
        "Harder than random batches of the rows before them: 2 (p: how often chance does as much)"
    )
    assert spike.startswith("  steps 50-52: +1.99 nats on average") and spike.endswith(
        "lines 102-107"
    )
    assert shift.startswith("  steps 80-119: +1.") and shift.endswith("p < 1e-12; lines 162-241")


def test_a_run_too_short_for_z_is_judged_by_its_conversations(tmp_path, capsys):
    with run_folder.RunWriter(tmp_path / "run", {}) as writer:
        for step in range(20):
            writer.write(record(step, 3.0 if 10 <= step < 14 else 1.0 + step % 3 / 10))
    assert main(["spikes", str(tmp_path / "run")]) == 0
    first, title, event = capsys.readouterr().out.splitlines()
    assert "too few for z" in first and "rows before them: 1" in title
    assert event.startswith("  steps 10-13: +") and event.endswith("lines 21-28")


def test_texts_of_a_file_that_has_changed_are_not_shown(folder, tmp_path, capsys):
    (tmp_path / "talk.jsonl").write_bytes((tmp_path / "talk.jsonl").read_bytes() + b"\n")
    assert main(["spikes", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "lines 102-107" in out and "of many?" not in out
    assert "has changed since the run" in out  # and that is said
    (tmp_path / "talk.jsonl").unlink()
    assert main(["spikes", str(folder)]) == 0


def test_what_is_no_run_folder_is_one_line(tmp_path, capsys):
    assert main(["spikes", str(tmp_path / "nothing")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "is no run folder" in line
