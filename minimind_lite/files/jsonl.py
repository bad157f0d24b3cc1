"""MiniMind's JSONL, line by line: each line is read, or named with what is wrong and what to do.

The common JSON loaders give no line numbers and stop at the first bad line. A spike can only be
traced to its text through that number, so this reader is our own. Nothing is lost silently: a
bad line either raises an error that says where and what, or is counted and listed.
Conversations read + lines skipped = lines in the file, always.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

from minimind_lite.conversations import ROLES, Conversation, Messages
from minimind_lite.files.formats import TEXTS, format_name, nearly_json, other_format
from minimind_lite.files.visible import shorten, visible

IGNORED = ("reasoning_content", "tools", "tool_calls")  # of MiniMind since late 2025; not read
BOM = b"\xef\xbb\xbf"  # UTF-8's byte order mark, which some editors put at the start of a file
MAX_LINE_BYTES = 1 << 20  # a conversation of a million bytes is a broken file, not a conversation
MAX_LISTED = 10  # bad lines that a report shows
TURNS = "After an optional system message, user and assistant take turns, user first."
TOOLS = "Conversations with tool calls are not read; delete the line."
TOOL_KEYS = ("tools", "tool_calls", "function_call")
CONVERT = "This converts it: python -m minimind_lite check FILE --write OUT."
EXPECTED = 'Expected {"conversations": [{"role": "user", "content": "..."}, ...]}.'


@dataclass(frozen=True)
class BadLine:
    """A line that is no conversation: where it is, what is wrong, what to do."""

    file: str
    line: int
    offset: int
    problem: str
    advice: str

    def __str__(self) -> str:
        place = f"{visible(self.file)}, line {self.line} (byte {self.offset})"
        return f"{place}: {self.problem}. {self.advice}"


class BadLineError(ValueError):
    """Raised by strict reading at the first bad line; `bad_line` has the parts."""

    def __init__(self, bad_line: BadLine) -> None:
        super().__init__(f"{bad_line} To go on without such lines, read with on_error='skip'.")
        self.bad_line = bad_line


@dataclass
class ReadReport:
    """What `read` did so far; complete once it is exhausted: read + skipped = lines."""

    read: int = 0
    skipped: list[BadLine] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)  # turns with text under such a key

    @property
    def lines(self) -> int:
        """Lines read, good and bad."""
        return self.read + len(self.skipped)

    def __str__(self) -> str:
        return self.text(MAX_LISTED)

    def text(self, most: int) -> str:
        """Counts, and `most` of the bad lines."""
        listed = [f"  {bad}" for bad in self.skipped[:most]]
        if len(self.skipped) > most:
            listed.append(f"  ... and {len(self.skipped) - most:,} more")
        if self.ignored:
            keys = ", ".join(f"{key} {n:,}" for key, n in sorted(self.ignored.items()))
            listed.append(f"Turns whose text under another key than content was not read: {keys}.")
        counts = f"{self.read:,} conversations read, {len(self.skipped):,} lines skipped"
        return "\n".join([f"{counts}, {self.lines:,} lines.", *listed])


class _Malformed(Exception):
    """Its arguments: what is wrong with a line, and what to do."""


def _converted(objects: list[object]) -> list[Messages]:
    """Messages of each, from whatever format; [] where one of them can't be had."""
    try:
        return [_messages(_in_minimind_s(data), Counter()) for data in objects]
    except _Malformed:
        return []


def _in_minimind_s(data: object) -> object:
    other = other_format(data)
    return {"conversations": other.turns} if other else data


def _parse(raw: bytes, size: int, ignored: Counter[str]) -> Messages:
    """Messages of one line of `size` bytes; `ignored` counts turns with text under such a key."""
    if size > MAX_LINE_BYTES + raw.endswith(b"\n"):
        problem = f"a line of {size:,} bytes, over the limit of {MAX_LINE_BYTES:,}"
        raise _Malformed(problem, "A line break is missing, or delete the line.")
    text = _decode(raw.rstrip(b"\r\n"))
    if not text.strip():
        raise _Malformed("an empty line", "Delete it.")
    return _messages(_parse_json(text), ignored)


def _messages(data: object, ignored: Counter[str]) -> Messages:
    turns = data.get("conversations") if isinstance(data, dict) else None
    if other := other_format(data):
        problem = f"another format than MiniMind's ({other.name})"
        try:
            _messages({"conversations": other.turns}, Counter())
        except _Malformed as bad:
            raise _Malformed(f"{problem}, and {bad.args[0]}", bad.args[1]) from None
        raise _Malformed(f"{problem}{_keys(data)}", CONVERT)
    if not isinstance(turns, list) or not turns:
        advice = EXPECTED
        if format_name(data) == TEXTS:
            advice = "A text for pretraining: it has no answer to learn from."
        raise _Malformed(f'no list under the key "conversations"{_keys(data)}', advice)
    _check_roles(turns)
    messages = tuple((turn["role"], _content(turn, i)) for i, turn in enumerate(turns, 1))
    ignored.update(key for turn in turns for key in IGNORED if turn.get(key))
    return messages


