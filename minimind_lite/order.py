"""Orders of the data, as pure functions: same arguments, same order, always.

Each takes the number of rows `n`, a `seed` and an `epoch`, and returns a permutation of
0 .. n-1 (int64). Nothing else in the package is random, so a curve can be replayed from
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


def sorted_by(keys: np.ndarray) -> np.ndarray:
    """Rows by ascending key, ties in file order: what `group_by_length` and sorted files do."""
    return np.argsort(np.asarray(keys), kind="stable")


def make(kind: str, n: int, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """The order named `kind`: file, shuffle_once, shuffle, buffer:K or block:K with K a positive integer.

    Raises `ValueError` for any other name.
    """
    name, _, size = kind.partition(":")
    if kind in ("file", "shuffle_once", "shuffle"):
        return {"file": file, "shuffle_once": shuffle_once, "shuffle": shuffle}[name](
            n, seed, epoch
        )
    if name in ("buffer", "block") and size.isdecimal() and int(size) > 0:
        return {"buffer": buffer, "block": block}[name](n, seed, epoch, size=int(size))
    raise ValueError(
        f"no order {kind!r}; choose one of {', '.join(KINDS)} with K rows, for instance buffer:128."
    )


def dispersion_index(member: np.ndarray, batch_size: int) -> float:
    """How unevenly batches hold a group of rows: Var(share over batches) / (p (1 - p) / B).

    `member` (N,) says, in training order, which rows belong to the group; only whole batches
    count. 1 is what independent draws give, about B a fully sorted file, below 1 more even than
    chance. Raises `ValueError` where there is no whole batch, or all or none are members.
    """
    member = np.asarray(member, dtype=bool)
    whole = len(member) // batch_size * batch_size
    shares = member[:whole].reshape(-1, batch_size).mean(axis=1) if whole else np.empty(0)
    p = shares.mean() if whole else 0.0
    if not 0 < p < 1:
        raise ValueError(
            f"the dispersion index needs whole batches with members and others in them; got {whole} rows "
            f"in whole batches of {batch_size}, share of members {p:.3f}."
        )
    return float(shares.var() / (p * (1 - p) / batch_size))
