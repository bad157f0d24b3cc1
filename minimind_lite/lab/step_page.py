"""An opened step as HTML: a short table of its hardest conversations, or all of it with text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

import numpy as np
from IPython.display import HTML

from minimind_lite.files import shipped
from minimind_lite.files.visible import visible
from minimind_lite.lab.i18n import say
from minimind_lite.lab.inspect import (
    MAX_SHOWN,
    OpenedConversation,
    OpenedStep,
    Piece,
    answer_of,
    check_position,
    hardest_first,
    question_of,
)
from minimind_lite.lab.templates import render
from minimind_lite.records import Run
from minimind_lite.segments import domain_name
from minimind_lite.spikes import MIN_HEIGHT

UNFOLDED = 2  # conversations that are open when the page comes up
UNDERLINED = 10  # hardest pieces of each conversation
QUESTION_LENGTH = 60  # characters of a question in the table
# From so many nats on, the opacity of the orange behind a piece, low enough to read through.
SHADES = ((4, 0.12), (6, 0.24), (8, 0.38), (10, 0.52))
ALL = 0.95  # share of the excess from which it is called all of it


def open_step(run: Run, position: int, *, most: int = 4, characters: int = 90) -> HTML:
    """The `most` hardest conversations of a step of a run on data/sft.jsonl, as a short table.

    Line in the file, loss in nats, beginning of question and answer. As the last line of a cell it
    shows itself. Raises `ValueError` for a step that the run does not have.
    """
    check_position(run, position)
    record, conversations = run.records[position], shipped.conversations()
    hardest = hardest_first(record)[:most]
    rows = [
        {
            "line": conversations[record.rows[i]].line,
            "loss": number(record.sample_losses[i], "en"),
            "question": beginning(question_of(conversations[record.rows[i]]), characters),
            "answer": beginning(answer_of(conversations[record.rows[i]]), characters),
        }
        for i in hardest
    ]
    heading = say(
        "en",
        "inspect.hardest",
        step=record.step,
        loss=record.loss,
        shown=len(rows),
        n=len(record.rows),
    )
    return HTML(render("hardest.html", "en", {"heading": heading, "rows": rows}))


def step_page(step: OpenedStep, *, language: str = "en") -> str:
    """All of a step: what its numbers say, a table, and its hardest conversations in full."""
    shown = step.conversations[:MAX_SHOWN]
    comma = say(language, "inspect.comma")
    counts = Counter(c.domain for c in step.conversations).most_common()
    listed = [
        say(language, "inspect.count", n=n, domain=domain_name(domain, language))
        for domain, n in counts
    ]
    heading = say(
        language,
        "inspect.heading",
        step=step.record.step,
        samples=step.record.samples_seen,
        loss=step.record.loss,
        n=len(step.conversations),
        domains=comma.join(listed),
    )
    hidden = len(step.conversations) - len(shown)
    values = {
        "heading": heading,
        "conclusion": conclusion(step, language=language),
        "terms": terms_line(step, language=language),
        "hidden": say(language, "inspect.hidden", shown=len(shown), hidden=hidden) * bool(hidden),
        "shades": [(say(language, "inspect.from", nats=nats), _shade(nats)) for nats, _ in SHADES],
        "first_shade": SHADES[0][0],
        "underlined": UNDERLINED,
        "conversations": [_conversation(c, language) for c in shown],
        "unfolded": UNFOLDED,
    }
    return render("step.html", language, values)


def conclusion(step: OpenedStep, *, language: str = "en") -> str:
    """One sentence, worked out from the numbers: how much of the excess the base model has too."""
    mean, baseline = step.mean(), step.baseline
    if np.isnan(mean.here):
        return say(language, "inspect.empty_step")
    above = [here - usual for here, usual in zip(mean, baseline)]
    parts = []
    for place, loss, more in zip(mean._fields, mean, above):
        excess = (
            "" if np.isnan(more) else say(language, "inspect.above", above=round(more, 2) + 0.0)
        )
        parts.append(say(language, f"inspect.at_{place}", loss=loss, above=excess))
    numbers = say(language, "inspect.comma").join(parts)
    n_steps = len({c.shuffled_step for c in step.conversations})
    if n_steps > 1:
        numbers += say(language, "inspect.spread", n=n_steps)
    share = above[1] / above[0] if above[0] else 0.0
    if np.isnan(above[0]):
        kind = "plain"
    elif above[0] < MIN_HEIGHT:
        kind = "flat"
    elif share >= ALL:
        kind = "whole"
    else:
        kind = "part"
    return say(
        language, f"inspect.{kind}", numbers=numbers, share=max(share, 0.0), least=MIN_HEIGHT
    )


def terms_line(step: OpenedStep, *, language: str = "en") -> str:
    """The step's height as a sum of its terms, rounded so that it adds up; empty without one."""
    terms = step.terms()
    if np.isnan(terms.height):
        return ""
    shown = terms.rounded()
    change = "forgotten" if shown.transferred > 0 else "transferred"
    return say(
        language,
        "inspect.terms",
        height=f"{shown.height:+z.2f}",
        unfamiliar=f"{shown.unfamiliar:+z.2f}",
        transferred=_signed(shown.transferred),
        change=say(language, f"inspect.{change}"),
        specialized=_signed(shown.specialized),
    )


