"""The lab, pressed as a browser presses it, without a browser: `clock.value += 1` is a tick."""

import html
import time
from string import Formatter

import pytest
from minimind_lite.lab.state import CHOICES, KNOBS, LINES, PRESETS, VIEWS, Knobs

from minimind_lite.lab import SpikeLab, widgets, wording
from minimind_lite.lab import app as lab_module


@pytest.fixture
def lab(quick):
    made = SpikeLab()
    made.panel()
    yield made
    made.session.close()


def tick(lab, until=lambda: True, seconds=20.0):
    """Ticks of the clock until something holds."""
    end = time.monotonic() + seconds
    lab.widgets.clock.value += 1
    while not until() and time.monotonic() < end:
        time.sleep(0.01)
        lab.widgets.clock.value += 1


def press_run(lab):
    """On widgets that start their own clock, the first tick is the press."""
    if widgets.OWN_CLOCK:
        lab.widgets.clock._playing = False
        lab.widgets.clock._playing = True
        lab.widgets.clock.value += 1
    else:
        lab.widgets.buttons["run"].click()


def steps(lab):
    run = lab.session.current.run
    return 0 if run is None else len(run)


def test_the_first_sight_is_a_recorded_run_with_its_spikes(lab):
    w = lab.widgets
    assert bytes(w.image.value).startswith(b"\x89PNG") and w.status.value.startswith(
        "Recorded: 139 steps, 5 spikes."
    )
    assert (
        w.spikes.children[1].description == "1: +1.30 nats (z 19)" and len(w.spikes.children) == 6
    )
    assert "+1.94 nats" in w.sentence.value and w.state.value == lab.state == "lab=1&order=file"


def test_a_switch_repaints_in_place_and_starts_nothing(lab):
    image, before = lab.widgets.image, lab.widgets.image.value
    lab.widgets.knobs["order"].value = "shuffle"
    assert lab.widgets.image is image and image.value != before
    assert (
        lab.session.live is None
        and "no spike" in lab.widgets.status.value
        and lab.state == "lab=1&order=shuffle"
    )


def test_run_trains_and_redraws(lab):
    press_run(lab)
    tick(lab, lambda: steps(lab) >= 3)
    assert (
        lab.widgets.status.value.startswith("Training: step")
        and "s left" in lab.widgets.status.value
    )
    assert lab.canvas.drawn["accumulated"].tolist() == lab.session.current.run.loss.tolist()
    assert lab.widgets.buttons["run"].disabled and not lab.widgets.buttons["stop"].disabled


def test_stop_stops(lab):
    press_run(lab)
    tick(lab, lambda: steps(lab) >= 2)
    lab.widgets.buttons["stop"].click()
    done = steps(lab)
    time.sleep(0.1)
    lab.widgets.clock.value += 1  # a tick that was under way
    assert (
        steps(lab) == done
        and lab.session.live is None
        and lab.widgets.status.value.startswith(f"Stopped at step {done} of 139")
    )
    assert not getattr(lab.widgets.clock, "_playing" if widgets.OWN_CLOCK else "playing")


def test_a_knob_turned_while_it_trains_starts_nothing(lab):
    press_run(lab)
    tick(lab, lambda: steps(lab) >= 1)
    live = lab.session.live
    lab.widgets.knobs["order"].value = "shuffle"
    assert (
        lab.session.live is live
        and lab.session.current.knobs.order == "file"
        and "knobs have changed" in lab.widgets.status.value
    )


def test_step_and_pause_and_reset(lab):
    lab.widgets.buttons["step"].click()
    lab.widgets.buttons["step"].click()
    assert steps(lab) == 2 and lab.widgets.status.value.startswith("Paused at step 2 of 139")
    lab.widgets.buttons["reset"].click()
    assert steps(lab) == 139 and lab.session.live is None


def test_an_error_in_a_callback_is_shown_and_escaped(lab, monkeypatch):
    monkeypatch.setattr(lab.session, "step", lambda: 1 / 0)
    lab.widgets.buttons["step"].click()
    assert "Error" in lab.widgets.error.value and "ZeroDivisionError" in lab.widgets.error.value
    monkeypatch.setattr(lab.session, "step", lambda: (_ for _ in ()).throw(ValueError("<b>")))
    lab.widgets.buttons["step"].click()
    assert html.escape("<b>") in lab.widgets.error.value
    lab.widgets.buttons["reset"].click()
    assert not lab.widgets.error.value, "gone when the learner goes on"


