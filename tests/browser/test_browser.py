"""A learner in a real JupyterLab: runs, changes settings while it trains, stops, opens a spike.

The pictures of the README are taken here, where the folder to write them to is named in
MINIMIND_LITE_SCREENSHOTS.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from browser import jupyter

from minimind_lite.files import shipped

WHY_NOT = jupyter.missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "there is a browser")

PANEL = ".minimind-lite-panel"
PICTURE = f"{PANEL} img.widget-image"
CELL = "from minimind_lite.lab import SpikeLab\nlab = SpikeLab()\nlab"
# Whatever can have the focus in the panel, as far as it is shown.
CONTROLS = f"{PANEL} :is(select, input, button):not(:disabled)"


def notebook(*cells):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    made = nbformat.v4.new_notebook(metadata=kernel)
    made.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    return nbformat.writes(made)


@pytest.fixture(scope="module")
def address():
    names = ("keys", "saved", "reloaded", "restarted")
    extra = {f"{name}.ipynb": notebook(CELL, "1 + 1") for name in names}
    with jupyter.jupyter_lab(extra=extra) as running:
        yield running


@pytest.fixture(scope="module")
def chrome():
    with jupyter.headless() as browser:
        yield browser


class LabOnPage:
    """The lab of a notebook, as it is on the page."""

    def __init__(self, chrome, address, name):
        self.errors = []
        self.page = jupyter.open_notebook(chrome, address, name)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        jupyter.run_all(self.page)
        self.show()

    def show(self):
        self.cell = self.page.locator(".jp-CodeCell", has=self.page.locator(PANEL)).first
        self.cell.locator(PICTURE).wait_for(timeout=30_000)
        self.cell.scroll_into_view_if_needed()

    def status(self):
        return self.cell.locator(f"{PANEL} [role=status]").first.inner_text()

    def until(self, pattern, seconds=20):
        """Wait for a status."""
        for _ in range(seconds * 20):
            if re.search(pattern, self.status()):
                return self.status()
            self.page.wait_for_timeout(50)
        raise AssertionError(f"waited for {pattern!r}, the panel says {self.status()!r}")

    def press(self, name):
        self.cell.get_by_role("button", name=name, exact=True).click()

    def setting(self, label):
        dropdowns = self.cell.locator(".widget-dropdown")
        return dropdowns.filter(has=self.page.get_by_text(label, exact=True)).locator("select")

    def choose(self, label, option):
        self.setting(label).select_option(label=option)

    def shows(self, label, option):
        """Wait until a setting shows an option: the page hears of it after the status."""
        self.setting(label).locator("option:checked", has_text=option).wait_for(
            state="attached", timeout=20_000
        )

    def picture(self):
        return self.cell.locator(PICTURE).evaluate("e => e.src")

    def new_picture(self, old):
        changed = f"o => [...document.querySelectorAll('{PICTURE}')].every(e => e.src !== o)"
        self.page.wait_for_function(changed, arg=old, timeout=20_000)

    def shot(self, name):
        """A screenshot for the README, where one is asked for."""
        if folder := os.environ.get("MINIMIND_LITE_SCREENSHOTS"):
            self.page.set_viewport_size({"width": 1366, "height": 2200})
            self.page.add_style_tag(content=".Toastify { display: none }")
            self.page.wait_for_timeout(500)
            self.cell.locator(PANEL).screenshot(path=Path(folder) / name)
            self.page.set_viewport_size(jupyter.LAPTOP)

    def settle(self):
        """Wait until the kernel has answered: two threads may take messages in either order."""
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(jupyter.IDLE, timeout=20_000)

    def train(self):
        """Press Run and wait for a step."""
        self.press("Run")
        return self.until(r"Training: step \d")

    def start(self):
        """Nothing trains, nothing is grey, and the settings are where a test wants them."""
        self.cell.scroll_into_view_if_needed()
        self.press("Reset")
        self.choose("shuffle", "off (file order)")
        self.choose("batch size", "16")
        self.press("Reset")
        self.settle()
        self.until("^Recorded: ")


def opened(chrome, address, name):
    lab = LabOnPage(chrome, address, name)
    yield lab
    assert not lab.errors, lab.errors
    lab.page.close()


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
    lab.choose("shuffle", "every epoch")
    lab.new_picture(old)
    lab.until("Recorded: 139 steps, no spike")
    lab.press("Run")
    lab.until(r"Training: step [2-9]")
    lab.choose("batch size", "64")  # while it trains
    lab.until("The settings have changed")
    lab.choose("batch size", "16")
    done = int(re.search(r"step (\d+)", lab.until(r"Training: step"))[1])
    lab.press("Pause")
    paused = lab.until("Paused at step")
    lab.page.wait_for_timeout(1200)
    assert lab.status() == paused and int(re.search(r"step (\d+)", paused)[1]) >= done
    lab.press("Run")
    lab.until(r"Training: step")
    lab.press("Stop")
    stopped, picture = lab.until("Stopped at step"), lab.picture()
    lab.page.wait_for_timeout(1200)
    assert lab.status() == stopped and lab.picture() == picture, "stopped is stopped"
    assert lab.page.locator(PICTURE).count() == 1, "nothing stacks up"


def test_lesson_12_opens_a_spike_and_the_text_is_the_file_s(last_lesson):
    lab = last_lesson
    lab.choose("preset", "tiny batch")
    lab.until("Recorded: 556 steps")
    lab.choose("preset", "as reported (#173)")
    lab.until("Recorded: 417 steps")
    lab.shows("epochs", "3")
    lab.choose("epochs", "1")
    lab.start()
    lab.until("Recorded: 139 steps, 5 spikes")
    lab.press("Run")
    lab.until(r"Training: step 5\d", seconds=60)
    lab.press("Pause")
    lab.shot("lab.png")
    lab.start()
    lab.cell.get_by_role("button", name=re.compile("^3: ")).click()
    details = lab.cell.locator("table details[open], .minimind-lite-panel details[open]").first
    details.wait_for(timeout=20_000)
    text = details.inner_text()
    position = int(re.search(r"opened=(\d+)", state_field(lab).input_value())[1])
    batch = shipped.conversations()[16 * position : 16 * position + 16]
    assert any(squeezed(c.messages[1][1])[:40] in squeezed(text) for c in batch), text[:300]
    assert any(str(c.line) in text for c in batch)
    lab.press("Close")
    details.wait_for(state="detached", timeout=10_000)


def squeezed(text):
    return re.sub(r"\s+", "", text)


def state_field(lab):
    fields = lab.cell.locator(".widget-text")
    return fields.filter(has_text="State of this lab").locator("input")


def test_lesson_12_pins_compares_and_speaks_chinese(last_lesson):
    lab = last_lesson
    lab.choose("epochs", "1")
    lab.start()
    lab.press("Pin")
    lab.choose("shuffle", "every epoch")
    lab.until("Recorded: 139 steps, no spike")
    lab.press("Compare")
    lab.cell.locator("table").last.wait_for(timeout=20_000)
    lab.press("中文 / English")
    lab.until("139 步")
    lab.press("运行")
    lab.until(r"第 \d+ 步")
    lab.press("停止")
    lab.until("停")
    lab.press("重置")
    lab.until("139 步")
    lab.shot("lab.zh.png")
    lab.press("English / 中文")
    assert lab.until("^Recorded: 139 steps")


def test_a_pasted_state_is_loaded(last_lesson):
    """B10: the field invites pasting, so it takes what is pasted."""
    lab = last_lesson
    lab.start()
    state_field(lab).fill(state_field(lab).input_value().replace("order=file", "order=shuffle"))
    state_field(lab).press("Enter")
    lab.until("Recorded: 139 steps, no spike")
    label = lab.setting("shuffle").evaluate("e => e.selectedOptions[0].label")
    assert label.replace("\xa0", " ") == "every epoch"


def test_every_setting_has_its_help_on_the_page(last_lesson):
    """B7: what a front end shows no tooltip for can be read in the panel."""
    page = last_lesson.cell
    page.get_by_text("What do these settings do?").click()
    text = page.locator(PANEL).inner_text()
    for label in ("shuffle", "loss average", "rate pulse", "log every", "schedule"):
        assert re.search(rf"^{label}\n+\S.{{20}}", text, re.M), label


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
    lab.setting("batch size").focus()
    tab_to(lab.page, "Run")
    lab.page.keyboard.press("Enter")
    lab.until(r"Training: step \d")
    tab_to(lab.page, "Stop")
    lab.page.keyboard.press("Enter")
    assert lab.until("Stopped at step")


def test_keys_pressed_in_the_panel_edit_no_cell(chrome, address):
    """B2: `x` cut the lab's cell, `b` added one, and the arrows left the panel."""
    lab = LabOnPage(chrome, address, "keys.ipynb")
    before = lab.page.evaluate(jupyter.CELLS)
    lab.page.wait_for_timeout(1000)
    controls = lab.page.locator(CONTROLS)
    tried = 0
    for i in range(controls.count()):
        control = controls.nth(i)
        if not control.is_visible():
            continue
        control.focus()
        for key in ("x", "b", "ArrowDown"):
            lab.page.keyboard.press(key)
        tried += 1
        assert lab.page.evaluate(jupyter.CELLS) == before, control.evaluate("e => e.outerHTML")
        lab.settle()
    assert tried >= 20
    assert lab.page.locator(PICTURE).count() == 1
    assert lab.page.evaluate(f"() => {jupyter.WIDGET}.content.activeCellIndex") < before
    lab.page.close()


