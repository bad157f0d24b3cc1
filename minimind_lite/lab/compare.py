"""Two runs side by side: a table of what each shows, and a sentence about what was changed and what it did.

The sentence says no more than two runs can: it names the settings that differ and could matter,
claims no cause where several do, and compares what both runs have met and both can judge. Where a
number can't be known (too few steps, a run that was stopped, no probes) a note says why.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.lab.comparison_words import WORDS
from minimind_lite.lab.wording import say
from minimind_lite.records import Run
from minimind_lite.science import reproduce
from minimind_lite.spikes import END_Z, MIN_HEIGHT, THRESHOLD, WINDOW

N_SIGMA = 7.0  # of the spike score
CLEAR = 0.05  # nats; five shuffles end within 0.01 of one another on the Chinese probe, and within 0.02 on the odd ones
HARM = 0.2  # nats by which the Chinese probe must rise across a spike to be worth a sentence
ROUNDING = 1e-3  # nats; the same run, trained again, is the same to well within this
DASH = "–"
SHUFFLED = ("shuffle", "shuffle_once")  # orders in which the rows of a segment lie nowhere together
KNOBS = {
    "order": "order",
    "batch_size": "batch",
    "accumulation": "accumulation",
    "loss_average": "average",
    "learning_rate": "learning_rate",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "epochs": "epochs",
    "seed": "seed",
    "pulse": "pulse",
}  # what the lab calls a setting
UNTOLD = (
    "micro_batch_size",
    "max_steps",
    "probe_every",
    "token_budget",
)  # the first is told as accumulation, the second as steps
FORMATS = {
    "base_loss": ".3f",
    "noise": ".3f",
    "tallest": "+z.2f",
    "events": ",.0f",
    "score": ".1f",
    "width": ",.0f",
    "recovery": "+z,.0f",
    "harm": "+z.2f",
    "held_out": ".3f",
    "held_out_odd": ".3f",
    "seen": ",.0f",
    "steps": ",.0f",
}  # rows of the table, but for the heights


@dataclass(frozen=True)
class Measures:
    """What one run shows. A number that can't be known is None, and `notes` says why."""

    steps: int  # optimiser steps done
    planned: int  # optimiser steps of the whole run
    seen: int  # conversations
    heights: Mapping[
        shipped.Segment, spikes.SegmentSpike
    ]  # of the first pass; a segment that can't be judged is left out
    notes: Mapping[str, str]  # field, or "height:" and a segment's first row -> key of WORDS
    base_loss: float | None = None  # of the Chinese rows, nats (`experiments.base_loss`)
    noise: float | None = None  # median of the baseline's robust sigma, nats
    tallest: float | None = None  # largest height of a step above the trailing median, nats
    events: int | None = None  # spikes found
    score: float | None = None  # `spikes.spike_score` with a window of WINDOW steps, percent
    width: int | None = (
        None  # conversations of the tallest spike (at least, where its note is "open")
    )
    recovery: int | None = (
        None  # that minus the length of the odd segment that it is in, conversations
    )
    harm: float | None = None  # change of the Chinese probe across it, nats
    held_out: float | None = None  # Chinese probe at the end, or where it was measured last, nats
    held_out_odd: float | None = None  # mean over the probes of odd domains there, nats
    held_out_at: int | None = None  # conversations seen when these were measured


class Change(NamedTuple):
    """A setting (a field of TrainConfig, accumulation, pulse or base) that differs between runs `a` and `b`; idle if it can't touch a loss."""

    field: str
    a: object
    b: object
    idle: bool


class Table(NamedTuple):
    """A comparison as plain text; columns are measure, run A, run B, B − A; "[1]" in a cell leads to the first note."""

    head: tuple[str, str, str, str]
    rows: list[tuple[str, str, str, str]]
    notes: list[str]


