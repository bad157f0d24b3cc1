"""Other formats of chat data, told by their keys."""

from __future__ import annotations

from collections.abc import Mapping

Turn = Mapping[str, object]

SHARE_GPT_ROLES = {"human": "user", "gpt": "assistant"}
LISTS = ("messages", "chosen")  # OpenAI's chat format; preference pairs (DPO)
PAIRS = (
    ("instruction", "output"),  # Alpaca's format
    ("prompt", "chosen"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
)


def other_turns(data: object) -> list[Turn] | None:
    """Turns of a line in another format than MiniMind's; None where it is not known."""
    if not isinstance(data, dict):
        return None
    if "conversations" in data:  # ShareGPT's format has other keys in its turns
        turns = data["conversations"]
        if not isinstance(turns, list) or not all(
            isinstance(t, dict) and "from" in t for t in turns
        ):
            return None
        return [_turn(turn["from"], turn.get("value")) for turn in turns]
    for key in LISTS:
        if isinstance(data.get(key), list):
            return data[key]
    for question, answer in PAIRS:
        if question in data and answer in data:
            asked = "\n".join(str(data[key]) for key in (question, "input") if data.get(key))
            return [_turn("user", asked), _turn("assistant", data[answer])]
    return None


def _turn(role: object, content: object) -> Turn:
    return {"role": SHARE_GPT_ROLES.get(str(role), role), "content": content}
