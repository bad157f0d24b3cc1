"""MiniMind's JSONL, line by line: every conversation keeps its file, line and byte offset.

One line is one conversation, {"conversations": [{"role": "user", "content": "..."}, ...]}.
The common JSON loaders give no line numbers and stop at the first bad line, and a spike can
only be traced to its text through that number; so the reader is our own. Nothing is lost
silently: a bad line either raises an error that says where and what, or is counted and
listed, and conversations read + lines skipped = lines in the file, always.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

ROLES = ("system", "user", "assistant")
BOM = b"\xef\xbb\xbf"  # UTF-8's byte order mark, which some editors put at the start of a file
MAX_LINE_BYTES = 1 << 20  # a conversation of a million bytes is a broken file, not a conversation


@dataclass(frozen=True)
class Conversation:
    """Messages in order, as (role, content) pairs, and where they were found."""

    messages: tuple[tuple[str, str], ...]
    file: str
    line: int  # counted from 1, as editors do
    offset: int  # bytes before the line, so that `read_at` can jump there

    def __str__(self) -> str:
        return "\n".join(f"{role}: {content}" for role, content in self.messages)


@dataclass(frozen=True)
class BadLine:
    """A line that is no conversation: where, what was found, what to do."""

    file: str
    line: int
    offset: int
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line} (byte {self.offset}): {self.found}. {self.advice}"


class BadLineError(ValueError):
    """Raised by strict reading at the first bad line; `bad_line` has the parts."""

    def __init__(self, bad_line: BadLine) -> None:
        super().__init__(f"{bad_line} To go on without such lines, read with on_error='skip'.")
        self.bad_line = bad_line


@dataclass
class ReadReport:
    """What `read` met so far; complete once it is exhausted: read + skipped = lines."""

    read: int = 0
    skipped: list[BadLine] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """Lines seen, good and bad."""
        return self.read + len(self.skipped)

    def __str__(self) -> str:
        shown = "".join(f"\n  {bad}" for bad in self.skipped[:10])
        more = f"\n  ... and {len(self.skipped) - 10} more" if len(self.skipped) > 10 else ""
        return f"{self.read:,} conversations read, {len(self.skipped):,} lines skipped, {self.lines:,} lines.{shown}{more}"


class _Malformed(Exception):
    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found)
        self.found, self.advice = found, advice


def _decode(raw: bytes) -> str:
    if b"\0" in raw:
        raise _Malformed(
            f"NUL byte at position {raw.index(0)} of the line",
            "The file was cut or written with another encoding (UTF-16?); download it again or convert it to UTF-8.",
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Malformed(
            f"not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start} of the line",
            "Convert the file, for instance: iconv -f GB18030 -t UTF-8.",
        ) from None


def parse_line(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Messages of one line of bytes. Raises an error whose text says what was found and what to do."""
    text = _decode(raw.rstrip(b"\r\n"))
    if not text.strip():
        raise _Malformed("an empty line", "Delete it.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Malformed(
            f"not JSON ({error})", "Each line must be one whole JSON object."
        ) from None
    turns = data.get("conversations") if isinstance(data, dict) else None
    if not isinstance(turns, list) or not turns:
        raise _Malformed(
            'no list under the key "conversations"',
            'Expected {"conversations": [{"role": "user", "content": "..."}, ...]}.',
        )
    return tuple(_message(turn, i) for i, turn in enumerate(turns)) if _roles(turns) else ()


def _roles(turns: list) -> bool:
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    talk = roles[1:] if roles[0] == "system" else roles
    expected = [ROLES[1 + i % 2] for i in range(len(talk))]
    if talk != expected:
        at = next(i for i, (got, want) in enumerate(zip(talk, expected)) if got != want)
        raise _Malformed(
            f"wrong roles: turn {at + 1 + len(roles) - len(talk)} is {talk[at]!r}, expected {expected[at]!r}",
            "After an optional system message, user and assistant take turns, user first.",
        )
    if "assistant" not in talk:
        raise _Malformed(
            "no assistant turn",
            "Without an answer there is nothing to learn from; delete the line.",
        )
    return True


def _message(turn: dict, index: int) -> tuple[str, str]:
    content = turn.get("content")
    if not isinstance(content, str) or not content.strip():
        raise _Malformed(
            f"empty content in turn {index + 1} ({turn['role']})", "Fill it or delete the line."
        )
    if not content.isascii() and not _is_whole(content):
        raise _Malformed(
            f"half a surrogate pair in turn {index + 1}",
            "The JSON was written with broken \\u escapes; write it again.",
        )
    return turn["role"], content


def _is_whole(content: str) -> bool:
    # Half a surrogate pair is the only thing that UTF-8 can't write; a look at each character takes most of the reading time.
    try:
        content.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, int, bytes, int]]:
    """(line, offset, bytes, size); of a line over `max_bytes` only the head is kept in memory."""
    line = offset = 0
    while head := stream.readline(max_bytes + 1):
        line, size, tail = line + 1, len(head), head
        while not tail.endswith(b"\n") and (tail := stream.readline(1 << 16)):
            size += len(tail)
        yield line, offset, head, size
        offset += size


def read(
    path: str | Path,
    *,
    on_error: str = "raise",
    report: ReadReport | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Conversation]:
    """Stream the conversations of a JSONL file, one line in memory at a time.

    on_error "raise" stops at the first bad line with `BadLineError`; "skip" goes on, and
    `report`, if given, counts what was read and lists what was skipped. A UTF-8 byte order
    mark at the start of the file is accepted. Raises `FileNotFoundError`, `ValueError`.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}.")
    report = ReadReport() if report is None else report
    with open(path, "rb") as stream:
        for line, offset, raw, size in _lines(stream, max_line_bytes):
            try:
                if size > max_line_bytes + raw.endswith(b"\n"):
                    raise _Malformed(
                        f"a line of {size:,} bytes, over the limit of {max_line_bytes:,}",
                        "A line break is missing, or raise max_line_bytes.",
                    )
                messages = parse_line(raw.removeprefix(BOM) if line == 1 else raw)
            except _Malformed as bad:
                bad_line = BadLine(str(path), line, offset, bad.found, bad.advice)
                if on_error == "raise":
                    raise BadLineError(bad_line) from None
                report.skipped.append(bad_line)
            else:
                report.read += 1
                yield Conversation(messages, str(path), line, offset)


def read_at(path: str | Path, offset: int, line: int = 0) -> Conversation:
    """The one conversation that starts at byte `offset`; raises `ValueError` where none does."""
    if offset < 0:
        raise ValueError(f"an offset counts bytes from the start of the file, got {offset}.")
    with open(path, "rb") as stream:
        stream.seek(offset)
        raw = stream.readline()
        try:
            return Conversation(
                parse_line(raw.removeprefix(BOM) if offset == 0 else raw), str(path), line, offset
            )
        except _Malformed as bad:
            raise BadLineError(BadLine(str(path), line, offset, bad.found, bad.advice)) from None


def write(path: str | Path, conversations: list[tuple[tuple[str, str], ...]]) -> None:
    """Write messages as MiniMind JSONL: UTF-8, one conversation a line, `\\n` line ends."""
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        for messages in conversations:
            turns = [{"role": role, "content": content} for role, content in messages]
            stream.write(json.dumps({"conversations": turns}, ensure_ascii=False) + "\n")