def measure(run: Run) -> Measures:
    """Read a run of data/sft.jsonl, whole or not. Raises `ValueError` for one without a step."""
    if not len(run):
        raise ValueError("a run without a step can't be measured: train at least one.")
    config = TrainConfig.from_dict(run.info.get("train_config") or {})
    rows, tokens = (
        np.concatenate([getattr(r, k) for r in run.records]) for k in ("rows", "sample_tokens")
    )
    total = config.total_steps(int(run.info.get("rows") or len(shipped.conversations())))
    planned, seen = min(total, config.max_steps or total), _seen(run).tolist()
    after = (
        run.info.get("probes_after", {}) if len(run) >= planned else {}
    )  # a run that was cut still has those of the whole
    at, probes = [
        (None, {}),
        *((n, r.probes) for n, r in zip(seen, run.records) if r.probes),
        *([(seen[-1], after)] if after else []),
    ][-1]
    odd = [v for k, v in probes.items() if k != "zh"]
    values = {
        "held_out": probes.get("zh"),
        "held_out_odd": float(np.mean(odd)) if odd else None,
        "held_out_at": at,
    }
    notes = {
        k: "unprobed" if values[k] is None else "last"
        for k in ("held_out", "held_out_odd")
        if values[k] is None or at != seen[-1]
    }
    if (~reproduce.odd_rows(int(rows.max()) + 1)[rows] & (tokens > 0)).any():
        values["base_loss"] = reproduce.base_loss(run)
    else:
        notes["base_loss"] = "no Chinese"
    (judged, why), (heights, missing) = _judged(run, config.order, after), _heights(run)
    return Measures(len(run), planned, seen[-1], heights, notes | why | missing, **values, **judged)


def _seen(run: Run) -> np.ndarray:
    """Conversations before each step, and after the last (steps + 1,)."""
    return np.cumsum([0, *(len(r.rows) for r in run.records)])


def _share(rows: np.ndarray, segment: shipped.Segment) -> float:
    return float(np.mean((rows >= segment.start) & (rows < segment.stop)))


def _heights(run: Run) -> tuple[dict[shipped.Segment, spikes.SegmentSpike], dict[str, str]]:
    """Heights of the first pass by segment, and why others are missing or not quite what they should be."""
    found, notes = {}, {}
    for s in shipped.segments():
        try:
            found[s] = spikes.at_rows(run, s.start, s.stop)
        except ValueError:  # not met, or met before the window is full
            met = any(r.epoch == 0 and _share(r.rows, s) > 0 for r in run.records)
            notes[f"height:{s.start}"] = (
                "unmet" if not met else "short" if len(run) <= WINDOW else "early"
            )
    return found, notes | {f"height:{s.start}": "share" for s, h in found.items() if h.share < 1}


def _judged(
    run: Run, order: str, after: Mapping[str, float]
) -> tuple[dict[str, object], dict[str, str]]:
    """What needs a baseline, and why some of it is missing."""
    if len(run) <= WINDOW:
        return {}, dict.fromkeys(
            ("noise", "tallest", "events", "score", "width", "recovery", "harm"), "short"
        )
    events, noise = spikes.find(run.loss), float(np.nanmedian(spikes.baseline(run.loss).sigma))
    values = {
        "noise": noise,
        "tallest": _tallest(run),
        "events": len(events),
        "score": spikes.spike_score(run.loss, window=WINDOW, n_sigma=N_SIGMA),
    }
    crowded = order not in SHUFFLED and any(
        _share(r.rows, s) == 1 for s in shipped.segments() for r in run.records[:WINDOW]
    )
    notes = {"noise": "crowded"} if crowded else {}
    if not events:
        return values, notes | dict.fromkeys(("width", "recovery", "harm"), "no event")
    event = max(events, key=lambda e: e.peak_height)
    harm, (steps, probe), rows = (
        spikes.harm(run, event),
        run.probe("zh"),
        np.concatenate([r.rows for r in run.records[event.start : event.stop]]),
    )
    if (
        "zh" in after and (steps <= event.start).any()
    ):  # measured next after the last step, unless before
        harm = {"zh": float(after["zh"] - probe[steps <= event.start][-1])} | harm
    values |= {"width": len(rows), "harm": harm.get("zh")}
    notes |= {} if "zh" in harm else {"harm": "unprobed"}
    if event.level_shift or event.stop == len(run):
        return values, notes | {"width": "open", "recovery": "open"}
    segment = max(shipped.segments(), key=lambda s: _share(rows, s))
    inside, length = len(rows) * _share(rows, segment), segment.stop - segment.start
    if order in SHUFFLED or 2 * inside < min(len(rows), length):  # a touch is no cause
        return values, notes | {"recovery": "scattered" if order in SHUFFLED else "elsewhere"}
    return values | {"recovery": spikes.recovery(run, event, length)}, notes


