"""Forests and height against share: what is drawn and said."""

import math

import pytest

from minimind_lite.plots import orders
from minimind_lite.science.intervals import Interval

PANELS = {
    "height (nats)": {
        "file": Interval(1.0, 0.8, 1.2, 5),
        "shuffle": Interval(-0.1, -math.inf, math.inf, 1),
    },
    "z": {"file": Interval(10, 8, 12, 5), "shuffle": Interval(0.5, 0.1, 0.9, 5)},
}


def test_a_forest_says_every_interval_and_names_a_single_seed():
    plot = orders.forest(PANELS, title="Orders")
    assert (
        "file 1.00 [0.80, 1.20], shuffle -0.10 (one seed)" in plot.summary
        and "Orders" in plot.summary
    )
    assert [t.get_text() for t in plot.figure.axes[0].get_yticklabels()] == ["file", "shuffle"]
    assert plot.figure.axes[0].get_xlim()[1] < 5  # an endless interval does not stretch the axis


def test_one_scale_and_signs_for_effects():
    plot = orders.forest(PANELS, effects=True, one_scale=True)
    assert plot.figure.axes[0].get_xlim() == plot.figure.axes[1].get_xlim()
    assert [t.get_text() for t in plot.figure.axes[0].texts] == ["+1.00", "-0.10"]
    assert plot.png()


def test_height_against_share_draws_the_mean_of_each_order():
    plot = orders.height_against_share(
        {"file": [(1.0, 1.1), (1.2, 0.9)], "shuffle": [(0.5, 0.2), (0.6, 0.4)]}
    )
    assert "file 1.10 expected, 1.00 found; shuffle 0.55 expected, 0.30 found" in plot.summary
    assert [t.get_text() for t in plot.figure.axes[0].get_legend().get_texts()] == [
        "frozen model",
        "file",
        "shuffle",
    ]
    assert plot.figure.axes[0].containers[0].lines[0].get_xdata()[0] == pytest.approx(1.1)
