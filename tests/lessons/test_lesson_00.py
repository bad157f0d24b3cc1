"""Lesson 00: a row inside the first spike, and a buffer that leaves none."""

import pytest

from minimind_lite.lessons import lesson_00
from minimind_lite.science import evidence, reproduce
from minimind_lite.segments import of_run

RUN = evidence.recorded().trial("E1", "file", 0).run


def test_first_spike(capsys):
    inside = of_run(RUN)[0].start + 20
    assert lesson_00.check_row_in_first_spike(inside, RUN)
    assert not lesson_00.check_row_in_first_spike(0, RUN)
    assert not lesson_00.check_row_in_first_spike(10**6, RUN)
    right, outside, nowhere = capsys.readouterr().out.splitlines()
    assert f"row {inside} is in step {inside // 16}, inside the spike" in right
    assert "row 0 is in step 0; the first spike covers steps" in outside
    assert f"rows go from 0 to {sum(len(r.rows) for r in RUN.records) - 1}." in nowhere


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (None, "Not answered yet"),
        ("shuffle", 'expected "buffer:K"'),
        (7, 'expected "buffer:K"'),
        ("buffer:x", "buffer"),
        ("buffer:0", "buffer"),
        ("buffer:", "buffer"),
    ],
)
def test_buffer_exercise_explains_before_it_trains(order, text, capsys, monkeypatch):
    monkeypatch.setattr(reproduce, "run_once", lambda *_, **__: pytest.fail("trained"))
    assert not lesson_00.check_buffer_removes_spikes(order)
    assert text in capsys.readouterr().out


def test_buffer_exercise_counts_spikes(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        reproduce, "run_once", lambda config, **_: asked.append(config.order) or RUN
    )
    assert not lesson_00.check_buffer_removes_spikes(" buffer:16 ")
    shuffled = evidence.recorded().trial("E1", "shuffled", 0).run
    monkeypatch.setattr(reproduce, "run_once", lambda config, **_: shuffled)
    assert lesson_00.check_buffer_removes_spikes("buffer:2048")
    out = capsys.readouterr().out
    assert asked == ["buffer:16"] and "spikes left (+" in out
    assert "✓ buffer:2048 leaves no spike" in out
