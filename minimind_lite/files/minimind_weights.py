"""MiniMind's own checkpoints (`.pth`), read as the model of this package.

PyTorch keeps them as a pickle, a format that can hold code. They are read by PyTorch's restricted
reader, which makes tensors and plain values and refuses everything else, so loading runs no code.

    February 2025      tok_embeddings, layers.0.attention.wq, layers.0.feed_forward.w1, output
    since April 2025   model.embed_tokens, model.layers.0.self_attn.q_proj, ..., lm_head

The first rotates neighboring channels (2i, 2i + 1), the second the two halves (i, i + D/2), as
`model.rotate` does. So the rows of the first's query and key matrices are put in another order.

Source: github.com/jingyaogong/minimind, commits e7ed058 (model/model.py) and 9d89857
(model/model_minimind.py).
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from minimind_lite.config import ModelConfig
from minimind_lite.model import LanguageModel

N_HEADS = 8  # of every dense model that MiniMind published since February 2025
MAX_SEQ_LEN = 8192  # MiniMind's rotary table of February 2025; later ones are longer
MOST_LISTED = 3  # tensors that an error names
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ZIP = b"PK\x03\x04"  # how a file of torch.save begins since 2020
TABLES = re.compile(r"(model\.)?(pos_cis|freqs_cis|freqs_cos|freqs_sin)")  # derived, not learned
OTHERS = {  # tensors of models that are not this one, and what to do
    r"\.(experts|shared_experts|gate)\.": "is a mixture of experts: give a dense model",
    r"\.[qk]_norm\.": "normalizes queries and keys (MiniMind since March 2026): give an older one",
    r"\.attention\.mask$": "is from before February 2025, with another rotary base: give a newer",
    r"\.lora\.": "holds LoRA matrices: merge them into the model first",
}


@dataclass(frozen=True)
class Names:
    """What one generation of MiniMind calls its tensors."""

    embedding: str
    norm: str
    head: str  # tied with the embedding
    layer: str  # a number and a part follow
    parts: Mapping[str, str]  # of a layer: their name, our name
    interleaved: bool  # rotates channels 2i and 2i + 1

    def ours(self, name: str) -> str:
        """The name that `LanguageModel` has for a tensor; empty where it has none."""
        whole = {self.embedding: "embedding.weight", self.norm: "norm.weight"}
        match = re.fullmatch(rf"{re.escape(self.layer)}(0|[1-9]\d{{0,3}})\.(.+)\.weight", name)
        if match is None or match[2] not in self.parts:
            return whole.get(name, "")
        return f"blocks.{int(match[1])}.{self.parts[match[2]]}.weight"

    def theirs(self, name: str) -> str:
        """The name that MiniMind has for one of our tensors."""
        back = {"embedding.weight": self.embedding, "norm.weight": self.norm}
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.weight", name)
        if match is None:
            return back[name]
        part = next(theirs for theirs, ours in self.parts.items() if ours == match[2])
        return f"{self.layer}{match[1]}.{part}.weight"


FEBRUARY_2025 = Names(
    embedding="tok_embeddings.weight",
    norm="norm.weight",
    head="output.weight",
    layer="layers.",
    parts={
        "attention_norm": "attention_norm",
        "attention.wq": "attention.q_proj",
        "attention.wk": "attention.k_proj",
        "attention.wv": "attention.v_proj",
        "attention.wo": "attention.o_proj",
        "ffn_norm": "ffn_norm",
        "feed_forward.w1": "feed_forward.gate_proj",
        "feed_forward.w2": "feed_forward.down_proj",
        "feed_forward.w3": "feed_forward.up_proj",
    },
    interleaved=True,
)
APRIL_2025 = Names(
    embedding="model.embed_tokens.weight",
    norm="model.norm.weight",
    head="lm_head.weight",
    layer="model.layers.",
    parts={
        "input_layernorm": "attention_norm",
        "self_attn.q_proj": "attention.q_proj",
        "self_attn.k_proj": "attention.k_proj",
        "self_attn.v_proj": "attention.v_proj",
        "self_attn.o_proj": "attention.o_proj",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "feed_forward.gate_proj",
        "mlp.down_proj": "feed_forward.down_proj",
        "mlp.up_proj": "feed_forward.up_proj",
    },
    interleaved=False,
)


def load_minimind(
    path: str | Path, *, n_heads: int = N_HEADS, max_seq_len: int = MAX_SEQ_LEN
) -> LanguageModel:
    """A dense model of MiniMind from its `.pth`, in fp32 whatever the stored type.

    The shapes of the tensors give the configuration, but for `n_heads`, which they can't tell, and
    `max_seq_len`. Raises `OSError` where the file can't be opened, and `ValueError` that names it
    where it is no such model or would have to run code.
    """
    stored = _read(Path(path))
    try:
        names, tensors = _renamed(stored)
        return _model(names, tensors, n_heads=n_heads, max_seq_len=max_seq_len)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(path: Path) -> Mapping[str, object]:
    """What is in the file, by name; the bytes of tensors stay on the disk where that can be."""
    with path.open("rb") as file:
        mapped = file.read(len(ZIP)) == ZIP
    try:
        if mapped:
            _check_sums(path)
        with warnings.catch_warnings(action="ignore"):
            stored = torch.load(path, weights_only=True, map_location="cpu", mmap=mapped)
    except Exception as error:  # a damaged pickle raises nearly anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is not None:
            raise ValueError(
                f"{path} asks for {code[1]}, which may run code, so it is not read: give a file "
                "with nothing but tensors, as torch.save(model.state_dict(), FILE) writes it."
            ) from None
        raise ValueError(
            f"{path} can't be read as a checkpoint of PyTorch: it is cut short, damaged or "
            "something else. Copy it again, or give another file."
        ) from None
    if not isinstance(stored, dict):
        raise ValueError(
            f"{path} holds a {type(stored).__name__} where tensors by name are expected: give what "
            "torch.save(model.state_dict(), FILE) writes."
        )
    return {str(name): value for name, value in stored.items()}


def _check_sums(path: Path) -> None:
    """Raise `BadZipFile` where a part of the archive isn't what was written; torch doesn't look."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)


