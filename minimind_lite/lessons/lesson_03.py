"""Lesson 03: the report of issue #173, and what its log hides."""

from __future__ import annotations

import numpy as np

from minimind_lite import segments, spikes
from minimind_lite.files import shipped
from minimind_lite.lessons.checks import Exercise, is_whole
from minimind_lite.records import Run
from minimind_lite.segments import Segment


def check_hardest_line(answer: object, run: Run) -> bool:
    """File line (from 1) of the hardest conversation at the tallest peak of the last epoch."""
    exercise = Exercise("03-1")
    if not is_whole(answer):
        return exercise.refuse(answer)
    last = run.records[-1].epoch
    events = [e for e in spikes.find(run.loss) if run.records[e.start].epoch == last]
    record = run.records[max(events, key=lambda event: event.peak_height).peak]
    conversations = shipped.conversations()
    lines = [conversations[row].line for row in record.rows]
    hardest = int(np.nanargmax(record.sample_losses))
    problems = []
    if answer not in lines:
        problems.append(exercise.say("elsewhere", line=answer, step=record.step))
    elif answer != lines[hardest]:
        problems.append(exercise.say("not_hardest", line=answer))
    return exercise.verdict(problems, line=answer, loss=record.sample_losses[hardest])


def check_log_shows_segment(answer: object, run: Run, *, segment: Segment, interval: int) -> bool:
    """For how many starts a log of one step in `interval` shows the segment in the first epoch."""
    steps = np.flatnonzero(segments.share(run, segment) > 0).tolist()
    right = len({step % interval for step in steps})
    values = {"steps": steps, "interval": interval}
    return Exercise("03-2").check_number(answer, right, tolerance=0, values=values)
