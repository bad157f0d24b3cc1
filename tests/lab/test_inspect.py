"""Opening a step: the lines of the file, losses that add up, and a page where text stays text."""

import copy
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from minimind_lite.files import shipped
from minimind_lite.lab import inspect
from minimind_lite.lab.i18n import say
from minimind_lite.lab.inspect import (
    MAX_SHOWN,
    Inspector,
    Losses,
    OpenedConversation,
    OpenedStep,
    Piece,
    Turn,
)
from minimind_lite.lab.step_page import (
    UNDERLINED,
    UNFOLDED,
    conclusion,
    open_step,
    step_page,
    terms_line,
)
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.science.reproduce import recorded_run
from minimind_lite.segments import domain_name

END = "<|im_end|>"
# Steps of 16 in file order: code begins at row 507, classical Chinese at 1537.
MIXED, CODE, CLASSICAL, ORDINARY = 31, 33, 104, 10


@pytest.fixture(scope="module")
def inspector():
    return Inspector()


@pytest.fixture(scope="module")
def frozen():
    return recorded_run("frozen")


@pytest.fixture(scope="module")
def in_order():
    return recorded_run("file")


def a_run(inspector, *batches):
    """A run that trained on these rows, with the base model's losses."""
    records, samples = [], 0
    for i, rows in enumerate(map(np.asarray, batches)):
        losses, tokens = inspector.base_losses[rows], inspector.tokens[rows]
        records.append(
            StepRecord(
                step=i,
                epoch=0,
                samples_seen=samples,
                loss=float(np.nansum(losses * tokens) / max(tokens.sum(), 1)),
                tokens=int(tokens.sum()),
                lr=0.0,
                grad_norm=float("nan"),
                micro_losses=losses[:1],
                rows=rows,
                sample_losses=losses,
                sample_tokens=tokens,
            )
        )
        samples += len(rows)
    return Run({}, tuple(records))


def costs(conversation):
    return [p.loss for turn in conversation.turns for p in turn.pieces if p.loss is not None]


class Page(HTMLParser):
    """Text as a browser shows it, cells of the table by row, and what each conversation has."""

    TEXT, TABLE = {"div", "p", "b", "u", "span"}, {"table", "caption", "thead", "tbody", "tr"}
    TAGS = TEXT | TABLE | {"th", "td", "details", "summary"}  # none loads or runs anything

    def __init__(self, html):
        super().__init__()
        self.text, self.rows, self.conversations, self.path = "", [], [], []
        self.feed(html)
        assert not self.path, f"left open: {self.path}"

    def handle_starttag(self, tag, attrs):
        assert tag in self.TAGS
        self.path.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "details" and self.rows:  # those before the table explain words
            self.conversations.append({"open": ("open", None) in attrs, "titles": []})
        elif tag == "u":
            self.conversations[-1]["titles"].append(dict(attrs)["title"])

    def handle_endtag(self, tag):
        assert self.path.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.path and self.path[-1] in ("td", "th"):
            self.rows[-1][-1] += data


# What a step is made of


@pytest.mark.parametrize("step", [0, MIXED, CODE, CLASSICAL, 138])
def test_rows_lines_domains_and_text_are_those_of_the_file(inspector, in_order, step):
    lines = (shipped.folder() / "sft.jsonl").read_text(encoding="utf-8").splitlines()
    opened = inspector.open(in_order, step).conversations
    first = 16 * step
    assert sorted(c.row for c in opened) == list(range(first, min(first + 16, len(lines))))
    for c in opened:
        messages = json.loads(lines[c.line - 1])["conversations"]
        text = [(turn.role, "".join(p.text for p in turn.pieces)) for turn in c.turns]
        assert text == [
            (m["role"], m["content"] + (END if m["role"] == "assistant" else "")) for m in messages
        ]
        assert c.line == c.row + 1
        assert c.question == messages[0]["content"]
        inside = [s.domain for s in shipped.segments() if s.start <= c.row < s.stop]
        assert c.domain == (inside or ["zh"])[0]


def test_the_hardest_come_first_with_the_losses_of_their_run(inspector, in_order):
    step = inspector.open(in_order, CODE)
    record = in_order.records[CODE]
    losses = [c.losses.here for c in step.conversations]
    assert losses == sorted(record.sample_losses, reverse=True)
    by_row = {c.row: (c.losses.here, c.tokens) for c in step.conversations}
    assert by_row == dict(zip(record.rows, zip(record.sample_losses, record.sample_tokens)))
    assert step.mean().here == pytest.approx(record.loss, rel=1e-3)


