"""Base models that are made where they are needed: what they read, and that they are made once."""

import pytest

from minimind_lite.config import ModelConfig
from minimind_lite.files import shipped, work
from minimind_lite.model import LanguageModel
from minimind_lite.science import bases, layouts
from minimind_lite.science.bases import Base

TINY = ModelConfig(vocab_size=2048, dim=8, n_layers=1, n_heads=1, n_kv_heads=1, multiple_of=8)


@pytest.fixture
def pretrained(monkeypatch, tmp_path):
    """Bases of a few weights that are not trained; the rows that each would have read."""
    read = []

    def pretrain(model, data, *, learning_rate, seed):
        read.append((data, learning_rate, seed))
        return iter(())

    monkeypatch.setenv("MINIMIND_LITE_WORK", str(tmp_path))
    monkeypatch.setattr(bases, "pretrain", pretrain)
    monkeypatch.setattr(ModelConfig, "preset", classmethod(lambda cls, name: TINY))
    return read


def test_a_base_is_made_once_and_kept(pretrained):
    first, second = bases.base_model("nano-1"), bases.base_model("nano-1")
    assert len(pretrained) == 1 and pretrained[0][1:] == (bases.LEARNING_RATE, 174)
    pairs = zip(first.parameters(), second.parameters())
    assert first is not second and all((a == b).all() for a, b in pairs)
    [file] = (work.work_folder() / "bases").glob("*.safetensors")
    assert file.name.startswith("base_nano-1_")


def test_another_definition_is_another_file(pretrained, monkeypatch):
    bases.base_model("low")
    monkeypatch.setitem(bases.BASES, "low", Base(seed=173, chinese=9))
    bases.base_model("low")
    assert [len(data) for data, _, _ in pretrained] == [69 + 8, 9 + 8]  # 2 of each other domain


def test_exposure_is_the_number_of_chinese_conversations(pretrained):
    for name, chinese in (("low", 69), ("nano-2", 552), ("high", 552 + 3 * layouts.RESERVED)):
        bases.base_model(name)
        assert len(pretrained[-1][0]) == chinese + 8


def test_what_the_high_base_reads_is_in_no_file_of_reserved_rows(pretrained):
    chat, pool = shipped.chat(), layouts.pool()
    bases.base_model("high")
    data = pretrained[-1][0]
    read = {tuple(data.row(i)[0]) for i in range(len(data))}
    layout = layouts.draw_blocks(0, pool=pool, reserved=layouts.RESERVED)
    rows = layouts.pool_rows(chat, pool).select(layout.rows)
    assert not read & {tuple(rows.row(i)[0]) for i in range(len(rows))}


def test_shipped_names_are_the_shipped_models(pretrained):
    assert isinstance(bases.base_model("nano"), LanguageModel) and not pretrained
    with pytest.raises(ValueError, match="no base model 'nona'"):
        bases.base_model("nona")


def test_pretraining_supervises_every_token(monkeypatch):
    asked = []

    def train(model, data, config):
        asked.append((data, config))
        return iter(())

    monkeypatch.setattr(bases, "train", train)
    chat = shipped.chat()
    rows = chat.encode_rows(layouts.corpus("code")[:3])
    assert not rows.mask.all()
    list(bases.pretrain(None, rows, learning_rate=1e-3, seed=5))
    [(data, config)] = asked
    assert data.mask.all() and data.ids.tolist() == rows.ids.tolist()
    assert (config.epochs, config.learning_rate, config.seed) == (bases.EPOCHS, 1e-3, 5)
