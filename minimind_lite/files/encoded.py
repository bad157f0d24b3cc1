"""From a JSONL file of any size to `EncodedRows`, streamed, in flat arrays on disk.

Text goes through memory a chunk at a time and token ids go to disk. So a file far larger than
memory trains like a small one: its rows are memory-mapped. A folder holds, without headers:

    ids, mask, offsets   the rows, as in `EncodedRows`
    lines, bytes         (N,) line of each row in the file, from 1, and bytes before it

    N rows (conversations)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from minimind_lite.chat import Chat
from minimind_lite.conversations import Conversation
from minimind_lite.files.encoding import chunks, encode_many
from minimind_lite.files.jsonl import BadLine, BadLineError, ReadReport, read, read_at
from minimind_lite.rows import EncodedRows

ARRAYS = ("ids", "mask", "offsets", "lines", "bytes")

Progress = Callable[[str, int, int], None]  # what is done, bytes done, bytes in all
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Source:
    """A file to encode, and how; `max_len` as in `encode_many`, `on_error` as in `read`."""

    path: Path
    chat: Chat
    max_len: int | None = None
    on_error: str = "raise"


@dataclass(frozen=True)
class EncodedFile:
    """The rows of a file, where each came from, and what was skipped."""

    source: Source
    rows: EncodedRows
    lines: np.ndarray  # (N,) int64, counted from 1
    bytes: np.ndarray  # (N,) int64, bytes before the line
    report: ReadReport
    n_cut: int  # rows whose text is longer than `max_len` tokens
    entry: Path | None = None  # folder in the cache; None where nothing is kept
    cached: bool = False  # from the cache, not encoded just now

    def conversation(self, row: int) -> Conversation:
        """The text of a row, read from the file. Raises `ValueError` where the file has changed."""
        source, line = self.source, int(self.lines[row])
        try:
            conversation = read_at(source.path, int(self.bytes[row]), line)
            ids, _ = source.chat.encode(conversation.messages, source.max_len)
        except BadLineError:
            ids = []
        if not np.array_equal(ids, self.rows.row(row)[0]):
            raise ValueError(
                f"{source.path} has changed since it was encoded: line {line} holds another text. "
                "Encode it again."
            )
        return conversation


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


def encode_into(folder: Path, source: Source, progress: Progress) -> tuple[ReadReport, int]:
    """Stream a file into the arrays of `folder`; returns the lines and the number of cut rows.

    A line whose first `max_len` tokens hold nothing of an answer is a bad line. Raises what `read`
    raises, and `ValueError` where the file changed meanwhile.
    """
    stamp, report, bad_line = file_stamp(source.path), ReadReport(), None
    try:
        n_cut = _write_arrays(folder, source, report, progress)
    except BadLineError as error:
        bad_line = error
    if source.path.is_file() and file_stamp(source.path) != stamp:
        raise ValueError(
            f"{source.path} changed while it was read; wait until it is complete, then start again."
        )
    if bad_line is not None:
        raise bad_line
    report.skipped.sort(key=lambda bad: bad.line)
    return report, n_cut


def map_rows(folder: Path, source: Source, report: ReadReport, n_cut: int) -> EncodedFile:
    """The rows that `encode_into` wrote, memory-mapped and read-only."""
    types = {"ids": source.chat.dtype, "mask": np.dtype(bool)}
    arrays = {name: _map(folder / name, types.get(name, np.dtype(np.int64))) for name in ARRAYS}
    rows = EncodedRows(arrays["ids"], arrays["mask"], arrays["offsets"])
    return EncodedFile(source, rows, arrays["lines"], arrays["bytes"], report, n_cut)


def _map(path: Path, dtype: np.dtype) -> np.ndarray:
    if not path.stat().st_size:  # nothing can't be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r").view(np.ndarray)


def _write_arrays(folder: Path, source: Source, report: ReadReport, progress: Progress) -> int:
    total, end, n_cut = source.path.stat().st_size, 0, 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / name, "wb")) for name in ARRAYS}
        files["offsets"].write(np.zeros(1, np.int64).tobytes())

        def encode(chunk: list[Conversation]) -> tuple[list[Conversation], EncodedRows]:
            return chunk, encode_many(source.chat, chunk, max_len=source.max_len)

        stream = chunks(read(source.path, on_error=source.on_error, report=report))
        # The tokenizer works outside the interpreter's lock: the next chunk is read meanwhile.
        for chunk, rows in _prefetch(encode, stream):
            progress("encoding", chunk[-1].offset, total)
            chunk, rows = _drop_unanswered(chunk, rows, source, report)
            n_cut += _count_cut(chunk, rows, source.chat)
            files["ids"].write(rows.ids.tobytes())
            files["mask"].write(rows.mask.tobytes())
            files["offsets"].write((rows.offsets[1:] + end).tobytes())
            files["lines"].write(np.array([c.line for c in chunk], np.int64).tobytes())
            files["bytes"].write(np.array([c.offset for c in chunk], np.int64).tobytes())
            end += len(rows.ids)
    progress("encoding", total, total)
    return n_cut


def _drop_unanswered(
    chunk: list[Conversation], rows: EncodedRows, source: Source, report: ReadReport
) -> tuple[list[Conversation], EncodedRows]:
    """Rows without an answer token can't be trained on: they are bad lines, too."""
    answered = rows.supervised() > 0
    if answered.all():
        return chunk, rows
    problem = f"no answer among the first {source.max_len} tokens"
    for i in np.flatnonzero(~answered):
        place = (chunk[i].file, chunk[i].line, chunk[i].offset)
        bad_line = BadLine(*place, problem, "Allow more tokens, or delete the line.")
        if source.on_error == "raise":
            raise BadLineError(bad_line)
        report.skipped.append(bad_line)
        report.read -= 1
    kept_rows = np.flatnonzero(answered)
    return [chunk[i] for i in kept_rows], rows.select(kept_rows)


def _count_cut(chunk: list[Conversation], rows: EncodedRows, chat: Chat) -> int:
    """How many rows lost text: those with fewer end tokens than messages."""
    ends = np.concatenate([[0], np.cumsum(rows.ids == chat.end_id)])[rows.offsets]
    return int(np.count_nonzero(np.diff(ends) < [len(c.messages) for c in chunk]))


def _prefetch(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results in order; while a thread computes one, the next item is taken here."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for item in items:
            ahead = pool.submit(function, item)
            if pending is not None:
                yield pending.result()
            pending = ahead
        if pending is not None:
            yield pending.result()
