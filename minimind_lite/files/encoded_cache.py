"""From a JSONL file of any size to `EncodedRows`, streamed, and kept for the next time.

Text goes through memory a chunk at a time and token ids go to disk, so that a file far larger
than memory trains like a small one: its rows are memory-mapped `.npy` arrays. They are kept
under the user's cache folder, by the content of the file, the tokenizer and the settings. An
entry is a folder, written elsewhere and renamed into place, so nobody ever sees half of one;
all of it is checked against its checksums before it is used, and what fails is built anew.

    ids.npy, mask.npy, offsets.npy   the rows, as in `EncodedRows`
    lines.npy, bytes.npy             (N,) line of each row in the file, from 1, and bytes before it
    meta.json                        key, shapes, sizes, checksums, and the lines that were skipped

    N rows (conversations)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import tokenizers

from minimind_lite.chat import Chat, EncodedRows, chunks
from minimind_lite.conversations import (
    MAX_LINE_BYTES,
    BadLine,
    Conversation,
    ReadReport,
    read,
    read_at,
)

FORMAT = 1  # raised when the same key would stand for other arrays
SMALLEST = 1 << 20  # bytes; a smaller file is encoded sooner than its entry is worth
STALE_SECONDS = (
    24 * 3600
)  # a building folder untouched for so long belonged to a process that was killed
ARRAYS = ("ids", "mask", "offsets", "lines", "bytes")
PREFIX = ".building-"

Progress = Callable[
    [str, int, int], None
]  # what is done (hashing, encoding, checking ids.npy), bytes done, bytes in all
Item = TypeVar("Item")
Result = TypeVar("Result")


class CacheWarning(UserWarning):
    """The cache could not be used, or had to be mended; the rows are right all the same."""


class _Damaged(Exception):
    """An entry that can't be trusted, and why."""


@dataclass(frozen=True)
class EncodedFile:
    """The rows of a file, where each came from, and what was skipped."""

    rows: EncodedRows
    lines: np.ndarray  # (N,) int64, counted from 1
    bytes: np.ndarray  # (N,) int64, bytes before the line
    report: ReadReport
    path: Path
    content: str | None = None  # BLAKE2b of the file's bytes; None where it was not taken
    entry: Path | None = None  # folder in the cache; None where nothing is kept
    cached: bool = False  # found there, not encoded just now

    def conversation(self, row: int) -> Conversation:
        """The text of a row, read from the file. Raises `ValueError` where the file has changed."""
        return read_at(self.path, int(self.bytes[row]), int(self.lines[row]))


def line_numbers(rows: np.ndarray, skipped_lines: Iterable[int]) -> np.ndarray:
    """Line (N,) in the file, from 1, of each of the given rows (N,), from the lines that were skipped, in file order.

    So the row numbers and the `skipped_lines` that a run records are enough to find a text again.
    """
    skipped = np.fromiter(skipped_lines, np.int64)
    good_before = skipped - np.arange(len(skipped)) - 1  # lines kept before each skipped one
    return np.asarray(rows) + 1 + np.searchsorted(good_before, rows, side="right")


def cache_folder() -> Path:
    """Where entries are kept: below MINIMIND_LITE_CACHE, or the platform's folder for caches."""
    if chosen := os.environ.get("MINIMIND_LITE_CACHE"):
        return Path(chosen).expanduser() / "encoded"
    import platformdirs  # only who has not chosen needs it

    return platformdirs.user_cache_path("minimind_lite", appauthor=False) / "encoded"


def cache_size() -> int:
    """Bytes that all entries take."""
    return sum(p.stat().st_size for p in cache_folder().glob("*/*") if p.is_file())


def clear_cache() -> None:
    """Delete every entry; who has one open keeps it to the end, where the system allows."""
    shutil.rmtree(cache_folder(), ignore_errors=True)


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
    """Encode a JSONL file in bounded memory, or find it in the cache; the arrays are memory-mapped.

    `max_len` as in `Chat.encode_rows`, `on_error` as in `conversations.read`. Without `cache`, or
    below `smallest` bytes, or where the cache can't be written (a `CacheWarning` says so), the
    arrays live in a temporary folder that goes with the result. Raises what `read` raises, and
    `ValueError` where the file changed while it was read.
    """
    job = _Job(Path(path), chat, max_len, on_error, progress)
    content = (
        _digest(job.path, "hashing", progress) if job.path.is_file() else None
    )  # a pipe can be read only once
    key = _key(job, content)
    if not (cache and content and job.path.stat().st_size >= smallest):
        return _encode_uncached(job, key)
    entry = cache_folder() / _checksum(key)
    why = "entries vanish as they are made"
    try:
        for attempt in range(3):  # another process may mend the same entry at the same moment
            if found := _look_up(entry, job, key):
                return replace(found, cached=attempt == 0)
            _build_entry(entry, job, key)
    except OSError as error:
        why = str(error)
    warnings.warn(
        f"the encoded form of {path} can't be kept in {entry.parent} ({why}); going on without. "
        "MINIMIND_LITE_CACHE names another folder.",
        CacheWarning,
        stacklevel=2,
    )
    return _encode_uncached(job, key)


