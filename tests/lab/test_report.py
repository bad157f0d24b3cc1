"""A report is one page in one folder, and everything in it is text."""

import html
import re

import pytest

from minimind_lite.files.work import save_prediction
from minimind_lite.lab import SpikeLab
from minimind_lite.lab.report import Report, report_page, write_report

PNG = b"\x89PNG"


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.mark.parametrize(
    "name, file",
    [
        ("lab-report", "lab-report.html"),
        ("../evil", "evil.html"),
        ("/etc/passwd", "etc-passwd.html"),
        ("..", "lab-report.html"),
        ("", "lab-report.html"),
        ("a b\n c", "a-b-c.html"),
        ("报告 1", "报告-1.html"),
        ("x" * 300, "x" * 80 + ".html"),
    ],
)
def test_whatever_its_name_a_report_stays_in_its_folder(tmp_path, name, file):
    """B15h: "../evil" left it, 300 characters were an OSError, "" was ".html"."""
    report = write_report(tmp_path, name, "page")
    assert report.path == tmp_path / file
    assert report.path.read_text() == "page"


def test_a_report_is_never_written_over_another(tmp_path):
    names = [write_report(tmp_path, "a", str(i)).name for i in range(3)]
    assert names == ["a.html", "a-2.html", "a-3.html"]


def test_everything_in_a_page_is_text():
    nasty = "<script>alert(1)</script>"
    prediction = {"question": nasty, "choice": nasty, "confidence": 70, "reason": None}
    page = report_page(
        png=PNG,
        summary=nasty,
        state="lab=2&order=file",
        conclusion=nasty,
        predictions={"a": prediction},
    )
    assert "<script" not in page
    assert page.count(html.escape(nasty)) == 5  # alt text, sentence, prediction twice, conclusion
    assert "lab=2&amp;order=file" in page
    assert "None" not in page
    assert "overflow-wrap:anywhere" in page, "a long state stays on the page"


def test_a_report_shows_itself_with_a_link(tmp_path):
    """B9: it was in a folder that the file browser does not show."""
    report = write_report(tmp_path, "mine", "<p>page</p>")
    shown = report._repr_html_()
    assert isinstance(report, Report)
    assert 'download="mine.html"' in shown
    assert 'href="data:text/html;base64,' in shown
    assert "&lt;p&gt;page&lt;/p&gt;" in shown
    assert repr(report) == "Report('mine.html')"


def test_a_report_holds_what_is_drawn_and_what_is_open(quick, work):
    """B11: it stored the state of settings that had changed since."""
    save_prediction("k", {"question": "Q?", "choice": "a", "confidence": 60, "reason": "because"})
    lab = SpikeLab()
    lab.panel()
    lab.widgets.buttons["pin"].click()
    lab.widgets.spikes[0].click()
    lab.widgets.settings["order"].value = "shuffle"
    lab.widgets.buttons["compare"].click()
    lab.widgets.spikes[0].click()
    lab.widgets.buttons["step"].click()
    lab.widgets.settings["batch_size"].value = 64
    lab.widgets.buttons["close"].click()
    report = lab.report("my words")
    page = report.path.read_text(encoding="utf-8")
    assert report.path.parent == work
    assert re.search(r"<code>lab=2&amp;order=shuffle&amp;steps=1&amp;pin1", page)
    assert lab.widgets.comparison.value in page
    assert "Q?" in page
    assert "my words" in page
    lab.widgets.buttons["reset"].click()
    lab.widgets.spikes[0].click()
    page = lab.report().path.read_text(encoding="utf-8")
    assert "The opened step" in page
    assert lab.widgets.page.value in page
    lab.close()