def test_the_shuffled_loss_is_that_of_the_conversation_s_own_step(inspector, in_order):
    shuffled = recorded_run("shuffled, seed 0")
    for c in inspector.open(in_order, CODE).conversations:
        record = shuffled.records[c.shuffled_step]
        assert record.sample_losses[record.rows == c.row] == [c.losses.shuffled]


@pytest.mark.parametrize("step", [ORDINARY, CODE, CLASSICAL])
def test_losses_of_pieces_add_up_to_what_was_recorded(inspector, frozen, step):
    for c in inspector.open(frozen, step).conversations:
        assert sum(costs(c)) / c.tokens == pytest.approx(c.losses.here, rel=1e-3)
        assert c.losses.base == c.losses.here
        assert len(costs(c)) <= c.tokens


def test_only_answers_carry_losses(inspector, in_order):
    for c in inspector.open(in_order, CODE).conversations:
        for turn in c.turns:
            supervised = {p.loss is not None for p in turn.pieces}
            assert supervised == {turn.role == "assistant"}


def test_tokens_that_only_together_form_a_character_are_one_piece(inspector, in_order):
    opened = inspector.open(in_order, CLASSICAL).conversations
    assert "�" not in "".join(p.text for c in opened for turn in c.turns for p in turn.pieces)
    assert any(len(costs(c)) < c.tokens for c in opened)  # characters too rare for a token


def test_chinese_conversations_before_the_step_are_the_baseline(inspector, in_order):
    assert np.isnan(inspector.open(in_order, 0).baseline).all()
    baseline = inspector.open(in_order, MIXED + 1).baseline
    earlier = np.arange(507)[-inspect.BASELINE_ROWS :]  # of the 512 rows before, five are code
    tokens, losses = inspector.tokens[earlier], in_order.losses_by_row(2224)[earlier]
    assert baseline.here == pytest.approx((losses * tokens).sum() / tokens.sum())
    base = inspector.base_losses[earlier]
    assert baseline.base == pytest.approx((base * tokens).sum() / tokens.sum())


def test_a_large_batch_shows_the_hardest_and_counts_the_rest(inspector):
    run = a_run(inspector, np.arange(1100, 1356))
    step = inspector.open(run, 0)
    shown = [bool(c.turns) for c in step.conversations]
    assert shown == [True] * MAX_SHOWN + [False] * (256 - MAX_SHOWN)
    html = step_page(step)
    page = Page(html)
    assert len(page.conversations) == MAX_SHOWN == len(page.rows) - 1
    assert "232 more are not" in page.text
    assert "over 256 conversations" in page.text
    assert len(html.encode()) < 150_000


@pytest.mark.parametrize("length", [1, 9, 40])
def test_a_cut_conversation_shows_what_the_model_read(inspector, length):
    cut = copy.copy(inspector)
    cut.data = inspector.chat.encode_rows(inspector.conversations, length)
    cut.tokens = cut.data.supervised()
    for c in cut.open(a_run(cut, np.arange(16)), 0).conversations:
        messages = inspector.conversations[c.row].messages
        for turn, (role, content) in zip(c.turns, messages):
            text = "".join(p.text for p in turn.pieces).rstrip("�")
            assert turn.role == role
            assert (content + END).startswith(text)


def test_a_conversation_without_supervision_is_shown_last(inspector):
    bare, mask = copy.copy(inspector), inspector.data.mask.copy()
    mask[inspector.data.offsets[3] : inspector.data.offsets[4]] = False
    bare.data = EncodedRows(inspector.data.ids, mask, inspector.data.offsets)
    bare.tokens, bare.base_losses = bare.data.supervised(), inspector.base_losses.copy()
    bare.base_losses[3] = np.nan
    run = a_run(bare, np.arange(8), [3])
    step = bare.open(run, 0)
    assert step.conversations[-1].row == 3
    assert np.isnan(step.conversations[-1].losses.here)
    page = Page(step_page(step))
    assert "nothing supervised" in page.text
    assert page.rows[-1][2:4] == ["–", "–"]
    assert "nan" not in page.text
    empty = bare.open(run, 1)
    assert conclusion(empty) == say("en", "inspect.empty_step")
    assert conclusion(empty) in step_page(empty)


def test_a_run_of_another_base_model_is_refused(inspector):
    run = Run({"base": "lite"}, a_run(inspector, np.arange(16)).records)
    with pytest.raises(ValueError, match="began from the base model 'lite'; only runs"):
        inspector.open(run, 0)


@pytest.mark.parametrize("step", [-1, 139, 10_000])
def test_a_step_that_the_run_does_not_have_is_refused(inspector, in_order, step):
    for opened in (inspector.open, open_step):
        with pytest.raises(ValueError, match=f"step {step} can't be opened: the run has 139 steps"):
            opened(in_order, step)


