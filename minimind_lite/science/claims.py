"""The sixteen claims, each with the rule that decides on it: written before the results, applied to the records.

A rule asks `evidence` for intervals over seeds and compares them with fixed margins. It says
holds, holds in part, wrong, or not testable here; "undecided" where the intervals do not settle
it, as with a single seed. Nothing in a verdict is typed in by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minimind_lite.science import evidence as ev
from minimind_lite.science.evidence import Evidence
from minimind_lite.science.intervals import Interval
from minimind_lite.science.trials import MissingTrials, Trial
from minimind_lite.spikes import MIN_HEIGHT

SPIKE = MIN_HEIGHT  # nats: what the detector takes for a spike
SAME = 0.3  # nats: two heights are the same if their difference is shown to be smaller
BATCHES = 32  # conversations: two recoveries are the same if they differ by less than two batches
HARM = 0.1  # nats of held-out loss: less is no harm, more is
HOLDS, PART, WRONG, NOT_HERE, OPEN = (
    "holds",
    "holds in part",
    "wrong",
    "not testable here",
    "undecided",
)
FILE, FROZEN, SHUFFLED, KEYS = (
    ("E1", "file"),
    ("E1", "frozen"),
    ("E1", "shuffled"),
    ("E6", "sort keys"),
)
ROWS, PULSE, CALM = (
    ("E2", "odd rows, no pulse"),
    ("E2", "base rows, pulse"),
    ("E2", "base rows, no pulse"),
)
OPTIMISERS = ("sgd", "momentum", "sign", "beta2 0.9", "beta2 0.95", "beta2 0.99", "no clipping")

Found = tuple[str, dict[str, Interval]]


def c1(e: Evidence) -> Found:
    """Concatenated, unlike segments make the loss jump."""
    found = {
        "tallest step, file order − shuffled (nats)": e.each(
            lambda a, b: ev.largest(a) - ev.largest(b), FILE, SHUFFLED
        ),
        "segments flagged in file order (of 5)": e.each(ev.flagged, FILE),
        "loss explained by domain − by answer length": e.each(
            lambda t: t.values["explained"]["domain"] - t.values["explained"]["answer length"], KEYS
        ),
    }
    jump, flagged, domain = found.values()
    return _decide(
        holds=jump.above(SPIKE) and flagged.above(3) and domain.above(0), wrong=jump.below(SPIKE)
    ), found


def c2(e: Evidence) -> Found:
    """A large batch amplifies it: in nats, or only against the noise?"""
    at = lambda t, b, i: ev.seen(t, b)[i]
    found = {
        "height at batch 256 − at 16, frozen (nats)": e.each(
            lambda t: at(t, 256, 0) - at(t, 16, 0), FROZEN
        ),
        "z at batch 64 − at 4, frozen": e.each(lambda t: at(t, 64, 2) - at(t, 4, 2), FROZEN),
        "height at batch 64 − at 4, trained (nats)": e.each(
            lambda a, b: ev.height(a) - ev.height(b), ("E4", "B=64 fixed"), ("E4", "B=4 fixed")
        ),
    }
    nats, z, _ = found.values()
    return _decide(
        holds=nats.above(HARM),
        part=nats.below(HARM) and z.above(0),
        wrong=nats.below(HARM) and z.below(0),
    ), found


def c3(e: Evidence) -> Found:
    """Quick recovery shows a robust model: or was nothing hurt?"""
    found = {
        "height, frozen (nats)": e.each(ev.height, FROZEN),
        "height, frozen − trained (nats)": e.each(
            lambda a, b: ev.height(a) - ev.height(b), FROZEN, FILE
        ),
        "recovery after the end, frozen (conversations)": e.each(ev.recovery, FROZEN),
        "harm to Chinese across a segment (nats)": e.each(ev.harm, FILE),
        "control: harm of a pulse (nats)": e.each(ev.probe_rise, PULSE),
    }
    frozen, _, after_end, harm, control = found.values()
    if not control.above(HARM):
        return _decide(), found
    return _decide(
        wrong=frozen.above(SPIKE) and after_end.below(BATCHES),
        holds=frozen.below(SPIKE) and harm.above(HARM),
    ), found


def c4(e: Evidence) -> Found:
    """Cross-entropy follows a change in the distribution of tokens: or what was never seen?"""
    from scipy.stats import spearmanr

    def rank(keys, frozen) -> float:
        names = list(keys.values["divergence"])
        return float(
            spearmanr(
                [keys.values["divergence"][n] for n in names],
                [ev.reading(frozen, n).height for n in names],
            ).statistic
        )

    foreign = lambda t: float(np.mean([ev.reading(t, n).height for n in ("code", "en", "math")]))
    found = {
        "rank correlation of divergence and height": e.each(rank, KEYS, FROZEN),
        "height of code, English, maths, 20 seen − none seen (nats)": e.each(
            lambda a, b: foreign(a) - foreign(b), ("E11", "exposure 20"), ("E11", "exposure 0")
        ),
    }
    correlation, exposure = found.values()
    return _decide(
        holds=correlation.above(0.5) and exposure.within(-SAME, SAME),
        part=exposure.below(-SAME),
        wrong=correlation.below(0),
    ), found


def c5(e: Evidence) -> Found:
    """Adam explains the quick recovery: is it slower without?"""
    slower = lambda a, b: ev.recovery(a) - ev.recovery(b)
    found = {
        f"recovery, {name} − Adam (conversations)": e.each(slower, ("E3", name), FILE)
        for name in OPTIMISERS
    }
    found = {"recovery, frozen − Adam (conversations)": e.each(slower, FROZEN, FILE)} | found
    return _decide(
        holds=all(i.above(BATCHES) for i in found.values()),
        wrong=all(i.within(-BATCHES, BATCHES) for i in found.values()),
        part=any(i.above(BATCHES) for i in found.values())
        and any(i.within(-BATCHES, BATCHES) for i in found.values()),
    ), found


def c6(e: Evidence) -> Found:
    """Good capacity is behind it: does a smaller model fare worse?"""
    pico, lite = ("E12", "pico"), ("E12", "lite")
    found = {
        "recovery, pico − lite (conversations)": e.each(
            lambda a, b: ev.recovery(a) - ev.recovery(b), pico, lite
        ),
        "height, pico − lite (nats)": e.each(lambda a, b: ev.height(a) - ev.height(b), pico, lite),
    }
    later, _ = found.values()
    return _decide(holds=later.above(BATCHES), wrong=later.below(BATCHES)), found


def c7(e: Evidence) -> Found:
    """Data quality matters as much as architecture: needs another architecture, and only sizes differ here."""
    found = {
        "order: tallest step, file − shuffled (nats)": e.each(
            lambda a, b: ev.largest(a) - ev.largest(b), FILE, SHUFFLED
        ),
        "exposure: height, 20 seen − none (nats)": e.each(
            lambda a, b: ev.height(a) - ev.height(b), ("E11", "exposure 20"), ("E11", "exposure 0")
        ),
        "size: height, lite − pico (nats)": e.each(
            lambda a, b: ev.height(a) - ev.height(b), ("E12", "lite"), ("E12", "pico")
        ),
    }
    size = ("dim", "n_layers", "n_heads", "n_kv_heads", "multiple_of")
    models = [
        e.trial(*w, e.common(w)[0]).run.info["model_config"]
        for w in (("E12", "pico"), ("E12", "lite"), FILE)
    ]
    architectures = {tuple(v for k, v in m.items() if k not in size) for m in models}
    return (NOT_HERE if len(architectures) == 1 else OPEN), found


def r1(e: Evidence) -> Found:
    """Shuffle thoroughly."""
    found = {
        "tallest step, shuffled − file order (nats)": e.each(
            lambda a, b: ev.largest(a) - ev.largest(b), SHUFFLED, FILE
        ),
        "events, shuffled": e.each(ev.events, SHUFFLED),
        "events, buffer of 64": e.each(ev.events, ("E5", "buffer:64")),
        "events, buffer of 1024": e.each(ev.events, ("E5", "buffer:1024")),
        "held-out loss, shuffled − file order (nats)": e.each(
            lambda a, b: ev.after(a) - ev.after(b), SHUFFLED, FILE
        ),
    }
    lower, left, _, _, cost = found.values()
    return _decide(
        holds=lower.below(-SPIKE) and left.below(0.5) and cost.below(HARM),
        part=lower.below(-SPIKE) and cost.above(HARM),
        wrong=lower.above(-SPIKE),
    ), found


def r2(e: Evidence) -> Found:
    """Clean and classify."""
    odd = ("code", "en", "math", "zh_classical")
    found = {
        "odd probes, odd rows removed − kept (nats)": e.each(
            lambda a, b: ev.after(a, *odd) - ev.after(b, *odd), ("E8", "clean"), SHUFFLED
        ),
        "Chinese probe, odd rows removed − kept (nats)": e.each(
            lambda a, b: ev.after(a, "zh") - ev.after(b, "zh"), ("E8", "clean"), SHUFFLED
        ),
        "Chinese probe, broken rows kept − removed (nats)": e.each(
            lambda a, b: ev.after(a, "zh") - ev.after(b, "zh"),
            ("E8", "garbage, shuffled"),
            ("E8", "garbage removed"),
        ),
        "loss explained by domain": e.each(lambda t: t.values["explained"]["domain"], KEYS),
    }
    cost, gain, broken, domain = found.values()
    return _decide(
        holds=cost.below(HARM) and broken.above(0),
        part=cost.above(HARM) and domain.above(0.3) and not gain.below(-HARM),
        wrong=cost.above(HARM) and domain.below(0.3),
    ), found


def r3(e: Evidence) -> Found:
    """A smaller batch smooths the curve."""
    found = {
        "noise at batch 4 − at 64, frozen (nats)": e.each(
            lambda t: ev.seen(t, 4)[1] - ev.seen(t, 64)[1], FROZEN
        ),
        "noise at batch 4 − at 64, trained (nats)": e.each(
            lambda a, b: ev.roughness(a) - ev.roughness(b),
            ("E4", "B=4 fixed"),
            ("E4", "B=64 fixed"),
        ),
    }
    frozen, trained = found.values()
    return _decide(holds=trained.below(0), wrong=frozen.above(0) and trained.above(0)), found


def r4(e: Evidence) -> Found:
    """Accumulation keeps the effective batch at lower memory."""
    memory = lambda t, size: t.values["bytes"]["activations"][size]
    rest = lambda t: sum(t.values["bytes"][k] for k in ("weights", "gradients", "optimiser"))
    audit, means = ("E7", "audit"), ("E7", "mean of means")
    found = {
        "activations, micro-batch of 1 / of 16": e.each(
            lambda t: memory(t, "1") / memory(t, "16"), audit
        ),
        "all memory, micro-batch of 1 / of 16": e.each(
            lambda t: (memory(t, "1") + rest(t)) / (memory(t, "16") + rest(t)), audit
        ),
        "gradient, cut − whole (log10 of the relative difference)": e.each(
            lambda t: np.log10(t.values["gradient_difference"] + 1e-20), audit
        ),
        "mean of means, its distance from the token mean (nats per step)": e.each(
            lambda t: float(
                np.mean([abs(np.nanmean(r.micro_losses) - r.loss) for r in t.run.records])
            ),
            means,
        ),
        "height, mean of means − tokens (nats)": e.each(
            lambda a, b: ev.height(a) - ev.height(b), means, FILE
        ),
    }
    saved, _, same, bias, _ = found.values()
    right = same.below(-6) and saved.below(1)
    return _decide(
        holds=right and bias.below(0.01),
        part=right and bias.above(0.01),
        wrong=same.above(-6) or saved.above(1),
    ), found


def r5(e: Evidence) -> Found:
    """Watch several metrics: is there a pair of curves that training loss alone does not tell apart?"""
    found = {
        "training loss, odd rows (nats)": e.each(ev.event_height, ROWS),
        "training loss, pulse (nats)": e.each(ev.event_height, PULSE),
        "Chinese probe, pulse − odd rows (nats)": e.each(
            lambda a, b: ev.probe_rise(a) - ev.probe_rise(b), PULSE, ROWS
        ),
    }
    hard, sick, apart = found.values()
    return _decide(
        holds=hard.above(SPIKE) and sick.above(SPIKE) and apart.above(HARM), wrong=apart.below(HARM)
    ), found


def r6(e: Evidence) -> Found:
    """Evaluate on a validation set: does it rise when the model is hurt, and only then?"""
    found = {
        "Chinese probe across odd rows (nats)": e.each(ev.probe_rise, ROWS),
        "Chinese probe across a pulse (nats)": e.each(ev.probe_rise, PULSE),
        "Chinese probe with neither (nats)": e.each(ev.probe_rise, CALM),
    }
    hard, sick, calm = found.values()
    return _decide(
        holds=sick.above(HARM) and sick.low > hard.high and calm.below(HARM), wrong=sick.below(HARM)
    ), found


def r7(e: Evidence) -> Found:
    """Try learning rates and batch sizes: does any combination take the spike away?"""
    combinations = [
        ("E4", f"B={b} {rule}") for b in (4, 64) for rule in ("fixed", "sqrt", "linear")
    ]
    found = {
        f"height, {v} − B=16 (nats)": e.each(lambda a, b: ev.height(a) - ev.height(b), (x, v), FILE)
        for x, v in combinations
    }
    rates = e.each(
        lambda a, b: ev.inside(a) - ev.inside(b), ("E4", "B=64 linear"), ("E4", "B=64 fixed")
    )
    left = [e.each(ev.height, w).above(SPIKE) for w in combinations]
    spread = list(found.values())
    found["mean inside, B=64 linear − fixed (nats)"] = rates
    return _decide(
        holds=not all(left) and any(i.below(-SAME) for i in spread),
        wrong=all(left) and rates.within(-HARM, HARM),
        part=all(left) and not rates.within(-HARM, HARM),
    ), found


def replayed(trial: Trial) -> float:
    """Mean absolute difference of the losses of steps that were taken twice with the same rows, nats."""
    first, changes = {}, []
    for r in trial.run.records:
        key = (r.step, r.rows.tobytes())
        changes += [abs(r.loss - first[key])] if key in first else []
        first.setdefault(key, r.loss)
    return float(np.mean(changes)) if changes else float("nan")


def r8(e: Evidence) -> Found:
    """Save checkpoints and roll back."""
    hard, pulse = [
        {p: ("E9", f"{t}, {p}") for p in ("nothing", "replay", "skip")}
        for t in ("hard rows", "pulse")
    ]
    hard["nothing"] = FILE
    gain = lambda a, b: ev.after(a) - ev.after(b)
    found = {
        "hard rows: loss of replayed steps, changed by (nats)": e.each(replayed, hard["replay"]),
        "hard rows: held-out loss, replay − nothing (nats)": e.each(
            gain, hard["replay"], hard["nothing"]
        ),
        "hard rows: held-out loss, skip − nothing (nats)": e.each(
            gain, hard["skip"], hard["nothing"]
        ),
        "pulse: held-out loss, back and on without it − nothing (nats)": e.each(
            gain, pulse["skip"], pulse["nothing"]
        ),
        "resume without the order: tallest step − uninterrupted (nats)": e.each(
            lambda a, b: ev.largest(a) - ev.largest(b),
            ("E10", "resume: all but the order"),
            SHUFFLED,
        ),
    }
    _, replay, skip, cure, _ = found.values()
    return _decide(
        holds=cure.below(-HARM) and min(replay.high, skip.high) < -HARM,
        part=cure.below(-HARM) and replay.above(-HARM) and skip.above(-HARM),
        wrong=cure.above(0),
    ), found


def r9(e: Evidence) -> Found:
    """Do not worry about short-term fluctuation: what does it leave behind?"""
    found = {
        "hard rows: harm to Chinese across a segment (nats)": e.each(ev.harm, FILE),
        "pulse: Chinese probe at the end, pulse − none (nats)": e.each(
            lambda a, b: ev.after(a, "zh") - ev.after(b, "zh"), PULSE, CALM
        ),
    }
    hard, sick = found.values()
    return _decide(
        holds=hard.below(HARM) and sick.below(HARM),
        part=hard.below(HARM) and sick.above(HARM),
        wrong=hard.above(HARM),
    ), found


def _decide(*, holds: bool = False, part: bool = False, wrong: bool = False) -> str:
    """The outcome whose condition is met; undecided where none is, or more than one."""
    met = [name for name, condition in ((HOLDS, holds), (PART, part), (WRONG, wrong)) if condition]
    return met[0] if len(met) == 1 else OPEN


@dataclass(frozen=True)
class Claim:
    """A sentence of the report, what we bet, and the rule."""

    id: str
    text: str
    prediction: str
    lesson: str
    rule: Callable[[Evidence], Found]


CLAIMS = (
    Claim(
        "C1",
        "Unlike segments of a concatenated file make the loss jump.",
        "holds as a mechanism",
        "03",
        c1,
    ),
    Claim(
        "C2",
        "A large batch amplifies the effect.",
        "wrong in nats, true of visibility only",
        "06",
        c2,
    ),
    Claim(
        "C3", "Quick recovery shows a robust model.", "misattributed: nothing was hurt", "04", c3
    ),
    Claim(
        "C4",
        "Cross-entropy is very sensitive to a change in token distribution.",
        "in part: what counts is what was seen",
        "01",
        c4,
    ),
    Claim(
        "C5",
        "Adam's adaptive step explains the quick recovery.",
        "misattributed: the same without Adam",
        "09",
        c5,
    ),
    Claim(
        "C6",
        "Despite its size the model has good capacity.",
        "height and recovery hardly depend on size",
        "09",
        c6,
    ),
    Claim("C7", "Data quality matters as much as architecture.", "not testable here", "05", c7),
    Claim(
        "R1",
        "Shuffle thoroughly before training.",
        "holds, with a buffer that is large enough",
        "05",
        r1,
    ),
    Claim(
        "R2",
        "Clean and classify the data.",
        "classifying holds; removing a healthy domain un-learns it",
        "05",
        r2,
    ),
    Claim("R3", "A smaller batch smooths the curve.", "wrong: noise grows as 1/sqrt(B)", "06", r3),
    Claim(
        "R4",
        "Accumulation keeps the effective batch at lower memory.",
        "activations only; the usual code is biased",
        "07",
        r4,
    ),
    Claim("R5", "Watch several metrics, not only training loss.", "holds", "04", r5),
    Claim("R6", "Evaluate on a validation set regularly.", "holds", "04", r6),
    Claim(
        "R7",
        "Try combinations of learning rate and batch size.",
        "no effect on the first batch's height, some on after-effects",
        "06",
        r7,
    ),
    Claim(
        "R8",
        "Save checkpoints and roll back when something goes wrong.",
        "right for instabilities, wrong tool for data order",
        "09",
        r8,
    ),
    Claim(
        "R9",
        "Do not worry about short-term fluctuation.",
        "holds for hard batches, dangerous for instabilities",
        "08",
        r9,
    ),
)


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim."""

    claim: Claim
    outcome: str
    effects: dict[str, Interval]

    @property
    def seeds(self) -> int:
        """Fewest seeds behind any of its intervals."""
        return min(i.n for i in self.effects.values())

    def measured(self) -> str:
        """The first effect, in words and figures."""
        name, found = next(iter(self.effects.items()))
        return f"{name}: {found}"


