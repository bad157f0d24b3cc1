"""Texts from outside, made fit to be printed: what a terminal or a browser would obey is shown.

A conversation may hold an escape sequence that clears the screen, or a mark that turns the line
around. Whatever prints a text that it did not write sends it through here.
"""

from __future__ import annotations

import re

# Control characters, marks that change the direction of text, line separators, halves of
# surrogate pairs, and tags that nobody can see.
OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str, *, keep: str = "") -> str:
    """The text with every such character as its escape, `\\x1b`; those in `keep` stay."""

    def escape(match: re.Match[str]) -> str:
        character = match[0]
        return character if character in keep else character.encode("unicode_escape").decode()

    return OBEYED.sub(escape, text)


def shorten(text: str, length: int = 80) -> str:
    """The first `length` characters at most, with an ellipsis where more follow."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
