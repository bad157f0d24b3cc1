"""Figures of laws: what is drawn, what the sentence says, and where it says that a law fails."""

import numpy as np
import pytest
from plots.toy import smallest_letter

from minimind_lite.plots import laws
from minimind_lite.plots.base import LOOKS, Plot
from minimind_lite.science.law_checks import Check


def check(
    measured: list[list[float]],
    law: tuple[float, ...] = (1.0, 2.0),
    at: tuple[float, ...] = (16, 64),
    unit: str = "nats",
) -> Check:
    places, expected = np.array(at, dtype=float), np.array(law)
    of_seeds = np.tile(expected, (len(measured), 1))
    return Check(
        unit, places, expected, places, expected, places, of_seeds, np.array(measured, dtype=float)
    )


GOOD = check([[0.9, 2.1], [1.1, 1.9], [1.0, 2.05]])
BAD = check([[0.9, 3.0], [1.1, 3.1], [1.0, 3.2]])


def visibility() -> Plot:
    return laws.visibility({"code": {"height": GOOD, "noise": GOOD, "z": GOOD}}, {"code": 64})


def plotting() -> Plot:
    return laws.plotting({"code": (GOOD, BAD)})


def buffer() -> Plot:
    return laws.buffer({"code": GOOD, "maths": BAD}, {"code": 64, "maths": 192}, title="t")


def dispersion() -> Plot:
    return laws.dispersion(check([[0.9, 2.1], [1.1, 1.9]], at=(0, 1)), ["file", "shuffle"])


def accumulation() -> Plot:
    return laws.accumulation(check([[0.0, -0.02], [0.0, -0.04]], law=(0.0, -0.03), at=(16, 1)))


def resume() -> Plot:
    return laws.resume({"file": check([[0.25], [0.27]], law=(0.25,), at=(0.5,))})


def height_against_share() -> Plot:
    return laws.height_against_share(
        {"file": [(1.0, 1.1), (1.2, 0.9)], "shuffle": [(0.5, 0.2), (0.6, 0.4)]}
    )


def test_a_law_outside_the_interval_is_named():
    assert laws.law_outside_interval(GOOD) == [] and laws.law_outside_interval(BAD) == [64]
    assert laws.law_outside_interval(check([[5.0, 9.0]])) == []  # one seed decides nothing


def test_agreement_names_the_place_and_the_largest_difference():
    assert laws.agreement(BAD, "code", x_name="K") == (
        "code: law inside the measured interval at 1 of 2, not at K = 64; "
        "largest difference +1.10 nats at K = 64"
    )
    assert "one seed" in laws.agreement(check([[1.0, 2.0]]), "code", x_name="K")


def test_law_simulation_and_measurement_are_on_one_pair_of_axes():
    [ax] = buffer().figure.axes
    faces = {line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"}
    assert faces == {"none", LOOKS[0].color}  # open: simulation; filled: measured
    solid = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert any(list(line.get_ydata()) == [1.0, 2.0] for line in solid)
    assert len(ax.containers) == 2  # intervals of both


def test_height_against_share_draws_the_mean_of_each_order():
    [ax] = height_against_share().figure.axes
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["frozen model", "file", "shuffle"]
    assert ax.containers[0].lines[0].get_xdata()[0] == pytest.approx(1.1)


SENTENCES = {
    visibility: "z is largest at B = code 64 (¾ of its rows: 48).",
    plotting: "+1.10 (code, half of it, I = 64)",
    buffer: "maths: law inside the measured interval at 1 of 2, not at K = 64",
    dispersion: "file 1.00 (law 1.00), shuffle 2.00 (law 2.00)",
    accumulation: "law inside the measured interval at 2 of 2",
    resume: "26.0% of the rows at f = 0.50 (law 25.0%)",
    height_against_share: "file 1.10 expected, 1.00 measured; shuffle 0.55 expected, 0.30 measured",
}


@pytest.mark.parametrize("draw", SENTENCES)
def test_each_figure_has_a_sentence_and_readable_letters(draw):
    plot = draw()
    assert SENTENCES[draw] in plot.summary
    assert smallest_letter(plot) >= 11 and plot.png()
