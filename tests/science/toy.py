"""A toy world for procedures: a tiny model, short rows of a small alphabet, two kinds of text.

Rows of the main domain use low tokens, rows of the others high ones. A base model that knows only
the main domain makes the others hard.
"""

import copy
from collections.abc import Iterator
from functools import cache

import numpy as np

from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.conversations import Conversation
from minimind_lite.model import LanguageModel
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.science.layouts import Layout
from minimind_lite.segments import Segment
from minimind_lite.trainer import train

VOCABULARY = 24
TINY = ModelConfig(
    vocab_size=VOCABULARY,
    dim=16,
    n_layers=1,
    n_heads=2,
    n_kv_heads=1,
    multiple_of=8,
    max_seq_len=16,
)
N = 320  # 20 batches of 16
SEGMENTS = (Segment("en", 192, 240), Segment("code", 272, 288))


def rows_of(n: int = N, *, segments: tuple[Segment, ...] = SEGMENTS, seed: int = 0) -> EncodedRows:
    """n rows of 4 to 11 tokens; those of a segment have other tokens than the rest."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 12, size=n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(4, size=offsets[-1]).astype(np.uint16)
    mask = rng.random(offsets[-1]) < 0.6
    mask[offsets[:-1]], mask[offsets[1:] - 1] = False, True
    for segment in segments:
        inside = slice(offsets[segment.start], offsets[segment.stop])
        ids[inside] += 12
    return EncodedRows(ids, mask, offsets)


def base_model() -> LanguageModel:
    """A fresh copy of a model that has learnt the main domain."""
    return copy.deepcopy(_trained())


@cache
def _trained() -> LanguageModel:
    model = LanguageModel(TINY, seed=0)
    config = TrainConfig(order="shuffle", learning_rate=0.02, schedule="constant")
    for _ in train(model, rows_of(320, segments=(), seed=1), config):
        pass
    return model


class ToyChat:
    """The parts of a chat that procedures ask for."""

    vocab_size = VOCABULARY
    end_id = 1

    def prompt(self, messages: list[tuple[str, str]]) -> list[int]:
        return [2, 3]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


class ToyData:
    """Stands for `SharedData`; every seed has the same layout and rows of its own."""

    def __init__(self, n: int = N, segments: tuple[Segment, ...] = SEGMENTS) -> None:
        self.n, self.segments = n, segments
        self.chat = ToyChat()
        self.probes = {
            "zh": rows_of(24, segments=(), seed=2),
            "en": rows_of(24, segments=(Segment("en", 0, 24),), seed=3),
        }

    def layout(self, seed: int) -> Layout:
        conversations = tuple(
            Conversation(
                (("user", "?"), ("assistant", f"{{{i}}}" if i % 2 else "你好")), "toy", i, 0
            )
            for i in range(self.n)
        )
        domains = np.full(self.n, "zh_chat", dtype=object)
        for segment in self.segments:
            domains[segment.start : segment.stop] = segment.domain
        return Layout(seed, conversations, self.segments, np.arange(self.n), domains)

    def data(self, layout: Layout) -> EncodedRows:
        return rows_of(self.n, segments=self.segments, seed=layout.seed)


def losses_of(run: Run) -> list[float]:
    return [record.loss for record in run.records]


def records_of(losses: list[float], *, batch: int = 2) -> Iterator[StepRecord]:
    """Records with these losses, `batch` rows each in file order."""
    for i, loss in enumerate(losses):
        yield StepRecord(
            step=i,
            epoch=0,
            samples_seen=batch * i,
            loss=loss,
            tokens=10 * batch,
            lr=1e-3,
            grad_norm=1.0,
            micro_losses=np.array([loss]),
            rows=np.arange(batch * i, batch * (i + 1)),
            sample_losses=np.full(batch, loss),
            sample_tokens=np.full(batch, 10),
        )
