"""The command line, called in-process: help, one line for a user's error, folders that are read."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minimind_lite import __version__
from minimind_lite.cli import data as reading
from minimind_lite.cli import main, parser
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.files import jsonl as jsonl_files
from minimind_lite.files import run_folder, shipped
from minimind_lite.runs import session
from minimind_lite.segments import DOMAINS
from minimind_lite.trainer import train

ROWS = 12
COMMANDS = {"reproduce", "train", "spikes", "compare", "check", "claims", "bench"}


@pytest.fixture
def run_train(jsonl, tmp_path):
    """`train` on that file into the folder `run`: three quick steps, whatever else is asked for."""

    def call(*words: str) -> int:
        settings = ["--batch-size", "2", "--max-steps", "3", "--probe-every", "0"]
        paths = ["--data", str(jsonl), "--out", str(tmp_path / "run")]
        return main(["train", *paths, *settings, *words])

    return call


def error_line(capsys):
    """The one line that went to stderr."""
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


# Help


@pytest.mark.parametrize(
    "words, parts",
    [
        ("", COMMANDS),
        ("reproduce", ("--seeds", "--recorded", "default: nano")),
        ("train", ("--data", "file, shuffle_once, shuffle, buffer:K", "default: 0.0005")),
    ],
)
def test_help_says_what_there_is(capsys, words, parts):
    with pytest.raises(SystemExit) as stopped:
        main([*words.split(), "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    assert [part for part in parts if part not in text] == []


def test_every_option_says_what_it_does():
    commands = next(a.choices for a in parser()._actions if isinstance(a.choices, dict))
    assert set(commands) == COMMANDS
    assert [
        (name, action.dest)
        for name, command in commands.items()
        for action in command._actions
        if not action.help
    ] == []


def test_train_has_an_option_for_every_setting_with_its_default():
    arguments = vars(parser().parse_args(["train", "--out", "x"]))
    own_defaults = {"probe_every": 20, "precision": None}
    settings = TrainConfig().to_dict() | {"betas": (0.9, 0.999)} | own_defaults
    assert {name: arguments[name] for name in settings} == settings


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    "words, message",
    [
        ("spikes", "the following arguments are required: run_folder"),
        ("train --out x --optimizer lion", "invalid choice: 'lion'"),
        ("train --out x --max-seq-len 0", "'0' is not a positive whole number"),
        ("dance", "invalid choice: 'dance'"),
    ],
)
def test_a_mistyped_command_is_two_lines(capsys, words, message):
    """It was fourteen lines of usage before the one that matters."""
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    first, second = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and message in first and "--help" in second


def test_what_a_command_does_not_need_is_not_imported():
    code = "import sys, minimind_lite.cli; minimind_lite.cli.parser(); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    heavy = {"torch", "matplotlib", "pandas", "pyarrow", "datasets", "ipywidgets", "scipy"}
    assert result.returncode == 0 and heavy & set(result.stdout.split()) == set()


# train


def test_train_leaves_a_run_folder_with_what_training_gives(run_train, tmp_path, jsonl, capsys):
    assert run_train("--learning-rate", "0.001") == 0
    run, chat = run_folder.load(tmp_path / "run"), shipped.chat()
    config = TrainConfig(batch_size=2, max_steps=3, learning_rate=0.001)
    rows = chat.encode_rows(jsonl_files.read(jsonl), 512)
    direct = list(train(shipped.base_model(), rows, config))
    assert TrainConfig.from_dict(run.info["train_config"]) == config
    assert [r.rows.tolist() for r in run.records] == [[0, 1], [2, 3], [4, 5]]
    assert run.loss == pytest.approx([r.loss for r in direct], abs=1e-6)
    said = capsys.readouterr()
    assert "12 conversations read, 0 lines skipped" in said.out
    assert "Steps: 3; too few for z" in said.out
    assert said.err == ""  # a log file gets no progress bar


def test_a_run_folder_is_plain_json_and_parquet(run_train, tmp_path):
    assert run_train() == 0
    folder = tmp_path / "run"
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["rows"] == ROWS
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))
    others = [name for name in files if not name.startswith("checkpoints/")]
    assert others == [".lock", "config.json", "model.safetensors", "steps/000000.parquet"]


def test_every_option_of_train_reaches_the_run(run_train, tmp_path):
    config = TrainConfig(
        order="buffer:4",
        batch_size=6,
        micro_batch_size=3,
        epochs=2,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="constant",
        betas=(0.5, 0.75),
        seed=5,
        max_steps=4,
    )
    words = (
        "--order buffer:4 --batch-size 6 --micro-batch-size 3 --epochs 2 --optimizer sgd "
        "--learning-rate 0.1 --schedule constant --betas 0.5 0.75 --seed 5 --max-steps 4"
    )
    assert run_train(*words.split()) == 0
    run = run_folder.load(tmp_path / "run")
    assert TrainConfig.from_dict(run.info["train_config"]) == config
    assert [r.epoch for r in run.records] == [0, 0, 1, 1]
    assert [len(r.micro_losses) for r in run.records] == [2] * 4


def test_a_preset_without_a_base_model_says_so(run_train, tmp_path, capsys, monkeypatch):
    small = ModelConfig(vocab_size=2048, dim=16, n_layers=1, n_heads=1, n_kv_heads=1)
    monkeypatch.setattr(ModelConfig, "preset", lambda name: small)
    assert run_train("--model", "minimind2_small", "--precision", "fp32") == 0
    assert "minimind2_small starts from random weights" in capsys.readouterr().out
    assert run_folder.load(tmp_path / "run").info["model_config"]["dim"] == 16


@pytest.fixture
def small_probes(monkeypatch):
    everything = shipped.probes(shipped.chat())
    few = {name: rows.select([0]) for name, rows in everything.items()}
    monkeypatch.setattr(shipped, "probes", lambda chat: few)


def test_probes_are_measured_and_their_change_is_printed(run_train, tmp_path, small_probes, capsys):
    """They took a tenth of the time, and nothing was said of them."""
    assert run_train("--probe-every", "2") == 0
    run = run_folder.load(tmp_path / "run")
    assert [sorted(r.probes) for r in run.records] == [sorted(DOMAINS), [], sorted(DOMAINS)]
    first, last = run.records[0].probes["zh"], run.info["probes_after"]["zh"]
    text = capsys.readouterr().out
    [line] = [line.split() for line in text.splitlines() if line.startswith("zh ")]
    assert "held-out loss (nats)" in text
    assert line[1] == f"{first:.2f}" and line[-1] == f"{last:.2f}"


def test_a_frozen_model_s_probes_are_not_measured(run_train, tmp_path, small_probes):
    """They can't change, and took a fifth of the time."""
    assert run_train("--probe-every", "1", "--optimizer", "none") == 0
    assert [r.probes for r in run_folder.load(tmp_path / "run").records] == [{}] * 3


