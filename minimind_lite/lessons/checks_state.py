"""Checks of the exercises of lessons 04 (is the model hurt?) and 09 (is it Adam?)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib
import numpy as np

from minimind_lite.lessons import optimizers
from minimind_lite.lessons.base import verdict
from minimind_lite.lessons.checks import NOT_YET, is_number
from minimind_lite.plots.base import _RENDER, Plot, _axes, _style
from minimind_lite.records import Run
from minimind_lite.science import evidence as ev
from minimind_lite.science import procedures, segment_metrics
from minimind_lite.science.claims import HARM, SAME
from minimind_lite.science.evidence import Evidence
from minimind_lite.science.experiments import PULSE
from minimind_lite.science.trials import Trial, World

CAUSES = ("hard rows", "instability", "both", "neither")
NUMBERS = ("training loss", "held-out loss", "length of the spike")
TOLERANCE = 0.03  # nats: a median over a slightly other window


def check_deciding_number(choice: str | None, records: Evidence) -> bool:
    """Which of `NUMBERS` separates a pulse on ordinary rows from odd rows without one, in units of its own noise."""
    if choice is None:
        return verdict([NOT_YET], "")
    if choice not in NUMBERS:
        return verdict([f"expected one of {', '.join(map(repr, NUMBERS))}, got {choice!r}."], "")
    hard, sick = ("E2", "odd rows, no pulse"), ("E2", "base rows, pulse")
    probe = {w: records.each(ev.probe_rise, w) for w in (hard, sick)}
    loss = {w: records.each(ev.event_height, w) for w in (hard, sick)}
    problems = {
        "training loss": f"training loss jumps for both: {loss[hard]} and {loss[sick]} nats. How would you know which one you have?",
        "length of the spike": "a segment may be as long as the relaxation of an instability; you would have to know its length first.",
    }
    return verdict(
        [problems[choice]] if choice in problems else [],
        f"Right: held-out Chinese rises by {probe[sick]} nats under the pulse, and by {probe[hard]} across the odd rows.",
    )


def check_frozen_height(height: float | None, frozen: Run) -> bool:
    """Height of the first segment in the frozen run, nats."""
    if height is None:
        return verdict([NOT_YET], "")
    if not is_number(height):
        return verdict([f"expected a number of nats, got {height!r}."], "")
    first, found = segment_metrics.segments(frozen)[0], segment_metrics.read(frozen)
    right = found[segment_metrics.segment_name(first)].height
    step = -(-first.start // len(frozen.records[0].rows))
    slips = {
        round(
            float(frozen.loss[step]), 2
        ): "That is the loss itself; subtract the median of the batches before it.",
        round(
            float(frozen.loss[step - 1]), 2
        ): "That batch still holds ordinary rows; the next one is wholly inside.",
    }
    problem = slips.get(
        round(float(height), 2),
        f"{height:.2f} is not it: the first whole batch is step {step}, its loss {frozen.loss[step]:.2f} nats.",
    )
    return verdict(
        [] if abs(height - right) <= TOLERANCE else [problem],
        f"{height:.2f} nats, and nothing was trained.",
    )


def mystery_cells(seed: int) -> dict[str, str]:
    """The solution: letter -> cause, in an order that the seed draws."""
    return dict(zip("ABCD", np.random.default_rng(seed).permutation(CAUSES).tolist()))


def _cell(records: Evidence, cause: str, seed: int) -> Run:
    rows, pulse = (
        "odd" if cause in ("hard rows", "both") else "base",
        "pulse" if cause in ("instability", "both") else "no pulse",
    )
    return records.trial("E2", f"{rows} rows, {pulse}", seed).run


def mystery(records: Evidence, seed: int) -> Plot:
    """Four unnamed cells of the control: training loss above, held-out Chinese below, each on common scales."""
    runs = {letter: _cell(records, cause, seed) for letter, cause in mystery_cells(seed).items()}
    with _RENDER, matplotlib.rc_context(_style()):
        figure, _ = _axes((11, 4.6))
        figure.clear()
        axes = figure.subplots(2, len(runs), sharex=True, sharey="row")
        for (above, below), (letter, run) in zip(axes.T, runs.items()):
            above.plot(run.column("step"), run.loss, color="#111111", lw=1.4)
            steps, losses = run.probe("zh")
            below.plot(steps, losses, color="#D55E00", ls="--", marker="o", ms=4)
            above.set_title(letter)
        axes[0, 0].set_ylabel("training loss")
        axes[1, 0].set_ylabel("held-out Chinese")
        figure.supxlabel("optimiser steps", fontsize=12)
    said = "; ".join(
        f"{letter}: training loss up to {run.loss.max():.1f}, held-out up to {run.probe('zh')[1].max():.1f}"
        for letter, run in runs.items()
    )
    return Plot(figure, f"Four mystery runs, in nats. {said}.")


def check_causes(causes: Mapping[str, str] | None, records: Evidence, seed: int) -> bool:
    """The cause of each mystery run."""
    if causes is None:
        return verdict([NOT_YET], "")
    right = mystery_cells(seed)
    if not isinstance(causes, Mapping) or set(causes) != set(right):
        return verdict([f"expected a cause for each of {', '.join(right)}, got {causes!r}."], "")
    problems = [
        f"{letter}: {cause!r} is no cause; choose one of {', '.join(map(repr, CAUSES))}."
        for letter, cause in causes.items()
        if cause not in CAUSES
    ]
    for letter, cause in causes.items():
        if cause in CAUSES and cause != right[letter]:
            run = _cell(records, right[letter], seed)
            rise = run.probe("zh")[1].max() - run.probe("zh")[1][0]
            problems.append(
                f"{letter} is not {cause!r}: its held-out loss rises by {rise:.2f} nats, "
                f"its training loss goes up to {run.loss.max():.1f}. "
                "Does the jump come at once, or after a few steps?"
            )
    return verdict(problems, "Right, all four.")


def check_twin(factor: float | None, records: Evidence, seed: int) -> bool:
    """A pulse of `factor` times the learning rate (trained here, half a minute at most) as tall as the odd rows of that layout, within SAME."""
    if factor is None:
        return verdict([NOT_YET], "")
    if not is_number(factor) or not 1 < factor <= 100:
        return verdict([f"expected a number above 1 and up to 100, got {factor!r}."], "")
    wanted = ev.event_height(records.trial("E2", "odd rows, no pulse", seed))
    run = procedures.pulse(
        World(), seed, PULSE | {"rows": "base", "factor": float(factor), "after": 8}
    ).run
    made = Trial("E2", "a pulse of your own", seed, {}, {}, run)
    return twin_verdict(ev.event_height(made), ev.probe_rise(made), wanted)


def twin_verdict(height: float, rise: float, wanted: float) -> bool:
    """Whether a pulse of some height, in nats, is as tall as the rows' `wanted`, and hurt; `rise` is that of held-out Chinese."""
    problems = []
    if abs(height - wanted) > SAME:
        other = "smaller" if height > wanted else "larger"
        problems.append(
            f"your pulse is {height:.2f} nats tall, the odd rows {wanted:.2f}: take a {other} factor."
        )
    elif rise < HARM:
        problems.append(
            f"as tall, but held-out Chinese rises by {rise:.2f} nats only: hardly an instability. Try a slightly larger factor."
        )
    return verdict(
        problems,
        f"Right: both spikes are about {wanted:.1f} nats tall (yours {height:.2f}). But with yours, held-out Chinese "
        f"rises by {rise:.2f} nats: the height of a spike does not say what it is.",
    )


