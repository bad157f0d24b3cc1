"""A learner in a real JupyterLab: opens lessons 00 and 12, runs, turns knobs while it trains, stops, opens a spike and reads it.

The pictures of the README are taken here, where the folder to write them to is named in
MINIMIND_LITE_SCREENSHOTS.
"""

import os
import re
from pathlib import Path

import pytest

from minimind_lite.bench import browser
from minimind_lite.files import shipped

WHY_NOT = browser.missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "there is a browser")
SRC = "e => e.src"


@pytest.fixture(scope="module")
def address():
    with browser.jupyter_lab() as found:
        yield found


@pytest.fixture(scope="module")
def chrome():
    with browser.headless() as found:
        yield found


class Bench:
    """The lab of a lesson, as it is on the page."""

    def __init__(self, chrome, address, lesson):
        self.errors = []
        self.page = browser.open_notebook(chrome, address, lesson)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        browser.run_all(self.page)
        self.cell = self.page.locator(
            ".jp-CodeCell", has=self.page.locator("img.widget-image")
        ).first
        self.cell.locator("img.widget-image").wait_for(timeout=30_000)
        self.cell.scroll_into_view_if_needed()

    def status(self):
        return self.cell.locator(".widget-html-content").first.inner_text()

    def until(self, pattern, seconds=20):
        """Wait for a status."""
        for _ in range(seconds * 20):
            if re.search(pattern, self.status()):
                return self.status()
            self.page.wait_for_timeout(50)
        raise AssertionError(f"waited for {pattern!r}, the panel says {self.status()!r}")

    def press(self, name):
        self.cell.get_by_role("button", name=name, exact=True).click()

    def knob(self, label, option):
        self.cell.locator(".widget-dropdown", has=self.page.get_by_text(label, exact=True)).locator(
            "select"
        ).select_option(label=option)

    def picture(self):
        return self.cell.locator("img.widget-image").evaluate(SRC)

    def new_picture(self, old):
        self.page.wait_for_function(
            "o => [...document.querySelectorAll('img.widget-image')].every(e => e.src !== o)",
            arg=old,
            timeout=20_000,
        )

    def shot(self, name):
        """A screenshot for the README, where one is asked for."""
        if folder := os.environ.get("MINIMIND_LITE_SCREENSHOTS"):
            self.page.set_viewport_size({"width": 1366, "height": 2200})
            self.page.add_style_tag(content=".Toastify { display: none }")
            self.page.wait_for_timeout(500)
            self.cell.locator(".jp-OutputArea-output").last.screenshot(path=Path(folder) / name)
            self.page.set_viewport_size(browser.LAPTOP)

    def settle(self):
        """Wait until the kernel has answered: messages of two widgets may be taken by two threads, in either order."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(browser.IDLE, timeout=20_000)

    def train(self):
        """Press Run and wait for a step."""
        self.press("Run")
        return self.until(r"Training: step \d")

    def start(self, order="off (file order)", batch="16"):
        """Nothing trains, nothing is grey, and the knobs are where a test wants them."""
        self.cell.scroll_into_view_if_needed()
        self.press("Reset")
        self.knob("shuffle", order)
        self.knob("batch size", batch)
        self.press("Reset")
        self.settle()
        self.until("^Recorded: ")


def opened(chrome, address, lesson):
    bench = Bench(chrome, address, lesson)
    yield bench
    assert not bench.errors, bench.errors
    bench.page.close()


@pytest.fixture(scope="module")
def first_lesson(chrome, address):
    yield from opened(chrome, address, "00_start_here.ipynb")


@pytest.fixture(scope="module")
def last_lesson(chrome, address):
    yield from opened(chrome, address, "12_spike_lab.ipynb")


def test_lesson_00_answers_trains_and_stops(first_lesson):
    lab = first_lesson
    lab.until("^Recorded: 139 steps, 5 spikes")
    old = lab.picture()
    lab.knob("shuffle", "every epoch")
    lab.new_picture(old)
    assert "no spike" in lab.until("Recorded: 139 steps, no spike")
    lab.press("Run")
    lab.until(r"Training: step [2-9]")
    lab.knob("batch size", "64")  # while it trains
    lab.until("The knobs have changed")
    lab.knob("batch size", "16")
    done = int(re.search(r"step (\d+)", lab.until(r"Training: step"))[1])
    lab.press("Pause")
    held = lab.until("Paused at step")
    lab.page.wait_for_timeout(1200)
    assert lab.status() == held and int(re.search(r"step (\d+)", held)[1]) >= done, (
        "paused is paused"
    )
    lab.press("Run")
    lab.until(r"Training: step")
    lab.press("Stop")
    stopped, picture = lab.until("Stopped at step"), lab.picture()
    lab.page.wait_for_timeout(1200)
    assert lab.status() == stopped and lab.picture() == picture, "stopped is stopped"
    assert lab.page.locator("img.widget-image").count() == 1, "nothing stacks up"


def test_lesson_12_opens_a_spike_and_the_text_is_the_file_s(last_lesson):
    lab = last_lesson
    lab.knob("preset", "tiny batch")
    lab.until("Recorded: 556 steps")
    lab.knob("preset", "as reported (#173)")
    lab.until("Recorded: 417 steps")
    lab.knob("epochs", "1")
    lab.start()
    lab.until("Recorded: 139 steps, 5 spikes")
    lab.press("Run")
    lab.until(r"Training: step 5\d", seconds=60)
    lab.press("Pause")
    lab.shot("lab.png")
    lab.start()
    lab.cell.get_by_role("button", name=re.compile("^3: ")).click()
    details = lab.cell.locator("details[open]").first
    details.wait_for(timeout=20_000)
    text, row = (
        details.inner_text(),
        int(re.search(r"opened=(\d+)", lab.cell.locator("input[type=text]").last.input_value())[1])
        * 16,
    )
    batch = shipped.conversations()[row : row + 16]
    words = lambda t: re.sub(r"\s+", "", t)
    assert any(words(c.messages[1][1])[:40] in words(text) for c in batch), text[:300]
    assert any(str(c.line) in text for c in batch)
    lab.shot("spike-open.png")
    lab.press("Close")
    details.wait_for(state="detached", timeout=10_000)


def test_lesson_12_pins_compares_and_speaks_chinese(last_lesson):
    lab = last_lesson
    lab.knob("epochs", "1")
    lab.start()
    lab.press("Pin")
    lab.knob("shuffle", "every epoch")
    lab.until("Recorded: 139 steps, no spike")
    lab.press("Compare")
    lab.cell.locator("table").last.wait_for(timeout=20_000)
    lab.shot("compare.png")
    lab.press("中文 / English")
    lab.until("^已录：139 步")
    lab.cell.get_by_role("button", name="运行", exact=True).click()
    lab.until(r"训练中：第 \d+ 步")
    lab.cell.get_by_role("button", name="停止", exact=True).click()
    lab.until("^停在第")
    lab.cell.get_by_role("button", name="重置", exact=True).click()
    lab.until("^已录：139 步")
    lab.shot("lab.zh.png")
    lab.press("English / 中文")
    assert lab.until("^Recorded: 139 steps")


def tab_to(page, name, most=8):
    """Press Tab until a button of that name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.innerText") == name:
            return
    raise AssertionError(f"{most} times Tab, and no {name}")


