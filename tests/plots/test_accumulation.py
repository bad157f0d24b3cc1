"""Micro-batches: sentences whose numbers are checked by hand."""

import numpy as np
import pytest
from plots.toy import smallest_letter

from minimind_lite import plots
from minimind_lite.plots.accumulation import bias_and_limit

SMALL = [(np.array([5.0, 5.0]), np.array([5, 1]))]
LARGE = [(np.array([40.0, 1980.0]), np.array([10, 990]))]


def three_means():
    return plots.three_means([5, 1], [1, 5], title="t")


def gradient_gaps():
    return plots.gradient_gaps({"tokens": {1: 1e-15, 8: 0.0}, "means": {1: 0.1, 8: 0.05}})


def bias_scatter():
    return plots.bias_scatter({"of 1": SMALL, "of 2": LARGE})


def memory_bars():
    parts = {"weights": 2e6, "activations": 6e6}
    return plots.memory_bars({"16": parts, "1": parts | {"activations": 2e6}})


def test_three_means_by_hand():
    assert three_means().summary == (
        "Micro-batches of 5 tokens at 1 and 1 token at 5 nats: last micro-batch 5.00, "
        "mean of means 3.00, sum of losses / tokens 1.67."
    )


def test_the_largest_gap_of_each_way_is_said():
    assert gradient_gaps().summary.endswith("tokens: at most 1e-15; means: at most 0.1.")


def test_ticks_of_a_log_axis_are_plain_figures():
    """The style reads no mathematics, so matplotlib's own labels would show their dollar signs."""
    ax = gradient_gaps().figure.axes[0]
    gradient_gaps().png()
    assert not any("$" in label.get_text() for label in ax.get_yticklabels())


def test_bias_by_hand_lies_within_its_limit():
    """(3.00 - 1.67): n = 5, 1 and m = 1, 5: a deviation of 2 over a mean of 3, times one of 2."""
    [(sums, counts)] = SMALL
    assert bias_and_limit(sums, counts) == pytest.approx((4 / 3, 4 / 3))
    assert "of 1: 1.333 nats off on average" in bias_scatter().summary


def test_memory_is_added_up():
    assert memory_bars().summary == (
        "16: 8.0 MB (weights 2.0, activations 6.0). 1: 4.0 MB. 1 needs 50% of the memory of 16."
    )


@pytest.mark.parametrize("draw", [three_means, gradient_gaps, bias_scatter, memory_bars])
def test_each_is_a_picture_with_readable_letters(draw):
    plot = draw()
    assert smallest_letter(plot) >= 11 and plot.png()
