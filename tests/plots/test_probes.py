"""Training loss and held-out loss in one picture."""

import pytest
from plots.toy import smallest_letter, toy_run

from minimind_lite import plots
from minimind_lite.segments import Segment

EVENT = {"steps": 48, "at": range(40, 44), "probes": True}
RUN = toy_run(bump=1.0, **EVENT)


def test_the_sentence_ends_with_the_probe_after_the_last_step():
    plot = plots.loss_and_probe({"hard": RUN, "worse": toy_run(bump=2.0, **EVENT)}, title="t")
    assert (
        "worse: training loss up to 4.01, probe 3.00 before, 5.00 at most, 3.50 at the end."
        in plot.summary
    )
    assert smallest_letter(plot) >= 11 and plot.png()


def test_training_loss_and_probe_are_on_one_scale():
    plot = plots.on_one_scale(RUN, [Segment("code", 160, 176)], title="Both")
    spans = [ax.get_ylim()[1] - ax.get_ylim()[0] for ax in plot.figure.axes]
    assert spans[0] == pytest.approx(spans[1])
    assert plot.summary.startswith("Both. Training loss goes from 1.99 to 3.01 nats; the probe, at")
    assert "from 3.00 to 4.00" in plot.summary and plot.png()
