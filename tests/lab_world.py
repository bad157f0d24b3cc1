"""A lab that is quick enough to be pressed thousands of times: the real data, the real loop, a tiny model."""

import pytest

from minimind_lite.config import ModelConfig
from minimind_lite.files import shipped
from minimind_lite.model import LanguageModel

TINY = ModelConfig(vocab_size=2048, dim=8, n_layers=1, n_heads=1, n_kv_heads=1, multiple_of=8)


@pytest.fixture(scope="session")
def encoded():
    chat = shipped.chat()
    return shipped.sft_rows(chat), {
        name: rows.select(range(2)) for name, rows in shipped.probes(chat).items()
    }


@pytest.fixture
def quick(encoded, monkeypatch):
    """Training takes milliseconds; nothing else is changed."""
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")
    monkeypatch.setattr(shipped, "base_model", lambda *_, **__: LanguageModel(TINY, seed=0))
    monkeypatch.setattr(shipped, "sft_rows", lambda *_: encoded[0])
    monkeypatch.setattr(shipped, "probes", lambda *_: encoded[1])
