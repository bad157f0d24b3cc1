"""How fast a large file becomes rows, against the tokenizer's own batch encoder, in what memory.

The file is the shipped one, over and over, up to a given size. A process of its own encodes it and
loads no torch, so that its peak memory is that of the data path. The same process compares the
path with the batch encoder alone, on a piece of the file, in turn.

    python -m minimind_lite.bench.streaming FOLDER TOKENIZER    prints a `Streaming` as JSON
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minimind_lite.chat import Chat
from minimind_lite.files.encoded import EncodedFile
from minimind_lite.files.encoded_cache import encode_file
from minimind_lite.files.encoding import chunks
from minimind_lite.files.jsonl import read
from minimind_lite.files.tokenizer import load_tokenizer
from minimind_lite.rows import batches

PIECE_MB, ROUNDS = 20, 5  # of the comparison
BATCH = 16


@dataclass(frozen=True)
class Streaming:
    """What was measured; a megabyte is 10^6 bytes of the JSONL file."""

    size_mb: float
    rows: int
    tokens: int
    seconds: float  # to read, encode, write and check the file
    peak_mb: float  # resident memory of the process until then
    cache_hit_seconds: float  # the next time
    training_seconds: float  # to read every row once, in shuffled order
    training_peak_mb: float  # until then, memory-mapped pages included
    ratio_to_batch_encoder: float  # rate of the whole path over that of encode_batch_fast alone


def measure_streaming(size_mb: float) -> Streaming:
    """Measure a file of `size_mb` megabytes. Takes twice its size on disk, for a while.

    Raises `CalledProcessError` where the process that measures fails, `OSError` for a full disk.
    """
    from minimind_lite.files import shipped  # imports torch, which the other process must not

    with tempfile.TemporaryDirectory(prefix="minimind_lite-bench-") as folder:
        for name, size in (("whole", size_mb), ("piece", min(size_mb, PIECE_MB))):
            target = Path(folder) / f"{name}.jsonl"
            _repeat(shipped.folder() / "sft.jsonl", target, size=int(size * 1e6))
        command = [sys.executable, "-m", "minimind_lite.bench.streaming", folder]
        command.append(str(shipped.folder() / "tokenizer.json"))
        environment = {**os.environ, "MINIMIND_LITE_CACHE": str(Path(folder) / "cache")}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return Streaming(**json.loads(done.stdout))


def _repeat(source: Path, target: Path, *, size: int) -> None:
    """Whole lines of `source`, over and over, until `size` bytes are reached."""
    lines, written = source.read_bytes().splitlines(keepends=True), 0
    with target.open("wb") as stream:
        while written < size:
            for line in lines:
                written += stream.write(line)
                if written >= size:
                    return


def measure_here(folder: Path, tokenizer: Path) -> Streaming:
    """What `measure_streaming` starts in a process of its own."""
    chat, whole = Chat(load_tokenizer(tokenizer)), folder / "whole.jsonl"
    start = time.perf_counter()
    encode_file(whole, chat, max_len=512, smallest=0)
    encoded, peak = time.perf_counter(), peak_mb()
    data = encode_file(whole, chat, max_len=512, smallest=0)
    assert data.cached
    again = time.perf_counter()
    _read_all(data)
    trained, training_peak = time.perf_counter(), peak_mb()
    return Streaming(
        size_mb=whole.stat().st_size / 1e6,
        rows=len(data.rows),
        tokens=len(data.rows.ids),
        seconds=encoded - start,
        peak_mb=peak,
        cache_hit_seconds=again - encoded,
        training_seconds=trained - again,
        training_peak_mb=training_peak,
        # Last, because the texts of the piece are all in memory.
        ratio_to_batch_encoder=_ratio_to_batch_encoder(folder / "piece.jsonl", chat),
    )


def _read_all(data: EncodedFile) -> None:
    """Touch what an epoch of training touches, and give it back as `train` does."""
    data.rows.supervised()
    for batch in batches(np.random.default_rng(0).permutation(len(data.rows)), BATCH):
        data.rows.select(batch)
        data.release()


def _ratio_to_batch_encoder(path: Path, chat: Chat) -> float:
    """Seconds of `encode_batch_fast` over those of the whole path on the same text, in turn."""
    texts = [[content for c in chunk for _, content in c.messages] for chunk in chunks(read(path))]
    ratios = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        encode_file(path, chat, max_len=512, cache=False)
        between = time.perf_counter()
        for batch in texts:
            chat.tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        ratios.append((time.perf_counter() - between) / (between - start))
    return statistics.median(ratios)


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
    print(json.dumps(asdict(measure_here(Path(sys.argv[1]), Path(sys.argv[2])))))
