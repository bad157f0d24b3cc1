"""Lesson 01: supervised tokens, the longest row, lines that the reader refuses."""

import json

import pytest

from minimind_lite.files import shipped
from minimind_lite.lessons import lesson_01


@pytest.fixture(scope="module")
def mask():
    return shipped.chat().encode(lesson_01.TWO_ROUNDS)[1]


def test_supervised_positions(mask, capsys):
    right = [i for i, flag in enumerate(mask) if flag]
    assert lesson_01.check_supervised(right) and lesson_01.check_supervised(set(right))
    assert f"4 of {len(mask)} tokens are supervised" in capsys.readouterr().out


def test_each_wrong_position_is_explained(mask, capsys):
    right = [i for i, flag in enumerate(mask) if flag]
    end, newline = right[1], right[1] + 1
    first_end = shipped.chat().encode(lesson_01.TWO_ROUNDS)[0].index(shipped.chat().end_id)
    assert not lesson_01.check_supervised([right[0], 0, newline, first_end, 999])
    out = capsys.readouterr().out
    for text in (
        "Only the assistant's content",
        "The newline after an end token",
        "This end token closes the user's turn",
        "position 999: the tokens are numbered",
        f"position {end}, '<|im_end|>', is missing. Without the end token",
        "is missing. It is content of an answer",
    ):
        assert text in out


def test_the_longest_row(capsys, monkeypatch):
    rows = shipped.sft_rows(shipped.chat(), max_len=1 << 30)
    monkeypatch.setattr(shipped, "sft_rows", lambda *_, **__: rows)
    lengths = rows.lengths()
    longest = int(lengths.argmax())
    assert lesson_01.check_longest_row(longest)
    for answer, text in (
        (int(lengths.max()), "is the length"),
        (longest + 1, "counted from 1"),
        (-1, "there are rows 0 to"),
        (int(lengths.argmin()), "rows have more"),
    ):
        assert not lesson_01.check_longest_row(answer)
        assert text in capsys.readouterr().out


def line(*turns: tuple[str, str]) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    return json.dumps({"conversations": messages})


def test_bad_lines(capsys):
    good = line(("user", "Hi"), ("assistant", "Hi"))
    bad = [
        line(("assistant", "Hi")),
        line(("user", " "), ("assistant", "Hi")),
        '{"conversations": [',
    ]
    assert lesson_01.check_bad_lines(bad)
    assert "3 kinds of bad line" in capsys.readouterr().out
    assert not lesson_01.check_bad_lines([*bad[:2], good])
    out = capsys.readouterr().out
    assert "line 3 is a good conversation" in out and "2 different complaints so far" in out
