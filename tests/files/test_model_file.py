"""A model on disk: what is read is what was written, and a file that is none says so."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from minimind_lite.config import ModelConfig
from minimind_lite.files import model_file, work
from minimind_lite.files.model_file import load_model, save_model
from minimind_lite.model import LanguageModel

CONFIG = ModelConfig(
    vocab_size=31, dim=16, n_layers=2, n_heads=2, n_kv_heads=1, multiple_of=8, rope_theta=123.5
)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, LanguageModel(CONFIG, seed=5))
    return path


def rewrite(path, *, tensors=lambda t: t, config=lambda c: c):
    """The same file with other tensors or another configuration in it."""
    with safe_open(path, framework="pt") as stored:
        old = {name: stored.get_tensor(name) for name in stored.keys()}  # a file, not a dictionary
        values = json.loads(stored.metadata()["model_config"])
    save_file(tensors(old), path, metadata={"model_config": json.dumps(config(values))})


def test_fp32_comes_back_bit_for_bit_with_its_configuration(saved):
    model, loaded = LanguageModel(CONFIG, seed=5), load_model(saved)
    assert loaded.config == CONFIG
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True)
    )
    ids = torch.arange(31)[None]
    assert torch.equal(model(ids), loaded(ids))


@pytest.mark.parametrize("dtype, bits", [(torch.float16, 11), (torch.bfloat16, 8)])
def test_half_precision_comes_back_rounded_in_fp32(tmp_path, dtype, bits):
    save_model(tmp_path / "half", LanguageModel(CONFIG), dtype=dtype)
    for old, new in zip(
        LanguageModel(CONFIG).parameters(), load_model(tmp_path / "half").parameters(), strict=True
    ):
        assert new.dtype == torch.float32
        torch.testing.assert_close(
            new, old, rtol=2.0**-bits, atol=2.0**-25
        )  # half a unit in the last place


def test_saving_overwrites_and_leaves_one_file(saved):
    save_model(saved, LanguageModel(CONFIG, seed=6))
    assert torch.equal(
        load_model(saved).embedding.weight, LanguageModel(CONFIG, seed=6).embedding.weight
    )
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("at", ["while writing", "while renaming"])
def test_a_failed_save_leaves_the_old_file_and_no_other(saved, monkeypatch, at):
    def half_a_file(tensors, path, metadata):
        path.write_bytes(b"half a fi")
        raise OSError("disk full")

    def refused(*_):
        raise OSError("disk full")

    target, name, broken = (
        (model_file, "save_file", half_a_file)
        if at == "while writing"
        else (work.os, "replace", refused)
    )
    monkeypatch.setattr(target, name, broken)
    old = saved.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        save_model(saved, LanguageModel(CONFIG, seed=6))
    assert saved.read_bytes() == old and [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder that outlives the examples of one property."""
    folder = tmp_path_factory.mktemp("shelf")
    save_model(folder / "whole", LanguageModel(CONFIG))
    return folder


@settings(deadline=None, max_examples=30)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_an_error(shelf, share):
    whole = (shelf / "whole").read_bytes()
    (shelf / "cut").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut can't be read as a checkpoint .*cut short"):
        load_model(shelf / "cut")


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere can't be read as a checkpoint.*missing"):
        load_model(tmp_path / "nowhere")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="can't be read as a checkpoint"):
        load_model(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_from_elsewhere_is_an_error(tmp_path, metadata):
    save_file({"x": torch.zeros(3)}, tmp_path / "foreign", metadata=metadata)
    with pytest.raises(
        ValueError, match=r"foreign .*without a model_config.*not written by save_model"
    ):
        load_model(tmp_path / "foreign")


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda t: {n: x for n, x in t.items() if n != "norm.weight"},
            r"Missing key.*norm\.weight",
        ),
        (lambda t: t | {"bias": torch.zeros(1)}, "Unexpected key.*bias"),
        (lambda t: t | {"norm.weight": torch.zeros(7)}, r"size mismatch for norm\.weight"),
    ],
    ids=["missing", "extra", "other shape"],
)
def test_tensors_that_do_not_fit_are_an_error_not_a_fresh_start(saved, change, said):
    rewrite(saved, tensors=change)
    with pytest.raises(ValueError, match=f"(?s)don't fit its model_config.*{said}"):
        load_model(saved)


@pytest.mark.parametrize(
    "config",
    [
        lambda c: c | {"n_experts": 4},
        lambda c: c | {"dim": "wide"},
        lambda c: c | {"dim": 15},
        lambda c: c | {"rope_theta": "far"},
        lambda c: [16, 2],
        lambda c: None,
    ],
    ids=["unknown field", "no number", "contradiction", "no theta", "a list", "null"],
)
def test_a_configuration_that_is_none_is_an_error(saved, config):
    rewrite(saved, config=config)
    with pytest.raises(ValueError, match=r"n_experts|dim|rope_theta|model_config"):
        load_model(saved)
