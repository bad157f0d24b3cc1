"""The whole choice as one string: there and back, and nothing unknown gets in."""

import dataclasses
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimind_lite.config import TrainConfig
from minimind_lite.files.visible import visible
from minimind_lite.lab.curves import Curve, default_label
from minimind_lite.lab.i18n import LANGUAGES
from minimind_lite.lab.state import (
    CHOICES,
    KEYS,
    LINES,
    MAX_NAME,
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


# Hostile strings

NAMES = [
    "lab",
    *KEYS,
    "pin",
    "pin1",
    "pin1.name",
    "pin1.order",
    "pin1.steps",
    "pin2.name",
    "pin01.name",
]
TEXTS = [
    "",
    "1",
    "2",
    "-1",
    "x" * 5_000,
    "9" * 5_000,
    "order,order",
    "accumulated",
    "%00",
    "%ED%A0%80",
]
TEXTS += [
    "\ud800",
    "\x1b[2J",
    "\u202e",
    "<script>",
    "True",
    "zh",
    "shuffle",
    "buffer:128",
    "&",
    "=",
    "²",
]


def check_string(text):
    """A state that comes back from its own string, or an error of one short line."""
    try:
        state = LabState.from_string(text)
    except ValueError as error:
        message = str(error)
        assert len(message) < 600 and len(message.splitlines()) == 1 and visible(message) == message
        return None
    again = state.to_string()
    assert LabState.from_string(again) == state
    assert again.isascii() and len(again) < 8_000
    assert all(visible(pin.name) == pin.name for pin in state.pins)
    return state


@given(
    st.text(st.characters(), max_size=60)
    | st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TEXTS)), max_size=6).map(
        lambda pairs: "&".join(["lab=2", *(f"{name}={text}" for name, text in pairs)])
    )
)
def test_any_string_is_a_state_or_an_error_of_one_line(text):
    check_string(text)


def mutated(text, rng):
    """A few characters changed, parts left out, said twice or swapped with others."""
    for _ in range(rng.randint(1, 3)):
        parts = text.split("&")
        place, at = rng.randrange(len(parts)), rng.randrange(len(text) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            text = (
                text[:at]
                + rng.choice(["", "=", "&", "%", "%0a", "\n", ",", "é", "\ud800", "1"])
                + text[at + 1 :]
            )
        elif kind == 1:
            text = text[:at]
        elif kind == 2:
            text = "&".join([*parts, parts[place]])
        elif kind == 3:
            text = "&".join(part for part in parts if part is not parts[place])
        elif kind == 4:
            text = "&".join([*parts, f"{rng.choice(NAMES)}={rng.choice(TEXTS)}"])
        else:
            text = text.replace(
                rng.choice(["2", "order", "pin", "."]), rng.choice(["3", "lab", "x", ""])
            )
    return text


def test_strings_that_were_right_once_are_states_or_errors_of_one_line():
    rng, whole = random.Random(0), 0
    pins = tuple(Pin(name, Settings(seed=i)) for i, name in enumerate(["a & b", "<img>", "名字"]))
    sound = [state.to_string() for state in PRESETS.values()]
    sound.append(LabState(Settings(order="buffer:128"), pins=pins, steps=9, opened=3).to_string())
    for _ in range(3_000):
        whole += check_string(mutated(rng.choice(sound), rng)) is not None
    assert 100 < whole < 2_900


@pytest.mark.parametrize("version", ["1", "3", "02", "2.0", "9" * 5_000])
def test_another_version_is_refused_by_its_number(version):
    with pytest.raises(ValueError, match="begins with lab=2, this one has '"):
        LabState.from_string(f"lab={version}&order=file")


def test_a_pin_s_name_is_short_and_can_be_printed():
    assert Pin("\x1b[2J\u202e\ud800", Settings()).name == r"\x1b[2J\u202e\ud800"
    with pytest.raises(ValueError, match="a pin's name has 200 characters at most, got 'xxx"):
        Pin("x" * 201, Settings())


def test_names_that_the_lab_gives_are_short_enough():
    """The longest: every setting at another value than its default."""
    last = Settings(**{name: values[-1] for name, values in CHOICES.items()})
    curve = Curve("", last, None, "trained", steps=999_999_999)
    assert all(len(default_label(curve, language)) <= MAX_NAME for language in LANGUAGES)


def test_a_string_of_a_megabyte_is_refused_at_once():
    start = time.perf_counter()
    assert check_string("lab=2&" + "&".join(f"a{i}=1" for i in range(100_000))) is None
    assert time.perf_counter() - start < 5
