"""`train --resume`: the same run goes on, another one is refused with the reason, in one line."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from minimind_lite.bench.kills import compare
from minimind_lite.cli import main
from minimind_lite.files import run_folder
from minimind_lite.runs import recorder

ROWS = 12
SETTINGS = ["--batch-size", "2", "--probe-every", "0", "--checkpoint-every", "2"]


@pytest.fixture
def stopped(tmp_path, jsonl, monkeypatch, capsys):
    """A run that Ctrl-C stopped after 3 of 6 steps."""
    write, folder = recorder.RunWriter.write, tmp_path / "run"

    def write_and_stop(self, record):
        write(self, record)
        if record.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(recorder.RunWriter, "write", write_and_stop)
        assert main(["train", "--data", str(jsonl), "--out", str(folder), *SETTINGS]) == 130
    assert f"3 of 6 steps are in {folder}. To go on: " in capsys.readouterr().err
    return folder


@pytest.fixture
def whole(tmp_path, jsonl):
    folder = tmp_path / "whole"
    assert main(["train", "--data", str(jsonl), "--out", str(folder), *SETTINGS]) == 0
    return folder


def go_on(folder, *words):
    return main(["train", "--resume", str(folder), *words])


def error_line(capsys):
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_it_ends_as_if_nobody_had_stopped_it(whole, stopped):
    assert go_on(stopped) == 0
    assert compare(whole, stopped) == ""


def test_settings_that_are_said_again_are_welcome(stopped):
    assert go_on(stopped, "--batch-size", "2", "--order", "file") == 0


@pytest.mark.parametrize(
    "words, message",
    [
        ("--batch-size 4", "--batch-size was 2 when the run began, and can't become 4"),
        ("--batch-size 16", "--batch-size was 2"),  # the default, but it was asked for
        ("--learning-rate 0.1", "--learning-rate was 0.0005"),
        ("--precision bf16", "--precision was fp32"),
        ("--model lite", "--model was nano"),
        ("--order shuffle", "--order was file"),
        ("--checkpoint-every 5", "--checkpoint-every was 2"),
        ("--rollback palm", "--rollback was not given when the run began"),
        ("--seed 7", "--seed was 0"),
        ("--out elsewhere", "give --out RUN for a new run, or --resume RUN"),
    ],
)
def test_another_run_is_refused(stopped, capsys, words, message):
    before = run_folder.load(stopped)
    assert go_on(stopped, *words.split()) == 1
    assert message in error_line(capsys)
    assert np.array_equal(run_folder.load(stopped).loss, before.loss)


def test_neither_out_nor_resume_is_refused(capsys):
    assert main(["train"]) == 1
    assert "give --out RUN for a new run, or --resume RUN" in error_line(capsys)


def test_another_file_is_refused(stopped, jsonl, tmp_path, capsys):
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"".join(jsonl.read_bytes().splitlines(keepends=True)[::-1]))
    assert go_on(stopped, "--data", str(other)) == 1
    assert "the data are not those that the run began with" in error_line(capsys)


def test_a_file_that_changed_is_refused(stopped, jsonl, capsys):
    text = jsonl.read_text(encoding="utf-8")
    jsonl.write_text(text.replace("。", "，", 1), encoding="utf-8")
    assert go_on(stopped) == 1
    assert "the data are not those that the run began with" in error_line(capsys)


def test_the_same_file_elsewhere_is_welcome(whole, stopped, jsonl, tmp_path, capsys):
    moved = tmp_path / "moved.jsonl"
    shutil.move(jsonl, moved)
    assert go_on(stopped) == 1
    assert "If you moved it, give its new place: --data FILE" in error_line(capsys)
    assert go_on(stopped, "--data", str(moved)) == 0
    assert "Texts are not shown" not in capsys.readouterr().out
    assert compare(whole, stopped) == ""
    info = run_folder.read_info(stopped)
    assert info["lines_of"] == str(moved) and info["options"]["data"] == str(moved)


def test_a_file_that_is_gone_is_named(stopped, jsonl, capsys):
    jsonl.unlink()
    assert go_on(stopped) == 1
    assert f"no file {jsonl}" in error_line(capsys)


def test_a_later_end_is_welcome(whole, tmp_path, jsonl, capsys):
    folder = tmp_path / "short"
    words = ["--data", str(jsonl), "--out", str(folder), *SETTINGS, "--max-steps", "3"]
    assert main(["train", *words]) == 0
    assert go_on(folder) == 1
    assert "ended at step 3: give a larger --max-steps" in error_line(capsys)
    assert go_on(folder, "--max-steps", "6") == 0
    assert compare(whole, folder) == ""


@pytest.mark.parametrize(
    "folder, message",
    [("nothing", "is no run folder"), ("whole", "is finished: nothing is left to train")],
)
def test_what_can_t_go_on_says_why(whole, tmp_path, capsys, folder, message):
    assert go_on(tmp_path / folder) == 1
    assert message in error_line(capsys)


def test_a_damaged_checkpoint_is_said_and_the_one_before_it_used(whole, stopped, capsys):
    newest = max((stopped / "checkpoints").iterdir())
    (newest / "state.json").write_text("{}")
    assert go_on(stopped) == 0
    assert f"{newest} is damaged: the checksum of state.json is another" in capsys.readouterr().out
    assert compare(whole, stopped) == ""


def test_a_run_that_another_process_writes_is_refused(stopped, capsys):
    taken = run_folder.lock(stopped)
    assert go_on(stopped) == 1
    assert f"another process writes to {stopped} just now" in error_line(capsys)
    taken.release()


def test_a_checkpoint_that_can_t_be_written_keeps_the_record(jsonl, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    save = recorder.DiskStates.add

    def full(self, state):
        if state.step:
            (self.folder.parent / "checkpoints").chmod(0o500)
            self.folder = self.folder / "000000000" / "state.json"  # a file, where none can be made
        save(self, state)

    monkeypatch.setattr(recorder.DiskStates, "add", full)
    assert main(["train", "--data", str(jsonl), "--out", str(folder), *SETTINGS]) == 1
    assert "the checkpoint" in (line := error_line(capsys)) and "can't be written" in line
    assert len(run_folder.load(folder)) == 2


def test_a_second_ctrl_c_stops_at_once(jsonl, tmp_path):
    """In a process of its own; the first one only asks for the end of the step."""
    code = """
