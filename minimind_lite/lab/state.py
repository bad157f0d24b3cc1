"""Everything that is chosen in the Spike Lab, as one value and as one string.

The string can be sent to somebody, put into a notebook or printed in a report; from it the same
lab comes up again. A preset is a handful of such choices under a name. What can be chosen is
listed here and nowhere else: the widgets offer it, and a string with anything else is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode

from minimind_lite.config import OPTIMIZERS, SCHEDULES, TrainConfig
from minimind_lite.lab.recordings import ACCUMULATION, BATCHES, ORDERS, PULSES, RATES, SEEDS, Setup
from minimind_lite.spikes import WINDOW

VERSION = "1"  # of the string; raised when a default changes, or a reader of the old form would misread the new
MANY = 4 * WINDOW  # steps of a run that the detector can judge for the most part
MOST_PINS = 4  # with the run of the knobs, as many lines as can be told apart
CHOICES: Mapping[
    str, tuple[object, ...]
] = {  # every knob, in the order in which a panel shows them
    "order": ORDERS,
    "batch": BATCHES,
    "accumulation": ACCUMULATION,
    "average": ("tokens", "micro_batches"),
    "learning_rate": RATES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "epochs": (1, 2, 3),
    "seed": SEEDS,
    "pulse": PULSES,
    "log_every": (1, 4, 8, 16, 32, 100),
}
KNOBS = tuple(CHOICES)
VIEWS: Mapping[str, tuple[object, ...]] = {
    "axis": ("samples", "steps"),
    "scale": ("linear", "log"),
    "band": (False, True),
    "probes": (False, True),
}
LINES = ("micro-batches", "accumulated", "smoothed", "log")  # what may be drawn of the run
LANGUAGES = ("en", "zh")


def _check(thing: object, choices: Mapping[str, tuple[object, ...]]) -> None:
    for name, allowed in choices.items():
        value = getattr(thing, name)
        if not any(
            value == a and isinstance(value, bool) == isinstance(a, bool) for a in allowed
        ):  # 1 is not True here
            raise ValueError(
                f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}."
            )


@dataclass(frozen=True)
class Knobs:
    """One run, as the learner spells it. Raises `ValueError` for a value that no knob has."""

    order: str = "file"  # order of the conversations
    batch: int = 16  # conversations per optimiser step
    accumulation: int = (
        1  # micro-batches that a batch is cut into (as many as it has conversations, at most)
    )
    average: str = "tokens"  # over the tokens of the step, or MiniMind's mean over micro-batches
    learning_rate: float = 5e-4
    optimizer: str = "adamw"  # "none" is a frozen model
    schedule: str = "minimind_2025"
    epochs: int = 1
    seed: int = 0
    pulse: int = 1  # how many times the learning rate is raised for a moment
    log_every: int = 8  # micro-batches between two lines of a MiniMind log; touches no run

    def __post_init__(self) -> None:
        _check(self, CHOICES)

    def setup(self) -> Setup:
        """What is to be run."""
        parts = min(self.accumulation, self.batch)
        cut = (
            {}
            if parts == 1
            else {"micro_batch_size": self.batch // parts, "loss_average": self.average}
        )
        config = TrainConfig(
            order=self.order,
            batch_size=self.batch,
            epochs=self.epochs,
            optimizer=self.optimizer,
            seed=self.seed,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            **cut,
        )
        return Setup(config, self.pulse)

    def changes(self) -> dict[str, object]:
        """Knobs that are not at their defaults; the order always, since everything turns on it."""
        return {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name == "order" or getattr(self, f.name) != f.default
        }


@dataclass(frozen=True)
class Pin:
    """A run that stays: its name, its knobs, and, if it was stopped before its end, after how many steps."""

    name: str
    knobs: Knobs
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"a pinned run has one step or more, got {self.steps}.")


@dataclass(frozen=True)
class LabState:
    """The whole choice: a run, how it is shown, what it is compared with, and which knobs there are. Raises `ValueError`."""

    run: Knobs = field(default_factory=Knobs)
    axis: str = "samples"  # x: conversations seen or optimiser steps
    scale: str = "linear"  # y
    band: bool = False  # shade the range over seeds
    probes: bool = False  # held-out losses below
    lines: tuple[str, ...] = ("accumulated",)
    opened: int | None = None  # step whose conversations are shown
    knobs: tuple[str, ...] = KNOBS  # those that a panel shows
    language: str = "en"
    pins: tuple[Pin, ...] = ()

    def __post_init__(self) -> None:
        _check(self, VIEWS | {"language": LANGUAGES})
        for name, values, allowed in (("lines", self.lines, LINES), ("knobs", self.knobs, KNOBS)):
            if unknown := [v for v in values if v not in allowed]:
                raise ValueError(
                    f"{name}: there is no {', '.join(map(str, unknown))}; choose from {', '.join(allowed)}."
                )
        if self.opened is not None and self.opened < 0:
            raise ValueError(f"opened counts steps from 0, got {self.opened}.")
        if len(self.pins) > MOST_PINS:
            raise ValueError(f"at most {MOST_PINS} runs can be pinned, got {len(self.pins)}.")

    def to_string(self) -> str:
        """As one line: what is not at its default. The version stands for the defaults."""
        plain = LabState()
        pairs = [("lab", VERSION), *self.run.changes().items()]
        pairs += [
            (n, getattr(self, n))
            for n in (*VIEWS, "language")
            if getattr(self, n) != getattr(plain, n)
        ]
        pairs += [
            (n, ",".join(getattr(self, n)))
            for n in ("lines", "knobs")
            if getattr(self, n) != getattr(plain, n)
        ]
        pairs += [] if self.opened is None else [("opened", self.opened)]
        pairs += [
            (
                "pin",
                urlencode(
                    {
                        "name": p.name,
                        **p.knobs.changes(),
                        **({} if p.steps is None else {"steps": p.steps}),
                    }
                ),
            )
            for p in self.pins
        ]
        return urlencode(pairs, safe=":,", quote_via=quote)

    @classmethod
    def from_string(cls, text: str) -> LabState:
        """Inverse of `to_string`; what is left out is at its default. Raises `ValueError` for anything that a lab does not know."""
        try:
            pairs = parse_qsl(text.strip(), keep_blank_values=True, strict_parsing=True)
        except ValueError:
            raise ValueError(
                f"{text[:60]!r} is no lab state: it is made of name=value, joined by &, and begins with lab={VERSION}."
            ) from None
        pins = tuple(_pin(value) for name, value in pairs if name == "pin")
        values = _once([p for p in pairs if p[0] != "pin"])
        if (version := values.pop("lab", None)) != VERSION:
            raise ValueError(
                f"a lab state begins with lab={VERSION}, this one has {version or 'no version'}; copy the whole line under the figure."
            )
        run, rest = {k: values.pop(k) for k in KNOBS if k in values}, {}
        for name in ("lines", "knobs"):
            if name in values:
                rest[name] = tuple(v for v in values.pop(name).split(",") if v)
        if "opened" in values:
            rest["opened"] = _number("opened", values.pop("opened"))
        rest |= {
            k: _chosen(k, values.pop(k), VIEWS | {"language": LANGUAGES})
            for k in list(values)
            if k in VIEWS or k == "language"
        }
        if values:
            known = ", ".join((*KNOBS, *VIEWS, "language", "lines", "opened", "knobs", "pin"))
            raise ValueError(f"a lab state has no {', '.join(values)}; it has {known}.")
        return cls(run=_knobs(run), pins=pins, **rest)


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"given twice in a lab state: {', '.join(sorted({n for n in names if names.count(n) > 1}))}."
        )
    return values


def _chosen(name: str, text: str, choices: Mapping[str, tuple[object, ...]]) -> object:
    """The allowed value that is written as `text`."""
    for value in choices[name]:
        if str(value) == text or (
            isinstance(value, float) and _as_float(text) == value
        ):  # 5e-4 is 0.0005
            return value
    raise ValueError(f"{name} must be one of {', '.join(map(str, choices[name]))}, got {text!r}.")


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{name} is a whole number of steps, got {text!r}.")
    return int(text)


def _knobs(values: Mapping[str, str]) -> Knobs:
    return Knobs(**{name: _chosen(name, text, CHOICES) for name, text in values.items()})


def _pin(text: str) -> Pin:
    try:
        values = _once(parse_qsl(text, keep_blank_values=True, strict_parsing=True))
    except ValueError:
        raise ValueError(
            f"pin={text[:60]!r} names no run: it is made of name=value, joined by &, and quoted."
        ) from None
    name, steps = values.pop("name", ""), values.pop("steps", None)
    if unknown := set(values) - set(KNOBS):
        raise ValueError(
            f"a pinned run has no {', '.join(sorted(unknown))}; it has name, steps, {', '.join(KNOBS)}."
        )
    return Pin(name, _knobs(values), None if steps is None else _number("steps", steps))


PRESETS: Mapping[str, LabState] = {
    # Issue #173: plain `python train_full_sft.py`, no shuffling, three epochs, a log that shows one micro-batch in many.
    "as reported": LabState(Knobs(order="file", epochs=3), lines=("accumulated", "log")),
    # Since 2025-10-23: shuffled, and anew in every epoch.
    "as fixed": LabState(Knobs(order="shuffle", epochs=3), lines=("accumulated", "log")),
    # torchrun: a DistributedSampler whose set_epoch is never called.
    "maintainer's launcher": LabState(
        Knobs(order="shuffle_once", epochs=3), lines=("accumulated", "log")
    ),
    "buffer": LabState(Knobs(order="buffer:128"), band=True),
    "tiny batch": LabState(Knobs(batch=4), lines=("accumulated", "smoothed")),
    "huge batch": LabState(Knobs(batch=256)),
    "true instability": LabState(Knobs(order="shuffle", pulse=40), probes=True),
}


def preset(name: str) -> LabState:
    """A named choice. Raises `ValueError` for an unknown name."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; presets are {', '.join(PRESETS)}.")
    return PRESETS[name]
