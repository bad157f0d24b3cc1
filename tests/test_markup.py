"""One hostile text through every door: it is text on every screen, no markup, formula or code."""

import json
import re
import warnings
from html.parser import HTMLParser

import ipywidgets as W
import numpy as np
import pytest
from lab.conftest import quick, shared_materials  # noqa: F401
from matplotlib.text import Text
from plots.toy import toy_run

from minimind_lite import plots
from minimind_lite.chat import Chat
from minimind_lite.cli import main
from minimind_lite.conversations import Conversation
from minimind_lite.files import shipped
from minimind_lite.files.visible import visible
from minimind_lite.lab import SpikeLab, step_page
from minimind_lite.lab.opened_run import OpenedRun
from minimind_lite.lab.report import report_page
from minimind_lite.lab.run_view import RunView
from minimind_lite.lab.state import LabState, Pin, Settings
from minimind_lite.plots.token_view import token_view
from minimind_lite.science.log_views import full

MARKUP = "<img src=x onerror=alert(1)></td><script>alert(1)</script>"
MATH = "$\\frac$ $x$"
ESCAPES = "\x1b[2J\u202e\r"
HOSTILE = (
    f"_a{MATH} {ESCAPES}🦄 {MARKUP} `b` **c** [d](javascript:alert(1)) {{{{7*7}}}} {{0}} %s 名字"
)
SHOWN = visible(HOSTILE)  # what of it may be seen
SAFE_TAGS = {"p", "em", "div", "span", "b", "u", "br", "table", "caption", "thead", "tbody", "tr"}
SAFE_TAGS |= {"th", "td", "details", "summary", "h1", "h2", "ul", "li", "code", "html", "meta"}
SAFE_TAGS |= {"title", "body", "pre", "img", "a", "iframe"}
NO_MATH = "mathjax_ignore tex2jax_ignore"


class Page(HTMLParser):
    """The elements of a page, its text, and the text in which formulas would be typeset."""

    def __init__(self, text):
        super().__init__()
        self.text, self.typeset, self.open = "", "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert tag in SAFE_TAGS, f"an element {tag}"
        values = dict(attrs)
        assert not [name for name in values if name.startswith("on")]
        assert tag != "img" or values["src"].startswith("data:image/png;base64,")
        assert tag != "a" or values["href"].startswith("data:text/html;base64,")
        if tag == "iframe":
            assert values["sandbox"] == ""  # nothing in it runs
        if tag not in ("br", "meta", "img"):
            self.open.append((tag, values.get("class") == NO_MATH))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, f"a stray </{tag}>"

    def handle_data(self, data):
        self.text += data
        if not any(no_math for _, no_math in self.open):
            self.typeset += data


def check_page(html, *, output=False):
    """HTML in which nothing was injected; as a cell's `output`, no formula is typeset either."""
    page = Page(html)
    assert visible(page.text, keep="\n\t") == page.text
    assert not output or "$" not in page.typeset
    return page


def check_picture(plot):
    """It is drawn, with fonts that have all of it, and no text in it is a formula."""
    with warnings.catch_warnings(action="error"):
        assert plot.png().startswith(b"\x89PNG")
    for text in plot.figure.findobj(Text):
        assert not text.get_text() or not (text.get_parse_math() or text.get_usetex())
        assert visible(text.get_text(), keep="\n") == text.get_text()
    assert visible(plot.summary) == plot.summary
    return " ".join(text.get_text() for text in plot.figure.findobj(Text))


