"""Many conversations as `EncodedRows`, all cores at work: the fast form of `Chat.encode`.

The tokenizer gets the texts of many conversations in one call, which it spreads over the cores.
The template around them is then laid out by numpy. A test holds the result equal to `Chat.encode`.

    N rows (conversations)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from minimind_lite.chat import Chat
from minimind_lite.conversations import Conversation
from minimind_lite.rows import EncodedRows

# Text encoded at once: work enough for many cores; its Python objects stay tens of megabytes.
CHUNK_CHARACTERS = 1 << 18
PIECES = 4  # of a message: header, content, end token, line break
SUPERVISED = (False, True, True, False)  # of an assistant's pieces


def encode_many(
    chat: Chat, conversations: Iterable[Conversation], *, max_len: int | None = None
) -> EncodedRows:
    """All conversations as flat arrays; row i is conversation i, cut to `max_len` tokens."""
    parts = [_encode_chunk(chat, chunk) for chunk in chunks(conversations)]
    parts = parts or [_encode_chunk(chat, [])]
    if max_len is not None:
        parts = [_cut(part, max_len) for part in parts]
    ends = np.cumsum([0, *(len(part.ids) for part in parts)])
    return EncodedRows(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.mask for part in parts]),
        np.concatenate([[0], *(part.offsets[1:] + end for part, end in zip(parts, ends))]),
    )


def chunks(conversations: Iterable[Conversation]) -> Iterator[list[Conversation]]:
    """A stream of conversations in lists of about CHUNK_CHARACTERS of text."""
    chunk, size = [], 0
    for conversation in conversations:
        chunk.append(conversation)
        size += sum(len(content) for _, content in conversation.messages)
        if size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _encode_chunk(chat: Chat, conversations: list[Conversation]) -> EncodedRows:
    messages = [message for c in conversations for message in c.messages]
    texts = [content for _, content in messages]
    encoded = chat.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    pieces: list[list[int]] = []
    for (role, _), content in zip(messages, encoded):
        pieces += [chat.headers[role], content.ids, [chat.end_id], chat.newline]
    sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
    answers = [role == "assistant" for role, _ in messages]
    mask = np.repeat(np.outer(answers, SUPERVISED).ravel().astype(bool), sizes)
    ids = np.fromiter(chain.from_iterable(pieces), chat.dtype, len(mask))
    first_messages = np.cumsum([0, *(len(c.messages) for c in conversations)])
    offsets = np.concatenate([[0], np.cumsum(sizes)])[PIECES * first_messages]
    return EncodedRows(ids, mask, offsets)


def _cut(rows: EncodedRows, max_len: int) -> EncodedRows:
    """The first `max_len` tokens of each row."""
    lengths = rows.lengths()
    place = np.arange(len(rows.ids)) - np.repeat(rows.offsets[:-1], lengths)  # in its row
    offsets = np.concatenate([[0], np.cumsum(np.minimum(lengths, max_len))])
    return EncodedRows(rows.ids[place < max_len], rows.mask[place < max_len], offsets)
