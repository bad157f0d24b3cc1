"""How quickly the Spike Lab answers: in the kernel, and, where there is a browser, on the screen.

In the kernel the lab is pressed as a browser presses it: a tick is sent when the one before was
answered, TICK milliseconds later at the earliest. On the screen a real JupyterLab is driven, and
what is timed ends when the picture's address has changed.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import torch

from minimind_lite.bench import browser
from minimind_lite.bench.steps import environment
from minimind_lite.files import shipped
from minimind_lite.lab import recordings
from minimind_lite.lab.app import SpikeLab
from minimind_lite.lab.recordings import Setup
from minimind_lite.lab.widgets import OWN_CLOCK, TICK

if TYPE_CHECKING:
    from playwright.sync_api import Page

SWITCHES, ROUNDS, STEPS, STOPS = 100, 5, 60, 10
SCREEN_SWITCHES, SCREEN_SECONDS = 40, 6.0
CELL = "import torch\ntorch.set_num_threads(1)\nfrom minimind_lite.lab import SpikeLab\nlab = SpikeLab()\nlab"
SRC = "() => [...document.querySelectorAll('img.widget-image')].at(-1).src"
STATUS = "() => [...document.querySelectorAll('.jp-OutputArea .widget-html-content')][0].innerText"


@dataclass(frozen=True)
class Line:
    """One figure against its goal."""

    what: str
    value: float
    unit: str
    goal: str
    met: bool


def _line(what: str, value: float, unit: str, goal: float, *, at_least: bool = False) -> Line:
    return Line(
        what,
        value,
        unit,
        f"{'>=' if at_least else '<='} {goal:g}",
        value >= goal if at_least else value <= goal,
    )


def _press_run(lab: SpikeLab) -> None:
    if OWN_CLOCK:
        lab.widgets.clock._playing = True
        lab.widgets.clock.value += 1
    else:
        lab.widgets.buttons["run"].click()


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


def switches(progress: Callable[[str], None]) -> list[Line]:
    """A knob turned and the picture made anew, from the records."""
    rng, seconds = random.Random(0), []
    with _panel() as lab:
        knobs = lab.widgets.knobs
        choices = {
            "order": recordings.ORDERS,
            "batch": recordings.BATCHES,
            "accumulation": recordings.ACCUMULATION,
        }
        for _ in range(SWITCHES):
            name = rng.choice(list(choices))
            value, before = (
                rng.choice([v for v in choices[name] if v != knobs[name].value]),
                lab.widgets.image.value,
            )
            start = time.perf_counter()
            knobs[name].value = value
            seconds.append(time.perf_counter() - start)
            if lab.session.current.run is None or (
                lab.widgets.image.value == before and name != "accumulation"
            ):
                raise AssertionError(f"{name} = {value}: no new picture from the records")
    progress("switches")
    return [
        _line(
            f"switch to repaint from records, kernel (median of {SWITCHES})",
            1000 * statistics.median(seconds),
            "ms",
            100,
        )
    ]


def _headless(steps: int) -> float:
    """Seconds from the first record to the last of a run that nobody watches."""
    records = recordings.steps(Setup(), shipped.base_model(), shipped.sft_rows(shipped.chat()), {})
    next(records)
    start = time.perf_counter()
    for _ in range(steps):
        next(records)
    seconds = time.perf_counter() - start
    records.close()
    return seconds


def _watched(lab: SpikeLab, steps: int) -> tuple[float, float, float]:
    """Seconds to the first point, seconds from there to `steps` more, and repaints a second in between."""
    lab.widgets.buttons["reset"].click()
    count = lambda: len(lab.session.current.run or ()) if lab.session.live else 0
    pictures, start = 0, time.perf_counter()
    _press_run(lab)
    while not count():
        _tick(lab)
    first, begun, before = time.perf_counter() - start, count(), lab.widgets.image.value
    start = time.perf_counter()
    while count() < begun + steps:
        _tick(lab)
        pictures += lab.widgets.image.value != before
        before = lab.widgets.image.value
    seconds = (time.perf_counter() - start) * steps / (count() - begun)  # a tick takes whole steps
    return first, seconds, pictures / (time.perf_counter() - start)


def live(progress: Callable[[str], None]) -> list[Line]:
    """A run that is watched against one that is not, in turn; and how soon it stops."""
    firsts, ratios, rates, stops = [], [], [], []
    with _panel() as lab:
        for _ in range(ROUNDS):
            alone = _headless(STEPS)
            first, watched, rate = _watched(lab, STEPS)
            firsts.append(first)
            ratios.append(watched / alone)
            rates.append(rate)
            lab.widgets.buttons["stop"].click()
            lab.session.idle(10)
            progress("a run watched and one that is not")
        for batch in (16, 256):
            lab.widgets.knobs["batch"].value = batch
            stops.append([_stop(lab) for _ in range(STOPS if batch == 16 else 3)])
        progress("stops")
    median = lambda values: statistics.median(values)
    return [
        _line(f"first point after Run, kernel (median of {ROUNDS})", median(firsts), "s", 1),
        _line("repaints a second while it trains, kernel", median(rates), "1/s", 4, at_least=True),
        _line("training slowed by being watched", 100 * (median(ratios) - 1), "%", 15),
        _line(f"Stop to stopped (median of {STOPS})", median([s for s, _ in stops[0]]), "s", 0.5),
        _line("Stop to an idle processor, batch 16", median([s for _, s in stops[0]]), "s", 0.5),
        _line("Stop to an idle processor, batch 256", median([s for _, s in stops[1]]), "s", 0.5),
    ]


def _stop(lab: SpikeLab) -> tuple[float, float]:
    """Seconds from a press of Stop until the lab says so, and until nothing is computed any more; pressed at a random moment."""
    lab.widgets.buttons["reset"].click()
    _press_run(lab)
    while not lab.session.current.run or lab.session.current.source != "trained":
        _tick(lab)
    time.sleep(random.random() * 0.3)
    start = time.perf_counter()
    lab.widgets.buttons["stop"].click()
    said = time.perf_counter() - start
    if lab.session.live is not None or lab.session.status != "stopped":
        raise AssertionError(f"pressed Stop, and the lab says {lab.session.status}")
    lab.session.idle(30)
    return said, time.perf_counter() - start


def on_screen(progress: Callable[[str], None]) -> list[Line]:
    """The same in a real JupyterLab: from the choice in a list, or a press of Run, to the picture on the page."""
    with (
        browser.jupyter_lab(extra={"bench.ipynb": nbformat.writes(_notebook())}) as address,
        browser.headless() as chrome,
    ):
        page = browser.open_notebook(chrome, address, "bench.ipynb")
        browser.run_all(page)
        page.wait_for_function(f"() => ({SRC})()", timeout=30_000)
        order = page.locator("select").filter(has=page.locator("option", has_text="every epoch"))
        seconds = [
            _until_new_picture(page, lambda i=i: order.select_option(index=(2, 0)[i % 2]))
            for i in range(SCREEN_SWITCHES)
        ]
        progress("switches on the screen")
        first = _until(
            page,
            lambda: page.get_by_role("button", name="Run", exact=True).click(),
            f"() => /step [0-9]/.test(({STATUS})())",
        )
        seen, end = {page.evaluate(SRC)}, time.perf_counter() + SCREEN_SECONDS
        while time.perf_counter() < end:
            seen.add(page.evaluate(SRC))
        stop = _until(
            page,
            lambda: page.get_by_role("button", name="Stop", exact=True).click(),
            f"() => ({STATUS})().startsWith('Stopped')",
        )
        progress("a run on the screen")
    return [
        _line(
            f"switch to repaint on the screen (median of {SCREEN_SWITCHES})",
            1000 * statistics.median(seconds),
            "ms",
            250,
        ),
        _line("first point after Run, on the screen", first, "s", 1),
        _line(
            "repaints a second on the screen",
            (len(seen) - 1) / SCREEN_SECONDS,
            "1/s",
            4,
            at_least=True,
        ),
        _line("Stop to stopped, on the screen", stop, "s", 0.5),
    ]


def _notebook() -> nbformat.NotebookNode:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata=kernel)


def _until_new_picture(page: Page, action: Callable[[], object]) -> float:
    old = page.evaluate(SRC)
    return _until(page, action, f"() => ({SRC})() !== {json.dumps(old)}")


def _until(page: Page, action: Callable[[], object], condition: str) -> float:
    start = time.perf_counter()
    action()
    page.wait_for_function(condition, timeout=30_000, polling=10)
    return time.perf_counter() - start


def measure(*, screen: bool, progress: Callable[[str], None] = lambda _: None) -> list[Line]:
    """All figures; those of the screen only where `screen`. Raises `AssertionError` where the lab does not do what is timed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a lesson begins
    try:
        return [*switches(progress), *live(progress), *(on_screen(progress) if screen else [])]
    finally:
        torch.set_num_threads(threads)


def report(lines: list[Line]) -> str:
    """A table, as text."""
    rows = [("what", "measured", "goal", "")]
    rows += [
        (x.what, f"{x.value:.3g} {x.unit}", f"{x.goal} {x.unit}", "" if x.met else "falls short")
        for x in lines
    ]
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    return "\n".join(
        f"{a.ljust(widths[0])}  {b.rjust(widths[1])}  {c.rjust(widths[2])}  {d}".rstrip()
        for a, b, c, d in rows
    )


def save(path: Path, lines: list[Line]) -> None:
    """The figures as JSON, with where they were measured."""
    path.write_text(
        json.dumps({"environment": environment(), "lines": [asdict(x) for x in lines]}, indent=1)
        + "\n",
        encoding="utf-8",
    )


def load(path: Path) -> list[Line]:
    """What `save` wrote."""
    return [Line(**x) for x in json.loads(path.read_text(encoding="utf-8"))["lines"]]
