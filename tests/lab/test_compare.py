"""Two runs side by side: numbers checked by hand, and dashes where nothing can be known."""

from xml.etree import ElementTree

import numpy as np
import pytest

from minimind_lite.files import shipped
from minimind_lite.lab.compare import (
    DASH,
    common_part,
    comparison_page,
    differing_settings,
    measure,
    table,
)
from minimind_lite.lab.i18n import say
from minimind_lite.lab.state import Settings
from minimind_lite.records import Run
from minimind_lite.science.reproduce import recorded_run


def of(run, **settings):
    """The same curve, said to be of other settings."""
    spec = Settings(**settings).spec()
    return Run(
        {**run.info, "train_config": spec.config.to_dict(), "pulse": spec.pulse}, run.records
    )


def first(run, n):
    """A run that was stopped: it has no losses after its end."""
    return Run({k: v for k, v in run.info.items() if k != "probes_after"}, run.records[:n])


@pytest.fixture(scope="module")
def in_order():
    return recorded_run("file")


@pytest.fixture(scope="module")
def frozen():
    return recorded_run("frozen")


@pytest.fixture(scope="module")
def shuffled():
    return recorded_run("shuffled, seed 0")


def rows(a, b, **more):
    return {label: tuple(cells) for label, *cells in table(a, b, **more).rows}


HEIGHTS = [
    f"{name} ({n} rows): height (nats), z"
    for name, n in (
        ("code", 64),
        ("English", 128),
        ("maths", 192),
        ("classical Chinese", 256),
        ("English", 24),
    )
]


def test_heights_are_those_of_the_recorded_table(in_order, frozen):
    cells = rows(in_order, frozen)
    assert [cells[h][0] for h in HEIGHTS] == [
        "+1.30 z 18.8*",
        "+1.05 z 14.3*",
        "+1.94 z 27.3*",
        "+0.60 z 6.5*",
        "+1.33 z 16.6*",
    ]
    assert cells[HEIGHTS[2]] == ("+1.94 z 27.3*", "+1.76 z 34.6*", "-0.18")


def test_all_other_rows_by_hand(in_order, shuffled):
    cells = rows(in_order, shuffled)
    assert cells["noise: robust σ of the baseline (nats)"] == ("0.080", "0.086", "+0.006")
    assert cells["tallest step above the baseline (nats)"] == ("+1.94", "+0.18", "-1.76")
    assert cells["flagged spikes"] == ("5", "0", "-5")
    assert cells["loss of the Chinese rows (nats)"][0] == "5.424"
    assert cells["last held-out loss, Chinese (nats)"] == ("5.339", "5.336", "-0.003")
    others = cells["last held-out loss, mean of the other domains (nats)"]
    assert others == ("6.125", "5.629", "-0.497")  # (6.364 + 6.217 + 6.033 + 5.888) / 4
    assert cells["conversations"] == ("2,224", "2,224", "+0")
    assert cells["optimizer steps"] == ("139", "139", "+0")


def test_only_what_both_have_trained_on_is_compared(in_order):
    cells = rows(in_order, first(in_order, 54))
    assert all(a == b for a, b, _ in cells.values())
    assert cells["conversations"] == ("864", "864", "+0")
    assert cells[HEIGHTS[0]] == ("+1.30 z 18.8*", "+1.30 z 18.8*", "+0.00")
    assert cells[HEIGHTS[2]] == (DASH, DASH, DASH), "maths comes later"
    last = in_order.records[40].probes["zh"]
    expected = f"{last:.3f}", "the last measurement of a run that was cut, not that after its end"
    assert cells["last held-out loss, Chinese (nats)"][0] == expected[0]


def test_runs_of_other_batch_sizes_are_cut_at_the_same_conversation(in_order):
    coarse = Run(in_order.info, in_order.records[:20])
    a, b = common_part(in_order, coarse)
    assert len(a) == len(b) == 20
    assert common_part(in_order, in_order)[0] is in_order


def test_too_few_steps_are_dashes(in_order):
    cells = rows(first(in_order, 20), first(in_order, 20))
    assert cells["flagged spikes"] == (DASH, DASH, DASH)
    assert all(cells[h] == (DASH, DASH, DASH) for h in HEIGHTS)
    assert cells["loss of the Chinese rows (nats)"][0] != DASH


def test_a_run_without_probes_or_steps(in_order):
    bare = Run({}, tuple(in_order.records[:1]))
    assert measure(Run({}, ())) == {"samples": 0, "steps": 0}
    assert "held_out" not in measure(Run({}, in_order.records[1:5]))
    assert comparison_page(bare, Run({}, ()))


def test_only_settings_that_differ_are_named(in_order):
    a = of(in_order)
    assert differing_settings(a, of(in_order)) == {}
    assert differing_settings(a, of(in_order, batch_size=64, pulse=40)) == {
        "batch_size": (16, 64),
        "pulse": (1, 40),
    }
    parts = differing_settings(a, of(in_order, accumulation_steps=4))
    assert parts == {"accumulation_steps": (1, 4)}


class Page:
    def __init__(self, html):
        self.tree = ElementTree.fromstring(html)
        self.text = "".join(self.tree.itertext())


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_has_settings_table_and_caveat(in_order, shuffled, language):
    a, b = of(in_order, seed=1), of(shuffled, order="shuffle", learning_rate=1e-3)
    page = Page(comparison_page(a, b, names=("<b>A</b>", "cost $5"), language=language))
    assert "<b>A</b>" in page.text
    assert "cost $5" in page.text
    assert say(language, "compare.caveat") in page.text
    assert len(page.tree.findall(".//tbody/tr")) == len(table(a, b).rows)
    assert "0.0005 → 0.001" in page.text
    assert say(language, "name.file") in page.text
    assert say(language, "compare.common", samples=2224) not in page.text
    cut = Page(comparison_page(a, first(b, 10), language=language))
    assert say(language, "compare.common", samples=160) in cut.text


def test_the_noise_of_five_shuffles_is_less_than_what_is_told_apart():
    ends = [measure(recorded_run(f"shuffled, seed {i}"))["held_out"] for i in range(5)]
    assert np.ptp(ends) < 0.01


def test_every_segment_of_the_file_has_a_row(in_order, frozen):
    assert len([r for r in rows(in_order, frozen) if "height" in r]) == len(shipped.segments())
