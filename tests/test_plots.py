"""Every plot: a picture, and a sentence with the numbers that went in. Warnings are errors, so a missing glyph fails."""

import base64
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from PIL import Image

from minimind_lite import spikes
from minimind_lite.files.shipped import Segment
from minimind_lite.plots import base
from minimind_lite.records import Run, StepRecord

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
STEPS, BATCH = 40, 4


def toy_run(level: float = 2.0, steps: int = STEPS) -> Run:
    """Loss near `level` in file order; steps 33 to 35 (rows 132 to 143) stand 1.5 nats above."""
    losses = (
        level + 0.01 * np.sin(np.arange(STEPS)) + 1.5 * np.isin(np.arange(STEPS), range(33, 36))
    )
    return Run(
        {},
        tuple(
            StepRecord(
                step=i,
                epoch=0,
                samples_seen=BATCH * i,
                loss=float(losses[i]),
                tokens=40,
                lr=1e-3,
                grad_norm=1.0,
                micro_losses=losses[i : i + 1],
                rows=np.arange(BATCH * i, BATCH * (i + 1)),
                sample_losses=np.full(BATCH, losses[i]),
                sample_tokens=np.full(BATCH, 10),
                seconds=0.1,
            )
            for i in range(steps)
        ),
    )


RUN, SEGMENT = toy_run(), Segment("code", 132, 144)
DRAWN = {
    "loss_curve": lambda: base.loss_curve(
        {"file": RUN, "higher": toy_run(3.0)},
        segments=[SEGMENT],
        events=spikes.find(RUN.loss),
        ghosts=[toy_run(2.5)],
        band=[toy_run(1.8), toy_run(1.9)],
        title="all at once",
    ),
    "bar_chart": lambda: base.bar_chart(
        {"width": 1.25, "height": -3.5},
        title="Sizes",
        xlabel="nats",
        errors={"width": 0.1, "height": 0.2},
    ),
    "losses_by_row": lambda: base.losses_by_row(
        {"file": RUN}, STEPS * BATCH, [SEGMENT], smooth=8, title="rows"
    ),
    "message": lambda: base.message("Nothing yet."),
}


@pytest.fixture
def no_font(monkeypatch):
    """A machine without Chinese characters."""
    monkeypatch.setattr(base, "cjk_font", lambda: None)


# Picture and sentence


def test_every_function_that_returns_a_plot_is_drawn_here():
    assert set(DRAWN) == {
        name
        for name, f in vars(base).items()
        if inspect.isfunction(f)
        and f.__annotations__.get("return") == "Plot"
        and not name.startswith("_")
    }


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_picture_with_its_sentence_as_alt_text(name, tmp_path):
    plot = DRAWN[name]()
    data, metadata = plot._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(PNG_MAGIC)
    assert data["text/plain"] == metadata["image/png"]["alt"] == plot.summary != ""
    plot.save(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.text["Description"] == plot.summary and min(image.size) > 100


def test_the_same_numbers_give_the_same_bytes():
    assert DRAWN["loss_curve"]().png() == DRAWN["loss_curve"]().png()


def test_threads_may_draw_at_once():
    alone = DRAWN["bar_chart"]().png()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: DRAWN["bar_chart"]().png(), range(8))) == {alone}


DRAWING = """
import sys
from minimind_lite import plots
plots.bar_chart({"a": 1.0}, title="t", xlabel="x").png()
sys.exit("matplotlib.pyplot" in sys.modules)
"""


def test_drawing_does_not_import_pyplot():
    """pyplot keeps every figure alive and belongs to one thread."""
    assert subprocess.run([sys.executable, "-c", DRAWING], timeout=120).returncode == 0


# What the sentences say


def test_the_sentence_of_a_curve_by_hand():
    """Start and end are means over a tenth of the steps; the toy's ripple of 0.01 is highest at steps 14 and 33."""
    flat, [event] = toy_run(steps=20), spikes.find(RUN.loss)
    assert base.loss_curve({"file": RUN, "flat": flat}, events=[event]).summary == (
        "file: 40 steps, mean loss 2.00 over the first 4, 2.00 over the last 4, highest 3.51 at step 33; "
        "flat: 20 steps, mean loss 2.00 over the first 2, 2.00 over the last 2, highest 2.01 at step 14. "
        f"Spikes in file, height at the peak: +1.51 nats (z = {event.z:.0f}) at rows 132–143."
    )


