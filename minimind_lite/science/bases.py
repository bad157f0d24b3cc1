"""Base models beside the shipped ones: other pretraining seeds, more or less of the main domain.

How high a spike is depends on what the base has read. So some experiments ask the same of several
bases. They are not shipped: each is pretrained where it is first needed, half a minute, and stays
in `my_work/bases/`. `python data/build.py --bases` makes them all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from filelock import FileLock

from minimind_lite.chat import Chat
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.conversations import Conversation
from minimind_lite.files import model_file, shipped
from minimind_lite.files.encoding import encode_many
from minimind_lite.files.jsonl import read
from minimind_lite.files.work import work_folder
from minimind_lite.model import LanguageModel
from minimind_lite.records import StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.science import layouts
from minimind_lite.segments import CHINESE, LARGE
from minimind_lite.trainer import train

EPOCHS = 10  # of pretraining, also of the shipped bases
LEARNING_RATE = 3e-3  # of nano


@dataclass(frozen=True)
class Base:
    """How a nano is pretrained on data/pretrain.jsonl, all tokens supervised."""

    seed: int  # of its first weights and of the order
    chinese: int = 552  # of the 552 conversations of the main domain in that file
    reserved: int = 0  # and of each Chinese kind in the pool, the last so many


BASES: Mapping[str, Base] = {
    "nano-1": Base(seed=174),  # the shipped nano has seed 173
    "nano-2": Base(seed=175),
    "low": Base(seed=173, chinese=69),
    "high": Base(seed=173, reserved=layouts.RESERVED),
}


def base_model(name: str = "nano") -> LanguageModel:
    """A fresh copy of a shipped base or of one of `BASES`, made now where it is not in the cache.

    Raises `ValueError` for another name.
    """
    if name not in BASES:
        return shipped.base_model(name)
    base = BASES[name]
    digest = hashlib.sha256(json.dumps(asdict(base)).encode()).hexdigest()[:8]
    folder = work_folder() / "bases"
    folder.mkdir(exist_ok=True)
    path = folder / f"base_{name}_{digest}.safetensors"
    with FileLock(folder / f".{name}.lock"):
        if not path.exists():
            model = LanguageModel(ModelConfig.preset("nano"), seed=base.seed)
            rows = _rows(shipped.chat(), base)
            for _ in pretrain(model, rows, learning_rate=LEARNING_RATE, seed=base.seed):
                pass
            model_file.save_model(path, model)
    return model_file.load_model(path)


def pretrain(
    model: LanguageModel, data: EncodedRows, *, learning_rate: float, seed: int
) -> Iterator[StepRecord]:
    """Train for EPOCHS on every token of the rows, prompts as well; yields a record per step."""
    all_tokens = EncodedRows(data.ids, np.ones(len(data.ids), bool), data.offsets)
    config = TrainConfig(
        order="shuffle",
        epochs=EPOCHS,
        learning_rate=learning_rate,
        schedule="minimind",
        seed=seed,
    )
    yield from train(model, all_tokens, config)


def chinese_of_pretraining() -> list[Conversation]:
    """The conversations of data/pretrain.jsonl in the main domain, in file order."""
    others = {c.messages for domain in LARGE for c in layouts.corpus(domain)}
    return [c for c in read(shipped.folder() / "pretrain.jsonl") if c.messages not in others]


def _rows(chat: Chat, base: Base) -> EncodedRows:
    """What a base reads: Chinese, and the two conversations of each other domain."""
    unused = {c.messages for c in chinese_of_pretraining()[base.chinese :]}
    rows = [c for c in read(shipped.folder() / "pretrain.jsonl") if c.messages not in unused]
    if base.reserved:
        pool = layouts.pool()
        rows += [c for kind in CHINESE for c in pool[kind][-base.reserved :]]
    return encode_many(chat, rows, max_len=layouts.MAX_LEN)
