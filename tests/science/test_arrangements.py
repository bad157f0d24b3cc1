"""Orders made by hand: every row once, and what they promise of each batch."""

import numpy as np
import pytest

from minimind_lite.science import arrangements, layouts


@pytest.fixture(scope="module")
def drawn():
    pool = layouts.pool()
    return [layouts.draw(seed, pool=pool) for seed in range(3)]


@pytest.mark.parametrize("name", arrangements.ARRANGEMENTS)
def test_every_row_is_read_once_and_a_seed_decides(name, drawn):
    arrange = arrangements.ARRANGEMENTS[name]
    for layout in drawn:
        order = arrange(layout)
        assert sorted(order.tolist()) == list(range(len(layout)))
        assert order.tolist() == arrange(layout).tolist()
    assert arrange(drawn[0]).tolist() != arrange(drawn[1]).tolist()


def test_code_and_maths_wait_and_begin_with_a_batch_of_maths(drawn):
    for layout in drawn:
        names = layout.domains[arrangements.maths_late(layout)].astype(str)
        first = arrangements.HARD_STEP * 16
        assert not set(names[:first]) & {"code", "math"}
        assert set(names[first : first + 16]) == {"math"}
        rest = names[first + 16 :]
        middle = [np.median(np.flatnonzero(rest == n)) / len(rest) for n in ("code", "math", "en")]
        assert all(0.3 < m < 0.7 for m in middle)


def test_english_ends_before_the_others_come_in_slowly(drawn):
    for layout in drawn:
        names = layout.domains[arrangements.english_early(layout)].astype(str)
        last_english = np.flatnonzero(names == "en").max()
        others = np.flatnonzero(np.isin(names, ("code", "math", "zh_classical")))
        assert last_english < others.min()
        places = (others - others.min()) / (len(names) - others.min())
        assert np.median(places) > 0.6  # of an even density it would be a half
        assert 0.4 < np.median(np.flatnonzero(names == "zh_chat")) / len(names) < 0.6
