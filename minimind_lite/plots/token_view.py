"""Tokens as colored boxes: which of them are supervised, and how hard each is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jinja2
import numpy as np

from minimind_lite.chat import Chat
from minimind_lite.files.visible import visible

FULL_SHADE = 6  # nats at which a box is fully orange
SUPERVISED = "border-bottom:2px solid #0072B2;background:"


class Box(NamedTuple):
    """A group of tokens as the page shows it."""

    text: str
    title: str
    style: str


def pieces(chat: Chat, ids: Sequence[int]) -> list[tuple[int, str]]:
    """(tokens, text) groups; neighboring tokens that only together form a character are joined."""
    groups, start = [], 0
    byte = _byte_of_character()
    for end in range(1, len(ids) + 1):
        tokens = [chat.tokenizer.id_to_token(int(i)) or "" for i in ids[start:end]]
        data = bytes(byte[character] for token in tokens for character in token)
        if end == len(ids) or not _ends_inside_character(data):
            groups.append((end - start, chat.decode(ids[start:end])))
            start = end
    return groups


def _byte_of_character() -> dict[str, int]:
    """Byte of each character of the byte-level alphabet (GPT-2).

    Printable bytes have their own character, the rest those from U+0100 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}


def _ends_inside_character(data: bytes) -> bool:
    # A U+FFFD at the end of the decoded text would not tell: the text itself may have one.
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def token_view(
    chat: Chat, ids: Sequence[int], mask: Sequence[bool], *, losses: Sequence[float] | None = None
) -> str:
    """HTML with one box per token group: supervised ones blue and underlined, the template grey.

    With `losses` (T,), in nats, supervised boxes are shaded by their mean loss instead, and their
    tooltip has the number.
    """
    boxes, at = [], 0
    for size, text in pieces(chat, ids):
        span = slice(at, at + size)
        title = f"token {at}: {[int(i) for i in ids[span]]}"
        style = f"{SUPERVISED}#d6e9f5" if mask[at] else "color:#666"
        if losses is not None and mask[at]:
            loss = float(np.mean(losses[span]))
            shade = min(max(loss, 0) / FULL_SHADE, 1)
            title = f"{title}, loss {loss:.2f} nats"
            style = f"{SUPERVISED}rgba(230,159,0,{shade:.2f})"
        boxes.append(Box(visible(text, keep="\n"), title, style))
        at += size
    loader = jinja2.PackageLoader("minimind_lite.plots")
    page = jinja2.Environment(loader=loader, autoescape=True).get_template("tokens.html")
    return page.render(boxes=boxes)
