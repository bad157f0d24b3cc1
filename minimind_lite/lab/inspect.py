"""Open a step: its very conversations, each beside what it costs elsewhere.

A curve says that a step is high; the rows in its record say which lines of the file it was made
of. `open_step` lists the hardest. `Inspector` reads them in full, and three losses are put side
by side: that of the run, that of the base model, which no fine-tuning has touched, and that of a
shuffled run, where the same conversation comes at another step. What is high in all three is in
the data. Tokens are shaded by their loss under the base model, since it is the one model that is
always at hand: a recorded run keeps its losses, not its weights.

    N conversations of data/sft.jsonl   B conversations of a step   T tokens of one   S supervised
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from minimind_lite.conversations import ROLES, Conversation
from minimind_lite.files import shipped
from minimind_lite.lab.plan import MODEL
from minimind_lite.lab.recordings import Recordings
from minimind_lite.loss import token_cross_entropy
from minimind_lite.plots.token_view import pieces
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import pack
from minimind_lite.science.decomposition import Terms
from minimind_lite.segments import MAIN, domains

MAX_SHOWN = 24  # conversations of a step whose tokens are worked out and shown: the hardest
BASELINE_ROWS = 480  # Chinese conversations before the step that it is compared with: as many as
# the detector's window at the default batch


class Piece(NamedTuple):
    """Text of one character or more, and its loss in nats; None where it is not supervised."""

    text: str
    loss: float | None


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    pieces: tuple[Piece, ...]


class Losses(NamedTuple):
    """One thing's loss in three places, in nats per supervised token; NaN without a token."""

    here: float  # in the run that is read, before the step's update
    base: float  # under the base model, before fine-tuning
    shuffled: float  # at its own step of a recorded shuffled pass


@dataclass(frozen=True)
class OpenedConversation:
    """One conversation of a step."""

    row: int  # 0-based, in data/sft.jsonl
    line: int  # 1-based, in the file
    domain: str  # ground truth
    losses: Losses
    tokens: int  # supervised tokens
    shuffled_step: int  # where the shuffled run has it
    question: str  # what the user says first
    turns: tuple[Turn, ...]  # with the base model's losses; empty beyond the hardest `MAX_SHOWN`


@dataclass(frozen=True)
class OpenedStep:
    """A step of a run, opened: its conversations, the hardest first."""

    record: StepRecord
    conversations: tuple[OpenedConversation, ...]
    baseline: Losses  # of the last `BASELINE_ROWS` Chinese conversations before the step

    def mean(self) -> Losses:
        """Means over the tokens of the step, as its loss is."""
        tokens = np.array([c.tokens for c in self.conversations])
        columns = zip(*(c.losses for c in self.conversations))
        return Losses(*(_mean(np.array(losses), tokens) for losses in columns))

    def terms(self) -> Terms:
        """What its height over the Chinese conversations before is made of; NaN without any."""
        mean, before = self.mean(), self.baseline
        return Terms.of_losses(
            new=mean.here, last=before.here, frozen_new=mean.base, frozen_last=before.base
        )


def _mean(losses: np.ndarray, tokens: np.ndarray) -> float:
    """Mean over tokens; conversations without a loss do not count."""
    counted = np.isfinite(losses) & (tokens > 0)
    if not counted.any():
        return float("nan")
    return float((losses * tokens)[counted].sum() / tokens[counted].sum())


def hardest_first(record: StepRecord) -> np.ndarray:
    """Places in the batch (B,), the hardest conversation first, those without a token last."""
    return np.argsort(-record.sample_losses, kind="stable")  # NaN comes last


def check_position(run: Run, position: int) -> None:
    """Raise `ValueError` for a step that a run does not have."""
    if not 0 <= position < len(run):
        raise ValueError(
            f"step {position} can't be opened: the run has {len(run)} steps, counted from 0."
        )


