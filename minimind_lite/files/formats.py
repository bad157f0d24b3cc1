"""Other formats of chat data, told by their keys: name and turns of a line."""

from __future__ import annotations

from collections.abc import Mapping

Turn = Mapping[str, object]

SHARE_GPT_ROLES = {"human": "user", "gpt": "assistant"}
LISTS = {"messages": "OpenAI's chat format", "chosen": "preference pairs (DPO)"}
PAIRS = {
    ("instruction", "output"): "Alpaca's format",
    ("prompt", "chosen"): "preference pairs (DPO)",
    ("prompt", "completion"): "prompts and completions",
    ("prompt", "response"): "prompts and responses",
    ("question", "answer"): "questions and answers",
}


def other_format(data: object) -> tuple[str, list[Turn]] | None:
    """Name and turns of a line in another format than MiniMind's; None where it is not known.

    Texts for pretraining have no turns: there is no answer in them to learn.
    """
    if not isinstance(data, dict):
        return None
    if "conversations" in data:
        turns = data["conversations"]
        if not isinstance(turns, list) or not turns:
            return None
        if not all(isinstance(turn, dict) and "from" in turn for turn in turns):
            return None
        return "ShareGPT's format", [_turn(turn["from"], turn.get("value")) for turn in turns]
    for key, name in LISTS.items():
        if isinstance(data.get(key), list):
            return name, data[key]
    for (question, answer), name in PAIRS.items():
        if question in data and answer in data:
            asked = "\n".join(str(data[key]) for key in (question, "input") if data.get(key))
            return name, [_turn("user", asked), _turn("assistant", data[answer])]
    return ("texts for pretraining", []) if "text" in data else None


def _turn(role: object, content: object) -> Turn:
    return {"role": SHARE_GPT_ROLES.get(str(role), role), "content": content}