import os, signal, sys
from minimind_lite.runs import session
train = session.train
def slow(*arguments, **options):
    for record in train(*arguments, **options):
        if record.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        yield record
session.train = slow
from minimind_lite.cli import main
sys.exit(main(sys.argv[1:]))
"""
    words = ["train", "--data", str(jsonl), "--out", str(tmp_path / "run"), *SETTINGS]
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert result.returncode == 130, result.stderr
    assert "once more stops at once" in result.stderr and "stopped at once" in result.stderr
    assert len(run_folder.load(tmp_path / "run")) == 2


def test_a_rollback_that_leaves_no_step_is_an_error(tmp_path, capsys, monkeypatch):
    """It trained nothing, said "Weights", and ended well."""
    calls = iter([False] * 4 + [True] + [False] * 99)
    defaults = recorder.rollback.RollbackPolicy.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "detector", lambda losses: next(calls))
    folder = tmp_path / "run"
    words = ["--out", str(folder), *SETTINGS, "--batch-size", "64", "--rollback", "palm"]
    assert main(["train", *words]) == 1
    printed = capsys.readouterr()
    assert "back to step 0, then without the next 205 batches. That leaves no step" in printed.err
    assert "5 more steps were abandoned" in printed.out and "Weights" not in printed.out
    assert not (folder / "model.safetensors").exists()
    assert go_on(folder) == 1
    assert "left no step: nothing can go on" in error_line(capsys)


def test_rollbacks_are_in_config_json(tmp_path, capsys, monkeypatch):
    calls = iter([False] * 4 + [True] + [False] * 99)
    defaults = recorder.rollback.RollbackPolicy.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "detector", lambda losses: next(calls))
    folder = tmp_path / "run"
    words = ["--out", str(folder), *SETTINGS, "--max-steps", "6", "--rollback", "lower-rate"]
    assert main(["train", *words]) == 0
    line = "Rollback: a spike starts at step 4: back to step 0, then the same rows again, at 0.5"
    assert capsys.readouterr().out.count(line) == 2  # when it happens, and in the report
    [rollback] = json.loads((folder / "config.json").read_text())["rollbacks"]
    assert (rollback["called_at"], rollback["back_to"], rollback["rate_factor"]) == (4, 0, 0.5)
    run = run_folder.load(folder)
    assert [r.step for r in run.records] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]
    assert run.records[5].lr == run.records[0].lr / 2
