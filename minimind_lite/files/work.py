"""The learner's files: the folder `my_work/`, the predictions in it, and writing a file whole.

There is one such folder, whether a lesson, the lab or the command line writes: the one that
MINIMIND_LITE_WORK names, else `my_work/` beside the clone that the package is imported from,
else `my_work/` where the command runs. Git ignores it, so no update ever conflicts with it.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from minimind_lite.files.visible import shorten, visible

CLONE = Path(__file__).resolve().parents[2]  # the folder above the package


def work_folder() -> Path:
    """Where the learner's own files go; made when first needed. Raises `OSError`."""
    beside = CLONE if (CLONE / "pyproject.toml").exists() else Path.cwd()
    return made(chosen_folder("MINIMIND_LITE_WORK") or beside / "my_work", "MINIMIND_LITE_WORK")


def chosen_folder(variable: str) -> Path | None:
    """The folder that an environment variable names; None without it. Raises `ValueError`."""
    name = os.environ.get(variable)
    try:
        return Path(name).expanduser() if name else None
    except RuntimeError as error:
        raise ValueError(f"{variable}={shorten(str(name))!r} names no folder: {error}") from None


def made(folder: Path, variable: str) -> Path:
    """The folder, made where it is not there. Raises `OSError` that says how to name another."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place, why = visible(shorten(str(folder))), error.strerror
        raise OSError(f"{place} can't be made: {why}. {variable} names another folder.") from None
    return folder


@contextmanager
def write_then_rename(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary name beside `path` to write to; what lies there at the end replaces `path`.

    So a reader sees the old file or the whole new one, never half of it. After an error the old
    file is still in its place and nothing else is left. The temporary name begins with a dot:
    readers of Parquet folders pass over it. A folder may be written the same way. With `durable`
    it is on the disk, not only in the system's memory, before it gets its name: it outlasts a
    power cut.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        if durable:
            for file in sorted(temporary.iterdir()) if temporary.is_dir() else ():
                _flush(file)
            _flush(temporary)
        if temporary.is_dir() and path.is_dir():  # a folder replaces none but an empty one
            os.replace(path, old := temporary.with_suffix(".old.tmp"))
            os.replace(temporary, path)
            remove(old)
        else:
            os.replace(temporary, path)
        if durable:
            _flush(path.parent)
    finally:
        remove(temporary)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such thing as an open folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Delete what killed writers left behind in a folder."""
    for path in folder.glob(".*.tmp"):
        remove(path)


def remove(path: Path) -> None:
    """Delete a file, or a folder and all in it, if it is there and the system lets it go."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def predictions() -> dict[str, dict[str, object]]:
    """All predictions so far, by key: question, choice, confidence, reason.

    Raises `ValueError` where the file is damaged.
    """
    path = work_folder() / "predictions.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:  # not UTF-8, or not JSON
        raise ValueError(f"{path} is damaged ({error}); repair or delete it.") from None
    if not (isinstance(stored, dict) and all(isinstance(p, dict) for p in stored.values())):
        raise ValueError(f"{path} is damaged (it holds no table of predictions); delete it.")
    return stored


def save_prediction(key: str, prediction: Mapping[str, object]) -> None:
    """Keep one prediction beside the others. Raises `OSError`, or `ValueError` as above."""
    table = predictions() | {key: dict(prediction)}
    with write_then_rename(work_folder() / "predictions.json") as temporary:
        temporary.write_text(json.dumps(table, indent=1, ensure_ascii=False), encoding="utf-8")