def scoreboard(evidence: Evidence, *, partial: bool = False) -> list[Verdict]:
    """A verdict on each claim. Where trials are missing, raises `MissingTrials`, or leaves the claim out if `partial`."""
    found = []
    for claim in CLAIMS:
        try:
            found.append(Verdict(claim, *claim.rule(evidence)))
        except MissingTrials:
            if not partial:
                raise
    return found


def markdown(verdicts: list[Verdict]) -> str:
    """The scoreboard as a Markdown table: what README shows."""
    lines = [
        "| claim | says | our bet | measured (95 % interval) | verdict | lesson |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {v.claim.id} | {v.claim.text} | {v.claim.prediction} | {v.measured()} | **{v.outcome}** | {v.claim.lesson} |"
        for v in verdicts
    ]
    return "\n".join(lines)


def text(verdicts: list[Verdict]) -> str:
    """The scoreboard for a terminal, with every effect."""
    lines = []
    for v in verdicts:
        lines += [
            f"{v.claim.id}  {v.claim.text}  →  {v.outcome.upper()}  ({v.seeds} seed{'s' * (v.seeds != 1)}; our bet: {v.claim.prediction})"
        ]
        lines += [f"      {name}: {i}" for name, i in v.effects.items()]
    return "\n".join(lines)
