"""How fast a large file becomes rows, and in what memory.

The file is the shipped one, over and over, up to a given size. A process of its own encodes it and
loads no torch, so that its peak memory is that of the data path.

    python -m minimind_lite.bench.streaming FILE TOKENIZER    prints a `Streaming` as JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from minimind_lite.chat import Chat
from minimind_lite.files.encoded_cache import encode_file
from minimind_lite.files.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Streaming:
    """What was measured; a megabyte is 10^6 bytes of the JSONL file."""

    size_mb: float
    tokens: int
    seconds: float  # to read, encode, write and check the file
    peak_mb: float  # largest resident memory of the process
    cache_hit_seconds: float  # the next time


def measure_streaming(size_mb: float) -> Streaming:
    """Measure a file of `size_mb` megabytes. Takes twice its size on disk, for a while.

    Raises `CalledProcessError` where the process that measures fails, `OSError` for a full disk.
    """
    from minimind_lite.files import shipped  # imports torch, which the other process must not

    with tempfile.TemporaryDirectory(prefix="minimind_lite-bench-") as folder:
        source, target = shipped.folder() / "sft.jsonl", Path(folder) / "large.jsonl"
        target.write_bytes(source.read_bytes() * round(size_mb * 1e6 / source.stat().st_size))
        command = [sys.executable, "-m", "minimind_lite.bench.streaming", str(target)]
        command.append(str(shipped.folder() / "tokenizer.json"))
        environment = {**os.environ, "MINIMIND_LITE_CACHE": str(Path(folder) / "cache")}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return Streaming(**json.loads(done.stdout))


def measure_here(path: Path, chat: Chat) -> Streaming:
    """What `measure_streaming` starts in a process of its own."""
    start = time.perf_counter()
    encode_file(path, chat, max_len=512, smallest=0)
    encoded, peak = time.perf_counter(), peak_mb()
    data = encode_file(path, chat, max_len=512, smallest=0)
    assert data.cached
    return Streaming(
        size_mb=path.stat().st_size / 1e6,
        tokens=len(data.rows.ids),
        seconds=encoded - start,
        peak_mb=peak,
        cache_hit_seconds=time.perf_counter() - encoded,
    )


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


if __name__ == "__main__":
    measured = measure_here(Path(sys.argv[1]), Chat(load_tokenizer(sys.argv[2])))
    print(json.dumps(asdict(measured)))
