"""`check`, and reading a file for `train`."""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

from minimind_lite.chat import Chat
from minimind_lite.cli.progress import Bar
from minimind_lite.files import shipped
from minimind_lite.files.encoded import EncodedFile
from minimind_lite.files.encoded_cache import cache_folder, encode_file
from minimind_lite.files.jsonl import MAX_LISTED
from minimind_lite.files.sources import as_jsonl


def printable(path: str | Path) -> str:
    """A path as text that any file or terminal takes, also where its name is no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def jsonl_of(data: str) -> Path:
    """The JSONL file with the rows of `data`; its name is printed where it had to be written."""
    with Bar(unit="B", delay=2) as bar:
        path = as_jsonl(data, cache_folder().with_name("lines"), progress=bar)
    if path != Path(data):
        print(f"{data} as lines of MiniMind's format: {printable(path)}")
    return path


def encode(path: Path, chat: Chat, arguments: argparse.Namespace, *, skip: bool) -> EncodedFile:
    """The file as rows; prints what was read, skipped and cut."""
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
        print(f"warning: {line.message}", file=sys.stderr)
    print(data.report)
    if data.n_cut:
        print(
            f"{data.n_cut:,} conversations ({data.n_cut / len(data.rows):.0%}) are longer than "
            f"{arguments.max_seq_len} tokens; the rest of each is cut off."
        )
    if data.entry:
        what, seconds = "found" if data.cached else "kept", time.perf_counter() - start
        print(f"Token ids {what} in {printable(data.entry)} ({seconds:.1f} s).")
    return data


def check(arguments: argparse.Namespace) -> int:
    """Bad lines with their reasons, cut rows, tokens, and the format where it is another."""
    data = encode(jsonl_of(arguments.data), shipped.chat(), arguments, skip=True)
    for bad in data.report.skipped[MAX_LISTED : arguments.most]:  # the first ones are printed
        print(f"  {bad}")
    answers = data.rows.supervised().sum()
    print(f"{len(data.rows.ids):,} tokens, {answers:,} of them in answers.")
    return 1 if data.report.skipped else 0
