"""Ways of resuming, a row each; and what the recorded ones show is what the title says."""

import pytest
from plots.toy import smallest_letter, texts, toy_run

from minimind_lite.plots import resuming
from minimind_lite.plots.resuming import Resumed
from minimind_lite.science import evidence, resume_costs
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


# What docs/results.md says of the recorded ones

RECORDED = evidence.recorded()


@pytest.fixture(scope="module")
def costs():
    return {way: resume_costs.over_layouts(RECORDED, way) for way in resume_costs.WAYS}


def test_only_moments_that_came_back_wrong_make_a_jump(costs):
    jumps = {way: cost["jump"] for way, cost in costs.items()}
    assert jumps.pop("half-precision moments").above(0.1)
    assert all(jump.below(0.02) for jump in jumps.values())


def test_they_hurt_the_model_and_most_of_it_heals(costs):
    cost = costs["half-precision moments"]
    assert cost["held_out_rise"].above(0.3) and cost["held_out"].above(0)
    assert cost["held_out"].high < 0.1 < cost["held_out_rise"].mean / 10


def test_their_first_step_is_huge():
    for resumed, whole in resume_costs.pairs(RECORDED, "half-precision moments"):
        at = resume_costs.broken_at(whole)
        norms = [trial.run.records[at].update_norm for trial in (resumed, whole)]
        assert norms[0] > 300 * norms[1]


def test_file_order_shows_later_and_costs_the_rare_domains(costs):
    assert costs["file order"]["tallest"].above(0.2) and costs["file order"]["jump"].below(0)
    assert costs["file order"]["off_domain"].above(0.05)
    assert costs["order restarted"]["off_domain"].within(0, 0.05)


def test_another_shuffle_shows_nothing_and_misses_a_quarter_of_the_rows(costs):
    cost = costs["another shuffle"]
    assert all(cost[name].within(-0.1, 0.1) for name in ("jump", "tallest", "off_domain"))
    assert cost["never_read"].within(0.24, 0.26)


def test_an_exact_resume_has_the_same_bits_in_every_layout():
    pairs = resume_costs.pairs(RECORDED, "exact")
    assert len(pairs) == 8 and all(resume_costs.same_bits(*pair) for pair in pairs)
