"""Pictures of verdicts, accumulation and logged curves: a picture, and a sentence whose numbers are checked by hand."""

import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minimind_lite import log_views
from minimind_lite.cli import main
from minimind_lite.plots import curves
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import claims
from minimind_lite.science.intervals import Interval


def verdict(name: str, outcome: str, found: Interval) -> SimpleNamespace:
    claim = SimpleNamespace(
        id=name,
        text=f"What {name} says of curves and of batches, at some length.",
        prediction="holds",
    )
    return SimpleNamespace(claim=claim, outcome=outcome, effects={"height − height (nats)": found})


JUDGED = [
    verdict("C1", "holds", Interval(1.0, 0.5, 1.5, 5)),
    verdict("C2", "wrong", Interval(-120.0, -200.0, -40.0, 5)),
    verdict("C3", "holds", Interval(0.0, 0.0, 0.0, 5)),
    verdict("R1", "undecided", Interval(2.0, -math.inf, math.inf, 1)),
]


def toy_run(spike: float, steps: int = 48) -> Run:
    """Loss 2 with a ripple; steps 40 to 43 stand higher, and the held-out probe with them."""
    losses = 2 + 0.01 * np.sin(np.arange(steps)) + spike * np.isin(np.arange(steps), range(40, 44))
    records = tuple(
        StepRecord(
            step=i,
            epoch=0,
            samples_seen=4 * i,
            loss=float(losses[i]),
            tokens=40,
            lr=1e-3,
            grad_norm=1.0,
            micro_losses=np.array([losses[i], losses[i]]),
            rows=np.arange(4 * i, 4 * i + 4),
            sample_losses=np.full(4, losses[i]),
            sample_tokens=np.full(4, 10),
            seconds=0.1,
            probes={"zh": 3.0 + spike * (i == 42)} if i % 2 == 0 else {},
        )
        for i in range(steps)
    )
    return Run({"event": [40, 44], "probes_after": {"zh": 3.0 + spike / 4}}, records)


RUN = toy_run(1.0)
LEVEL = (
    5 + 0.05 * np.sin(np.arange(120)) + np.isin(np.arange(120), range(60, 100))
)  # forty steps up, longer than the window
DRAWN = {
    "scoreboard": lambda: curves.scoreboard(JUDGED),
    "three_means": lambda: curves.three_means([5, 1], [1, 5], title="t"),
    "gradient_gaps": lambda: curves.gradient_gaps(
        {"tokens": {1: 1e-15, 8: 1e-16}, "means": {1: 0.1, 8: 0.05}}, title="t"
    ),
    "bias_scatter": lambda: curves.bias_scatter(
        {
            "of 1": [(np.array([5.0, 5.0]), np.array([5, 1]))],
            "of 2": [(np.array([40.0, 1980.0]), np.array([10, 990]))],
        }
    ),
    "memory_bars": lambda: curves.memory_bars(
        {"16": {"weights": 2e6, "activations": 6e6}, "1": {"weights": 2e6, "activations": 2e6}}
    ),
    "panels": lambda: curves.panels(
        {"full": log_views.full(RUN), "sparse": log_views.minimind(RUN, 8)},
        run=RUN,
        detect=True,
        title="t",
    ),
    "intervals": lambda: curves.intervals(
        {"a": {"0.5": Interval(1.0, 0.5, 1.5, 5), "1": Interval(2.0, 1.5, 2.5, 5)}},
        title="T",
        ylabel="nats",
    ),
    "troubles": lambda: curves.troubles({"hard": RUN, "worse": toy_run(2.0)}),
    "judged": lambda: curves.judged(LEVEL, window=30),
}