def test_an_error_in_training_is_shown(lab, monkeypatch):
    monkeypatch.setattr(
        lab_module.LabSession,
        "tick",
        lambda self: (_ for _ in ()).throw(ArithmeticError("loss is not finite")),
    )
    press_run(lab)
    lab.widgets.clock.value += 1
    assert "loss is not finite" in lab.widgets.error.value


def test_a_spike_opens_walks_and_closes(lab):
    w = lab.widgets
    w.spikes.children[3].click()
    assert (
        lab.session.state.opened == 71
        and w.walk.layout.display == "flex"
        and "opened=71" in w.state.value
    )
    first = w.page.value
    assert "1138" in first, "a file line of that step"
    w.next.click()
    assert lab.session.state.opened == 72 and w.page.value != first
    w.close.click()
    assert (
        lab.session.state.opened is None and w.page.value == "" and w.walk.layout.display == "none"
    )


def test_walking_ends_at_the_ends(lab):
    lab._guarded(lambda: lab._open(0))
    lab.widgets.previous.click()
    assert lab.session.state.opened == 0


def test_without_a_spike_the_highest_step_opens(lab):
    lab.widgets.knobs["order"].value = "shuffle"
    assert [b.description for b in lab.widgets.spikes.children[1:]] == ["highest step"]
    lab.widgets.spikes.children[1].click()
    assert lab.widgets.page.value


def test_pins_have_rows_and_are_compared(lab):
    w = lab.widgets
    w.pin.click()
    w.knobs["order"].value = "shuffle"
    assert (
        len(w.pins.children) == 2 and w.pins.children[1].children[0].value == "file order, batch 16"
    )
    assert [d.value for d in w.pair.values()] == [0, lab_module.NOW]
    w.compare.click()
    assert "<table" in w.comparison.value and "file order, batch 16" in w.comparison.value
    w.pins.children[1].children[0].value = "<reported>"
    assert lab.session.pinned[0].name == "<reported>" and "pin=name%3D%253Creported" in lab.state
    w.compare.click()
    assert (
        "<reported>" not in w.comparison.value and html.escape("<reported>") in w.comparison.value
    )
    w.pins.children[1].children[1].click()
    assert not w.pins.children and not lab.session.pinned
    w.compare.click()
    assert "Choose two different runs" in w.error.value


def test_a_fifth_pin_is_refused_in_words(lab):
    for batch in (4, 8, 16, 32, 64):
        lab.widgets.knobs["batch"].value = batch
        lab.widgets.pin.click()
    assert "Four runs are pinned" in lab.widgets.error.value and len(lab.session.pinned) == 4


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_recorded_and_sets_the_knobs(lab, name):
    lab.widgets.preset.value = name
    wanted = PRESETS[name]
    assert lab.session.state.run == wanted.run and lab.session.current.source == "recorded"
    assert lab.widgets.knobs["order"].value == wanted.run.order and lab.widgets.lines[
        "log"
    ].value == ("log" in wanted.lines)


def test_views_change_the_figure_and_no_run(lab):
    w, run = lab.widgets, lab.session.answer.run
    for change in (
        lambda: setattr(w.views["axis"], "value", "steps"),
        lambda: setattr(w.views["scale"], "value", "log"),
        lambda: setattr(w.views["probes"], "value", True),
        lambda: setattr(w.lines["smoothed"], "value", True),
        lambda: setattr(w.lines["micro-batches"], "value", True),
        lambda: setattr(w.lines["log"], "value", True),
    ):
        before = w.image.value
        change()
        assert w.image.value != before and lab.session.answer.run is run
    assert "axis=steps&scale=log&probes=True" in lab.state


def test_the_state_makes_the_same_lab(lab):
    lab.widgets.pin.click()
    lab.widgets.preset.value = "true instability"
    lab.widgets.spikes.children[1].click()
    again = SpikeLab.from_state(lab.state)
    assert (
        again.state == lab.state
        and again.session.current.run.loss.tolist() == lab.session.current.run.loss.tolist()
    )