PICTURES = {
    "curves": lambda: plots.loss_curve({HOSTILE: toy_run()}, title=HOSTILE),
    "panels": lambda: plots.panels({HOSTILE: full(toy_run())}, run=toy_run(), title=HOSTILE),
    "bars": lambda: plots.bar_chart({HOSTILE: 1.0}, title=HOSTILE, xlabel=HOSTILE),
    "probes": lambda: plots.loss_and_probe({HOSTILE: toy_run(probes=True)}, title=HOSTILE),
    "detectors": lambda: plots.compare_detectors(toy_run().loss, window=9, title=HOSTILE),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_label_in_a_picture_is_text(name):
    with warnings.catch_warnings(action="error"):
        plot = PICTURES[name]()
    drawn = check_picture(plot)
    assert f"_a{MATH} \\x1b[2J\\u202e\\rU+1F984  {MARKUP[:20]}" in drawn


def test_a_label_that_begins_with_an_underscore_is_in_the_legend():
    plot = PICTURES["curves"]()
    [legend] = [ax.get_legend() for ax in plot.figure.axes if ax.get_legend()]
    assert [text.get_text().startswith(" _a$") for text in legend.get_texts()] == [True]


def test_a_picture_s_sentence_is_text_in_a_notebook(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    plot = PICTURES["curves"]()
    plot.show()
    assert SHOWN in check_page(shown[1].data, output=True).text
    data, metadata = plot._repr_mimebundle_()
    assert visible(data["text/plain"]) == data["text/plain"] == metadata["image/png"]["alt"]


@pytest.fixture
def lab(quick):  # noqa: F811
    """A lab in whose state every name is hostile."""
    pins = (Pin(HOSTILE, Settings(order="shuffle")), Pin(f"${HOSTILE}", Settings(seed=1), 1))
    made = SpikeLab.from_state(LabState(pins=pins, probes=True).to_string())
    made.panel()
    yield made
    made.close()


def texts_of(widget):
    """(widget, trait, text) of every text in a panel."""
    for name in widget.keys:
        value = getattr(widget, name)
        if isinstance(value, str):
            yield widget, name, value
        for part in value if isinstance(value, list | tuple) else ():
            if isinstance(part, W.Widget):
                yield from texts_of(part)


def test_a_pin_s_name_is_text_in_the_panel_and_in_its_picture(lab):
    panel = lab.widgets
    panel.buttons["compare"].click()
    panel.pin_names[0].value = HOSTILE
    panel.pin_names[1].value = "x" * 9_999  # refused: the name stays
    for widget, name, text in texts_of(panel.box):
        if (
            isinstance(widget, W.HTML)
            and name == "value"
            and widget not in (panel.head, panel.help)
        ):
            check_page(text)
        elif not isinstance(widget, W.Text) or name != "value":  # which shows it as it is typed
            assert "$" not in text, f"a {type(widget).__name__} typesets formulas in its {name}"
    assert SHOWN in check_page(panel.comparison.value).text
    assert SHOWN in check_page(panel.compare_label.value).text
    assert panel.pin_names[0].value == SHOWN
    with warnings.catch_warnings(action="error"):
        lab.canvas._key = None  # draw everything again
        assert lab.png().startswith(b"\x89PNG")
    assert [not t.get_parse_math() for t in lab.canvas._figure.findobj(Text)]
    assert any(label.startswith(" _a$") for label in lab.canvas.labels)
    assert lab.state.isascii() and LabState.from_string(lab.state).pins[0].name == SHOWN


def test_what_a_learner_writes_is_text_in_the_report(lab):
    page = report_page(
        png=lab.png(),
        summary=HOSTILE,
        state=lab.state,
        comparison=lab.widgets.comparison.value,
        opened=lab.widgets.page.value,
        conclusion=HOSTILE,
        predictions={
            "1": dict.fromkeys(("question", "choice", "text", "confidence", "reason"), HOSTILE)
        },
    )
    text = Page(page).text
    assert text.count(MARKUP) >= 5 and "{{7*7}}" in text and "49" not in text
    written = lab.report(HOSTILE, name=HOSTILE)
    assert re.fullmatch(r"[\w.-]+\.html", written.name)
    check_page(written._repr_html_(), output=True)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return shipped.chat()


def test_a_conversation_is_text_where_its_tokens_are_shown(chat):
    ids, mask = chat.encode([("user", HOSTILE), ("assistant", HOSTILE)])
    for losses in (None, np.full(len(ids), 3.0)):
        page = check_page(token_view(chat, ids, mask, losses=losses), output=True)
        assert MARKUP in page.text.replace("\xa0", " ")


def test_a_conversation_is_text_where_a_step_is_opened(monkeypatch, lab):
    talk = (("system", HOSTILE), ("user", HOSTILE), ("assistant", HOSTILE))
    run = lab.session.current.run
    many = [Conversation(talk, HOSTILE, i + 1, 0) for i in range(len(shipped.conversations()))]
    inspector = lab.session.materials.inspector()
    opened = inspector.open(run, 3)
    turns = tuple(
        turn._replace(pieces=(turn.pieces[0]._replace(text=HOSTILE),))
        for turn in opened.conversations[0].turns
    )
    first = opened.conversations[0]
    changed = type(first)(**{**vars(first), "question": HOSTILE, "turns": turns})
    page = step_page.step_page(type(opened)(opened.record, (changed,), opened.baseline))
    assert MARKUP in check_page(page).text
    monkeypatch.setattr(shipped, "conversations", lambda: many)
    assert MARKUP in check_page(step_page.open_step(run, 3, characters=500).data, output=True).text


def test_a_stranger_s_file_is_text_on_the_terminal_and_in_its_run(tmp_path, monkeypatch, capsys):
    """Texts, the file's name and the run's name, from `check` over `train` to the opened run."""
    monkeypatch.setenv("MINIMIND_LITE_CACHE", str(tmp_path / "cache"))
    turns = [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE * 9}]
    name = "_a$x$<img src=x onerror=alert(1)>\x1b[2J\u202e"
    path, folder = tmp_path / f"{name}.jsonl", tmp_path / f"run {name}"
    lines = [json.dumps({"conversations": turns})] * 40 + [json.dumps({HOSTILE: 1})]
    path.write_text("\n".join(lines), encoding="utf-8")
    main(["check", str(path)])
    words = ["--batch-size", "1", "--probe-every", "0", "--skip-bad-lines", "--no-cache"]
    assert main(["train", "--data", str(path), "--out", str(folder), *words]) == 0
    assert main(["spikes", str(folder)]) == 0
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert visible(text, keep="\n") == text and r"\x1b[2J" in text

    opened = OpenedRun(folder)
    view = RunView(opened)
    assert MARKUP in check_page(view.page.value).text
    check_page(view.summary.value)
    check_picture(opened.picture(3))
    for widget, name, value in texts_of(view.box):
        assert isinstance(widget, W.HTML) or "$" not in value, (type(widget).__name__, name)
