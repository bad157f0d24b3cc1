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


def test_each_batch_holds_as_much_off_domain_text_and_domains_come_one_by_one(drawn):
    for layout in drawn:
        order = arrangements.thinly_spread(layout)
        off_domain = layout.off_domain()[order]
        counts = np.add.reduceat(off_domain, np.arange(0, len(order), 16))[:-1]
        assert counts.max() - counts.min() <= 1
        names = layout.domains[order][off_domain].astype(str)
        changes = int((names[1:] != names[:-1]).sum())
        assert changes == len(set(names)) - 1
