"""Lesson 05: right answers pass, usual slips get their own advice."""

import pytest

from minimind_lite.lessons import lesson_05

TOY = [1, 0, 1, 0, 0, 0, 0, 0]
CHECKS = {
    "buffer": lambda answer: lesson_05.check_buffer_size(answer, length=256, share=0.2),
    "dispersion": lambda answer: lesson_05.check_dispersion(answer, TOY, batch_size=2),
    "never read": lambda answer: lesson_05.check_never_read(answer, n=10_000, fraction=0.3),
}


@pytest.mark.parametrize(
    ("name", "answer", "text"),
    [
        ("buffer", 1148, "Right: K = 1148 rows, 4.5 times the segment"),
        ("buffer", 1147.3, "Right"),
        ("dispersion", 2 / 3, "shares 0.5, 0.5, 0, 0, variance 0.0625, chance 0.09375"),
        ("never read", 2100, "2,100 rows are never read"),
    ],
)
def test_right_answers(name, answer, text, capsys):
    assert CHECKS[name](answer)
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "answer", "advice"),
    [
        ("buffer", 256, "share rise to 63%"),
        ("buffer", 5000, "a smaller one is, too"),
        ("dispersion", 0.0625, "divide it by what chance gives"),
        ("dispersion", 0.333, "left out the B"),
        ("dispersion", 0.889, "n - 1"),
        ("dispersion", 9, "p = 0.25"),
        ("never read", 3000, "were read before the break"),
        ("never read", 7000, "left to read"),
        ("never read", 4900, "both parts had a chance of f"),
        ("never read", 1, "chance 1 - f"),
    ],
)
def test_slips_get_their_own_advice(name, answer, advice, capsys):
    assert not CHECKS[name](answer)
    assert advice in capsys.readouterr().out
