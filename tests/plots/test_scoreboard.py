"""The scoreboard: verdicts counted, marked in words, and texts that stay in their columns."""

import math

from PIL import Image
from plots.toy import smallest_letter, texts

from minimind_lite import plots
from minimind_lite.cli import main
from minimind_lite.plots.scoreboard import COLUMNS, OUTCOMES, WIDTH
from minimind_lite.science import claims, rules
from minimind_lite.science.claims import Verdict
from minimind_lite.science.intervals import Interval
from minimind_lite.science.store import Store

RECOVERY = {"recovery, momentum − Adam (conversations)": Interval(1.0, -9.0, 9.0, 5)}


def verdict(name: str, outcome: str, interval: Interval) -> Verdict:
    claim = next(claim for claim in claims.CLAIMS if claim.id == name)
    return Verdict(claim, outcome, {"height − height (nats)": interval})


VERDICTS = [
    verdict("C1", "holds", Interval(1.0, 0.5, 1.5, 5)),
    verdict("C2", "wrong", Interval(-120.0, -200.0, -40.0, 5)),
    verdict("C3", "holds", Interval(0.0, 0.0, 0.0, 5)),
    verdict("R1", "undecided", Interval(2.0, -math.inf, math.inf, 1)),
]


def test_the_sentence_counts_verdicts():
    assert plots.scoreboard(VERDICTS).summary.startswith(
        "Of 4 claims: 2 hold (C1, C3); 1 wrong (C2); 1 undecided (R1). "
        "Each is judged on 1 to 5 seeds;"
    )


def test_verdicts_are_marked_in_words_too_and_intervals_are_in_figures():
    plot = plots.scoreboard(VERDICTS)
    drawn = set(texts(plot.figure))
    assert {"✓ holds", "✗ wrong", "? undecided"} <= drawn
    assert {"+1.00\n[0.50, 1.50]", "-120\n[-200, -40]", "+2.00\n(one seed)"} <= drawn
    assert smallest_letter(plot) >= 11


def test_every_outcome_of_a_rule_has_a_color():
    outcomes = {rules.HOLDS, rules.PART, rules.WRONG, rules.NOT_HERE, rules.OPEN}
    assert outcomes == set(OUTCOMES)


def test_texts_stay_in_their_columns():
    verdicts = [Verdict(claim, "not testable here", RECOVERY) for claim in claims.CLAIMS]
    plot = plots.scoreboard(verdicts)
    plot.png()
    lefts = sorted(column.left for column in COLUMNS.values())
    for box in (text.get_window_extent() for text in plot.figure.axes[0].texts):
        next_column = min((left for left in lefts if left > box.x0 + 2), default=WIDTH)
        assert box.x1 <= next_column + 2


def test_the_claims_command_writes_the_picture_where_it_is_asked_to(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "scoreboard", lambda *_, **__: VERDICTS[:1])
    monkeypatch.setattr(Store, "of_other_code", lambda *_: [])
    command = ["claims", "--recorded", "--out", str(tmp_path / "none")]
    assert main(command) == 0 and not list(tmp_path.rglob("*.png"))
    picture = tmp_path / "new" / "board.png"
    assert main([*command, "--picture", str(picture)]) == 0
    assert "board.png" in capsys.readouterr().out
    with Image.open(picture) as image:
        assert image.size[0] == 900
        assert image.text["Description"].startswith("Of 1 claims: 1 holds (C1).")