@dataclass(frozen=True)
class _Job:
    """What to encode, and how."""

    path: Path
    chat: Chat
    max_len: int | None
    on_error: str
    progress: Progress


def _key(job: _Job, content: str | None) -> dict[str, str | int | None]:
    """Everything that the arrays depend on."""
    tokenizer = hashlib.blake2b(job.chat.tokenizer.to_str().encode(), digest_size=16).hexdigest()
    return {
        "format": FORMAT,
        "content": content,
        "tokenizer": tokenizer,
        "tokenizers": tokenizers.__version__,
        "max_len": job.max_len,
        "on_error": job.on_error,
        "max_line_bytes": MAX_LINE_BYTES,
    }


def _checksum(value: object) -> str:
    """BLAKE2b of what is ready for JSON."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def _digest(path: Path, what: str, progress: Progress) -> str:
    """BLAKE2b of a file, a block in memory at a time. Of the library's functions it is the quickest that needs no special hardware."""
    digest, total, done = hashlib.blake2b(digest_size=16), path.stat().st_size, 0
    with open(path, "rb", buffering=0) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            done += len(block)
            progress(what, done, total)
    return digest.hexdigest()


# Writing


class _GrowingArray:
    """A `.npy` file of one dimension whose length is known only at the end."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.dtype, self.n, self.file = np.dtype(dtype), 0, open(path, "wb")  # noqa: SIM115  (closed by __exit__)
        self._write_header()

    def _write_header(self) -> None:
        # numpy leaves room in the header for the length to grow, so that it can be written over.
        np.lib.format.write_array_header_1_0(
            self.file, {"descr": self.dtype.str, "fortran_order": False, "shape": (self.n,)}
        )

    def append(self, values: np.ndarray | list[int]) -> None:
        values = np.asarray(values, self.dtype)
        self.file.write(values.tobytes())
        self.n += len(values)

    def __enter__(self) -> _GrowingArray:
        return self

    def __exit__(self, *error: object) -> None:
        with self.file:
            self.file.seek(0)
            self._write_header()


def _one_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results in order; while one is computed in a thread, this one takes the next item. At most three are in memory."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for item in items:
            ahead = pool.submit(function, item)
            if pending is not None:
                yield pending.result()
            pending = ahead
        if pending is not None:
            yield pending.result()


def _write_arrays(folder: Path, job: _Job) -> ReadReport:
    """Stream the file into the arrays of `folder`."""
    report, end, total = ReadReport(), 0, job.path.stat().st_size
    dtypes = {"ids": job.chat.encode_rows([]).ids.dtype, "mask": np.dtype(bool)}
    with ExitStack() as stack:
        ids, mask, offsets, lines, starts = (
            stack.enter_context(
                _GrowingArray(folder / f"{name}.npy", dtypes.get(name, np.dtype(np.int64)))
            )
            for name in ARRAYS
        )
        offsets.append([0])
        stream = chunks(read(job.path, on_error=job.on_error, report=report))
        # The tokenizer works in Rust, outside the interpreter's lock, so the next chunk is read meanwhile.
        for chunk, rows in _one_ahead(
            lambda chunk: (chunk, job.chat.encode_rows(chunk, job.max_len)), stream
        ):
            ids.append(rows.ids)
            mask.append(rows.mask)
            offsets.append(rows.offsets[1:] + end)
            lines.append([c.line for c in chunk])
            starts.append([c.offset for c in chunk])
            end += len(rows.ids)
            job.progress("encoding", chunk[-1].offset, total)
    job.progress("encoding", total, total)
    return report


def _build(folder: Path, job: _Job, key: dict[str, str | int | None]) -> None:
    """Write arrays and meta.json. Raises `ValueError` where the file is no longer the one of the key."""
    report = _write_arrays(folder, job)
    if key["content"] and _digest(job.path, "hashing", job.progress) != key["content"]:
        raise ValueError(
            f"{job.path} changed while it was read; wait until it is complete, then start again."
        )
    paths = {name: folder / f"{name}.npy" for name in ARRAYS}
    meta = {
        "key": key,
        "skipped": [[b.line, b.offset, b.problem, b.advice] for b in report.skipped],
        "arrays": {},
    }
    for name, path in paths.items():
        array = np.load(path, mmap_mode="r")
        meta["arrays"][name] = {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "bytes": path.stat().st_size,
            "checksum": _digest(path, f"checking {path.name}", job.progress),
        }
    (folder / "meta.json").write_text(
        json.dumps({"checksum": _checksum(meta), "content": meta}, indent=1), encoding="utf-8"
    )


def _build_entry(entry: Path, job: _Job, key: dict[str, str | int | None]) -> None:
    """Build beside the entry and rename into its place; what stands there goes. Who has that open keeps it."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _sweep(entry.parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=entry.parent))
    try:
        built, old = folder / "new", folder / "old"
        built.mkdir()
        _build(built, job, key)
        with suppress(FileNotFoundError):
            os.rename(entry, old)
        try:
            os.rename(built, entry)
        except OSError:
            if not entry.exists():  # else another process was quicker, and its entry is as good
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-built."""
    for building in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process may be removing the same
            if (
                time.time() - max(p.stat().st_mtime for p in [building, *building.rglob("*")])
                > STALE_SECONDS
            ):
                shutil.rmtree(building, ignore_errors=True)


def _encode_uncached(job: _Job, key: dict[str, str | int | None]) -> EncodedFile:
    """Into a temporary folder, which goes when the result goes."""
    folder = Path(tempfile.mkdtemp(prefix="minimind_lite-"))
    try:
        _build(folder, job, key)
        found = replace(_open(folder, job, key, check=False), entry=None)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(
        folder, ignore_errors=True
    )  # an open map keeps its file, so that a killed process leaves nothing ...
    weakref.finalize(
        found, shutil.rmtree, folder, ignore_errors=True
    )  # ... except where the system does not let it go yet
    return found


# Reading


def _look_up(entry: Path, job: _Job, key: dict[str, str | int | None]) -> EncodedFile | None:
    """The entry, checked; None, with a warning if there is one that can't be trusted."""
    if not entry.exists():
        return None
    try:
        return _open(entry, job, key)
    except (_Damaged, OSError) as error:
        warnings.warn(
            f"the cached form of {job.path} can't be used ({error}); encoding it anew.",
            CacheWarning,
            stacklevel=3,
        )
        return None


