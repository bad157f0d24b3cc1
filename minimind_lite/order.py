"""Orders of the data, as pure functions: same arguments, same order, always.

Each takes the number of rows `n`, a `seed` and an `epoch`, and returns a permutation of
0 .. n-1 (int64). A run draws nothing else at random, so its curve can be replayed from
three numbers. MiniMind's two launchers in these terms: `python train_full_sft.py` was `file`,
`torchrun` was `shuffle_once` (a DistributedSampler whose set_epoch is never called).
"""

from __future__ import annotations

import numpy as np

KINDS = ("file", "shuffle_once", "shuffle", "buffer:K", "block:K")


def _rng(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch])


def file(n: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """As the file lies; neither `seed` nor `epoch` matters."""
    return np.arange(n)


def shuffle_once(n: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """One uniform permutation, the same in every epoch."""
    return _rng(seed, 0).permutation(n)


def shuffle(n: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """A new uniform permutation in every epoch."""
    return _rng(seed, epoch).permutation(n)


def buffer(n: int, seed: int = 0, epoch: int = 0, *, size: int) -> np.ndarray:
    """Pick-and-replace shuffle buffer of `size` rows, as streaming loaders have.

    The buffer is filled with the first rows; each draw takes a random row out of it and puts
    the next row of the file in its place; at the end the rest is drawn in random order. A row
    waits `size` draws on average, so a segment much longer than `size` stays a segment.
    """
    rng = _rng(seed, epoch)
    size = min(size, n)
    slots = np.arange(size)
    picks = rng.integers(size, size=n - size) if size else np.empty(0, dtype=np.int64)
    out = np.empty(n, dtype=np.int64)
    for i, pick in enumerate(picks):
        out[i] = slots[pick]
        slots[pick] = size + i
    out[n - size :] = rng.permutation(slots)
    return out


def block(n: int, seed: int = 0, epoch: int = 0, *, size: int) -> np.ndarray:
    """Cut the file into blocks of `size` rows and shuffle the blocks; inside, file order stays."""
    starts = _rng(seed, epoch).permutation(-(-n // size)) * size
    return np.concatenate([np.arange(s, min(s + size, n)) for s in starts]) if n else np.arange(0)


def make(kind: str, n: int, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """The order named `kind`: file, shuffle_once, shuffle, buffer:K or block:K, K a whole number.

    Raises `ValueError` for any other name.
    """
    name, _, size = str(kind).partition(":")
    whole_file = {"file": file, "shuffle_once": shuffle_once, "shuffle": shuffle}
    if kind in whole_file:
        return whole_file[kind](n, seed, epoch)
    if name in ("buffer", "block") and size.isdecimal() and len(size) < 10 and int(size):
        return {"buffer": buffer, "block": block}[name](n, seed, epoch, size=int(size))
    raise ValueError(
        f"no order {kind[:40]!r}; choose one of {', '.join(KINDS)} with K rows, such as buffer:128."
    )
