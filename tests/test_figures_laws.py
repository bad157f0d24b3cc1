"""Figures of laws: what is drawn, what the sentence says, and where it says that a law fails."""

import numpy as np
import pytest

from minimind_lite.plots import laws
from minimind_lite.science.law_checks import Check


def check(
    measured: list[list[float]],
    law: tuple[float, ...] = (1.0, 2.0),
    at: tuple[float, ...] = (16, 64),
    unit: str = "nats",
) -> Check:
    law = np.array(law)
    return Check(
        unit,
        np.array(at, float),
        law,
        np.array(at, float),
        law,
        np.array(at, float),
        np.tile(law, (len(measured), 1)),
        np.array(measured),
    )


GOOD = check([[0.9, 2.1], [1.1, 1.9], [1.0, 2.05]])
BAD = check([[0.9, 3.0], [1.1, 3.1], [1.0, 3.2]])


def test_a_miss_is_a_law_outside_the_interval():
    assert laws.misses(GOOD) == [] and laws.misses(BAD) == [64]
    assert laws.misses(check([[5.0, 9.0]])) == []  # one seed decides nothing


def test_agreement_names_the_miss_and_the_largest_difference():
    assert laws.agreement(BAD, "code", x_name="K") == (
        "code: law inside the measured interval at 1 of 2, not at K = 64; largest difference +1.10 nats at K = 64"
    )
    assert "one seed" in laws.agreement(check([[1.0, 2.0]]), "code", x_name="K")


def lines(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker]


def test_law_simulation_and_measurement_are_on_one_pair_of_axes():
    figure = laws.buffer({"code": GOOD, "maths": BAD}, {"code": 64, "maths": 192}, title="t").figure
    circles = lines(figure.axes[0], "o")
    assert {line.get_markerfacecolor() for line in circles} == {
        "none",
        laws.SERIES[0][0],
    }  # open: simulation; filled: measured
    assert any(
        list(line.get_ydata()) == [1.0, 2.0] and line.get_linestyle() == "-"
        for line in figure.axes[0].lines
    )
    assert len(figure.axes[0].containers) == 2  # intervals of both


@pytest.mark.parametrize(
    "plot, words",
    [
        (
            lambda: laws.visibility(
                {"code": {"height": GOOD, "noise": GOOD, "z": GOOD}}, {"code": 64}
            ),
            "z is largest at B = code 64",
        ),
        (lambda: laws.plotting({"code": (GOOD, BAD)}), "+1.10 (code, half held, I = 64)"),
        (
            lambda: laws.dispersion(
                check([[0.9, 2.1], [1.1, 1.9]], at=(0, 1)), ["file", "shuffle"]
            ),
            "file 1.00 (law 1.00)",
        ),
        (
            lambda: laws.accumulation(
                check([[0.0, -0.02], [0.0, -0.04]], law=(0.0, -0.03), at=(16, 1))
            ),
            "2 of 2",
        ),
        (
            lambda: laws.resume({"file": check([[0.25], [0.27]], law=(0.25,), at=(0.5,))}),
            "26.0% of the rows at f = 0.50",
        ),
    ],
)
def test_each_figure_has_a_sentence_and_readable_type(plot, words):
    found = plot()
    assert words in found.summary
    assert all(
        t.get_fontsize() >= 11
        for ax in found.figure.axes
        for t in [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
    )
    assert found.png()[:4] == b"\x89PNG"
