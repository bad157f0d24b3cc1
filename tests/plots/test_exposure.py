"""Exposure and explained variance: numbers in the sentence, names at the lines."""

import pytest
from plots.toy import smallest_letter, texts

from minimind_lite.plots import exposure
from minimind_lite.science.intervals import Interval


def interval(mean: float) -> Interval:
    return Interval(mean, mean - 0.1, mean + 0.1, 5)


def test_heights_fall_along_equal_distances():
    heights = {
        "code": {0: interval(2.0), 2: interval(1.0), 20: interval(0.0)},
        "en": {0: interval(3.0), 2: interval(1.5), 20: interval(0.5)},
    }
    plot = exposure.height_by_exposure(heights, title="Unseen?")
    ax = plot.figure.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "2", "20"]
    assert texts(plot.figure) == ["code", "English"]
    assert plot.summary == (
        "Unseen. Height in nats by exposure: code 0: +2.00 [1.90, 2.10], 2: +1.00 [0.90, 1.10], "
        "20: +0.00 [-0.10, 0.10]; English 0: +3.00 [2.90, 3.10], 2: +1.50 [1.40, 1.60], 20: +0.50 "
        "[0.40, 0.60]."
    )
    assert smallest_letter(plot) >= 11 and plot.png()


def test_a_bar_for_each_property():
    plot = exposure.explained({"domain": interval(0.72), "length": interval(0.1)}, title="Which")
    ax = plot.figure.axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.72, 0.1])
    assert texts(plot.figure) == ["72%", "10%"]
    assert plot.summary.endswith("domain 0.72 [0.62, 0.82], length 0.10 [0.00, 0.20].")
    assert smallest_letter(plot) >= 11 and plot.png()
