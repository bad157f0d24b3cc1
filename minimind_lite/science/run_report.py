"""What a run shows, in words: where its loss rises, the lines and their words, and advice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minimind_lite import spikes
from minimind_lite.conversations import Conversation
from minimind_lite.files.run_texts import conversations_at, first_words, lines_of, unchanged
from minimind_lite.records import Run
from minimind_lite.runs.course import Rollback
from minimind_lite.runs.rollback import sentence as rollback_sentence
from minimind_lite.science import run_events
from minimind_lite.science.run_events import Rise
from minimind_lite.science.run_probes import held_out_lines

MOST = 20  # rises that are listed: the highest
NEXT = (
    "What does the order do? Run it again with --order shuffle and another --out, and once with "
    "--optimizer none; `compare` lays these runs side by side."
)
ONE_ROW = 0.5  # share of the excess of a batch from which one row is called its cause
LOCAL = 0.5  # of the file: most rows of a step closer together are no fair sample of it
FEW_LINES = 16  # before and after the start of a rise, for reading
LEGEND = (
    "z: height by the usual wobble of the curve. p: how often random batches of the rows before "
    "are as high."
)


def lines(
    recorded: Run,
    *,
    window: int = spikes.WINDOW,
    threshold: float = spikes.THRESHOLD,
    min_height: float = spikes.MIN_HEIGHT,
) -> list[str]:
    """Steps and rises of a run, with lines, texts and advice, and the course of held-out losses.

    Raises what `run_events.find` raises.
    """
    run = run_events.course_of(recorded)
    rises = run_events.find(run, window=window, threshold=threshold, min_height=min_height)
    few = f"too few for z, which takes more than {window}; " if len(run) <= window else ""
    text = [f"Steps: {len(run):,}; {few}the loss rises {_places(len(rises))}."]
    rollbacks = [Rollback(**values) for values in recorded.info.get("rollbacks", [])]
    text += [f"Rollback: {rollback_sentence(past)}" for past in rollbacks]
    if len(run) < len(recorded):
        void = len(recorded) - len(run)
        text.append(f"{void} more steps were abandoned by rollbacks; they are not judged.")
    text += Describer(run, highest(rises), window=window).lines()
    if len(rises) > MOST:
        text.append(f"These are the {MOST} highest of {len(rises)}.")
    if rises:
        text.append(LEGEND)
    text += [*_recurring(run, rises), *held_out_lines(run)]
    if rises and is_trained_in_file_order(run):
        text.append(NEXT)
    return text


def highest(rises: Sequence[Rise]) -> list[Rise]:
    """The rises that are listed: all, or the MOST highest, in order."""
    chosen = sorted(rises, key=_height)[-MOST:]
    return [rise for rise in rises if rise in chosen]


def is_trained_in_file_order(run: Run) -> bool:
    """Whether a run learnt from its file in the order of the lines."""
    config = run.info.get("train_config", {})
    return config.get("order") == "file" and config.get("optimizer") != "none"


def _places(n: int) -> str:
    return {0: "nowhere", 1: "at 1 place"}.get(n, f"at {n} places")


def _height(rise: Rise) -> float:
    return rise.height


class Describer:
    """The rises of a run in words; the file is read once, for all their texts."""

    def __init__(self, run: Run, rises: list[Rise], *, window: int = spikes.WINDOW) -> None:
        self.run, self.rises, self.window = run, rises, window
        self.hardest = {rise: run_events.hardest_row(run, rise) for rise in rises}
        self.in_order = {rise: run_events.in_file_order(run, rise) for rise in rises}
        wanted = [self.line_of(self.hardest[rise].row) for rise in rises]
        wanted += [self.first_line(rise) for rise in rises if self.in_order[rise]]
        self.texts: Mapping[int, Conversation] = conversations_at(run, wanted)

    def lines(self) -> list[str]:
        """A few lines for each, and one where their texts can't be shown."""
        lines = []
        for number, rise in enumerate(self.rises, 1):
            lines += [f"{number}. {self.heading(rise)}", *self.words(rise)]
            lines.append(f"   Advice: {self.advice(rise)}")
        if self.rises and not unchanged(self.run):
            lines.append("Texts are not shown: the file is gone or has changed since the run.")
        return lines

    def line_of(self, row: int) -> int:
        """Line of the file."""
        return int(lines_of(self.run, np.array([row]))[0])

    def first_line(self, rise: Rise) -> int:
        """About the line at which a rise begins, in file order."""
        return self.line_of(run_events.first_row(self.run, rise))

    def heading(self, rise: Rise) -> str:
        """Steps, kind, end, height, lines."""
        records, several = self.run.records, self.run.records[-1].epoch > 0
        steps = f"Steps {records[rise.start].step}-{records[rise.stop - 1].step}"
        epoch = f" (epoch {records[rise.start].epoch + 1})" if several else ""
        return f"{steps}{epoch}, {self._span(rise)}: {_size(rise, self.window)}. {self._end(rise)}"

    def _span(self, rise: Rise) -> str:
        """Lines; of rows that are no stretch of the file, where most of them are."""
        lines = self._sorted_lines(rise)
        if self.in_order[rise]:
            return f"lines {lines[0]:,}-{lines[-1]:,}"
        if self.is_local(rise):
            first, last = _middle(lines)
            return f"{len(lines):,} lines, most of them from {first:,}-{last:,}"
        return f"{len(lines):,} lines from all over the file"

    def _sorted_lines(self, rise: Rise) -> np.ndarray:
        rows = [r.rows for r in self.run.records[rise.start : rise.stop]]
        return np.sort(lines_of(self.run, np.concatenate(rows)))

    def is_local(self, rise: Rise) -> bool:
        """Whether most rows of a rise come from one part of the file, as a small buffer has it."""
        first, last = _middle(self._sorted_lines(rise))
        return last - first < LOCAL * max(int(record.rows.max()) for record in self.run.records)

    def _end(self, rise: Rise) -> str:
        """Spike or level shift, and where it ends."""
        if rise.goes_on:
            return "It goes on to the end of the run."
        record = self.run.records[rise.stop]
        place = f"step {record.step}"
        if self.in_order[rise]:
            place += f", line {self.line_of(int(record.rows[0])):,}"
        if rise.kind == "shift":
            return f"A level shift: the loss stays up until {place}."
        if rise.kind == "slow":
            return f"It comes down slowly: half of it is gone at {place}."
        return f"A spike: it is over at {place}."

    def words(self, rise: Rise) -> list[str]:
        """The first words where it begins, and of the row that adds most."""
        hardest = self.line_of(self.hardest[rise].row)
        places = [("adds most at the peak", hardest)]
        if self.in_order[rise]:
            places.insert(0, ("begins about here", self.first_line(rise)))
        return [
            f"   {what}, line {line:,}: {first_words(self.texts[line])}"
            for what, line in places
            if line in self.texts
        ]

    def advice(self, rise: Rise) -> str:
        """One sentence: what to do next."""
        row, share = self.hardest[rise]
        if share >= max(ONE_ROW, 2 / len(self.run.records[rise.peak].rows)):
            return (
                f"line {self.line_of(row):,} alone makes {min(share, 1):.0%} of the highest batch; "
                "read it, and delete it if it is broken."
            )
        if rise.by_chance:
            return "random batches of these rows are as high now and then, so do nothing."
        if self.run.info.get("train_config", {}).get("optimizer") == "none":
            return "this model learns nothing, so these lines are harder for it in any order."
        if not self.in_order[rise] and self.is_local(rise):
            return "this order mixes neighbors only; to mix the whole file: --order shuffle."
        if not self.in_order[rise]:
            return (
                "its rows come from all over the file, so their order is not the cause; read the "
                "hardest line, and see whether the held-out losses jump too."
            )
        first = self.first_line(rise)
        before, after = max(first - FEW_LINES, 1), first + FEW_LINES - 1
        return (
            f"compare lines {before:,}-{first - 1:,} with {first:,}-{after:,}; if another kind of "
            "text begins there, mix the file: --order shuffle."
        )


