"""The whole choice as one string: there and back, and nothing unknown gets in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from minimind_lite.lab.state import (
    CHOICES,
    KNOBS,
    LANGUAGES,
    LINES,
    MOST_PINS,
    PRESETS,
    VIEWS,
    Knobs,
    LabState,
    Pin,
    preset,
)

knobs = st.builds(Knobs, **{name: st.sampled_from(values) for name, values in CHOICES.items()})
pins = st.lists(
    st.builds(Pin, st.text(max_size=20), knobs, st.none() | st.integers(1, 999)), max_size=MOST_PINS
).map(tuple)
some = lambda values: st.lists(st.sampled_from(values), unique=True).map(tuple)
states = st.builds(
    LabState,
    run=knobs,
    **{name: st.sampled_from(values) for name, values in VIEWS.items()},
    lines=some(LINES),
    opened=st.none() | st.integers(0, 999),
    knobs=some(KNOBS),
    language=st.sampled_from(LANGUAGES),
    pins=pins,
)


@given(states)
def test_a_state_comes_back_from_its_string(state):
    text = state.to_string()
    assert LabState.from_string(text) == state
    assert "\n" not in text and text.isascii() and text.startswith("lab=1&order=")


def test_written_out_by_hand():
    assert LabState().to_string() == "lab=1&order=file"
    state = LabState(
        Knobs(order="buffer:128", batch=4),
        axis="steps",
        probes=True,
        pins=(Pin("a & b", Knobs(), 7),),
    )
    assert (
        state.to_string()
        == "lab=1&order=buffer:128&batch=4&axis=steps&probes=True&pin=name%3Da%2B%2526%2Bb%26order%3Dfile%26steps%3D7"
    )


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "this one has no version"),
        ("hello", "no lab state"),
        ("order=file", "begins with lab=1"),
        ("lab=2&order=file", "this one has 2"),
        ("lab=1&order=sorted", "order must be one of"),
        ("lab=1&batch=7", "batch must be one of"),
        ("lab=1&colour=red", "has no colour"),
        ("lab=1&batch=4&batch=8", "given twice in a lab state: batch"),
        ("lab=1&opened=x", "whole number"),
        ("lab=1&lines=wavy", "no wavy"),
        ("lab=1&knobs=volume", "no volume"),
        ("lab=1&pin=name%3Da%26speed%3D2", "has no speed"),
        ("lab=1&pin=name%3Da%26batch%3D5", "batch must be"),
        ("lab=1&pin=abc", "names no run"),
        ("lab=1&pin=name%3Da%26steps%3D0", "one step or more"),
    ],
)
def test_what_a_lab_does_not_know_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        LabState.from_string(text)


def test_knobs_spell_a_run():
    config = Knobs(batch=16, accumulation=4, average="micro_batches").setup().config
    assert (config.micro_batch_size, config.accumulation_steps(), config.loss_average) == (
        4,
        4,
        "micro_batches",
    )
    assert Knobs(batch=4, accumulation=8).setup().config.micro_batch_size == 1, (
        "never less than a conversation"
    )
    assert Knobs(accumulation=1, average="micro_batches").setup().config.loss_average == "tokens", (
        "one part has one mean"
    )


def test_presets_are_states():
    assert {
        "as reported",
        "as fixed",
        "maintainer's launcher",
        "buffer",
        "tiny batch",
        "huge batch",
        "true instability",
    } == set(PRESETS)
    assert (
        preset("true instability").run.pulse > 1
        and preset("true instability").run.order == "shuffle"
    )
    with pytest.raises(ValueError, match="presets are as reported"):
        preset("nonsense")


def test_no_more_pins_than_lines_that_can_be_told_apart():
    with pytest.raises(ValueError, match="at most 4"):
        LabState(pins=tuple(Pin(str(i), Knobs()) for i in range(5)))


def test_a_rate_may_be_written_as_one_likes_and_one_is_not_true():
    assert LabState.from_string("lab=1&learning_rate=1e-3").run.learning_rate == 0.001
    with pytest.raises(ValueError, match="band must be one of"):
        LabState(band=1)