def test_arrows_move_a_setting(first_lesson):
    """B2: the arrow keys belong to the control that has the focus."""
    lab = first_lesson
    lab.start()
    setting = lab.setting("batch size")
    setting.focus()
    lab.page.keyboard.press("ArrowDown")
    lab.settle()
    assert setting.evaluate("e => e.selectedOptions[0].label") == "32"
    assert setting.evaluate("e => e === document.activeElement")


def test_a_saved_and_reopened_notebook_shows_a_picture(chrome, address):
    """B4: without a kernel that knows the widgets, "model not found" stood where the curve was."""
    page = LabOnPage(chrome, address, "saved.ipynb").page
    jupyter.save(page)
    shut_down = f"async () => await {jupyter.WIDGET}.sessionContext.shutdown()"
    page.evaluate(shut_down)
    page.reload()
    jupyter.until_ready(page)
    picture = page.locator(".jp-RenderedImage img").first
    picture.wait_for(timeout=20_000)
    assert picture.is_visible()
    assert picture.evaluate("e => e.naturalWidth") > 400
    assert "model not found" not in page.locator(".jp-OutputArea").first.inner_text().lower()
    page.close()


def test_a_reload_in_mid_run_is_a_pause(chrome, address):
    """B3: after a reload the panel said "Training" for ever, and Run was grey."""
    lab = LabOnPage(chrome, address, "reloaded.ipynb")
    jupyter.save(lab.page)  # a page that is loaded again shows what was saved
    assert lab.train()
    lab.page.reload()
    jupyter.until_ready(lab.page)
    lab.show()
    done = int(re.search(r"step (\d+)", lab.until("Paused at step", seconds=30))[1])
    lab.press("Run")
    for _ in range(200):
        now = re.search(r"Training: step (\d+)", lab.status())
        if now and int(now[1]) > done:
            break
        lab.page.wait_for_timeout(50)
    else:
        raise AssertionError(lab.status())
    lab.press("Stop")
    lab.until("Stopped at step")
    lab.page.close()


