"""What tests of the command line share: a cache of their own, and a small file."""

import pytest

from minimind_lite.files import jsonl as jsonl_files
from minimind_lite.files import shipped


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("MINIMIND_LITE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def jsonl(tmp_path, request):
    """The first rows of the shipped file, as many as the module says, as a file of its own."""
    path = tmp_path / "chat.jsonl"
    conversations = shipped.conversations()[: request.module.ROWS]
    jsonl_files.write(path, [c.messages for c in conversations])
    return path
