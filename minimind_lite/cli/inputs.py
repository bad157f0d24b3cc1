"""What `train` reads: the rows of a file, and held-out rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from minimind_lite.chat import Chat
from minimind_lite.cli import data as reading
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.encoded import EncodedFile
from minimind_lite.rows import EncodedRows


def probes_of(chat: Chat, config: TrainConfig) -> dict[str, EncodedRows]:
    """The shipped held-out sets; none for a frozen model, whose held-out loss never changes."""
    return shipped.probes(chat) if config.probe_every and config.optimizer != "none" else {}


def read_rows(path: Path, chat: Chat, arguments: argparse.Namespace) -> EncodedFile:
    """The rows to train on. Raises `ValueError` where there are too few to be meant."""
    data = reading.encode(path, chat, arguments, skip=arguments.skip_bad_lines)
    read, lines = data.report.read, data.report.lines
    if 2 * read < lines and not arguments.allow_mostly_bad:
        raise ValueError(
            f"only {read:,} of {lines:,} lines of {path} could be read. To go on with these: "
            "--allow-mostly-bad."
        )
    if not read:
        raise ValueError(f"{path} has no rows to train on.")
    return data
