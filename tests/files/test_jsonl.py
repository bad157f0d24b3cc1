"""The reader loses nothing silently: a line is read, or named with its place and a way out."""

import json
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minimind_lite.files import jsonl
from minimind_lite.files.jsonl import BadLineError, ReadReport, read, write

FEW = settings(max_examples=80, deadline=None)
HELLO = (("user", "Hello?"), ("assistant", "Hello."))
GOOD = json.dumps(
    {"conversations": [{"role": role, "content": content} for role, content in HELLO]}
).encode()

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
).filter(str.strip)


@st.composite
def messages(draw):
    """An optional system message, then user and assistant in turns, at least one of each."""
    roles = ["system"] * draw(st.integers(0, 1)) + (["user", "assistant"] * 3)[
        : draw(st.integers(2, 6))
    ]
    return tuple((role, draw(texts)) for role in roles)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """One file, written anew by every example."""
    return tmp_path_factory.mktemp("conversations") / "sft.jsonl"


def line(*turns):
    return json.dumps(
        {"conversations": [{"role": role, "content": content} for role, content in turns]}
    ).encode()


BAD = {  # bytes of a line: what its error must say was found, and must advise
    b'{"conversations": [': (
        "not JSON (Expecting value at character 20 of the line)",
        "one whole JSON object",
    ),
    GOOD + GOOD: ("not JSON (2 JSON objects on one line)", "check FILE --write OUT"),
    GOOD + b", ": ("a comma after the JSON object, as in an array", "check FILE --write OUT"),
    GOOD + b'{"a": "b"}': ("2 JSON objects on one line", "one whole JSON object"),
    repr(json.loads(GOOD)).encode(): ("not JSON (a Python dict", "check FILE --write OUT"),
    b"{'a': __import__('os')}": ("not JSON (Expecting property name", "one whole JSON object"),
    b'{"messages"' + GOOD.removeprefix(b'{"conversations"'): (
        "another format than MiniMind's (OpenAI's); its keys: messages",
        "check FILE --write OUT",
    ),
    b'{"instruction": "a", "output": "b"}': ("(Alpaca's)", "check FILE --write OUT"),
    b'{"instruction": "a", "output": ""}': (
        "another format than MiniMind's (Alpaca's), and empty content in turn 2 (assistant)",
        "Fill it or delete",
    ),
    b'{"text": "Once upon a time."}': ("its keys: text", "no answer to learn from"),
    rb'{"\u001b[31m\u202e": 1}': (r"its keys: \x1b[31m\u202e", "Expected"),
    b"[" * 100_000: ("not JSON", "one whole JSON object"),  # deeper than the parser goes
    b'{"id": ' + b"1" * 5000 + b"}": (
        "",
        "",
    ),  # Python refuses integers of over 4,300 digits, with another error than for bad JSON
    b"": ("an empty line", "Delete it"),
    b" \t ": ("an empty line", "Delete it"),
    b"[]": ('no list under the key "conversations"', 'Expected {"conversations"'),
    b"7": ('no list under the key "conversations"', 'Expected {"conversations"'),
    b"null": ('no list under the key "conversations"', 'Expected {"conversations"'),
    b'{"conversations": {}}': (
        'no list under the key "conversations"',
        'Expected {"conversations"',
    ),
    b'{"conversations": []}': (
        'no list under the key "conversations"',
        'Expected {"conversations"',
    ),
    GOOD[:-1] + b', "conversations": []}': (
        "the key 'conversations' stands twice in one object",
        "Keep one of them",
    ),
    b'{"messages": [], "id": 7}': ("; its keys: messages, id", 'Expected {"conversations"'),
    b'{"conversations": ["hi"]}': ("turn 1 has no role", 'Expected {"conversations"'),
    b'{"conversations": [{"from": "human", "value": "hi"}]}': (
        "another format than MiniMind's (ShareGPT's), and no assistant turn",
        "nothing to learn from",
    ),
    line(("user", "a"), ("x" * 100_000, "b")): (f"turn 2 is '{'x' * 78}…, expected", "take turns"),
    line(("assistant", "a")): ("wrong roles: turn 1 is 'assistant', expected 'user'", "take turns"),
    line(("user", "a"), ("user", "b")): (
        "wrong roles: turn 2 is 'user', expected 'assistant'",
        "take turns",
    ),
    line(("system", "s"), ("user", "a"), ("human", "b")): (
        "wrong roles: turn 3 is 'human', expected 'assistant'",
        "take turns",
    ),
    line(("user", "a"), ("assistant", "b"), ("system", "s")): (
        "wrong roles: turn 3 is 'system', expected 'user'",
        "take turns",
    ),
    line(("user", "a"), ("assistant", "b"), ("tool", "c"), ("assistant", "d")): (
        "turn 3 is 'tool', expected 'user'",
        "tool calls are not read",
    ),
    b'{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", '
    b'"tool_calls": "[]"}]}': ("empty content in turn 2", "tool calls are not read"),
    line(("user", "a")): ("no assistant turn", "delete the line"),
    line(("system", "a")): ("no assistant turn", "delete the line"),
    line(("user", "a"), ("assistant", "")): (
        "empty content in turn 2 (assistant)",
        "Fill it or delete",
    ),
    line(("user", " \n"), ("assistant", "b")): (
        "empty content in turn 1 (user)",
        "Fill it or delete",
    ),
    line(("user", None), ("assistant", "b")): ("content of turn 1 (user) is null, not", "Expected"),
    line(("user", 7.5), ("assistant", "b")): ("content of turn 1 (user) is 7.5, not text", "Exp"),
    line(("user", True), ("assistant", "b")): ("turn 1 (user) is true, not text", "Exp"),
    line(("user", "a"), ("assistant", ["b"])): ('of turn 2 (assistant) is ["b"], not', "Exp"),
    line(("user", "a"), ("assistant", {})): ("of turn 2 (assistant) is {}, not text", "Exp"),
    b'{"conversations": [{"role": "user", "text": "a"}, {"role": "assistant"}]}': (
        "turn 1 (user) has no content; its keys: role, text",
        'Expected {"conversations"',
    ),
    b'{"a": "' + "你".encode("gb18030") + b'"}': (
        "not UTF-8: byte 0xc4 at position 7 of the line",
        "iconv -f GB18030",
    ),
    GOOD[:9] + b"\0" + GOOD[9:]: ("NUL byte at position 9 of the line", "UTF-16"),
    GOOD.decode().encode("utf-16-le"): ("NUL byte at position 1 of the line", "UTF-16"),
    GOOD.replace(b"Hello.", rb"\ud83d"): (
        "half a surrogate pair in turn 2 (assistant)",
        r"broken \u escapes",
    ),
    b"\xef\xbb\xbf" + GOOD: (
        "not JSON (Unexpected UTF-8 BOM",
        "one whole JSON object",
    ),  # it belongs before the first line only
}
NAMES = [problem or "huge integer" for problem, _ in BAD.values()]


