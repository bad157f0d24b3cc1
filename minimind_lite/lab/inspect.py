"""Open the spike: the very conversations of one optimiser step, each beside what it costs elsewhere.

A curve says that a step is high; the rows in its record say which lines of the file it was made
of. Three losses stand side by side: that of the run, that of the base model, which no fine-tuning
has touched, and that of a shuffled run, where the same conversation comes at another step. What is
high in all three lies in the data. Tokens are shaded by their loss under the base model, since it
is the one model that is always at hand: a recorded run keeps its losses, not its weights.

    N conversations of data/sft.jsonl   B conversations of a step   T tokens of one   S supervised tokens
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch

from minimind_lite.conversations import ROLES
from minimind_lite.files import shipped
from minimind_lite.loss import token_cross_entropy
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import pack
from minimind_lite.spikes import MIN_HEIGHT
from minimind_lite.trainer import sample_losses

SHOWN = 24  # conversations of a step whose tokens are worked out and shown: the hardest
UNFOLDED = 2  # of these, so many are open when the page comes up
UNDERLINED = 10  # hardest pieces of each conversation
SHADES = (
    (4, 0.12),
    (6, 0.24),
    (8, 0.38),
    (10, 0.52),
)  # from so many nats on: opacity of orange, low enough to read through
BEFORE = 480  # Chinese conversations before the step that it is compared with: as many as the detector's window at the default batch
WHOLE = 0.95  # share of the excess from which it is called all of it
RECORDED, FROZEN, SHUFFLED = (
    "nano",
    "nano-frozen",
    "nano-shuffled-0",
)  # the base model of which runs are recorded, and two of them

Piece = tuple[
    str, float | None
]  # text of one character or more, and its loss in nats; None where it is not supervised
Turn = tuple[str, tuple[Piece, ...]]  # role and content

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "heading": "Step {step}, {seen:,} conversations seen before: loss {loss:.2f} nats per token over {n} conversations ({domains})",
        "whole": "All of this step's excess over earlier Chinese conversations was there before fine-tuning: {numbers}.",
        "part": "{share:.0%} of this step's excess over earlier Chinese conversations was there before fine-tuning: {numbers}.",
        "flat": "This step stands less than {least:g} nats above earlier Chinese conversations: {numbers}.",
        "plain": "No Chinese conversation came before this step to compare it with: {numbers}.",
        "empty step": "No conversation of this step has a supervised token.",
        "here at": "it costs {loss:.2f} nats per token in this run{above}",
        "base at": "{loss:.2f} under the base model{above}",
        "shuffled at": "{loss:.2f} in the shuffled run{above}",
        "above": " ({above:+.2f})",
        "spread": ", spread over {n} steps",
        "hidden": "The {shown} hardest conversations are shown, {hidden} more are not.",
        "caption": "Loss of each conversation in nats per supervised token, the hardest first. Base model: before any fine-tuning. "
        "Shuffled run: a recorded pass (seed 0), at the conversation's own step there.",
        "line": "line",
        "domain": "domain",
        "here": "this run",
        "base": "base model",
        "shuffled": "shuffled (step)",
        "question": "begins with",
        "legend": "Shading: what a piece of the answer costs under the base model, whichever run is shown, because recorded runs keep no weights. "
        "No shade: below {first} nats; {swatches}. The {underlined} hardest pieces of a conversation are underlined, with their loss as a "
        "tooltip. Tokens that only together form a character are one piece, and their losses are added up.",
        "from": "from {nats}",
        "nats": "nats",
        "none": "–",
        "join": ", ",
        "count": "{n} {domain}",
        "tokens": "{n} supervised tokens",
        "empty": "nothing supervised",
        "system": "system",
        "user": "user",
        "assistant": "assistant",
        **shipped.NAMES,
    },
    "zh": {
        "heading": "第 {step} 步，此前已读 {seen:,} 条对话：{n} 条对话，每 token 损失 {loss:.2f} nat（{domains}）",
        "whole": "这一步高出此前中文对话的部分，在微调之前就已全部存在：{numbers}。",
        "part": "这一步高出此前中文对话的部分，有 {share:.0%} 在微调之前就已存在：{numbers}。",
        "flat": "这一步比此前的中文对话高出不到 {least:g} nat：{numbers}。",
        "plain": "这一步之前还没有可供比较的中文对话：{numbers}。",
        "empty step": "这一步的对话都没有监督 token。",
        "here at": "在本次训练中每 token {loss:.2f} nat{above}",
        "base at": "在基座模型下 {loss:.2f}{above}",
        "shuffled at": "在打乱训练中 {loss:.2f}{above}",
        "above": "（{above:+.2f}）",
        "spread": "，分散在 {n} 个步里",
        "hidden": "这里显示最难的 {shown} 条对话，另有 {hidden} 条未显示。",
        "caption": "每条对话的损失（nat / 监督 token），最难的在前。基座模型：微调之前。打乱训练：已录的一轮（种子 0），取该对话在其中所在的步。",
        "line": "行号",
        "domain": "领域",
        "here": "本次训练",
        "base": "基座模型",
        "shuffled": "打乱训练（步）",
        "question": "开头",
        "legend": "底色：回答里每一小段在基座模型下的损失。不论当前看的是哪次训练都是如此，因为已录的训练没有保存权重。"
        "无底色：低于 {first} nat；{swatches}。每条对话里最难的 {underlined} 段加下划线，悬停可看损失。"
        "几个 token 合起来才成一个字的，算作一段，损失相加。",
        "from": "{nats} 起",
        "nats": "nat",
        "none": "–",
        "join": "，",
        "count": "{domain} {n} 条",
        "tokens": "{n} 个监督 token",
        "empty": "没有监督 token",
        "system": "系统",
        "user": "用户",
        "assistant": "助手",
        "zh": "中文",
        "code": "代码",
        "en": "英文",
        "math": "数学",
        "zh_classical": "文言文",
    },
}


class Losses(NamedTuple):
    """One thing's loss in three places, in nats per supervised token; NaN where there is nothing to average."""

    here: float  # in the run that is read, before the step's update
    base: float  # under the base model, before fine-tuning
    shuffled: (
        float | None
    )  # at its own step of a recorded shuffled pass; None where none is recorded


