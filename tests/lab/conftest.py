"""A lab that is quick enough to be pressed thousands of times: real data, real loop, tiny model."""

import pytest

from minimind_lite.config import ModelConfig
from minimind_lite.files import shipped
from minimind_lite.lab import app
from minimind_lite.lab.materials import Materials
from minimind_lite.lab.speed import Speed
from minimind_lite.model import LanguageModel

TINY = ModelConfig(vocab_size=2048, dim=8, n_layers=1, n_heads=1, n_kv_heads=1, multiple_of=8)


@pytest.fixture(scope="session")
def shared_materials():
    """The shipped files, read once for all tests, with probes of two conversations each."""
    materials = Materials()
    materials.probes = {name: rows.select(range(2)) for name, rows in materials.probes.items()}
    return materials


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """Live runs leave their folders somewhere else than in the clone."""
    monkeypatch.setenv("MINIMIND_LITE_WORK", str(tmp_path / "work"))


@pytest.fixture
def quick(shared_materials, monkeypatch):
    """Training takes milliseconds; nothing else is changed. Gives the materials of the labs."""
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")
    monkeypatch.setattr(shipped, "base_model", lambda *_, **__: LanguageModel(TINY, seed=0))
    monkeypatch.setattr(app, "Materials", lambda: shared_materials)
    monkeypatch.setattr(shared_materials, "speed", Speed())
    return shared_materials
