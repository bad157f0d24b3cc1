"""Lesson 04: what a spike does to the model. Tables from recorded trials, and four exercises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from IPython.display import HTML, display

from minimind_lite import segments, spikes
from minimind_lite.lessons.checks import Exercise, is_number, short
from minimind_lite.plots.base import MARK, Plot, canvas
from minimind_lite.records import Run
from minimind_lite.science import claim_values, forgetting, procedures, segment_metrics
from minimind_lite.science import evidence as ev
from minimind_lite.science.evidence import Evidence, Value, Which
from minimind_lite.science.experiments import PULSE
from minimind_lite.science.intervals import Interval, interval_over_seeds
from minimind_lite.science.rules import HARM, SAME, SPIKE
from minimind_lite.science.store import Trial
from minimind_lite.science.trials import SharedData
from minimind_lite.segments import LARGE, domain_name

SORTED_BACK = "shuffled, sorted back"
VIEWS = {
    "trained": ("E1", "file"),
    "frozen": ("E1", "frozen"),
    SORTED_BACK: ("E1", "shuffled"),
}
HARD, SICK = ("E2", "off-domain rows, no pulse"), ("E2", "base rows, pulse")
CALM, SWAP = ("E2", "base rows, no pulse"), ("E2", "swap")
PULSED = ("E9", "pulse, nothing")
CLOSE = ("E13", "file")  # held-out losses every two steps around segments
# States of the swap: before any step, and after as many steps in either order
STATES = ("base model", "file order", "shuffled")
SEGMENT, ORDINARY = "the segment's first batch", "ordinary rows after it"
KINDS = {SEGMENT: "off-domain", ORDINARY: "base"}
CAUSES = {
    "hard rows": ("E2", "off-domain rows, no pulse"),
    "instability": ("E2", "base rows, pulse"),
    "both": ("E2", "off-domain rows, pulse"),
    "neither": ("E2", "base rows, no pulse"),
}
RIGHT_NUMBER = "held-out loss"
NUMBERS = ("training loss", RIGHT_NUMBER, "length of the spike")
TOLERANCE = 0.03  # nats: a median over a slightly different window


# Three views of one file


def view_heights(records: Evidence) -> dict[str, dict[str, Interval]]:
    """Height of each segment in each of the three views, nats, over layouts."""
    seeds, heights = records.common(*VIEWS.values()), {}
    for view, which in VIEWS.items():
        runs = [records.trial(*which, seed).run for seed in seeds]
        if view == SORTED_BACK:
            runs = [segment_metrics.in_file_order(run) for run in runs]
        layouts = [segment_metrics.read(run) for run in runs]
        heights[view] = {
            _name(label): interval_over_seeds([layout[label].height for layout in layouts])
            for label in (*LARGE, "en_tiny")
        }
    return heights


def _name(label: str) -> str:
    name = domain_name(label.removesuffix("_tiny"))
    return f"tiny {name}" if label.endswith("_tiny") else name


# Held-out loss inside a segment


def rise_inside(run: Run, probe: str = "zh") -> dict[str, float]:
    """Largest rise of a probe inside each segment, from the last measurement before it, nats.

    Only segments that have a measurement inside are here.
    """
    at, losses = run.probe(probe)
    rises = {}
    for segment in segments.of_run(run):
        touched = np.flatnonzero(segments.share(run, segment) > 0)
        before = losses[at <= touched[0]]
        within = losses[(at > touched[0]) & (at <= touched[-1])]
        if len(before) and len(within):
            rises[segment.label] = float(within.max() - before[-1])
    return rises


def rises_inside(records: Evidence) -> list[dict[str, object]]:
    """What held-out Chinese does inside and after each large segment, over layouts, nats."""
    seeds = records.common(VIEWS["trained"])
    rises = [rise_inside(records.trial(*VIEWS["trained"], seed).run) for seed in seeds]
    table: list[dict[str, object]] = []
    for label in LARGE:
        values = [rise[label] for rise in rises if label in rise]

        def left(trial: Trial, label: str = label) -> float:
            return trial.readings[label].harm

        if values:
            table.append(
                {
                    "segment": _name(label),
                    "layouts measured inside": f"{len(values)} of {len(seeds)}",
                    "rise inside": str(interval_over_seeds(np.array(values))),
                    "largest": f"{max(values):+.2f}",
                    "left after the segment": str(records.over_seeds(left, VIEWS["trained"])),
                }
            )
    return table


def dents(
    records: Evidence, value: Callable[[Run, Run], Mapping[str, float]] = forgetting.dents
) -> dict[str, Interval]:
    """Dent on the first ordinary batch after each large segment, nats, over layouts.

    `value` may be another one of a trained and a frozen run, such as the dents' half-lives.
    """
    pair = (VIEWS["trained"], VIEWS["frozen"])
    runs = [[records.trial(*w, seed).run for w in pair] for seed in records.common(*pair)]
    values = forgetting.over_layouts(value(trained, frozen) for trained, frozen in runs)
    return {_name(label): values[label] for label in LARGE if label in values}


def largest_rises(records: Evidence) -> dict[str, Interval]:
    """Largest rise of held-out losses while a segment is read, by closely probed passes, nats."""
    return {
        "held-out Chinese": records.over_seeds(claim_values.bulk_rise, CLOSE),
        "another off-domain domain": records.over_seeds(
            claim_values.largest_off_domain_rise, CLOSE
        ),
    }


# The swap: rows and states


def _swapped(trial: Trial, state: str, kind: str) -> float:
    """Loss of a kind of batch under a state, mean over the large segments, nats."""
    cells = trial.values["swap"]
    return float(np.mean([cells[label][state][kind] for label in cells if label in LARGE]))


def swap_table(records: Evidence) -> list[dict[str, object]]:
    """Loss by state (rows) and by batch (columns), means over layouts, nats; and their spread."""
    seeds = records.common(SWAP)
    trials = [records.trial(*SWAP, seed) for seed in seeds]
    table: list[dict[str, Any]] = []
    for state in STATES:
        loss = {
            name: float(np.mean([_swapped(trial, state, kind) for trial in trials]))
            for name, kind in KINDS.items()
        }
        table.append({"state": state, **loss, "difference": loss[SEGMENT] - loss[ORDINARY]})
    spread = {name: float(np.ptp([row[name] for row in table])) for name in KINDS}
    return [*table, {"state": "largest minus smallest", **spread}]


def show_texts(trial: Trial, *, probes: Sequence[str] = ("zh", "code", "en")) -> None:
    """What the model answered before and after each segment, as a table."""
    titles = ["when", *(f"question in {domain_name(probe)}" for probe in probes)]
    rows = [
        [moment["when"], *(moment["answers"][probe] for probe in probes)]
        for moment in trial.values["texts"]
    ]
    lines = _table_row(titles, "th") + "".join(_table_row(cells, "td") for cells in rows)
    display(HTML(f"<table>{lines}</table>"))


def _table_row(cells: Sequence[str], tag: str) -> str:
    """On one line each, and escaped: a model may write anything, markup too."""
    cells = [c.replace("<|im_end|>", "").replace("\n", " ⏎ ").strip() or "(nothing)" for c in cells]
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


# Tests that tell hard rows from an instability


class Expectation(NamedTuple):
    """What a kind of spike is expected to show: a value wholly above or below a margin, nats."""

    value: Value
    trials: tuple[Which, ...]
    text: str
    above: float = -math.inf
    below: float = math.inf

    def cell(self, records: Evidence) -> str:
        """✓ or ✗, and what the records show."""
        interval = records.over_seeds(self.value, *self.trials)
        holds = self.above < interval.low and interval.high < self.below
        return f"{'✓' if holds else '✗'} {self.text} {interval}"


def _harder_for_the_base(trial: Trial) -> float:
    off_domain = _swapped(trial, "base model", KINDS[SEGMENT])
    return off_domain - _swapped(trial, "base model", KINDS[ORDINARY])


def _second_epoch(trial: Trial) -> float:
    return ev.over_large(segment_metrics.read(trial.run, epoch=1), "height")


def _left_by_sorting(trial: Trial) -> float:
    """Tallest batch of ordinary rows once a run is sorted back, as a share of its tallest step."""
    back = segment_metrics.in_file_order(trial.run)
    shares = np.sum([segments.share(back, s) for s in segments.of_run(back)], axis=0)
    heights = back.loss - spikes.baseline(back.loss).median
    return float(np.nanmax(heights[shares == 0]) / ev.tallest_step(trial))


def _still_above(trial: Trial) -> float:
    stop = trial.run.info["event"][1]
    return float(np.mean(trial.run.loss[stop + 8 : stop + 13]) - ev.median_before(trial))


def _first_loss(trial: Trial) -> float:
    return float(trial.run.loss[trial.run.info["event"][0]] - ev.median_before(trial))


def _least_rise(trial: Trial) -> float:
    return min(ev.probe_rise(trial, probe) for probe in trial.run.probe_names())


def _most_elsewhere(trial: Trial) -> float:
    """Largest rise among the off-domain probes of other domains than the trial's rows (English)."""
    return max(ev.probe_rise(trial, probe) for probe in LARGE if probe != "en")


