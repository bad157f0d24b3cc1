"""A real JupyterLab in a headless Chromium, for tests that press buttons as a learner does.

Notebooks are copied first, since JupyterLab saves what it opens. Waiting is for the kernel, not
for the page: the indicator says "idle" before the kernel is connected, and cells run then lose
their outputs. Needs `playwright` and a Chromium (Debian: `chromium`), which learners do not.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
LAPTOP = {"width": 1366, "height": 768}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SETTINGS = [
    "--no-browser",
    "--ip=127.0.0.1",
    "--allow-root",
    "--ServerApp.port_retries=0",
    "--IdentityProvider.token=",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.news_url=None",
    "--LabApp.extension_manager=readonly",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
]
WIDGET = "window.jupyterapp?.shell?.currentWidget"
KERNEL = f"{WIDGET}?.sessionContext?.session?.kernel"
READY = f"""() => {WIDGET}?.sessionContext?.isReady && {WIDGET}.content.widgets.length
  && {KERNEL}?.connectionStatus === 'connected' && {KERNEL}.status === 'idle'"""
IDLE = f"() => {KERNEL}.status === 'idle'"
DONE = f"""() => {WIDGET}.content.widgets
  .filter(c => c.model.type === 'code' && c.model.sharedModel.source.trim())
  .every(c => c.model.executionCount !== null && c.model.executionState !== 'running')"""
CELLS = f"() => {WIDGET}.content.widgets.length"


def missing() -> str:
    """Why no browser can be had here, in words; empty if one can."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "the package playwright is not installed (pip install playwright)"
    return "" if chromium() else "no chromium or google-chrome on this machine"


def chromium() -> str | None:
    """Path of a Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def jupyter_lab(*, extra: Mapping[str, str] | None = None, seconds: float = 60.0) -> Iterator[str]:
    """A JupyterLab over a copy of the notebooks, without the user's settings; yields its address.

    `extra` are further notebooks, by name, as text. Raises `TimeoutError`.
    """
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _copy_project(root, extra or {})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folders = {
            "HOME": root,
            "JUPYTER_CONFIG_DIR": root / "config",
            "JUPYTER_DATA_DIR": root / "jupyter",
            "JUPYTER_RUNTIME_DIR": root / "runtime",
            "IPYTHONDIR": root / "ipython",
            "MINIMIND_LITE_WORK": root / "my_work",
        }
        command = [sys.executable, "-m", "jupyterlab", f"--port={port}", *SETTINGS]
        command.append(f"--ServerApp.root_dir={root}")
        environment = {**os.environ, **{name: str(path) for name, path in folders.items()}}
        log = root / "lab.log"
        with log.open("w") as out:
            server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api", server, log, time.monotonic() + seconds)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(server)


def _copy_project(root: Path, extra: Mapping[str, str]) -> None:
    skipped = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("notebooks", "minimind_lite"):
        shutil.copytree(ROOT / name, root / name, ignore=skipped)
    for name, text in extra.items():
        (root / "notebooks" / name).write_text(text, encoding="utf-8")
    (root / "data").symlink_to(ROOT / "data")


def _wait_for(address: str, server: subprocess.Popen, log: Path, end: float) -> None:
    while True:
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > end:
                end_of_log = log.read_text(encoding="utf-8")[-2000:]
                raise TimeoutError(f"JupyterLab did not start: {end_of_log}") from None
            time.sleep(0.25)


def _end(server: subprocess.Popen) -> None:
    server.terminate()
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def headless() -> Iterator[Browser]:
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def open_notebook(browser: Browser, address: str, name: str, *, seconds: float = 60.0) -> Page:
    """A page with one notebook whose kernel is connected and idle."""
    page = browser.new_page(viewport=LAPTOP)
    page.goto(f"{address}/doc/tree/notebooks/{name}")
    until_ready(page, seconds=seconds)
    return page


def until_ready(page: Page, *, seconds: float = 60.0) -> None:
    """Wait for the kernel; reloads once where it does not connect."""
    from playwright.sync_api import TimeoutError as TooLate

    try:
        page.wait_for_function(READY, timeout=seconds * 500)
    except TooLate:
        page.reload()
        page.wait_for_function(READY, timeout=seconds * 500)


def command(page: Page, name: str) -> None:
    """Run one of JupyterLab's commands, without waiting for its end."""
    page.evaluate(f"() => {{ window.jupyterapp.commands.execute('{name}'); return null }}")


def save(page: Page, *, seconds: float = 20.0) -> None:
    """Save the notebook and wait until it is saved."""
    command(page, "docmanager:save")
    page.wait_for_function(f"() => !{WIDGET}.context.model.dirty", timeout=seconds * 1000)


def run_all(page: Page, *, seconds: float = 180.0) -> None:
    """Run every cell and wait until the last has run."""
    command(page, "notebook:run-all-cells")
    page.wait_for_function(DONE, timeout=seconds * 1000)
    page.wait_for_function(IDLE, timeout=seconds * 1000)
