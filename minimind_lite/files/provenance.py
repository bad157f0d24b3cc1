"""The machine that numbers come from, by name: a recording made here owes the same bits only to the same machine."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """Name of the processor, where the system tells it; else what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
