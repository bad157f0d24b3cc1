"""The lab's figure: what is painted is what the run says, quickly or from the start."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.lab.curves import fit_labels
from minimind_lite.lab.figure import HEIGHT, STRIP, WIDTH, Canvas, strip_colors
from minimind_lite.lab.plan import RunSpec
from minimind_lite.lab.scene import Scene, sentence, steps_at
from minimind_lite.plots.base import DOMAIN_COLORS
from minimind_lite.records import Run
from minimind_lite.science import log_views

N = 2224


def of(pulse=1, **config):
    return RunSpec(TrainConfig(**config), pulse)


@pytest.fixture(scope="module")
def recorded(shared_materials):
    return shared_materials.run


@pytest.fixture
def scene(recorded):
    """Makes a scene of a recorded run, or of its first steps."""

    def make(spec=None, *, first=None, title="a run", **more):
        spec = spec or of()
        run = recorded(spec)
        if first is not None:
            run = Run({}, run.records[:first])
        if "events" not in more:
            more["events"] = spikes.find(run.loss)
        return Scene(spec, run, title, n_rows=N, segments=shipped.segments(), **more)

    return make


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_live_run_painted_step_by_step_is_the_same_as_painted_at_once(scene, recorded):
    under, moving = recorded(of()), Canvas()
    for n in range(1, 80, 6):
        stepwise = moving.png(scene(first=n, under=under))
    at_once = Canvas().png(scene(first=79, under=under))
    assert (pixels(stepwise) == pixels(at_once)).all()


def test_only_what_moves_is_drawn_again(scene, recorded, monkeypatch):
    canvas, drawings, under = Canvas(), [], recorded(of())
    real = canvas._draw_still

    def counted(*arguments):
        drawings.append(1)
        real(*arguments)

    monkeypatch.setattr(canvas, "_draw_still", counted)
    for n in range(1, 100, 5):
        canvas.png(scene(first=n, under=under, events=()))
    assert len(drawings) == 1


def test_a_run_that_leaves_the_limits_is_drawn_with_new_ones(scene, recorded):
    canvas, loud = Canvas(), of(40, order="shuffle")
    for n in (5, 70):
        shown = scene(loud, first=n, under=recorded(of(order="shuffle")))
        canvas.png(shown)
    low, high = canvas._axes["loss"].get_ylim()
    assert low < shown.run.loss.min()
    assert high > shown.run.loss.max()


def test_the_picture_has_the_promised_size_and_its_sentence(scene):
    png = Canvas().png(scene(), alt="five spikes 尖峰")
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (WIDTH, HEIGHT)
        assert image.text["Description"] == "five spikes 尖峰"
    assert len(png) < 150_000


def test_lines_are_those_of_the_log_module(scene, recorded):
    spec, canvas = of(micro_batch_size=4), Canvas()
    canvas.png(scene(spec, lines=("micro-batches", "accumulated", "smoothed", "log")))
    run = recorded(spec)
    assert canvas.drawn["accumulated"].tolist() == run.loss.tolist()
    assert canvas.drawn["smoothed"].tolist() == log_views.moving_average(run).values.tolist()
    assert canvas.drawn["log"].tolist() == log_views.minimind(run, 8).values.tolist()
    assert len(canvas.drawn["micro-batches"]) == 4 * len(run)


def byte(color):
    return [round(255 * c) for c in to_rgb(color)]


def test_the_strip_shows_the_rows_of_the_batches(scene):
    strip, first = strip_colors(scene(axis="steps")), shipped.segments()[0]
    inside = -(-first.start // 16)
    assert strip.shape == (STRIP, 139, 3)
    assert strip.dtype == np.uint8
    assert strip[0, inside].tolist() == byte(DOMAIN_COLORS[first.domain])
    assert strip[:, 0].tolist() == [byte(DOMAIN_COLORS["zh"])] * STRIP
    shuffled = strip_colors(scene(of(order="shuffle"), axis="steps"))
    chinese = (shuffled == byte(DOMAIN_COLORS["zh"])).all(axis=2).mean()
    assert chinese == pytest.approx(1 - sum(map(len, shipped.segments())) / N, abs=0.03)


def test_the_strip_lies_under_the_curve_also_where_the_last_batch_is_short(scene):
    strip = strip_colors(scene(of(batch_size=256)))
    assert strip.shape[1] == N
    assert (strip[:, 2048] == strip[:, 2223]).all()
    assert (strip[:, 256] == strip[:, 511]).all()


@pytest.mark.parametrize(
    "more",
    [
        {"axis": "steps"},
        {"scale": "log"},
        {"probes": True},
        {"language": "zh"},
        {"opened": 71},
        {"lines": ("smoothed",)},
        {"spec": of(batch_size=256)},
        {"spec": of(epochs=3)},
        {"spec": of(optimizer="none"), "probes": True},
        {"title": r"$\frac{$"},
        {"under_label": "$", "ghosts": "$", "pinned": r"$x_2$"},
    ],
    ids=str,
)
def test_every_view_is_another_picture_without_warnings(scene, recorded, more):
    for name in ("ghosts", "pinned"):
        if name in more:
            more = {**more, name: [(more[name], recorded(of(order="shuffle")))]}
    assert Canvas().png(scene(**more)) != Canvas().png(scene())


def test_the_sentence_is_made_of_the_numbers(scene):
    text = sentence(scene())
    assert text.startswith("a run: 139 steps. The mean loss is 5.50 over the first 13")
    assert "+1.94 nats (z 27) after 1136 conversations" in text
    assert sentence(scene(of(order="shuffle"))).endswith("No spike is flagged.")
    assert "too few steps" in sentence(scene(first=5))
    assert "尖峰（峰顶高度）" in sentence(scene(language="zh"))
    nothing = Scene(of(), None, "a run", n_rows=N, segments=())
    assert sentence(nothing) == "a run: nothing to show yet."
    assert sentence(scene(band=())).endswith("One seed is recorded here, so there is no band.")


NAMES = [
    "shuffled, batch 256, rate 0.0005, 3 epochs, trained here, first 100 steps",
    "buffer of 128, batch 128",
    "shuffled, batch 16, 3 epochs",
    "w" * 80,
    "文件顺序，批大小 128，学习率 0.0005，现场训练，前 100 步",
]


def test_labels_fit_and_cut_no_number(scene, recorded):
    """B6: "batch 12" was 128, "batch 25" was 256."""
    canvas = Canvas()
    run = recorded(of(order="shuffle"))
    canvas.png(scene(name="buffer of 128, batch 64", pinned=[(n, run) for n in NAMES[:4]]))
    labels = canvas.labels[1:]
    for name, label in zip(NAMES, labels):
        assert canvas._label_fits(label)
        parts = name.split(", ")
        if len(parts) > 1:
            assert all(part in parts for part in label.removesuffix("…").split(", "))
    assert labels[1] in ("buffer of 128, batch 128", "batch 128"), "what differs is kept"
    assert labels[3].startswith("wwww")
    assert labels[3].endswith("…")


def fits_in(n):
    def fits(text):
        return len(text) <= n

    return fits


@pytest.mark.parametrize(
    "room, label",
    [
        (30, "file order, batch 128, seed 2"),
        (20, "batch 128, seed 2"),
        (12, "batch 128…"),
        (6, "batch…"),
        (1, "…"),
    ],
)
def test_a_label_keeps_what_differs_then_whole_parts(room, label):
    names = fit_labels(["file order, batch 128, seed 2"], "file order, batch 16", ", ",
                       fits=fits_in(room))  # fmt: skip
    assert names == [label]


def test_steps_are_whole_at_the_beginning_of_each(recorded):
    run = recorded(of(batch_size=64))
    assert steps_at(run, run.column("samples_seen")).tolist() == list(range(len(run)))


def test_held_out_losses_stay_on_their_axis(scene):
    canvas = Canvas()
    for n in (1, 60, 100):
        shown = scene(of(40, order="shuffle"), first=n, probes=True)
        canvas.png(shown)
        low, high = canvas._axes["probes"].get_ylim()
        assert all(low <= v <= high for r in shown.run.records for v in r.probes.values())


def test_a_longer_pinned_run_is_shown_whole_and_a_grey_one_is_not(scene, recorded):
    long, canvas = recorded(of(epochs=3)), Canvas()
    canvas.png(scene(pinned=[("long", long)]))
    assert canvas._axes["loss"].get_xlim()[1] == 3 * N
    canvas.png(scene(ghosts=[("long", long)]))
    assert canvas._axes["loss"].get_xlim()[1] == N