def _tallest(run: Run, since: int = 0) -> float | None:
    """Largest height of a step that has a baseline, and `since` conversations before it; None where there is none."""
    height = (run.loss - spikes.baseline(run.loss).median)[_seen(run)[:-1] >= since]
    return float(np.nanmax(height)) if np.isfinite(height).any() else None


def changes(a: Run, b: Run) -> list[Change]:
    """Settings that differ, idle ones last. One that only one of the two uses (the seed of a shuffle) is left out."""
    # In one pass, "once" and "every epoch" shuffle alike; so does the first pass of several.
    alike = 1 in [TrainConfig.from_dict(r.info.get("train_config") or {}).epochs for r in (a, b)]
    mine, other = _settings(a, alike), _settings(b, alike)
    used = [(f, mine[f][1], other[f][1]) for f in mine]
    found = [Change(f, x, y, False) for f, x, y in used if x != y and None not in (x, y)]
    return found + [
        Change(f, mine[f][0], other[f][0], True)
        for f, x, y in used
        if x == y and mine[f][0] != other[f][0]
    ]


def _settings(run: Run, alike: bool) -> dict[str, tuple[object, object]]:
    """Each setting as it is written, and as the run uses it: None where it does not."""
    config = TrainConfig.from_dict(run.info.get("train_config") or {})
    written = dict.fromkeys(KNOBS) | {f: v for f, v in config.to_dict().items() if f not in UNTOLD}
    written |= {
        "accumulation": config.accumulation_steps(),
        "pulse": run.info.get("pulse", 1),
        "base": run.info.get("base"),
    }
    unused = {"adamw": {"momentum"}, "sgd": {"betas", "eps"}}.get(
        config.optimizer, {"momentum", "betas", "eps"}
    )
    unused |= {"seed"} if config.order == "file" else set()
    if config.optimizer == "none":
        unused |= {
            "learning_rate",
            "schedule",
            "accumulation",
            "loss_average",
            "weight_decay",
            "grad_clip",
            "pulse",
        }
    used = written | ({"order": "shuffle"} if config.order == "shuffle_once" and alike else {})
    if config.loss_average == "tokens" or config.accumulation_steps() == 1:
        used |= {"loss_average": "tokens", "accumulation": None}
    return {f: (v, None if f in unused else used[f]) for f, v in written.items()}


def _listed(found: list[Change], language: str) -> str:
    """(order: file order → shuffled; batch size: 16 → 64)"""
    words = WORDS[language]

    def value(field: str, x: object) -> str:
        kind, _, size = str(x).partition(":")
        if field == "order":
            return (
                words["order:block"].format(k=size)
                if kind == "block"
                else say(language, f"order:{kind}", k=size)
            )
        if field == "pulse" and x != 1:
            return f"×{x}"
        return say(language, f"{KNOBS.get(field, field)}={f'{x:g}' if isinstance(x, float) else x}")

    name = lambda f: (
        words[f] if f in ("order", "base") else say(language, KNOBS[f]) if f in KNOBS else f
    )
    texts = [
        words["change"].format(field=name(c.field), a=value(c.field, c.a), b=value(c.field, c.b))
        for c in found
    ]
    return words["changes"].format(listed=words["; "].join(texts))


