"""Exercises of lessons 07 and 08: right answers pass, wrong ones are told what is wrong, None is not yet."""

import pytest

from minimind_lite.lessons import checks_reading as ex

MEMORY = {"weights": 2, "gradients": 2, "optimiser": 4, "activations": {"4": 40, "2": 20, "1": 10}}
LINES = [
    "Epoch:[1/1](0/40) loss:0.500 lr:0.1",
    "Epoch:[1/1](16/40) loss:0.900 lr:0.1",
    "Epoch:[1/1](32/40) loss:0.600 lr:0.1",
]
READ = {
    "first_loss": 4.0,
    "conversations_between": 32,
    "highest_line": 1,
}  # 8 micro-batches of a batch of 16: 0.5 x 8, 16 x 2


@pytest.mark.parametrize(
    "check",
    [
        lambda: ex.check_two_averages(None, None),
        lambda: ex.check_largest_micro_batch(None, MEMORY, 30),
        lambda: ex.check_weight(None),
        lambda: ex.check_log(dict.fromkeys(READ), LINES, 8, 16, 16),
        lambda: ex.check_causes(dict.fromkeys(ex.FIELD)),
        lambda: ex.check_log_interval(None, 64, 16, at_least=0.9),
    ],
)
def test_untouched_is_not_yet(check, capsys):
    assert check() is False and "not yet" in capsys.readouterr().out


def test_two_averages(capsys):
    """(2 + 3 + 6) / 3 = 3.67 and (200 + 60 + 30) / 125 = 2.32."""
    assert ex.check_two_averages(3.67, 2.32)
    assert (
        not ex.check_two_averages(3.67, 3.67) and "mean of means again" in capsys.readouterr().out
    )
    assert not ex.check_two_averages("3.67", 2.32)


def test_the_largest_micro_batch_counts_what_does_not_shrink(capsys):
    assert ex.check_largest_micro_batch(2, MEMORY, 45)
    assert (
        not ex.check_largest_micro_batch(4, MEMORY, 45)
        and "Did you forget weights" in capsys.readouterr().out
    )
    assert (
        not ex.check_largest_micro_batch(1, MEMORY, 45)
        and "something larger fits" in capsys.readouterr().out
    )
    assert not ex.check_largest_micro_batch(3, MEMORY, 45)


def test_weights_that_put_a_batch_together_again(capsys):
    assert ex.check_weight(lambda n, total, K: n / total)
    assert (
        not ex.check_weight(lambda n, total, K: 1 / K)
        and "That is the mean of means" in capsys.readouterr().out
    )
    assert (
        not ex.check_weight(lambda n, total, K: 1)
        and not ex.check_weight(lambda n: n)
        and not ex.check_weight(0.5)
    )
    assert "failed on tokens" in capsys.readouterr().out


def test_a_log_is_read(capsys):
    assert ex.check_log(READ, LINES, 8, 16, 16)
    slips = (
        ("first_loss", 0.5, "multiply back"),
        ("conversations_between", 16, "counts micro-batches"),
        ("highest_line", 2, "from 0"),
    )
    for name, wrong, said in slips:
        assert (
            not ex.check_log(READ | {name: wrong}, LINES, 8, 16, 16)
            and said in capsys.readouterr().out
        )


def test_each_case_has_one_cause(capsys):
    assert ex.check_causes(ex.FIELD)
    for case in ex.FIELD:
        assert (
            not ex.check_causes(ex.FIELD | {case: "e"})
            and f"{case}: hardly" in capsys.readouterr().out
        )
    assert not ex.check_causes(ex.FIELD | {"minimind #241": "z"})


def test_the_longest_interval(capsys):
    """(64 + 16 - 1) / (16 I) >= 0.9 for I <= 5.48."""
    assert ex.check_log_interval(5, 64, 16, at_least=0.9)
    assert (
        not ex.check_log_interval(6, 64, 16, at_least=0.9)
        and "too rarely" in capsys.readouterr().out
    )
    assert (
        not ex.check_log_interval(4, 64, 16, at_least=0.9)
        and "longer interval" in capsys.readouterr().out
    )
    assert not ex.check_log_interval(2.5, 64, 16, at_least=0.9)
