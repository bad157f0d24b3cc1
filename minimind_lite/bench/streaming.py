"""How fast a large file becomes rows, against the tokenizer's own batch encoder, and in what memory.

The file is the shipped one, over and over, up to a given size. It is encoded by a process of its
own, which loads no torch, so that its peak memory is that of the data path. The comparison with
the batch encoder is made in that process too, on a piece of the file, both in turn.

    N rows (conversations)
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minimind_lite.chat import Chat, EncodedRows, chunks, load_tokenizer
from minimind_lite.conversations import read
from minimind_lite.files.encoded_cache import encode_file

PIECE_MB = 20  # of the comparison
BATCH = 16


@dataclass(frozen=True)
class Streaming:
    """What was measured; a megabyte is 10^6 bytes of the JSONL file."""

    size_mb: float
    rows: int
    tokens: int
    seconds: float  # hash, read, encode, write, hash again, check
    mb_per_second: float
    tokens_per_second: float
    peak_mb: float  # resident memory of the process until then
    cache_hit_seconds: float  # hash of the file and of the arrays
    training_seconds: (
        float  # counting supervised tokens, and every row once in shuffled order, in batches of 16
    )
    training_peak_mb: (
        float  # resident memory of the process until then, memory-mapped pages included
    )
    ratio_to_batch_encoder: float  # rate of the whole path over that of encode_batch_fast alone; medians, in turn, on PIECE_MB
    batch_encoder_mb_per_second: float


def measure_streaming(size_mb: float, *, rounds: int = 5) -> Streaming:
    """Measure a file of `size_mb` megabytes. Takes twice its size on disk, under the temporary folder, and some 0.2 s per megabyte.

    Raises `CalledProcessError` where the process that measures fails, `OSError` where the disk is full.
    """
    from minimind_lite.files import (
        shipped,
    )  # imports torch, which the process that measures must not

    with tempfile.TemporaryDirectory(prefix="minimind_lite-bench-") as folder:
        for name, size in (("whole", size_mb), ("piece", min(size_mb, PIECE_MB))):
            _repeat(shipped.folder() / "sft.jsonl", Path(folder) / f"{name}.jsonl", int(size * 1e6))
        code = f"from minimind_lite import bench_data; bench_data.measure_here({folder!r}, {str(shipped.folder() / 'tokenizer.json')!r}, {rounds})"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "MINIMIND_LITE_CACHE": str(Path(folder) / "cache")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return Streaming(**json.loads(done.stdout))


def _repeat(source: Path, target: Path, size: int) -> None:
    """Whole lines of `source`, over and over, up to `size` bytes."""
    lines = source.read_bytes().splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines])
    with open(target, "wb") as stream:
        for _ in range(size // int(ends[-1])):
            stream.writelines(lines)
        stream.writelines(
            lines[: max(1, int(np.searchsorted(ends, size % int(ends[-1]), side="right")))]
        )


def measure_here(folder: str, tokenizer: str, rounds: int) -> None:
    """What `measure_streaming` runs in a process of its own; prints a `Streaming` as JSON."""
    chat, whole, piece = (
        Chat(load_tokenizer(tokenizer)),
        Path(folder) / "whole.jsonl",
        Path(folder) / "piece.jsonl",
    )
    size = whole.stat().st_size
    seconds, data = _timed(lambda: encode_file(whole, chat, max_len=512, smallest=0))
    peak = peak_mb()
    hit, data = _timed(lambda: encode_file(whole, chat, max_len=512, smallest=0))
    assert data.cached
    training, _ = _timed(lambda: _pass_over(data.rows))
    training_peak = peak_mb()
    # Last, because the texts of the piece are all held in memory.
    path, alone = _compare(piece, chat, rounds)
    tokens = len(data.rows.ids)
    print(
        json.dumps(
            asdict(
                Streaming(
                    size / 1e6,
                    len(data.rows),
                    tokens,
                    seconds,
                    size / 1e6 / seconds,
                    tokens / seconds,
                    peak,
                    hit,
                    training,
                    training_peak,
                    alone / path,
                    piece.stat().st_size / 1e6 / alone,
                )
            )
        )
    )


def _timed(function: Callable) -> tuple:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def _pass_over(rows: EncodedRows) -> None:
    """Touch what an epoch of training touches."""
    rows.supervised()
    for batch in np.array_split(
        np.random.default_rng(0).permutation(len(rows)), -(-len(rows) // BATCH)
    ):
        rows.select(batch)
        rows.release()


def _compare(path: Path, chat: Chat, rounds: int) -> tuple[float, float]:
    """Median seconds of the whole path, and of `encode_batch_fast` alone on the same text, in turn."""
    texts = [[content for c in chunk for _, content in c.messages] for chunk in chunks(read(path))]

    def alone() -> None:
        for batch in texts:
            chat.tokenizer.encode_batch_fast(batch, add_special_tokens=False)

    seconds = [
        (_timed(lambda: encode_file(path, chat, max_len=512, cache=False))[0], _timed(alone)[0])
        for _ in range(rounds)
    ]
    return statistics.median(s for s, _ in seconds), statistics.median(s for _, s in seconds)


def peak_mb() -> float:
    """Largest resident memory of this process so far, in 10^6 bytes."""
    try:
        # On Linux getrusage also counts the process that started this one; the kernel's own mark does not.
        [line] = [
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        ]
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, ValueError):
        import resource  # not on Windows

        return (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            * (1 if sys.platform == "darwin" else 1024)
            / 1e6
        )
