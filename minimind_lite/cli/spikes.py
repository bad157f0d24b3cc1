"""`spikes`: where the loss of a run rises, with the lines of the file, their words, and advice."""

from __future__ import annotations

import argparse
from pathlib import Path

from minimind_lite import spikes
from minimind_lite.files import run_folder
from minimind_lite.files.visible import visible
from minimind_lite.science import run_report


def run(arguments: argparse.Namespace) -> int:
    """Print what `train` printed at the end of a run."""
    detector = {name: getattr(arguments, name) for name in ("window", "threshold", "min_height")}
    print(report(arguments.run_folder, **detector))
    return 0


def report(
    folder: Path,
    *,
    window: int = spikes.WINDOW,
    threshold: float = spikes.THRESHOLD,
    min_height: float = spikes.MIN_HEIGHT,
) -> str:
    """Steps and rises of a run folder, as text. Raises what `run_folder.load` and `find` raise."""
    recorded = run_folder.load(folder)
    lines = run_report.lines(recorded, window=window, threshold=threshold, min_height=min_height)
    return visible("\n".join([f"Run folder: {folder}", *lines]), keep="\n")