def test_chinese_and_back(lab):
    w = lab.widgets
    labels = [w.knobs["order"].description, w.buttons["run"].description, w.status.value]
    w.language.click()
    assert [w.knobs["order"].description, w.buttons["run"].description] == [
        "打乱",
        "运行",
    ] and w.status.value.startswith("已录：139 步")
    assert w.knobs["order"].value == "file" and "尖峰" in w.sentence.value
    w.language.click()
    assert [w.knobs["order"].description, w.buttons["run"].description, w.status.value] == labels


def test_both_languages_have_the_same_words():
    assert set(wording.WORDS["en"]) == set(wording.WORDS["zh"])
    gaps = lambda text: {p[1] for p in Formatter().parse(text) if p[1]}
    for key, text in wording.WORDS["en"].items():
        assert gaps(text) == gaps(wording.WORDS["zh"][key]), key
    for language in wording.WORDS:
        assert all(
            wording.WORDS[language].get(f"{name}?") for name in (*KNOBS, *VIEWS, *widgets.ACTIONS)
        ), "a control without a tooltip"
        assert all(wording.WORDS[language][f"line={name}?"] for name in LINES)


def test_a_teacher_chooses_the_knobs(quick):
    lab = SpikeLab(preset="as reported", knobs=("order",), language="zh")
    box = lab.panel()
    assert [type(w).__name__ for w in box.children[0].children] == ["Dropdown", "Button"]
    assert "knobs=order" in lab.state and "language=zh" in lab.state
    assert SpikeLab.from_state(lab.state).session.state.knobs == ("order",)
    for wrong in (
        {"knobs": ("volume",)},
        {"preset": "nonsense"},
        {"lines": ("wavy",)},
        {"language": "fr"},
    ):
        with pytest.raises(ValueError):
            SpikeLab(**wrong)


def test_every_control_has_a_label_and_a_tooltip(lab):
    w = lab.widgets
    single = (w.preset, w.pin, w.compare, w.previous, w.next, w.close)
    for control in (
        *w.knobs.values(),
        *w.views.values(),
        *w.lines.values(),
        *w.buttons.values(),
        *w.pair.values(),
        *single,
    ):
        assert control.description, control
        assert getattr(control, "tooltip", None) or getattr(control, "description_tooltip", None), (
            control.description
        )


def test_a_new_lab_releases_the_run_of_an_earlier_one(lab):
    press_run(lab)
    tick(lab, lambda: steps(lab) >= 1)
    SpikeLab()
    assert lab.session.live is None and lab.session.status == "stopped"


def test_a_run_in_one_lab_ends_the_run_in_another(quick):
    first, second = SpikeLab(), SpikeLab()
    first.panel(), second.panel()
    press_run(first)
    tick(first, lambda: steps(first) >= 1)
    press_run(second)
    assert first.session.live is None and second.session.live is not None
    assert (
        first.widgets.status.value.startswith("Stopped at step")
        and not first.widgets.buttons["run"].disabled
    )
    for _ in range(2):
        first.widgets.clock.value += 1  # ticks that were under way
    assert first.session.live is None and second.session.live is not None
    second.session.close()


def test_an_error_outlives_the_ticks_of_a_run(lab):
    press_run(lab)
    tick(lab, lambda: steps(lab) >= 1)
    lab.widgets.compare.click()
    done = steps(lab)
    tick(lab, lambda: steps(lab) > done)
    assert (
        "Choose two different runs" in lab.widgets.error.value
        and lab.widgets.status.value.startswith("Training")
    )


def test_run_begins_anew_after_the_end(lab):
    lab.widgets.knobs["batch"].value = 256
    press_run(lab)
    tick(lab, lambda: lab.session.status == "finished")
    press_run(lab)
    tick(lab, lambda: steps(lab) >= 1)
    assert lab.session.status in ("running", "finished") and lab.session.ghosts[-1].name.endswith(
        "trained here"
    )


