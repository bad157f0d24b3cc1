"""Bars, forests and intervals: what is drawn and said."""

import math

import pytest
from matplotlib.colors import to_hex
from plots.toy import smallest_letter

from minimind_lite import plots
from minimind_lite.plots.effects import reach
from minimind_lite.science.intervals import Interval

ONE_SEED = Interval(-0.1, -math.inf, math.inf, 1)
PANELS = {
    "height (nats)": {"file": Interval(1.0, 0.8, 1.2, 5), "shuffle": ONE_SEED},
    "z": {"file": Interval(10, 8, 12, 5), "shuffle": Interval(0.5, 0.1, 0.9, 5)},
}


def test_the_sentence_of_bars_has_every_name_and_number():
    plot = plots.bar_chart({"width": 1.25, "height": -3.5}, title="Sizes", xlabel="nats")
    assert plot.summary == "Sizes: width 1.25, height -3.50 (nats)."


def test_bars_have_their_colors_and_limits():
    plot = plots.bar_chart(
        {"a": 1.0, "b": 2.0}, title="t", xlabel="x", colors={"b": "#123456"}, limits=(-1, 3)
    )
    ax = plot.figure.axes[0]
    assert ax.get_xlim() == (-1, 3) and plot.png()
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == ["#0072b2", "#123456"]


def test_a_single_seed_reaches_nowhere():
    assert reach(ONE_SEED) == (0.0, 0.0)
    assert reach(Interval(1.0, 0.8, 1.3, 5)) == pytest.approx((0.2, 0.3))


def test_a_forest_says_every_interval_and_names_a_single_seed():
    plot = plots.forest(PANELS, title="Orders?")
    assert plot.summary.startswith("Orders. Mean and 95 % interval. height (nats): ")
    assert "file 1.00 [0.80, 1.20], shuffle -0.10 (one seed)" in plot.summary
    left = plot.figure.axes[0]
    assert [t.get_text() for t in left.get_yticklabels()] == ["file", "shuffle"]
    assert left.get_xlim()[1] < 5  # an unbounded interval does not stretch the axis
    assert smallest_letter(plot) >= 11


def test_one_scale_and_signs_for_effects():
    plot = plots.forest(PANELS, effects=True, one_scale=True)
    left, right = plot.figure.axes
    assert left.get_xlim() == right.get_xlim()
    assert [t.get_text() for t in left.texts] == ["+1.00", "-0.10"]
    assert plot.png()
