"""`reproduce`: file order against frozen and shuffled, as a table and a picture."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from minimind_lite import plots, spikes
from minimind_lite.cli.progress import Bar
from minimind_lite.files import shipped
from minimind_lite.files.work import work_folder
from minimind_lite.plots.base import counted
from minimind_lite.records import Run
from minimind_lite.science import reproduce as science


def run(arguments: argparse.Namespace) -> int:
    """File order, frozen, shuffled: table on the terminal, picture in a file."""
    if arguments.recorded and arguments.model != "nano":
        raise ValueError("only runs of nano are recorded: leave out --model or --recorded.")
    start = time.perf_counter()
    if arguments.recorded:
        runs = science.recorded()
        print("Recorded runs of nano, nothing trained now:")
    else:
        with Bar() as bar:
            runs = science.reproduce(model=arguments.model, seeds=arguments.seeds, progress=bar)
    summaries = [science.summarize(run) for run in runs.values()]
    print(science.table(summaries))
    print(
        "Heights: first batch wholly inside the segment minus the trailing median, nats per token. "
        "* = part of an event with z >= 6 and at least 0.3 nats."
    )
    print("\nWhat each spike in file order is made of, in nats (the first batch of the new rows")
    print("minus the 160 rows read before, so heights differ a little from those above):")
    print(science.terms_table(runs))
    print(
        "Unfamiliar: what the frozen model shows too. Transferred: what training so far did to the "
        "new rows (below 0 it helped, above 0 it made them worse). Specialized: how far the loss "
        "of the rows before had come down.\n"
    )
    shuffled = [s for s in summaries if s.name.startswith("shuffled")]
    n_events = sum(len(s.events) for s in shuffled)
    print(
        f"Shuffled, {counted(len(shuffled), 'seed')}: {n_events} events, "
        f"largest height {max(s.largest[0] for s in shuffled):.2f} nats, "
        f"largest z {max(s.largest[1] for s in shuffled):.1f}."
    )
    name = "recorded.png" if arguments.recorded else "reproduce.png"
    out = arguments.out or work_folder() / name
    print(_draw(runs, out))
    print(f"Picture: {out.resolve()} ({time.perf_counter() - start:.0f} s in all)")
    return 0


def _draw(runs: Mapping[str, Run], out: Path) -> str:
    """File order with its spikes marked, frozen, and the first shuffled run, in one plot."""
    curves = {
        "file order": runs["file"],
        "frozen model": runs["frozen"],
        "shuffled": runs["shuffled, seed 0"],
    }
    plot = plots.loss_curve(
        curves,
        segments=shipped.segments(),
        events=spikes.find(runs["file"].loss),
        strips=("file order", "shuffled"),
        title="One data set, one model: three ways to pass over the file",
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    plot.save(out)
    return plot.summary