def _middle(lines: np.ndarray) -> tuple[int, int]:
    """Between which of the sorted lines the middle four fifths are."""
    return int(lines[len(lines) // 10]), int(lines[-1 - len(lines) // 10])


def _size(rise: Rise, window: int) -> str:
    """Height, and what the two detectors say; z judges a step by the `window` steps before it."""
    p = "no p below chance" if rise.by_chance else f"p = {rise.p:.0e}"
    if rise.p < 1e-12:
        p = "p < 1e-12"
    if math.isnan(rise.z):
        few = rise.peak < window
        z = (
            f"no z: fewer than {window} steps before it"
            if few
            else "no z at or above the threshold"
        )
        return f"+{rise.height:.2f} nats on average, {z}, {p}"
    return f"+{rise.height:.2f} nats, z = {rise.z:.1f}, {p}"


def _recurring(run: Run, rises: list[Rise]) -> list[str]:
    """A sentence where rises of a later epoch are at the lines of rises of the first."""
    starts = [(run.records[r.start].epoch, int(run.records[r.start].rows[0])) for r in rises]
    near = 2 * max((len(record.rows) for record in run.records), default=0)
    first = [row for epoch, row in starts if epoch == 0]
    n = sum(epoch > 0 and any(abs(row - f) <= near for f in first) for epoch, row in starts)
    if not n:
        return []
    return [
        f"{n} of these are in later epochs, at lines where the loss rises in the first one: they "
        "are in the data and their order."
    ]
