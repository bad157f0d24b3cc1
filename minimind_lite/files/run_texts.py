"""From the rows of a run back to its file: which line a row is, and what it says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minimind_lite.conversations import Conversation
from minimind_lite.files.encoded import file_stamp, line_numbers
from minimind_lite.files.jsonl import read
from minimind_lite.files.visible import shorten, visible
from minimind_lite.records import Run


def lines_of(run: Run, rows: np.ndarray) -> np.ndarray:
    """Line (N,) in the file, from 1, of each of the given rows (N,) of a run.

    A line that was skipped, or held out, gave no row.
    """
    without_row = (*run.info.get("skipped_lines", []), *run.info.get("held_out_lines", []))
    return line_numbers(rows, sorted(without_row))


def unchanged(run: Run) -> bool:
    """Whether the file that a run read is there as it was."""
    path = Path(str(run.info.get("lines_of", "")))
    return path.is_file() and run.info.get("data_stamp") == list(file_stamp(path))


def conversations_at(run: Run, lines: Iterable[int]) -> dict[int, Conversation]:
    """The conversations at some lines, by line; none where the file is gone or has changed."""
    wanted, texts = set(lines), dict[int, Conversation]()
    if not wanted or not unchanged(run):
        return texts
    for conversation in read(Path(run.info["lines_of"]), on_error="skip"):
        if conversation.line in wanted:
            texts[conversation.line] = conversation
        if conversation.line >= max(wanted):
            break
    return texts


def first_words(conversation: Conversation, length: int = 60) -> str:
    """The beginning of what the user says first, on one line."""
    question = next((text for role, text in conversation.messages if role == "user"), "")
    return visible(shorten(" ".join(question[: 4 * length].split()), length))
