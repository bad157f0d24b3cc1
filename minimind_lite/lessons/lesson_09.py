"""Lesson 09: what optimizers do with one unusual gradient, and how far each got in the records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minimind_lite.lessons.checks import Exercise, is_number, short
from minimind_lite.plots.base import GREY, LOOKS, Plot, canvas, legend_right, log_axis
from minimind_lite.records import Run
from minimind_lite.science import claim_values
from minimind_lite.science.evidence import Evidence, Which
from minimind_lite.science.intervals import Interval
from minimind_lite.science.store import Trial

# The toy's gradients: 20 ordinary ones, an unusual one, 30 ordinary
UNUSUAL_STEP, AFTER = 20, 30
ORDINARY, UNUSUAL = 1.0, 10.0
LEARNING_RATE = 0.1
RULES: Mapping[str, tuple[float, float] | None] = {
    "plain gradient descent": None,
    "sign": (0.0, 0.0),
    "Adam": (0.9, 0.999),
    "Adam, β₂ = 0.9": (0.9, 0.9),
}
PLAN = {"A": "roll back", "B": "shuffle", "C": "shuffle"}
BETAS = (0.999, 0.95)


def toy_gradients(before: int = UNUSUAL_STEP) -> np.ndarray:
    """Gradients of the toy, (steps,): `before` ordinary ones, an unusual one, 30 ordinary."""
    gradients = np.full(before + 1 + AFTER, ORDINARY)
    gradients[before] = UNUSUAL
    return gradients


def toy_steps(betas: tuple[float, float] | None, *, before: int = UNUSUAL_STEP) -> np.ndarray:
    """Size of each step (steps,) of one parameter under Adam; None means plain gradient descent.

    Source: Kingma and Ba, arXiv 1412.6980, algorithm 1, with epsilon left out.
    """
    gradients = toy_gradients(before)
    if betas is None:
        return LEARNING_RATE * gradients
    (beta1, beta2), m, v, steps = betas, 0.0, 0.0, []
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        steps.append(LEARNING_RATE * (m / (1 - beta1**t)) / np.sqrt(v / (1 - beta2**t)))
    return np.array(steps)


def toy_plot(steps: Mapping[str, Sequence[float]], *, title: str = "") -> Plot:
    """Size of the toy's steps, on a logarithmic axis."""
    with canvas((10, 3.8)) as (figure, (ax,)):
        for (name, sizes), look in zip(steps.items(), LOOKS):
            ax.plot(sizes, color=look.color, ls=look.dash, lw=1.8, label=name)
        ax.axvline(UNUSUAL_STEP, color=GREY, lw=0.9, ls=":")
        log_axis(ax, (0.05, 0.1, 0.2, 0.5, 1), axis="y")
        ax.set(title=title, xlabel="step (dotted: the unusual gradient)", ylabel="size of the step")
        legend_right(ax)
    text = "; ".join(
        f"{name}: {sizes[UNUSUAL_STEP]:.3f} at the unusual step, "
        f"{min(sizes[UNUSUAL_STEP:]):.3f} at least after it"
        for name, sizes in steps.items()
    )
    return Plot(figure, f"{title}. The usual step is {LEARNING_RATE * ORDINARY:g}. {text}.")


def fall_against_adam(trial: Trial, adam: Trial) -> float:
    """How far the Chinese probe fell over a whole pass, as a share of its fall under Adam."""
    return _fall(trial) / _fall(adam)


def _fall(trial: Trial) -> float:
    return float(trial.run.probe("zh")[1][0] - trial.run.info["probes_after"]["zh"])


def dent_after_classical(records: Evidence, trained: Which, frozen: Which) -> Interval:
    """Dent on the first ordinary batch after classical Chinese, nats, over layouts."""
    return records.over_seeds(claim_values.dent_after_classical, trained, frozen)


def no_harm(n: int) -> Interval:
    """What a frozen model's probe does: nothing, exactly."""
    return Interval(0.0, 0.0, 0.0, n)


def last_version(run: Run) -> Run:
    """A run with rollbacks as its last version of each step: what a plot by step shows."""
    last = {record.step: record for record in run.records}
    return Run(run.info, tuple(last[step] for step in sorted(last)))


def check_adam_step(answer: object) -> bool:
    """Adam's step at the toy's unusual gradient."""
    right, plain = (float(toy_steps(betas)[UNUSUAL_STEP]) for betas in ((0.9, 0.999), None))
    slips, values = {"plain": plain}, {"usual": LEARNING_RATE * ORDINARY}
    return Exercise("09-1").check_number(answer, right, tolerance=0.002, slips=slips, values=values)


def check_plan(answers: object) -> bool:
    """What to do about three curves."""
    exercise = Exercise("09-2")

    def problem(curve: str, answer: object, right: str) -> str:
        if isinstance(answer, str) and answer.strip() == right:
            return ""
        return exercise.say("wrong", answer=short(answer), reason=exercise.texts["reasons"][curve])

    return exercise.check_table(answers, PLAN, problem=problem)


def check_half_lives(answer: object) -> bool:
    """Half-lives of Adam's mean square, in steps, for `BETAS`."""
    exercise = Exercise("09-3")
    if not isinstance(answer, (tuple, list)) or len(answer) != len(BETAS):
        return exercise.refuse(answer)
    if not all(is_number(steps) and steps >= 0 for steps in answer):
        return exercise.refuse(answer)
    right = [math.log(0.5) / math.log(beta) for beta in BETAS]
    problems = [
        exercise.say("wrong", beta=beta, steps=steps, power=beta**steps)
        for beta, steps, wanted in zip(BETAS, answer, right)
        if abs(steps - wanted) > 0.03 * wanted
    ]
    return exercise.verdict(problems, first=right[0], second=right[1])
