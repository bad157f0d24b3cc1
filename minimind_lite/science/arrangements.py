"""Orders made by hand, to show that a curve and what is learnt can part.

one hard batch   a shuffled file, but one batch holds only code: a tall spike, nothing forgotten
two halves       English thinly spread over the first half, maths and classical Chinese over the
                 second, the rest everywhere: a flat curve, and English is forgotten

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


def two_halves(layout: Layout) -> np.ndarray:
    """Rows (N,) in a random order, with English in one half, maths and classical in the other."""
    rng = np.random.default_rng([layout.seed, STREAM, 3])
    place = rng.random(len(layout))  # of each row in the file, 0 .. 1
    place[layout.domains == "en"] *= 0.5
    late = np.isin(layout.domains.astype(str), ("math", "zh_classical"))
    place[late] = 0.5 + 0.5 * place[late]
    return np.argsort(place)


ARRANGEMENTS: Mapping[str, Callable[[Layout], np.ndarray]] = {
    "one hard batch": one_hard_batch,
    "two halves": two_halves,
}
