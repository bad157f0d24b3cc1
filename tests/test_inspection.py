"""Opening a step: the right lines of the file, losses that add up to the recorded ones, a page that lets no text become markup."""

import copy
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from string import Formatter

import numpy as np
import pytest
from minimind_lite.lab.inspect import (
    SHOWN,
    UNDERLINED,
    WORDS,
    Inspector,
    Losses,
    Opened,
    conclusion,
    page,
)

from minimind_lite.chat import EncodedRows
from minimind_lite.files import shipped
from minimind_lite.lab import inspect
from minimind_lite.records import Run, StepRecord

END = "<|im_end|>"
MIXED, CODE, CLASSICAL, ORDINARY = (
    31,
    33,
    104,
    10,
)  # steps of 16 in file order: code begins at row 507, classical Chinese at 1537


@pytest.fixture(scope="module")
def inspector():
    return Inspector()


@pytest.fixture(scope="module")
def frozen():
    return shipped.recorded_run("nano-frozen")


@pytest.fixture(scope="module")
def in_order():
    return shipped.recorded_run("nano-file")


def a_run(inspector, *batches, losses=None, info=None):
    """A run that met these rows, with the base model's losses or the given ones."""
    losses, records, seen = inspector.base_losses if losses is None else losses, [], 0
    for i, rows in enumerate(map(np.asarray, batches)):
        own, tokens = losses[rows], inspector.tokens[rows]
        loss = float(np.nansum(own * tokens) / max(tokens.sum(), 1))
        records.append(
            StepRecord(
                step=i,
                epoch=0,
                samples_seen=seen,
                loss=loss,
                tokens=int(tokens.sum()),
                lr=0.0,
                grad_norm=float("nan"),
                micro_losses=own[:1],
                rows=rows,
                sample_losses=own,
                sample_tokens=tokens,
                seconds=0.0,
            )
        )
        seen += len(rows)
    return Run(info or {}, tuple(records))


def costs(opened):
    return [cost for _, pieces in opened.turns for _, cost in pieces if cost is not None]


class Page(HTMLParser):
    """Text as a browser shows it, cells of the table by row, and the underlined pieces of each conversation with their titles."""

    def __init__(self, html):
        super().__init__()
        self.text, self.rows, self.talks, self.path = "", [], [], []
        self.feed(html)
        assert not self.path, f"left open: {self.path}"

    def handle_starttag(self, tag, attrs):
        assert tag in (
            "div",
            "p",
            "b",
            "u",
            "span",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "details",
            "summary",
        )
        self.path.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "details":
            self.talks.append({"open": ("open", None) in attrs, "titles": []})
        elif tag == "u":
            self.talks[-1]["titles"].append(dict(attrs)["title"])

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
    truth = json.loads((shipped.folder() / "sft.blocks.json").read_text(encoding="utf-8"))[
        "segments"
    ]
    opened = inspector.open(in_order, step)
    assert sorted(o.row for o in opened) == list(range(16 * step, min(16 * step + 16, len(lines))))
    for o in opened:
        talk = json.loads(lines[o.line - 1])["conversations"]
        said = [(role, "".join(text for text, _ in pieces)) for role, pieces in o.turns]
        assert said == [
            (m["role"], m["content"] + (END if m["role"] == "assistant" else "")) for m in talk
        ]
        assert o.line == o.row + 1 and o.question == talk[0]["content"]
        assert o.domain == next(
            (s["domain"] for s in truth if s["start"] <= o.row < s["stop"]), "zh"
        )


def test_the_hardest_come_first_with_the_losses_of_their_run(inspector, in_order):
    opened, record = inspector.open(in_order, CODE), in_order.records[CODE]
    assert [o.loss for o in opened] == sorted(record.sample_losses, reverse=True)
    assert {o.row: (o.loss, o.tokens) for o in opened} == dict(
        zip(record.rows, zip(record.sample_losses, record.sample_tokens))
    )