def _lead(change: Change, words: Mapping[str, str]) -> str:
    way = "up" if isinstance(change.a, int | float) and change.b > change.a else "down"
    keys = (
        f"lead:{change.field}={str(change.b).partition(':')[0]}",
        f"lead:{change.field}:{way}",
        f"lead:{change.field}",
        "lead",
    )
    return next(words[k] for k in keys if k in words)


def _note(m: Measures, key: str, name: str, words: Mapping[str, str]) -> str:
    shares = [h.share for h in m.heights.values() if h.share < 1] or [0]
    share = (
        f"{min(shares):.0%}"
        if min(shares) == max(shares)
        else f"{min(shares):.0%}–{max(shares):.0%}"
    )
    return words[key].format(
        name=name,
        steps=m.steps,
        planned=m.planned,
        window=WINDOW,
        at=m.held_out_at,
        share=share,
        harm=m.harm,
    )


def table(a: Run, b: Run, *, names: tuple[str, str] = ("A", "B"), language: str = "en") -> Table:
    """What two runs show, row by row, as plain text. Raises what `measure` raises."""
    words, notes, rows, measures, (cut, since, last) = (
        WORDS[language],
        [],
        [],
        (measure(a), measure(b)),
        _alike(a, b),
    )
    part, tallest, late = (
        words["met"].format(last=last),
        [_tallest(c, since) for c in cut],
        "last" in [m.notes.get("held_out") for m in measures],
    )
    unlike = (
        dict.fromkeys(("base_loss", "events", "score"), part)
        if measures[0].seen != measures[1].seen
        else {}
    )
    unlike |= (
        dict.fromkeys(("held_out", "held_out_odd"), part)
        if late and measures[0].held_out_at != measures[1].held_out_at
        else {}
    )
    unlike |= (
        dict.fromkeys(("events", "score"), words["batch"])
        if "batch_size" in [c.field for c in changes(a, b)]
        else {}
    )
    if tallest != [m.tallest for m in measures]:
        unlike["tallest"] = (
            part if None in tallest else words["range"].format(first=since, last=last)
        )

    def marked(text: str, note: str | None) -> str:
        notes.extend([note] if note and note not in notes else [])
        return f"{text} [{notes.index(note) + 1}]" if note else text

    def add(
        label: str, field: str, values: list[float | None], form: str, texts: list[str]
    ) -> None:
        keys = [m.notes.get(field) for m in measures]
        cells = [
            marked(t, k and _note(m, k, x, words))
            for t, k, m, x in zip(texts, keys, measures, "AB")
        ]
        compared = tallest if field == "tallest" else [None] if field in unlike else values
        difference = DASH if None in compared else f"{compared[1] - compared[0]:+z{form}}"
        rows.append(
            (label, *cells, marked(difference, None if None in values else unlike.get(field)))
        )

    for field, form in FORMATS.items():
        for s in shipped.segments() if field == "tallest" else ():
            found = [m.heights.get(s) for m in measures]
            add(
                words["height"].format(
                    domain=say(language, f"domain:{s.domain}"), rows=s.stop - s.start
                ),
                f"height:{s.start}",
                [h and h.height for h in found],
                ".2f",
                [f"{h.height:+z.2f} z {h.z:.1f}{'*' * h.flagged}" if h else DASH for h in found],
            )
        values = [getattr(m, field) for m in measures]
        texts = [
            DASH if v is None else f"{'≥ ' * (m.notes.get(field) == 'open')}{v:{form}}"
            for v, m in zip(values, measures)
        ]
        add(
            words[field].format(window=WINDOW, sigma=N_SIGMA),
            field,
            values,
            form.removeprefix("+z"),
            texts,
        )
    return Table(
        (
            words["measure"],
            *(words["run"].format(letter=x, name=n) for x, n in zip("AB", names)),
            words["difference"],
        ),
        rows,
        notes,
    )


