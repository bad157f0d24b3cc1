"""Lesson 07: two averages, what does not shrink, weights that put a batch together again."""

from minimind_lite.lessons import lesson_07

MEMORY = {"weights": 2, "gradients": 2, "optimizer": 4, "activations": {"4": 40, "2": 20, "1": 10}}


def test_two_averages(capsys):
    """(2 + 3 + 6) / 3 = 3.67 and (200 + 60 + 30) / 125 = 2.32."""
    assert lesson_07.check_two_averages(3.67, 2.32)
    assert "Right: 3.67 and 2.32." in capsys.readouterr().out
    assert not lesson_07.check_two_averages(3.67, 3.67)
    assert "mean of means again" in capsys.readouterr().out
    assert not lesson_07.check_two_averages(1, 2.32)
    assert "Add the 3 means and divide by 3" in capsys.readouterr().out
    assert not lesson_07.check_two_averages(3.67, None)


def test_the_largest_micro_batch_counts_what_does_not_shrink(capsys):
    check = lambda answer: lesson_07.check_largest_micro_batch(answer, MEMORY, limit=45)
    assert check(2)
    assert "Right: 2." in capsys.readouterr().out
    assert not check(4)
    assert "Did you forget weights" in capsys.readouterr().out
    assert not check(1)
    assert "something larger fits" in capsys.readouterr().out
    assert not check(3)
    assert "one of the audited sizes" in capsys.readouterr().out


def test_weights_that_put_a_batch_together_again(capsys):
    assert lesson_07.check_weight(lambda n, total, K: n / total)
    assert not lesson_07.check_weight(lambda n, total, K: 1 / K)
    assert "That is the mean of means" in capsys.readouterr().out
    assert not lesson_07.check_weight(lambda n, total, K: 1)
    assert not lesson_07.check_weight(lambda n: n)
    assert "failed on tokens (5, 1)" in capsys.readouterr().out


def test_a_weight_that_is_not_a_number_is_wrong(capsys):
    """NaN is larger than nothing, so a test for too large a difference let it pass as right."""
    assert not lesson_07.check_weight(lambda n, total, K: float("nan"))
    assert "your weights give nan" in capsys.readouterr().out