def test_the_sentence_of_bars_has_every_name_and_number():
    assert DRAWN["bar_chart"]().summary == "Sizes: width 1.25, height -3.50 (nats)."


def test_the_sentence_of_losses_by_row_has_each_segment_s_height():
    assert "file: code (12 rows) +1.50." in DRAWN["losses_by_row"]().summary


def test_a_message_is_its_own_sentence():
    assert DRAWN["message"]().summary == "Nothing yet."


# What is drawn


def test_an_event_is_marked_where_it_peaks():
    [event] = spikes.find(RUN.loss)
    ax = base.loss_curve({"file": RUN}, events=[event]).figure.axes[0]
    [marker] = [line for line in ax.lines if line.get_marker() == "v"]
    assert (marker.get_xdata(), marker.get_ydata()) == (
        [BATCH * event.peak],
        [RUN.loss[event.peak]],
    )
    [label] = ax.texts
    assert label.get_text() == f"+{event.peak_height:.2f} nats\nz = {event.z:.0f}"


def test_no_two_lines_look_alike_in_colour_or_in_style():
    lines = base.loss_curve({str(i): toy_run(float(i)) for i in range(5)}).figure.axes[0].lines
    assert len({to_hex(line.get_color()) for line in lines}) == 5
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 5


def test_a_strip_shows_the_share_of_each_domain_in_each_batch():
    code, english = (
        Segment("code", 132, 134),
        Segment("en", 134, 144),
    )  # half of batch 33 each, then batches 34 and 35
    strip = base.loss_curve({"file": RUN}, segments=[code, english]).figure.axes[1]
    [bars] = [
        patch
        for patch in strip.patches
        if to_hex(patch.get_facecolor()) == base.DOMAIN_COLOURS["en"].lower()
    ]
    values, edges, baseline = bars.get_data()
    assert (values - baseline)[32:37].tolist() == [0, 0.5, 1, 1, 0]
    assert edges.tolist() == list(range(0, BATCH * STEPS + 1, BATCH))


@pytest.mark.parametrize("n", [0, 6])
def test_a_curve_of_no_run_or_more_than_five_is_an_error(n):
    with pytest.raises(ValueError, match=rf"1 to 5 runs .* got {n}"):
        base.loss_curve({str(i): RUN for i in range(n)})


def test_a_stopped_run_can_be_drawn_by_row():
    """Its later rows were never met."""
    assert (
        base.losses_by_row({"stopped": toy_run(steps=20)}, STEPS * BATCH, [SEGMENT], smooth=8)
        .png()
        .startswith(PNG_MAGIC)
    )


# Chinese


def test_chinese_labels_are_drawn_where_there_is_a_font():
    if base.cjk_font() is None:
        pytest.skip("no font with Chinese characters; pylopdf-fonts-zh-cn has one")
    plot = base.bar_chart({"代码": 1.0, "文言文": 2.0}, title="损失", xlabel="奈特")
    assert plot.png().startswith(PNG_MAGIC) and "文言文 2.00" in plot.summary
    assert [t.get_text() for t in plot.figure.axes[0].get_yticklabels()] == ["代码", "文言文"]


def test_chinese_labels_become_code_points_where_there_is_none(no_font):
    plot = base.bar_chart({"代码": 1.0}, title="loss", xlabel="nats")
    assert plot.png().startswith(PNG_MAGIC)
    assert plot.figure.axes[0].get_yticklabels()[0].get_text().split() == ["U+4EE3", "U+7801"]
    assert "代码 1.00" in plot.summary  # a screen reader needs no font


def test_drawable_prefers_the_text_then_english_then_code_points(no_font, monkeypatch):
    assert base.drawable("代码", "code") == "code"
    assert base.drawable("代码").split() == ["U+4EE3", "U+7801"]
    assert base.drawable("nats – z ≥ 6", "other") == "nats – z ≥ 6"
    monkeypatch.setattr(base, "cjk_font", lambda: "Some Chinese Font")
    assert base.drawable("代码", "code") == "代码"


@settings(deadline=None, max_examples=100)
@given(st.text("代码、。《》，！？ａｂ豈⺀〇\u3000 abc-7"))
@example("𠮷")  # rare characters lie beyond U+FFFF
def test_without_a_font_no_chinese_character_is_left(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "cjk_font", lambda: None)
        assert base.drawable(text).isascii()
