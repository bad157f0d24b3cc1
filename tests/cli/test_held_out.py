"""Held-out lines of the user: kept back by `--hold-out`, or files of their own by `--probe`."""

import numpy as np
import pytest

from minimind_lite.cli import inputs, main
from minimind_lite.files import jsonl as jsonl_files
from minimind_lite.files import run_folder, shipped
from minimind_lite.files.run_texts import conversations_at, lines_of
from minimind_lite.trainer import mean_loss

ROWS = 12


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """A cache of the test's own, and small shipped probes."""
    monkeypatch.setenv("MINIMIND_LITE_CACHE", str(tmp_path / "cache"))
    few = {name: rows.select([0]) for name, rows in shipped.probes(shipped.chat()).items()}
    monkeypatch.setattr(shipped, "probes", lambda chat: few)


@pytest.fixture
def talk():
    return [c.messages for c in shipped.conversations()[:ROWS]]


@pytest.fixture
def run_train(talk, tmp_path):
    """`train` on a file with a bad line 2, into the folder `run`: three quick steps."""
    path = tmp_path / "chat.jsonl"
    jsonl_files.write(path, talk)
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\nbad\n" + rest)

    def call(*words):
        settings = ["--batch-size", "2", "--max-steps", "3", "--probe-every", "2"]
        paths = ["--data", str(path), "--out", str(tmp_path / "run")]
        return main(["train", *paths, *settings, "--skip-bad-lines", *words])

    return call


def test_lines_that_are_held_out_are_a_probe_and_are_not_trained_on(
    run_train, tmp_path, talk, capsys
):
    assert run_train("--hold-out", "3", "--max-steps", "9") == 0
    run, out = run_folder.load(tmp_path / "run"), capsys.readouterr().out
    assert "Held out, not trained on: 3 of 12 conversations" in out
    assert run.info["held_out_lines"] == [4, 8, 12]  # rows 2, 6, 10; line 2 was bad
    assert run.info["rows"] == 9
    rows = np.concatenate([r.rows for r in run.records])
    lines = lines_of(run, rows)
    assert lines.tolist() == [1, 3, 5, 6, 7, 9, 10, 11, 13]
    texts = conversations_at(run, lines.tolist())
    chat = shipped.chat()
    for line, n in zip(lines, np.concatenate([r.sample_tokens for r in run.records])):
        assert chat.encode_rows([texts[line]], 512).supervised().tolist() == [n]
    held_out = chat.encode_rows([type(texts[1])(talk[i], "", 0, 0) for i in (2, 6, 10)], 512)
    expected = mean_loss(shipped.base_model(), held_out)
    assert run.records[0].probes["held-out"] == pytest.approx(expected, abs=1e-5)
    assert "held-out  " in out


def test_a_file_of_held_out_lines_is_a_probe_of_its_name(run_train, tmp_path, talk, capsys):
    for name in ("mine", "yours"):
        jsonl_files.write(tmp_path / f"{name}.jsonl", talk[:2])
    names = [str(tmp_path / "mine.jsonl"), "--probe", str(tmp_path / "yours.jsonl")]
    assert run_train("--probe", *names) == 0
    run = run_folder.load(tmp_path / "run")
    assert {"mine", "yours", "zh"} <= set(run.records[0].probes)
    assert run.records[0].probes["mine"] == run.records[0].probes["yours"]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()].count("mine") == 1


def test_of_a_long_file_some_lines_are_measured(run_train, tmp_path, talk, capsys, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_PROBE_ROWS", 2)
    jsonl_files.write(tmp_path / "mine.jsonl", talk)
    assert run_train("--probe", str(tmp_path / "mine.jsonl")) == 0
    assert "2 of them, evenly spaced, are measured" in capsys.readouterr().out


def test_a_run_that_goes_on_has_the_same_held_out_lines(run_train, tmp_path, talk, capsys):
    """Others would be lines that it was trained on."""
    jsonl_files.write(tmp_path / "mine.jsonl", talk[:2])
    words = ["--hold-out", "3", "--probe", str(tmp_path / "mine.jsonl")]
    assert run_train(*words) == 0
    resume = ["train", "--resume", str(tmp_path / "run"), "--max-steps", "5"]
    assert main(resume) == 0
    run = run_folder.load(tmp_path / "run")
    assert [r.step for r in run.records] == [0, 1, 2, 3, 4]
    assert set(run.records[4].probes) == set(run.records[0].probes) > {"held-out", "mine"}
    assert run_train(*words, "--max-steps", "5", "--out", str(tmp_path / "whole")) == 0
    whole = run_folder.load(tmp_path / "whole")
    assert run.loss.tolist() == whole.loss.tolist()
    assert run.records[4].probes == whole.records[4].probes


@pytest.mark.parametrize(
    "words, message",
    [
        ("--hold-out 4", "--hold-out was 3 when the run began"),
        ("--probe mine.jsonl", "--probe was [] when the run began"),
    ],
)
def test_other_held_out_lines_are_refused_when_a_run_goes_on(
    run_train, tmp_path, capsys, words, message
):
    assert run_train("--hold-out", "3") == 0
    capsys.readouterr()
    assert main(["train", "--resume", str(tmp_path / "run"), *words.split()]) == 1
    assert message in capsys.readouterr().err


def test_a_frozen_model_reads_the_same_rows(run_train, tmp_path):
    """Or it could not be compared with the trained one."""
    assert run_train("--hold-out", "3", "--optimizer", "none") == 0
    run = run_folder.load(tmp_path / "run")
    assert run.info["held_out_lines"] == [4, 8, 12] and run.records[0].probes == {}


@pytest.mark.parametrize(
    "words, message",
    [
        ("--hold-out 7", "half of the 12 conversations at most can be held out, got 7"),
        ("--probe a/zh.jsonl", "another held-out set called 'zh': rename the file"),
        ("--probe a/x.jsonl b/x.jsonl", "another held-out set called 'x'"),
        ("--hold-out 2 --probe held-out.jsonl", "another held-out set called 'held-out'"),
        ("--probe x.jsonl --probe-every 0", "--probe-every 0 never measures a --probe"),
        ("--probe nothing.jsonl", "nothing.jsonl"),
    ],
)
def test_what_can_t_be_held_out_is_one_line_and_no_run(run_train, tmp_path, capsys, words, message):
    assert run_train(*words.split()) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "run").exists()
