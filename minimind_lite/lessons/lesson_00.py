"""Lesson 00: what a spike is, and what makes it go away."""

from __future__ import annotations

import numpy as np

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.lessons.checks import Exercise, is_whole
from minimind_lite.records import Run
from minimind_lite.science import reproduce


def check_row_in_first_spike(answer: object, run: Run) -> bool:
    """A row number (from 0) that lies in a step of the run's first spike."""
    exercise = Exercise("00-1")
    if not is_whole(answer):
        return exercise.refuse(answer)
    first = spikes.find(run.loss)[0]
    records = run.records[first.start : first.stop]
    inside = np.concatenate([record.rows for record in records])
    step = next((record.step for record in run.records if answer in record.rows), None)
    problems = []
    if step is None:
        last = max(int(record.rows.max()) for record in run.records)
        problems.append(exercise.say("no_batch", row=answer, last=last))
    elif answer not in inside:
        steps = {"first": records[0].step, "stop": records[-1].step}
        problems.append(exercise.say("outside", row=answer, step=step, **steps))
    return exercise.verdict(problems, row=answer, step=step, low=inside.min(), high=inside.max())


def check_buffer_removes_spikes(
    answer: object, *, seed: int = 0, progress: reproduce.Progress = reproduce.no_progress
) -> bool:
    """Train with a shuffle buffer (about ten seconds) and look for spikes."""
    exercise = Exercise("00-2")
    if not isinstance(answer, str) or not answer.strip().startswith("buffer:"):
        return exercise.refuse(answer)
    order = answer.strip()
    try:
        config = TrainConfig(order=order, seed=seed)
        events = spikes.find(reproduce.run_once(config, name=order, progress=progress).loss)
    except ValueError as error:
        return exercise.verdict([str(error)])
    heights = ", ".join(f"+{event.peak_height:.2f} nats" for event in events)
    problem = exercise.say("left", n=len(events), heights=heights)
    return exercise.verdict([problem] if events else [], order=order)
