"""The encoded form of a file, kept for the next time.

An entry, one for each file, tokenizer and settings, is a folder that is written whole. It is
checked before it is used, and one that is damaged is made again. `datasets` takes half again as
long to encode a file and more than twice the memory, so it has no part in this.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import tokenizers

from minimind_lite.chat import Chat
from minimind_lite.files.encoded import (
    ARRAYS,
    EncodedFile,
    Progress,
    Source,
    encode_into,
    file_stamp,
    map_rows,
)
from minimind_lite.files.jsonl import BadLine, ReadReport
from minimind_lite.files.work import chosen_folder, remove, write_then_rename

FORMAT = 4  # raised when the same key would name other arrays
SMALLEST = 1 << 20  # bytes; a smaller file is encoded sooner than its entry is worth
STALE_SECONDS = 24 * 3600  # what a killed process left half-built is removed after so long
TEMPORARY = "minimind_lite-encoding-"
BLOCK, BLOCKS = 1 << 20, 64  # so many blocks of so many bytes of each array are checked
UNUSABLE = (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError)


class CacheWarning(UserWarning):
    """The cache could not be used or had to be repaired; the rows are right all the same."""


def cache_folder() -> Path:
    """Where entries are kept: below MINIMIND_LITE_CACHE, or the platform's folder for caches.

    Raises `ValueError` for a home folder of nobody.
    """
    if chosen := chosen_folder("MINIMIND_LITE_CACHE"):
        return chosen / "encoded"
    import platformdirs  # only who has not chosen needs it

    return platformdirs.user_cache_path("minimind_lite", appauthor=False) / "encoded"


def encode_file(
    path: str | Path,
    chat: Chat,
    *,
    max_len: int | None = None,
    on_error: str = "raise",
    cache: bool = True,
    smallest: int = SMALLEST,
    progress: Progress = lambda what, done, total: None,
) -> EncodedFile:
    """Encode a JSONL file in bounded memory, or take it from the cache; arrays are memory-mapped.

    `max_len` and `on_error` as in `encoded.Source`. Without `cache`, or below `smallest` bytes, or
    where the cache can't be written (a `CacheWarning` says so), the arrays are in a temporary
    folder that goes with the process. Raises what `encode_into` raises.
    """
    source = Source(Path(path), chat, max_len, on_error)
    if cache and source.path.is_file() and source.path.stat().st_size >= smallest:
        key = _key(source)
        entry = cache_folder() / _digest(key)
        try:
            return _look_up(entry, source, key) or _build(entry, source, key, progress)
        except OSError as error:
            text = f"the encoded form of {path} can't be kept in {entry.parent} ({error}); "
            text += "going on without. MINIMIND_LITE_CACHE names another folder."
            warnings.warn(text, CacheWarning, stacklevel=2)
    _sweep(Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"))
    # An open map keeps its file, so even a killed process leaves nothing, where the system allows.
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, ignore_cleanup_errors=True) as folder:
        report = encode_into(Path(folder), source, progress)
        rows, cut = map_rows(Path(folder), chat)
        return EncodedFile(rows, report, cut)


def _key(source: Source) -> dict[str, object]:
    """Everything that the arrays depend on."""
    return {
        "format": FORMAT,
        "file": [str(source.path.resolve()), *file_stamp(source.path)],
        "tokenizer": _digest(source.chat.tokenizer.to_str()),
        "tokenizers": tokenizers.__version__,
        "max_len": source.max_len,
        "on_error": source.on_error,
    }


def _look_up(entry: Path, source: Source, key: dict[str, object]) -> EncodedFile | None:
    """The entry, if there is one. One that can't be trusted is removed."""
    try:
        return replace(_open(entry, source, key), cached=True) if entry.exists() else None
    except UNUSABLE as error:
        text = f"the cached form of {source.path} can't be used ({error!r}); encoding it again."
        warnings.warn(text, CacheWarning, stacklevel=3)
    remove(entry)
    return None


def _open(entry: Path, source: Source, key: dict[str, object]) -> EncodedFile:
    """Check an entry and map it. Raises one of UNUSABLE where it is not what was written."""
    stored = json.loads((entry / "meta.json").read_bytes())
    meta = stored["content"]
    if stored["checksum"] != _digest(meta) or meta["key"] != key:
        raise ValueError("meta.json is not what was written")
    for name in ARRAYS:
        if meta["fingerprints"][name] != _fingerprint(entry / name):
            raise ValueError(f"{name} is not what was written")
    skipped = [BadLine(str(source.path), *parts) for parts in meta["skipped"]]
    report = ReadReport(int(meta["read"]), skipped, Counter(meta["ignored"]))
    rows, cut = map_rows(entry, source.chat)
    return EncodedFile(rows, report, cut, entry)


def _build(entry: Path, source: Source, key: dict[str, object], progress: Progress) -> EncodedFile:
    """Write the entry, or use that of a process which was quicker. Raises `OSError`."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _sweep(entry.parent.glob(".*.tmp"))
    try:
        with write_then_rename(entry) as folder:
            folder.mkdir()
            report = encode_into(folder, source, progress)
            meta = {
                "key": key,
                "read": report.read,
                "skipped": [[b.line, b.offset, b.problem, b.advice] for b in report.skipped],
                "ignored": report.ignored,
                "fingerprints": {name: _fingerprint(folder / name) for name in ARRAYS},
            }
            text = json.dumps({"checksum": _digest(meta), "content": meta})
            (folder / "meta.json").write_text(text, encoding="utf-8")
    except OSError:
        if not entry.exists():
            raise
    return _open(entry, source, key)


def _digest(value: object) -> str:
    """BLAKE2b of what is ready for JSON."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def _fingerprint(path: Path) -> str:
    """A digest of a file's size and content; of a large file, of blocks spread over it."""
    size = path.stat().st_size
    digest, n_blocks = hashlib.blake2b(str(size).encode(), digest_size=16), -(-size // BLOCK)
    with open(path, "rb") as stream:
        for start in np.linspace(0, max(0, size - BLOCK), min(n_blocks, BLOCKS)).astype(int):
            stream.seek(start)
            digest.update(stream.read(BLOCK))
    return digest.hexdigest()


def _sweep(leftovers: Iterable[Path]) -> None:
    """Remove what killed processes left half-built long ago."""
    for folder in leftovers:
        with suppress(OSError):  # another process may be removing the same
            changed = max(p.stat().st_mtime for p in [folder, *folder.rglob("*")])
            if time.time() - changed > STALE_SECONDS:
                remove(folder)
