"""Lesson 08: a log is read, causes are named, an interval is chosen."""

from minimind_lite.lessons import lesson_08

LINES = [
    "Epoch:[1/1](0/40) loss:0.500 lr:0.1",
    "Epoch:[1/1](16/40) loss:0.900 lr:0.1",
    "Epoch:[1/1](32/40) loss:0.600 lr:0.1",
]
# 8 micro-batches of a batch of 16: 0.5 x 8, 16 x 2
READING = {"first_loss": 4.0, "conversations_between": 32, "highest_line": 1}


def check_log(reading):
    return lesson_08.check_log(reading, LINES, accumulation_steps=8, batch_size=16, every=16)


def test_a_log_is_read(capsys):
    assert check_log(READING)
    assert "4.00 nats, a line for every 32 conversations, and line 1" in capsys.readouterr().out
    slips = (
        ("first_loss", 0.5, "multiply back"),
        ("conversations_between", 16, "counts micro-batches"),
        ("highest_line", 2, "from 0"),
    )
    for name, wrong, advice in slips:
        assert not check_log(READING | {name: wrong})
        assert advice in capsys.readouterr().out


def test_each_case_has_one_cause(capsys):
    assert lesson_08.check_causes(lesson_08.CASES)
    for case in lesson_08.CASES:
        assert not lesson_08.check_causes(lesson_08.CASES | {case: "e"})
        assert f"{case}: hardly a true instability" in capsys.readouterr().out
    assert not lesson_08.check_causes(lesson_08.CASES | {"minimind #241": "z"})
    assert "choose one of the letters a, b, c, d, e, got 'z'." in capsys.readouterr().out


def test_the_longest_interval(capsys):
    """(64 + 16 - 1) / (16 I) >= 0.9 for I <= 5.48."""
    check = lambda answer: lesson_08.check_log_interval(answer, 64, batch_size=16, at_least=0.9)
    assert check(5)
    assert "one step in 5 (99%); with 6 it would be 82%" in capsys.readouterr().out
    assert not check(6)
    assert "too rarely" in capsys.readouterr().out
    assert not check(4)
    assert "a longer interval is, too" in capsys.readouterr().out
    assert not check(2.5)
    assert "expected a whole number of steps" in capsys.readouterr().out
