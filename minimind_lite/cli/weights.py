"""`train --weights`: the model that a run starts from, if not a shipped one."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

from minimind_lite.cli.data import printable, storable
from minimind_lite.config import ModelConfig
from minimind_lite.files import shipped
from minimind_lite.files.checkpoint import SUMS
from minimind_lite.files.minimind_weights import N_HEADS, load_minimind
from minimind_lite.files.model_file import load_model
from minimind_lite.model import LanguageModel

PICKLES = (b"PK\x03\x04", b"\x80")  # how a .pth begins, now and before 2020
MINIMIND_VOCABULARY = 6400


@dataclass(frozen=True)
class StartingWeights:
    """A model from a file, what config.json says of it, and the preset of its shape, if any."""

    model: LanguageModel
    info: dict[str, str]
    preset: str | None


def starting_weights(arguments: argparse.Namespace) -> StartingWeights | None:
    """The model of `--weights`; None without. Raises `ValueError` for one that can't be used.

    A model of this package, or MiniMind's `.pth`: the first bytes tell. With `--model` it must have
    that shape, and its vocabulary must be the tokenizer's.
    """
    if arguments.weights is None:
        return None
    wanted = arguments.model if "model" in getattr(arguments, "given", ()) else None
    path = Path(arguments.weights)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file of it, {path / 'model.safetensors'}.")
    digest = _digest(path)
    with path.open("rb") as file:
        pickled = file.read(4).startswith(PICKLES)
    if pickled:
        heads = ModelConfig.preset(wanted).n_heads if wanted else N_HEADS
        model = load_minimind(path, n_heads=heads)
    else:
        model = load_model(path)
    if wanted and _shape(model.config) != _shape(ModelConfig.preset(wanted)):
        raise ValueError(
            f"{path} is no {wanted} model: it has {_words(model.config)}, {wanted} has "
            f"{_words(ModelConfig.preset(wanted))}. Leave out --model, or give other weights."
        )
    _compare_vocabulary(path, model.config.vocab_size)
    if arguments.max_seq_len > model.config.max_seq_len:
        longest = model.config.max_seq_len
        raise ValueError(f"{path} sees {longest} tokens at most: lower --max-seq-len.")
    presets = (
        n for n in ModelConfig.PRESETS if _shape(ModelConfig.preset(n)) == _shape(model.config)
    )
    print(f"Starts from {printable(path)}: {_words(model.config)}.")
    info = {"file": storable(path.resolve()), "sha256": digest}
    return StartingWeights(model, info, next(presets, None))


def _digest(path: Path) -> str:
    """SHA-256 of the file. Raises `ValueError` where a checkpoint's list has another."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    sums = path.with_name(SUMS)
    lines = sums.read_text(encoding="utf-8", errors="replace") if sums.is_file() else ""
    if f"  {path.name}\n" in lines and f"{digest}  {path.name}\n" not in lines:
        raise ValueError(f"{path} is damaged: its checksum is another in {SUMS}. Give another one.")
    return digest


def _compare_vocabulary(path: Path, vocabulary: int) -> None:
    """Raise `ValueError` where token ids would mean something else to the model."""
    tokens = shipped.chat().tokenizer.get_vocab_size()
    if vocabulary == tokens:
        return
    advice = "give weights that were trained with this tokenizer."
    if vocabulary == MINIMIND_VOCABULARY:
        advice = f"MiniMind's weights need MiniMind's tokenizer, which isn't shipped; {advice}"
    raise ValueError(
        f"{path} has a vocabulary of {vocabulary:,}, the tokenizer has {tokens:,} tokens: {advice}"
    )


def _shape(config: ModelConfig) -> tuple[int, ...]:
    """What decides the shape of every tensor, and how heads share them."""
    sizes = (config.vocab_size, config.dim, config.n_layers, config.n_heads, config.n_kv_heads)
    return (*sizes, config.hidden_dim())


def _words(config: ModelConfig) -> str:
    return (
        f"{config.n_layers} layers, {config.dim} wide, {config.n_heads} heads, "
        f"{config.n_kv_heads} for keys, {config.vocab_size:,} tokens"
    )