def _renamed(stored: Mapping[str, object]) -> tuple[Names, dict[str, Tensor]]:
    """All tensors in fp32 under our names. Raises `ValueError` for one too many or too few."""
    for pattern, sentence in OTHERS.items():
        name = next((name for name in stored if re.search(pattern, name)), None)
        if name is not None:
            raise ValueError(f"it {sentence} (it has {_shown([name])}).")
    names = next((n for n in (FEBRUARY_2025, APRIL_2025) if n.embedding in stored), None)
    if names is None:
        raise ValueError(_no_model(stored))
    learned = {n: _checked(n, v) for n, v in stored.items() if not TABLES.fullmatch(n)}
    head = learned.pop(names.head, learned[names.embedding])
    if not torch.equal(head, learned[names.embedding]):
        raise ValueError(
            f"{names.head} differs from {names.embedding}: this model has one matrix for both. "
            "Give a model with tied embeddings."
        )
    extra = [name for name in learned if not names.ours(name)]
    if extra:
        raise ValueError(f"it has tensors that MiniMind's dense model has not: {_shown(extra)}.")
    tensors = {names.ours(name): tensor for name, tensor in learned.items()}
    layers = 1 + max((int(n.split(".")[1]) for n in tensors if n.startswith("blocks.")), default=0)
    expected = ["embedding.weight", "norm.weight"]
    expected += [f"blocks.{i}.{p}.weight" for i in range(layers) for p in names.parts.values()]
    missing = [names.theirs(name) for name in expected if name not in tensors]
    if missing:
        raise ValueError(
            f"it lacks {_shown(missing)}. Give a whole model, one that training has saved."
        )
    return names, tensors


def _no_model(stored: Mapping[str, object]) -> str:
    """Why these are not the tensors of a model."""
    if "optimizer" in stored:
        return (
            "it is the state of a training (model, optimizer and more): give the file with the "
            "weights alone, which MiniMind names without _resume."
        )
    return (
        f"it has neither {FEBRUARY_2025.embedding} nor {APRIL_2025.embedding} but "
        f"{_shown(list(stored)) or 'nothing'}: it is no model of MiniMind. Give one."
    )


