"""The files that come with the project, by name: conversations, probes, tokenizer, base models.

`segments` reads the ground truth of which rows are off-domain. Experiments and the domain strip
under a curve may use it; an instrument (`spikes`) never does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minimind_lite.chat import Chat
from minimind_lite.config import ModelConfig
from minimind_lite.conversations import Conversation
from minimind_lite.files.encoding import encode_many
from minimind_lite.files.jsonl import read
from minimind_lite.files.model_file import load_model
from minimind_lite.files.tokenizer import load_tokenizer
from minimind_lite.files.work import CLONE, chosen_folder
from minimind_lite.model import LanguageModel
from minimind_lite.rows import EncodedRows
from minimind_lite.segments import DOMAINS, Segment

BASES = ("nano", "lite")  # sizes of which a pretrained base model is shipped


def folder() -> Path:
    """The project's data folder: MINIMIND_LITE_DATA, or `data/` beside the package.

    Raises `FileNotFoundError` with advice where the data did not come along.
    """
    path = chosen_folder("MINIMIND_LITE_DATA") or CLONE / "data"
    if not (path / "sft.jsonl").exists():
        raise FileNotFoundError(
            f"no sft.jsonl in {path}: run from a clone of the repository (pip install -e .), "
            "or set MINIMIND_LITE_DATA to its data folder."
        )
    return path


def chat() -> Chat:
    """Chat template with the shipped tokenizer."""
    return Chat(load_tokenizer(folder() / "tokenizer.json"))


def conversations() -> list[Conversation]:
    """The conversations of data/sft.jsonl, in file order."""
    return list(read(folder() / "sft.jsonl"))


def sft_rows(chat: Chat, max_len: int = 512) -> EncodedRows:
    """data/sft.jsonl, encoded."""
    return encode_many(chat, conversations(), max_len=max_len)


def _truth() -> dict[str, Any]:
    return json.loads((folder() / "sft.blocks.json").read_text(encoding="utf-8"))


def segments() -> list[Segment]:
    """Ground truth: the segments of data/sft.jsonl, in file order."""
    return [Segment(**s) for s in _truth()["segments"]]


def probes(chat: Chat, max_len: int = 512) -> dict[str, EncodedRows]:
    """Held-out conversations by domain (`DOMAINS`; the three Chinese ones as "zh"), encoded."""
    truth, rows = _truth(), list(read(folder() / "probes.jsonl"))
    size = truth["probe_rows_per_domain"]
    groups: dict[str, list[Conversation]] = {name: [] for name in DOMAINS}
    for i, domain in enumerate(truth["probe_domains"]):
        groups[domain if domain in groups else "zh"] += rows[i * size : (i + 1) * size]
    return {name: encode_many(chat, group, max_len=max_len) for name, group in groups.items()}


def base_model(name: str = "nano", *, device: str = "cpu") -> LanguageModel:
    """A fresh copy of the pretrained `nano` or `lite`. Raises `ValueError` for another name."""
    path = folder() / f"base_{name}.safetensors"
    if not path.exists():
        raise ValueError(
            f"no base model {name!r}; data/ holds {', '.join(BASES)}. "
            f"Other presets ({', '.join(ModelConfig.PRESETS)}) start from random weights."
        )
    return load_model(path, device=device)
