"""Everything that is chosen in the Spike Lab, as one value and as one string.

The string can be sent to somebody, put into a notebook or printed in a report; from it the same
lab comes up again. A preset is a handful of such choices under a name. What can be chosen is
listed here and nowhere else: the widgets offer it, and a string with anything else is refused.
Settings are spelled as the fields of `TrainConfig`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from minimind_lite.config import LOSS_AVERAGES, OPTIMIZERS, SCHEDULES, TrainConfig
from minimind_lite.files.visible import visible
from minimind_lite.lab.i18n import LANGUAGES
from minimind_lite.lab.plan import (
    ACCUMULATION_STEPS,
    BATCH_SIZES,
    LEARNING_RATES,
    ORDERS,
    PULSES,
    SEEDS,
    RunSpec,
)

Value = str | int | float | bool
Chosen = TypeVar("Chosen", "Settings", "LabState")

VERSION = "2"  # of the string; raised when a reader of the old form would misread the new
MAX_PINS = 4  # with the run of the settings, as many lines as can be told apart
MAX_NAME = 200  # characters of a pin's name
MAX_QUOTED = 60  # characters of a wrong value that an error repeats
MAX_DIGITS = 9  # of a number of steps
CHOICES: Mapping[str, tuple[Value, ...]] = {  # every setting, in the order of the panel
    "order": ORDERS,
    "batch_size": BATCH_SIZES,
    "accumulation_steps": ACCUMULATION_STEPS,
    "loss_average": LOSS_AVERAGES,
    "learning_rate": LEARNING_RATES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "epochs": (1, 2, 3),
    "seed": SEEDS,
    "pulse": PULSES,
    "log_every": (1, 4, 8, 16, 32, 100),
}
SETTINGS = tuple(CHOICES)
VIEWS: Mapping[str, tuple[Value, ...]] = {
    "axis": ("samples", "steps"),
    "scale": ("linear", "log"),
    "band": (False, True),
    "probes": (False, True),
}
SHOWN: Mapping[str, tuple[Value, ...]] = {**VIEWS, "language": LANGUAGES}
LINES = ("micro-batches", "accumulated", "smoothed", "log")  # what may be drawn of the run
LISTS = {"lines": LINES, "settings": SETTINGS}
STEP_COUNTS = ("opened", "steps")
KEYS = (*SETTINGS, *SHOWN, *LISTS, *STEP_COUNTS)
RENAMED = "batch_size (batch), accumulation_steps (accumulation), loss_average (average), settings"


def quoted(value: object) -> str:
    """A wrong value as an error repeats it: not longer than a line."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


def _check_choice(name: str, value: object, allowed: Sequence[Value]) -> None:
    if not any(value == choice and type(value) is type(choice) for choice in allowed):
        listed = ", ".join(map(str, allowed))
        raise ValueError(f"{name} must be one of {listed}, got {quoted(value)}.")


@dataclass(frozen=True)
class Settings:
    """One run, as the panel spells it. Raises `ValueError` for a value that is not in `CHOICES`."""

    order: str = TrainConfig.order
    batch_size: int = TrainConfig.batch_size
    accumulation_steps: int = 1  # micro-batches of a batch; as many as conversations, at most
    loss_average: str = TrainConfig.loss_average
    learning_rate: float = TrainConfig.learning_rate
    optimizer: str = TrainConfig.optimizer
    schedule: str = TrainConfig.schedule
    epochs: int = TrainConfig.epochs
    seed: int = TrainConfig.seed
    pulse: int = 1  # how many times the learning rate is raised for a moment
    log_every: int = 8  # micro-batches between two lines of a MiniMind log; touches no run

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            _check_choice(name, getattr(self, name), allowed)

    def spec(self) -> RunSpec:
        """What is to be run."""
        config = TrainConfig(
            order=self.order,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            schedule=self.schedule,
            epochs=self.epochs,
            seed=self.seed,
        )
        parts = min(self.accumulation_steps, self.batch_size)
        if parts > 1:
            size = self.batch_size // parts
            config = config.replace(micro_batch_size=size, loss_average=self.loss_average)
        return RunSpec(config, self.pulse)

    def changes(self) -> dict[str, Value]:
        """Settings that are not at their defaults; the order always, since all turns on it."""
        return {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name == "order" or getattr(self, f.name) != f.default
        }