def test_precision_is_measured_only_where_it_is_asked_for(tmp_path, capsys, monkeypatch, run_train):
    monkeypatch.setattr(
        "minimind_lite.bench.precision.faster_precision",
        lambda model, rows, *, config: ("bf16", f"{len(rows)} rows measured."),
    )
    assert run_train() == 0 and "rows measured" not in capsys.readouterr().out
    assert run_train("--precision", "auto", "--out", str(tmp_path / "b")) == 0
    assert "2 rows measured" in capsys.readouterr().out
    chosen = [
        json.loads((tmp_path / run / "config.json").read_text())["train_config"]["precision"]
        for run in ("run", "b")
    ]
    assert chosen == ["fp32", "bf16"]


# What is read, skipped and cut


def test_bad_lines_are_skipped_on_demand_and_listed(run_train, jsonl, tmp_path, capsys):
    jsonl.write_text("not JSON\n" + jsonl.read_text(encoding="utf-8"), encoding="utf-8")
    assert run_train("--skip-bad-lines") == 0
    out = capsys.readouterr().out
    assert "12 conversations read, 1 lines skipped, 13 lines" in out
    assert "chat.jsonl, line 1 (byte 0): not JSON" in out
    assert run_folder.load(tmp_path / "run").info["skipped_lines"] == [1]


