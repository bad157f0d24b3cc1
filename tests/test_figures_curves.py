"""Pictures of verdicts, accumulation and logged curves: a picture, and a sentence whose numbers are checked by hand."""

import inspect
import math
from types import SimpleNamespace

import pytest
from PIL import Image

from minimind_lite import claims, figures_curves
from minimind_lite.__main__ import main
from minimind_lite.effects import Interval


def verdict(name: str, outcome: str, found: Interval) -> SimpleNamespace:
    claim = SimpleNamespace(id=name, text=f"What {name} says of curves and of batches, at some length.", prediction="holds")
    return SimpleNamespace(claim=claim, outcome=outcome, effects={"height − height (nats)": found})


JUDGED = [verdict("C1", "holds", Interval(1.0, 0.5, 1.5, 5)), verdict("C2", "wrong", Interval(-120.0, -200.0, -40.0, 5)),
          verdict("C3", "holds", Interval(0.0, 0.0, 0.0, 5)), verdict("R1", "undecided", Interval(2.0, -math.inf, math.inf, 1))]
DRAWN = {"scoreboard": lambda: figures_curves.scoreboard(JUDGED)}


def test_every_function_that_returns_a_plot_is_drawn_here():
    assert set(DRAWN) == {name for name, f in vars(figures_curves).items()
                          if inspect.isfunction(f) and f.__annotations__.get("return") == "Plot" and not name.startswith("_")}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_picture_with_its_sentence(name, tmp_path):
    plot = DRAWN[name]()
    plot.save(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.text["Description"] == plot.summary != "" and min(image.size) > 100


def texts(plot: figures_curves.Plot) -> list[str]:
    return [t.get_text() for ax in plot.figure.axes for t in ax.texts]


@pytest.mark.parametrize("name", DRAWN)
def test_no_letter_is_smaller_than_eleven_points(name):
    figure = DRAWN[name]().figure
    drawn = [t for ax in figure.axes for t in [*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels(), ax.title, ax.xaxis.label, ax.yaxis.label]
             + ([*ax.get_legend().get_texts()] if ax.get_legend() else [])]
    assert drawn and all(t.get_fontsize() >= 11 for t in drawn)


# Scoreboard


def test_the_scoreboard_s_sentence_counts_verdicts():
    assert DRAWN["scoreboard"]().summary.startswith("Of 4 claims: 2 hold (C1, C3); 1 wrong (C2); 1 undecided (R1). Each is judged on 1 to 5 seeds;")


def test_the_scoreboard_marks_verdicts_in_words_too_and_shows_intervals_in_figures():
    found = texts(DRAWN["scoreboard"]())
    assert "✓ holds" in found and "✗ wrong" in found and "? undecided" in found
    assert {"+1.00\n[0.50, 1.50]", "-120\n[-200, -40]", "+2.00\n(one seed)"} <= set(found)


def test_the_scoreboard_knows_every_outcome_a_rule_can_have():
    assert {claims.HOLDS, claims.PART, claims.WRONG, claims.NOT_HERE, claims.OPEN} == set(figures_curves.OUTCOMES)


def test_scoreboard_texts_stay_in_their_columns():
    effects = {"recovery, momentum − Adam (conversations)": Interval(1.0, -9.0, 9.0, 5)}
    figure = figures_curves.scoreboard([SimpleNamespace(claim=c, outcome="not testable here", effects=effects) for c in claims.CLAIMS]).figure
    lefts, boxes = sorted(left for left, _ in figures_curves.COLUMNS.values()), [t.get_window_extent() for t in figure.axes[0].texts]
    for box in boxes:
        assert box.x1 <= min([left for left in lefts if left > box.x0 + 2], default=figures_curves.WIDTH) + 2


def test_the_claims_command_writes_the_picture_where_it_is_asked_to(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "scoreboard", lambda evidence: [claims.Verdict(claims.CLAIMS[0], "holds", {"a (nats)": Interval(1.0, 0.5, 1.5, 5)})])
    assert main(["claims", "--recorded", "--out", str(tmp_path / "none")]) == 0 and not list(tmp_path.rglob("*.png"))
    assert main(["claims", "--recorded", "--out", str(tmp_path / "none"), "--picture", str(tmp_path / "new" / "board.png")]) == 0
    assert "board.png" in capsys.readouterr().out
    with Image.open(tmp_path / "new" / "board.png") as image:
        assert image.size[0] == 900 and image.text["Description"].startswith("Of 1 claims: 1 holds (C1).")
