"""The panel, pressed as a browser presses it, without a browser: `play.value += 1` is a tick."""

import pytest

from minimind_lite import lab as lab_module
from minimind_lite.config import TrainConfig
from minimind_lite.lab import TrainingPanel


@pytest.fixture
def panel(monkeypatch):
    monkeypatch.setattr(lab_module, "CHUNK_SECONDS", 0.01)
    made = TrainingPanel(config=TrainConfig(batch_size=8))
    made.panel()
    return made


def test_ticks_train_and_redraw_in_place(panel):
    image, before = panel.image, panel.image.value
    for _ in range(2):
        panel.play.value += 1
    assert len(panel.records) >= 2
    assert panel.image is image and image.value != before and bytes(image.value).startswith(b"\x89PNG")
    assert panel.status.value.startswith(f"step {len(panel.records)} of ")


def test_ten_steps_are_ten_steps(panel):
    panel.step_button.click()
    assert [r.step for r in panel.records] == list(range(10))


def test_a_changed_knob_starts_nothing_by_itself(panel):
    panel.play.value += 1
    records, n = panel.records, len(panel.records)
    panel.knobs["shuffle"].value = "shuffle"
    assert panel.records is records and len(records) == n and panel.config.order == "file"
    assert "new run" in panel.status.value


def test_before_the_first_step_a_knob_acts_at_once(panel):
    panel.knobs["shuffle"].value = "shuffle"
    assert panel.config.order == "shuffle" and "ready" in panel.status.value


def test_new_run_keeps_the_old_one_as_a_ghost(panel):
    panel.play.value += 1
    old = panel.run_so_far.loss.tolist()
    panel.knobs["shuffle"].value = "shuffle"
    panel.new_button.click()
    assert panel.config.order == "shuffle" and not panel.records
    assert panel.ghosts[-1].loss.tolist() == old


def test_accumulation_cuts_the_batch(panel):
    panel.knobs["accumulation"].value = 4
    assert panel.settings.micro_batch_size == 2 and panel.settings.accumulation_steps() == 4
    panel.advance(steps=1)
    assert len(panel.records[0].micro_losses) == 4


def test_more_parts_than_rows_is_one_row_each(panel):
    panel.knobs["batch"].value = 4
    panel.knobs["accumulation"].value = 8
    assert panel.settings.micro_batch_size == 1


def test_an_error_in_a_callback_is_shown(panel):
    panel._steps = None
    panel.step_button.click()
    assert panel.status.value.startswith("error: TypeError")


def test_the_run_ends_by_itself(panel, monkeypatch):
    panel._config = panel._config.replace(max_steps=3)
    panel.knobs["batch"].value = 16
    panel.step_button.click()
    panel.play.value += 1
    assert len(panel.records) == 3 and panel.finished and "done" in panel.status.value


def test_interrupt_stops_the_foreground_run(panel, monkeypatch, capsys):
    real, calls = panel.advance, []

    def advance(*, steps):
        calls.append(steps)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(steps=steps)
    monkeypatch.setattr(panel, "advance", advance)
    panel.run(20)
    assert len(panel.records) == 5 and "stopped after step 5" in capsys.readouterr().out


def test_a_picture_stands_beside_the_widgets_for_static_viewers(panel):
    data, metadata = panel._repr_mimebundle_()
    assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} == set(data)
    assert metadata["image/png"]["alt"]


def test_an_unknown_knob_is_an_error():
    with pytest.raises(ValueError, match="no knob colour"):
        TrainingPanel(knobs=("colour",))
