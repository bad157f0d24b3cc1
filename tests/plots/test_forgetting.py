"""Pictures of forgetting: every number is in the sentence, and lines carry their names."""

from dataclasses import replace

import numpy as np
import pytest
from plots.toy import BATCH, STEPS, smallest_letter, texts, toy_run

from minimind_lite.plots import forgetting
from minimind_lite.records import Run
from minimind_lite.science.intervals import Interval
from minimind_lite.segments import DOMAINS, LARGE

SEGMENTS = [
    {"domain": "code", "start": 40, "stop": 80},
    {"domain": "en", "start": 100, "stop": 120},
]


def interval(mean: float, half: float = 0.01) -> Interval:
    return Interval(mean, mean - half, mean + half, 8)


def measured(ends: dict[str, float], *, start: float = 6.0) -> Run:
    """Held-out losses that go straight from `start` to their `ends`, every ten steps."""
    run = toy_run()
    records = [
        replace(
            record,
            probes={d: start + (end - start) * i / STEPS for d, end in ends.items()}
            if i % 10 == 0
            else {},
        )
        for i, record in enumerate(run.records)
    ]
    return Run({"segments": SEGMENTS, "probes_after": ends}, tuple(records))


FILE = measured(dict(zip(DOMAINS, (5.0, 6.5, 5.5, 5.25, 5.26))))
SHUFFLED = measured(dict(zip(DOMAINS, (5.0, 5.0, 4.75, 4.5, 5.0))))


def table(sign: float) -> dict[str, dict[str, Interval]]:
    return {
        row: {probe: interval(sign * (i - j) / 10) for j, probe in enumerate(DOMAINS)}
        for i, row in enumerate(DOMAINS)
    }


def test_a_matrix_has_a_number_in_every_cell_and_frames_what_rises():
    plot = forgetting.forgetting_matrix({"file": table(1), "shuffled": table(-0.1)}, title="Read?")
    left, right, _ = plot.figure.axes
    drawn = [t.get_text() for t in left.texts]
    assert len(drawn) == 25 and drawn[:2] == ["+0.00", "-0.10"] and drawn[-5] == "+0.40"
    assert len(left.patches) == 10 and len(right.patches) == 10 - 4  # 0.01 is not above zero
    assert left.images[0].get_clim() == right.images[0].get_clim() == (-0.4, 0.4)
    assert left.get_yticklabels()[0].get_text() == "Chinese\n(all the rest)"
    assert plot.summary.startswith(
        "Read. file: 10 of 25 held-out losses rise with an interval above zero; largest change "
        "Chinese while reading classical Chinese, +0.40 [0.39, 0.41] nats; shuffled: 6 of 25"
    )
    assert smallest_letter(plot) >= 11 and plot.png()


def test_held_out_curves_begin_at_zero_and_end_at_their_names():
    plot = forgetting.learnt_and_forgotten(FILE, SHUFFLED, title="Turns.")
    ax = plot.figure.axes[0]
    assert [line.get_ydata()[0] for line in ax.lines[:10]] == [0.0] * 10
    assert [line.get_linestyle() for line in ax.lines[:4]] == ["-", "--", "-", "--"]
    assert texts(plot.figure) == [
        "Chinese -1.00",
        "maths -0.75",
        "classical Chinese -0.74",
        "English -0.50",
        "code +0.50",
    ]
    assert "code at least +0.00, at most +0.50, at the end +0.50 (shuffled -1.00)" in plot.summary
    assert smallest_letter(plot) >= 11 and plot.png()


def test_names_at_the_ends_do_not_cover_each_other():
    plot = forgetting.learnt_and_forgotten(FILE, SHUFFLED)
    places = [t.xy[1] for t in plot.figure.axes[0].texts]
    assert np.diff(places).min() > 0.05 and places[0] == -1.0