def page(runs: Mapping[str, Run], *, language: str = "en") -> str:
    """Sentence, table and notes on exactly two runs, by name, as HTML. Raises `ValueError` for another number, or a run without a step."""
    words, names, text = WORDS[language], tuple(runs), html.escape
    if len(runs) != 2:
        raise ValueError(f"a comparison is of two runs, got {len(runs)}: {', '.join(names)}.")
    if empty := [name for name, run in runs.items() if not run]:
        raise ValueError(f"no step yet, so nothing to compare: {', '.join(empty)}; run it first.")
    found, told = (
        table(*runs.values(), names=names, language=language),
        sentence(*runs.values(), names=names, language=language),
    )
    cell = "padding:3px 10px;border-bottom:1px solid rgba(128,128,128,.35);font-variant-numeric:tabular-nums"
    head = "".join(
        f'<th scope="col" style="{cell};text-align:{"right" if i else "left"};overflow-wrap:anywhere;max-width:16em">{text(h)}</th>'
        for i, h in enumerate(found.head)
    )
    data = lambda cells: "".join(
        f'<td style="{cell};text-align:right;white-space:nowrap">{text(c)}</td>' for c in cells
    )
    rows = "".join(
        f'<tr style="background:rgba(128,128,128,{0.1 * (i % 2):g})"><th scope="row" style="{cell};text-align:left;font-weight:normal">'
        f"{text(label)}</th>{data(cells)}</tr>"
        for i, (label, *cells) in enumerate(found.rows)
    )
    notes = "".join(f"<div>[{i}] {text(note)}</div>" for i, note in enumerate(found.notes, 1))
    return (
        f'<div lang="{"zh-CN" if language == "zh" else "en"}" style="color:inherit;font-size:14px;line-height:1.5;overflow-x:auto">'
        f'<p style="font-size:16px;max-width:60em;overflow-wrap:anywhere">{text(told)}</p>'
        '<table style="border-collapse:collapse;color:inherit;font-size:14px"><caption style="caption-side:top;text-align:left;color:inherit;'
        f'font-size:13px;padding:4px 0">{text(words["caption"].format(window=WINDOW, z=THRESHOLD, least=MIN_HEIGHT))}</caption>'
        f'<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><div style="font-size:13px;margin:6px 0">{notes}</div></div>'
    )


def sentence(a: Run, b: Run, *, names: tuple[str, str] = ("A", "B"), language: str = "en") -> str:
    """What was changed from `a` to `b`, and what it did, in plain text. Raises what `measure` raises."""
    words, found = WORDS[language], changes(a, b)
    number = lambda n: (words["numbers"].split() + [str(n)] * n)[n]
    matter, idle = ([c for c in found if c.idle is kind] for kind in (False, True))
    body, *notes = _effects((a, b), [words["quote"].format(name=n) for n in names], words, number)
    if matter:
        listed, n = _listed(matter, language), number(len(matter)).capitalize()
        first = [
            words["one" if len(matter) == 1 else "several"].format(
                lead=_lead(matter[0], words), n=n, changes=listed, body=body
            )
        ]
        first += [words["idle"].format(changes=_listed(idle, language))] if idle else []
    else:
        both = list(zip(a.records, b.records))
        gap = max(
            abs(x.loss - y.loss) if np.array_equal(x.rows, y.rows) else np.inf for x, y in both
        )
        close = words["gap" if gap else "gap=0"].format(
            n=len(both),
            gap=np.format_float_positional(gap, precision=1, fractional=False, trim="-"),
        )
        first = [
            words["idle alone" if idle else "equal"].format(
                changes=_listed(idle, language), gap=close if gap < ROUNDING else ""
            )
        ]
        first, notes = (
            (first, []) if gap < ROUNDING else ([*first, words["also"].format(body=body)], notes)
        )
    notes += [words["batch"]] if "batch_size" in [c.field for c in found] else []
    return words["next"].join([*first, *notes])


def _alike(a: Run, b: Run) -> tuple[list[Run], int, int]:
    """Both runs, cut to the conversations that both have met; after how many of these both can judge; how many these are."""
    last = int(min(_seen(a)[-1], _seen(b)[-1]))
    cut = [
        Run(r.info, tuple(x for x, seen in zip(r.records, _seen(r)[1:]) if seen <= last))
        for r in (a, b)
    ]
    return cut, max(int(_seen(c)[min(WINDOW, len(c))]) for c in cut), last


