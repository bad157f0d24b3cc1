"""Formats of chat data, told by their keys, and lines that are nearly right."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping
from typing import NamedTuple

Turn = Mapping[str, object]

MINIMIND = "MiniMind's"
SHARE_GPT, OPENAI, ALPACA = "ShareGPT's", "OpenAI's", "Alpaca's"
PREFERENCES = "preference pairs (DPO)"
TEXTS = "texts for pretraining"
SHARE_GPT_ROLES = {"human": "user", "gpt": "assistant"}
PAIRS = {  # columns of a question and of its answer
    ("instruction", "output"): ALPACA,
    ("prompt", "chosen"): PREFERENCES,
    ("prompt", "completion"): "prompts and completions",
    ("prompt", "response"): "prompts and responses",
    ("question", "answer"): "questions and answers",
}
BETWEEN = re.compile(r"[ \t\r\n,]*")
MAX_LITERAL = 1 << 16  # characters that are read as a Python dict


class OtherFormat(NamedTuple):
    """What the format of a line is called, and the turns in it."""

    name: str
    turns: list[Turn]


def other_format(data: object) -> OtherFormat | None:
    """The turns of a line in another format than MiniMind's; None where it is not known."""
    if not isinstance(data, dict):
        return None
    if "conversations" in data:  # ShareGPT's format has other keys in its turns
        turns = data["conversations"]
        if not isinstance(turns, list) or not turns or not all(map(_is_share_gpt, turns)):
            return None
        before = [_turn("system", data["system"])] if data.get("system") else []
        turns = [_turn(turn["from"], turn.get("value")) for turn in turns]
        return OtherFormat(SHARE_GPT, before + turns)
    if isinstance(data.get("messages"), list) and data["messages"]:
        return OtherFormat(OPENAI, data["messages"])
    if isinstance(data.get("chosen"), list) and data["chosen"]:
        prompt = data.get("prompt")
        before = prompt if isinstance(prompt, list) else []
        return OtherFormat(PREFERENCES, before + data["chosen"])
    for (question, answer), name in PAIRS.items():
        if question in data and answer in data:
            return OtherFormat(name, _pair(data, question, answer))
    return None


def _is_share_gpt(turn: object) -> bool:
    return isinstance(turn, dict) and "from" in turn


def other_turns(data: object) -> list[Turn] | None:
    """Turns of a line in another format than MiniMind's; None where it is not known."""
    other = other_format(data)
    return other.turns if other else None


def format_name(data: object) -> str | None:
    """What the format of a parsed line is called; None where it is not known."""
    if isinstance(data, dict):
        other = other_format(data)
        if other:
            return other.name
        if isinstance(data.get("conversations"), list):
            return MINIMIND
        if "text" in data:
            return TEXTS
    return None


def _pair(data: Mapping[str, object], question: str, answer: str) -> list[Turn]:
    """Alpaca's system and history come before the question, and its input belongs to it."""
    turns = [_turn("system", data["system"])] if data.get("system") else []
    history = data.get("history")
    for earlier in history if isinstance(history, list) else ():
        pair = earlier if isinstance(earlier, list) and len(earlier) == 2 else (earlier, None)
        turns += [_turn("user", pair[0]), _turn("assistant", pair[1])]
    parts = [data[question], data.get("input") or ""]
    others = [part for part in parts if not isinstance(part, str)]  # for the reader to name
    asked = others[0] if others else "\n".join(str(part) for part in parts if part)
    return [*turns, _turn("user", asked), _turn("assistant", data[answer])]


def _turn(role: object, content: object) -> Turn:
    return {"role": SHARE_GPT_ROLES.get(str(role), role), "content": content}


class NearlyJson(NamedTuple):
    """What is wrong with a line that is not JSON, and the objects that are in it all the same."""

    problem: str
    objects: list[object]


def nearly_json(text: str) -> NearlyJson | None:
    """Several objects on a line, an item of an array, or a Python dict; None for anything else."""
    text = text.strip()
    if not text.startswith("{"):
        return None
    objects = _objects(text)
    if len(objects) > 1:
        return NearlyJson(f"{len(objects):,} JSON objects on one line", objects)
    if objects:
        return NearlyJson("a comma after the JSON object, as in an array", objects)
    data = _python_dict(text) if "'" in text and len(text) <= MAX_LITERAL else None
    return None if data is None else NearlyJson("a Python dict, with Python's quotes", [data])


def next_object(text: str, at: int) -> int:
    """Where the next JSON object begins, after white space and commas."""
    between = BETWEEN.match(text, at)
    return between.end() if between else at


def _objects(text: str) -> list[object]:
    """JSON objects one after the other, with white space and commas between; [] for more."""
    objects: list[object] = []
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            data, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        if not isinstance(data, dict):
            return []
        objects.append(data)
        at = next_object(text, at)
    return objects


def _python_dict(text: str) -> dict[object, object] | None:
    """A dict of literals: nothing of it is run."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python doubts
            data = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None
    return data if isinstance(data, dict) else None
