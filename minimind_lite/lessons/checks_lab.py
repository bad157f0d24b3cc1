"""Mystery runs of lesson 12: six curves, their evidence, and checks of what the learner says of them.

The causes are known here and nowhere in the notebook. What tells a sick model from hard rows is
worked out from the runs, like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from minimind_lite import spikes
from minimind_lite.lab.recordings import Recordings
from minimind_lite.lab.state import Knobs, LabState
from minimind_lite.lessons.base import verdict
from minimind_lite.lessons.checks import NOT_YET, one_by_one
from minimind_lite.plots.base import _RENDER, Plot, _style
from minimind_lite.records import Run
from minimind_lite.science import reproduce, segment_metrics

CAUSES = {
    "a": "hard rows, in file order",
    "b": "a frozen model: nothing was learnt at all",
    "c": "the learning rate was raised for a moment",
    "d": "file order with a tiny batch",
    "e": "a shuffle buffer that is too short",
    "f": "a learning rate far too high throughout",
    "g": "a healthy shuffled run",
    "h": "a log that shows one micro-batch in many",
}
MYSTERIES: Mapping[str, tuple[Knobs, str]] = {
    "A": (Knobs(order="buffer:32"), "e"),
    "B": (Knobs(order="shuffle", pulse=40), "c"),
    "C": (Knobs(optimizer="none"), "b"),
    "D": (Knobs(order="shuffle", learning_rate=5e-2), "f"),
    "E": (Knobs(), "a"),
    "F": (Knobs(batch=4), "d"),
}
HINTS = {
    "a": "Several spikes, each as long as a stretch of rows, and the held-out losses go on falling. Compare noise and heights with the others'.",
    "b": "Look at the held-out losses of this one: do they change at all?",
    "c": "One spike, and no stretch of odd rows behind it. What did the held-out Chinese loss do across it?",
    "d": "Count its steps, and look at the noise between the spikes.",
    "e": "Its spikes lie where those of file order lie, but lower and smeared. What mixes neighbours only?",
    "f": "It rises at once, before any odd row is met, and never comes back.",
}
SICK = next(letter for letter, (_, cause) in MYSTERIES.items() if cause == "c")
NUMBERS = {
    "a": "height at the peak (nats)",
    "b": "z at the peak",
    "c": "width (conversations)",
    "d": "rise of the held-out Chinese loss across it (nats)",
}


@cache
def _recordings() -> Recordings:
    return Recordings()


def mystery(letter: str) -> Run:
    """A mystery run. Raises `ValueError` for another letter."""
    if letter not in MYSTERIES:
        raise ValueError(f"mystery runs are {', '.join(MYSTERIES)}, got {letter!r}.")
    return _recordings().find(MYSTERIES[letter][0].setup())


def curves(*, size: tuple[float, float] = (11, 6)) -> Plot:
    """All six on shared axes, unnamed, without the strip that would give the order away."""
    said = []
    with _RENDER, matplotlib.rc_context(_style()):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        for ax, letter in zip(figure.subplots(2, 3, sharex=True, sharey=True).ravel(), MYSTERIES):
            run = mystery(letter)
            ax.plot(run.column("samples_seen"), run.loss, color="#111111", lw=1)
            ax.set_title(letter)
            said.append(
                f"{letter}: {len(run)} steps, highest {run.loss.max():.1f} at step {int(run.loss.argmax())}, last {run.loss[-1]:.1f}"
            )
        figure.supxlabel("conversations seen")
        figure.supylabel("training loss (nats per token)")
    return Plot(figure, "Six training-loss curves without names. " + "; ".join(said) + ".")


def evidence() -> list[dict[str, object]]:
    """What the instruments say of each: a row per run, for a table."""
    rows = []
    for letter in MYSTERIES:
        run = mystery(letter)
        base, (_, zh), numbers = (
            spikes.baseline(run.loss),
            segment_metrics.probe_to_the_end(run, "zh"),
            _numbers(run),
        )
        forms = {
            "a": ("tallest (nats)", "+.2f"),
            "b": ("z", ".0f"),
            "c": ("width", ".0f"),
            "d": ("Chinese across it", "+.2f"),
        }
        tallest = {
            title: f"{numbers[k]:{form}}" if numbers else "–" for k, (title, form) in forms.items()
        }
        rows.append(
            {
                "run": letter,
                "steps": len(run),
                "spikes": len(spikes.find(run.loss)),
                **tallest,
                "noise (nats)": f"{np.nanmedian(base.sigma):.3f}",
                "Chinese rows": f"{reproduce.base_loss(run):.2f}",
                "held-out Chinese": f"{zh[0]:.2f} → {zh[-1]:.2f}",
            }
        )
    return rows


def _numbers(run: Run) -> dict[str, float]:
    """The four `NUMBERS` of a run's tallest spike; empty where there is none. A rise that was not measured counts as none."""
    events = spikes.find(run.loss)
    if not events:
        return {}
    tallest = max(events, key=lambda e: e.peak_height)
    return {
        "a": tallest.peak_height,
        "b": tallest.z,
        "c": float(spikes.width(run, tallest)),
        "d": spikes.harm(run, tallest).get("zh", 0.0),
    }


def telltale() -> tuple[str, str]:
    """Which of the four numbers sets the sick run furthest apart, as a multiple of the next highest; and a sentence with all four."""
    sick = _numbers(mystery(SICK))
    others = [n for letter in MYSTERIES if letter != SICK and (n := _numbers(mystery(letter)))]
    next_highest = {k: max(n[k] for n in others) for k in NUMBERS}
    times = {k: sick[k] / max(next_highest[k], 1e-9) for k in NUMBERS}
    text = "; ".join(
        f"{what}: {sick[k]:.3g} against {next_highest[k]:.3g} at most ({times[k]:.1f} times)"
        for k, what in NUMBERS.items()
    )
    return max(times, key=times.get), f"The sick run against the others that have spikes: {text}."


def check_mysteries(causes: Mapping[str, str | None]) -> bool:
    """Which cause (a letter of `CAUSES`) each mystery run has."""
    if all(v is None for v in causes.values()):
        return verdict([NOT_YET], "")

    right = {letter: cause for letter, (_, cause) in MYSTERIES.items()}

    def wrong(letter: str, given: object, cause: str) -> str:
        if given not in CAUSES:
            return f"choose one of the letters {', '.join(CAUSES)}, got {given!r}."
        return "" if given == cause else f"hardly {CAUSES[given]}. {HINTS[cause]}"

    return verdict(
        one_by_one(causes, right, wrong),
        "Right, all six: " + "; ".join(f"{k}: {CAUSES[c]}" for k, c in right.items()) + ".",
    )


def check_state(letter: str, state: str | None) -> bool:
    """A state string whose run is the very run of a mystery."""
    wanted = mystery(letter)
    if state is None:
        return verdict([NOT_YET], "")
    try:
        found = _recordings().find(LabState.from_string(state).run.setup())
    except ValueError as error:
        return verdict([str(error)], "")
    if found is None:
        return verdict(
            [
                "this setting is not recorded, so it can't be the mystery; look again at what its curve shows."
            ],
            "",
        )
    if len(found) != len(wanted):
        return verdict([f"that run has {len(found)} steps, {letter} has {len(wanted)}."], "")
    gap = float(np.abs(found.loss - wanted.loss).max())
    return verdict(
        [] if gap < 1e-6 else [f"that run differs from {letter} by up to {gap:.2f} nats."],
        f"this state is {letter}, step for step.",
    )