def _effects(
    runs: tuple[Run, Run], names: list[str], words: Mapping[str, str], number: Callable[[int], str]
) -> list[str]:
    """The body of a sentence, and sentences to go after it: of conversations that both runs have met and can judge."""
    countable = len(runs[0].records[0].rows) == len(
        runs[1].records[0].rows
    )  # what is found rests on the noise, and that on the batch
    measures, (cut, since, last) = [measure(r) for r in runs], _alike(*runs)
    notes = [_note(m, "stopped", n, words) for n, m in zip(names, measures) if m.steps < m.planned]
    if not all(map(len, cut)):
        return [words["nothing"], *notes]
    both = [m if len(c) == m.steps else measure(c) for m, c in zip(measures, cut)]
    tallest, told, unsure = [_tallest(c, since) for c in cut], [], []
    if None not in tallest:
        events, noise = (
            [sum(_seen(c)[e.stop - 1] >= since for e in spikes.find(c.loss)) for c in cut],
            max(m.noise for m in both),
        )
        text, small = _change("step", words["step"], tallest, (END_Z * noise, MIN_HEIGHT), words)
        kind, counts = (
            "both" if events[0] == events[1] else "found",
            dict(zip("ab", map(number, events))),
        )
        found = (
            [words[kind if events[1] > 1 else f"{kind}={events[1]}"].format(**counts)]
            if countable
            else []
        )
        told, unsure = [words["and"].join([text, *found])], [small]
        if (tallest, events) != ([m.tallest for m in measures], [m.events for m in measures]):
            notes.append(words["range"].format(first=since, last=last))
    elif both != measures:
        notes.append(words["met"].format(last=last))
    levels = [
        _change("level", what, pair, (0, CLEAR), words)
        for what, pair in _levels(measures, both, words)
        if None not in pair
    ]
    told += [words["and"].join(text for text, _ in levels)] if levels else []
    notes += [
        _note(m, m.notes["noise"], n, words) for n, m in zip(names, measures) if "noise" in m.notes
    ]  # too few steps, or odd rows in the first
    notes += [_note(m, "hurt", n, words) for n, m in zip(names, measures) if (m.harm or 0) >= HARM]
    notes.append(words["hedge" if any([*unsure, *(small for _, small in levels)]) else "alone"])
    return [words["while"].join(told) or words["nothing"], *notes]


def _change(
    kind: str, what: str, values: list[float], limits: tuple[float, float], words: Mapping[str, str]
) -> tuple[str, bool]:
    """That something fell, rose or is the same, and whether it differs, but less than one run each could show; limits in nats."""
    (a, b), (same, clear) = values, limits
    small = abs(b - a) < max(same, clear) and f"{a:.2f}" != f"{b:.2f}"
    way = "same" if f"{a:.2f}" == f"{b:.2f}" or abs(b - a) < same else "fell" if b < a else "rose"
    return words[f"{kind} {way}"].format(
        what=what, a=a, b=b, little=words["little"] if small else ""
    ), small


def _levels(
    measures: list[Measures], both: list[Measures], words: Mapping[str, str]
) -> list[tuple[str, list[float | None]]]:
    """Held-out losses at the end, or where both were measured; without them, the training loss of the Chinese rows."""
    (a, b), whole = (
        measures,
        all(m.held_out is not None and "held_out" not in m.notes for m in measures),
    )
    if not whole:
        a, b = both
    if whole or (
        a.held_out_at and a.held_out_at == b.held_out_at and None not in (a.held_out, b.held_out)
    ):
        what = words["at" if not whole else "end" if a.seen == b.seen else "ends"].format(
            a=a.seen, b=b.seen, at=a.held_out_at
        )
        return [(what, [a.held_out, b.held_out]), (words["odd"], [a.held_out_odd, b.held_out_odd])]
    return [(words["training"], [a.base_loss, b.base_loss])]
