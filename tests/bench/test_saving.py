"""A share is a checkpoint over the steps between two of them."""

from minimind_lite.bench import saving
from minimind_lite.bench.saving import Row


def test_the_share_by_hand():
    """One checkpoint of 40 ms in 50 steps of 100 ms: 0.8 %."""
    assert Row("nano", 100.0, 40.0, 6.0).share() == 0.8
    assert "0.80%" in saving.table([Row("nano", 100.0, 40.0, 6.0)])


def test_a_measurement_is_of_whole_checkpoints():
    row = saving.measure("nano", rounds=1, progress=lambda what: None)
    assert row.megabytes > 5.9 and row.checkpoint_ms > 0 and row.step_ms > 0
