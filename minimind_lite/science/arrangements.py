"""Orders made by hand, to show that a curve and what is learnt can part.

    maths late      code and maths wait; the first of them is a batch of maths, then all is
                    shuffled: a tall spike, and nothing is forgotten
    English early   English is spread over the first third, the other domains come in slowly after
                    it: a flat curve, and English is forgotten

They were found by trial on layouts 0 to 4. A random batch of code in the middle of a shuffle made
no tall spike (code was learnt by then), and domains spread one after the other no flat curve.

    N conversations of a layout   B = 16 of a batch
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from minimind_lite.science.layouts import STREAM, Layout

BATCH_SIZE = 16
HARD_STEP = 32  # just behind the detector's first window
ENGLISH_UNTIL = 0.35  # of the file


def maths_late(layout: Layout) -> np.ndarray:
    """Rows (N,): none of code or maths before the batch of step HARD_STEP, which is all maths."""
    rng = np.random.default_rng([layout.seed, STREAM, 2])
    order = rng.permutation(len(layout))
    domains = layout.domains[order].astype(str)
    hard, more = np.split(order[domains == "math"], [BATCH_SIZE])
    others = order[~np.isin(domains, ("code", "math"))]
    before, after = np.split(others, [HARD_STEP * BATCH_SIZE])
    rest = np.concatenate([after, more, order[domains == "code"]])
    return np.concatenate([before, hard, rng.permutation(rest)])


def english_early(layout: Layout) -> np.ndarray:
    """Rows (N,): English evenly in the first part only, the other domains ever denser after it."""
    order = np.random.default_rng([layout.seed, STREAM, 3]).permutation(len(layout))
    english = (layout.domains == "en")[order]
    later = layout.off_domain()[order] & ~english
    place = np.empty(len(order))  # of each row in the file, 0 .. 1
    chinese = ~english & ~later
    place[chinese] = _even_places(int(chinese.sum()))
    place[english] = ENGLISH_UNTIL * _even_places(int(english.sum()))
    place[later] = ENGLISH_UNTIL + (1 - ENGLISH_UNTIL) * np.sqrt(_even_places(int(later.sum())))
    return order[np.argsort(place, kind="stable")]


def _even_places(n: int) -> np.ndarray:
    """n places at equal distances between 0 and 1."""
    return (np.arange(n) + 0.5) / n


ARRANGEMENTS: Mapping[str, Callable[[Layout], np.ndarray]] = {
    "maths late": maths_late,
    "English early": english_early,
}
