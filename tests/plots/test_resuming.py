"""Ways of resuming, a row each; and what the recorded ones show is what the title says."""

import pytest
from plots.toy import smallest_letter, texts, toy_run

from minimind_lite.plots import resuming
from minimind_lite.plots.resuming import Resumed
from minimind_lite.science import resume_costs
from minimind_lite.science.intervals import Interval

AT = 30
FIELDS = [field.name for field in resume_costs.fields(resume_costs.Cost)]


def way(mean: float, *, expected=(0.0, 0.0), bump: float = 1.5) -> Resumed:
    costs = {name: Interval(mean, mean - 0.01, mean + 0.01, 8) for name in FIELDS}
    return Resumed(toy_run(bump=bump), costs, expected)


@pytest.fixture
def plot():
    ways = {"nothing lost": way(0.0), "the order": way(0.25, expected=(0.24, 0.24), bump=3.0)}
    return resuming.ways_of_resuming(ways, toy_run(), broken_at=AT, title="What is lost?")


def test_a_row_for_each_way(plot):
    axes = plot.figure.axes
    columns = 1 + len(resuming.COLUMNS)
    assert len(axes) == 2 * columns
    assert [axes[i].get_ylabel() for i in (0, columns)] == ["nothing\nlost", "the\norder"]
    assert smallest_letter(plot) >= 11 and plot.png()


def test_the_resumed_curve_begins_at_the_break(plot):
    whole, resumed = plot.figure.axes[1 + len(resuming.COLUMNS)].lines[:2]
    assert resumed.get_xdata()[0] == AT - 1 and whole.get_xdata()[0] == AT - resuming.BEFORE
    assert max(resumed.get_ydata()) > max(whole.get_ydata()) + 1
    assert resumed.get_linestyle() != whole.get_linestyle()
    assert resumed.get_color() != whole.get_color()


def test_rows_have_the_law_beside_them(plot):
    rows = plot.figure.axes[-1]
    law = [line.get_xdata()[0] for line in rows.lines if line.get_color() == "#D55E00"]
    assert law == [0.24, 0.24]
    assert texts(plot.figure)[-2:] == ["25%", "25%"]


def test_the_sentence_names_what_is_clearly_higher(plot):
    assert plot.summary == (
        "What is lost. Differences from the uninterrupted run, nats. Training loss higher over the "
        "first 10 steps: the order +0.25 [0.24, 0.26]. Tallest step higher: the order +0.25 "
        "[0.24, 0.26]. Held-out loss higher in the 20 steps after the break: the order +0.25 "
        "[0.24, 0.26]. Off-domain held-out loss higher at the end: the order +0.25 [0.24, 0.26]. "
        "Rows never read: the order 25% (law 24%)."
    )


def test_a_run_that_takes_more_steps_is_cut(plot):
    longer = {"again": Resumed(toy_run(steps=60), way(0.0).costs, (0.0, 0.0))}
    plot = resuming.ways_of_resuming(longer, toy_run(), broken_at=AT)
    assert plot.figure.axes[0].lines[1].get_xdata()[-1] == len(toy_run()) - 1