@dataclass(frozen=True)
class Opened:
    """One conversation of a step."""

    row: int  # 0-based, in data/sft.jsonl
    line: int  # 1-based, in the file
    domain: str  # ground truth, one of `assets.DOMAINS`
    loss: float  # nats per supervised token, in this run; NaN where nothing is supervised
    tokens: int  # supervised tokens
    base_loss: float  # the same under the base model
    shuffled_loss: float | None  # and at its own step of the shuffled run
    shuffled_step: int | None
    chinese: (
        Losses  # for comparison: what the last `BEFORE` Chinese conversations before the step cost
    )
    question: str  # what the user says first
    turns: tuple[
        Turn, ...
    ]  # its text, with the base model's losses; empty beyond the hardest `SHOWN`

    @property
    def losses(self) -> Losses:
        """The three losses side by side."""
        return Losses(self.loss, self.base_loss, self.shuffled_loss)


def _mean(losses: np.ndarray, tokens: np.ndarray) -> float:
    """Mean over tokens; conversations without a loss do not count."""
    there = np.isfinite(losses) & (tokens > 0)
    return (
        float((losses * tokens)[there].sum() / tokens[there].sum()) if there.any() else float("nan")
    )


class Inspector:
    """What opening any step needs, read once: the file, its ids, the base model, and what it makes of every row.

    `model` is the base that the runs began from. Only for `nano` are a frozen and a shuffled run
    recorded; for another the base's losses are worked out here, and there is no shuffled run.
    Raises `ValueError` for a name without a checkpoint.
    """

    def __init__(self, model: str = "nano") -> None:
        self.model, self.base = model, shipped.base_model(model)
        self.conversations, self.chat = shipped.conversations(), shipped.chat()
        self.data = self.chat.encode_rows(self.conversations, self.base.config.max_seq_len)
        n = len(self.data)
        self.tokens, self.domains = self.data.supervised(), np.full(n, "zh", dtype=object)  # (N,)
        for segment in shipped.segments():
            self.domains[segment.start : segment.stop] = segment.domain
        self.header = {
            role: self.chat.encode([(role, "")])[0].index(self.chat.end_id) for role in ROLES
        }  # tokens before the content
        recorded = model == RECORDED
        self.base_losses = (
            shipped.recorded_run(FROZEN).losses_by_row(n)
            if recorded
            else sample_losses(self.base, self.data)[0]
        )
        self.shuffled_losses = self.shuffled_steps = None
        if recorded:
            run = shipped.recorded_run(SHUFFLED)
            self.shuffled_losses, self.shuffled_steps = run.losses_by_row(n), np.empty(n, int)
            for record in run.records:
                self.shuffled_steps[record.rows] = record.step

    def open(self, run: Run, step: int) -> list[Opened]:
        """All conversations of the run's step, the hardest first, those without a supervised token last.

        `step` counts the run's records from 0. Raises `ValueError` for a step that the run does not
        have, or for a run of another file or base model.
        """
        self._check(run, step)
        record = run.records[step]
        hardest = np.argsort(-record.sample_losses, kind="stable")  # NaN comes last
        chinese, turns = self._chinese_before(run, step), self._turns(record.rows[hardest[:SHOWN]])
        return [self._opened(record, i, chinese, turns) for i in hardest]

    def _check(self, run: Run, step: int) -> None:
        if not 0 <= step < len(run):
            raise ValueError(
                f"step {step} can't be opened: the run has {len(run)} steps, counted from 0."
            )
        if (base := run.info.get("base", self.model)) != self.model:
            raise ValueError(
                f"the run began from the base model {base!r}, this inspector holds {self.model!r}: use Inspector({base!r})."
            )
        rows, tokens = (
            np.concatenate([getattr(r, k) for r in run.records]) for k in ("rows", "sample_tokens")
        )
        if rows.max() >= len(self.data) or (tokens != self.tokens[rows]).any():
            raise ValueError(
                "the run was trained on other conversations than those of data/sft.jsonl: its rows have other numbers of "
                "supervised tokens, so they can't be read there. Open a run on that file."
            )

    def _chinese_before(self, run: Run, step: int) -> Losses:
        earlier = run.records[:step]
        rows = np.concatenate([np.empty(0, int), *(r.rows for r in earlier)])
        losses = np.concatenate([np.empty(0), *(r.sample_losses for r in earlier)])
        last = np.flatnonzero(self.domains[rows] == "zh")[-BEFORE:]
        rows, losses, tokens = rows[last], losses[last], self.tokens[rows[last]]
        shuffled = (
            None if self.shuffled_losses is None else _mean(self.shuffled_losses[rows], tokens)
        )
        return Losses(_mean(losses, tokens), _mean(self.base_losses[rows], tokens), shuffled)

    def _opened(
        self, record: StepRecord, i: int, chinese: Losses, turns: Mapping[int, tuple[Turn, ...]]
    ) -> Opened:
        row = int(record.rows[i])
        talk, shuffled = self.conversations[row], self.shuffled_losses is not None
        return Opened(
            row=row,
            line=talk.line,
            domain=self.domains[row],
            loss=float(record.sample_losses[i]),
            tokens=int(record.sample_tokens[i]),
            base_loss=float(self.base_losses[row]),
            shuffled_loss=float(self.shuffled_losses[row]) if shuffled else None,
            shuffled_step=int(self.shuffled_steps[row]) if shuffled else None,
            chinese=chinese,
            question=next((content for role, content in talk.messages if role == "user"), ""),
            turns=turns.get(row, ()),
        )

    def _turns(self, rows: np.ndarray) -> dict[int, tuple[Turn, ...]]:
        """The text of some rows, by row, from one forward pass of the base model."""
        ids, mask, lengths = pack(self.data, rows)  # (1, T)
        losses = np.full(ids.shape[1], np.nan)  # (T,)
        with torch.no_grad():
            hidden = self.base.hidden(ids, lengths=lengths)  # (1, T, C)
            losses[mask[0].numpy()] = token_cross_entropy(hidden, self.base.head, ids, mask)  # (S,)
        return {
            int(row): tuple(self._of_row(int(row), own))
            for row, own in zip(rows, np.split(losses, np.cumsum(lengths)[:-1]))
        }

    def _of_row(self, row: int, losses: np.ndarray) -> Iterator[Turn]:
        """Each message of a row: its content, and its end token where that is to be predicted."""
        ids, _ = self.data.row(row)
        starts, ends = (
            np.flatnonzero(ids == self.chat.start_id),
            [*np.flatnonzero(ids == self.chat.end_id), len(ids)],
        )
        for (role, _), start, end in zip(self.conversations[row].messages, starts, ends):
            content = slice(
                start + self.header[role], end + int(np.isfinite(losses[end : end + 1]).any())
            )
            yield role, tuple(self._pieces(ids[content], losses[content]))

    def _pieces(self, ids: np.ndarray, losses: np.ndarray) -> Iterator[Piece]:
        """Text with its loss; tokens that only together form a character are one piece, and cost their sum (the chain rule)."""
        at = 0
        for size, text in self.chat.pieces(ids):
            cost = float(losses[at : at + size].sum())
            at += size
            yield text, None if np.isnan(cost) else cost


