"""The whole choice as one string: there and back, and nothing unknown gets in."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimind_lite.config import TrainConfig
from minimind_lite.lab.i18n import LANGUAGES
from minimind_lite.lab.state import (
    CHOICES,
    LINES,
    MAX_PINS,
    PRESETS,
    SETTINGS,
    VIEWS,
    LabState,
    Pin,
    Settings,
    preset,
)

settings = st.builds(Settings, **{name: st.sampled_from(v) for name, v in CHOICES.items()})
counts = st.none() | st.integers(1, 999)
pins = st.lists(st.builds(Pin, st.text(max_size=20), settings, counts), max_size=MAX_PINS)


def some(values, least=0):
    return st.lists(st.sampled_from(values), unique=True, min_size=least).map(tuple)


states = st.builds(
    LabState,
    run=settings,
    **{name: st.sampled_from(values) for name, values in VIEWS.items()},
    lines=some(LINES, 1),
    opened=st.none() | st.integers(0, 999),
    steps=counts,
    settings=some(SETTINGS),
    language=st.sampled_from(LANGUAGES),
    pins=pins.map(tuple),
)


@given(states)
def test_a_state_comes_back_from_its_string(state):
    text = state.to_string()
    assert LabState.from_string(text) == state
    assert "\n" not in text
    assert text.isascii()
    assert text.startswith("lab=2&order=")


def test_written_out_by_hand():
    assert LabState().to_string() == "lab=2&order=file"
    run = Settings(order="buffer:128", batch_size=4)
    state = LabState(run, axis="steps", probes=True, pins=(Pin("a & b", Settings(), 7),), steps=9)
    assert state.to_string() == (
        "lab=2&order=buffer:128&batch_size=4&axis=steps&probes=True&steps=9"
        "&pin1.name=a%20%26%20b&pin1.order=file&pin1.steps=7"
    )


def test_a_pin_s_name_is_quoted_once():
    text = LabState(pins=(Pin("<img>", Settings()),)).to_string()
    assert "pin1.name=%3Cimg%3E&" in text


def test_a_string_of_version_1_is_refused_with_what_to_do():
    text = "lab=1&order=shuffle&batch=4&pin=name%3Da&pin=name%3Db"
    with pytest.raises(ValueError, match=r"this one has '1'.* batch_size \(batch\).* Copy the"):
        LabState.from_string(text)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "this one has 'no version'"),
        ("hello", "no lab state"),
        ("order=file", "begins with lab=2"),
        ("lab=3&order=file", "this one has '3'"),
        ("lab=2&order=sorted", "order must be one of"),
        ("lab=2&batch_size=7", "batch_size must be one of"),
        ("lab=2&batch=16", "has no 'batch'"),
        ("lab=2&color=red", "has no 'color'"),
        ("lab=2&batch_size=4&batch_size=8", "given twice in a lab state: 'batch_size'"),
        ("lab=2&opened=x", "whole number"),
        ("lab=2&opened=-1", "whole number"),
        ("lab=2&steps=0", "1 or more"),
        ("lab=2&lines=wavy", "no 'wavy'"),
        ("lab=2&lines=", "lines needs one"),
        ("lab=2&settings=volume", "no 'volume'"),
        ("lab=2&settings=order,order", "something twice"),
        ("lab=2&pin1.name=a&pin1.speed=2", "nothing that a pinned run has"),
        ("lab=2&pin=name%3Da", "nothing that a pinned run has"),
        ("lab=2&pin1.name=a&pin1.batch_size=5", "batch_size must be"),
        ("lab=2&pin2.name=a", "numbered from 1"),
        ("lab=2&pin1.name=a&pin1.steps=0", "one step or more"),
    ],
)
def test_what_a_lab_does_not_know_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        LabState.from_string(text)


@pytest.mark.parametrize(
    "text",
    ["lab=2&order=" + "x" * 10_000, "y" * 10_000, "lab=2&" + "z" * 9_000 + "=1",
     "lab=2&opened=" + "9" * 5_000, "lab=" + "8" * 5_000, "lab=2&pin1." + "q" * 5_000 + "=1"],
)  # fmt: skip
def test_an_error_repeats_no_more_than_a_line_of_what_was_wrong(text):
    with pytest.raises(ValueError) as caught:
        LabState.from_string(text)
    assert len(str(caught.value)) < 500


def test_settings_spell_a_run():
    config = Settings(accumulation_steps=4, loss_average="micro_batches").spec().config
    assert (config.micro_batch_size, config.accumulation_steps()) == (4, 4)
    assert config.loss_average == "micro_batches"
    small = Settings(batch_size=4, accumulation_steps=8).spec().config
    assert small.micro_batch_size == 1, "never less than a conversation"
    one = Settings(loss_average="micro_batches").spec().config
    assert one.loss_average == "tokens", "one part has one mean"


def test_a_setting_has_the_name_and_the_default_that_it_has_in_a_configuration():
    fields = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
    own = {"accumulation_steps", "pulse", "log_every"}  # derived there, or nothing of a run
    shared = {f.name: f.default for f in dataclasses.fields(Settings) if f.name not in own}
    assert shared == {name: fields[name] for name in shared}
    assert len(shared) == 8


def test_presets_are_states():
    assert set(PRESETS) == {
        "as reported",
        "as fixed",
        "maintainer's launcher",
        "buffer",
        "tiny batch",
        "huge batch",
        "true instability",
    }
    assert preset("true instability").run == Settings(order="shuffle", pulse=40)
    with pytest.raises(ValueError, match="presets are as reported"):
        preset("nonsense")


def test_no_more_pins_than_lines_that_can_be_told_apart():
    with pytest.raises(ValueError, match="at most 4"):
        LabState(pins=tuple(Pin(str(i), Settings()) for i in range(5)))


def test_one_is_not_true():
    with pytest.raises(ValueError, match="band must be one of"):
        LabState(band=1)
