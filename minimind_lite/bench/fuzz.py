"""The readers against thousands of damaged files: each is data, or an error that says what to do.

A crash, a lost line or an error that does not say where is a *fault*. A fault is printed with the
number of its case, and `mutations.case(number)` gives the file again.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from minimind_lite.bench.mutations import PACKINGS, Case, case
from minimind_lite.chat import Chat
from minimind_lite.conversations import Messages
from minimind_lite.files import jsonl, shipped
from minimind_lite.files.encoded import EncodedFile, line_numbers
from minimind_lite.files.encoded_cache import encode_file
from minimind_lite.files.sources import as_jsonl
from minimind_lite.files.visible import visible

MAX_MESSAGE = 900  # characters of an error
MAX_LEN = 200  # tokens of a row
ENCODED = 8  # every so many cases are encoded, too
READ, PARTLY, REFUSED = "all lines read", "bad lines named", "file refused by name"
T = TypeVar("T")
OUTCOMES = (READ, PARTLY, REFUSED)
LINES = [name for name in PACKINGS if name.startswith("lines")]


class Fault(Exception):
    """What a reader must not do."""


@dataclass
class Report:
    """Counts by outcome, and the faults."""

    cases: int = 0
    lines: int = 0
    lines_read: int = 0
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # what, name, outcome
    faults: list[str] = field(default_factory=list)

    def add(self, case: Case, outcome: str) -> None:
        """Count a case under its format, its damage and its packing."""
        self.cases += 1
        for what in ("format", "damage", "packing"):
            self.outcomes[what, getattr(case, what), outcome] += 1

    def __str__(self) -> str:
        table = [f"{'':<34}" + "".join(f"{name:>22}" for name in OUTCOMES)]
        for what in ("format", "damage", "packing"):
            names = sorted({name for kind, name, _ in self.outcomes if kind == what})
            table.append(f"{what}:")
            table += [
                f"  {name:<32}" + "".join(f"{self.outcomes[what, name, o]:>22,}" for o in OUTCOMES)
                for name in names
            ]
        skipped = self.lines - self.lines_read
        return "\n".join(
            [
                *table,
                f"{self.cases:,} files: {self.lines_read:,} lines read + {skipped:,} named = "
                f"{self.lines:,} lines. Faults: {len(self.faults):,}",
                *(f"  {fault}" for fault in self.faults),
            ]
        )


def run(n: int, *, seed: int = 0, progress: Callable[[], object] = lambda: None) -> Report:
    """Read the cases 0 to n - 1."""
    report, chat = Report(), shipped.chat()
    for number in range(n):
        drawn = case(number, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            try:
                report.add(drawn, judge(drawn, Path(folder), chat=chat, report=report))
            except Fault as fault:
                report.faults.append(f"{drawn}: {fault}")
        progress()
    return report


def judge(case: Case, folder: Path, *, chat: Chat, report: Report) -> str:
    """Read a case in every way; its outcome. Raises `Fault`."""
    path = folder / case.name
    if case.content is None:
        path.mkdir()
    else:
        path.write_bytes(case.content)
    source = _attempt(path, lambda: as_jsonl(str(path), folder / "lines", progress=_quiet))
    if source is None:
        if case.packing in LINES and case.first_whole and case.whole:
            raise Fault("a file of lines is refused whole")
        return REFUSED
    skipped = _check_lines(source, report)
    # Objects over several lines are known by the first of them.
    known = case.first_whole or case.packing != "pretty JSON"
    _check_rescue(source, folder, whole=case.whole if known else ())
    if case.number % ENCODED == 0:
        _check_encoding(source, chat)
    return PARTLY if skipped else READ


def _quiet(what: str, done: int, total: int) -> None:
    """No progress shown."""


def _attempt(path: Path, action: Callable[[], T]) -> T | None:
    """What an action gives; None for an error that a user can read."""
    try:
        return action()
    except (ValueError, OSError) as error:
        _check_message(str(error), str(path.parent))
        return None
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {str(error)[:200]!r}") from error


def _check_message(text: str, *parts: str) -> None:
    if missing := [part for part in parts if part not in text]:
        raise Fault(f"an error without {missing[0]!r}: {text[:200]!r}")
    if visible(text) != text or len(text) > MAX_MESSAGE:
        raise Fault(f"an error that is no line of {MAX_MESSAGE} characters: {text[:200]!r}")


def _check_lines(path: Path, report: Report) -> list[jsonl.BadLine]:
    """Read, strictly and skipping: the same, each line once, at its place."""
    data, skipping = path.read_bytes(), jsonl.ReadReport()
    read = _attempt(path, lambda: list(jsonl.read(path, on_error="skip", report=skipping)))
    if read is None:
        raise Fault("reading stops, although bad lines are to be skipped")
    places = sorted(
        [(c.line, c.offset) for c in read] + [(b.line, b.offset) for b in skipping.skipped]
    )
    if places != list(_line_starts(data)):
        raise Fault(f"lines {places[:9]}, expected {list(_line_starts(data))[:9]}")
    if skipping.read != len(read) or skipping.lines != len(places):
        raise Fault("read + skipped is not the number of lines")
    for bad in skipping.skipped:
        _check_message(str(bad), f"{path}, line {bad.line} ", bad.advice or "advice")
    _check_strict(path, read, skipping.skipped)
    report.lines, report.lines_read = report.lines + len(places), report.lines_read + len(read)
    return skipping.skipped


def _check_strict(path: Path, read: list[jsonl.Conversation], skipped: list[jsonl.BadLine]) -> None:
    before, first = [], None
    try:
        for conversation in jsonl.read(path):
            before.append(conversation)
    except jsonl.BadLineError as error:
        first = error.bad_line
    if first != (skipped[0] if skipped else None):
        raise Fault(f"strict reading stops at {first}, skipping first skips {skipped[:1]}")
    if before != [c for c in read if first is None or c.line < first.line]:
        raise Fault("strict reading gives other conversations than skipping does")


def _line_starts(data: bytes) -> Iterator[tuple[int, int]]:
    """(line, offset) of each line, counted in another way than the reader does."""
    lines = data.split(b"\n")
    if not lines[-1] or (len(lines) > 1 and not lines[-1].strip()):
        lines.pop()
        if len(lines) > 1 and not lines[-1].strip() and data.endswith(b"\n"):
            lines.pop()
    offset = 0
    for number, line in enumerate(lines, 1):
        yield number, offset
        offset += len(line) + 1


def _check_rescue(path: Path, folder: Path, *, whole: Iterable[Messages]) -> None:
    """What was left whole is there; what is written is read back."""
    report = jsonl.ReadReport()
    rescued = list(jsonl.rescue(path, report=report))
    remaining = iter(rescued)
    if lost := [messages for messages in whole if messages not in remaining]:
        raise Fault(f"a whole conversation is lost: {str(lost[0])[:200]!r}")
    jsonl.write(folder / "rescued.jsonl", rescued)
    if [c.messages for c in jsonl.read(folder / "rescued.jsonl")] != rescued:
        raise Fault("what is written is not read back")


def _check_encoding(path: Path, chat: Chat) -> None:
    """Rows and skipped lines are all lines; strict encoding fails where one is skipped."""

    def encode(on_error: str) -> EncodedFile | None:
        return _attempt(
            path,
            lambda: encode_file(path, chat, max_len=MAX_LEN, on_error=on_error, cache=False),
        )

    data, strict = encode("skip"), encode("raise")
    if data is None:
        raise Fault("encoding stops, although bad lines are to be skipped")
    skipped = [bad.line for bad in data.report.skipped]
    lines = line_numbers(np.arange(len(data.rows)), skipped).tolist()
    if sorted([*lines, *skipped]) != list(range(1, data.report.lines + 1)):
        raise Fault(f"rows at lines {lines[:9]}, skipped {skipped[:9]}")
    if (strict is None) != bool(skipped) or not (data.rows.supervised() > 0).all():
        raise Fault("strict encoding differs, or a row has no answer")
