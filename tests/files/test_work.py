"""One folder for the learner's files, and files that are whole or not there."""

import os
from pathlib import Path

import pytest

from minimind_lite.files import work
from minimind_lite.files.work import (
    predictions,
    save_prediction,
    work_folder,
    write_then_rename,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORK", str(tmp_path / "mine"))
    return tmp_path / "mine"


def test_my_work_is_one_place_wherever_the_command_runs(tmp_path, monkeypatch):
    """`reproduce` wrote to ./my_work, lessons to the clone's."""
    monkeypatch.delenv("MINIMIND_LITE_WORK", raising=False)
    monkeypatch.setattr(work, "CLONE", tmp_path / "clone")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert work_folder() == Path.cwd() / "my_work"  # installed, no clone
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "pyproject.toml").touch()
    assert work_folder() == tmp_path / "clone" / "my_work"


def test_the_environment_names_another_folder(folder):
    assert work_folder() == folder and folder.is_dir()


def test_predictions_are_kept_by_key(folder):
    assert predictions() == {}
    save_prediction("a", {"choice": "b", "confidence": 70})
    save_prediction("c", {"choice": "a", "reason": "ordre du fichier, 顺序"})
    save_prediction("a", {"choice": "c"})
    assert predictions() == {
        "a": {"choice": "c"},
        "c": {"choice": "a", "reason": "ordre du fichier, 顺序"},
    }
    assert [p.name for p in folder.iterdir()] == ["predictions.json"]


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"a": 1}', b"\xff", b""])
def test_a_damaged_store_is_named_and_never_overwritten(folder, text):
    (work_folder() / "predictions.json").write_bytes(text)
    for attempt in (predictions, lambda: save_prediction("a", {})):
        with pytest.raises(ValueError, match=r"predictions\.json is damaged"):
            attempt()
    assert (folder / "predictions.json").read_bytes() == text


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with write_then_rename(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.name.startswith(".")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_stays_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), write_then_rename(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"), write_then_rename(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_moved_into_place_as_a_whole(tmp_path):
    with write_then_rename(tmp_path / "entry") as temporary:
        temporary.mkdir()
        (temporary / "a").touch()
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["entry", "entry/a"]
    with pytest.raises(KeyError), write_then_rename(tmp_path / "other") as temporary:
        temporary.mkdir()
        (temporary / "a").touch()
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["entry"]