def _left_of_it(trial: Trial, calm: Trial) -> float:
    return ev.final_probe_loss(trial, "zh") - ev.final_probe_loss(calm, "zh")


# Test -> what hard rows, and what an instability, are expected to show
TESTS: Mapping[str, tuple[Expectation | str, Expectation | str]] = {
    "freeze the model, same order": (
        Expectation(ev.height, (VIEWS["frozen"],), "spike stays:", above=SPIKE),
        "– (no learning rate, no pulse)",
    ),
    "the same rows, another healthy state": (
        Expectation(_harder_for_the_base, (SWAP,), "still hard:", above=SPIKE),
        Expectation(ev.event_height, (CALM,), "no spike:", below=SPIKE),
    ),
    "held-out Chinese at the peak": (
        Expectation(ev.probe_rise, (HARD,), "hardly moves:", below=HARM),
        Expectation(ev.probe_rise, (SICK,), "rises by", above=HARM),
    ),
    "other held-out domains": (
        Expectation(_most_elsewhere, (HARD,), "one of them rises, too:", above=0),
        Expectation(_least_rise, (SICK,), "all rise; the least by", above=0),
    ),
    "next epoch, same order": (
        Expectation(_second_epoch, (("E10", "2 epochs, file"),), "comes back:", above=SPIKE),
        "– (not measured)",
    ),
    "first step of the event": (
        Expectation(_first_loss, (HARD,), "up at once:", above=SPIKE),
        Expectation(_first_loss, (SICK,), "not up yet:", below=SPIKE),
    ),
    "ten steps after its end": (
        Expectation(_still_above, (HARD,), "over:", below=HARM),
        Expectation(_still_above, (SICK,), "still up by", above=HARM),
    ),
    "a shuffled run, sorted back into file order": (
        Expectation(ev.sorted_back_height, (VIEWS[SORTED_BACK],), "a spike again:", above=0),
        Expectation(_left_by_sorting, (PULSED,), "share of its height left:", below=0.5),
    ),
    "held-out Chinese at the end": (
        Expectation(_left_of_it, (HARD, CALM), "back to normal:", below=HARM),
        Expectation(_left_of_it, (SICK, CALM), "still damaged:", above=HARM),
    ),
}


