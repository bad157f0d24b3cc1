"""The lab's figure: what is painted is what the run says, quickly or anew."""

import io

import numpy as np
import pytest
from minimind_lite.lab.figure import HEIGHT, STRIP, WIDTH, Canvas, Scene, sentence
from minimind_lite.lab.recordings import Recordings, Setup
from PIL import Image

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.lab import figure
from minimind_lite.records import Run


@pytest.fixture(scope="module")
def recorded():
    return Recordings()


def scene(recorded, *, first=None, under=False, **more):
    """A scene of file order, or of its first steps."""
    setup = more.pop("setup", Setup())
    whole = recorded.find(setup)
    run = Run({}, whole.records[:first]) if first else whole
    return Scene(
        setup, run, "a run", under=whole if under else None, events=spikes.find(run.loss), **more
    )


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_live_run_painted_step_by_step_is_the_same_as_painted_at_once(recorded):
    whole, slow, quick = recorded.find(Setup()), Canvas(), Canvas()
    live = lambda n: Scene(
        Setup(), Run({}, whole.records[:n]), "live", under=whole, events=spikes.find(whole.loss[:n])
    )
    for n in range(1, 80, 6):
        moving = quick.png(live(n))
    drawn = quick._key
    assert (pixels(moving) == pixels(slow.png(live(79)))).all() and drawn == quick._key


def test_only_what_moves_is_drawn_again(recorded, monkeypatch):
    whole, canvas, calls = recorded.find(Setup()), Canvas(), []
    monkeypatch.setattr(
        canvas, "_draw_still", lambda *a, real=canvas._draw_still: (calls.append(1), real(*a))[1]
    )
    for n in range(1, 100, 5):
        canvas.png(Scene(Setup(), Run({}, whole.records[:n]), "live", under=whole))
    assert len(calls) == 1


def test_a_run_that_leaves_the_limits_is_drawn_with_new_ones(recorded):
    quiet, loud = (
        recorded.find(Setup(TrainConfig(order="shuffle"))),
        recorded.find(Setup(TrainConfig(order="shuffle"), 40)),
    )
    canvas = Canvas()
    for n in (5, 70):
        canvas.png(
            Scene(
                Setup(TrainConfig(order="shuffle"), 40),
                Run({}, loud.records[:n]),
                "live",
                under=quiet,
            )
        )
    low, high = canvas._axes["loss"].get_ylim()
    assert low < loud.loss[:70].min() and high > loud.loss[:70].max()


def test_the_picture_has_the_promised_size_and_its_sentence(recorded):
    made = Canvas().png(scene(recorded), alt="five spikes 尖峰")
    with Image.open(io.BytesIO(made)) as image:
        assert image.size == (WIDTH, HEIGHT) and image.text["Description"] == "five spikes 尖峰"
    assert len(made) < 150_000


def test_lines_are_those_of_the_log_module(recorded):
    from minimind_lite import log_views

    setup = Setup(TrainConfig(micro_batch_size=4))
    canvas = Canvas()
    canvas.png(
        scene(
            recorded,
            setup=setup,
            lines=("micro-batches", "accumulated", "smoothed", "log"),
            log_every=8,
        )
    )
    run = recorded.find(setup)
    assert canvas.drawn["accumulated"].tolist() == run.loss.tolist()
    assert canvas.drawn["smoothed"].tolist() == log_views.moving_average(run).values.tolist()
    assert (
        len(canvas.drawn["micro-batches"]) == 4 * len(run)
        and canvas.drawn["log"].tolist() == log_views.minimind(run, 8).values.tolist()
    )


