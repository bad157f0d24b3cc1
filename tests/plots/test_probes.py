"""Training loss and held-out loss in one picture."""

import pytest
from plots.toy import BATCH, smallest_letter, texts, toy_run

from minimind_lite import plots
from minimind_lite.segments import Segment

EVENT = {"steps": 48, "at": range(40, 44), "probes": True}
RUN = toy_run(bump=1.0, **EVENT)


def test_the_sentence_ends_with_the_probe_after_the_last_step():
    plot = plots.loss_and_probe({"hard": RUN, "worse": toy_run(bump=2.0, **EVENT)}, title="t")
    assert plot.summary.endswith(
        "worse: training loss from 1.99 to 4.01, probe 3.00 at first, 5.00 at most, "
        "3.50 at the end."
    )
    assert smallest_letter(plot) >= 11 and plot.png()


def test_both_scales_are_as_long():
    plot = plots.loss_and_probe({"file": RUN}, segments=[Segment("code", 160, 176)], title="Both")
    spans = [ax.get_ylim()[1] - ax.get_ylim()[0] for ax in plot.figure.axes]
    assert spans[0] == pytest.approx(spans[1])
    assert texts(plot.figure) == ["code"] and plot.png()


def test_a_disturbance_is_shaded_where_its_rows_were_read():
    above, below = plots.loss_and_probe({"file": RUN}).figure.axes
    for ax in (above, below):
        [shade] = ax.patches
        assert shade.get_x() == BATCH * 40 and shade.get_width() == BATCH * 4


def test_a_thinned_run_keeps_its_conversations():
    """Probes are at positions of the record; the axis counts conversations."""
    below = plots.loss_and_probe({"log": RUN.every(2)}).figure.axes[1]
    [line] = below.lines
    assert line.get_xdata()[:3].tolist() == [0, 2 * BATCH, 4 * BATCH]
