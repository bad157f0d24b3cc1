"""`spikes`: the spikes of a run folder, each with its lines of the file and its first words.

Two detectors look. z asks whether a step jumps above the steps before it: one very hard row is
enough. The permutation detector asks whether a batch is harder than random batches of the rows
before it: one row is not enough, and long segments have an end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from minimind_lite.files import run_folder
from minimind_lite.files.encoded import file_stamp, line_numbers
from minimind_lite.files.jsonl import read, shorten
from minimind_lite.records import Run
from minimind_lite.science import permutation
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
    few = f"; too few for z, which takes more than {WINDOW}"
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
    lines += _harder_than_random(run)
    if events and run.info.get("train_config", {}).get("order") == "file":
        lines.append(ADVICE)
    after, first = run.info.get("probes_after", {}), run.records[0].probes if run.records else {}
    changes = [f"{p} {first[p]:.2f} to {after[p]:.2f}" for p in first if p in after]
    if changes:
        lines.append(f"Held-out loss, start to end, nats: {', '.join(changes)}.")
    return "\n".join(lines)


def _place(run: Run, event: SpikeEvent) -> str:
    """Steps, height and lines of an event."""
    shift = ", a level shift: the loss stays up" if event.level_shift else ""
    more = " and on" if event.level_shift else ""
    height = f"+{event.peak_height:.2f} nats, z = {event.z:.1f}{shift}"
    return f"{_steps(run, event)}{more}: {height}; {_span(run, event, more)}"


def _harder_than_random(run: Run) -> list[str]:
    """The events of the permutation detector, with a line that says what they are."""
    if len(run) < 2:
        return []
    events = permutation.judge(permutation.batches_of(run)).events
    title = f"Harder than random batches of the rows before them: {len(events)}"
    places = [
        f"  {_steps(run, event)}: +{event.height:.2f} nats on average, {_surprise(event.p)}; "
        f"{_span(run, event)}"
        for event in events
    ]
    return [f"{title} (p: how often chance does as much)" if events else title, *places]


def _surprise(p: float) -> str:
    return f"p = {p:.0e}" if p > 1e-12 else "p < 1e-12"


def _steps(run: Run, event: SpikeEvent | permutation.Event) -> str:
    return f"steps {run.records[event.start].step}-{run.records[event.stop - 1].step}"


def _span(run: Run, event: SpikeEvent | permutation.Event, more: str = "") -> str:
    """Lines of the file; how many, where others lie between them."""
    records = run.records[event.start : event.stop]
    lines = _lines(run, np.concatenate([record.rows for record in records]))
    spread = lines.max() - lines.min() + 1
    mixed = f" ({len(lines):,} of them)" if spread > 2 * len(lines) else ""
    return f"lines {lines.min():,}-{lines.max():,}{more}{mixed}"


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
