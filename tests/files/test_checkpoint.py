"""A checkpoint comes back as it was, or is refused by name: no byte may differ unseen."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.config import ModelConfig
from minimind_lite.files.checkpoint import (
    FORMAT,
    Checkpoint,
    DamagedCheckpoint,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from minimind_lite.files.model_file import load_model
from minimind_lite.model import LanguageModel
from minimind_lite.rows import EncodedRows

TINY = ModelConfig(vocab_size=8, dim=4, n_layers=1, n_heads=2, n_kv_heads=1, multiple_of=4)
FLIPS, CUTS = 1000, 200
PACKAGE = Path(__file__).resolve().parents[2] / "minimind_lite"


def checkpoint(**about: object) -> Checkpoint:
    model = LanguageModel(TINY, seed=1)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    moments = {"0.step": torch.tensor(3.0), "0.exp_avg": torch.tensor([0.1, -1e-30, torch.inf])}
    return Checkpoint(weights, moments, {"model_config": TINY.to_dict(), "step": 3, **about})


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "000000003", checkpoint(name="文"))
    return tmp_path / "000000003"


def test_what_is_saved_is_loaded(path):
    saved, loaded = checkpoint(name="文"), load_checkpoint(path)
    assert loaded.about == {**saved.about, "format": FORMAT}
    for tensors, again in ((saved.weights, loaded.weights), (saved.moments, loaded.moments)):
        assert tensors.keys() == again.keys()
        assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


def test_its_weights_are_a_model_file(path):
    model = load_model(path / "weights.safetensors")
    weights = checkpoint().weights
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())


def test_no_moments_are_no_moments(tmp_path):
    save_checkpoint(tmp_path / "a", Checkpoint(checkpoint().weights, {}, checkpoint().about))
    assert dict(load_checkpoint(tmp_path / "a").moments) == {}


def test_sha256sum_knows_it_too(path):
    words = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(words, cwd=path).returncode == 0
    (path / "state.json").write_text("{}")
    assert subprocess.run(words, cwd=path, capture_output=True).returncode == 1


def damaged(path: Path, file: Path, content: bytes) -> bool:
    """Whether `content` in the place of `file` is refused; the file is as before then."""
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        load_checkpoint(path)
    except DamagedCheckpoint as error:
        assert str(path) in str(error)
        return True
    finally:
        file.write_bytes(before)
    return False


def test_no_flipped_bit_is_loaded(path):
    """Anywhere in any of its files, the checksums themselves included."""
    rng, files = np.random.default_rng(0), sorted(path.iterdir())
    for i in range(FLIPS):
        file = files[i % len(files)]
        content = bytearray(file.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        assert damaged(path, file, bytes(content)), file
    load_checkpoint(path)  # whole again


def test_no_truncation_is_loaded(path):
    rng, files = np.random.default_rng(0), sorted(path.iterdir())
    for i in range(CUTS):
        file = files[i % len(files)]
        content = file.read_bytes()
        assert damaged(path, file, content[: rng.integers(len(content))]), file


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "SHA256SUMS"])
def test_a_missing_file_is_named(path, name):
    (path / name).unlink()
    with pytest.raises(DamagedCheckpoint, match=rf"no whole checkpoint: .*{name}"):
        load_checkpoint(path)


def test_the_damaged_file_is_named(path):
    (path / "optimizer.safetensors").write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match=r"checksum of optimizer\.safetensors is another"):
        load_checkpoint(path)


def test_another_version_is_refused(path, monkeypatch):
    monkeypatch.setattr("minimind_lite.files.checkpoint.FORMAT", FORMAT + 1)
    with pytest.raises(ValueError, match=f"format {FORMAT}, this version reads {FORMAT + 1}"):
        load_checkpoint(path)


def test_one_is_replaced_whole(path):
    save_checkpoint(path, checkpoint(step=4))
    assert load_checkpoint(path).about["step"] == 4
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_disk_that_takes_no_more_leaves_the_old_one(path):
    """The system itself refuses to write so many bytes to a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
    try:
        with pytest.raises(OSError, match=f"{path} can't be written: .*too large"):
            save_checkpoint(path, checkpoint(step=5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(path).about["step"] == 3
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_that_can_t_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file.000000003 can't be written"):
        save_checkpoint(tmp_path / "file" / "000000003", checkpoint())


def test_a_writer_killed_in_the_middle_leaves_the_old_one(path):
    """It dies with two of the four files written."""
    code = f"""
import os, pathlib
from files.test_checkpoint import checkpoint, save_checkpoint
write, written = pathlib.Path.write_bytes, []
def write_two(self, content):
    write(self, content)
    written.append(self)
    if len(written) == 2:
        os.kill(os.getpid(), 9)
pathlib.Path.write_bytes = write_two
save_checkpoint({str(path)!r}, checkpoint(step=9))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -9
    assert load_checkpoint(path).about["step"] == 3


def test_nothing_in_the_package_unpickles():
    """Loading must run no code: the one `torch.load` there may be says `weights_only=True`."""
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "import pickle" not in text and "allow_pickle" not in text, file
        assert text.count("torch.load(") == text.count("weights_only=True"), file


rows = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=5)


def encoded(lists: list[list[int]]) -> EncodedRows:
    ids = np.concatenate(lists).astype(np.uint16)
    return EncodedRows(ids, ids > 4, np.cumsum([0, *map(len, lists)]))


@settings(max_examples=100, deadline=None)
@given(rows, rows)
def test_rows_have_a_fingerprint_of_their_own(a, b):
    assert (fingerprint(encoded(a)) == fingerprint(encoded(b))) == (a == b)


def test_a_changed_mask_is_another_fingerprint():
    a = encoded([[1, 2], [3]])
    b = EncodedRows(a.ids, ~a.mask, a.offsets)
    assert fingerprint(a) != fingerprint(b)
