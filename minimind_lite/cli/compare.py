"""`compare`: recorded runs side by side, as a table, a sentence for each pair, and a picture."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from itertools import combinations

import numpy as np

from minimind_lite import plots
from minimind_lite.files import run_folder
from minimind_lite.files.run_texts import lines_of
from minimind_lite.files.visible import visible
from minimind_lite.files.work import work_folder
from minimind_lite.plots.base import LOOKS
from minimind_lite.records import Run
from minimind_lite.science import run_comparison, run_events
from minimind_lite.science.reproduce import aligned
from minimind_lite.science.run_comparison import Place
from minimind_lite.science.run_probes import HeldOut, held_out

LONGEST = 30  # characters of a setting in a cell
TERMS = ("= unfamiliar", "+ transferred", "+ specialized")
EXPLAINED = (
    "{base} = unfamiliar (what {frozen} shows: it is in the data) + transferred (what training so "
    "far did to the new lines; below 0 it helped) + specialized (how far the lines before had come "
    "down)."
)


def run(arguments: argparse.Namespace) -> int:
    """Read the folders, print, draw."""
    folders = arguments.run_folders
    if not 2 <= len(folders) <= len(LOOKS):
        raise ValueError(f"compare takes 2 to {len(LOOKS)} run folders, got {len(folders)}.")
    names = run_comparison.names_of([str(folder) for folder in folders])
    if len(set(names)) < len(names):
        raise ValueError("a run can't be compared with itself: name each run folder once.")
    runs = {}
    for name, folder in zip(names, folders):
        runs[name] = run_events.course_of(run_folder.load(folder))
        if not len(runs[name]):
            raise ValueError(f"{folder} has no step to compare.")
    print(visible("\n".join(lines(runs)), keep="\n"))
    out = arguments.out or work_folder() / "compare.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    plot = plots.loss_curve(runs, title="Training loss by conversations read")
    plot.save(out)
    print(f"Picture: {out.resolve()}")
    return 0


def lines(runs: Mapping[str, Run]) -> list[str]:
    """Table, settings, a sentence for each pair, and what each shows at the same lines."""
    tables = {name: held_out(run) for name, run in runs.items()}
    text = [aligned([["", *runs], *_rows(runs, tables)]), ""]
    for a, b in combinations(runs, 2):
        text.append(_pair(runs, a, b, tables=tables))
    text.append("")
    base = run_comparison.base_of(runs)
    others = [name for name in runs if base and run_comparison.same_rows(runs[base], runs[name])]
    if base is None:
        text.append("None of them was trained in file order, so no lines are compared.")
    elif len(others) > 1:
        text += _places({name: runs[name] for name in others}, base)
    return text


def _rows(runs: Mapping[str, Run], tables: Mapping[str, Mapping[str, HeldOut]]) -> list[list[str]]:
    """Rows of the table: one cell for each run."""
    rises = [len(run_events.find(run)) for run in runs.values()]
    last = [run_comparison.last_loss(run) for run in runs.values()]
    rows = [
        ["steps", *(f"{len(run):,}" for run in runs.values())],
        ["places where the loss rises", *map(str, rises)],
        ["loss of the last tenth", *map(_nats, last)],
    ]
    for probe in sorted({probe for table in tables.values() for probe in table}):
        cells = [_course(table.get(probe)) for table in tables.values()]
        rows.append([f"held-out {probe}: start, worst, end", *cells])
    for name, settings in run_comparison.differences(runs).items():
        rows.append([name, *map(_shown, settings)])
    return rows


def _course(losses: HeldOut | None) -> str:
    return f"{losses.start:.2f} {losses.worst:.2f} {losses.end:.2f}" if losses else "-"


def _nats(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _shown(value: object) -> str:
    """A setting as a cell: a long path keeps its end."""
    text = "-" if value is None else str(value)
    return text if len(text) <= LONGEST else f"…{text[1 - LONGEST :]}"


def _pair(
    runs: Mapping[str, Run], a: str, b: str, *, tables: Mapping[str, Mapping[str, HeldOut]]
) -> str:
    """One sentence: what differs between two runs, in settings and in held-out loss."""
    settings = run_comparison.differences({a: runs[a], b: runs[b]})
    if not run_comparison.same_rows(runs[a], runs[b]):
        listed = "they read different rows, so only their whole curves can be compared"
    elif settings:
        listed = ", ".join(f"{n} ({_shown(x)}, {_shown(y)})" for n, (x, y) in settings.items())
    else:
        listed = "no setting differs"
    ends = [
        f"{probe} {tables[b][probe].end - tables[a][probe].end:+.2f}"
        for probe in tables[a]
        if probe in tables[b]
    ]
    change = f"held-out loss at the end, {b} minus {a}: {', '.join(ends)}" if ends else ""
    stopped = [_stopped(name, runs[name]) for name in (a, b)]
    return f"{a} and {b}: {'; '.join(part for part in (listed, change, *stopped) if part)}."


def _stopped(name: str, run: Run) -> str:
    """Of a run that was broken off: how far it came, and what its end is; "" for another."""
    total = run.info.get("total_steps")
    if run.info.get("finished") or total is None or not len(run):
        return ""
    measured = [record.step for record in run.records if record.probes]
    end = f"; its end is the last measurement, step {measured[-1]:,}" if measured else ""
    return f"{name} stopped at step {run.records[-1].step + 1:,} of {total}{end}"


def _places(runs: Mapping[str, Run], base: str) -> list[str]:
    """A table of the heights at the same lines in each run, and what each is made of."""
    listed = run_comparison.places(runs, base)
    if not listed:
        return [f"The loss of {base} rises nowhere in its first pass."]
    with_terms = any(place.terms for place in listed)
    head = ["line", *runs, *(TERMS if with_terms else ())]
    rows = [head]
    for place in listed:
        line = int(lines_of(runs[base], np.array([place.row]))[0])
        heights = [_signed(place.heights[name]) for name in runs]
        terms = list(astuple(place.terms.rounded())[1:]) if place.terms else []
        cells = map(_signed, terms or [float("nan")] * len(TERMS)) if with_terms else ()
        rows.append([f"{line:,}", *heights, *cells])
    text = [
        f"Where the loss of {base} rises: mean loss of the new lines (80 at most) minus that of "
        "the 160 before, in nats, each line at its step.",
        aligned(rows),
    ]
    if with_terms:
        text.append(EXPLAINED.format(base=base, frozen=run_comparison.frozen_of(runs)))
    return [*text, *_largest(runs, base, listed)]


def _largest(runs: Mapping[str, Run], base: str, listed: Sequence[Place]) -> list[str]:
    """How high the same lines are in runs that learnt in another order."""
    text = []
    for name, run in runs.items():
        config = run.info.get("train_config", {})
        places = [place for place in listed if np.isfinite(place.heights[name])]
        if name == base or config.get("optimizer") == "none" or not places:
            continue
        highest = max(places, key=lambda place: place.heights[name])
        line = int(lines_of(run, np.array([highest.row]))[0])
        text.append(
            f"In {name} these lines are at most {_signed(highest.heights[name])} nats above those "
            f"before (line {line:,}); in {base} the same lines {_signed(highest.heights[base])}."
        )
    return text


def _signed(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+z.2f}"
