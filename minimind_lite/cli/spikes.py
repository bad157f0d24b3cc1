"""`spikes`: the spikes of a run folder, each with its lines of the file and its first words."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

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
    events = find(run.loss) if len(run) > WINDOW else []
    few = f"; too few to look for spikes (that takes more than {WINDOW})"
    counts = f"; spike events: {len(events)}" if len(run) > WINDOW else few
    lines = [f"Steps: {len(run)}{counts}. Run folder: {folder}"]
    hardest = [_hardest_line(run, event) for event in events]
    questions = _questions(run, hardest)
    for event, line in zip(events, hardest):
        lines.append(f"  {_place(run, event)}")
        if line in questions:
            lines.append(f"    hardest at its peak, line {line:,}: {questions[line]}")
    if events and not questions:
        lines.append("Texts are not shown: the file is gone or has changed since the run.")
    if events and run.info.get("train_config", {}).get("order") == "file":
        lines.append(ADVICE)
    after, first = run.info.get("probes_after", {}), run.records[0].probes if run.records else {}
    changes = [f"{p} {first[p]:.2f} to {after[p]:.2f}" for p in first if p in after]
    if changes:
        lines.append(f"Held-out loss, start to end, nats: {', '.join(changes)}.")
    return "\n".join(lines)


def _place(run: Run, event: SpikeEvent) -> str:
    """Steps, height and lines of an event."""
    records = run.records[event.start : event.stop]
    lines = _lines(run, np.concatenate([record.rows for record in records]))
    spread = lines.max() - lines.min() + 1
    mixed = f" ({len(lines):,} of them)" if spread > 2 * len(lines) else ""
    more = " and on" if event.level_shift else ""
    shift = ", a level shift: the loss stays up" if event.level_shift else ""
    return (
        f"steps {records[0].step}-{records[-1].step}{more}: +{event.peak_height:.2f} nats, "
        f"z = {event.z:.1f}{shift}; lines {lines.min():,}-{lines.max():,}{more}{mixed}"
    )


def _lines(run: Run, rows: np.ndarray) -> np.ndarray:
    return line_numbers(rows, run.info.get("skipped_lines", []))


def _hardest_line(run: Run, event: SpikeEvent) -> int:
    """Line of the conversation with the highest loss in the batch at the peak."""
    record = run.records[event.peak]
    return int(_lines(run, record.rows[[np.nanargmax(record.sample_losses)]])[0])


def _questions(run: Run, lines: list[int]) -> dict[int, str]:
    """First words at some lines; nothing where the file is gone or has changed."""
    path, questions = Path(str(run.info.get("lines_of", ""))), {}
    if not lines or not path.is_file() or run.info["data_stamp"] != list(file_stamp(path)):
        return {}
    for conversation in read(path, on_error="skip"):
        if conversation.line in lines:
            words = conversation.messages[0][1].split()
            questions[conversation.line] = shorten(" ".join(words), 60)
        if conversation.line >= max(lines):
            break
    return questions
