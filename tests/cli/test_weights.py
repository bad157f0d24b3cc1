"""`train --weights`: a run starts from a file that fits, and says so, or is refused in one line."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from minimind_lite.cli import main
from minimind_lite.config import ModelConfig
from minimind_lite.files import run_folder, shipped
from minimind_lite.files.minimind_weights import APRIL_2025, FEBRUARY_2025
from minimind_lite.files.model_file import save_model
from minimind_lite.model import LanguageModel

ROWS = 6
SETTINGS = ["--batch-size", "2", "--probe-every", "0", "--checkpoint-every", "1"]
SETTINGS += ["--precision", "fp32"]
TINY = ModelConfig(vocab_size=2048, dim=16, n_layers=1, n_heads=8, n_kv_heads=2)


@pytest.fixture
def train(tmp_path, jsonl):
    """Train into a folder; the exit code, and the folder."""

    def run(name, *words):
        out = ["--data", str(jsonl), "--out", str(tmp_path / name)]
        return main(["train", *out, *SETTINGS, *map(str, words)]), tmp_path / name

    return run


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(path, LanguageModel(TINY, seed=3))
    return path


def minimind_file(path, model, names=APRIL_2025):
    """A model under MiniMind's names; that of February 2025 would rotate otherwise."""
    tensors = {names.theirs(name): p.detach() for name, p in model.named_parameters()}
    torch.save(tensors | {names.head: tensors[names.embedding]}, path)
    return path


def refused(capsys, *words):
    """The one line of the error. No data is read, and no folder is left."""
    capsys.readouterr()
    assert main(["train", "--data", "nowhere.jsonl", "--out", "run", *map(str, words)]) == 1
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith("error: ") and "nowhere" not in line and not captured.out
    return line


@pytest.fixture(autouse=True)
def no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "run").exists()


def test_a_run_starts_where_another_ended(train, capsys):
    _, first = train("first")
    weights = first / "model.safetensors"
    code, second = train("second", "--weights", weights, "--optimizer", "none")
    assert code == 0
    assert f"Starts from {weights}: 3 layers, 96 wide, 3 heads" in capsys.readouterr().out
    _, fresh = train("fresh", "--optimizer", "none")
    trained, untrained = (run_folder.load(folder).loss for folder in (second, fresh))
    assert trained.mean() < untrained.mean()  # on rows that it has learned


def test_config_json_says_what_it_started_from(train, tiny):
    code, folder = train("a", "--weights", "tiny.safetensors")
    assert code == 0
    info = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert info["weights"] == {"file": str(tiny), "sha256": digest}
    assert info["model_config"] == TINY.to_dict()
    assert info["options"]["weights"] == str(tiny) and info["options"]["model"] is None


def test_without_it_nothing_is_said_of_weights(train):
    _, folder = train("a")
    info = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert "weights" not in info and info["options"]["weights"] is None


def test_a_file_of_minimind_trains_as_the_same_model_of_ours(train, tmp_path):
    path = minimind_file(tmp_path / "full_sft_96.pth", shipped.base_model("nano"))
    code, theirs = train("theirs", "--weights", path, "--model", "nano")
    assert code == 0
    _, ours = train("ours")
    assert np.array_equal(run_folder.load(theirs).loss, run_folder.load(ours).loss)


def test_a_checkpoint_of_a_run_is_a_start(train, tmp_path):
    _, folder = train("a", "--max-steps", "1")
    weights = sorted((folder / "checkpoints").iterdir())[-1] / "weights.safetensors"
    code, again = train("b", "--weights", weights, "--optimizer", "none")
    _, whole = train("c", "--weights", folder / "model.safetensors", "--optimizer", "none")
    assert code == 0
    assert np.array_equal(run_folder.load(again).loss, run_folder.load(whole).loss)


def test_a_damaged_checkpoint_is_refused(train, capsys):
    _, folder = train("a", "--max-steps", "1")
    weights = sorted((folder / "checkpoints").iterdir())[-1] / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "weights.safetensors is damaged: its checksum" in refused(capsys, "--weights", weights)


