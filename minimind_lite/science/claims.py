"""The claims, what the records say of each, and the verdict that its rule gives.

`claims.toml` declares them: a sentence, what was tested, what we bet, and the effects that bear on
it. `rules` has what decides. The intervals that decide on a claim are right together in 95 of 100
cases (`intervals.level_of_each`); those that stand beside are so each for itself.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources

from minimind_lite.science import claim_values, evidence
from minimind_lite.science.evidence import Evidence, Value, Which
from minimind_lite.science.intervals import Measured, level_of_each
from minimind_lite.science.rules import NOT_HERE, PART, RULES, UNCLEAR, Rule
from minimind_lite.science.store import MissingTrials

CORRECTION = (
    "The intervals that decide on a claim hold together at 95 % (Bonferroni: each of m at "
    "1 - 0.05/m); those beside it at 95 % each. Claims are not corrected for each other: of 22, "
    "one may be decided by chance."
)


@dataclass(frozen=True)
class Effect:
    """A number for each layout, of recorded trials."""

    text: str  # what is measured, with its unit
    value: Value
    trials: tuple[Which, ...]
    bases: bool = False  # of three base models
    count: bool = False  # shown as values
    of: int | None = None  # how many a count could be
    beside: bool = False  # shown, decides nothing

    def measure(self, records: Evidence, *, level: float) -> Measured:
        """From the records; `level` is that of its interval. Raises `MissingTrials`."""
        if self.count:
            return records.counts(self.value, *self.trials, of=self.of)
        over = records.over_bases if self.bases else records.over_seeds
        return over(self.value, *self.trials, level=level)


@dataclass(frozen=True)
class Claim:
    """A sentence, what was tested of it, what we bet, the effects that bear on it, and the rule."""

    id: str
    text: str
    tested: str  # in the claim's own words
    prediction: str  # our bet, in a sentence
    bet: str  # the verdict that it bets on
    generalizes: str  # over what the verdict speaks
    declared: str  # when the rule was written, "before the runs" or later
    lesson: str
    effects: Mapping[str, Effect]
    rule: Rule
    part: str = ""  # what is supported where the verdict is "supported in part"


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim."""

    claim: Claim
    outcome: str
    effects: Mapping[str, Measured]  # by their texts, the deciding ones first

    @property
    def seeds(self) -> int:
        """Fewest layouts behind any of its effects."""
        return min(effect.n for effect in self.effects.values())

    @property
    def bet_failed(self) -> bool:
        """The records came out otherwise than we bet."""
        return self.outcome not in (self.claim.bet, UNCLEAR)

    def measured(self) -> str:
        """The first effect, which decides, in words and figures."""
        text, effect = next(iter(self.effects.items()))
        return f"{text}: {effect}"

    def in_words(self) -> str:
        """The outcome, and which part where it is in part."""
        return f"{self.outcome}: {self.claim.part}" if self.outcome == PART else self.outcome

    def of_bet(self) -> str:
        """What came of the bet, in two words."""
        if self.outcome == UNCLEAR:
            return "open"
        return "failed" if self.bet_failed else "came true"

    def design(self) -> str:
        """How many layouts, and base models, are behind the first effect."""
        if self.outcome == NOT_HERE:
            return "no test"
        first = next(iter(self.effects.values()))
        layouts = f"{first.n} layout{'s' * (first.n != 1)}"
        return layouts if first.bases == 1 else f"{layouts} × {first.bases} bases"


def _load_claims() -> tuple[Claim, ...]:
    text = resources.files("minimind_lite.science").joinpath("claims.toml").read_text("utf-8")
    claims = []
    for id, table in tomllib.loads(text).items():
        effects = {name: _effect(**entry) for name, entry in table.pop("effects").items()}
        claims.append(Claim(id=id, effects=effects, rule=RULES[id], **table))
    return tuple(claims)


def _effect(
    text: str, value: str, trials: list[list[str]], minus: list[str] | None = None, **kind: bool
) -> Effect:
    which = [(experiment, variant) for experiment, variant in trials]
    number: Value = getattr(evidence, value, None) or getattr(claim_values, value)
    if minus is None:
        return Effect(text, number, tuple(which), **kind)
    experiment, variant = minus
    return Effect(text, evidence.change(number), (*which, (experiment, variant)), **kind)


CLAIMS = _load_claims()


def judge(claim: Claim, records: Evidence) -> Verdict:
    """The verdict on one claim. Raises `MissingTrials`."""
    deciding = {name: effect for name, effect in claim.effects.items() if not effect.beside}
    level = level_of_each(max(1, sum(not effect.count for effect in deciding.values())))
    measured = {n: effect.measure(records, level=level) for n, effect in deciding.items()}
    shown = {claim.effects[name].text: m for name, m in measured.items()}
    for effect in claim.effects.values():
        if effect.beside:
            shown[effect.text] = effect.measure(records, level=0.95)
    return Verdict(claim, claim.rule(measured), shown)


def scoreboard(
    records: Evidence, *, only: Collection[str] | None = None, partial: bool = False
) -> list[Verdict]:
    """A verdict on each claim, or on those named in `only`.

    Where trials are missing, raises `MissingTrials`, or leaves the claim out if `partial`.
    """
    verdicts = []
    for claim in CLAIMS:
        if only is not None and claim.id not in only:
            continue
        try:
            verdicts.append(judge(claim, records))
        except MissingTrials:
            if not partial:
                raise
    return verdicts


def markdown(verdicts: list[Verdict]) -> str:
    """The scoreboard as a Markdown table: what README shows."""
    lines = [
        "| claim | says | our bet | what was tested | what decides | verdict | generalizes over |",
        "|---|---|---|---|---|---|---|",
    ]
    for v in verdicts:
        bet = f"{v.claim.prediction} ({v.of_bet()}; rule {v.claim.declared})"
        verdict = f"**{v.outcome}**" + v.in_words().removeprefix(v.outcome)
        over = f"{v.claim.generalizes} ({v.design()})"
        cells = (v.claim.id, v.claim.text, bet, v.claim.tested, v.measured(), verdict, over)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def text(verdicts: list[Verdict]) -> str:
    """The scoreboard for a terminal, with every effect."""
    blocks = [_in_lines(v) for v in verdicts]
    return "\n".join(
        [*(line for block in blocks for line in block), textwrap.fill(CORRECTION, 100)]
    )


def _in_lines(v: Verdict) -> list[str]:
    deciding = sum(not effect.beside for effect in v.claim.effects.values())
    marks = ["decides"] * deciding + ["beside "] * (len(v.effects) - deciding)
    lines = [
        f"{v.outcome.upper()}{v.in_words().removeprefix(v.outcome)}",
        f"bet: {v.claim.prediction} → {v.of_bet()} (rule written {v.claim.declared})",
        f"tested: {v.claim.tested}",
        *(f"{mark}  {text}: {e}" for mark, (text, e) in zip(marks, v.effects.items())),
        f"speaks of: {v.claim.generalizes} ({v.design()})",
    ]
    in_width = textwrap.TextWrapper(100, initial_indent=" " * 4, subsequent_indent=" " * 8)
    return [f"{v.claim.id}  {v.claim.text}", *map(in_width.fill, lines), ""]