def page(opened: Sequence[Opened], record: StepRecord, *, language: str = "en") -> str:
    """The step as HTML: heading, what its numbers say, a table, and the hardest conversations with their tokens shaded.

    Raises `ValueError` for a language without words.
    """
    words, shown = _words(language), opened[:SHOWN]
    domains = words["join"].join(
        words["count"].format(n=n, domain=words[d])
        for d, n in Counter(o.domain for o in opened).most_common()
    )
    heading = words["heading"].format(
        step=record.step, seen=record.samples_seen, loss=record.loss, n=len(opened), domains=domains
    )
    hidden = (
        " " + words["hidden"].format(shown=len(shown), hidden=len(opened) - len(shown))
        if len(opened) > len(shown)
        else ""
    )
    swatches = words["join"].join(
        f'<span style="{_shade(nats)}">{words["from"].format(nats=nats)}</span>'
        for nats, _ in SHADES
    )
    legend = words["legend"].format(first=SHADES[0][0], swatches=swatches, underlined=UNDERLINED)
    talks = "".join(_talk(o, words, unfolded=i < UNFOLDED) for i, o in enumerate(shown))
    return (
        f'<div lang="{language}" style="color:inherit;font-size:14px;line-height:1.6">'
        f'<p style="margin:4px 0"><b>{html.escape(heading)}</b></p><p style="margin:4px 0">{conclusion(opened, language=language)}{hidden}</p>'
        f'{_table(shown, words)}<p style="margin:4px 0;font-size:13px">{legend}</p>{talks}</div>'
    )