# Lesson 09

PLAN = {
    "A": (
        "roll back",
        "held-out loss rose as well, so the model is hurt, and the gradient norm came first: an instability.",
    ),
    "B": (
        "go on",
        "held-out loss is flat and the spike comes back by position: the rows are hard, and nothing is hurt.",
    ),
    "C": (
        "shuffle",
        "it was shuffled until the resume: the resume lost the order. Resume again, with the order.",
    ),
}
BETAS = (0.999, 0.95)


def check_adam_step(step: float | None) -> bool:
    """Adam's step at the toy's odd gradient."""
    right, plain = (
        float(optimizers.toy_steps(rule)[optimizers.ODD_STEP]) for rule in ((0.9, 0.999), "sgd")
    )
    if step is None:
        return verdict([NOT_YET], "")
    if not is_number(step):
        return verdict([f"expected a number, got {step!r}."], "")
    problem = f"{step:.3f} is not it; the mean of the gradients is about 1.9 and the mean square about 5.7 there (both corrected for their start)."
    if abs(step - plain) < 0.01:
        problem = (
            f"{step:.3f} is plain gradient descent; Adam divides by the root of the mean square."
        )
    return verdict(
        [] if abs(step - right) < 0.002 else [problem],
        f"Right: {right:.3f}, less than the usual {optimizers.LEARNING_RATE:g}.",
    )


def check_plan(plan: Mapping[str, str] | None) -> bool:
    """What to do about three curves."""
    if plan is None:
        return verdict([NOT_YET], "")
    if not isinstance(plan, Mapping) or set(plan) != set(PLAN):
        return verdict([f"expected a plan for each of {', '.join(PLAN)}, got {plan!r}."], "")
    return verdict(
        [
            f"{night}: not {plan[night]!r}: {why}"
            for night, (right, why) in PLAN.items()
            if plan[night] != right
        ],
        "Right, all three.",
    )


def check_half_lives(half_lives: tuple[float, float] | None) -> bool:
    """Half-lives of Adam's mean square, in steps, for BETAS."""
    if half_lives is None:
        return verdict([NOT_YET], "")
    if not isinstance(half_lives, (tuple, list)) or len(half_lives) != len(BETAS):
        return verdict([f"expected two numbers of steps, got {half_lives!r}."], "")
    right = [math.log(0.5) / math.log(beta) for beta in BETAS]
    return verdict(
        [
            f"for β₂ = {beta}: {given} is not it; {beta} to the power {given} is {beta**given:.2f}, not one half."
            for beta, given, wanted in zip(BETAS, half_lives, right)
            if abs(given - wanted) > 0.03 * wanted
        ],
        f"Right: about {right[0]:.0f} and {right[1]:.1f} steps.",
    )
