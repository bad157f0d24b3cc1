"""How much memory a process has taken. Imports no torch: the data path is measured without it."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_mb() -> float:
    """Largest resident memory of this process so far, in 10^6 bytes."""
    try:
        # On Linux getrusage also counts the process that started this one; this mark does not.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        import resource  # not on Windows

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