def _checked(name: str, value: object) -> Tensor:
    """A tensor in fp32. Raises `ValueError` for something else, and for numbers that are none."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{_shown([name])} is no tensor but a {type(value).__name__}.")
    stored_whole = value.layout == torch.strided and value.is_contiguous()
    if value.dtype not in FLOATS or value.device.type != "cpu" or not stored_whole:
        raise ValueError(
            f"{_shown([name])} is a tensor of {value.dtype} that can't be read as weights: save "
            "the model in fp32, fp16 or bf16, not quantized."
        )
    tensor = value.float()
    if not torch.isfinite(tensor).all():
        raise ValueError(
            f"{_shown([name])} has values that are not finite: training had broken down. Give an "
            "earlier checkpoint."
        )
    return tensor


def _model(
    names: Names, tensors: Mapping[str, Tensor], *, n_heads: int, max_seq_len: int
) -> LanguageModel:
    """The model of these tensors. Raises `ValueError` where a shape doesn't fit the others."""
    model = LanguageModel(_config(names, tensors, n_heads=n_heads, max_seq_len=max_seq_len))
    for name, parameter in model.named_parameters():
        if tensors[name].shape != parameter.shape:
            raise ValueError(
                f"{names.theirs(name)} is {tuple(tensors[name].shape)}, with {n_heads} heads it "
                f"must be {tuple(parameter.shape)}. Give its number of heads, in `train` by the "
                "--model of that size, or give another model."
            )
    if names.interleaved:
        turned = {
            n: t for n, t in tensors.items() if n.endswith(("q_proj.weight", "k_proj.weight"))
        }
        head_dim = model.config.head_dim()
        tensors = {**tensors, **{n: halves_first(t, head_dim) for n, t in turned.items()}}
    model.load_state_dict(tensors, strict=True)
    return model


def _config(
    names: Names, tensors: Mapping[str, Tensor], *, n_heads: int, max_seq_len: int
) -> ModelConfig:
    """What the shapes say. Raises `ValueError` for a feed-forward that is too narrow."""
    first = {part: tensors[f"blocks.0.{part}.weight"] for part in names.parts.values()}
    embedding, key, gate = (
        tensors["embedding.weight"],
        first["attention.k_proj"],
        first["feed_forward.gate_proj"],
    )
    for tensor in (embedding, key, gate):
        if tensor.dim() != 2:
            raise ValueError(f"a matrix is expected where a tensor is {tuple(tensor.shape)}.")
    dim, width = embedding.shape[1], gate.shape[0]
    config = ModelConfig(
        vocab_size=embedding.shape[0],
        dim=dim,
        n_layers=(len(tensors) - 2) // len(names.parts),
        n_heads=n_heads,
        n_kv_heads=max(1, n_heads * key.shape[0] // max(1, dim)),
        max_seq_len=max_seq_len,
    )
    if config.hidden_dim() != width:
        config = config.replace(multiple_of=width)  # any width from 2/3 of 4 C is one times itself
    if config.hidden_dim() != width:
        raise ValueError(
            f"its feed-forward is {width} wide, this model's is {8 * dim // 3} at least."
        )
    return config


def halves_first(weight: Tensor, head_dim: int) -> Tensor:
    """Rows (heads x D, C) of interleaved pairs in half-split order.

    In each head the rows 0, 2, 4 ... come first, then 1, 3, 5 ...: channels 2i and 2i + 1, a pair
    before, become i and i + D/2.
    """
    pairs = weight.view(-1, head_dim // 2, 2, weight.shape[-1])  # (heads, D/2, 2, C)
    return pairs.transpose(1, 2).reshape(weight.shape)  # (heads x D, C)


def _shown(names: list[str]) -> str:
    """Some names, for an error."""
    more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return ", ".join(name[:80] for name in names[:MOST_LISTED]) + more
