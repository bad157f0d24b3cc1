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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from minimind_lite.files import shipped
from minimind_lite.files.provenance import environment
from minimind_lite.lab import plan
from minimind_lite.lab.app import SpikeLab
from minimind_lite.lab.widgets import OWN_CLOCK, TICK

SWITCHES, ROUNDS, STEPS, STOPS = 100, 5, 60, 10
PARTS = 2 + ROUNDS  # of the progress

Progress = Callable[[str], None]
Screen = Callable[[Progress], list[dict[str, str | float | bool]]]


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
    lines = [switches(progress), *live(progress)]
    return lines + [Line(**line) for line in on_screen(progress)] if on_screen else lines


@contextmanager
def _panel() -> Iterator[SpikeLab]:
    lab = SpikeLab()
    lab.panel()
    try:
        yield lab
    finally:
        lab.close()


def _tick(lab: SpikeLab) -> None:
    start = time.perf_counter()
    lab.widgets.clock.value += 1
    time.sleep(max(0.0, TICK / 1000 - (time.perf_counter() - start)))


def _press_run(lab: SpikeLab) -> None:
    lab.widgets.buttons["reset"].click()
    if OWN_CLOCK:
        lab.widgets.clock._playing = True
        lab.widgets.clock.value += 1
    else:
        lab.widgets.buttons["run"].click()


def switches(progress: Progress) -> Line:
    """Seconds from a changed setting to the new picture, from the records."""
    rng, seconds = random.Random(0), []
    choices = {
        "order": plan.ORDERS,
        "batch_size": plan.BATCH_SIZES,
        "accumulation_steps": plan.ACCUMULATION_STEPS,
    }
    with _panel() as lab:
        for _ in range(SWITCHES):
            name = rng.choice(list(choices))
            setting, before = lab.widgets.settings[name], lab.widgets.image.value
            value = rng.choice([v for v in choices[name] if v != setting.value])
            start = time.perf_counter()
            setting.value = value
            seconds.append(time.perf_counter() - start)
            # Accumulation changes what is logged, and may leave the picture as it was.
            changed = lab.widgets.image.value != before or name == "accumulation_steps"
            assert lab.session.current.run is not None and changed, f"{name} = {value}: no picture"
    progress("switches")
    what = f"switch to repaint from records, kernel (median of {SWITCHES})"
    return Line(what, 1000 * statistics.median(seconds), "ms", 100)


def live(progress: Progress) -> list[Line]:
    """A run that is watched against one that is not, in turn; and how soon it stops."""
    firsts, ratios, rates = [], [], []
    with _panel() as lab:
        for _ in range(ROUNDS):
            alone = _unwatched(STEPS)
            first, watched, rate = _watched(lab, STEPS)
            firsts.append(first)
            ratios.append(watched / alone)
            rates.append(rate)
            lab.widgets.buttons["stop"].click()
            lab.session.idle(10)
            progress("a run watched and one that is not")
        stops = {}
        for batch, times in ((16, STOPS), (256, 3)):
            lab.widgets.settings["batch_size"].value = batch
            stops[batch] = [_stop(lab) for _ in range(times)]
        progress("stops")
    median = statistics.median
    stopped = median([shown for shown, _ in stops[16]])
    idle = {batch: median([until for _, until in pairs]) for batch, pairs in stops.items()}
    return [
        Line(f"first point after Run, kernel (median of {ROUNDS})", median(firsts), "s", 1),
        Line("repaints a second while it trains, kernel", median(rates), "1/s", 4, at_least=True),
        Line("training slowed by being watched", 100 * (median(ratios) - 1), "%", 15),
        Line(f"Stop to stopped (median of {STOPS})", stopped, "s", 0.5),
        *(Line(f"Stop to an idle processor, batch {b}", idle[b], "s", 0.5) for b in idle),
    ]


def _unwatched(steps: int) -> float:
    """Seconds from the first record to the last of a run that nobody watches."""
    data = shipped.sft_rows(shipped.chat())
    records = plan.steps(plan.RunSpec(), shipped.base_model(), data=data, probes={})
    next(records)
    start = time.perf_counter()
    for _ in range(steps):
        next(records)
    seconds = time.perf_counter() - start
    records.close()
    return seconds


def _watched(lab: SpikeLab, steps: int) -> tuple[float, float, float]:
    """Seconds to the first point, seconds for `steps` more, and repaints a second meanwhile."""

    def count() -> int:
        return len(lab.session.current.run or ()) if lab.session.live else 0

    start = time.perf_counter()
    _press_run(lab)
    while not count():
        _tick(lab)
    first, begun, repaints = time.perf_counter() - start, count(), 0
    before, start = lab.widgets.image.value, time.perf_counter()
    while count() < begun + steps:
        _tick(lab)
        repaints += lab.widgets.image.value != before
        before = lab.widgets.image.value
    seconds = time.perf_counter() - start
    return first, seconds * steps / (count() - begun), repaints / seconds


def _stop(lab: SpikeLab) -> tuple[float, float]:
    """Seconds from Stop, at a random moment, until the lab shows it, and until nothing computes."""
    _press_run(lab)
    while not lab.session.current.run or lab.session.current.source != "trained":
        _tick(lab)
    time.sleep(random.random() * 0.3)
    start = time.perf_counter()
    lab.widgets.buttons["stop"].click()
    shown = time.perf_counter() - start
    assert lab.session.live is None and lab.session.status == "stopped", lab.session.status
    lab.session.idle(30)
    return shown, time.perf_counter() - start


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
