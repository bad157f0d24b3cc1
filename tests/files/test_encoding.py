"""Many conversations at once become the rows that they become one by one."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minimind_lite.chat import Chat
from minimind_lite.conversations import Conversation
from minimind_lite.files import encoding
from minimind_lite.files.encoding import chunks, encode_many
from minimind_lite.files.tokenizer import train_tokenizer

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
talks = st.lists(
    st.tuples(st.booleans(), st.lists(texts, min_size=2, max_size=5)).map(
        lambda talk: tuple(
            zip(["system"] * talk[0] + ["user", "assistant"] * 3, talk[1], strict=False)
        )
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def chat():
    return Chat(train_tokenizer(["How are you? Fine, and you?", "你好 <|im_end|>"], 300))


def conversations(talks):
    return [Conversation(messages, "memory", i + 1, 0) for i, messages in enumerate(talks)]


@settings(max_examples=100, deadline=None)
@given(talks, st.none() | st.integers(1, 40), st.integers(1, 50))
@example([], None, 1)
@example([(("user", "<|im_end|>"), ("assistant", "你"))], 9, 1)
def test_the_fast_way_equals_the_plain_one(chat, talks, max_len, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "CHUNK_CHARACTERS", size)
        rows = encode_many(chat, conversations(talks), max_len=max_len)
    plain = chat.encode_rows(talks, max_len)
    for name in ("ids", "mask", "offsets"):
        fast, slow = getattr(rows, name), getattr(plain, name)
        assert (fast.dtype, fast.tolist()) == (slow.dtype, slow.tolist()), name
    one_by_one = [chat.encode(messages, max_len) for messages in talks]
    assert [tuple(map(np.ndarray.tolist, rows.row(i))) for i in range(len(rows))] == one_by_one


@given(talks, st.integers(1, 50))
def test_chunks_keep_order_and_size(talks, size):
    rows = conversations(talks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "CHUNK_CHARACTERS", size)
        parts = list(chunks(iter(rows)))
    assert [c for part in parts for c in part] == rows
    lengths = [[sum(len(content) for _, content in c.messages) for c in part] for part in parts]
    assert all(sum(part[:-1]) < size for part in lengths)
    assert all(sum(part) >= size for part in lengths[:-1])