def test_the_shuffled_run_s_loss_is_that_of_the_conversation_s_own_step(inspector, in_order):
    shuffled = shipped.recorded_run("nano-shuffled-0")
    for o in inspector.open(in_order, CODE):
        met = shuffled.records[o.shuffled_step]
        assert met.sample_losses[met.rows == o.row] == [o.shuffled_loss]


@pytest.mark.parametrize("step", [ORDINARY, CODE, CLASSICAL])
def test_losses_of_pieces_add_up_to_what_was_recorded(inspector, frozen, step):
    for o in inspector.open(frozen, step):
        assert sum(costs(o)) / o.tokens == pytest.approx(o.loss, rel=1e-3) and o.base_loss == o.loss
        assert len(costs(o)) <= o.tokens


def test_only_answers_carry_losses(inspector, in_order):
    for o in inspector.open(in_order, CODE):
        for role, pieces in o.turns:
            assert all((cost is not None) == (role == "assistant") for _, cost in pieces)


def test_tokens_that_only_together_form_a_character_are_one_piece(inspector, in_order):
    opened = inspector.open(in_order, CLASSICAL)
    assert "�" not in "".join(text for o in opened for _, pieces in o.turns for text, _ in pieces)
    assert any(
        len(costs(o)) < o.tokens for o in opened
    )  # characters too rare for a token of their own


def test_chinese_conversations_before_the_step_are_the_comparison(inspector, in_order):
    first, opened = inspector.open(in_order, 0)[0], inspector.open(in_order, MIXED + 1)[0]
    assert np.isnan(first.chinese).all()
    earlier = np.arange(507)[-inspect.BEFORE :]  # of the 512 rows before, five are code
    tokens, recorded = inspector.tokens[earlier], in_order.losses_by_row(2224)[earlier]
    assert opened.chinese.here == pytest.approx((recorded * tokens).sum() / tokens.sum())
    assert opened.chinese.base == pytest.approx(
        (inspector.base_losses[earlier] * tokens).sum() / tokens.sum()
    )


def test_a_large_batch_shows_the_hardest_and_counts_the_rest(inspector):
    rows = np.arange(1100, 1356)
    run = Run.from_columns(
        {}, a_run(inspector, rows).to_columns()
    )  # half precision, as the lab's recordings have it
    opened = inspector.open(run, 0)
    assert len(opened) == 256 and [bool(o.turns) for o in opened] == [True] * SHOWN + [False] * (
        256 - SHOWN
    )
    assert [o.loss for o in opened] == pytest.approx([o.base_loss for o in opened], rel=1e-3)
    html = page(opened, run.records[0])
    shown = Page(html)
    assert (
        len(shown.talks) == SHOWN == len(shown.rows) - 1
        and "232 more are not" in shown.text
        and "over 256 conversations" in shown.text
    )
    assert len(html.encode()) < 150_000


def test_a_cut_conversation_shows_what_the_model_saw(inspector):
    cut = copy.copy(inspector)
    for length in (1, 9, 40):
        cut.data = inspector.chat.encode_rows(inspector.conversations, length)
        cut.tokens = cut.data.supervised()
        for o in cut.open(a_run(cut, np.arange(16)), 0):
            whole = [
                (role, content + END) for role, content in inspector.conversations[o.row].messages
            ]
            assert all(
                role == r and content.startswith("".join(text for text, _ in pieces).rstrip("�"))
                for (role, pieces), (r, content) in zip(o.turns, whole)
            )


