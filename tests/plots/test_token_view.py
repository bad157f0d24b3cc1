"""Tokens as boxes: every character is shown, none becomes markup, supervised ones are marked."""

from html.parser import HTMLParser
from itertools import groupby

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minimind_lite.files import shipped
from minimind_lite.plots.token_view import pieces, token_view

TWO_TURNS = [
    ("user", "How are you?"),
    ("assistant", "Fine, and you?"),
    ("user", "Me too"),
    ("assistant", "Good 😀"),
]
HOSTILE = [("user", "<!-- x --> </b> &lt;\n  '\""), ("assistant", "a<b {{ 1 }} 😀")]


@pytest.fixture(scope="module")
def chat():
    return shipped.chat()


class Boxes(HTMLParser):
    """Text, title and style of each span, read as a browser would."""

    def __init__(self, html):
        super().__init__()
        self.boxes, self.inside = [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "span":
            self.boxes.append({"text": "", **dict(attrs)})
            self.inside = True
        assert tag in ("div", "span", "br")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "span"

    def handle_data(self, data):
        if self.inside:
            self.boxes[-1]["text"] += data.replace("\xa0", " ").replace("⏎", "\n")


def css(box):
    """The properties that apply: of two that are given, the last one wins."""
    return dict(pair.split(":", 1) for pair in box["style"].split(";") if pair)


@settings(max_examples=30, deadline=None)
@given(st.text())
@example("�😀")  # a U+FFFD of the text is a character like any other
def test_pieces_cover_all_tokens_and_all_text(text):
    chat = shipped.chat()
    ids, _ = chat.encode([("user", text)])
    groups = pieces(chat, ids)
    assert sum(size for size, _ in groups) == len(ids) and all(size > 0 for size, _ in groups)
    assert "".join(part for _, part in groups) == chat.decode(ids)


def test_pieces_join_the_tokens_of_one_character(chat):
    groups = pieces(chat, chat.encode([("user", "a😀b")])[0])
    assert "😀" in [text for _, text in groups]
    assert {text: size for size, text in groups}["😀"] > 1


def test_pieces_of_a_broken_character_end(chat):
    ids = chat.encode([("user", "😀")])[0][:-3]  # the row is cut inside the emoji
    groups = pieces(chat, ids)
    assert sum(size for size, _ in groups) == len(ids) and groups[-1][1].endswith("�")
    assert pieces(chat, []) == []


def test_every_character_is_shown_and_none_becomes_markup(chat):
    ids, mask = chat.encode(HOSTILE)
    html = token_view(chat, ids, mask)
    assert "".join(box["text"] for box in Boxes(html).boxes) == chat.decode(ids)
    assert "<!--" not in html


def test_supervised_tokens_are_marked(chat):
    boxes = Boxes(token_view(chat, *chat.encode(TWO_TURNS))).boxes
    blue = [(box["text"], "#0072B2" in box["style"]) for box in boxes]
    parts = ["".join(t for t, _ in run) for flag, run in groupby(blue, key=lambda b: b[1]) if flag]
    assert parts == ["Fine, and you?<|im_end|>", "Good 😀<|im_end|>"]


def test_the_template_is_grey(chat):
    first = Boxes(token_view(chat, *chat.encode(TWO_TURNS))).boxes[0]
    assert first["text"] == "<|im_start|>" and css(first)["color"] == "#666"


def test_supervised_tokens_are_shaded_by_their_loss(chat):
    ids, mask = [chat.start_id, chat.end_id, chat.end_id, chat.end_id], [False, True, True, True]
    boxes = Boxes(token_view(chat, ids, mask, losses=[9.0, 0.0, 3.0, 60.0])).boxes
    assert [css(box).get("background") for box in boxes] == [
        None,
        "rgba(230,159,0,0.00)",
        "rgba(230,159,0,0.50)",
        "rgba(230,159,0,1.00)",
    ]
    assert "loss" not in boxes[0]["title"]
    assert boxes[2]["title"] == f"token 2: [{chat.end_id}], loss 3.00 nats"
