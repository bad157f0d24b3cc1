"""How quickly the Spike Lab answers on the screen: what `bench --lab` measures in a browser.

Each time begins with a choice in a list, or a press of a button, and ends when the page has
changed. `bench --lab` loads this file from a clone, so that learners need no browser driver.
"""

import importlib.util
import json
import statistics
import time
from pathlib import Path

import nbformat

# Loaded by path, by `bench` and by pytest alike: this folder is no package.
_spec = importlib.util.spec_from_file_location("jupyter", Path(__file__).with_name("jupyter.py"))
jupyter = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(jupyter)
missing = jupyter.missing

SWITCHES, SECONDS = 40, 6.0
CELL = "from minimind_lite.lab import SpikeLab\nlab = SpikeLab()\nlab"
PICTURE = "[...document.querySelectorAll('img.widget-image')].at(-1)?.src"
STATUS = "document.querySelector('.minimind-lite-panel [role=status]').innerText"


def measure(progress):
    """The figures: what, value, unit, goal, and whether the goal is the least."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata=kernel)
    extra = {"bench.ipynb": nbformat.writes(notebook)}
    with jupyter.jupyter_lab(extra=extra) as address, jupyter.headless() as chrome:
        page = jupyter.open_notebook(chrome, address, "bench.ipynb")
        jupyter.run_all(page)
        page.wait_for_function(f"() => {PICTURE}", timeout=30_000)
        switch = statistics.median(_switch(page, i) for i in range(SWITCHES))
        progress("switches on the screen")
        first = _until(page, _press(page, "Run"), f"/step [0-9]/.test({STATUS})")
        pictures, end = {page.evaluate(PICTURE)}, time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            pictures.add(page.evaluate(PICTURE))
        stop = _until(page, _press(page, "Stop"), f"{STATUS}.startsWith('Stopped')")
        progress("a run on the screen")
    rate = (len(pictures) - 1) / SECONDS
    what = f"switch to repaint on the screen (median of {SWITCHES})"
    return [
        (what, 1000 * switch, "ms", 150, False),
        ("first point after Run, on the screen", first, "s", 1, False),
        ("repaints a second on the screen", rate, "1/s", 4, True),
        ("Stop to stopped, on the screen", stop, "s", 0.5, False),
    ]


def _press(page, name):
    return page.get_by_role("button", name=name, exact=True).click


def _switch(page, i):
    """Seconds from a choice of another order to another picture."""
    order = page.locator("select").filter(has=page.locator("option", has_text="every epoch"))
    old = json.dumps(page.evaluate(PICTURE))
    return _until(page, lambda: order.select_option(index=(2, 0)[i % 2]), f"{PICTURE} !== {old}")


def _until(page, action, condition):
    start = time.perf_counter()
    action()
    page.wait_for_function(f"() => {condition}", timeout=30_000, polling=10)
    return time.perf_counter() - start
