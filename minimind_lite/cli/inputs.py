"""What `train` reads: the rows of a file, and held-out rows."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from minimind_lite.chat import Chat
from minimind_lite.cli import data as reading
from minimind_lite.config import TrainConfig
from minimind_lite.files import held_out, shipped
from minimind_lite.files.encoded import EncodedFile, line_numbers
from minimind_lite.rows import EncodedRows
from minimind_lite.segments import DOMAINS

HELD_OUT = "held-out"  # name of the rows that --hold-out keeps back
MAX_PROBE_ROWS = 500  # of a held-out file that are measured


@dataclass(frozen=True)
class Inputs:
    """What a run reads."""

    file: EncodedFile
    rows: EncodedRows  # to train on
    held_out_lines: list[int]  # of the file, kept back
    probes: dict[str, EncodedRows]


def checked_probes(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` for held-out files of one name, or that nobody would measure."""
    names = [HELD_OUT] * bool(arguments.hold_out) + [_name(path) for path in arguments.probe or ()]
    wrong = [name for name in names if names.count(name) > 1 or name in DOMAINS]
    if wrong:
        raise ValueError(f"there is another held-out set called {wrong[0]!r}: rename the file.")
    if arguments.probe and not arguments.probe_every:
        raise ValueError("--probe-every 0 never measures a --probe: leave one of them out.")


def _name(path: str) -> str:
    return reading.printable(Path(path).name.partition(".")[0])


def inputs(path: Path, chat: Chat, arguments: argparse.Namespace, config: TrainConfig) -> Inputs:
    """Rows to train on and held-out rows, as the options say. Raises `ValueError`.

    A frozen model has no probes: its held-out loss never changes.
    """
    data = read_rows(path, chat, arguments)
    rows, lines, probes = data.rows, list[int](), dict[str, EncodedRows]()
    if arguments.hold_out:
        parts = held_out.split(rows, arguments.hold_out)
        skipped = [bad.line for bad in data.report.skipped]
        rows, lines = parts.train, line_numbers(parts.rows, skipped).tolist()
        probes[HELD_OUT] = parts.held_out
        print(f"Held out, not trained on: {len(lines):,} of {len(data.rows):,} conversations.")
    if not config.probe_every or config.optimizer == "none":
        return Inputs(data, rows, lines, {})
    for name in arguments.probe or ():
        probes[_name(name)] = _probe(name, chat, arguments)
    return Inputs(data, rows, lines, shipped.probes(chat) | probes)


def _probe(name: str, chat: Chat, arguments: argparse.Namespace) -> EncodedRows:
    """The rows of a held-out file; of many, some that are evenly spaced."""
    print(f"Held-out file {reading.printable(name)}:")
    path = reading.jsonl_of(name)
    rows = reading.encode(path, chat, arguments, skip=arguments.skip_bad_lines).rows
    if not len(rows):
        raise ValueError(f"{path} has no rows to measure.")
    if len(rows) <= MAX_PROBE_ROWS:
        return rows
    print(f"{MAX_PROBE_ROWS} of them, evenly spaced, are measured: more would take too long.")
    return rows.select(held_out.spaced(len(rows), MAX_PROBE_ROWS))


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
