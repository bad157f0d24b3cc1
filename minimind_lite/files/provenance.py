"""Where numbers come from: the one dictionary of versions, processor and cores.

A recording owes the same bits only to the same environment: other instructions round otherwise.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minimind_lite import __version__
from minimind_lite.config import TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import available_cores, worker_count


def processor() -> str:
    """Name of the processor, where the system tells it; else what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def environment() -> dict[str, Any]:
    """Versions, processor, the instructions that torch uses on it, cores, workers and threads."""
    return {
        "version": __version__,
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "processor": processor(),
        "cores": available_cores(),
        "workers": worker_count(),
        "threads": torch.get_num_threads(),
    }


def same_bits(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two environments owe each other the same bits: all that decides rounding is equal."""
    deciding = ("torch", "machine", "vector", "processor")
    return all(a.get(name) == b.get(name) for name in deciding)


def run_info(model: LanguageModel, config: TrainConfig, *, more: dict[str, Any]) -> dict[str, Any]:
    """What a run was and where it ran, ready for JSON: the `info` of a `Run`."""
    return {
        "model_config": model.config.to_dict(),
        "train_config": config.to_dict(),
        **more,
        "environment": {"device": model.embedding.weight.device.type, **environment()},
    }