def tell_apart(records: Evidence) -> list[dict[str, str]]:
    """Tests of the two kinds of spike, each with what the records show of either.

    ✓: as expected, by the whole interval; ✗: not so; –: not measured.
    """
    return [
        {
            "test": test,
            "hard rows": hard if isinstance(hard, str) else hard.cell(records),
            "instability": sick if isinstance(sick, str) else sick.cell(records),
        }
        for test, (hard, sick) in TESTS.items()
    ]


# Exercises


def check_deciding_number(answer: object, records: Evidence) -> bool:
    """Which of `NUMBERS` tells a pulse on ordinary rows from off-domain rows without one."""
    exercise = Exercise("04-1")
    if not isinstance(answer, str) or answer not in NUMBERS:
        return exercise.refuse(answer)
    rise, sick_rise = (records.over_seeds(ev.probe_rise, which) for which in (HARD, SICK))
    loss, sick_loss = (records.over_seeds(ev.event_height, which) for which in (HARD, SICK))
    problems = []
    if answer != RIGHT_NUMBER:
        problems.append(exercise.say(answer, loss=loss, sick_loss=sick_loss))
    return exercise.verdict(problems, rise=rise, sick_rise=sick_rise)


def check_frozen_height(answer: object, frozen: Run) -> bool:
    """Height of the first segment in the frozen run, nats."""
    exercise = Exercise("04-2")
    if not is_number(answer):
        return exercise.refuse(answer)
    first = segments.of_run(frozen)[0]
    right = segment_metrics.read(frozen)[first.label].height
    step = -(-first.start // len(frozen.records[0].rows))
    problem = exercise.say("advice", height=answer, step=step, loss=frozen.loss[step])
    if abs(answer - frozen.loss[step]) < 0.005:
        problem = exercise.texts["loss"]
    if abs(answer - frozen.loss[step - 1]) < 0.005:
        problem = exercise.texts["early"]
    close = abs(answer - right) <= TOLERANCE
    return exercise.verdict([] if close else [problem], height=answer)


def mystery_causes(seed: int) -> dict[str, str]:
    """The solution: letter -> cause, in an order that the seed draws."""
    return dict(zip("ABCD", np.random.default_rng(seed).permutation(list(CAUSES)).tolist()))


def mystery(records: Evidence, seed: int) -> Plot:
    """Four unnamed runs: training loss above, held-out Chinese below, each on one scale."""
    causes, texts = mystery_causes(seed), []
    with canvas((11, 4.6), rows=2, columns=len(causes), sharey="row") as (figure, axes):
        for above, below, (letter, cause) in zip(axes, axes[len(causes) :], causes.items()):
            run = records.trial(*CAUSES[cause], seed).run
            at, losses = run.probe("zh")
            steps = run.column("step")
            above.plot(steps, run.loss, color="#111111", lw=1.4)
            below.plot(steps[at], losses, color=MARK, ls="--", marker="o", ms=4)
            above.set_title(letter)
            texts.append(
                f"{letter}: training loss up to {run.loss.max():.1f}, held-out up to "
                f"{losses.max():.1f}"
            )
        axes[0].set_ylabel("training loss")
        axes[len(causes)].set_ylabel("held-out Chinese")
        figure.supxlabel("optimizer steps", fontsize=12)
    return Plot(figure, f"Four mystery runs, in nats. {'; '.join(texts)}.")


def check_causes(answers: object, records: Evidence, *, seed: int) -> bool:
    """The cause of each mystery run."""
    exercise = Exercise("04-3")

    def problem(_: str, answer: object, cause: str) -> str:
        if not isinstance(answer, str) or answer not in CAUSES:
            return exercise.say("choose", choices=", ".join(CAUSES), answer=short(answer))
        if answer == cause:
            return ""
        run = records.trial(*CAUSES[cause], seed).run
        losses = run.probe("zh")[1]
        rise, top = losses.max() - losses[0], run.loss.max()
        return exercise.say("advice", answer=answer, rise=rise, top=top)

    return exercise.check_table(answers, mystery_causes(seed), problem=problem)


def check_twin(answer: object, records: Evidence, *, seed: int) -> bool:
    """A factor on the learning rate that makes a spike as tall as the off-domain rows.

    The pulse is trained here (half a minute at most). As tall means within SAME.
    """
    if not is_number(answer) or not 1 < answer <= 100:
        return Exercise("04-4").refuse(answer)
    settings = PULSE | {"rows": "base", "factor": float(answer), "after": 8}
    run = procedures.pulse(SharedData(), seed, settings).run
    assert run is not None
    pulse = Trial("E2", "your pulse", seed, {}, {}, run)
    wanted = ev.event_height(records.trial(*HARD, seed))
    return twin_verdict(ev.event_height(pulse), rise=ev.probe_rise(pulse), wanted=wanted)


def twin_verdict(height: float, *, rise: float, wanted: float) -> bool:
    """Whether a pulse is as tall as the off-domain rows (`wanted`) and did harm, all in nats.

    `rise` is that of held-out Chinese.
    """
    exercise, problems = Exercise("04-4"), []
    if abs(height - wanted) > SAME:
        name = "smaller" if height > wanted else "larger"
        problems.append(exercise.say(name, height=height, wanted=wanted))
    elif rise < HARM:
        problems.append(exercise.say("harmless", rise=rise))
    return exercise.verdict(problems, height=height, rise=rise, wanted=wanted)