def test_cut_rows_are_counted_printed_and_recorded(run_train, tmp_path, capsys):
    """3,260 of 16,769 rows of a stranger's file were cut without a word."""
    lengths = [len(shipped.chat().encode(c.messages)[0]) for c in shipped.conversations()[:ROWS]]
    longest = sorted(lengths)[-3]  # so two are longer
    assert run_train("--max-seq-len", str(longest)) == 0
    assert f"2 conversations (17%) are longer than {longest} tokens" in capsys.readouterr().out
    assert run_folder.load(tmp_path / "run").info["cut_rows"] == 2


def test_a_row_without_an_answer_is_refused_before_training(run_train, jsonl, tmp_path, capsys):
    """Training died at its step, hundreds of steps later."""
    long = (("user", "why? " * 2000), ("assistant", "Because."))
    with open(jsonl, "ab") as stream:
        jsonl_files.write(tmp_path / "long.jsonl", [long])
        stream.write((tmp_path / "long.jsonl").read_bytes())
    assert run_train("--batch-size", "1") == 1
    line = error_line(capsys)
    assert "line 13 (byte" in line and "no answer among the first 512 tokens" in line
    assert not (tmp_path / "run").exists()
    assert run_train("--batch-size", "1", "--skip-bad-lines", "--max-steps", "13") == 0
    run = run_folder.load(tmp_path / "run")
    assert len(run) == 12 and run.info["skipped_lines"] == [13]


def test_a_file_that_is_mostly_bad_is_not_trained_on_unasked(run_train, jsonl, tmp_path, capsys):
    """Of a ZIP archive two "lines" were trained on."""
    jsonl.write_bytes(jsonl.read_bytes() + b'{"a": "b"}\n' * 13)
    assert run_train("--skip-bad-lines") == 1
    line = error_line(capsys)
    assert "only 12 of 25 lines" in line and "--allow-mostly-bad" in line
    assert not (tmp_path / "run").exists()
    assert run_train("--skip-bad-lines", "--allow-mostly-bad") == 0


def test_train_finds_the_encoded_form_again(run_train, tmp_path, jsonl, monkeypatch, capsys):
    monkeypatch.setitem(reading.encode_file.__kwdefaults__, "smallest", 0)
    outputs = []
    for name, words in (("a", ["--no-cache"]), ("b", []), ("c", [])):
        assert run_train("--out", str(tmp_path / name), *words) == 0
        outputs.append(capsys.readouterr().out)
    parts = ["Token ids", "Token ids kept in", "Token ids found in"]
    assert [part in out for part, out in zip(parts, outputs)] == [False, True, True]
    [meta] = tmp_path.glob("cache/encoded/*/meta.json")
    meta.write_text("?")
    assert run_train() == 0
    assert "warning: the cached form of" in capsys.readouterr().err


# What is refused, before a file is read


