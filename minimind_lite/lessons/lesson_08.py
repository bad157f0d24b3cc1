"""Lesson 08: what a point of a logged curve stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from minimind_lite.lessons.checks import Exercise, is_number, is_whole, short
from minimind_lite.science import laws

# Public threads, and the letter of the likely cause of each
CASES = {"minimind #241": "a", "alpaca-lora #246": "b", "minimind #455": "c", "minimind #566": "d"}


def check_log(
    answers: object,
    lines: Sequence[str],
    *,
    accumulation_steps: int,
    batch_size: int,
    every: int,
) -> bool:
    """What a MiniMind log says: three numbers, read off its lines.

    `first_loss` is the true loss of the first line, `conversations_between` lie between two lines,
    `highest_line` (from 0) has the highest value.
    """
    exercise = Exercise("08-1")
    values = [float(value) for line in lines for value in re.findall(r"loss:([\d.]+)", line)]
    between, highest = every * batch_size // accumulation_steps, int(np.argmax(values))
    loss = values[0] * accumulation_steps
    right = {"first_loss": loss, "conversations_between": between, "highest_line": highest}

    def problem(name: str, answer: object, value: float) -> str:
        tolerance = 0.06 if name == "first_loss" else 0
        if is_number(answer) and abs(answer - value) <= tolerance:
            return ""
        sizes = {"parts": accumulation_steps, "batch_size": batch_size}
        return exercise.say(name, answer=short(answer), **sizes)

    shown = batch_size // accumulation_steps
    filled = {"loss": loss, "between": between, "highest": highest, "shown": shown}
    return exercise.check_table(answers, right, problem=problem, values=filled)


def check_causes(answers: object) -> bool:
    """The letter of the likely cause of each of the `CASES`."""
    return Exercise("08-2").check_causes(answers, CASES)


def check_log_interval(answer: object, length: int, *, batch_size: int, at_least: float) -> bool:
    """The longest log interval that still shows a segment of `length` rows often enough.

    Often enough: it is touched with a probability of `at_least`.
    """
    exercise = Exercise("08-3")
    if not is_whole(answer) or answer < 1:
        return exercise.refuse(answer)
    intervals = range(1, length + batch_size + 1)
    chance = {i: laws.logged_touch(length, batch_size, every=i) for i in intervals}
    right = max(i for i, p in chance.items() if p >= at_least)
    problems = []
    if answer != right:
        shown = laws.logged_touch(length, batch_size, every=int(answer))
        name = "long" if answer > right else "short"
        problems.append(exercise.say(name, every=answer, shown=shown))
    filled = {"chance": chance[right], "next": right + 1, "less": chance[right + 1]}
    return exercise.verdict(problems, right=right, **filled)
