"""Lesson 12: six mystery runs, their evidence, and checks of what the learner says of them.

The causes are here and nowhere in the notebook. What tells a sick model from hard rows is worked
out from the runs, like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minimind_lite import spikes
from minimind_lite.lab.recordings import Recordings
from minimind_lite.lab.state import LabState, Settings
from minimind_lite.lessons.checks import Exercise
from minimind_lite.plots.base import Plot, canvas
from minimind_lite.records import Run
from minimind_lite.science import reproduce, segment_metrics

# The settings of each mystery run, and the letter of its cause
MYSTERIES = {
    "A": (Settings(order="buffer:32"), "e"),
    "B": (Settings(order="shuffle", pulse=40), "c"),
    "C": (Settings(optimizer="none"), "b"),
    "D": (Settings(order="shuffle", learning_rate=5e-2), "f"),
    "E": (Settings(), "a"),
    "F": (Settings(batch_size=4), "d"),
}
SICK = next(letter for letter, (_, cause) in MYSTERIES.items() if cause == "c")
# What is read off a run's tallest spike, in words; its column in the table; its digits
NUMBERS = {
    "a": ("height at the peak (nats)", "tallest (nats)", "+.2f"),
    "b": ("z at the peak", "z", ".0f"),
    "c": ("width (conversations)", "width", ".0f"),
    "d": ("rise of the held-out Chinese loss across it (nats)", "Chinese across it", "+.2f"),
}


def causes() -> dict[str, str]:
    """All causes to choose from, by letter; two of them are no mystery's."""
    return Exercise("12-1").texts["causes"]


def mysteries() -> dict[str, Run]:
    """The mystery runs by letter."""
    recordings = Recordings()
    return {letter: _mystery(recordings, letter) for letter in MYSTERIES}


def _mystery(recordings: Recordings, letter: str) -> Run:
    run = recordings.run(MYSTERIES[letter][0].spec())
    assert run is not None, f"the run of mystery {letter} is not recorded"
    return run


def curves(runs: Mapping[str, Run]) -> Plot:
    """All six on one scale, unnamed, without the strip that would give the order away."""
    texts = []
    with canvas((11, 6), rows=2, columns=3, sharey=True) as (figure, axes):
        for ax, (letter, run) in zip(axes, runs.items()):
            ax.plot(run.column("samples_seen"), run.loss, color="#111111", lw=1)
            ax.set_title(letter)
            highest = run.records[int(run.loss.argmax())]
            texts.append(
                f"{letter}: {len(run)} steps, highest {highest.loss:.1f} at step {highest.step}, "
                f"last {run.loss[-1]:.1f}"
            )
        figure.supxlabel("conversations seen")
        figure.supylabel("training loss (nats per token)")
    return Plot(figure, f"Six training-loss curves without names. {'; '.join(texts)}.")


def evidence(runs: Mapping[str, Run]) -> list[dict[str, object]]:
    """What the instruments say of each: a row per run, for a table."""
    return [{"run": letter, **_evidence(run)} for letter, run in runs.items()]


def _evidence(run: Run) -> dict[str, object]:
    base, numbers = spikes.baseline(run.loss), _numbers(run)
    chinese = segment_metrics.probe_to_the_end(run, "zh")[1]
    tallest = {
        column: format(numbers[key], digits) if numbers else "–"
        for key, (_, column, digits) in NUMBERS.items()
    }
    return {
        "steps": len(run),
        "spikes": len(spikes.find(run.loss)),
        **tallest,
        "noise (nats)": f"{np.nanmedian(base.sigma):.3f}",
        "Chinese rows": f"{reproduce.base_loss(run):.2f}",
        "held-out Chinese": f"{chinese[0]:.2f} → {chinese[-1]:.2f}",
    }


def _numbers(run: Run) -> dict[str, float]:
    """The four `NUMBERS` of a run's tallest spike; empty where there is none.

    A rise that was not measured counts as none.
    """
    events = spikes.find(run.loss)
    if not events:
        return {}
    tallest = max(events, key=lambda event: event.peak_height)
    return {
        "a": tallest.peak_height,
        "b": tallest.z,
        "c": float(segment_metrics.width(run, tallest)),
        "d": segment_metrics.harm(run, tallest).get("zh", 0.0),
    }


def telltale(runs: Mapping[str, Run]) -> tuple[str, str]:
    """Which of the four numbers sets the sick run furthest apart, and a sentence with all four.

    Apart: as a multiple of the next highest.
    """
    sick = _numbers(runs[SICK])
    others = [_numbers(run) for letter, run in runs.items() if letter != SICK]
    next_highest = {key: max(n[key] for n in others if n) for key in NUMBERS}
    times = {key: sick[key] / max(next_highest[key], 1e-9) for key in NUMBERS}
    text = "; ".join(
        f"{what}: {sick[key]:.3g} against {next_highest[key]:.3g} at most ({times[key]:.1f} times)"
        for key, (what, _, _) in NUMBERS.items()
    )
    largest = max(times, key=lambda key: times[key])
    return largest, f"The sick run against the others that have spikes: {text}."


def check_mysteries(answers: object) -> bool:
    """Which cause (its letter) each mystery run has."""
    right = {letter: cause for letter, (_, cause) in MYSTERIES.items()}
    return Exercise("12-1").check_causes(answers, right)


def check_state(answer: object, letter: str) -> bool:
    """A state string whose run is the very run of a mystery."""
    exercise = Exercise("12-2")
    if not isinstance(answer, str):
        return exercise.refuse(answer)
    recordings = Recordings()
    wanted = _mystery(recordings, letter)
    try:
        run = recordings.run(LabState.from_string(answer.strip()).run.spec())
    except ValueError as error:
        return exercise.verdict([str(error)])
    if run is None:
        return exercise.verdict([exercise.texts["not_recorded"]])
    steps = {"letter": letter, "steps": len(run), "wanted": len(wanted)}
    if len(run) != len(wanted):
        return exercise.verdict([exercise.say("steps", **steps)])
    gap = float(np.abs(run.loss - wanted.loss).max())
    problem = exercise.say("gap", letter=letter, gap=gap)
    return exercise.verdict([] if gap < 1e-6 else [problem], letter=letter)