def conclusion(opened: Sequence[Opened], *, language: str = "en") -> str:
    """One sentence, worked out from the numbers: how much of the step's excess the base model has too.

    Means are over tokens, as the loss of a step is. Raises `ValueError` for a language without words.
    """
    words, tokens, usual = _words(language), np.array([o.tokens for o in opened]), opened[0].chinese
    if not tokens.any():
        return words["empty step"]
    mean = Losses(
        *(
            None if usual[k] is None else _mean(np.array([o.losses[k] for o in opened]), tokens)
            for k in range(3)
        )
    )
    above = [None if u is None else m - u for m, u in zip(mean, usual)]
    steps = len({o.shuffled_step for o in opened})
    numbers = words["join"].join(
        words[f"{place} at"].format(
            loss=m, above="" if np.isnan(a) else words["above"].format(above=round(a, 2) + 0.0)
        )
        for place, m, a in zip(Losses._fields, mean, above)
        if m is not None
    )
    numbers += words["spread"].format(n=steps) if steps > 1 else ""
    if np.isnan(above[0]):
        kind = "plain"
    elif above[0] < MIN_HEIGHT:
        kind = "flat"
    else:
        kind = "whole" if above[1] >= WHOLE * above[0] else "part"
    share = max(above[1] / above[0], 0.0) if kind == "part" else 0.0
    return words[kind].format(numbers=numbers, share=share, least=MIN_HEIGHT)