def test_every_function_that_returns_a_plot_is_drawn_here():
    assert set(DRAWN) == {
        name
        for name, f in vars(curves).items()
        if inspect.isfunction(f)
        and f.__annotations__.get("return") == "Plot"
        and not name.startswith("_")
    }


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_picture_with_its_sentence(name, tmp_path):
    plot = DRAWN[name]()
    plot.save(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.text["Description"] == plot.summary != "" and min(image.size) > 100


def texts(plot: curves.Plot) -> list[str]:
    return [t.get_text() for ax in plot.figure.axes for t in ax.texts]


@pytest.mark.parametrize("name", DRAWN)
def test_no_letter_is_smaller_than_eleven_points(name):
    figure = DRAWN[name]().figure
    drawn = [
        t
        for ax in figure.axes
        for t in [
            *ax.texts,
            *ax.get_xticklabels(),
            *ax.get_yticklabels(),
            ax.title,
            ax.xaxis.label,
            ax.yaxis.label,
        ]
        + ([*ax.get_legend().get_texts()] if ax.get_legend() else [])
    ]
    assert drawn and all(t.get_fontsize() >= 11 for t in drawn)


# Scoreboard


def test_the_scoreboard_s_sentence_counts_verdicts():
    assert DRAWN["scoreboard"]().summary.startswith(
        "Of 4 claims: 2 hold (C1, C3); 1 wrong (C2); 1 undecided (R1). Each is judged on 1 to 5 seeds;"
    )


def test_the_scoreboard_marks_verdicts_in_words_too_and_shows_intervals_in_figures():
    found = texts(DRAWN["scoreboard"]())
    assert "✓ holds" in found and "✗ wrong" in found and "? undecided" in found
    assert {"+1.00\n[0.50, 1.50]", "-120\n[-200, -40]", "+2.00\n(one seed)"} <= set(found)


def test_the_scoreboard_knows_every_outcome_a_rule_can_have():
    assert {claims.HOLDS, claims.PART, claims.WRONG, claims.NOT_HERE, claims.OPEN} == set(
        curves.OUTCOMES
    )


def test_scoreboard_texts_stay_in_their_columns():
    effects = {"recovery, momentum − Adam (conversations)": Interval(1.0, -9.0, 9.0, 5)}
    figure = curves.scoreboard(
        [
            SimpleNamespace(claim=c, outcome="not testable here", effects=effects)
            for c in claims.CLAIMS
        ]
    ).figure
    lefts, boxes = (
        sorted(left for left, _ in curves.COLUMNS.values()),
        [t.get_window_extent() for t in figure.axes[0].texts],
    )
    for box in boxes:
        assert (
            box.x1 <= min([left for left in lefts if left > box.x0 + 2], default=curves.WIDTH) + 2
        )


def test_the_claims_command_writes_the_picture_where_it_is_asked_to(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        claims,
        "scoreboard",
        lambda *_, **__: [
            claims.Verdict(claims.CLAIMS[0], "holds", {"a (nats)": Interval(1.0, 0.5, 1.5, 5)})
        ],
    )
    assert main(["claims", "--recorded", "--out", str(tmp_path / "none")]) == 0 and not list(
        tmp_path.rglob("*.png")
    )
    assert (
        main(
            [
                "claims",
                "--recorded",
                "--out",
                str(tmp_path / "none"),
                "--picture",
                str(tmp_path / "new" / "board.png"),
            ]
        )
        == 0
    )
    assert "board.png" in capsys.readouterr().out
    with Image.open(tmp_path / "new" / "board.png") as image:
        assert image.size[0] == 900 and image.text["Description"].startswith(
            "Of 1 claims: 1 holds (C1)."
        )


# Accumulation and logs


def test_three_means_by_hand():
    assert DRAWN["three_means"]().summary == (
        "Micro-batches of 5 tokens at 1 and 1 token at 5 nats: last micro-batch 5.00, mean of means 3.00, "
        "sum of losses / tokens 1.67."
    )


def test_the_largest_gap_of_each_way_is_said():
    assert DRAWN["gradient_gaps"]().summary.endswith("tokens: at most 1e-15; means: at most 0.1.")


def test_bias_by_hand_lies_within_its_limit():
    """(3.00 - 1.67) with n = 5, 1 and m = 1, 5: a deviation of 2 over a mean of 3, times a deviation of 2."""
    bias, limit = curves._bias_and_limit(np.array([5.0, 5.0]), np.array([5, 1]))
    assert bias == pytest.approx(4 / 3) == limit
    assert "of 1: 1.333 nats off on average" in DRAWN["bias_scatter"]().summary


def test_memory_is_added_up():
    assert (
        DRAWN["memory_bars"]().summary
        == "16: 8.0 MB (weights 2.0, activations 6.0). 1: 4.0 MB. 1 needs 50% of the memory of 16."
    )


def test_panels_count_events_where_the_curve_is_long_enough():
    text = DRAWN["panels"]().summary
    assert "full: 48 points" in text and "1 event found" in text and text.count("found") == 1
    assert len(DRAWN["panels"]().figure.axes) == 3  # two curves and the strip


def test_an_earlier_curve_lies_under_its_panel():
    drawn = curves.panels(
        {"live": log_views.full(RUN), "other": log_views.full(RUN)},
        under={"live": log_views.full(toy_run(2.0))},
    )
    first, second = drawn.figure.axes
    assert [line.get_ydata().max().round(1) for line in first.lines] == [4.0, 3.0] and len(
        second.lines
    ) == 1


def test_intervals_say_how_many_seeds():
    assert (
        DRAWN["intervals"]().summary
        == "T. a: 1.00 [0.50, 1.50] at 0.5, 2.00 [1.50, 2.50] at 1 (nats; 5 seeds, 95 % intervals)."
    )


def test_troubles_end_with_the_probe_after_the_last_step():
    assert (
        "worse: training loss up to 4.01, probe 3.00 before, 5.00 at most, 3.50 at the end."
        in DRAWN["troubles"]().summary
    )


def test_the_rolling_mean_flags_the_first_step_and_the_end_of_a_long_segment_only():
    """After one step of the spike, z can be sqrt((1 - p) / p) = 5.4 at most, p = 1/30."""
    assert DRAWN["judged"]().summary == (
        "120 steps, window 30. Flagged by the rolling mean and 7 deviations: 60, 100. "
        "Flagged by the robust z: 60–90."
    )
