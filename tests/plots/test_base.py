"""The canvas, `Plot` and the shared helpers. Warnings are errors, so a missing glyph fails."""

import base64
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from PIL import Image
from plots.toy import BATCH, STEPS, toy_run

from minimind_lite import plots, spikes
from minimind_lite.plots import base
from minimind_lite.segments import Segment

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def bars(label: str = "width") -> base.Plot:
    return plots.bar_chart({label: 1.25, "height": -3.5}, title="Sizes", xlabel="nats")


@pytest.fixture
def no_font(monkeypatch):
    """A machine without Chinese characters."""
    monkeypatch.setattr(base, "cjk_font", lambda: None)


def test_a_plot_is_a_picture_with_its_sentence_as_alt_text(tmp_path):
    data, metadata = bars()._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(PNG_MAGIC)
    assert data["text/plain"] == metadata["image/png"]["alt"] == bars().summary != ""
    bars().save(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.text["Description"] == bars().summary and min(image.size) > 100


def test_the_same_numbers_give_the_same_bytes():
    assert bars().png() == bars().png()


def test_threads_may_draw_at_once():
    alone = bars().png()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: bars().png(), range(8))) == {alone}


def test_the_style_ends_with_the_canvas():
    before = matplotlib.rcParams["font.size"], matplotlib.rcParams["text.parse_math"]
    with plots.canvas((4, 3)):
        assert matplotlib.rcParams["font.size"] == 12
    assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["text.parse_math"]) == before


def test_a_canvas_has_its_axes_row_after_row():
    with plots.canvas((4, 3), rows=2, columns=3, sharey="row") as (figure, axes):
        assert len(axes) == 6 and figure.axes == axes
        assert axes[0].get_shared_x_axes().joined(axes[0], axes[3])


DRAWING = """
import sys
from minimind_lite import plots
plots.bar_chart({"a": 1.0}, title="t", xlabel="x").png()
sys.exit("matplotlib.pyplot" in sys.modules)
"""


def test_drawing_does_not_import_pyplot():
    """pyplot keeps every figure alive and belongs to one thread."""
    assert subprocess.run([sys.executable, "-c", DRAWING], timeout=120).returncode == 0


@pytest.mark.parametrize("label", ["costs $5 or $6", "$", "$\\frac$", "a_b^c $x"])
def test_a_dollar_sign_in_a_label_is_a_dollar_sign(label):
    """As mathematics, `$\\frac$` stops the drawing with an error, and `$5 or $` loses its signs."""
    assert bars(label).png().startswith(PNG_MAGIC)
    curve = plots.loss_curve({label: toy_run()}, title=label)
    assert curve.png().startswith(PNG_MAGIC)
    drawn = [*curve.figure.axes[0].get_legend().get_texts(), curve.figure.axes[0].title]
    assert not any(text.get_parse_math() for text in drawn)


def test_counted_knows_one_and_many():
    assert [base.counted(n, "seed") for n in (0, 1, 5)] == ["0 seeds", "1 seed", "5 seeds"]


def test_no_two_looks_are_alike():
    for part in zip(*base.LOOKS):
        assert len(set(map(str, part))) == len(base.LOOKS)


def test_a_strip_shows_the_share_of_each_domain_in_each_batch():
    half_and_half = [Segment("code", 132, 134), Segment("en", 134, 144)]  # of batch 33
    figure = plots.loss_curve({"file": toy_run()}, segments=half_and_half).figure
    english = base.DOMAIN_COLORS["en"].lower()
    [drawn] = [p for p in figure.axes[1].patches if to_hex(p.get_facecolor()) == english]
    values, edges, baseline = drawn.get_data()
    assert (values - baseline)[32:37].tolist() == [0, 0.5, 1, 1, 0]
    assert edges.tolist() == list(range(0, BATCH * STEPS + 1, BATCH))


def test_an_event_is_marked_where_it_peaks():
    run = toy_run()
    [event] = spikes.find(run.loss)
    ax = plots.loss_curve({"file": run}, events=[event]).figure.axes[0]
    [marker] = [line for line in ax.lines if line.get_marker() == "v"]
    assert marker.get_xdata() == [BATCH * event.peak]
    assert [t.get_text() for t in ax.texts] == [f"+{event.peak_height:.2f} nats\nz = {event.z:.0f}"]


# Chinese


def test_chinese_labels_are_drawn_where_there_is_a_font():
    if base.cjk_font() is None:
        pytest.skip("no font with Chinese characters; pylopdf-fonts-zh-cn has one")
    plot = plots.bar_chart({"代码": 1.0, "文言文": 2.0}, title="损失", xlabel="奈特")
    assert plot.png().startswith(PNG_MAGIC) and "文言文 2.00" in plot.summary
    assert [t.get_text() for t in plot.figure.axes[0].get_yticklabels()] == ["代码", "文言文"]


def test_chinese_labels_become_code_points_where_there_is_none(monkeypatch):
    for module in (base, sys.modules["minimind_lite.plots.effects"]):
        monkeypatch.setattr(module, "cjk_font", lambda: None, raising=False)
    plot = plots.bar_chart({"代码": 1.0}, title="loss", xlabel="nats")
    assert plot.png().startswith(PNG_MAGIC)
    assert plot.figure.axes[0].get_yticklabels()[0].get_text().split() == ["U+4EE3", "U+7801"]
    assert "代码 1.00" in plot.summary  # a screen reader needs no font


def test_a_font_that_was_added_later_is_seen(monkeypatch):
    """There is no cache: the answer follows matplotlib's list of fonts."""
    font = type("Font", (), {"name": "Noto Sans CJK SC", "fname": "x"})()
    monkeypatch.setattr(base.fontManager, "ttflist", [font])
    assert base.cjk_font() == "Noto Sans CJK SC"


def test_drawable_prefers_the_text_then_english_then_code_points(no_font, monkeypatch):
    assert base.drawable("代码", "code") == "code"
    assert base.drawable("代码").split() == ["U+4EE3", "U+7801"]
    assert base.drawable("nats – z ≥ 6", "other") == "nats – z ≥ 6"
    monkeypatch.undo()
    if base.cjk_font():
        assert base.drawable("代码", "code") == "代码"


def test_drawable_shows_what_no_font_has_or_what_is_obeyed():
    assert base.drawable("a\x1b\u202e\ud800\nb") == "a\\x1b\\u202e\\ud800\nb"
    assert base.drawable("🦄") == "U+1F984 "
    assert base.drawable("_a") == " _a"
    assert base.drawable("a $x$ – é") == "a $x$ – é"


@settings(deadline=None, max_examples=100)
@given(st.text("代码、。《》，！？ａｂ豈⺀〇\u3000 abc-7"))
@example("𠮷")  # rare characters lie beyond U+FFFF
def test_without_a_font_no_chinese_character_is_left(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "cjk_font", lambda: None)
        assert base.drawable(text).isascii()