def _decode(raw: bytes) -> str:
    if b"\0" in raw:
        raise _Malformed(
            f"NUL byte at position {raw.index(0)} of the line",
            "A binary file, UTF-16, or cut: download it again or convert it to UTF-8.",
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Malformed(
            f"not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start} of the line",
            "A binary file, or convert it, for instance: iconv -f GB18030 -t UTF-8.",
        ) from None


def _parse_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at character {error.pos + 1} of the line"
    except (ValueError, RecursionError) as error:  # a huge integer; too many brackets
        problem = shorten(str(error))
    advice = "Each line must be one whole JSON object."
    if nearly := nearly_json(text):
        problem, advice = nearly.problem, CONVERT if _converted(nearly.objects) else advice
    raise _Malformed(f"not JSON ({problem})", advice)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) < len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise _Malformed(
            f"the key {shorten(repr(key))} stands twice in one object", "Keep one of them."
        )
    return data


def _keys(value: object) -> str:
    """For a message: the keys of an object, nothing for another value."""
    return f"; its keys: {visible(shorten(', '.join(value)))}" if isinstance(value, dict) else ""


def _check_roles(turns: list[object]) -> None:
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    first = 1 if roles[0] == "system" else 0
    for i, role in enumerate(roles[first:], first):
        if not isinstance(role, str):
            raise _Malformed(f"turn {i + 1} has no role{_keys(turns[i])}", EXPECTED)
        expected = ROLES[1 + (i - first) % 2]
        if role != expected:
            problem = f"wrong roles: turn {i + 1} is {shorten(repr(role))}, expected {expected!r}"
            raise _Malformed(problem, TOOLS if role in ("tool", "function") else TURNS)
    if "assistant" not in roles:
        raise _Malformed("no assistant turn", "There is nothing to learn from; delete the line.")


def _content(turn: dict[str, object], number: int) -> str:
    where, content = f"turn {number} ({turn['role']})", turn.get("content")
    if "content" not in turn:
        raise _Malformed(f"{where} has no content{_keys(turn)}", EXPECTED)
    if not isinstance(content, str):
        value = shorten(json.dumps(content))
        raise _Malformed(f"the content of {where} is {value}, not text", EXPECTED)
    if not content.strip():
        calls = any(turn.get(key) for key in TOOL_KEYS)
        advice = TOOLS if calls else "Fill it or delete the line."
        raise _Malformed(f"empty content in {where}", advice)
    # Half a surrogate pair is the only thing that UTF-8 can't write; to look at each character
    # takes most of the reading time.
    try:
        content.isascii() or content.encode()
    except UnicodeEncodeError:
        raise _Malformed(
            f"half a surrogate pair in {where}",
            "The JSON was written with broken \\u escapes; write it again.",
        ) from None
    return content


def _lines(stream: BufferedReader) -> Iterator[tuple[int, int, bytes, int]]:
    """(line, offset, bytes, size); of a line over the limit only the head is kept in memory.

    A blank last line is no line: editors and scripts leave one.
    """
    line = offset = 0
    while head := stream.readline(MAX_LINE_BYTES + 1):
        if line and not head.strip() and not stream.peek(1):
            return
        line, size, tail = line + 1, len(head), head
        while not tail.endswith(b"\n") and (tail := stream.readline(1 << 16)):
            size += len(tail)
        yield line, offset, head.removeprefix(BOM) if line == 1 else head, size
        offset += size


def read(
    path: str | Path, *, on_error: str = "raise", report: ReadReport | None = None
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
        for line, offset, raw, size in _lines(stream):
            try:
                messages = _parse(raw, size, report.ignored)
            except _Malformed as bad:
                bad_line = BadLine(str(path), line, offset, *bad.args)
                if on_error == "raise":
                    raise BadLineError(bad_line) from None
                report.skipped.append(bad_line)
            else:
                report.read += 1
                yield Conversation(messages, str(path), line, offset)


def rescue(path: str | Path, *, report: ReadReport | None = None) -> Iterator[Messages]:
    """What `read` gives, and what can be had of bad lines by converting them.

    A line may hold several conversations. `report` lists the lines that give none.
    """
    report = ReadReport() if report is None else report
    with open(path, "rb") as stream:
        for line, offset, raw, size in _lines(stream):
            try:
                yield from _rescued(raw, size, report.ignored)
                report.read += 1
            except _Malformed as bad:
                report.skipped.append(BadLine(str(path), line, offset, *bad.args))


def _rescued(raw: bytes, size: int, ignored: Counter[str]) -> list[Messages]:
    try:
        return [_parse(raw, size, ignored)]
    except _Malformed as bad:
        if bad.args[1] != CONVERT:
            raise
    text = _decode(raw.rstrip(b"\r\n"))
    nearly = nearly_json(text)
    return _converted(nearly.objects if nearly else [json.loads(text)])


def write(path: str | Path, conversations: Iterable[Messages]) -> None:
    """Write messages as MiniMind JSONL: UTF-8, one conversation a line, `\\n` line ends."""
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        for messages in conversations:
            turns = [{"role": role, "content": content} for role, content in messages]
            stream.write(json.dumps({"conversations": turns}, ensure_ascii=False) + "\n")