@pytest.mark.parametrize(
    "words, message",
    [
        ("--order alphabetical", "no order 'alphabetical'; choose one of file"),
        ("--order buffer:0", "no order 'buffer:0'"),
        ("--device abacus", "device 'abacus' is not available here"),
        ("--device cpu:x", "device 'cpu:x' is not available here"),
        ("--micro-batch-size 3", "micro_batch_size must not exceed batch_size"),
        ("--batch-size 0", "batch_size must be a whole number from 1"),
        ("--batch-size 99999999999999999999", "batch_size must be a whole number from 1"),
        ("--learning-rate -1", "learning_rate must be a finite number"),
        ("--learning-rate nan", "learning_rate must be a finite number"),
        ("--learning-rate inf", "learning_rate must be a finite number"),
        ("--probe-every -1", "probe_every must be a whole number from 0"),
        ("--max-seq-len 1024", "nano sees 512 tokens at most"),
        ("MINIMIND_LITE_WORKERS=abc", "MINIMIND_LITE_WORKERS must be a whole number"),
        ("MINIMIND_LITE_WORKERS=-1", "MINIMIND_LITE_WORKERS must be a whole number"),
        ("MINIMIND_LITE_WORKERS=1.5", "MINIMIND_LITE_WORKERS must be a whole number"),
        (
            "MINIMIND_LITE_CACHE=~nosuchuser/c",
            "MINIMIND_LITE_CACHE='~nosuchuser/c' names no folder",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_before_anything_is_read(
    run_train, capsys, tmp_path, monkeypatch, words, message
):
    """Some were noticed only after minutes of encoding, some were tracebacks."""
    monkeypatch.delattr(reading, "encode")
    if "=" in words:
        monkeypatch.setenv(*words.split("="))
        words = ""
    assert run_train(*words.split()) == 1
    assert message in error_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_refused_before_anything_is_read(
    run_train, tmp_path, capsys, monkeypatch
):
    assert run_train() == 0
    before, _ = run_folder.load(tmp_path / "run"), capsys.readouterr()
    monkeypatch.delattr(reading, "encode")
    assert run_train("--order", "shuffle") == 1
    assert "already holds a run" in error_line(capsys)
    assert np.array_equal(run_folder.load(tmp_path / "run").loss, before.loss)


def test_a_folder_that_can_t_be_made_is_refused_before_anything_is_read(
    run_train, tmp_path, capsys, monkeypatch
):
    monkeypatch.delattr(reading, "encode")
    (tmp_path / "file").touch()
    assert run_train("--out", str(tmp_path / "file" / "run")) == 1
    assert str(tmp_path / "file") in error_line(capsys)
    assert run_train("--out", str(tmp_path / "file")) == 1
    assert "is a file; choose another folder" in error_line(capsys)


def test_of_two_runs_into_one_folder_the_second_is_refused(
    run_train, tmp_path, capsys, monkeypatch
):
    """Both ended well, and the steps of one were gone."""

    def second_begins(*arguments, **options):
        monkeypatch.setattr(session, "train", train)
        assert run_train() == 1
        assert "another process writes to" in error_line(capsys)
        yield from train(*arguments, **options)

    monkeypatch.setattr(session, "train", second_begins)
    assert run_train() == 0
    assert len(run_folder.load(tmp_path / "run")) == 3


# Stops and errors


@pytest.mark.parametrize("steps", [0, 2])
def test_an_interrupted_run_says_what_is_kept_and_where(
    run_train, tmp_path, monkeypatch, capsys, steps
):
    """It said "what was recorded so far is kept", also when nothing was."""

    def interrupted(*arguments, **options):
        yield from list(train(*arguments, **options))[:steps]
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "train", interrupted)
    assert run_train() == 130
    said = capsys.readouterr()
    folder = tmp_path / "run"
    assert said.err.startswith("stopped")
    if steps:
        assert f"2 of 3 steps are in {folder}. To go on: " in said.err
        assert f"train --resume {folder}" in said.err and "Steps: 2; too few" in said.out
        assert len(run_folder.load(folder)) == 2
    else:
        assert "no step was made" in said.err and not folder.exists()


def test_a_diverged_run_says_so_in_its_last_line_and_keeps_its_steps(run_train, tmp_path, capsys):
    assert run_train("--learning-rate", "1e25") == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: loss or gradient is not finite at step 1")
    assert "Steps: 1; too few" in said.out and len(run_folder.load(tmp_path / "run")) == 1


def test_a_full_disk_is_one_line_that_names_the_folder(run_train, tmp_path, monkeypatch, capsys):
    import pyarrow.parquet as pq

    def full(*arguments, **options):
        raise OSError(28, "Error writing bytes to file")

    monkeypatch.setattr(pq, "write_table", full)
    assert run_train() == 1
    assert str(tmp_path / "run") in error_line(capsys)


def test_errors_of_the_device_are_one_line_and_mistakes_of_ours_are_not(
    run_train, monkeypatch, capsys
):
    class OutOfMemoryError(RuntimeError):
        """As torch names it."""

    def fail(error):
        def train(*arguments, **options):
            raise error
            yield

        monkeypatch.setattr(session, "train", train)

    fail(OutOfMemoryError("CUDA out of memory.\nTried to allocate ..."))
    assert run_train() == 1
    assert error_line(capsys) == "error: the device: CUDA out of memory."
    fail(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run_train()


def test_a_missing_file_is_one_line(run_train, capsys, tmp_path):
    assert run_train("--data", "nowhere.jsonl") == 1
    assert "nowhere.jsonl" in error_line(capsys) and not (tmp_path / "run").exists()


def test_a_bad_line_is_one_line_with_its_place(run_train, jsonl, capsys):
    with open(jsonl, "a", encoding="utf-8") as stream:
        stream.write('{"conversations": []}\n')
    assert run_train() == 1
    line = error_line(capsys)
    assert "chat.jsonl, line 13 (byte" in line and "--skip-bad-lines" in line
    assert 'no list under the key "conversations"' in line


def test_another_format_is_converted_and_that_is_said(run_train, jsonl, tmp_path, capsys):
    """ShareGPT was told "turn 1 is None, expected 'user'"."""
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    jsonl.write_text((json.dumps({"conversations": turns}) + "\n") * 4)
    assert run_train() == 0
    [lines] = (tmp_path / "cache" / "lines").iterdir()
    assert f"{jsonl} as lines of MiniMind's format: {lines}" in capsys.readouterr().out
    assert run_folder.load(tmp_path / "run").info["lines_of"] == str(lines)


def test_an_empty_file_is_one_line(run_train, jsonl, capsys):
    jsonl.write_bytes(b"")
    assert run_train() == 1
    assert "no rows" in error_line(capsys)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_a_file_whose_name_is_no_text_is_trained_on(run_train, jsonl, tmp_path):
    """It was a bare codec error."""
    path = jsonl.rename(tmp_path / os.fsdecode(b"chat-\xff.jsonl"))
    assert run_train("--data", str(path)) == 0
    assert r"chat-\xff.jsonl" in run_folder.load(tmp_path / "run").info["data"]


def test_an_ascii_terminal_gets_the_whole_result_of_a_chinese_path(tmp_path, jsonl):
    """The result was not printed. The same process shows that the module returns an exit code."""
    path = jsonl.rename(tmp_path / "数据.jsonl")
    path.write_bytes(path.read_bytes() + b"bad\n")
    result = subprocess.run(
        [sys.executable, "-m", "minimind_lite", "check", str(path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (1, "")
    assert r"\u6570\u636e.jsonl, line 13" in result.stdout and "in answers" in result.stdout


# check


def test_check_lists_what_is_wrong_with_a_file(jsonl, capsys):
    assert main(["check", str(jsonl)]) == 0
    rows = shipped.chat().encode_rows(jsonl_files.read(jsonl))
    assert f"{len(rows.ids):,} tokens, {rows.supervised().sum():,} of" in capsys.readouterr().out
    jsonl.write_bytes(jsonl.read_bytes() + b"bad\n" * 15)
    assert main(["check", str(jsonl), "--most", "14"]) == 1
    out = capsys.readouterr().out
    assert "12 conversations read, 15 lines skipped" in out
    assert [out.count(f", line {n} (") for n in (13, 26, 27)] == [1, 1, 0]