def with_choice(thing: Chosen, name: str, value: Value) -> Chosen:
    """The same settings, or the same state, with one choice changed."""
    fields = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
    return type(thing)(**{**fields, name: value})


def pin_name(text: str) -> str:
    """A name as it is shown: what a terminal would obey is written out.

    Raises `ValueError` for one that is too long.
    """
    name = visible(text)
    if len(name) > MAX_NAME:
        raise ValueError(f"a pin's name has {MAX_NAME} characters at most, got {quoted(name)}.")
    return name


@dataclass(frozen=True)
class Pin:
    """A run that stays: its name, its settings, and after how many steps it was stopped, if so."""

    name: str
    settings: Settings
    steps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", pin_name(self.name))
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"a pinned run has one step or more, got {self.steps}.")


@dataclass(frozen=True)
class LabState:
    """The whole choice: a run, how it is shown, and what it is compared with.

    Raises `ValueError` for anything that a lab does not have.
    """

    run: Settings = field(default_factory=Settings)
    axis: str = "samples"  # x: conversations read or optimizer steps
    scale: str = "linear"  # y
    band: bool = False  # shade the range over seeds
    probes: bool = False  # held-out losses below
    lines: tuple[str, ...] = ("accumulated",)  # one at least, or the run could not be seen
    opened: int | None = None  # position of the step whose conversations are shown
    steps: int | None = None  # of the run, where it was stopped before its end
    settings: tuple[str, ...] = SETTINGS  # those that a panel shows
    language: str = "en"
    pins: tuple[Pin, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in SHOWN.items():
            _check_choice(name, getattr(self, name), allowed)
        for name, known in LISTS.items():
            values = getattr(self, name)
            if unknown := [v for v in values if v not in known]:
                raise ValueError(
                    f"{name}: there is no {quoted(unknown[0])}; choose from {', '.join(known)}."
                )
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has something twice: {quoted(', '.join(values))}.")
        if not self.lines:
            raise ValueError(f"lines needs one of {', '.join(LINES)}, or nothing is drawn.")
        if self.opened is not None and self.opened < 0:
            raise ValueError(f"opened counts steps from 0, got {self.opened}.")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}.")
        if len(self.pins) > MAX_PINS:
            raise ValueError(f"at most {MAX_PINS} runs can be pinned, got {len(self.pins)}.")

    def to_string(self) -> str:
        """As one line: what is not at its default. The version stands for the defaults."""
        default = LabState()
        pairs: list[tuple[str, object]] = [("lab", VERSION), *self.run.changes().items()]
        for name in (*SHOWN, *STEP_COUNTS):
            if getattr(self, name) != getattr(default, name):
                pairs.append((name, getattr(self, name)))
        for name in LISTS:
            if getattr(self, name) != getattr(default, name):
                pairs.append((name, ",".join(getattr(self, name))))
        for number, pin in enumerate(self.pins, start=1):
            pairs.append((f"pin{number}.name", pin.name))
            pairs += [(f"pin{number}.{k}", v) for k, v in pin.settings.changes().items()]
            pairs += [] if pin.steps is None else [(f"pin{number}.steps", pin.steps)]
        return urlencode(pairs, safe=":,", quote_via=quote)

    @classmethod
    def from_string(cls, text: str) -> LabState:
        """Inverse of `to_string`; what is left out is at its default.

        Raises `ValueError` for anything that a lab does not know.
        """
        values = _parse(text)
        pins = _pins(values)
        if unknown := [name for name in values if name not in KEYS]:
            raise ValueError(
                f"a lab state has no {quoted(unknown[0])}; it has {', '.join(KEYS)}, pin1.name …"
            )
        rest: dict[str, Any] = {n: _choice(n, values[n], SHOWN) for n in SHOWN if n in values}
        rest |= {n: _number(n, values[n]) for n in STEP_COUNTS if n in values}
        rest |= {n: tuple(filter(None, values[n].split(","))) for n in LISTS if n in values}
        return dataclasses.replace(cls(run=_settings(values), pins=pins), **rest)


