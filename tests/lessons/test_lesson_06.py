"""Lesson 06: right answers pass, usual slips get their own advice."""

import pytest

from minimind_lite.lessons import lesson_06

CHECKS = {
    "noise": lambda answer: lesson_06.check_noise_ratio(answer, small=4, large=64),
    "height": lambda answer: lesson_06.check_height(answer, delta=1.3, length=64, batch_size=256),
    "turnover": lambda answer: lesson_06.check_turnover(answer, length=200),
}


@pytest.mark.parametrize(
    ("name", "answer", "text"),
    [
        ("noise", 4, "sqrt(64/4) = 4"),
        ("height", 1.3 * 0.234375, "share 0.234, height 0.30 nats"),
        ("turnover", 150, "largest at B = 150, 0.75 of the segment"),
    ],
)
def test_right_answers(name, answer, text, capsys):
    assert CHECKS[name](answer)
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "answer", "advice"),
    [
        ("noise", 16, "square root"),
        ("noise", 0.25, "other way round"),
        ("noise", 1, "sigma / sqrt(B)"),
        ("height", 1.3, "inside the segment"),
        ("height", 0.325, "best case"),
        ("height", 0.234, "times delta"),
        ("height", 9, "r = L/B"),
        ("turnover", 200, "exactly the segment"),
        ("turnover", 100, "fits inside"),
        ("turnover", 5, "laws.expected_z"),
    ],
)
def test_slips_get_their_own_advice(name, answer, advice, capsys):
    assert not CHECKS[name](answer)
    assert advice in capsys.readouterr().out
