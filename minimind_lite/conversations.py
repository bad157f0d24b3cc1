"""MiniMind's format: one line of a JSONL file is one conversation.

    {"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}

After an optional system message, user and assistant take turns, user first. Each conversation
keeps its file, line and byte offset: through these a spike leads back to its text.
"""

from __future__ import annotations

from dataclasses import dataclass

Messages = tuple[tuple[str, str], ...]  # (role, content) of each turn

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Conversation:
    """Messages in order, and where they stand."""

    messages: Messages
    file: str
    line: int  # counted from 1, as editors do
    offset: int  # bytes before the line, so that a reader can jump there

    def __str__(self) -> str:
        return "\n".join(f"{role}: {content}" for role, content in self.messages)
