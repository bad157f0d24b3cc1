"""The scoreboard: verdicts counted, marked in words, and texts that stay in their columns."""

import math

from PIL import Image
from plots.toy import smallest_letter, texts

from minimind_lite import plots
from minimind_lite.cli import main
from minimind_lite.plots import results
from minimind_lite.plots.scoreboard import COLUMNS, FAILED, OUTCOMES, WIDTH
from minimind_lite.science import claims
from minimind_lite.science.claims import Verdict
from minimind_lite.science.intervals import Counts, Interval, Measured
from minimind_lite.science.rules import (
    CONTRADICTED,
    NOT_HERE,
    NOT_SUPPORTED,
    PART,
    SUPPORTED,
    UNCLEAR,
)
from minimind_lite.science.store import Store


def verdict(name: str, outcome: str, measured: Measured) -> Verdict:
    claim = next(claim for claim in claims.CLAIMS if claim.id == name)
    return Verdict(claim, outcome, {"height − height (nats)": measured})


VERDICTS = [
    verdict("C1", SUPPORTED, Interval(1.0, 0.5, 1.5, 5)),
    verdict("C2", CONTRADICTED, Interval(-120.0, -200.0, -40.0, 8, bases=3)),
    verdict("C4", PART, Interval(0.0, 0.0, 0.0, 5)),
    verdict("R5", SUPPORTED, Counts((5, 4, 5, 5, 3, 5), of=5)),
    verdict("R1", UNCLEAR, Interval(2.0, -math.inf, math.inf, 1)),
]


def test_the_sentence_counts_verdicts_and_names_the_bets_that_failed():
    assert plots.scoreboard(VERDICTS).summary.startswith(
        "Of 5 claims: 2 supported (C1, R5); 1 supported in part (C4); 1 contradicted (C2); 1 can't "
        "tell with these layouts (R1); bets that failed: C2. Each is judged on 1 to 8 layouts;"
    )
    assert "no bet failed" in plots.scoreboard(VERDICTS[:1]).summary


def test_verdicts_are_marked_in_words_too_and_effects_are_in_figures():
    plot = plots.scoreboard(VERDICTS)
    drawn = {" ".join(text.split()) for text in texts(plot.figure)}
    assert {"✓ supported", "◐ supported in part", "✗ contradicted"} <= drawn
    assert {"+1.00 [0.50, 1.50]", "-120 [-200, -40]", "+2.00 (one seed)"} <= drawn
    assert "5, 4, 5, 5, 3, 5 of 5" in drawn
    assert "height − height (nats); 8 layouts × 3 bases" in drawn
    assert smallest_letter(plot) >= 11


def test_a_bet_that_failed_is_seen_in_words_and_color():
    colors = {}
    for text in plots.scoreboard(VERDICTS).figure.axes[0].texts:
        colors[" ".join(text.get_text().split())] = text.get_color()
    assert colors["holds as a mechanism → came true"] != FAILED
    assert colors["wrong in nats, true of visibility only → failed"] == FAILED
    assert colors["holds, with a buffer that is large enough → open"] != FAILED


def test_the_part_is_named_beside_the_claim():
    drawn = " ".join(" ".join(text.split()) for text in texts(plots.scoreboard(VERDICTS).figure))
    assert "distribution. In part: loss is sensitive to tokens of a kind" in drawn


def test_every_outcome_of_a_rule_has_a_color():
    outcomes = {SUPPORTED, PART, NOT_SUPPORTED, CONTRADICTED, NOT_HERE, UNCLEAR}
    assert outcomes == set(OUTCOMES)


def test_texts_stay_in_their_columns():
    """Of all claims with their longest words."""
    verdicts = []
    for claim in claims.CLAIMS:
        longest = max((effect.text for effect in claim.effects.values()), key=len)
        verdicts.append(Verdict(claim, PART, {longest: Interval(-100.0, -200.0, 99.0, 8, 3)}))
    plot = plots.scoreboard(verdicts)
    plot.png()
    lefts = sorted(column.left for column in COLUMNS.values())
    for box in (text.get_window_extent() for text in plot.figure.axes[0].texts):
        next_column = min((left for left in lefts if left > box.x0 + 2), default=WIDTH)
        assert box.x1 <= next_column + 2


def test_the_claims_command_writes_the_pictures_where_it_is_asked_to(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "scoreboard", lambda *_, **__: VERDICTS[:1])
    monkeypatch.setattr(Store, "of_other_code", lambda *_: [])
    command = ["claims", "--recorded", "--out", str(tmp_path / "none")]
    assert main(command) == 0 and not list(tmp_path.rglob("*.png"))
    monkeypatch.setattr(results, "draw", lambda records: [("terms", plots.scoreboard(VERDICTS))])
    folder = tmp_path / "new"
    assert main([*command, "--pictures", str(folder)]) == 0
    assert str(folder) in capsys.readouterr().out
    assert sorted(p.name for p in folder.iterdir()) == ["scoreboard.png", "terms.png"]
    with Image.open(folder / "scoreboard.png") as image:
        assert image.size[0] == 900
        assert image.text["Description"].startswith("Of 1 claims: 1 supported (C1);")
