"""From a conversation to token ids and a mask, both made in one place.

ChatML as MiniMind uses it; the marked parts are supervised, that is, the model is to predict
exactly the assistant's content and the end token, and nothing else:

    <|im_start|>user\\n How are you?<|im_end|>\\n <|im_start|>assistant\\n Fine.<|im_end|> \\n
                                                                         ^^^^^^^^^^^^^^^

Every piece is tokenised by itself, so no merge can cross the border of a supervised span (the
joint tokenisation of MiniMind differs only where content begins or ends with white space), and
special tokens typed inside a message are plain text there: a user can't end his own turn.
MiniMind of February 2025 leaves the first answer token out of its mask; this builder does not.

    T tokens   N conversations
"""

from __future__ import annotations

import html
import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from minimind_lite.conversations import Conversation

Messages = Sequence[tuple[str, str]]

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHUNK_CHARACTERS = (
    1 << 18
)  # text encoded at once: enough work for many cores, and a chunk's Python objects stay tens of megabytes
BLOCK_TOKENS = 1 << 20  # of a mask counted at once
STYLES = ((PAD, START, END), ("<unk>", "<s>", "</s>"))  # MiniMind since April 2025, and before


def _bytes_of_alphabet() -> dict[str, int]:
    """Byte of each character of the byte-level alphabet: printable ones stand for themselves, the rest from U+0100 on (GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, MiniMind's kind.

    Same texts in the same order, same tokenizer. Source: Sennrich et al., arXiv 1508.07909;
    over bytes as in GPT-2, section 2.2, so that no text is out of vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[PAD, START, END],
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    return tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a `tokenizer.json`, ours or MiniMind's. Raises `ValueError` where it is missing or broken."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(
            f"{path} can't be read as a tokenizer ({error}); expected the tokenizer.json "
            "of this project's data/ or of MiniMind's model/ folder."
        ) from None


@dataclass(frozen=True)
class EncodedRows:
    """N encoded conversations as three flat arrays: row i is ids[offsets[i]:offsets[i+1]].

    `ids` and `mask` have one entry per token of the whole set, so a file of millions of rows is
    three arrays and no Python objects. mask is True where the token is to be predicted.
    """

    ids: np.ndarray  # (tokens of all rows,) uint16 or int32
    mask: np.ndarray  # (tokens of all rows,) bool
    offsets: np.ndarray  # (N + 1,) int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """ids (T,) and mask (T,) of conversation i."""
        span = slice(self.offsets[i], self.offsets[i + 1])
        return self.ids[span], self.mask[span]

    def lengths(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Tokens of each row, (N,), or of the given rows, at their cost alone."""
        return (
            np.diff(self.offsets) if rows is None else self.offsets[rows + 1] - self.offsets[rows]
        )

    def supervised(self) -> np.ndarray:
        """Supervised tokens of each row, (N,). A row's first token never counts: nothing comes before it to predict it from."""
        counts = np.empty(len(self), np.int64)
        edges = np.unique(
            np.searchsorted(self.offsets, np.arange(0, self.offsets[-1] + 1, BLOCK_TOKENS))
        )  # rows; running sums take 8 bytes a token
        for first, last in zip(edges, [*edges[1:], len(self)]):
            offsets = self.offsets[first : last + 1] - self.offsets[first]
            total = np.concatenate(
                [
                    [0],
                    np.cumsum(self.mask[self.offsets[first] : self.offsets[last]], dtype=np.int64),
                ]
            )
            counts[first:last] = (
                total[offsets[1:]] - total[np.minimum(offsets[:-1] + 1, offsets[1:])]
            )
            self.release()
        return counts

    def release(self) -> None:
        """Give the memory of memory-mapped arrays back to the system, which reads them again where they are used.

        What was touched of a mapped file counts as this process's memory until then. Arrays in
        memory stay as they are.
        """
        for array in (self.ids, self.mask, self.offsets):
            base = array
            while isinstance(base, np.ndarray):
                base = base.base
            # Only of a map that can't be written to: one that can may hold what the file does not.
            if (
                isinstance(base, mmap.mmap)
                and not array.flags.writeable
                and hasattr(base, "madvise")
            ):
                base.madvise(mmap.MADV_DONTNEED)

    def select(self, rows: Sequence[int] | np.ndarray) -> EncodedRows:
        """A new set of the given rows, in the given order."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths(rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return EncodedRows(self.ids[flat], self.mask[flat], offsets)


def _messages(conversation: Conversation | Messages) -> Messages:
    return conversation.messages if isinstance(conversation, Conversation) else conversation


Talk = TypeVar("Talk", bound=Conversation | Messages)


def chunks(conversations: Iterable[Talk]) -> Iterator[list[Talk]]:
    """Cut a stream of conversations into lists of CHUNK_CHARACTERS of text, give or take the last one's."""
    chunk, size = [], 0
    for conversation in conversations:
        chunk.append(conversation)
        size += sum(len(content) for _, content in _messages(conversation))
        if size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class Chat:
    """A tokenizer with its chat template.

    Which of MiniMind's two templates applies is read off the tokenizer's special tokens
    (`STYLES`). Raises `ValueError` for a tokenizer that has neither set.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        style = next(
            (s for s in STYLES if all(tokenizer.token_to_id(t) is not None for t in s)), None
        )
        if style is None:
            raise ValueError(
                "the tokenizer has no chat tokens: expected "
                + " or ".join(", ".join(s) for s in STYLES)
                + "."
            )
        # A private copy, because this switch changes how every later call reads special tokens.
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.encode_special_tokens = True  # inside a message they are text, not structure
        self.tokenizer.no_truncation(), self.tokenizer.no_padding()
        self.pad_id, self.start_id, self.end_id = (tokenizer.token_to_id(t) for t in style)
        self.start_token, self.end_token = style[1], style[2]
        self._header = {
            role: [self.start_id, *self._ids(f"{role}\n")]
            for role in ("system", "user", "assistant")
        }
        self._newline = self._ids("\n")
        self._byte = _bytes_of_alphabet()

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.tokenizer.get_vocab_size()

    def _assemble(
        self, rows: Sequence[Messages], contents: Sequence[list[int]], max_len: int | None
    ) -> EncodedRows:
        """Rows from the ids of all their contents, in order."""
        roles, tail = (
            [role for messages in rows for role, _ in messages],
            [self.end_id, *self._newline],
        )
        pieces = [
            piece
            for role, content in zip(roles, contents)
            for piece in (self._header[role], content, tail)
        ]
        sizes = np.fromiter(
            (
                size
                for role, content in zip(roles, contents)
                for size in (len(self._header[role]), len(content), 1, len(self._newline))
            ),
            np.int64,
            4 * len(roles),
        )
        flags = np.outer(
            [role == "assistant" for role in roles], [False, True, True, False]
        ).ravel()  # header, content, end, newline
        dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.int32
        ids, mask = (
            np.fromiter(chain.from_iterable(pieces), dtype, int(sizes.sum())),
            np.repeat(flags, sizes),
        )
        borders = np.cumsum([0, *map(len, rows)])  # messages before each row
        offsets = np.concatenate([[0], np.cumsum(sizes)])[4 * borders]
        lengths = np.diff(offsets)
        if max_len is not None and (lengths > max_len).any():
            kept = np.arange(len(ids)) - np.repeat(offsets[:-1], lengths) < max_len
            ids, mask, offsets = (
                ids[kept],
                mask[kept],
                np.concatenate([[0], np.cumsum(np.minimum(lengths, max_len))]),
            )
        return EncodedRows(ids, mask, offsets)

    def encode(
        self, messages: Messages, max_len: int | None = None
    ) -> tuple[list[int], list[bool]]:
        """ids and mask of one conversation, cut to `max_len` tokens; a cut end token is not supervised."""
        row = self._assemble([messages], [self._ids(content) for _, content in messages], max_len)
        return row.ids.tolist(), row.mask.tolist()

    def prompt(self, messages: Messages) -> list[int]:
        """ids of a conversation whose answer is still to be written: ends with the assistant's header."""
        return self.encode(messages)[0] + self._header["assistant"]

    def encode_rows(
        self, conversations: Iterable[Conversation | Messages], max_len: int | None = None
    ) -> EncodedRows:
        """All conversations as flat arrays; row i is conversation i, none is dropped."""
        parts = [self._encode_chunk(chunk, max_len) for chunk in chunks(conversations)] or [
            self._assemble([], [], max_len)
        ]
        ends = np.cumsum([0, *(len(part.ids) for part in parts)])
        return EncodedRows(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.mask for part in parts]),
            np.concatenate([[0], *(part.offsets[1:] + end for part, end in zip(parts, ends))]),
        )

    def _encode_chunk(
        self, conversations: Sequence[Conversation | Messages], max_len: int | None
    ) -> EncodedRows:
        rows = [_messages(c) for c in conversations]
        texts = [content for messages in rows for _, content in messages]
        encoded = self.tokenizer.encode_batch_fast(
            texts, add_special_tokens=False
        )  # all cores, in Rust
        return self._assemble(rows, [e.ids for e in encoded], max_len)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; the template's tokens are shown, bytes that form no character become U+FFFD."""
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)

    def _ends_inside_character(self, ids: Sequence[int]) -> bool:
        # Not read off a U+FFFD at the end of the decoded text: that may stand in the text itself.
        try:
            bytes(self._byte[c] for i in ids for c in self.tokenizer.id_to_token(int(i))).decode()
        except UnicodeDecodeError as error:
            return error.reason == "unexpected end of data"
        return False

    def pieces(self, ids: Sequence[int]) -> list[tuple[int, str]]:
        """(tokens, text) groups: neighbouring tokens that only together form characters are joined."""
        groups, start = [], 0
        for end in range(1, len(ids) + 1):
            if end == len(ids) or not self._ends_inside_character(ids[start:end]):
                groups.append((end - start, self.decode(ids[start:end])))
                start = end
        return groups

    def to_html(
        self, ids: Sequence[int], mask: Sequence[bool], losses: Sequence[float] | None = None
    ) -> str:
        """Colour view: one box per token group, supervised ones blue and underlined, template grey.

        With `losses` (T,), in nats, supervised boxes are shaded by their mean loss (6 nats = full
        orange) and carry the number as a tooltip.
        """
        boxes, at = [], 0
        for size, text in self.pieces(ids):
            span = slice(at, at + size)
            supervised, title = bool(mask[at]), f"token {at}: {list(map(int, ids[span]))}"
            style = (
                "border-bottom:2px solid #0072B2;background:#d6e9f5" if supervised else "color:#666"
            )
            if losses is not None and supervised:
                loss = float(np.mean(losses[span]))
                title += f", loss {loss:.2f} nats"
                style = f"border-bottom:2px solid #0072B2;background:rgba(230,159,0,{min(max(loss, 0) / 6, 1):.2f})"
            shown = html.escape(text).replace("\n", "⏎<br>").replace(" ", "&nbsp;")
            boxes.append(
                f'<span title="{title}" style="{style};margin-right:1px;white-space:normal">{shown}</span>'
            )
            at += size
        return (
            '<div style="font-family:monospace;font-size:14px;line-height:1.9;background:#fff;color:#111;padding:6px">'
            + "".join(boxes)
            + "</div>"
        )