def _open(
    folder: Path, job: _Job, key: dict[str, str | int | None], *, check: bool = True
) -> EncodedFile:
    """Map the arrays of a folder. Raises `_Damaged` where they are not what was written for this key, `OSError`."""
    try:
        whole = json.loads((folder / "meta.json").read_bytes())
        meta = whole["content"]
        if whole["checksum"] != _checksum(meta):
            raise _Damaged("meta.json does not match its checksum")
        if meta["key"] != key:
            raise _Damaged("it was made from another file or with other settings")
        arrays = {
            name: _open_array(
                folder / f"{name}.npy", meta["arrays"][name], job.progress if check else None
            )
            for name in ARRAYS
        }
        skipped = [BadLine(str(job.path), *parts) for parts in meta["skipped"]]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise _Damaged(
            f"meta.json or an array has another form than was written: {type(error).__name__}: {error}"
        ) from None
    rows = EncodedRows(arrays["ids"], arrays["mask"], arrays["offsets"])
    return EncodedFile(
        rows,
        arrays["lines"],
        arrays["bytes"],
        ReadReport(len(rows), skipped),
        job.path,
        key["content"],
        folder,
    )


def _open_array(path: Path, said: dict, progress: Progress | None) -> np.ndarray:
    """A read-only memory map, an ordinary array to look at; with `progress`, checked against what meta.json says of it."""
    if path.stat().st_size != said["bytes"]:
        raise _Damaged(
            f"{path.name} has {path.stat().st_size:,} bytes instead of {said['bytes']:,}"
        )
    if progress and _digest(path, f"checking {path.name}", progress) != said["checksum"]:
        raise _Damaged(f"{path.name} does not match its checksum")
    array = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    if [array.dtype.str, list(array.shape)] != [said["dtype"], said["shape"]]:
        raise _Damaged(
            f"{path.name} holds {array.dtype.str} {list(array.shape)} instead of {said['dtype']} {said['shape']}"
        )
    return array