def test_a_run_on_another_file_is_refused(inspector):
    record = a_run(inspector, np.arange(16)).records[0]
    for rows in (np.arange(16) + 3, np.arange(16) + 5000):
        with pytest.raises(ValueError, match=r"other conversations than those of data/sft\.jsonl"):
            inspector.open(Run({}, (replace(record, rows=rows),)), 0)


def test_a_thinned_run_is_opened_by_position(inspector, in_order):
    thinned = in_order.every(4, first=1)
    step = inspector.open(thinned, 8)
    assert step.record.step == 33
    assert sorted(c.row for c in step.conversations) == list(range(528, 544))


# What the pages say


@pytest.mark.parametrize(
    "language, counted", [("en", "11 Chinese, 5 code"), ("zh", "中文 11 条，代码 5 条")]
)
def test_the_page_says_which_step_and_lists_its_conversations(
    inspector, in_order, language, counted
):
    step = inspector.open(in_order, MIXED)
    html = step_page(step, language=language)
    page = Page(html)
    for part in (counted, str(MIXED), f"{step.record.loss:.2f}", str(step.record.samples_seen)):
        assert part in page.text
    assert conclusion(step, language=language) in page.text
    assert [row[:4] for row in page.rows[1:]] == [
        [
            str(c.line),
            domain_name(c.domain, language),
            f"{c.losses.here:.2f}",
            f"{c.losses.base:.2f}",
        ]
        for c in step.conversations
    ]
    opened = [c["open"] for c in page.conversations]
    assert opened == [i < UNFOLDED for i in range(len(opened))]
    assert not re.search(r"<script|<style|class=|src=|href=", html)


def test_the_ten_hardest_pieces_are_underlined_with_their_loss(inspector, in_order):
    step = inspector.open(in_order, CODE)
    for c, shown in zip(step.conversations, Page(step_page(step)).conversations):
        hardest = [f"{cost:.1f} nats" for cost in sorted(costs(c))[-UNDERLINED:]]
        assert sorted(shown["titles"]) == sorted(hardest)


def test_the_short_table_has_the_hardest(in_order):
    shown = open_step(in_order, CODE, most=3)._repr_html_()
    record = in_order.records[CODE]
    page = Page(shown)
    assert page.text.lstrip().startswith(f"Step {CODE}, loss {record.loss:.2f}: the 3 hardest of")
    losses = [f"{loss:.2f}" for loss in sorted(record.sample_losses, reverse=True)[:3]]
    assert [row[1] for row in page.rows[1:]] == losses
    line = int(page.rows[1][0])
    conversation = shipped.conversations()[line - 1]
    assert page.rows[1][2].startswith(conversation.messages[0][1][:10])


def made(losses=(6.0, 6.0, 5.5), *, pieces=(("yes", 1.0),), **more):
    """A conversation by hand."""
    given = {
        "row": 0,
        "line": 1,
        "domain": "code",
        "losses": Losses(*losses),
        "tokens": 10,
        "shuffled_step": 7,
        "question": "how?",
        "turns": (
            Turn("user", (Piece("how?", None),)),
            Turn("assistant", tuple(Piece(*p) for p in pieces)),
        ),
    }
    return OpenedConversation(**given | more)


def step_of(*conversations, baseline=(5.0, 5.0, 5.0)):
    record = StepRecord(
        step=4,
        epoch=0,
        samples_seen=64,
        loss=6.0,
        tokens=10,
        lr=0.0,
        grad_norm=0.0,
        micro_losses=np.array([6.0]),
        rows=np.array([c.row for c in conversations]),
        sample_losses=np.array([c.losses.here for c in conversations]),
        sample_tokens=np.array([c.tokens for c in conversations]),
    )
    return OpenedStep(record, tuple(conversations), Losses(*baseline))


def test_text_stays_text_and_keeps_its_line_breaks():
    nasty = '<b onclick="x">&amp;</b>\n    if a < b:\n<!-- '
    pieces = [(nasty, 12.0), (nasty, 9.0), *[("\n", 20.0)] * UNDERLINED]
    turns = (Turn("user", (Piece(nasty, None),)),
             Turn("assistant", tuple(Piece(*p) for p in pieces)))  # fmt: skip
    html = step_page(step_of(made(question=nasty, turns=turns)))
    page = Page(html)
    assert page.text.count(nasty) == 3
    assert "white-space:pre-wrap" in html
    assert " ".join(nasty.split())[:60] in page.rows[1][-1]
    assert "<b onclick" not in html
    assert "<!--" not in html
    # Where a line break is among the hardest, there is something to underline.
    assert "⏎\n" * UNDERLINED in page.text