def test_held_out_change_counts_conversations_to_the_last():
    samples, change = forgetting.held_out_change(FILE, "code")
    assert samples.tolist() == [0, 40, 80, 120, BATCH * STEPS]
    assert change == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])


def test_dents_have_a_mean_and_a_half_life():
    """The mean goes as far as every layout does."""
    longer = (np.array([6, 22, 38]), np.array([0.4, 0.2, 0.1]))
    shorter = (np.array([2, 18]), np.array([0.2, 0.1]))
    plot = forgetting.dents(
        {"zh_classical": [longer, shorter], "code": [(np.array([4, 20]), np.array([0.0, -0.1]))]},
        {"zh_classical": Interval(100.0, 80.0, 120.0, 7)},
        title="Dents",
    )
    assert plot.summary == (
        "Dents. Dent in nats: classical Chinese +0.30 at first, +0.15 at last, half-life 100 "
        "[80, 120] conversations (7 layouts); code +0.00 at first, -0.10 at last."
    )
    mean = plot.figure.axes[0].lines[2]
    assert mean.get_xdata().tolist() == [4, 20]
    assert texts(plot.figure) == ["half-life 100 conversations", "code", "classical Chinese"]
    assert smallest_letter(plot) >= 11 and plot.png()


def test_doses_double_along_the_axis():
    points = {0.5: interval(0.1), 1.0: interval(0.2), 2.0: interval(0.4)}
    plot = forgetting.dose_response(
        {"rate": {"code": points}, "rows": {"code": points}}, ylabel="dent (nats)", title="Dose"
    )
    left, right = plot.figure.axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["0.5", "1", "2"]
    assert left.get_xticks().tolist() == [-1, 0, 1]
    assert [t.get_text() for t in right.texts] == ["code +0.40"] and not left.texts
    assert "code against rate 0.5: +0.10, 1: +0.20, 2: +0.40" in plot.summary
    assert smallest_letter(plot) >= 11 and plot.png()


def test_settings_of_an_optimizer_are_joined_in_the_order_of_what_they_learn():
    points = {
        "sgd 0.1": (interval(0.3), interval(40.0)),
        "sgd 0.05": (interval(0.1), interval(60.0)),
        "adam 5e-4": (interval(0.2), interval(50.0)),
    }
    plot = forgetting.against_learning(points, ylabel="half-life", title="Speed")
    ax = plot.figure.axes[0]
    assert list(ax.lines[0].get_xdata()) == [0.1, 0.3]
    assert list(ax.lines[0].get_ydata()) == [60.0, 40.0]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["sgd", "adam"]
    assert "sgd 0.1 learnt +0.30 [0.29, 0.31], +40.00 [39.99, 40.01]; sgd 0.05" in plot.summary
    assert smallest_letter(plot) >= 11 and plot.png()


def test_look_alikes_have_a_row_for_each_pair():
    plot = forgetting.look_alikes(
        {"same": {"a": FILE, "b": SHUFFLED}, "other": {"c": FILE, "d": FILE}}, title="Alike"
    )
    curve, held_out, *_ = plot.figure.axes
    assert len(plot.figure.axes) == 4 and curve.get_title(loc="left") == "same"
    ends = {
        name: np.mean([run.info["probes_after"][d] for d in LARGE])
        for name, run in (("a", FILE), ("b", SHUFFLED))
    }
    assert {t.get_text() for t in held_out.texts} == {f"{end:.2f}" for end in ends.values()}
    assert f"same: a 3.51 and {ends['a']:.2f}; b 3.51 and {ends['b']:.2f}" in plot.summary
    assert smallest_letter(plot) >= 11 and plot.png()


def test_look_alikes_of_one_domain_say_which():
    plot = forgetting.look_alikes({"x": {"a": FILE, "b": SHUFFLED}}, probes=["code"])
    assert plot.figure.axes[1].get_ylabel() == "held-out code (nats)"
    assert "held-out code at the end" in plot.summary and "a 3.51 and 6.50" in plot.summary