def number(loss: float, language: str) -> str:
    """A loss with two digits, or a dash."""
    return say(language, "inspect.none") if np.isnan(loss) else f"{loss:.2f}"


def beginning(text: str, characters: int) -> str:
    """The first characters of a text, on one line."""
    return visible(text[:characters].replace("\n", " ⏎ ")) + "…" * (len(text) > characters)


def _signed(value: float) -> str:
    """A term inside a sum: "- 0.17"."""
    return f"{'-' if value < 0 else '+'} {abs(value):.2f}"


def _conversation(c: OpenedConversation, language: str) -> dict[str, object]:
    """What the template says of one conversation."""
    tokens = say(language, "inspect.empty")
    if c.tokens:
        tokens = say(language, "inspect.tokens", n=c.tokens)
    here, base, shuffled = (number(loss, language) for loss in c.losses)
    losses = [(turn, i, p.loss) for turn, t in enumerate(c.turns) for i, p in enumerate(t.pieces)]
    ranked = sorted([x for x in losses if x[2] is not None], key=lambda x: -(x[2] or 0.0))
    hardest = {(turn, i) for turn, i, _ in ranked[:UNDERLINED]}
    turns = [
        (
            say(language, f"inspect.{turn.role}"),
            list(_boxes(turn.pieces, {i for t, i in hardest if t == n})),
        )
        for n, turn in enumerate(c.turns)
    ]
    return {
        "line": c.line,
        "domain": domain_name(c.domain, language),
        "here": here,
        "base": base,
        "shuffled": f"{shuffled} ({c.shuffled_step})",
        "question": visible(" ".join(c.question.split())[:QUESTION_LENGTH]),
        "tokens": tokens,
        "turns": turns,
    }


def _shade(loss: float) -> float:
    """Opacity of the orange behind a piece."""
    return max((opacity for nats, opacity in SHADES if loss >= nats), default=0.0)


def _boxes(pieces: tuple[Piece, ...], hardest: set[int]) -> Iterator[dict[str, object]]:
    """Neighbors of one shade share a box; the hardest have one each, underlined."""

    def box_of(numbered: tuple[int, Piece]) -> tuple[float, int | None]:
        i, piece = numbered
        return _shade(piece.loss or 0.0), i if i in hardest else None

    for (shade, single), group in groupby(enumerate(pieces), key=box_of):
        text = visible("".join(piece.text for _, piece in group), keep="\n\t")
        if single is not None:
            text = text.replace("\n", "⏎\n")  # a line break has nothing to underline
        loss = None if single is None else f"{pieces[single].loss:.1f}"
        yield {"text": text, "shade": shade, "loss": loss}
