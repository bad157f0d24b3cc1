"""Checks of lessons 05 and 06: right answers pass, usual slips get their own advice, anything else stops nothing."""

import pytest

from minimind_lite.lessons import checks_order as ex

TOY = [1, 0, 1, 0, 0, 0, 0, 0]
CHECKS = {
    "buffer": lambda v: ex.check_buffer_size(v, length=256, share=0.2),
    "dispersion": lambda v: ex.check_dispersion(v, TOY, 2),
    "never read": lambda v: ex.check_never_read(v, n=10_000, fraction=0.3),
    "turnover": lambda v: ex.check_turnover(v, length=200),
    "noise": lambda v: ex.check_noise_ratio(v, small=4, large=64),
    "height": lambda v: ex.check_height(v, delta=1.3, length=64, batch_size=256),
}


@pytest.mark.parametrize(
    "name, value",
    [
        ("buffer", 1148),
        ("buffer", 1147.3),
        ("dispersion", 2 / 3),
        ("never read", 2100),
        ("turnover", 150),
        ("noise", 4),
        ("height", 1.3 * 0.234375),
    ],
)
def test_right_answers(name, value):
    assert CHECKS[name](value)


@pytest.mark.parametrize(
    "name, value, advice",
    [
        ("buffer", 256, "share rise to 63%"),
        ("buffer", 5000, "a smaller one is, too"),
        ("dispersion", 0.0625, "divide it by what chance gives"),
        ("dispersion", 0.333, "left out the B"),
        ("dispersion", 0.889, "n - 1"),
        ("never read", 3000, "were read before the break"),
        ("never read", 7000, "left to read"),
        ("never read", 4900, "two chances"),
        ("turnover", 200, "exactly the segment"),
        ("turnover", 100, "wholly inside"),
        ("noise", 16, "square root"),
        ("noise", 0.25, "other way round"),
        ("height", 1.3, "wholly inside"),
        ("height", 0.325, "best case"),
        ("height", 0.234, "times delta"),
    ],
)
def test_slips_get_their_own_advice(name, value, advice, capsys):
    assert not CHECKS[name](value)
    assert advice in capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_untouched_and_senseless_answers_stop_nothing(check, capsys):
    assert not check(None) and "not yet" in capsys.readouterr().out
    for senseless in ("many", True, float("nan"), -1):
        assert not check(senseless) and "✗" in capsys.readouterr().out
