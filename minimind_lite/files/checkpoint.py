"""A checkpoint: tensors and what is known of them, written whole, checked before it is believed.

A checkpoint is a folder:

    weights.safetensors     the model, as `model_file.load_model` reads it
    optimizer.safetensors   the optimizer's moments and step counts
    state.json              where in the run it was, and all that must agree when the run goes on
    SHA256SUMS              a checksum of each; `sha256sum -c SHA256SUMS` tells damage as well

There is no pickle in it, so loading runs no code. It is written under a temporary name, flushed to
the disk and renamed, so a killed process leaves a whole checkpoint or none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from minimind_lite.files.work import write_then_rename
from minimind_lite.rows import EncodedRows

FORMAT = 1  # raised when a reader of the old form would misread the new
WEIGHTS, MOMENTS, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
SUMS = "SHA256SUMS"
BLOCK = 1 << 24  # bytes that are digested at once


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not what was written; the message names the file and the damage."""


@dataclass(frozen=True)
class Checkpoint:
    """What is stored: tensors by name, and `about` them, ready for JSON."""

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]  # of the optimizer; may be empty
    about: Mapping[str, Any]


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to the folder `path`, in place of one that is there.

    `about` needs the entry "model_config". Raises `OSError` that names the folder; what was there
    is then as it was.
    """
    path = Path(path)
    model_config = json.dumps(checkpoint.about["model_config"])
    about = {**checkpoint.about, "format": FORMAT}
    contents = {
        WEIGHTS: save(dict(checkpoint.weights), metadata={"model_config": model_config}),
        MOMENTS: save(dict(checkpoint.moments)),
        STATE: (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    contents[SUMS] = _sums(contents)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_then_rename(path, durable=True) as temporary:
            temporary.mkdir()
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
    except OSError as error:
        raise OSError(f"the checkpoint {path} can't be written: {error}") from None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint, after all of it was checked.

    Raises `DamagedCheckpoint` where a byte differs from what was written or a file is missing, and
    `ValueError` for one of another version.
    """
    path = Path(path)
    try:
        contents = {name: (path / name).read_bytes() for name in (WEIGHTS, MOMENTS, STATE)}
        sums = (path / SUMS).read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"{path} is no whole checkpoint: {error}.") from None
    if sums != _sums(contents):
        wrong = [n for n, content in contents.items() if _sum(content).encode() not in sums]
        raise DamagedCheckpoint(
            f"{path} is damaged: the checksum of {', '.join(wrong) or SUMS} is another."
        )
    try:
        about = json.loads(contents[STATE])
        if about["format"] != FORMAT:
            raise ValueError(
                f"{path} has checkpoint format {about['format']!r}, this version reads {FORMAT}."
            )
        return Checkpoint(load(contents[WEIGHTS]), load(contents[MOMENTS]), about)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DamagedCheckpoint(f"{path} can't be read: {error!r}.") from None


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sums(contents: Mapping[str, bytes]) -> bytes:
    """As `sha256sum` writes it."""
    return "".join(f"{_sum(contents[name])}  {name}\n" for name in sorted(contents)).encode()


def fingerprint(rows: EncodedRows) -> dict[str, int | str]:
    """What tells encoded rows from others: how many, their tokens, a digest of every byte."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (rows.offsets, rows.ids, rows.mask):
        digest.update(str(array.dtype).encode())
        size = max(1, BLOCK // array.itemsize)
        for start in range(0, len(array), size):
            digest.update(array[start : start + size].tobytes())
    return {"rows": len(rows), "tokens": len(rows.ids), "digest": digest.hexdigest()}