def test_neighbors_of_one_shade_share_a_box_and_easy_ones_have_none():
    losses = {"a": 1.0, "b": 3.9, "c": 4.0, "d": 5.9, "e": 6.0, "f": 30.0}
    pieces = [*losses.items(), *[("!", 50.0)] * UNDERLINED]
    html = step_page(step_of(made(pieces=pieces)))
    box = r'<span style="background:rgba\(230,159,0,([\d.]+)\)">([a-f]+)</span>'
    assert re.findall(box, html) == [("0.12", "cd"), ("0.24", "e"), ("0.52", "f")]
    assert ">ab<span" in html


@pytest.mark.parametrize(
    "here, base, says",
    [
        (6.0, 6.1, "All of this step's excess"),
        (6.0, 5.4, "40% of this step's excess"),
        (6.0, 4.8, "0% of this step's excess"),
        (5.2, 5.9, "less than 0.3 nats above"),
    ],
)
def test_the_conclusion_is_worked_out_from_the_numbers(here, base, says):
    step = step_of(made((here, base, 5.5)), made((here, base, 5.5), shuffled_step=9))
    text = conclusion(step)
    assert says in text
    assert text.endswith("in the shuffled run (+0.50), spread over 2 steps.")
    assert f"{here:.2f} nats per token in this run ({here - 5:+.2f})" in text
    assert f"{base:.2f} under the base model ({base - 5:+.2f})" in text
    assert f"{here:.2f} nat（{here - 5:+.2f}）" in conclusion(step, language="zh")


def test_the_conclusion_weighs_conversations_by_their_tokens():
    nothing = (float("nan"),) * 3
    step = step_of(
        made((5.0, 5.0, 5.0), tokens=10), made((6.0, 6.0, 6.0), tokens=30), made(nothing, tokens=0)
    )
    assert "5.75 nats per token" in conclusion(step)


def test_without_a_baseline_the_conclusion_gives_the_bare_numbers():
    text = conclusion(step_of(made(), baseline=(float("nan"),) * 3))
    assert text.startswith("No Chinese conversation came before")
    assert "(" not in text
    assert "nan" not in text
    assert "spread" not in text


def test_a_frozen_model_s_excess_was_there_before(inspector, frozen):
    assert conclusion(inspector.open(frozen, CODE)).startswith("All of this step's excess")


def terms_shown(line):
    """The height and the three terms of a line, as numbers."""
    parts = re.findall(r"([+-]) ?(\d+\.\d\d)", line)
    return [float(figures) * (1 if sign == "+" else -1) for sign, figures in parts]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("position", [1, ORDINARY, MIXED, CODE, CLASSICAL, 126, 138])
def test_the_terms_that_are_shown_add_up_to_the_height_that_is_shown(
    inspector, in_order, position, language
):
    step = inspector.open(in_order, position)
    height, *terms = terms_shown(terms_line(step, language=language))
    assert len(terms) == 3
    assert sum(terms) == pytest.approx(height, abs=1e-9)
    assert height == round(step.mean().here - step.baseline.here, 2)
    assert terms[0] == pytest.approx(step.mean().base - step.baseline.base, abs=0.01)


def test_the_line_of_terms_says_whether_training_helped():
    """Base 5.0 before; training has brought that to 4.5, and these rows from 6 to 5.7 or to 6.2."""
    helped = step_of(made((5.7, 6.0, 5.5)), baseline=(4.5, 5.0, 5.0))
    assert terms_line(helped) == (
        "+1.20 nats = +1.00 unfamiliar - 0.30 transferred + 0.50 specialized"
    )
    harmed = step_of(made((6.2, 6.0, 5.5)), baseline=(4.5, 5.0, 5.0))
    assert terms_line(harmed) == (
        "+1.70 nats = +1.00 unfamiliar + 0.20 forgotten + 0.50 specialized"
    )
    assert terms_line(harmed, language="zh") == "+1.70 nat = +1.00 陌生 + 0.20 遗忘 + 0.50 专门化"


def test_the_page_shows_the_line_and_explains_its_words(inspector, in_order):
    step = inspector.open(in_order, CODE)
    text = Page(step_page(step)).text
    assert terms_line(step) in text
    for word in ("Unfamiliar", "Transferred", "Forgotten", "Specialized"):
        assert word in text


def test_a_frozen_model_has_one_term_only(inspector, frozen):
    _, _, *others = terms_shown(terms_line(inspector.open(frozen, CODE)))
    assert others == [0.0, 0.0]


def test_without_a_baseline_no_terms_are_shown():
    step = step_of(made(), baseline=(float("nan"),) * 3)
    assert terms_line(step) == ""
    assert "nfamiliar" not in step_page(step)


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="language must be one of en, zh, got 'fr'"):
        conclusion(step_of(made()), language="fr")
