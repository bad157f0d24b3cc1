"""Two detectors in one picture: what is drawn and said."""

import pytest
from plots.toy import smallest_letter, texts

from minimind_lite.plots import detectors as pictures
from minimind_lite.science.detectors import Row


def row(series, detector, *, hits=0, segments=0, alarms=0):
    return Row(series, detector, 10, 2000, segments, hits, None, alarms, alarms)


ROWS = [
    row("shuffled", "z", alarms=4),
    row("shuffled", "permutation", alarms=1),
    row("code", "z", hits=5, segments=20),
    row("code", "permutation", hits=19, segments=20),
    row("maths", "z", hits=10, segments=10),
    row("maths", "permutation", hits=10, segments=10),
]


def test_hits_are_shares_of_the_segments_and_the_title_says_where_none_is_lost():
    plot = pictures.hits(ROWS)
    assert plot.summary == (
        "The permutation detector flags no fewer segments in 2 of 2 kinds of series. Segments "
        "flagged within one batch of their start (%): code: z 25, permutation 95; maths: z 100, "
        "permutation 100."
    )
    [ax] = plot.figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["code", "maths"]
    drawn = {tuple(line.get_xdata()) for line in ax.lines[:-1]}
    assert {(25.0, 100.0), (95.0, 100.0)} <= drawn
    assert texts(plot.figure) == ["z", "permutation"]
    assert smallest_letter(plot) >= 11 and plot.png()


def test_false_alarms_are_those_of_series_without_segments():
    plot = pictures.false_alarms(ROWS)
    assert plot.summary == (
        "In 2,000 shuffled steps, z raises 4 false alarms, the permutation detector 1. False "
        "alarms per 1,000 steps: shuffled: z 2.000, permutation 0.500."
    )
    [ax] = plot.figure.axes
    assert ax.lines[1].get_xdata()[0] == pytest.approx(2.0) and plot.png()