def test_a_conversation_without_supervision_is_shown_last(inspector):
    bare, mask = copy.copy(inspector), inspector.data.mask.copy()
    mask[inspector.data.offsets[3] : inspector.data.offsets[4]] = False
    bare.data = EncodedRows(inspector.data.ids, mask, inspector.data.offsets)
    bare.tokens, bare.base_losses = bare.data.supervised(), inspector.base_losses.copy()
    bare.base_losses[3] = np.nan
    run = a_run(bare, np.arange(8), [3])
    opened = bare.open(run, 0)
    assert opened[-1].row == 3 and np.isnan(opened[-1].loss) and not costs(opened[-1])
    shown = Page(page(opened, run.records[0]))
    assert (
        "nothing supervised" in shown.text
        and shown.rows[-1][2:4] == ["–", "–"]
        and "nan" not in shown.text
    )
    assert (
        conclusion(bare.open(run, 1))
        == WORDS["en"]["empty step"]
        in page(bare.open(run, 1), run.records[1])
    )


def test_another_base_model_has_no_shuffled_run(inspector, monkeypatch):
    monkeypatch.setattr(
        inspect, "sample_losses", lambda model, data: (inspector.base_losses, inspector.tokens)
    )
    lite = Inspector("lite")
    run = a_run(inspector, np.arange(16), np.arange(507, 523), info={"base": "lite"})
    opened = lite.open(run, 1)
    assert opened[0].shuffled_loss is None is opened[0].shuffled_step
    shown = Page(page(opened, run.records[1]))
    assert shown.rows[1][4] == "–" and "in the shuffled run" not in conclusion(opened)
    with pytest.raises(
        ValueError,
        match=r"began from the base model 'lite', this inspector holds 'nano': use Inspector\('lite'\)",
    ):
        inspector.open(run, 1)


@pytest.mark.parametrize("step", [-1, 139, 10_000])
def test_a_step_that_the_run_does_not_have_is_refused(inspector, in_order, step):
    with pytest.raises(ValueError, match=f"step {step} can't be opened: the run has 139 steps"):
        inspector.open(in_order, step)


def test_a_run_on_another_file_is_refused(inspector):
    run = a_run(inspector, np.arange(16))
    for record in (
        replace(run.records[0], rows=np.arange(16) + 3),
        replace(run.records[0], rows=np.arange(16) + 5000),
    ):
        with pytest.raises(ValueError, match=r"other conversations than those of data/sft\.jsonl"):
            inspector.open(Run({}, (record,)), 0)


# What the page says


def test_both_languages_have_the_same_keys_and_gaps():
    gaps = lambda text: sorted(name for _, name, _, _ in Formatter().parse(text) if name)
    assert {k: gaps(v) for k, v in WORDS["en"].items()} == {
        k: gaps(v) for k, v in WORDS["zh"].items()
    }
    assert set(shipped.DOMAINS) <= set(WORDS["en"])


@pytest.mark.parametrize(
    "language, domains", [("en", "11 Chinese, 5 code"), ("zh", "中文 11 条，代码 5 条")]
)
def test_the_page_says_which_step_and_lists_its_conversations(
    inspector, in_order, language, domains
):
    opened, record = inspector.open(in_order, MIXED), in_order.records[MIXED]
    html = page(opened, record, language=language)
    shown = Page(html)
    assert all(
        part in shown.text
        for part in (domains, str(MIXED), f"{record.loss:.2f}", str(record.samples_seen))
    )
    assert (
        conclusion(opened, language=language) in shown.text
        and "{" not in WORDS[language]["caption"]
    )
    assert [row[:4] for row in shown.rows[1:]] == [
        [str(o.line), WORDS[language][o.domain], f"{o.loss:.2f}", f"{o.base_loss:.2f}"]
        for o in opened
    ]
    assert [talk["open"] for talk in shown.talks] == [
        i < inspect.UNFOLDED for i in range(len(opened))
    ]
    assert not re.search(r"<script|<style|class=|src=|href=", html)


def test_the_ten_hardest_pieces_are_underlined_with_their_loss(inspector, in_order):
    opened = inspector.open(in_order, CODE)
    for o, talk in zip(opened, Page(page(opened, in_order.records[CODE])).talks):
        assert sorted(talk["titles"]) == sorted(
            f"{cost:.1f} nats" for cost in sorted(costs(o))[-UNDERLINED:]
        )


