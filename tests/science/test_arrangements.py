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


def test_one_batch_is_code_and_the_others_are_mixed(drawn):
    for layout in drawn:
        names = layout.domains[arrangements.one_hard_batch(layout)].astype(str)
        batches = [names[i : i + 16] for i in range(0, len(names), 16)]
        pure = [i for i, batch in enumerate(batches) if (batch == "code").mean() > 0.5]
        assert pure == [arrangements.HARD_STEP]
        assert (batches[arrangements.HARD_STEP] == "code").all()


def test_english_comes_first_maths_and_classical_second_the_rest_everywhere(drawn):
    for layout in drawn:
        names = layout.domains[arrangements.two_halves(layout)].astype(str)
        last_english = np.flatnonzero(names == "en").max()
        assert last_english < np.flatnonzero(np.isin(names, ("math", "zh_classical"))).min()
        for name in ("code", "zh_chat", "zh_writing"):
            middle = np.median(np.flatnonzero(names == name)) / len(names)
            assert 0.3 < middle < 0.7
