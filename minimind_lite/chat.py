"""From a conversation to token ids and a mask, both made in one place.

ChatML as MiniMind uses it; the marked parts are supervised, that is, the model is to predict
exactly the assistant's content and the end token, and nothing else:

    <|im_start|>user\\n How are you?<|im_end|>\\n <|im_start|>assistant\\n Fine.<|im_end|> \\n
                                                                         ^^^^^^^^^^^^^^^

Every piece is tokenized by itself, so no merge can cross the border of a supervised span (the
joint tokenization of MiniMind differs only where content begins or ends with white space), and
special tokens typed inside a message are plain text there: a user can't end his own turn.
MiniMind of February 2025 leaves the first answer token out of its mask; this builder does not.

    T tokens   N conversations
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer

from minimind_lite.conversations import Conversation
from minimind_lite.rows import EncodedRows

Messages = Sequence[tuple[str, str]]

ROLES = ("system", "user", "assistant")
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
STYLES = ((PAD, START, END), ("<unk>", "<s>", "</s>"))  # MiniMind since April 2025, and before


def messages_of(conversation: Conversation | Messages) -> Messages:
    """(role, content) of each message."""
    return conversation.messages if isinstance(conversation, Conversation) else conversation


def _chat_tokens(tokenizer: Tokenizer) -> tuple[int, int, int, str]:
    """Ids of padding, start and end in the style that the tokenizer has, and the end as text."""
    for pad, start, end in STYLES:
        ids = [tokenizer.token_to_id(token) for token in (pad, start, end)]
        known = [i for i in ids if i is not None]
        if len(known) == 3:
            return known[0], known[1], known[2], end
    expected = " or ".join(", ".join(style) for style in STYLES)
    raise ValueError(f"the tokenizer has no chat tokens: expected {expected}.")


class Chat:
    """A tokenizer with its chat template.

    Which of MiniMind's two templates applies is read off the tokenizer's special tokens
    (`STYLES`). Raises `ValueError` for a tokenizer that has neither set.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.pad_id, self.start_id, self.end_id, self.end_token = _chat_tokens(tokenizer)
        # A private copy, because this switch changes how every later call reads special tokens.
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.encode_special_tokens = True  # inside a message they are text, no structure
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.headers = {role: [self.start_id, *self.ids(f"{role}\n")] for role in ROLES}
        self.newline = self.ids("\n")

    def ids(self, text: str) -> list[int]:
        """Token ids of a text by itself."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.tokenizer.get_vocab_size()

    @property
    def dtype(self) -> np.dtype:
        """The narrowest integer type that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.int32)

    def encode(
        self, messages: Messages, max_len: int | None = None
    ) -> tuple[list[int], list[bool]]:
        """ids (T,) and mask (T,) of one conversation, cut to `max_len` tokens.

        An end token that is cut off is not supervised.
        """
        ids: list[int] = []
        mask: list[bool] = []

        def add(tokens: list[int], supervised: bool) -> None:
            ids.extend(tokens)
            mask.extend([supervised] * len(tokens))

        for role, content in messages:
            answers = role == "assistant"
            add(self.headers[role], supervised=False)
            add(self.ids(content), supervised=answers)
            add([self.end_id], supervised=answers)
            add(self.newline, supervised=False)
        return ids[:max_len], mask[:max_len]

    def prompt(self, messages: Messages) -> list[int]:
        """ids of a conversation whose answer is to be written: ends with the assistant's header."""
        return self.encode(messages)[0] + self.headers["assistant"]

    def encode_rows(
        self, conversations: Iterable[Conversation | Messages], max_len: int | None = None
    ) -> EncodedRows:
        """All conversations as flat arrays; row i is conversation i, none is dropped.

        `files.encoding` gives the same for large files, several times as fast.
        """
        ids: list[int] = []
        mask: list[bool] = []
        offsets = [0]
        for conversation in conversations:
            row_ids, row_mask = self.encode(messages_of(conversation), max_len)
            ids += row_ids
            mask += row_mask
            offsets.append(len(ids))
        return EncodedRows(
            np.array(ids, self.dtype), np.array(mask, bool), np.array(offsets, np.int64)
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; template tokens are shown, bytes that form no character become U+FFFD."""
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)