def test_after_a_restart_of_the_kernel_the_run_goes_on(chrome, address):
    lab = LabOnPage(chrome, address, "restarted.ipynb")
    lab.press("Run")
    lab.until(r"Training: step (2[1-9]|[3-9]\d|1\d\d) of 139", seconds=60)
    lab.page.evaluate(f"() => {jupyter.WIDGET}.sessionContext.session.kernel.restart()")
    jupyter.until_ready(lab.page)
    jupyter.run_all(lab.page)
    lab.show()
    lab.until(r"broken off after step \d+ of 139: Go on continues it")
    lab.press("Go on")
    lab.until(r"Done: 139 steps", seconds=90)
    assert lab.errors == []


def test_running_the_cell_again_releases_the_run(first_lesson):
    lab = first_lesson
    lab.start()
    assert lab.train()
    lab.cell.locator(".cm-content").first.click()
    lab.page.keyboard.press("Control+Enter")
    lab.until("^Recorded: 139 steps")
    lab.settle()
    assert lab.page.locator(PICTURE).count() == 1
    assert lab.train()
    lab.press("Stop")
    lab.until("Stopped at step")


def test_clearing_the_cell_pauses_the_run(first_lesson):
    lab = first_lesson
    lab.start()
    assert lab.train()
    lab.cell.locator(".cm-content").first.click()
    lab.page.keyboard.press("Escape")
    jupyter.command(lab.page, "notebook:clear-cell-output")
    lab.page.wait_for_function(f"() => !document.querySelector('{PICTURE}')", timeout=10_000)
    lab.page.wait_for_timeout(1500)  # what was under way is answered
    status = f"() => {jupyter.KERNEL}.status"
    assert {lab.page.evaluate(status) for _ in range(300)} == {"idle"}, "something still ticks"
