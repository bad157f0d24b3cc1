"""`check`: what a file is, each bad line with its reason, what is cut, and the way out."""

import gzip
import json
import re
import shlex

import pytest

from minimind_lite.cli import main
from minimind_lite.cli.data import ranges
from minimind_lite.files.jsonl import read
from minimind_lite.files.visible import visible

HELLO = (("user", "Hello?"), ("assistant", "Hello."))
GOOD = {"conversations": [{"role": role, "content": content} for role, content in HELLO]}
SHARE_GPT = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
ALPACA = {"instruction": "a", "output": "b"}
TOOL = {
    "conversations": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": "[]"},
        {"role": "tool", "content": "7"},
    ]
}
REASONING = {
    "conversations": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "Hm."},
    ]
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A cache of the test's own, and its folder as the one that commands run in."""
    monkeypatch.setenv("MINIMIND_LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def talk(question, answer):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"conversations": turns}


def write(path, *lines):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(path)


def test_a_file_with_lines_in_another_format_names_each_and_prints_what_converts_them(
    tmp_path, capsys
):
    """Only some of the lines are bad: their number, their format, and one command for all."""
    twice, literal = json.dumps(GOOD) * 2, repr(GOOD)
    path = write(tmp_path / "a b.jsonl", GOOD, SHARE_GPT, ALPACA, twice, literal, TOOL, "{", GOOD)
    assert main(["check", path]) == 1
    out = capsys.readouterr().out
    for line, problem in {
        2: "another format than MiniMind's (ShareGPT's)",
        3: "another format than MiniMind's (Alpaca's)",
        4: "2 JSON objects on one line",
        5: "a Python dict",
        6: "wrong roles: turn 3 is 'tool', expected 'user'. Conversations with tool calls",
        7: "not JSON",
    }.items():
        assert re.search(rf"a b\.jsonl, line {line} \(byte \d+\): .*{re.escape(problem)}", out)
    assert "2 conversations read, 6 lines skipped, 8 lines" in out
    assert "4 of the bad lines can be converted" in out

    [command] = re.findall(r"^  python -m minimind_lite (.*)$", out, re.MULTILINE)
    assert main(shlex.split(command)) == 1  # two lines are bad for good
    out = capsys.readouterr().out
    assert "7 conversations written to a b.minimind.jsonl; 2 lines could not be" in out
    short = (("user", "a"), ("assistant", "b"))
    expected = [HELLO, short, short, HELLO, HELLO, HELLO, HELLO]
    assert [c.messages for c in read(tmp_path / "a b.minimind.jsonl")] == expected
    assert main(["check", "a b.minimind.jsonl"]) == 0

    assert main(shlex.split(command)) == 1
    assert "is there already; choose another name" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, content, formats",
    [
        ("a.jsonl", json.dumps(GOOD).encode(), "MiniMind's"),
        ("a.jsonl", json.dumps(SHARE_GPT).encode(), "ShareGPT's, in it MiniMind's"),
        ("a.json", json.dumps([ALPACA]).encode(), "a JSON array, in it Alpaca's, in it MiniMind's"),
        ("a.gz", gzip.compress(json.dumps(GOOD).encode()), "gzip, in it MiniMind's"),
        ("a.csv", b"question,answer\na,b\n", "a CSV table, in it questions and answers, in it Min"),
        ("a.jsonl", b"{}", "lines"),
    ],
)
def test_the_format_is_told(tmp_path, capsys, name, content, formats):
    (tmp_path / name).write_bytes(content)
    main(["check", name])
    assert f"\nFormat: {formats}" in "\n" + capsys.readouterr().out


def test_every_bad_line_is_listed_unless_fewer_are_asked_for(tmp_path, capsys):
    path = write(tmp_path / "a.jsonl", GOOD, *["bad"] * 150)
    assert main(["check", path]) == 1
    assert capsys.readouterr().out.count(": not JSON") == 150
    assert main(["check", path, "--most", "3"]) == 1
    out = capsys.readouterr().out
    assert out.count(": not JSON") == 3 and "... and 147 more" in out


