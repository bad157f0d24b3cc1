"""The sixteen claims, what the records say of each, and the verdict that its rule gives.

`claims.toml` declares the claims: a sentence of the report, what we bet, and the effects that bear
on it. `rules` has what decides.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources

from minimind_lite.science import evidence as values
from minimind_lite.science.evidence import Evidence, Value, Which
from minimind_lite.science.intervals import Interval
from minimind_lite.science.rules import RULES, Rule
from minimind_lite.science.store import MissingTrials


@dataclass(frozen=True)
class Effect:
    """A number for each seed, of recorded trials."""

    text: str  # what is measured, with its unit
    value: Value
    trials: tuple[Which, ...]
    shown: bool = True  # beside the verdict


@dataclass(frozen=True)
class Claim:
    """A sentence of the report, what we bet, the effects that bear on it, and the rule."""

    id: str
    text: str
    prediction: str
    lesson: str
    effects: Mapping[str, Effect]
    rule: Rule


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim."""

    claim: Claim
    outcome: str
    effects: Mapping[str, Interval]  # those that are shown, by their texts

    @property
    def seeds(self) -> int:
        """Fewest seeds behind any of its intervals."""
        return min(interval.n for interval in self.effects.values())

    def measured(self) -> str:
        """The first effect, in words and figures."""
        text, interval = next(iter(self.effects.items()))
        return f"{text}: {interval}"


def _load_claims() -> tuple[Claim, ...]:
    text = resources.files("minimind_lite.science").joinpath("claims.toml").read_text("utf-8")
    claims = []
    for id, table in tomllib.loads(text).items():
        effects = {name: _effect(**entry) for name, entry in table.pop("effects").items()}
        claims.append(Claim(id=id, effects=effects, rule=RULES[id], **table))
    return tuple(claims)


def _effect(
    text: str,
    value: str,
    trials: list[list[str]],
    minus: list[str] | None = None,
    shown: bool = True,
) -> Effect:
    which = [(experiment, variant) for experiment, variant in trials]
    number: Value = getattr(values, value)
    if minus is None:
        return Effect(text, number, tuple(which), shown)
    experiment, variant = minus
    return Effect(text, values.change(number), (*which, (experiment, variant)), shown)


CLAIMS = _load_claims()


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on one claim. Raises `MissingTrials`."""
    effects = claim.effects
    measured = {n: evidence.over_seeds(e.value, *e.trials) for n, e in effects.items()}
    shown = {effects[name].text: i for name, i in measured.items() if effects[name].shown}
    return Verdict(claim, claim.rule(measured), shown)


def scoreboard(
    evidence: Evidence, *, only: Collection[str] | None = None, partial: bool = False
) -> list[Verdict]:
    """A verdict on each claim, or on those named in `only`.

    Where trials are missing, raises `MissingTrials`, or leaves the claim out if `partial`.
    """
    verdicts = []
    for claim in CLAIMS:
        if only is not None and claim.id not in only:
            continue
        try:
            verdicts.append(judge(claim, evidence))
        except MissingTrials:
            if not partial:
                raise
    return verdicts


def markdown(verdicts: list[Verdict]) -> str:
    """The scoreboard as a Markdown table: what README shows."""
    lines = [
        "| claim | says | our bet | measured (95 % interval) | verdict | lesson |",
        "|---|---|---|---|---|---|",
    ]
    for v in verdicts:
        cells = (v.claim.id, v.claim.text, v.claim.prediction, v.measured(), f"**{v.outcome}**")
        lines.append(f"| {' | '.join(cells)} | {v.claim.lesson} |")
    return "\n".join(lines)


def text(verdicts: list[Verdict]) -> str:
    """The scoreboard for a terminal, with every effect."""
    lines = []
    for v in verdicts:
        seeds = f"{v.seeds} seed{'s' * (v.seeds != 1)}"
        lines.append(
            f"{v.claim.id}  {v.claim.text}  →  {v.outcome.upper()}  "
            f"({seeds}; our bet: {v.claim.prediction})"
        )
        lines += [f"      {name}: {interval}" for name, interval in v.effects.items()]
    return "\n".join(lines)
