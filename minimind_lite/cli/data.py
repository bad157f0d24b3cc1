"""`check`, and reading a file for `train`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from minimind_lite.chat import Chat
from minimind_lite.cli.progress import Bar
from minimind_lite.conversations import Messages
from minimind_lite.files import jsonl, shipped
from minimind_lite.files.encoded import EncodedFile
from minimind_lite.files.encoded_cache import cache_folder, encode_file
from minimind_lite.files.sources import as_jsonl
from minimind_lite.files.visible import visible
from minimind_lite.files.work import write_then_rename

MAX_RANGES = 20  # of lines that are printed where they are no errors


def storable(path: str | Path) -> str:
    """A path as text that any file takes, also where its name is no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(path: str | Path) -> str:
    """A path as text that any terminal takes and obeys nothing of."""
    return visible(storable(path))


def jsonl_of(data: str, formats: list[str] | None = None) -> Path:
    """The JSONL file with the rows of `data`; its name is printed where it had to be written.

    `formats`, if given, lists what `data` was, from the outside in.
    """
    with Bar(unit="B", delay=2) as bar:
        lines = cache_folder().with_name("lines")
        path = as_jsonl(data, lines, progress=bar, formats=formats)
    if path != Path(data):
        print(f"{printable(data)} as lines of MiniMind's format: {printable(path)}")
    return path


def encode(
    path: Path, chat: Chat, arguments: argparse.Namespace, *, skip: bool, most: int | None = None
) -> EncodedFile:
    """The file as rows; prints what was read, skipped and cut, `most` of the bad lines."""
    start = time.perf_counter()
    with (
        Bar(unit="B", delay=2) as bar,
        warnings.catch_warnings(record=True, action="always") as lines,
    ):
        data = encode_file(
            path,
            chat,
            max_len=arguments.max_seq_len,
            on_error="skip" if skip else "raise",
            cache=not arguments.no_cache,
            progress=bar,
        )
    for line in lines:
        print(f"warning: {visible(str(line.message))}", file=sys.stderr)
    print(data.report.text(jsonl.MAX_LISTED if most is None else most))
    if data.n_cut:
        print(
            f"{data.n_cut:,} conversations ({data.n_cut / len(data.rows):.0%}) are longer than "
            f"{arguments.max_seq_len} tokens; the rest of each is cut off: "
            f"{ranges(data.cut_lines())}."
        )
    if unanswered := data.unanswered_lines():
        print(
            f"Skipped, since their first {arguments.max_seq_len} tokens have no answer: "
            f"{len(unanswered):,}: {ranges(unanswered)}."
        )
    if data.entry:
        what, seconds = "found" if data.cached else "kept", time.perf_counter() - start
        print(f"Token ids {what} in {printable(data.entry)} ({seconds:.1f} s).")
    return data


def ranges(lines: Iterable[int] | np.ndarray, *, most: int = MAX_RANGES) -> str:
    """Lines in words: "lines 3, 5-9"; of more than `most` ranges, the first."""
    numbers = np.fromiter(lines, np.int64)
    stretches = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    listed = [f"{s[0]:,}-{s[-1]:,}" if len(s) > 1 else f"{s[0]:,}" for s in stretches[:most]]
    more = f" and {sum(map(len, stretches[most:])):,} more" if len(stretches) > most else ""
    return f"line{'s' * (len(numbers) > 1)} {', '.join(listed)}{more}"


def check(arguments: argparse.Namespace) -> int:
    """What a file is, its bad lines with their reasons, cut rows, tokens, and the way out."""
    if arguments.write is not None:
        _refuse_existing(arguments.write)
    formats: list[str] = []
    path = jsonl_of(arguments.data, formats)
    print(f"Format: {', in it '.join(formats)}.")
    data = encode(path, shipped.chat(), arguments, skip=True, most=arguments.most or sys.maxsize)
    answers = data.rows.supervised().sum()
    print(f"{len(data.rows.ids):,} tokens, {answers:,} of them in answers.")
    if arguments.write is not None:
        print(_write(path, arguments.write))
    elif n := sum(bad.advice == jsonl.CONVERT for bad in data.report.skipped):
        print(f"{n:,} of the bad lines can be converted. This writes a file with them:")
        words = ["check", printable(arguments.data), "--write", f"{path.stem}.minimind.jsonl"]
        print(f"  python -m minimind_lite {shlex.join(words)}")
    return 1 if data.report.skipped or not len(data.rows) else 0


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise FileExistsError(f"{printable(target)} is there already; choose another name.")


def _write(path: Path, target: Path) -> str:
    """Write all conversations that can be had, and say how many. Raises `FileExistsError`."""
    _refuse_existing(target)  # it may have come while the file was read
    report, n = jsonl.ReadReport(), 0

    def counted() -> Iterator[Messages]:
        nonlocal n
        for messages in jsonl.rescue(path, report=report):
            n += 1
            yield messages

    with write_then_rename(target) as temporary:
        jsonl.write(temporary, counted())
    left = f"{len(report.skipped):,} lines could not be converted and are left out"
    return f"{n:,} conversations written to {printable(target)}; {left}."
