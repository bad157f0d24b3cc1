"""Lesson 03: the hardest line of the tallest step, and what a sparse log shows."""

import numpy as np
import pytest

from minimind_lite import spikes
from minimind_lite.files import shipped
from minimind_lite.lessons import lesson_03
from minimind_lite.science import reproduce


@pytest.fixture(scope="module")
def run():
    return reproduce.recorded_run("3 epochs, as reported")


def test_hardest_line(run, capsys):
    last = [e for e in spikes.find(run.loss) if run.records[e.start].epoch == 2]
    record = run.records[max(last, key=lambda e: e.peak_height).peak]
    hardest, easiest = record.rows[[record.sample_losses.argmax(), record.sample_losses.argmin()]]
    assert lesson_03.check_hardest_line(int(hardest) + 1, run)  # lines count from 1
    assert not lesson_03.check_hardest_line(int(easiest) + 1, run)
    assert not lesson_03.check_hardest_line(1, run)
    right, wrong, elsewhere = capsys.readouterr().out.splitlines()
    assert f"at {np.max(record.sample_losses):.2f} nats" in right
    assert "right step, but not its hardest" in wrong
    assert f"which is step {record.step}." in elsewhere


def test_log_shows_segment(run, capsys):
    tiny = shipped.segments()[-1]
    answers = [
        n for n in range(5) if lesson_03.check_log_shows_segment(n, run, segment=tiny, interval=4)
    ]
    by_hand = {i % 4 for i, r in enumerate(run.records) if r.epoch == 0 and tiny_in(tiny, r.rows)}
    assert answers == [len(by_hand)]
    assert "which starts keep one of them?" in capsys.readouterr().out


def tiny_in(segment, rows):
    return bool(set(range(segment.start, segment.stop)) & set(rows.tolist()))
