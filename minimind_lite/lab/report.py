"""A lab report: what the lab showed, with what settings, and what the learner concludes.

One HTML page without scripts or outside resources: any browser opens it, prints it, or saves it as
PDF. The state string in it makes the same lab again.
"""

from __future__ import annotations

import base64
import datetime
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minimind_lite import __version__
from minimind_lite.lab.templates import render

MAX_NAME = 80  # characters of a file name
MAX_REPORTS = 1000  # of one name


def png_address(png: bytes) -> str:
    """A picture as an address that a page can hold."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


@dataclass(frozen=True)
class Report:
    """A written report. As the last line of a cell it shows the page, and a link to download it."""

    path: Path
    html: str
    language: str

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.name

    def __repr__(self) -> str:
        return f"Report({self.name!r})"

    def _repr_html_(self) -> str:
        address = "data:text/html;base64," + base64.b64encode(self.html.encode()).decode()
        values = {"name": self.name, "page": self.html, "address": address}
        return render("written.html", self.language, values)


def report_page(
    *,
    png: bytes,
    summary: str,
    state: str,
    comparison: str = "",
    opened: str = "",
    conclusion: str = "",
    predictions: Mapping[str, Mapping[str, object]] | None = None,
    language: str = "en",
) -> str:
    """The report as HTML. `comparison` and `opened` are pages of the lab; all else is escaped."""
    values = {
        "day": datetime.date.today().isoformat(),
        "version": __version__,
        "png": png_address(png),
        "summary": summary,
        "state": state,
        "comparison": comparison,
        "opened": opened,
        "conclusion": conclusion,
        "predictions": [dict(p) for p in (predictions or {}).values()],
    }
    return render("report.html", language, values)


def write_report(folder: Path, name: str, html: str, *, language: str = "en") -> Report:
    """Write a report into a folder, never over another: `name`.html, `name`-2.html …

    Whatever `name` is, the file is in that folder: other characters than letters, digits, dots
    and dashes become dashes.
    """
    stem = re.sub(r"[^\w.-]+", "-", name)[:MAX_NAME].strip(".-") or "lab-report"
    for number in range(1, MAX_REPORTS):
        path = folder / (f"{stem}.html" if number == 1 else f"{stem}-{number}.html")
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(html)
        return Report(path, html, language)
    raise FileExistsError(f"{folder} holds {MAX_REPORTS} reports named {stem}; move some away.")
