"""How quickly the Spike Lab answers: in the kernel and, where there is a browser, on the screen.

In the kernel the lab is pressed as a browser presses it: a tick follows the answer to the one
before, TICK milliseconds later at the earliest. What drives a real JupyterLab is part of the tests,
so that learners need not install it: it is loaded from a clone's `tests/browser` folder.
"""

from __future__ import annotations

import importlib.util
import json
import random
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from minimind_lite.files import shipped
from minimind_lite.files.provenance import environment
from minimind_lite.lab import plan
from minimind_lite.lab.app import SpikeLab
from minimind_lite.lab.widgets import OWN_CLOCK, TICK

SWITCHES, ROUNDS, STEPS, STOPS = 100, 5, 60, 5
PARTS = 3  # of the progress

Progress = Callable[[str], None]
Screen = Callable[[Progress], list[tuple[str, float, str, float, bool]]]  # fields of lines


@dataclass(frozen=True)
class Line:
    """One figure against its goal."""

    what: str
    value: float
    unit: str
    goal: float
    at_least: bool = False

    def met(self) -> bool:
        """Is the goal reached?"""
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def cells(self) -> tuple[str, str, str]:
        """What was measured, the figure, and the goal, for a table."""
        sign = ">=" if self.at_least else "<="
        return self.what, f"{self.value:.3g} {self.unit}", f"{sign} {self.goal:g} {self.unit}"


def screen() -> tuple[Screen | None, str]:
    """What measures the lab in a browser (`tests/browser/screen.py`); or None, and why not."""
    path = Path(__file__).resolve().parents[2] / "tests" / "browser" / "screen.py"
    if not path.exists():
        return None, "there is no tests/browser/screen.py (a clone of the repository has it)"
    spec = importlib.util.spec_from_file_location("minimind_lite_screen", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    why_not = module.missing()
    return (None, why_not) if why_not else (module.measure, "")


def measure(*, on_screen: Screen | None, progress: Progress = lambda _: None) -> list[Line]:
    """All figures. Raises `AssertionError` where the lab does not do what is timed."""
    lines: list[Line] = []
    with closing(Learner()) as learner:
        for part in (switches, slowed, stops):
            progress("in the kernel")
            lines += part(learner)
    return lines + [Line(*fields) for fields in on_screen(progress)] if on_screen else lines


class Learner:
    """A lab with its panel, and what a learner does with it."""

    def __init__(self) -> None:
        self.lab = SpikeLab()
        self.lab.panel()
        panel = self.lab.widgets
        assert panel is not None
        self.panel, self.session, self.close = panel, self.lab.session, self.lab.close

    def press_run(self) -> None:
        """Run, from the beginning, until there is a step."""
        self.panel.buttons["reset"].click()
        if OWN_CLOCK:
            self.panel.clock._playing = True
        else:
            self.panel.buttons["run"].click()
        while not self.steps():
            self.tick()

    def tick(self) -> None:
        """What a browser sends while a run goes on."""
        start = time.perf_counter()
        self.panel.clock.value += 1
        time.sleep(max(0.0, TICK / 1000 - (time.perf_counter() - start)))

    def steps(self) -> int:
        """Steps of the live run that the lab shows."""
        run = self.session.current.run
        return len(run) if run is not None and self.session.live is not None else 0

    def press_stop(self) -> float:
        """Seconds until nothing computes any more."""
        start = time.perf_counter()
        self.panel.buttons["stop"].click()
        assert self.session.live is None and self.session.status == "stopped", self.session.status
        self.session.idle(30)
        return time.perf_counter() - start


def switches(learner: Learner) -> list[Line]:
    """Milliseconds from a changed setting to the new picture, from the records."""
    rng, seconds, panel = random.Random(0), [], learner.panel
    choices: dict[str, tuple[object, ...]] = {"order": plan.ORDERS, "batch_size": plan.BATCH_SIZES}
    for _ in range(SWITCHES):
        name = rng.choice(list(choices))
        setting, before = panel.settings[name], panel.image.value
        value = rng.choice([v for v in choices[name] if v != setting.value])
        start = time.perf_counter()
        setting.value = value
        seconds.append(time.perf_counter() - start)
        assert panel.image.value != before, f"{name} = {value}: no new picture"
    what = f"switch to repaint from records, kernel (median of {SWITCHES})"
    return [Line(what, 1000 * statistics.median(seconds), "ms", 100)]


def slowed(learner: Learner) -> list[Line]:
    """A run that is watched against one that is not, in turn."""
    data, slower = shipped.sft_rows(shipped.chat()), []
    learner.panel.settings["order"].value, learner.panel.settings["batch_size"].value = "file", 16
    for _ in range(ROUNDS):
        spec, model = plan.RunSpec(), shipped.base_model()
        records = plan.steps(spec, plan.session_of(spec, model, data=data, probes={}))
        next(records)
        start = time.perf_counter()
        list(islice(records, STEPS))
        alone = (time.perf_counter() - start) / STEPS
        learner.press_run()
        begun, start = learner.steps(), time.perf_counter()
        while learner.steps() < begun + STEPS:
            learner.tick()
        watched = (time.perf_counter() - start) / (learner.steps() - begun)
        slower.append(100 * (watched / alone - 1))
        learner.press_stop()
    return [Line("training slowed by being watched", statistics.median(slower), "%", 15)]


def stops(learner: Learner) -> list[Line]:
    """Run, then Stop at a random moment."""
    lines = []
    for batch_size in (16, 256):
        learner.panel.settings["batch_size"].value = batch_size
        seconds = []
        for _ in range(STOPS):
            learner.press_run()
            time.sleep(random.random() * 0.3)
            seconds.append(learner.press_stop())
        what = f"Stop to an idle processor, batch {batch_size}"
        lines.append(Line(what, statistics.median(seconds), "s", 0.5))
    return lines


def report(lines: list[Line]) -> str:
    """A table, as text."""
    rows = [("what", "measured", "goal", "")]
    rows += [(*line.cells(), "" if line.met() else "falls short") for line in lines]
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return "\n".join(
        f"{what:{widths[0]}s}  {value:>{widths[1]}s}  {goal:>{widths[2]}s}  {verdict}".rstrip()
        for what, value, goal, verdict in rows
    )


def save(path: Path, lines: list[Line]) -> None:
    """The figures as JSON, with where they were measured."""
    content = {"environment": environment(), "lines": [asdict(line) for line in lines]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> list[Line]:
    """What `save` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Line(**line) for line in content["lines"]]
