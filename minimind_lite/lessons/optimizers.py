"""What optimisers do with one odd gradient, by hand; and how far each got in the recorded trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from minimind_lite.plots.base import _RENDER, LINES, Plot, _axes, _style
from minimind_lite.records import Run
from minimind_lite.science.intervals import Interval
from minimind_lite.science.trials import Trial

ODD_STEP, ORDINARY, ODD, AFTER = (
    20,
    1.0,
    10.0,
    30,
)  # the toy's gradients: 20 ordinary ones, one odd, 30 ordinary
LEARNING_RATE = 0.1
RULES: Mapping[str, tuple[float, float] | str] = {
    "plain gradient descent": "sgd",
    "sign": (0.0, 0.0),
    "Adam": (0.9, 0.999),
    "Adam, β₂ = 0.9": (0.9, 0.9),
}


def toy_gradients(before: int = ODD_STEP) -> np.ndarray:
    """Gradients of the toy, (steps,): `before` ordinary ones, one odd, 30 ordinary."""
    gradients = np.full(before + 1 + AFTER, ORDINARY)
    gradients[before] = ODD
    return gradients


def toy_steps(rule: tuple[float, float] | str, *, before: int = ODD_STEP) -> np.ndarray:
    """Size of each step (steps,) of one parameter: "sgd", or Adam's betas (Kingma & Ba, arXiv 1412.6980, algorithm 1, eps left out)."""
    gradients = toy_gradients(before)
    if rule == "sgd":
        return LEARNING_RATE * gradients
    (beta1, beta2), m, v, steps = rule, 0.0, 0.0, []
    for t, g in enumerate(gradients, start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        steps.append(LEARNING_RATE * (m / (1 - beta1**t)) / np.sqrt(v / (1 - beta2**t)))
    return np.array(steps)


def toy_plot(steps: Mapping[str, Sequence[float]], *, title: str = "") -> Plot:
    """Size of the toy's steps, on a logarithmic axis."""
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax,) = _axes((10, 3.8))
        for (name, sizes), (colour, style) in zip(steps.items(), LINES):
            ax.plot(sizes, color=colour, ls=style, lw=1.8, label=name)
        ax.axvline(ODD_STEP, color="#555555", lw=0.9, ls=":")
        ax.set(
            yscale="log",
            xlabel="step (dotted: the odd gradient)",
            ylabel="size of the step",
            title=title,
        )
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)
    said = "; ".join(
        f"{name}: {sizes[ODD_STEP]:.3f} at the odd step, {min(sizes[ODD_STEP:]):.3f} at least after it"
        for name, sizes in steps.items()
    )
    return Plot(figure, f"{title}. The usual step is {LEARNING_RATE * ORDINARY:g}. {said}.")


def fall_against_adam(trial: Trial, adam: Trial) -> float:
    """How far the Chinese probe fell over a whole pass, as a share of its fall in the trial under Adam."""
    fall = lambda t: t.run.probe("zh")[1][0] - t.run.info["probes_after"]["zh"]
    return float(fall(trial) / fall(adam))


def no_harm(n: int) -> Interval:
    """What a frozen model's probe does: nothing, exactly."""
    return Interval(0.0, 0.0, 0.0, n)


def as_it_stands(run: Run) -> Run:
    """A run with rollbacks as its last version of each step: what a plot by step shows."""
    last = {r.step: r for r in run.records}
    return Run(run.info, tuple(last[step] for step in sorted(last)))
