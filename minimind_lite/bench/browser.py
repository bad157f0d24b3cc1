"""A real JupyterLab in a headless Chromium: for the tests that press buttons as a learner does, and for what is timed there.

Notebooks are copied first, since JupyterLab saves what it opens. Waiting is for the kernel, not for
the page: the indicator says "idle" before the kernel is connected, and cells run then lose their
outputs. Needs `playwright` and a Chromium (Debian: `chromium`), which the workbook itself does not.
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
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
PROJECTOR, LAPTOP = {"width": 1920, "height": 1080}, {"width": 1366, "height": 768}
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
READY = """() => { const w = window.jupyterapp?.shell?.currentWidget, s = w?.sessionContext, k = s?.session?.kernel;
  return !!(s?.isReady && k?.connectionStatus === 'connected' && k.status === 'idle' && w.content.widgets.length); }"""
RUN_ALL = "() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); return null }"
IDLE = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
DONE = """() => window.jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code' && c.model.sharedModel.source.trim())
  .every(c => c.model.executionCount !== null && c.model.executionState !== 'running')"""


def missing() -> str:
    """Why no browser can be had here, in words; empty if one can."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "the package playwright is not installed (pip install playwright)"
    return "" if chromium() else "no chromium or google-chrome on this machine"


def chromium() -> str | None:
    """Path of a Chromium."""
    return next(
        (
            path
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (path := shutil.which(name))
        ),
        None,
    )


@contextmanager
def jupyter_lab(
    *, extra: Mapping[str, str] = MappingProxyType({}), seconds: float = 60.0
) -> Iterator[str]:
    """A JupyterLab over a copy of the notebooks, with nothing of the user's settings; yields its address. Raises `TimeoutError`.

    `extra` are further notebooks, by name, as text.
    """
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("notebooks", "minimind_lite"):
            shutil.copytree(
                ROOT / name,
                root / name,
                ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
            )
        for name, text in extra.items():
            (root / "notebooks" / name).write_text(text, encoding="utf-8")
        (root / "data").symlink_to(ROOT / "data")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        own = {
            "HOME": root,
            "JUPYTER_CONFIG_DIR": root / "config",
            "JUPYTER_DATA_DIR": root / "jupyter",
            "JUPYTER_RUNTIME_DIR": root / "runtime",
            "IPYTHONDIR": root / "ipython",
            "MINIMIND_LITE_WORK": root / "my_work",
        }
        settings = [
            f"--port={port}",
            "--ServerApp.port_retries=0",
            "--IdentityProvider.token=",
            f"--ServerApp.root_dir={root}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=None",
            "--LabApp.extension_manager=readonly",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]
        log = root / "lab.log"
        with log.open("w") as out:
            server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyterlab",
                    "--no-browser",
                    "--ip=127.0.0.1",
                    "--allow-root",
                    *settings,
                ],
                env={**os.environ, **{k: str(v) for k, v in own.items()}},
                stdout=out,
                stderr=out,
            )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api", server, log, time.monotonic() + seconds)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(address: str, server: subprocess.Popen, log: Path, end: float) -> None:
    while True:
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > end:
                raise TimeoutError(
                    f"JupyterLab did not start: {log.read_text(encoding='utf-8')[-2000:]}"
                ) from None
            time.sleep(0.25)


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


def open_notebook(
    browser: Browser,
    address: str,
    name: str,
    *,
    viewport: dict[str, int] = LAPTOP,
    seconds: float = 60.0,
) -> Page:
    """A page with one notebook whose kernel is connected and idle; reloads once where the kernel does not connect."""
    from playwright.sync_api import TimeoutError as Late

    page = browser.new_page(viewport=viewport)
    page.goto(f"{address}/doc/tree/notebooks/{name}")
    try:
        page.wait_for_function(READY, timeout=seconds * 500)
    except Late:
        page.reload()
        page.wait_for_function(READY, timeout=seconds * 500)
    return page


def run_all(page: Page, *, seconds: float = 180.0) -> None:
    """Run every cell and wait until the last has run."""
    page.evaluate(RUN_ALL)
    page.wait_for_function(DONE, timeout=seconds * 1000)
    page.wait_for_function(IDLE, timeout=seconds * 1000)
