"""Other formats of chat data: told by their keys, and turned into MiniMind's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from minimind_lite.files.jsonl import BOM, MAX_LINE_BYTES
from minimind_lite.files.work import write_then_rename

Turn = Mapping[str, object]

SHARE_GPT = "ShareGPT's format"
SHARE_GPT_ROLES = {"human": "user", "gpt": "assistant"}
LISTS = {"messages": "OpenAI's chat format", "chosen": "preference pairs (DPO)"}
PAIRS = {
    ("instruction", "output"): "Alpaca's format",
    ("prompt", "chosen"): "preference pairs (DPO)",
    ("prompt", "completion"): "prompts and completions",
    ("prompt", "response"): "prompts and responses",
    ("question", "answer"): "questions and answers",
}
TEXTS = "texts for pretraining"


def other_format(data: object) -> tuple[str, list[Turn]] | None:
    """Name and turns of a line in another format than MiniMind's; None where it is not known.

    Texts for pretraining have no turns: there is no answer to learn.
    """
    if not isinstance(data, dict):
        return None
    turns = data.get("conversations")
    if (
        isinstance(turns, list)
        and turns
        and all(isinstance(t, dict) and "from" in t for t in turns)
    ):
        return SHARE_GPT, [_turn(t["from"], t.get("value")) for t in turns]
    for key, name in LISTS.items():
        if isinstance(data.get(key), list):
            return name, data[key]
    for (question, answer), name in PAIRS.items():
        if question in data and answer in data:
            asked = "\n".join(str(data[key]) for key in (question, "input") if data.get(key))
            return name, [_turn("user", asked), _turn("assistant", data[answer])]
    return (TEXTS, []) if "text" in data else None


def _turn(role: object, content: object) -> Turn:
    return {"role": SHARE_GPT_ROLES.get(str(role), role), "content": content}


def advice(path: str | Path, name: str | None = None) -> str:
    """What to do with a file that is in another format, from its first line; "" if it is not."""
    with open(path, "rb") as stream:
        line = stream.readline(MAX_LINE_BYTES).removeprefix(BOM)
    form = other_format(_parse(line))
    if form is None:
        return ""
    if form[0] == TEXTS:
        return f" The file looks like {TEXTS}: there are no answers in it to learn."
    return (
        f" The file looks like {form[0]}. To convert it: "
        f"python -m minimind_lite convert {name or path} converted.jsonl"
    )


def _parse(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def convert(source: str | Path, target: str | Path) -> Counter[str]:
    """Write the lines of `source` in MiniMind's format; returns how many were in which format.

    Line n stays line n: one that is in no known format is copied as it is, under the name "".
    Raises `OSError`.
    """
    counts: Counter[str] = Counter()
    with write_then_rename(target) as temporary:
        with open(source, "rb") as lines, open(temporary, "wb") as out:
            for line in lines:
                form = other_format(_parse(line.removeprefix(BOM)))
                counts[form[0] if form and form[1] else ""] += 1
                if form and form[1]:
                    text = json.dumps({"conversations": form[1]}, ensure_ascii=False)
                    line = text.encode("utf-8", "surrogatepass") + b"\n"
                out.write(line)
    return counts
