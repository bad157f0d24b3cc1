"""`spikes`: the spikes of a run folder, each with its lines of the file and its first words."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minimind_lite.conversations import Conversation
from minimind_lite.files import run_folder
from minimind_lite.files.encoded import file_stamp, line_numbers
from minimind_lite.files.jsonl import read, shorten
from minimind_lite.records import Run
from minimind_lite.spikes import WINDOW, SpikeEvent, find

ADVICE = (
    "Does the order of the lines make these spikes? The same command with --order shuffle and "
    "another --out shows it."
)


def run(arguments: argparse.Namespace) -> int:
    """Print what `train` printed at the end of a run."""
    print(report(arguments.run_folder))
    return 0


def report(folder: Path) -> str:
    """Steps and spikes of a run, with lines and texts, and the change of held-out losses."""
    run = run_folder.load(folder)
    lines = [f"{len(run)} step{'s' * (len(run) != 1)}, {_count(run)}. Run folder: {folder}"]
    events = find(run.loss) if len(run) > WINDOW else []
    hardest = [_hardest_line(run, event) for event in events]
    texts = _texts(run, hardest)
    for event, line in zip(events, hardest):
        lines.append(f"  {_place(run, event)}")
        if line in texts:
            question = " ".join(texts[line].messages[0][1].split())
            lines.append(f"    hardest at its peak, line {line:,}: {shorten(question, 60)}")
    if events and run.info.get("train_config", {}).get("order") == "file":
        lines.append(ADVICE)
    if change := _probe_change(run):
        lines.append(change)
    return "\n".join(lines)


def _count(run: Run) -> str:
    if len(run) <= WINDOW:
        return f"too few to look for spikes (that takes more than {WINDOW})"
    n = len(find(run.loss))
    return f"{n} spike event{'s' * (n != 1)}"


def _place(run: Run, event: SpikeEvent) -> str:
    """Steps, height and lines of an event."""
    records = run.records[event.start : event.stop]
    lines = _lines(run, np.concatenate([record.rows for record in records]))
    spread = lines.max() - lines.min() + 1
    mixed = "" if spread <= 2 * len(lines) else f" ({len(lines):,} of them)"
    more, shift = (
        (" and on", ", a level shift: the loss stays up") if event.level_shift else ("", "")
    )
    return (
        f"steps {records[0].step}-{records[-1].step}{more}: +{event.peak_height:.2f} nats, "
        f"z = {event.z:.1f}{shift}; lines {lines.min():,}-{lines.max():,}{more}{mixed}"
    )


def _lines(run: Run, rows: np.ndarray) -> np.ndarray:
    skipped = run.info.get("skipped_lines", [])
    return line_numbers(rows, skipped if isinstance(skipped, Iterable) else [])


def _hardest_line(run: Run, event: SpikeEvent) -> int:
    """Line of the conversation with the highest loss in the batch at the peak."""
    record = run.records[event.peak]
    row = record.rows[np.nanargmax(record.sample_losses)]
    return int(_lines(run, np.array([row]))[0])


def _texts(run: Run, lines: list[int]) -> dict[int, Conversation]:
    """The conversations at some lines; none where the file is gone or has changed."""
    path = Path(str(run.info.get("lines_of", "")))
    if not lines or not path.is_file() or run.info["data_stamp"] != list(file_stamp(path)):
        return {}
    texts = {}
    for conversation in read(path, on_error="skip"):
        if conversation.line in lines:
            texts[conversation.line] = conversation
        if conversation.line >= max(lines):
            break
    return texts


def _probe_change(run: Run) -> str:
    """Held-out losses at the start and at the end, in nats."""
    after = run.info.get("probes_after", {})
    first = run.records[0].probes if run.records else {}
    changes = [f"{p} {first[p]:.2f} to {after[p]:.2f}" for p in first if p in after]
    return f"Held-out loss, start to end, nats: {', '.join(changes)}." if changes else ""
