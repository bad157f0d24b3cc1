"""Pictures of terms: signs go to their side, the largest term is marked, every number is said."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from plots.toy import smallest_letter, texts

from minimind_lite.plots import decomposition as plots
from minimind_lite.science.decomposition import Terms
from minimind_lite.science.intervals import Interval
from minimind_lite.science.regimes import Point, Regime, TermIntervals, fit


def over_files(unfamiliar: float, transferred: float, specialized: float, spread: float = 0.01):
    """Two files, `spread` nats of unfamiliarity on each side of these terms."""
    return TermIntervals.over_seeds(
        [
            Terms(u + transferred + specialized, u, transferred, specialized)
            for u in (unfamiliar - spread, unfamiliar + spread)
        ]
    )


RISE, FALL = over_files(1.0, -0.25, 0.5), over_files(-1.0, 0.25, 0.5)


def regime(exposure: str, length: int, spikes: TermIntervals | None) -> Regime:
    return Regime(
        exposure,
        69,
        length,
        boundaries=RISE,
        after_chinese=over_files(0.0, 0.0, length / 1000),
        after_others=over_files(0.0, 0.0, length / 100),
        spikes=spikes,
        n_boundaries=6.0,
        n_spikes=2.5 if spikes else 0.0,
    )


# Stacked bars


def test_terms_above_zero_go_right_and_those_below_go_left():
    ax = plots.stacked_terms(
        {"starts": {"code": RISE, "en_tiny": FALL}}, title="Made of?"
    ).figure.axes[0]
    spans = [
        (bar.get_y(), sorted((bar.get_x(), bar.get_x() + bar.get_width()))) for bar in bars(ax)
    ]
    ends = [end for _, span in spans for end in span]
    assert ends == pytest.approx([0, 1, -0.25, 0, 1, 1.5, -1, 0, 0, 0.25, 0.25, 0.75])
    assert [y > 0.5 for y, _ in spans] == 3 * [False] + 3 * [True]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["code", "tiny English"]


def bars(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def test_each_term_has_its_color_and_its_hatch_and_the_height_its_mark():
    plot = plots.stacked_terms({"starts": {"code": RISE}}, title="Made of?")
    ax = plot.figure.axes[0]
    drawn = [(to_hex(bar.get_facecolor()).upper(), bar.get_hatch() or "") for bar in bars(ax)]
    assert drawn == list(zip(plots.COLORS.values(), plots.HATCH.values()))
    assert len(set(plots.HATCH.values())) == 3
    mark = ax.containers[-1].lines[0]
    assert mark.get_xdata() == pytest.approx([1.25])
    assert texts(plot.figure) == ["  +1.25"]
    assert smallest_letter(plot) >= 11


def test_the_sentence_has_every_height_as_a_sum():
    plot = plots.stacked_terms(
        {"short segments": {"code": RISE}, "long blocks": {"zh_chat": FALL}}, title="Made of?"
    )
    low, high = RISE.height.low, RISE.height.high
    assert plot.summary == (
        "Made of. Nats, mean and 95 % interval. short segments: code "
        f"+1.25 [{low:.2f}, {high:.2f}] = +1.00 unfamiliar -0.25 transferred +0.50 specialized; "
        f"long blocks: everyday Chinese {FALL.height.text()} = "
        "-1.00 unfamiliar +0.25 transferred +0.50 specialized."
    )
    assert plot.png()


# The map of regimes


def test_every_cell_has_its_numbers_and_the_color_of_its_largest_term():
    known, unsure = over_files(0.1, 0.0, 0.75), over_files(0.6, 0.0, 0.5, spread=0.3)
    plot = plots.regime_map([regime("low", 64, known), regime("low", 128, unsure)])
    ax = plot.figure.axes[0]
    colors = [to_hex(cell.get_facecolor()).upper() for cell in bars(ax) if cell.get_fill()]
    assert colors == [plots.COLORS["specialized"], plots.COLORS["unfamiliar"]]
    written = texts(plot.figure)
    assert written[2:5] == [
        "transferred +0.00",
        "specialized +0.75 ★",
        "2.5 of 6.0 boundaries rise",
    ]
    half = unsure.unfamiliar.high - unsure.unfamiliar.mean
    assert written[6] == f"unfamiliar +0.60 ± {half:.2f}"  # ahead on average, not clearly
    assert [label.get_text() for label in ax.get_yticklabels()] == ["low\n69 read"]
    assert smallest_letter(plot) >= 11
    assert "exposure low (69), blocks of 64: " in plot.summary
    assert (
        plot.summary.count("largest specialized") == plot.summary.count("largest unfamiliar") == 1
    )


def test_cells_are_placed_by_exposure_and_length_and_none_needs_a_spike():
    plot = plots.regime_map([regime("low", 64, RISE), regime("high", 128, None)])
    places = {text.get_text(): text.get_position() for text in plot.figure.axes[0].texts}
    assert places["no spike"] == (1, 1)
    assert places["2.5 of 6.0 boundaries rise"][0] == 0
    assert "exposure high (69), blocks of 128: no spike" in plot.summary
    assert plot.png()


def test_specialization_has_a_line_for_each_exposure_in_each_panel():
    plot = plots.specialization(
        [regime(exposure, n, RISE) for exposure in ("low", "high") for n in (64, 128)]
    )
    for ax, scale in zip(plot.figure.axes, (1000, 100)):
        lines = [container.lines[0] for container in ax.containers]
        assert len(lines) == 2
        for line in lines:
            assert list(line.get_xdata()) == [64, 128]
            assert line.get_ydata() == pytest.approx([64 / scale, 128 / scale])
    assert plot.figure.get_suptitle().endswith("has come down by 0.06 to 1.28 nats")
    assert "where another ends, exposure high, by length: 64: +0.64 [0.64, 0.64]" in plot.summary
    assert smallest_letter(plot) >= 11
    assert plot.png()


# Frozen heights against trained ones


def points(slope: float, family: str, *, held_out: float = math.nan) -> list[Point]:
    frozen = np.random.default_rng(0).uniform(-1, 1, size=12)
    return [
        Point(family, i // 6, "code", Terms(slope * f, f, (slope - 1) * f, 0.0), held_out * i)
        for i, f in enumerate(frozen)
    ]


def test_points_lines_and_numbers_are_those_of_the_fit():
    of_family = {"mixed": points(0.5, "mixed"), "blocks": points(1.5, "blocks")}
    plot = plots.frozen_against_trained(of_family, {k: fit(v) for k, v in of_family.items()})
    ax = plot.figure.axes[0]
    dots, line = ax.lines[:2]
    assert dots.get_ydata() == pytest.approx(0.5 * np.asarray(dots.get_xdata()))
    assert line.get_ydata() == pytest.approx(0.5 * np.asarray(line.get_xdata()))
    assert line.get_color() == dots.get_color() != ax.lines[2].get_color()
    diagonal = ax.lines[-1]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[1] == "long blocks\n12 points, 2 layouts\nR² 1.00, slope 1.50"
    shares = "100% (short segments), 100% (long blocks)"
    title = f"Of the heights' variance a frozen run explains {shares}"
    assert plot.figure.get_suptitle() == title and plot.summary.startswith(title)
    assert "Short segments: 12 points of 2 layouts, R² 1.00, slope 0.50" in plot.summary
    assert "held-out" not in plot.summary  # it was not measured
    assert smallest_letter(plot) >= 11
    assert plot.png()


def test_what_held_out_loss_explains_is_said_where_it_was_measured():
    noisy = [
        Point(p.family, p.seed, p.label, Terms(p.terms.height + h, p.terms.unfamiliar, h, 0.0), h)
        for p, h in zip(points(1.0, "mixed"), np.tile([-0.5, 0.5], 6))
    ]
    line = fit(noisy)
    plot = plots.frozen_against_trained({"mixed": noisy}, {"mixed": line})
    assert f"held-out loss before explains {line.by_held_out:.0%} where" in plot.summary


def test_an_interval_of_one_file_has_no_half_width():
    one = TermIntervals.over_seeds([Terms(1.25, 1.0, -0.25, 0.5)])
    assert one.height == Interval(1.25, -math.inf, math.inf, 1)
    plot = plots.regime_map([regime("low", 64, one)])
    assert texts(plot.figure)[:2] == ["height +1.25", "unfamiliar +1.00"]  # and no star
