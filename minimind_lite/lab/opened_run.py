"""A run folder, opened: its curve, its rises in words, and every step with its conversations.

Any folder that `train --out` wrote will do. A recorded run keeps its losses and the rows of each
step. So the page of a step has the loss of each conversation in this run, and its text where the
file is still as it was. There is no widget here.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from minimind_lite.conversations import Conversation
from minimind_lite.files import run_folder
from minimind_lite.files.run_texts import conversations_at, first_words, lines_of, unchanged
from minimind_lite.files.visible import visible
from minimind_lite.lab.i18n import say
from minimind_lite.lab.inspect import MAX_SHOWN, check_position, hardest_first
from minimind_lite.lab.step_page import UNFOLDED, number
from minimind_lite.lab.templates import render
from minimind_lite.plots.base import Plot
from minimind_lite.plots.run_curve import run_curve
from minimind_lite.records import StepRecord
from minimind_lite.science import run_events, run_report
from minimind_lite.science.run_events import Rise


class OpenedRun:
    """What a lab shows of a run folder. Raises `ValueError` where it is none, or has no step."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.recorded = run_folder.load(folder)
        if not len(self.recorded):
            raise ValueError(f"{folder} has no step to show.")
        self.run = run_events.course_of(self.recorded)

    @cached_property
    def rises(self) -> list[Rise]:
        """Where the loss rises, in order: the highest, if they are many."""
        return run_report.highest(run_events.find(self.run))

    def picture(self, opened: int | None = None) -> Plot:
        """Training loss with its rises, and held-out losses; `opened` is marked."""
        title = visible(self.folder.name)
        return run_curve(self.run, rises=self.rises, opened=opened, title=title)

    def summary(self, language: str = "en") -> str:
        """What `python -m minimind_lite spikes` prints, as HTML."""
        text = visible("\n".join(run_report.lines(self.recorded)), keep="\n")
        return render("run_summary.html", language, {"text": text})

    def choices(self) -> list[tuple[str, int]]:
        """For each rise a label and the position at its peak."""
        return [
            (f"{number}. step {self.run.records[rise.peak].step}, +{rise.height:.2f}", rise.peak)
            for number, rise in enumerate(self.rises, 1)
        ]

    def page(self, position: int, language: str = "en") -> str:
        """A step's conversations as HTML, the hardest first, with their texts.

        Raises `ValueError` for a step that the run does not have.
        """
        check_position(self.run, position)
        record = self.run.records[position]
        order = hardest_first(record)[:MAX_SHOWN]
        lines = lines_of(self.run, record.rows)
        texts = conversations_at(self.run, lines[order].tolist())
        rows = [self._row(record, int(i), int(lines[i]), texts, language) for i in order]
        before = self.run.loss[max(0, position - run_events.BEFORE) : position]
        above = record.loss - float(np.median(before)) if len(before) else float("nan")
        values = {
            "heading": say(
                language,
                "run.heading",
                step=record.step,
                samples=record.samples_seen,
                loss=record.loss,
                n=len(record.rows),
            ),
            "above": "" if np.isnan(above) else say(language, "run.above", above=f"{above:+.2f}"),
            "note": "" if unchanged(self.run) else say(language, "run.changed"),
            "hidden": len(record.rows) - len(order),
            "shown": len(order),
            "conversations": rows,
            "unfolded": UNFOLDED,
        }
        return render("run_step.html", language, values)

    def _row(
        self,
        record: StepRecord,
        i: int,
        line: int,
        texts: dict[int, Conversation],
        language: str,
    ) -> dict[str, object]:
        """What the template says of one conversation."""
        conversation = texts.get(line)
        messages = conversation.messages if conversation else ()
        return {
            "line": f"{line:,}",
            "loss": number(float(record.sample_losses[i]), language),
            "tokens": int(record.sample_tokens[i]),
            "question": first_words(conversation) if conversation else "",
            "turns": [
                (say(language, f"inspect.{role}"), visible(text, keep="\n\t"))
                for role, text in messages
            ],
        }
