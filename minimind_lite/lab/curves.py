"""A curve of the lab with its name, the words for what a run is, and labels that fit a legend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from minimind_lite.lab.i18n import TEXTS, say
from minimind_lite.lab.state import Settings
from minimind_lite.records import Run
from minimind_lite.spikes import WINDOW

MIN_STEPS_TO_JUDGE = 4 * WINDOW  # of a run that the detector can judge for the most part
Source = Literal["recorded", "rearranged", "trained"]


@dataclass(frozen=True, eq=False)
class Curve:
    """One curve: recorded, worked out, or trained here. Without a run, it is yet to be trained."""

    name: str
    settings: Settings
    run: Run | None
    source: Source
    steps: int | None = None  # steps done, where it was stopped before its end

    def same_run(self, other: Curve) -> bool:
        """Whether two were cut and trained alike, and so are one in every line."""
        mine, theirs = self.settings.spec(), other.settings.spec()
        return (self.source, mine, self.steps) == (other.source, theirs, other.steps)

    def same_losses(self, other: Curve) -> bool:
        """Whether two have the same losses of steps, however their batches were cut."""
        mine, theirs = self.settings.spec().plain(), other.settings.spec().plain()
        return (self.source, mine, self.steps) == (other.source, theirs, other.steps)

    def renamed(self, *, before: str, now: str) -> Curve:
        """In another language, if the lab gave the name; a learner's name stays."""
        if self.name not in (default_label(self, before), describe(self.settings, before)):
            return self
        full = self.name == default_label(self, before)
        return replace(
            self, name=default_label(self, now) if full else describe(self.settings, now)
        )

    def title(self, language: str) -> str:
        """Its name, and where it comes from."""
        missing = self.run is None and self.source != "trained"
        source = say(language, "source.unrecorded" if missing else f"source.{self.source}")
        return say(language, "source.title", name=self.name, source=source)


def describe_order(order: str, language: str = "en") -> str:
    """An order in words: "buffer:128" is "buffer of 128"."""
    kind, _, size = order.partition(":")
    return say(language, f"name.{kind}", k=size)


def describe(settings: Settings, language: str = "en") -> str:
    """A run in a few words: its order and batch, and whatever else is not at its default."""
    words = [
        describe_order(settings.order, language),
        say(language, "name.batch_size", v=settings.batch_size),
    ]
    for name, value in settings.changes().items():
        one_mean = name == "loss_average" and settings.accumulation_steps == 1
        if name in ("order", "batch_size", "log_every") or one_mean:
            continue
        if name == "accumulation_steps":
            value = min(settings.accumulation_steps, settings.batch_size)
        key = (
            f"name.{name}={value}" if f"name.{name}={value}" in TEXTS[language] else f"name.{name}"
        )
        words.append(say(language, key, v=value))
    return say(language, "name.comma").join(words)


def default_label(curve: Curve, language: str) -> str:
    """The name that the lab gives: the settings, whether it was trained here, how far it came."""
    words = [describe(curve.settings, language)]
    if curve.source == "trained":
        words.append(say(language, "name.trained"))
    if curve.steps is not None:
        words.append(say(language, "name.steps", n=curve.steps))
    return say(language, "name.comma").join(words)


def describe_events(n_events: int, n_steps: int, language: str) -> str:
    """How many spikes a run has, and how much of it could not be judged."""
    if n_steps <= WINDOW:
        return say(language, "status.short")
    key = f"status.events={n_events}"
    events = say(language, key if key in TEXTS[language] else "status.events", n=n_events)
    if n_steps >= MIN_STEPS_TO_JUDGE:
        return events
    return say(language, "status.judged", events=events, n=n_steps - WINDOW, window=WINDOW)


def fit_labels(
    names: Sequence[str], reference: str, separator: str, *, fits: Callable[[str], bool]
) -> list[str]:
    """Each name, as much of it as fits; a name that is too long keeps what differs.

    Names are parts joined by `separator` ("file order, batch 16"). From one that is too long the
    parts that the `reference` (the run of the moment) has as well are left out first, then whole
    parts from the end, with "…". Only a single part that is too long by itself is cut inside.
    """
    return [_fit(name, reference.split(separator), separator, fits) for name in names]


def _fit(name: str, common: Sequence[str], separator: str, fits: Callable[[str], bool]) -> str:
    if fits(name):
        return name
    parts = name.split(separator)
    differing = [part for part in parts if part not in common] or parts
    for n in range(len(differing), 0, -1):
        label = separator.join(differing[:n]) + ("…" if n < len(differing) else "")
        if fits(label):
            return label
    first = differing[0]
    longest = max((n for n in range(len(first)) if fits(f"{first[:n]}…")), default=0)
    return f"{first[:longest]}…"