@pytest.mark.parametrize("bad, said", BAD.items(), ids=NAMES)
def test_a_bad_line_says_where_what_and_what_to_do(path, bad, said):
    path.write_bytes(GOOD + b"\n" + bad + b"\n" + GOOD)
    with pytest.raises(BadLineError) as error:
        list(read(path))
    where = error.value.bad_line
    assert (where.file, where.line, where.offset) == (str(path), 2, len(GOOD) + 1)
    assert said[0] in where.problem and said[1] in where.advice
    text = str(error.value)
    assert text.startswith(
        f"{path}, line 2 (byte {len(GOOD) + 1}): {where.problem}. {where.advice}"
    )
    assert text.endswith("read with on_error='skip'.")


@pytest.mark.parametrize("bad", BAD, ids=NAMES)
def test_skipping_goes_on_after_a_bad_line_and_lists_it(path, bad):
    path.write_bytes(GOOD + b"\n" + bad + b"\n" + GOOD)
    report = ReadReport()
    assert [c.line for c in read(path, on_error="skip", report=report)] == [1, 3]
    assert (report.read, report.lines, [b.line for b in report.skipped]) == (2, 3, [2])


def test_strict_reading_hands_over_what_comes_before_the_bad_line(path):
    path.write_bytes(GOOD + b"\nbad\n" + GOOD + b"\n")
    stream = read(path)
    assert next(stream).messages == HELLO
    with pytest.raises(BadLineError):
        next(stream)


def n_lines(data):
    """Lines as `wc -l` counts them, plus one that no line break ends, less a blank last one."""
    last = data.removesuffix(b"\n").rpartition(b"\n")[2]
    blank = b"\n" in data.removesuffix(b"\n") and not last.strip()
    return data.count(b"\n") + bool(data and not data.endswith(b"\n")) - blank


