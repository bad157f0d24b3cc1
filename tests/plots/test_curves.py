"""Curves: what is drawn, and sentences whose numbers are checked by hand."""

import dataclasses

import numpy as np
import pytest
from plots.toy import BATCH, STEPS, toy_run

from minimind_lite import plots, spikes
from minimind_lite.records import Run
from minimind_lite.science import log_views
from minimind_lite.segments import Segment

RUN, SEGMENT = toy_run(), Segment("code", 132, 144)
LONG = toy_run(bump=1.0, steps=48, at=range(40, 44))
# forty steps up, longer than the window
LEVEL = 5 + 0.05 * np.sin(np.arange(120)) + np.isin(np.arange(120), range(60, 100))


def test_the_sentence_of_a_curve_by_hand():
    """Start and end are means over a tenth; the ripple of 0.01 is highest at steps 14 and 33."""
    flat, [event] = toy_run(steps=20), spikes.find(RUN.loss)
    assert plots.loss_curve({"file": RUN, "flat": flat}, events=[event]).summary == (
        "file: 40 steps, mean loss 2.00 over the first 4, 2.00 over the last 4, highest 3.51 at "
        "step 33; flat: 20 steps, mean loss 2.00 over the first 2, 2.00 over the last 2, highest "
        "2.01 at step 14. Spikes in file, height at the peak: "
        f"+1.51 nats (z = {event.z:.0f}) at rows 132–143."
    )


def test_a_spike_whose_rows_are_no_stretch_of_the_file_is_named_by_its_steps():
    backwards = [dataclasses.replace(r, rows=r.rows[::-1]) for r in RUN.records]
    run, [event] = Run(RUN.info, tuple(backwards)), spikes.find(RUN.loss)
    summary = plots.loss_curve({"backwards": run}, events=[event]).summary
    assert f"at steps {event.start}–{event.stop - 1}." in summary and "rows" not in summary


def test_a_thinned_run_names_the_step_and_not_its_place():
    """After `every(3)` the highest point is the 12th, but it is still step 33."""
    assert "highest 3.51 at step 33" in plots.loss_curve({"log": RUN.every(3)}).summary


def test_all_parts_are_drawn_at_once():
    plot = plots.loss_curve(
        {"file": RUN, "higher": toy_run(3.0)},
        segments=[SEGMENT],
        events=spikes.find(RUN.loss),
        strips=("file", "higher"),
        title="all at once",
    )
    legend = [text.get_text() for text in plot.figure.axes[0].get_legend().get_texts()]
    assert len(plot.figure.axes) == 3 and legend == ["file", "higher", "Chinese", "code"]
    assert plot.png()


def test_many_events_are_marked_and_only_counted_in_the_sentence():
    [event] = spikes.find(RUN.loss)
    plot = plots.loss_curve({"file": RUN}, events=[event] * 8)
    assert plot.summary.endswith("; and 2 more.") and not plot.figure.axes[0].texts


@pytest.mark.parametrize("n", [0, 6])
def test_a_curve_of_no_run_or_more_than_five_is_an_error(n):
    with pytest.raises(ValueError, match=rf"1 to 5 runs .* got {n}"):
        plots.loss_curve({str(i): RUN for i in range(n)})


def test_losses_by_row_say_each_segment_s_height():
    plot = plots.losses_by_row(
        {"file": RUN}, STEPS * BATCH, segments=[SEGMENT], smooth=8, title="rows"
    )
    assert "file: code (12 rows) +1.50." in plot.summary and plot.png()


def test_a_stopped_run_can_be_drawn_by_row():
    """Its later rows were never read."""
    plot = plots.losses_by_row(
        {"stopped": toy_run(steps=20)}, STEPS * BATCH, segments=[SEGMENT], smooth=8
    )
    assert plot.png() and plot.summary.endswith("stopped: .")


def test_panels_count_events_where_the_curve_is_long_enough():
    curves = {"full": log_views.full(LONG), "sparse": log_views.minimind(LONG, 8)}
    plot = plots.panels(curves, run=LONG, detect=True, title="t")
    assert "full: 48 points, mean 2.08, highest 3.01 after 160 conversations" in plot.summary
    assert "1 spike flagged" in plot.summary and plot.summary.count("flagged") == 1
    assert len(plot.figure.axes) == 3 and plot.png()  # two curves and the strip


def test_an_earlier_curve_lies_under_its_panel():
    full = log_views.full(LONG)
    higher = log_views.full(toy_run(bump=2.0, steps=48, at=range(40, 44)))
    first, second = plots.panels({"a": full, "b": full}, earlier={"a": higher}).figure.axes
    assert [line.get_ydata().max().round(1) for line in first.lines] == [4.0, 3.0]
    assert len(second.lines) == 1


def test_the_rolling_mean_flags_the_first_step_and_the_end_of_a_long_segment_only():
    """After one step of the spike, z can be sqrt((1 - p) / p) = 5.4 at most, p = 1/30."""
    plot = plots.compare_detectors(LEVEL, window=30)
    assert plot.summary.startswith(
        "120 steps, window 30. Flagged by the rolling mean and 7 deviations: 60, 100. "
        "Flagged by the robust z: 60–"
    )
    assert plot.png()
