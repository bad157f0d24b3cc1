"""From a JSONL file of any size to `EncodedRows`, streamed, in flat arrays on disk.

Text goes through memory a chunk at a time and token ids go to disk. So a file far larger than
memory trains like a small one: its rows are memory-mapped. A folder holds ids, mask and offsets,
as in `EncodedRows`, and which rows lost text, a file each, without headers.

    N rows (conversations)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minimind_lite.chat import Chat
from minimind_lite.conversations import Conversation
from minimind_lite.files.encoding import chunks, encode_many
from minimind_lite.files.jsonl import BadLine, BadLineError, ReadReport, read
from minimind_lite.rows import EncodedRows

ARRAYS = ("ids", "mask", "offsets", "cut")
UNANSWERED = "no answer among the first"  # how the problem of such a line begins

Progress = Callable[[str, int, int], None]  # what is done, bytes done, bytes in all


@dataclass(frozen=True)
class Source:
    """A file to encode, and how; `max_len` as in `encode_many`, `on_error` as in `read`."""

    path: Path
    chat: Chat
    max_len: int | None
    on_error: str


@dataclass(frozen=True)
class EncodedFile:
    """The rows of a file, and what was skipped."""

    rows: EncodedRows
    report: ReadReport
    cut: np.ndarray  # (N,) bool: rows whose text is longer than `max_len` tokens
    entry: Path | None = None  # folder in the cache; None where nothing is kept
    cached: bool = False  # from the cache, not encoded just now

    @property
    def n_cut(self) -> int:
        """How many rows lost text."""
        return int(np.count_nonzero(self.cut))

    def cut_lines(self) -> np.ndarray:
        """Lines of the file whose rows lost text, in file order."""
        return line_numbers(np.flatnonzero(self.cut), [bad.line for bad in self.report.skipped])

    def unanswered_lines(self) -> list[int]:
        """Lines that were skipped since their first tokens hold nothing of an answer."""
        skipped = self.report.skipped
        return [bad.line for bad in skipped if bad.problem.startswith(UNANSWERED)]


def line_numbers(rows: np.ndarray, skipped_lines: Iterable[int]) -> np.ndarray:
    """Line (N,) in the file, from 1, of each of the given rows (N,).

    `skipped_lines` are those that gave no row, in file order. So the row numbers and the skipped
    lines that a run records are enough to find a text again.
    """
    skipped = np.fromiter(skipped_lines, np.int64)
    good_before = skipped - np.arange(len(skipped)) - 1  # rows before each skipped line
    return np.asarray(rows) + 1 + np.searchsorted(good_before, rows, side="right")


def file_stamp(path: str | Path) -> tuple[int, int]:
    """Size and time of change (ns): what tells a file from its earlier versions."""
    stat = Path(path).stat()
    return stat.st_size, stat.st_mtime_ns


def encode_into(folder: Path, source: Source, progress: Progress) -> ReadReport:
    """Stream a file into the arrays of `folder`; returns what was read and skipped.

    A line whose first `max_len` tokens hold nothing of an answer is a bad line. Raises what `read`
    raises, and `ValueError` where the file changed meanwhile.
    """
    stamp, report = file_stamp(source.path), ReadReport()
    try:
        _write_arrays(folder, source, report, progress)
    finally:  # what looks like a bad line may be one that was being written
        if source.path.is_file() and file_stamp(source.path) != stamp:
            raise ValueError(
                f"{source.path} changed while it was read; wait until it is complete, then start "
                "again."
            )
    report.skipped.sort(key=lambda bad: bad.line)
    return report


def map_rows(folder: Path, chat: Chat) -> tuple[EncodedRows, np.ndarray]:
    """What `encode_into` wrote, memory-mapped and read-only: rows, and which of them are cut."""
    types = (chat.dtype, np.dtype(bool), np.dtype(np.int64), np.dtype(bool))
    *arrays, cut = (_map(folder / name, dtype) for name, dtype in zip(ARRAYS, types))
    return EncodedRows(*arrays), cut


def _map(path: Path, dtype: np.dtype) -> np.ndarray:
    if not path.stat().st_size:  # nothing can't be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r").view(np.ndarray)


def _write_arrays(folder: Path, source: Source, report: ReadReport, progress: Progress) -> None:
    total, n_rows, n_tokens = source.path.stat().st_size, 0, 0
    with ExitStack() as stack:
        ids, mask, offsets, cut = (
            stack.enter_context(open(folder / name, "wb")) for name in ARRAYS
        )
        offsets.write(np.zeros(1, np.int64).tobytes())
        conversations = read(source.path, on_error=source.on_error, report=report)
        for chunk in _read_ahead(chunks(conversations)):
            progress("encoding", chunk[-1].offset, total)
            rows = encode_many(source.chat, chunk, max_len=source.max_len)
            chunk, rows = _drop_unanswered(chunk, rows, source, report)
            cut.write(_cut(chunk, rows, source.chat).tobytes())
            ids.write(rows.ids.tobytes())
            mask.write(rows.mask.tobytes())
            offsets.write((rows.offsets[1:] + n_tokens).tobytes())
            n_rows, n_tokens = n_rows + len(rows), n_tokens + len(rows.ids)
    report.read = n_rows
    progress("encoding", total, total)


def _drop_unanswered(
    chunk: list[Conversation], rows: EncodedRows, source: Source, report: ReadReport
) -> tuple[list[Conversation], EncodedRows]:
    """Rows without an answer token can't be trained on: they are bad lines, too."""
    answered = rows.supervised() > 0
    if answered.all():
        return chunk, rows
    problem = f"{UNANSWERED} {source.max_len} tokens"
    for i in np.flatnonzero(~answered):
        place = (chunk[i].file, chunk[i].line, chunk[i].offset)
        bad_line = BadLine(*place, problem, "Allow more tokens, or delete the line.")
        if source.on_error == "raise":
            raise BadLineError(bad_line)
        report.skipped.append(bad_line)
    kept_rows = np.flatnonzero(answered)
    return [chunk[i] for i in kept_rows], rows.select(kept_rows)


def _cut(chunk: list[Conversation], rows: EncodedRows, chat: Chat) -> np.ndarray:
    """Which rows (N,) lost text: those with fewer end tokens than messages."""
    ends = np.concatenate([[0], np.cumsum(rows.ids == chat.end_id)])[rows.offsets]
    return np.diff(ends) < np.array([len(c.messages) for c in chunk], int)


def _read_ahead(chunks: Iterator[list[Conversation]]) -> Iterator[list[Conversation]]:
    """The chunks; while one is encoded, outside the interpreter's lock, a thread reads the next."""
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(next, chunks, None)
        while chunk := ahead.result():
            ahead = pool.submit(next, chunks, None)
            yield chunk