def test_the_strip_shows_the_rows_of_the_batches(recorded):
    from minimind_lite.plots.base import DOMAIN_COLOURS

    from minimind_lite.files import shipped

    strip, first = figure._strip(Setup(), "steps"), shipped.segments()[0]
    inside = -(-first.start // 16)
    assert strip.shape == (STRIP, 139, 3)
    assert np.allclose(strip[:, inside], figure.to_rgb(DOMAIN_COLOURS[first.domain]))
    assert np.allclose(strip[:, 0], figure.to_rgb(DOMAIN_COLOURS["zh"]))
    spread = figure._strip(Setup(TrainConfig(order="shuffle")), "steps")
    assert np.isclose(
        (spread == spread[-1, 0]).all(axis=2).mean(),
        1 - sum(s.stop - s.start for s in shipped.segments()) / 2224,
        atol=0.03,
    )


@pytest.mark.parametrize(
    "more",
    [
        {"axis": "steps"},
        {"scale": "log"},
        {"probes": True},
        {"language": "zh"},
        {"opened": 71},
        {"lines": ()},
        {"setup": Setup(TrainConfig(batch_size=256))},
        {"setup": Setup(TrainConfig(epochs=3))},
        {"setup": Setup(TrainConfig(optimizer="none")), "probes": True},
    ],
    ids=str,
)
def test_every_view_is_another_picture_without_warnings(recorded, more):
    assert Canvas().png(scene(recorded, **more)) != Canvas().png(scene(recorded))


def test_the_sentence_is_made_of_the_numbers(recorded):
    said = sentence(scene(recorded))
    assert (
        said.startswith("a run: 139 steps; mean loss 5.50 over the first 13")
        and "+1.94 nats (z 27) after 1136 conversations" in said
    )
    assert sentence(scene(recorded, setup=Setup(TrainConfig(order="shuffle")))).endswith(
        "No spike is found."
    )
    assert "too few steps" in sentence(scene(recorded, first=5)) and "尖峰（峰顶高度）" in sentence(
        scene(recorded, language="zh")
    )
    assert sentence(Scene(Setup(), None, "a run")) == "a run: nothing to show yet."


def test_names_are_cut_to_the_room_of_the_legend():
    assert (
        figure._short("file order, batch 16") == "file order, batch 16" and figure._short("") == ""
    )
    assert (
        figure._short("a" * 40) == "a" * 23 + "…"
        and figure._short("尖峰" * 20) == "尖峰" * 5 + "尖…"
    )


def test_the_strip_lies_under_the_curve_also_where_the_last_batch_is_short():
    whole = figure._strip(Setup(TrainConfig(batch_size=256)), "samples")
    assert (
        whole.shape[1] == 2224
        and (whole[:, 2048] == whole[:, 2223]).all()
        and (whole[:, 256] == whole[:, 511]).all()
    )


def test_steps_are_whole_at_the_beginning_of_each(recorded):
    run = recorded.find(Setup(TrainConfig(batch_size=64)))
    assert figure._steps_of(run, run.column("samples_seen")).tolist() == run.column("step").tolist()


def test_held_out_losses_stay_on_their_axis(recorded):
    setup, canvas = Setup(TrainConfig(order="shuffle"), 40), Canvas()
    whole = recorded.find(setup)
    for n in (1, 60, 100):
        canvas.png(Scene(setup, Run({}, whole.records[:n]), "live", probes=True))
        low, high = canvas._axes["probes"].get_ylim()
        assert all(low <= v <= high for r in whole.records[:n] for v in r.probes.values())


def test_a_longer_pinned_run_is_shown_whole_and_a_grey_one_is_not(recorded):
    long, canvas = recorded.find(Setup(TrainConfig(epochs=3))), Canvas()
    canvas.png(scene(recorded, pinned=[("long", long)]))
    assert canvas._axes["loss"].get_xlim()[1] == 3 * 2224
    canvas.png(scene(recorded, ghosts=[("long", long)]))
    assert canvas._axes["loss"].get_xlim()[1] == 2224


def test_a_band_asked_for_in_vain_is_said(recorded):
    assert sentence(scene(recorded, band=())).endswith(
        "One seed is recorded here, so there is no band."
    )