def test_the_keyboard_is_enough(first_lesson):
    """Tab to Run, Enter, and it trains; Tab to Stop, Enter, and it stops."""
    lab = first_lesson
    lab.start()
    lab.cell.locator(
        ".widget-dropdown", has=lab.page.get_by_text("batch size", exact=True)
    ).locator("select").focus()
    tab_to(lab.page, "Run")
    lab.page.keyboard.press("Enter")
    lab.until(r"Training: step \d")
    tab_to(lab.page, "Stop")
    lab.page.keyboard.press("Enter")
    assert lab.until("Stopped at step")


def test_running_the_cell_again_releases_the_run(first_lesson):
    lab = first_lesson
    lab.start()
    assert lab.train()
    lab.cell.locator(".jp-Editor, .cm-content").first.click()
    lab.page.keyboard.press("Control+Enter")
    lab.until("^Recorded: 139 steps")
    lab.settle()
    assert lab.page.locator("img.widget-image").count() == 1
    assert lab.train()
    lab.press("Stop")
    lab.until("Stopped at step")


def test_clearing_the_cell_pauses_the_run(first_lesson):
    lab = first_lesson
    lab.start()
    assert lab.train()
    lab.cell.locator(".cm-content").first.click()
    lab.page.keyboard.press("Escape")
    lab.page.evaluate(
        "() => { window.jupyterapp.commands.execute('notebook:clear-cell-output'); return null }"
    )
    lab.page.wait_for_function("() => !document.querySelector('img.widget-image')", timeout=10_000)
    lab.page.wait_for_timeout(1500)  # what was under way is answered
    status = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
    assert {lab.page.evaluate(status) for _ in range(300)} == {"idle"}, "something still ticks"