class Inspector:
    """What opening any step needs: the file, its ids, the base model, and two recorded passes.

    It opens runs that began from the shipped base model `nano`, on data/sft.jsonl.
    """

    def __init__(self, *, recordings: Recordings | None = None) -> None:
        recordings = recordings or Recordings()
        self.model = shipped.base_model(MODEL)
        self.conversations: Sequence[Conversation] = shipped.conversations()
        self.chat = shipped.chat()
        self.data = shipped.sft_rows(self.chat)
        self.tokens = self.data.supervised()  # (N,)
        self.domains = domains(shipped.segments(), len(self.data))  # (N,)
        # Tokens of each message before its content.
        self.header = {
            role: self.chat.encode([(role, "")])[0].index(self.chat.end_id) for role in ROLES
        }
        n, shuffled = len(self.data), recordings.shuffled()
        self.base_losses = recordings.frozen().losses_by_row(n)  # (N,)
        self.shuffled_losses = shuffled.losses_by_row(n)  # (N,)
        self.shuffled_steps = np.empty(n, int)
        for position, record in enumerate(shuffled.records):
            self.shuffled_steps[record.rows] = position

    def open(self, run: Run, position: int) -> OpenedStep:
        """All conversations of a step, by its position in the run.

        Raises `ValueError` for a step that the run does not have, or for a run of another file or
        base model.
        """
        check_position(run, position)
        self._check_run(run)
        record = run.records[position]
        order = hardest_first(record)
        turns = self._turns(record.rows[order[:MAX_SHOWN]])
        opened = tuple(self._opened(record, int(i), turns) for i in order)
        return OpenedStep(record, opened, self._baseline(run, position))

    def _check_run(self, run: Run) -> None:
        if (base := run.info.get("base", MODEL)) != MODEL:
            raise ValueError(
                f"the run began from the base model {base!r}; only runs that began from {MODEL!r} "
                "can be opened, since base losses are recorded for it alone."
            )
        rows = np.concatenate([r.rows for r in run.records])
        tokens = np.concatenate([r.sample_tokens for r in run.records])
        if rows.max() >= len(self.data) or (tokens != self.tokens[rows]).any():
            raise ValueError(
                "the run was trained on other conversations than those of data/sft.jsonl: its rows "
                "have other numbers of supervised tokens. Open a run on that file."
            )

    def _baseline(self, run: Run, position: int) -> Losses:
        earlier = run.records[:position]
        rows = np.concatenate([np.empty(0, int), *(r.rows for r in earlier)])
        losses = np.concatenate([np.empty(0), *(r.sample_losses for r in earlier)])
        last = np.flatnonzero(self.domains[rows] == MAIN)[-BASELINE_ROWS:]
        rows = rows[last]
        three = (losses[last], self.base_losses[rows], self.shuffled_losses[rows])
        return Losses(*(_mean(each, self.tokens[rows]) for each in three))

    def _opened(
        self, record: StepRecord, i: int, turns: Mapping[int, tuple[Turn, ...]]
    ) -> OpenedConversation:
        row = int(record.rows[i])
        conversation = self.conversations[row]
        here, base = float(record.sample_losses[i]), float(self.base_losses[row])
        return OpenedConversation(
            row=row,
            line=conversation.line,
            domain=self.domains[row],
            losses=Losses(here, base, float(self.shuffled_losses[row])),
            tokens=int(record.sample_tokens[i]),
            shuffled_step=int(self.shuffled_steps[row]),
            question=question_of(conversation),
            turns=turns.get(row, ()),
        )

    def _turns(self, rows: np.ndarray) -> dict[int, tuple[Turn, ...]]:
        """The text of some rows, by row, from one forward pass of the base model."""
        packed_ids, packed_mask, lengths = pack(self.data, rows)
        ids, mask = torch.from_numpy(packed_ids), torch.from_numpy(packed_mask)  # (1, T)
        losses = np.full(ids.shape[1], np.nan)  # (T,)
        with torch.no_grad():
            hidden = self.model.hidden(ids, lengths=lengths)  # (1, T, C)
            supervised = token_cross_entropy(hidden, self.model.head, ids, mask)  # (S,)
        losses[packed_mask[0]] = supervised.numpy()
        losses_by_row = np.split(losses, np.cumsum(lengths)[:-1])
        return {
            int(row): tuple(self._turns_of_row(int(row), row_losses))
            for row, row_losses in zip(rows, losses_by_row)
        }

    def _turns_of_row(self, row: int, losses: np.ndarray) -> Iterator[Turn]:
        """Each message: its content, and its end token where that is to be predicted."""
        ids, _ = self.data.row(row)
        starts = np.flatnonzero(ids == self.chat.start_id)
        ends = [*np.flatnonzero(ids == self.chat.end_id), len(ids)]
        for (role, _), start, end in zip(self.conversations[row].messages, starts, ends):
            supervised_end = bool(np.isfinite(losses[end : end + 1]).any())
            content = slice(start + self.header[role], end + supervised_end)
            yield Turn(role, tuple(self._pieces(ids[content], losses[content])))

    def _pieces(self, ids: np.ndarray, losses: np.ndarray) -> Iterator[Piece]:
        """Text with its loss; the loss of tokens that form one character is their sum."""
        at = 0
        for size, text in pieces(self.chat, ids.tolist()):
            loss = float(losses[at : at + size].sum())
            at += size
            yield Piece(text, None if np.isnan(loss) else loss)


def question_of(conversation: Conversation) -> str:
    """What the user says first."""
    return next((text for role, text in conversation.messages if role == "user"), "")


def answer_of(conversation: Conversation) -> str:
    """What the assistant says first."""
    return next((text for role, text in conversation.messages if role == "assistant"), "")