def test_more_foreground_steps_than_there_are_begin_no_second_run(quick, capsys):
    lab = SpikeLab.from_state("lab=1&batch=256")
    lab.run(steps=12)
    assert steps(lab) == 9 and lab.session.status == "finished" and not lab.session.ghosts


def test_an_open_comparison_changes_its_language(lab):
    w = lab.widgets
    w.pin.click()
    w.knobs["order"].value = "shuffle"
    w.compare.click()
    w.language.click()
    assert "文件顺序，批大小 16" in w.comparison.value and "file order" not in w.comparison.value


def test_the_chosen_pair_stays_when_a_run_is_renamed(lab):
    w = lab.widgets
    for batch in (4, 8, 16):
        w.knobs["batch"].value = batch
        w.pin.click()
    w.pair["pair a"].value, w.pair["pair b"].value = 2, 0
    w.pins.children[1].children[0].value = "mine"
    assert [d.value for d in w.pair.values()] == [2, 0]
    w.pins.children[1].children[1].click()
    assert [d.value for d in w.pair.values()] == [0, 1], "places have moved"


def test_a_short_run_says_what_can_t_be_judged(lab):
    lab.widgets.knobs["batch"].value = 64
    assert "in the last 5 steps (the first 30 can't be judged)" in lab.widgets.status.value


def test_close_ends_the_run_and_takes_the_panel_away(lab):
    press_run(lab)
    box = lab.panel()
    lab.close()
    assert lab.session.live is None and lab.widgets is None and box.comm is None


def test_the_foreground_run_needs_no_widget(quick, capsys):
    lab = SpikeLab(knobs=())
    lab.run(steps=3)
    assert (
        lab.widgets is None
        and steps(lab) == 3
        and "Paused at step 3 of 139" in capsys.readouterr().out
    )
    lab.session.close()


def test_interrupt_stops_the_foreground_run(quick, monkeypatch, capsys):
    lab = SpikeLab()
    monkeypatch.setattr(
        lab_module.time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    lab.run()
    assert lab.session.live is None and lab.session.status == "stopped"


def test_a_static_viewer_gets_a_picture_with_its_sentence(lab):
    data, metadata = lab._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"}
    assert (
        metadata["image/png"]["alt"] == data["text/plain"] == lab.summary
        and "5 spikes" not in data["text/plain"]
    )
    assert "+1.94 nats" in lab.summary


def test_accumulation_cuts_what_is_drawn(lab):
    lab.widgets.lines["micro-batches"].value = True
    lab.widgets.knobs["accumulation"].value = 4
    assert (
        len(lab.canvas.drawn["micro-batches"]) == 4 * 139
        and len(lab.canvas.drawn["accumulated"]) == 139
    )


def test_what_is_not_recorded_is_offered_with_its_cost(lab):
    lab.widgets.knobs["optimizer"].value = "sgd"
    lab.widgets.knobs["batch"].value = 64
    assert lab.widgets.status.value.startswith("Not recorded. Run trains it now: 35 steps, about")
    assert not lab.widgets.spikes.children and lab.session.state.run == Knobs(
        optimizer="sgd", batch=64
    )


def test_choices_of_the_knobs_are_those_of_the_widgets(lab):
    assert {
        name: tuple(v for _, v in knob.options) for name, knob in lab.widgets.knobs.items()
    } == dict(CHOICES)


def test_a_panel_that_is_shown_nowhere_pauses(lab):
    lab.widgets.box._view_count = 1
    press_run(lab)
    tick(lab, lambda: steps(lab) >= 1)
    lab.widgets.box._view_count = 0
    assert lab.session.status == "paused"


def test_a_report_holds_picture_state_comparison_and_words(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORK", str(tmp_path))
    lab.widgets.pin.click()
    lab.widgets.knobs["order"].value = "shuffle"
    lab.widgets.compare.click()
    first, second = lab.report("It is <b>the order</b>."), lab.report()
    text = first.read_text(encoding="utf-8")
    assert [first.name, second.name] == [
        "lab-report.html",
        "lab-report-2.html",
    ] and "nothing written yet" in second.read_text(encoding="utf-8")
    assert (
        "data:image/png;base64," in text
        and html.escape(lab.state) in text
        and "<table" in text
        and "It is &lt;b&gt;the order" in text
    )
