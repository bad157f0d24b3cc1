"""Whatever a file holds, the outcome is data or an error that names the file, in one line."""

import gzip
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.chat import Chat
from minimind_lite.files.encoded import line_numbers
from minimind_lite.files.encoded_cache import encode_file
from minimind_lite.files.sources import as_jsonl
from minimind_lite.files.tokenizer import train_tokenizer

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "200"))
MAX_MESSAGE = 900  # characters; a value of 100 kB was repeated whole in one
KEYS = ["conversations", "role", "content", "messages", "from", "value", "text", "tools", ""]
VALUES = ["user", "assistant", "system", "tool", "", " ", "a", "你好", "\ud83d", "x" * 5000]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats() | st.sampled_from(VALUES),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)
turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]) | values},
    optional={"content": st.sampled_from(["a", "你好 " * 9]) | values, "tools": values},
)
talks = st.fixed_dictionaries({"conversations": st.lists(turns, max_size=4)})
good = st.lists(st.sampled_from(["a", "你好", "b " * 30]), min_size=1, max_size=2).map(
    lambda contents: {
        "conversations": [
            {"role": role, "content": content}
            for content in contents
            for role in ("user", "assistant")
        ]
    }
)
lines = (
    (good | talks | values).map(lambda data: json.dumps(data).encode())
    | good.map(lambda data: json.dumps(data, ensure_ascii=False).encode())
    | st.binary(max_size=30)
    | st.sampled_from(
        [b"", b" ", b"\xef\xbb\xbf{}", b"[" * 2000, b'{"a":1,"a":2}', b"PK\3\4", b"PAR1"]
    )
)


@st.composite
def files(draw):
    """Lines, then some damage, then perhaps packed."""
    data = bytearray(
        draw(st.sampled_from([b"\n", b"\r\n"])).join(draw(st.lists(lines, max_size=8)))
    )
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    content = bytes(data)
    return gzip.compress(content) if draw(st.integers(0, 9)) == 0 else content


@pytest.fixture(scope="module")
def chat():
    return Chat(train_tokenizer(["How are you? Fine, and you?", "你好"], 300))


def quiet(what, done, total):
    """No progress shown."""


def attempt(path, chat, folder, **options):
    """Data, or None for an error that a user can read."""
    try:
        source = as_jsonl(str(path), folder, progress=quiet)
        return encode_file(source, chat, max_len=60, cache=False, **options)
    except (ValueError, OSError) as error:
        text = str(error)
        assert str(path.parent) in text and len(text) < MAX_MESSAGE and "\n" not in text
        return None


@settings(max_examples=EXAMPLES, deadline=None)
@given(files())
def test_every_file_is_data_or_a_named_error(chat, tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "a.jsonl"
    path.write_bytes(content)
    strict = attempt(path, chat, folder, on_error="raise")
    data = attempt(path, chat, folder, on_error="skip")
    if data is None:
        assert strict is None
        return
    report, rows = data.report, data.rows
    skipped = [bad.line for bad in report.skipped]
    assert (strict is None) == bool(skipped)
    assert report.read == len(rows) and (rows.supervised() > 0).all()
    lines_of_rows = line_numbers(np.arange(len(rows)), skipped).tolist()
    assert sorted([*lines_of_rows, *skipped]) == list(range(1, report.lines + 1))