def _words(language: str) -> Mapping[str, str]:
    if language not in WORDS:
        raise ValueError(f"language must be one of {', '.join(WORDS)}, got {language!r}.")
    return WORDS[language]


def _number(loss: float | None, words: Mapping[str, str]) -> str:
    return words["none"] if loss is None or np.isnan(loss) else f"{loss:.2f}"


def _table(shown: Sequence[Opened], words: Mapping[str, str]) -> str:
    cell, question = (
        "text-align:left;vertical-align:top;padding:0 10px 0 0;white-space:nowrap",
        "text-align:left;vertical-align:top;padding:0",
    )
    head = "".join(
        f'<th scope="col" style="{cell}">{words[k]}</th>'
        for k in ("line", "domain", *Losses._fields, "question")
    )
    rows = ""
    for o in shown:
        here, base, shuffled = (_number(loss, words) for loss in o.losses)
        at = "" if o.shuffled_step is None else f" ({o.shuffled_step})"
        cells = "".join(
            f'<td style="{cell}">{text}</td>'
            for text in (o.line, words[o.domain], here, base, shuffled + at)
        )
        rows += f'<tr>{cells}<td style="{question}">{html.escape(" ".join(o.question.split())[:60])}</td></tr>'
    return (
        f'<table style="border-collapse:collapse;font-size:13px;color:inherit;background:transparent">'
        f'<caption style="text-align:left;caption-side:top;color:inherit">{words["caption"]}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _shade(nats: float) -> str:
    opacity = max((o for least, o in SHADES if nats >= least), default=0.0)
    return f"background:rgba(230,159,0,{opacity:g})" if opacity else ""


def _talk(o: Opened, words: Mapping[str, str], *, unfolded: bool) -> str:
    """One conversation: a line about it, and its turns."""
    costs = sorted(
        (
            (cost, i, j)
            for i, (_, pieces) in enumerate(o.turns)
            for j, (_, cost) in enumerate(pieces)
            if cost is not None
        ),
        reverse=True,
    )
    hardest = {(i, j) for _, i, j in costs[:UNDERLINED]}
    about = [
        f"{words['line']} {o.line}",
        words[o.domain],
        words["tokens"].format(n=o.tokens) if o.tokens else words["empty"],
        *(
            f"{words[place]} {_number(loss, words)}"
            for place, loss in zip(Losses._fields[:2], o.losses)
        ),
    ]
    turns = ""
    for i, (role, pieces) in enumerate(o.turns):
        text = _highlight(pieces, {j for k, j in hardest if k == i}, words)
        turns += f'<div><b>{words[role]}</b></div><div style="white-space:pre-wrap;overflow-wrap:anywhere">{text}</div>'
    return (
        f'<details{" open" if unfolded else ""} style="margin:6px 0"><summary style="cursor:pointer">{words["join"].join(about)}</summary>'
        f'<div style="margin-left:16px;border-left:2px solid rgba(128,128,128,0.5);padding-left:10px">{turns}</div></details>'
    )


def _highlight(pieces: Sequence[Piece], hardest: set[int], words: Mapping[str, str]) -> str:
    """Pieces as HTML: neighbours of one shade share a box, the hardest have one each, underlined."""
    boxes = []
    for (style, alone), group in groupby(
        enumerate(pieces), key=lambda p: (_shade(p[1][1] or 0.0), p[0] if p[0] in hardest else None)
    ):
        text = html.escape("".join(piece for _, (piece, _) in group))
        if alone is not None:
            text = text.replace("\n", "⏎\n")  # a line break has nothing to underline
            text = f'<u style="{style}" title="{pieces[alone][1]:.1f} {words["nats"]}">{text}</u>'
        elif style:
            text = f'<span style="{style}">{text}</span>'
        boxes.append(text)
    return "".join(boxes)
