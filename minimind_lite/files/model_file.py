"""A model on disk: one safetensors file that carries its own configuration.

It is written whole or not at all, so a reader never meets half a file. It is loaded strictly:
a missing or extra tensor is an error, not a silent fresh start (MiniMind's `strict=False` hides
both). There is no pickle in it, so loading a model runs no code.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from minimind_lite.config import ModelConfig
from minimind_lite.files.work import write_then_rename
from minimind_lite.model import LanguageModel


def save_model(
    path: str | Path, model: LanguageModel, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write weights (in `dtype`) and configuration to `path`, atomically."""
    tensors = {
        name: p.detach().to("cpu", dtype).contiguous() for name, p in model.named_parameters()
    }
    with write_then_rename(path) as temporary:
        save_file(tensors, temporary, metadata={"model_config": json.dumps(model.config.to_dict())})
        # safetensors makes it private; a shared installation must be able to read it.
        temporary.chmod(0o644)


def load_model(path: str | Path, *, device: str = "cpu") -> LanguageModel:
    """Read a model written by `save_model`, in fp32 whatever the stored type.

    Raises `ValueError` where the file is none, or its tensors don't fit its configuration.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} can't be read as a checkpoint ({error}); it may be missing or cut short."
        ) from None
    if "model_config" not in metadata:
        raise ValueError(
            f"{path} is a safetensors file without a model_config: "
            "it was not written by save_model."
        )
    try:
        config = ModelConfig.from_dict(json.loads(metadata["model_config"]))
    except ValueError as error:  # JSON's own errors are of this kind
        raise ValueError(f"{path} has a damaged model_config: {error}") from None
    model = LanguageModel(config)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"the tensors in {path} don't fit its model_config: {error}") from None
    return model.to(device)