def read_short(path, report):
    """Read with a limit of 150 bytes: GOOD is shorter, some bad lines are not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "MAX_LINE_BYTES", 150)
        return list(read(path, on_error="skip", report=report))


mixtures = st.lists(
    st.just(GOOD) | st.sampled_from([b for b in BAD if len(b) < 300]) | st.binary(max_size=40),
    max_size=8,
)


@FEW
@given(mixtures, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
@example([b"\xef\xbb\xbf", b""], b"\n", False)
def test_read_and_skipped_are_all_lines(path, lines, end, last_ended):
    data = end.join(lines) + (end if last_ended else b"")
    path.write_bytes(data)
    report = ReadReport()
    found = read_short(path, report)
    assert len(found) == report.read >= lines.count(GOOD)
    assert report.read + len(report.skipped) == report.lines == n_lines(data)
    assert sorted([c.line for c in found] + [b.line for b in report.skipped]) == list(
        range(1, n_lines(data) + 1)
    )


@FEW
@given(mixtures, st.booleans())
@example([b"x" * 300, GOOD], True)
def test_every_offset_is_where_its_line_starts(path, lines, last_ended):
    data = b"\n".join(lines) + b"\n" * last_ended
    path.write_bytes(data)
    report = ReadReport()
    found = read_short(path, report)
    assert all(
        data[: place.offset].count(b"\n") == place.line - 1 for place in found + report.skipped
    )
    assert all(
        place.offset == 0 or data[place.offset - 1 : place.offset] == b"\n"
        for place in found + report.skipped
    )


@FEW
@given(st.lists(messages(), max_size=5))
def test_what_is_written_is_read_back(path, conversations):
    write(path, conversations)
    assert [c.messages for c in read(path)] == conversations
    assert n_lines(path.read_bytes()) == len(conversations) == path.read_bytes().count(b"\n")


def test_chinese_is_written_as_itself(path):
    write(path, [(("user", "你好"), ("assistant", "😀\u2028"))])
    assert (
        path.read_bytes()
        == (
            '{"conversations": [{"role": "user", "content": "你好"}, '
            '{"role": "assistant", "content": "😀\u2028"}]}\n'
        ).encode()
    )


@pytest.mark.parametrize(
    "data",
    [
        GOOD + b"\n" + GOOD + b"\n",
        GOOD + b"\n" + GOOD,
        GOOD + b"\r\n" + GOOD + b"\r\n",
        b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD,
    ],
)
def test_line_ends_and_byte_order_mark_do_not_matter(path, data):
    path.write_bytes(data)
    found = list(read(path))
    assert [(c.messages, c.line) for c in found] == [(HELLO, 1), (HELLO, 2)]


@pytest.mark.parametrize("end", [b"\n\n", b"\n \t", b"\r\n\r\n"])
def test_a_blank_last_line_is_no_line(path, end):
    path.write_bytes(GOOD + end)
    report = ReadReport()
    assert len(list(read(path, report=report))) == report.lines == 1
    path.write_bytes(GOOD + end + b"\n" + GOOD)  # in the middle it is one
    with pytest.raises(BadLineError, match=r"line 2 .*an empty line"):
        list(read(path))


def test_an_empty_file_has_no_lines(path):
    path.write_bytes(b"")
    report = ReadReport()
    assert list(read(path, report=report)) == [] and report.lines == 0


def test_other_keys_are_allowed(path):
    path.write_bytes(
        b'{"source": "a", "conversations": [{"role": "user", "content": "a", "n": 1}, '
        b'{"role": "assistant", "content": "\\ud83d\\ude00"}]}'
    )
    assert next(read(path)).messages == (("user", "a"), ("assistant", "😀"))


def test_text_under_keys_that_are_not_read_is_counted(path):
    """MiniMind's newer files have these keys, mostly with empty text."""
    turns = [
        {"role": "system", "content": "s", "tools": "[]"},
        {"role": "user", "content": "a", "reasoning_content": "", "n": 1},
        {"role": "assistant", "content": "b", "reasoning_content": "Hm.", "tool_calls": None},
    ]
    path.write_text((json.dumps({"conversations": turns}) + "\n") * 3)
    report = ReadReport()
    assert len(list(read(path, report=report))) == 3
    assert report.ignored == {"tools": 3, "reasoning_content": 3}
    assert str(report).splitlines()[1:] == [
        "Turns whose text under another key than content was not read: "
        "reasoning_content 3, tools 3."
    ]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_longest_line_is_a_limit_to_the_byte(path, end, monkeypatch):
    path.write_bytes(GOOD + end)
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", len(GOOD))
    assert len(list(read(path))) == 1
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", len(GOOD) - 1)
    message = f"the limit of {len(GOOD) - 1}. A line break is missing, or delete the line"
    with pytest.raises(BadLineError, match=message):
        list(read(path))


def test_a_line_of_ten_megabytes_is_never_held(path):
    path.write_bytes(GOOD + b"\n" + b"x" * 10_000_000 + b"\n" + GOOD + b"\n")
    report = ReadReport()
    tracemalloc.start()
    try:
        found = list(read(path, on_error="skip", report=report))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [c.line for c in found] == [1, 3] and "a line of 10,000,001 bytes" in report.skipped[
        0
    ].problem
    assert peak < 4_000_000  # the limit is a megabyte, and reading a line needs room for its copy


def test_reading_streams(path):
    write(path, [(("user", "x" * 1000), ("assistant", "y" * 1000))] * 2000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(path)) == 2000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500_000  # of 4 MB in the file


def test_an_unknown_policy_and_a_missing_file_are_errors(path, tmp_path):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        list(read(path, on_error="ignore"))
    with pytest.raises(FileNotFoundError):
        list(read(tmp_path / "none.jsonl"))


def test_a_report_lists_ten_bad_lines_and_counts_the_rest(path):
    path.write_bytes(b"bad\n" * 12 + GOOD)
    report = ReadReport()
    list(read(path, on_error="skip", report=report))
    shown = str(report).splitlines()
    assert shown[0] == "1 conversations read, 12 lines skipped, 13 lines." and len(shown) == 12
    assert (
        f"{path}, line 10 (byte 36): not JSON" in shown[10]
        and shown[11].strip() == "... and 2 more"
    )


def test_a_conversation_shows_who_speaks(path):
    path.write_bytes(GOOD)
    assert str(next(read(path))) == "user: Hello?\nassistant: Hello."
