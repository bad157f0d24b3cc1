"""The command line, called in-process: help, one line for a user's error, and a run folder that can be read."""

import json
import subprocess
import sys

import numpy as np
import pytest

from minimind_lite import __version__, conversations, spikes
from minimind_lite import cli as cli
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.records import Run
from minimind_lite.trainer import train

ROWS = 12


@pytest.fixture
def jsonl(tmp_path):
    """The first rows of the shipped file, as a file of its own."""
    path = tmp_path / "chat.jsonl"
    conversations.write(path, [c.messages for c in shipped.conversations()[:ROWS]])
    return path


@pytest.fixture
def run_train(jsonl, tmp_path):
    """`train` on that file into the folder `run`: three quick steps, whatever else is asked for."""

    def call(*words: str) -> int:
        return cli.main(
            [
                "train",
                "--data",
                str(jsonl),
                "--out",
                str(tmp_path / "run"),
                "--batch-size",
                "2",
                "--max-steps",
                "3",
                "--probe-every",
                "0",
                *words,
            ]
        )

    return call


# Help


@pytest.mark.parametrize(
    "words, said",
    [
        ("", ("reproduce", "train", "claims", "bench")),
        ("reproduce", ("--seeds", "--recorded", "default: nano")),
        (
            "train",
            (
                "--data",
                "--order",
                "file, shuffle_once, shuffle, buffer:K, block:K",
                "default: 0.0005",
            ),
        ),
    ],
)
def test_help_says_what_there_is(capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words.split(), "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    assert [part for part in said if part not in text] == []


def test_every_option_says_what_it_does():
    commands = next(
        action.choices for action in cli.parser()._actions if isinstance(action.choices, dict)
    )
    assert set(commands) == {"reproduce", "train", "claims", "bench"}
    assert [
        (name, action.dest)
        for name, command in commands.items()
        for action in command._actions
        if not action.help
    ] == []


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


# train


def test_train_leaves_a_run_folder_with_what_training_gives(run_train, tmp_path, jsonl, capsys):
    assert run_train("--learning-rate", "0.001") == 0
    run, chat = Run.load(tmp_path / "run"), shipped.chat()
    config = TrainConfig(batch_size=2, max_steps=3, learning_rate=0.001)
    rows = chat.encode_rows(conversations.read(jsonl), 512)
    direct = list(train(shipped.base_model(), rows, config))
    assert TrainConfig.from_dict(run.info["train_config"]) == config
    assert [r.rows.tolist() for r in run.records] == [[0, 1], [2, 3], [4, 5]]
    assert run.loss == pytest.approx([r.loss for r in direct], abs=1e-6)
    out = capsys.readouterr().out
    assert (
        "12 conversations read, 0 lines skipped" in out
        and "3 steps, too few to look for spikes" in out
    )


def test_a_run_folder_is_plain_json_and_parquet(run_train, tmp_path):
    assert run_train() == 0
    assert (
        json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["rows"] == ROWS
    )
    assert sorted(
        p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*.*")
    ) == ["config.json", "samples/000000.parquet", "steps/000000.parquet"]


def test_every_option_of_train_reaches_the_run(run_train, tmp_path):
    assert (
        run_train(
            "--order",
            "buffer:4",
            "--batch-size",
            "6",
            "--micro-batch-size",
            "3",
            "--epochs",
            "2",
            "--optimizer",
            "sgd",
            "--learning-rate",
            "0.1",
            "--schedule",
            "constant",
            "--seed",
            "5",
            "--max-seq-len",
            "40",
            "--max-steps",
            "4",
        )
        == 0
    )
    run = Run.load(tmp_path / "run")
    assert TrainConfig.from_dict(run.info["train_config"]) == TrainConfig(
        order="buffer:4",
        batch_size=6,
        micro_batch_size=3,
        epochs=2,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="constant",
        seed=5,
        max_steps=4,
    )
    assert [r.epoch for r in run.records] == [0, 0, 1, 1] and [
        len(r.micro_losses) for r in run.records
    ] == [2] * 4
    assert max(r.sample_tokens.max() for r in run.records) < 40


def test_a_preset_without_a_checkpoint_says_that_it_starts_from_nothing(
    run_train, tmp_path, capsys, monkeypatch
):
    small = cli.ModelConfig(vocab_size=2048, dim=16, n_layers=1, n_heads=1, n_kv_heads=1)
    monkeypatch.setattr(cli.ModelConfig, "preset", lambda name: small)
    assert run_train("--model", "minimind2_small") == 0
    assert "minimind2_small starts from random weights" in capsys.readouterr().out
    assert Run.load(tmp_path / "run").info["model_config"]["dim"] == 16


def test_probes_are_measured_on_demand(run_train, tmp_path, monkeypatch):
    everything = shipped.probes(shipped.chat())
    monkeypatch.setattr(
        shipped,
        "probes",
        lambda chat: {name: rows.select([0]) for name, rows in everything.items()},
    )
    assert run_train("--probe-every", "2") == 0
    assert [sorted(r.probes) for r in Run.load(tmp_path / "run").records] == [
        sorted(shipped.DOMAINS),
        [],
        sorted(shipped.DOMAINS),
    ]


def test_bad_lines_are_skipped_on_demand_and_listed(run_train, jsonl, tmp_path, capsys):
    jsonl.write_text("not JSON\n" + jsonl.read_text(encoding="utf-8"), encoding="utf-8")
    assert run_train("--skip-bad-lines") == 0
    out = capsys.readouterr().out
    assert (
        "12 conversations read, 1 lines skipped, 13 lines" in out
        and "chat.jsonl, line 1 (byte 0): not JSON" in out
    )
    assert len(Run.load(tmp_path / "run")) == 3


def test_interrupted_training_keeps_its_steps(run_train, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        yield from list(train(*arguments, **options))[:2]
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train", interrupted)
    assert run_train() == 130
    assert len(Run.load(tmp_path / "run")) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("stopped")


# Errors


def test_a_missing_file_is_one_line(run_train, capsys):
    assert run_train("--data", "nowhere.jsonl") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "nowhere.jsonl" in line


def test_a_bad_line_is_one_line_with_its_place(run_train, jsonl, capsys):
    jsonl.write_text(
        jsonl.read_text(encoding="utf-8") + '{"conversations": []}\n', encoding="utf-8"
    )
    assert run_train() == 1
    [line] = capsys.readouterr().err.splitlines()
    assert (
        line.startswith("error: ")
        and "chat.jsonl, line 13 (byte" in line
        and 'no list under the key "conversations"' in line
    )


@pytest.mark.parametrize(
    "words, said",
    [
        ("--order alphabetical", "no order 'alphabetical'; choose one of file"),
        ("--order buffer:0", "no order 'buffer:0'"),
        ("--device abacus", "device 'abacus' is not available here"),
        ("--micro-batch-size 3", "micro_batch_size must lie in 1 .. "),
        ("--learning-rate -1", "learning_rate must not be negative"),
        ("--learning-rate nan", "learning_rate must not be negative"),
        ("--probe-every -1", "probe_every must not be negative"),
    ],
)
def test_a_wrong_setting_is_one_line_and_leaves_no_folder(run_train, capsys, tmp_path, words, said):
    assert run_train(*words.split()) == 1
    assert not (tmp_path / "run").exists()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line


def test_an_empty_file_is_one_line(run_train, jsonl, capsys):
    jsonl.write_bytes(b"")
    assert run_train() == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "no rows" in line


def test_a_folder_that_holds_a_run_is_not_overwritten(run_train, tmp_path, capsys):
    assert run_train() == 0
    before, _ = Run.load(tmp_path / "run"), capsys.readouterr()
    assert run_train("--order", "shuffle") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "already holds a run" in line
    assert np.array_equal(Run.load(tmp_path / "run").loss, before.loss)


def test_a_diverged_run_says_so_in_its_last_line_and_keeps_its_steps(run_train, tmp_path, capsys):
    assert run_train("--learning-rate", "1e25") == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("error: loss or gradient is not finite at step 1")
    )
    assert len(Run.load(tmp_path / "run")) == 1


def test_a_word_that_is_no_number_is_refused_with_the_usage(run_train, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_train("--batch-size", "0")
    assert (
        stopped.value.code == 2 and "'0' is not a positive whole number" in capsys.readouterr().err
    )


def test_the_module_runs_and_returns_its_exit_code(tmp_path):
    words = [
        sys.executable,
        "-m",
        "minimind_lite",
        "train",
        "--data",
        "nowhere.jsonl",
        "--out",
        str(tmp_path / "run"),
    ]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)


# reproduce


def test_reproduce_shows_the_recorded_runs_as_table_picture_and_sentence(tmp_path, capsys):
    assert (
        cli.main(["reproduce", "--recorded", "--out", str(tmp_path / "new" / "picture.png")]) == 0
    )
    out, run = capsys.readouterr().out, shipped.recorded_run("nano-file")
    assert (tmp_path / "new" / "picture.png").read_bytes().startswith(b"\x89PNG")
    row = next(line for line in out.splitlines() if line.startswith("file "))
    for s in shipped.segments():
        found = spikes.at_rows(run, s.start, s.stop)
        assert f"{found.height:+.2f} z{found.z:5.1f}*" in row
    assert "Shuffled, 5 seeds: 0 events" in out
    assert all(f"+{e.peak_height:.2f} nats (z = {e.z:.0f})" in out for e in spikes.find(run.loss))


def test_reproduce_trains_what_it_is_asked_for(tmp_path, monkeypatch, capsys):
    asked = {}

    def quick(**options):
        asked.update(options)
        return {
            "file": shipped.recorded_run("nano-file"),
            "frozen": shipped.recorded_run("nano-frozen"),
            "shuffled, seed 0": shipped.recorded_run("nano-shuffled-0"),
        }

    monkeypatch.setattr(cli.experiments, "reproduce", quick)
    assert (
        cli.main(
            ["reproduce", "--model", "lite", "--seeds", "3", "--out", str(tmp_path / "picture.png")]
        )
        == 0
    )
    assert (asked["model"], asked["seeds"]) == ("lite", 3)
    assert "Shuffled, 1 seed: 0 events" in capsys.readouterr().out


def test_precision_is_measured_only_where_it_is_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        cli, "faster_precision", lambda *_: ("bf16", "precision: bf16, since it was measured.")
    )
    words = ["train", "--max-steps", "1", "--probe-every", "0", "--out"]
    assert (
        cli.main([*words, str(tmp_path / "a")]) == 0
        and "since it was measured" not in capsys.readouterr().out
    )
    assert (
        cli.main([*words, str(tmp_path / "b"), "--precision", "auto"]) == 0
        and "since it was measured" in capsys.readouterr().out
    )
    chosen = [
        json.loads((tmp_path / run / "config.json").read_text())["train_config"]["precision"]
        for run in "ab"
    ]
    assert chosen == ["fp32", "bf16"]
