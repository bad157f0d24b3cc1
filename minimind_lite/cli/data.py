"""`check`, and reading a file for `train`."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minimind_lite.chat import Chat
from minimind_lite.cli.progress import Bar
from minimind_lite.files import shipped
from minimind_lite.files.encoded import EncodedFile
from minimind_lite.files.encoded_cache import cache_folder, encode_file
from minimind_lite.files.sources import as_jsonl


def printable(path: str | Path) -> str:
    """A path as text that any file or terminal takes, also where its name is no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def jsonl_of(data: str) -> Path:
    """The JSONL file with the rows of `data`; said, where it had to be written."""
    with _progress() as bar:
        path = as_jsonl(data, cache_folder().with_name("lines"), progress=bar)
    if path != Path(data):
        print(f"{data} as lines of MiniMind's format: {printable(path)}")
    return path


def encode(path: Path, chat: Chat, arguments: argparse.Namespace, *, skip: bool) -> EncodedFile:
    """The file as rows; prints what was read, skipped and cut."""
    start = time.perf_counter()
    with _progress() as bar, _warnings_as_lines():
        data = encode_file(
            path,
            chat,
            max_len=arguments.max_seq_len,
            on_error="skip" if skip else "raise",
            cache=not arguments.no_cache,
            progress=bar,
        )
    print(data.report)
    if data.n_cut:
        share = data.n_cut / len(data.rows)
        print(
            f"{data.n_cut:,} conversations ({share:.0%}) are longer than {arguments.max_seq_len} "
            "tokens; the rest of each is cut off."
        )
    if data.entry:
        what = "found" if data.cached else "kept"
        seconds = time.perf_counter() - start
        print(f"Token ids {what} in {printable(data.entry)} ({seconds:.1f} s).")
    return data


@contextmanager
def _progress() -> Iterator[Bar]:
    bar = Bar(unit="B", delay=2)
    try:
        yield bar
    finally:
        bar.close()


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                print(f"warning: {warning.message}", file=sys.stderr)


def check(arguments: argparse.Namespace) -> int:
    """Bad lines with their reasons, cut rows, tokens, and the format where it is another."""
    path = jsonl_of(arguments.data)
    data = encode(path, shipped.chat(), arguments, skip=True)
    first = 10  # the report lists so many
    for bad in data.report.skipped[first : arguments.most]:
        print(f"  {bad}")
    rows = data.rows
    print(f"{len(rows.ids):,} tokens, {int(rows.supervised().sum()):,} of them in answers.")
    return 1 if data.report.skipped else 0