def made(
    loss=6.0, base=6.0, shuffled=5.5, *, chinese=(5.0, 5.0, 5.0), pieces=(("yes", 1.0),), **more
):
    """A conversation by hand."""
    given = {
        "row": 0,
        "line": 1,
        "domain": "code",
        "loss": loss,
        "tokens": 10,
        "base_loss": base,
        "shuffled_loss": shuffled,
        "shuffled_step": 7,
        "chinese": Losses(*chinese),
        "question": "how?",
        "turns": (("user", (("how?", None),)), ("assistant", tuple(pieces))),
    }
    return Opened(**given | more)


def record_of(opened):
    return StepRecord(
        step=4,
        epoch=0,
        samples_seen=64,
        loss=6.0,
        tokens=10,
        lr=0.0,
        grad_norm=0.0,
        micro_losses=np.array([6.0]),
        rows=np.array([o.row for o in opened]),
        sample_losses=np.array([o.loss for o in opened]),
        sample_tokens=np.array([o.tokens for o in opened]),
        seconds=0.0,
    )


def test_text_stays_text_and_keeps_its_line_breaks():
    nasty = '<b onclick="x">&amp;</b>\n    if a < b:\n<!-- '
    pieces = [(nasty, 12.0), (nasty, 9.0), *[("\n", 20.0)] * UNDERLINED]
    o = made(
        pieces=pieces,
        question=nasty,
        turns=(("user", ((nasty, None),)), ("assistant", tuple(pieces))),
    )
    html = page([o], record_of([o]))
    assert Page(html).text.count(nasty) == 3 and "white-space:pre-wrap" in html
    assert " ".join(nasty.split())[:60] in Page(html).rows[1][-1]
    assert "<b onclick" not in html and "<!--" not in html
    assert (
        "⏎\n" * UNDERLINED in Page(html).text
    )  # where a line break is among the hardest, there is something to underline


def test_neighbours_of_one_shade_share_a_box_and_easy_ones_have_none():
    pieces = [
        ("a", 1.0),
        ("b", 3.9),
        ("c", 4.0),
        ("d", 5.9),
        ("e", 6.0),
        ("f", 30.0),
        *[("!", 50.0)] * UNDERLINED,
    ]
    html = page([made(pieces=pieces)], record_of([made()]))
    shades = re.findall(
        r'<span style="background:rgba\(230,159,0,([\d.]+)\)">([a-f]+)</span>', html
    )
    assert ">ab<span" in html and shades == [("0.12", "cd"), ("0.24", "e"), ("0.52", "f")]


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
    opened = [made(here, base), made(here, base, shuffled_step=9)]
    said = conclusion(opened)
    assert says in said and said.endswith("in the shuffled run (+0.50), spread over 2 steps.")
    assert (
        f"{here:.2f} nats per token in this run ({here - 5:+.2f}), {base:.2f} under the base model ({base - 5:+.2f})"
        in said
    )
    assert f"{here:.2f} nat（{here - 5:+.2f}）" in conclusion(opened, language="zh")


def test_the_conclusion_weighs_conversations_by_their_tokens():
    assert "5.75 nats per token" in conclusion(
        [made(5.0, tokens=10), made(6.0, tokens=30), made(float("nan"), tokens=0)]
    )


def test_without_a_comparison_the_conclusion_gives_the_bare_numbers():
    said = conclusion([made(chinese=(float("nan"), float("nan"), float("nan")))])
    assert (
        said.startswith("No Chinese conversation came before")
        and "(" not in said
        and "nan" not in said
        and "spread" not in said
    )


def test_a_frozen_model_s_excess_was_there_before(inspector, frozen):
    assert conclusion(inspector.open(frozen, CODE)).startswith("All of this step's excess")


def test_an_unknown_language_is_refused():
    for say in (
        lambda: page([made()], record_of([made()]), language="fr"),
        lambda: conclusion([made()], language="fr"),
    ):
        with pytest.raises(ValueError, match="language must be one of en, zh, got 'fr'"):
            say()