def _parse(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text.strip(), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ValueError(
            f"{quoted(text)} is no lab state: it is made of name=value, joined by &, "
            f"and begins with lab={VERSION}."
        ) from None
    version = dict(pairs).get("lab", "no version")
    if version != VERSION:
        old = f" Names have changed since lab=1: {RENAMED} (knobs)." * (version == "1")
        raise ValueError(
            f"a lab state begins with lab={VERSION}, this one has {quoted(version)}.{old} "
            "Copy the whole line under the figure."
        )
    counts = Counter(name for name, _ in pairs)
    if twice := sorted(name for name, n in counts.items() if n > 1):
        raise ValueError(f"given twice in a lab state: {quoted(', '.join(twice))}.")
    return {name: value for name, value in pairs if name != "lab"}


def _pins(values: dict[str, str]) -> tuple[Pin, ...]:
    """The pins, taken out of `values`; they are numbered from 1."""
    by_number: dict[str, dict[str, str]] = {}
    for name in [n for n in values if n.startswith("pin")]:
        number, _, inner = name.removeprefix("pin").partition(".")
        if inner not in (*SETTINGS, "name", "steps"):
            raise ValueError(
                f"{quoted(name)} is nothing that a pinned run has; it has "
                f"pin1.name, pin1.steps and pin1. with any of {', '.join(SETTINGS)}."
            )
        by_number.setdefault(number, {})[inner] = values.pop(name)
    if set(by_number) != {str(i + 1) for i in range(len(by_number))}:
        raise ValueError(f"pins are numbered from 1, got {quoted(', '.join(by_number))}.")
    return tuple(
        Pin(pin.get("name", ""), _settings(pin), _number("steps", pin.get("steps")))
        for _, pin in sorted(by_number.items(), key=lambda item: int(item[0]))
    )


def _settings(values: Mapping[str, str]) -> Settings:
    chosen: Any = {n: _choice(n, values[n], CHOICES) for n in SETTINGS if n in values}
    return Settings(**chosen)


def _choice(name: str, text: str, choices: Mapping[str, tuple[Value, ...]]) -> Value:
    """The allowed value that is written as `text`."""
    by_text = {str(value): value for value in choices[name]}
    if text not in by_text:
        raise ValueError(f"{name} must be one of {', '.join(by_text)}, got {quoted(text)}.")
    return by_text[text]


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise ValueError(f"{name} is a whole number of steps, got {quoted(text)}.")
    return int(text)


PRESETS: Mapping[str, LabState] = {
    # Issue #173: plain `python train_full_sft.py`, no shuffling, and a log that shows one
    # micro-batch in many. Three epochs.
    "as reported": LabState(Settings(order="file", epochs=3), lines=("accumulated", "log")),
    # Since 2025-10-23: another shuffle in every epoch.
    "as fixed": LabState(Settings(order="shuffle", epochs=3), lines=("accumulated", "log")),
    # torchrun: a DistributedSampler whose set_epoch is never called.
    "maintainer's launcher": LabState(
        Settings(order="shuffle_once", epochs=3), lines=("accumulated", "log")
    ),
    "buffer": LabState(Settings(order="buffer:128"), band=True),
    "tiny batch": LabState(Settings(batch_size=4), lines=("accumulated", "smoothed")),
    "huge batch": LabState(Settings(batch_size=256)),
    "true instability": LabState(Settings(order="shuffle", pulse=40), probes=True),
}


def preset(name: str) -> LabState:
    """A named choice. Raises `ValueError` for an unknown name."""
    if name not in PRESETS:
        raise ValueError(f"no preset {quoted(name)}; presets are {', '.join(PRESETS)}.")
    return PRESETS[name]