def test_minimind_s_vocabulary_needs_minimind_s_tokenizer(tmp_path, capsys):
    model = LanguageModel(TINY.replace(vocab_size=6400))
    for names in (FEBRUARY_2025, APRIL_2025):
        path = minimind_file(tmp_path / "full_sft_16.pth", model, names)
        line = refused(capsys, "--weights", path)
        assert f"{path} has a vocabulary of 6,400, the tokenizer has 2,048 tokens" in line
        assert "MiniMind's weights need MiniMind's tokenizer, which isn't shipped" in line


def test_another_vocabulary_is_refused(tmp_path, capsys):
    save_model(tmp_path / "a", LanguageModel(TINY.replace(vocab_size=2047)))
    line = refused(capsys, "--weights", "a")
    assert "a has a vocabulary of 2,047" in line and "MiniMind's" not in line


def test_a_model_of_another_shape_is_refused(tiny, capsys):
    line = refused(capsys, "--weights", tiny, "--model", "nano")
    assert "tiny.safetensors is no nano model: it has 1 layers, 16 wide, 8 heads" in line
    assert "nano has 3 layers, 96 wide" in line


def test_the_shape_of_model_is_a_welcome_promise(train, tmp_path):
    save_model(tmp_path / "n", shipped.base_model("nano"))
    code, folder = train("a", "--weights", "n", "--model", "nano")
    assert code == 0
    info = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert info["options"]["model"] == "nano"
    _, shipped_one = train("b")
    assert np.array_equal(run_folder.load(folder).loss, run_folder.load(shipped_one).loss)


def test_rows_must_not_be_longer_than_the_model_sees(tmp_path, train, capsys):
    save_model(tmp_path / "short", LanguageModel(TINY.replace(max_seq_len=300)))
    line = refused(capsys, "--weights", "short")
    assert "short sees 300 tokens at most: lower --max-seq-len" in line
    assert train("a", "--weights", "short", "--max-seq-len", "300", "--max-steps", "1")[0] == 0


def test_a_longer_table_allows_longer_rows(tmp_path, train):
    path = minimind_file(tmp_path / "a.pth", LanguageModel(TINY))
    assert train("a", "--weights", path, "--max-seq-len", "600", "--max-steps", "1")[0] == 0


def test_what_is_no_file_of_weights_is_refused(tmp_path, jsonl, capsys):
    assert "a folder: give a file of it" in refused(capsys, "--weights", tmp_path)
    assert "absent" in refused(capsys, "--weights", "absent")
    assert "chat.jsonl can't be read as a checkpoint" in refused(capsys, "--weights", jsonl)
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04")
    assert "x.pth can't be read as a checkpoint" in refused(capsys, "--weights", "x.pth")


def test_a_resume_refuses_other_weights(train, tiny, tmp_path, capsys):
    _, folder = train("a", "--weights", tiny, "--max-steps", "1")
    shutil.copy(tiny, tmp_path / "other.safetensors")
    resume = ["train", "--resume", str(folder), "--max-steps", "2", "--weights"]
    capsys.readouterr()
    assert main([*resume, "other.safetensors"]) == 1
    assert "--weights was" in capsys.readouterr().err
    assert main([*resume, "tiny.safetensors"]) == 0  # the same, named from here


def test_a_run_without_weights_can_t_be_given_some(train, tiny, capsys):
    _, folder = train("a", "--max-steps", "1")
    assert main(["train", "--resume", str(folder), "--weights", str(tiny)]) == 1
    assert "--weights was not given when the run began" in capsys.readouterr().err


def test_a_resume_needs_the_weights_no_more(train, tiny):
    _, folder = train("a", "--weights", tiny, "--max-steps", "1")
    tiny.unlink()
    assert main(["train", "--resume", str(folder), "--max-steps", "2"]) == 0
