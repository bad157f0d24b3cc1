"""Orders made by hand, to show that a curve and what is learnt can part.

one hard batch   a shuffled file, but one batch holds only code: a tall spike, nothing forgotten
thinly spread    every batch holds as much off-domain text, one domain after the other: a flat
                 curve, and the first domains are forgotten

N conversations of a layout   B = 16 of a batch
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from minimind_lite.science.layouts import STREAM, Layout

BATCH_SIZE = 16
HARD_STEP = 70  # the middle of the pass


def one_hard_batch(layout: Layout) -> np.ndarray:
    """Rows (N,) in a random order, with the batch of step HARD_STEP full of code."""
    rng = np.random.default_rng([layout.seed, STREAM, 2])
    order = rng.permutation(len(layout))
    hard = order[layout.domains[order] == "code"][:BATCH_SIZE]
    rest = order[~np.isin(order, hard)]
    return np.insert(rest, HARD_STEP * BATCH_SIZE, hard)


def thinly_spread(layout: Layout) -> np.ndarray:
    """Rows (N,): off-domain ones at equal distances among the Chinese, domain after domain."""
    rng = np.random.default_rng([layout.seed, STREAM, 3])
    order, is_off_domain = rng.permutation(len(layout)), layout.off_domain()
    domains = rng.permutation(np.unique(layout.domains[is_off_domain]))
    off_domain = np.concatenate([order[layout.domains[order] == d] for d in domains])
    places = np.linspace(0, len(layout) - 1, len(off_domain)).round().astype(int)
    arranged = np.empty(len(layout), np.int64)
    arranged[places] = off_domain
    arranged[np.setdiff1d(np.arange(len(layout)), places)] = order[~is_off_domain[order]]
    return arranged


ARRANGEMENTS: Mapping[str, Callable[[Layout], np.ndarray]] = {
    "one hard batch": one_hard_batch,
    "thinly spread": thinly_spread,
}