def test_cut_rows_and_rows_without_an_answer_are_counted_with_their_lines(tmp_path, capsys):
    cut, unanswered = talk("why?", "so " * 900), talk("why? " * 900, "so")
    path = write(tmp_path / "a.jsonl", GOOD, cut, unanswered, cut, cut, GOOD, "bad", cut)
    assert main(["check", path]) == 1
    out = capsys.readouterr().out
    assert "the rest of each is cut off: lines 2, 4-5, 8." in out
    assert "first 512 tokens have no answer: 1: line 3." in out


def test_text_that_is_not_read_is_counted(tmp_path, capsys):
    assert main(["check", write(tmp_path / "a.jsonl", REASONING, REASONING)]) == 0
    assert "content was not read: reasoning_content 2." in capsys.readouterr().out


def test_a_file_without_a_conversation_is_no_success(tmp_path, capsys):
    (tmp_path / "a.parquet").write_bytes(b"\x89PNG\r\n")
    assert main(["check", "a.parquet"]) == 1
    assert "a.parquet is a picture, no conversations" in capsys.readouterr().err


def test_nothing_of_a_file_reaches_the_terminal_as_a_command(tmp_path, capsys):
    """An escape sequence in a key, a name or a text can clear the screen or forge a line."""
    escape = "\x1b[2J\u202e"
    lines = [{escape: 1}, {"conversations": [{escape: "a"}]}, talk(escape, ""), escape, GOOD]
    name = f"a{escape}.jsonl"
    main(["check", write(tmp_path / name, *lines)])
    main(["check", f"none{escape}"])
    main(["check", write(tmp_path / f"b{escape}.jsonl", *lines), "--write", f"c{escape}"])
    printed = capsys.readouterr()
    assert visible(printed.out + printed.err, keep="\n") == printed.out + printed.err
    assert r"\x1b[2J\u202e" in printed.out and r"none\x1b[2J\u202e" in printed.err


@pytest.mark.parametrize(
    "lines, words",
    [
        ([3], "line 3"),
        ([1, 2, 3, 7, 9, 10], "lines 1-3, 7, 9-10"),
        (range(1, 3000, 2), "lines 1, 3, 5 and 1,497 more"),
        ([1000, 1001], "lines 1,000-1,001"),
    ],
)
def test_ranges_in_words(lines, words):
    assert ranges(lines, most=3) == words


def test_a_file_that_is_there_already_is_refused_before_anything_is_read(tmp_path, capsys):
    """It was refused after minutes of reading."""
    (tmp_path / "b.jsonl").write_text("mine")
    path = write(tmp_path / "a.jsonl", GOOD, SHARE_GPT)
    assert main(["check", path, "--write", "b.jsonl"]) == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: b.jsonl is there already; choose another name.")
    assert (tmp_path / "b.jsonl").read_text() == "mine"


@pytest.mark.parametrize("value", ["~nobody-of-this-name/x", "/dev/null", "x" * 3000, "a\x1b"])
@pytest.mark.parametrize("variable", ["MINIMIND_LITE_CACHE", "MINIMIND_LITE_WORK"])
def test_a_variable_that_names_no_folder_is_named_in_one_line(
    tmp_path, capsys, monkeypatch, variable, value
):
    (tmp_path / "a\x1b").write_text("a file")
    monkeypatch.setenv(variable, value)
    if variable == "MINIMIND_LITE_CACHE":
        words = ["check", write(tmp_path / "a.json", SHARE_GPT)]
    else:
        words = ["reproduce", "--recorded"]
    assert main(words) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and variable in line
    assert len(line) < 400 and "\x1b" not in line


def test_a_home_folder_is_found_behind_a_variable(tmp_path, monkeypatch):
    from minimind_lite.files.work import work_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINIMIND_LITE_WORK", "~/mine")
    assert work_folder() == tmp_path / "mine" and (tmp_path / "mine").is_dir()
