"""Held-out losses of a run as lines: at the start, lowest, worst, and at the end."""

from __future__ import annotations

from dataclasses import dataclass

from minimind_lite.records import Run
from minimind_lite.science.reproduce import aligned

CHANGE = 0.1  # nats from which a change is put in words


@dataclass(frozen=True)
class HeldOut:
    """The course of one held-out loss, in nats."""

    start: float
    lowest: float
    lowest_step: int
    worst: float
    worst_step: int
    end: float


def held_out(run: Run) -> dict[str, HeldOut]:
    """Every held-out set of a run, by name; `end`: after the last step, or as last measured."""
    table, finished = {}, run.info.get("finished", True)
    for name in run.probe_names():
        positions, losses = run.probe(name)
        steps = [run.records[i].step for i in positions]
        values = losses.tolist()
        if finished and name in run.info.get("probes_after", {}):
            steps.append(run.records[-1].step + 1)
            values.append(float(run.info["probes_after"][name]))
        low, high = min(values), max(values)
        places = steps[values.index(low)], steps[values.index(high)]
        table[name] = HeldOut(values[0], low, places[0], high, places[1], values[-1])
    return table


def held_out_lines(run: Run) -> list[str]:
    """A table, and a sentence on what was learnt and lost again."""
    table = held_out(run)
    if not table:
        return []
    heading = ["held-out loss (nats)", "start", "lowest (step)", "worst (step)", "end"]
    rows = [
        [
            name,
            f"{x.start:.2f}",
            f"{x.lowest:.2f} ({x.lowest_step})",
            f"{x.worst:.2f} ({x.worst_step})",
            f"{x.end:.2f}",
        ]
        for name, x in table.items()
    ]
    lines = aligned([heading, *rows]).splitlines()
    for learnt, words in (
        (True, "Learnt and lost again by the end, above the lowest"),
        (False, "Worse at the end than at the start"),
    ):
        lost = [
            f"{name} (+{x.end - (x.lowest if learnt else x.start):.2f})"
            for name, x in table.items()
            if x.end - x.lowest > CHANGE and (x.start - x.lowest > CHANGE) == learnt
        ]
        if lost:
            lines.append(f"{words}: {', '.join(lost)}.")
    return lines
