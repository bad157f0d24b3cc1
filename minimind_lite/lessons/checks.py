"""How the exercises of all lessons are checked: say what is wrong and what to try, never stop.

A check works the right answer out from the data or the settings, so it stays right when these
change. It returns True where the answer is right. None means that the exercise is still empty.
All texts are in `texts/`, one TOML file per lesson, under the exercise's key.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, TypeGuard, TypeVar

import numpy as np

Value = TypeVar("Value")

NOT_YET = "Not answered yet. Fill in the blank and run this cell again."
MAX_CHARACTERS = 60  # of an answer that a message repeats


def texts(key: str, kind: str) -> dict[str, Any]:
    """Texts of an exercise ("05-2", `kind` "exercises") or a prediction ("05-enough").

    Raises `ValueError` for an unknown key.
    """
    lesson, _, name = key.partition("-")
    path = resources.files("minimind_lite.lessons") / "texts" / f"{lesson}.toml"
    tables = tomllib.loads(path.read_text(encoding="utf-8"))[kind] if path.is_file() else {}
    if name not in tables:
        known = ", ".join(f"{lesson}-{n}" for n in tables) or "none"
        raise ValueError(f"no {kind} with the key {key!r}; lesson {lesson!r} has {known}.")
    return dict(tables[name])


def short(answer: object) -> str:
    """An answer as Python writes it, on one line and not too long."""
    try:
        text = " ".join(repr(answer).split())
    except Exception:  # whatever an object's repr may do, a check goes on
        text = f"something of type {type(answer).__name__}"
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 4]} ..."


def is_number(answer: object) -> TypeGuard[float]:
    """A finite number that is not a truth value."""
    if not isinstance(answer, (int, float, np.integer, np.floating)) or isinstance(answer, bool):
        return False
    try:
        return math.isfinite(answer)
    except OverflowError:  # a whole number with hundreds of digits
        return False


def is_whole(answer: object) -> TypeGuard[int]:
    """A whole number; 2.0 counts."""
    return is_number(answer) and answer == int(answer)


class Exercise:
    """One exercise: its texts by name, and the ways in which an answer is checked."""

    def __init__(self, key: str) -> None:
        self.texts = texts(key, "exercises")

    def say(self, name: str, **values: object) -> str:
        """A text with its values filled in."""
        return self.texts[name].format(**values)

    def verdict(self, problems: Sequence[str], **values: object) -> bool:
        """Print each problem, or the text "right". True if there was no problem."""
        for problem in problems:
            print(f"✗ {problem}")
        if not problems:
            print(f"✓ {self.say('right', **values)}")
        return not problems

    def refuse(self, answer: object) -> bool:
        """Say that the exercise is still empty, or what kind of answer was expected."""
        if answer is None:
            print(f"○ {NOT_YET}")
        else:
            print(f"✗ expected {self.texts['expected']}, got {short(answer)}.")
        return False

    def check_number(
        self,
        answer: object,
        right: float,
        *,
        tolerance: float,
        slips: Mapping[str, float] | None = None,
        values: Mapping[str, object] | None = None,
    ) -> bool:
        """Whether a number is right within `tolerance`.

        `slips` are usual mistakes: the name of the text, and the wrong value that it leads to. A
        number that is near none of them gets the text "advice". `values` are for the other texts.
        """
        if not is_number(answer):
            return self.refuse(answer)
        filled = {"right": right, **(values or {})}
        if abs(answer - right) <= tolerance:
            return self.verdict([], **filled)
        usual = [name for name, x in (slips or {}).items() if abs(answer - x) <= tolerance]
        advice = self.texts["slips"][usual[0]] if usual else self.say("advice", **filled)
        return self.verdict([f"{answer:,.6g} is not it. {advice}"])

    def check_table(
        self,
        answers: object,
        right: Mapping[str, Value],
        *,
        problem: Callable[[str, object, Value], str],
        values: Mapping[str, object] | None = None,
    ) -> bool:
        """Check several answers by name.

        `problem(name, answer, right)` says what is wrong with one of them, "" for nothing.
        """
        if not isinstance(answers, Mapping):
            return self.refuse(answers)
        given = {name: answers.get(name) for name in right}
        if all(answer is None for answer in given.values()):
            return self.refuse(None)
        wrong = {
            name: "not answered yet." if answer is None else problem(name, answer, right[name])
            for name, answer in given.items()
        }
        return self.verdict([f"{n}: {text}" for n, text in wrong.items() if text], **(values or {}))

    def check_causes(self, answers: object, right: Mapping[str, str]) -> bool:
        """Check a letter of the group "causes" for each name; `right` has the letters.

        A wrong letter gets the hint of the right one.
        """
        causes, hints = self.texts["causes"], self.texts["hints"]

        def problem(_: str, answer: object, letter: str) -> str:
            if not isinstance(answer, str) or answer.lower() not in causes:
                return self.say("choose", choices=", ".join(causes), answer=short(answer))
            if answer.lower() == letter:
                return ""
            return self.say("hardly", cause=causes[answer.lower()], hint=hints[letter])

        listed = "; ".join(f"{name}: {causes[letter]}" for name, letter in right.items())
        return self.check_table(answers, right, problem=problem, values={"causes": listed})
