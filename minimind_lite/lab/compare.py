"""Two runs side by side: a table of what each shows, and the settings that differ.

Both are read over the conversations that both have trained on. What can't be known (too few
steps, no probes) is a dash. One sentence says what two runs can't say; it is always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.lab.curves import describe_order
from minimind_lite.lab.i18n import TEXTS, option, say
from minimind_lite.lab.templates import render
from minimind_lite.records import Run
from minimind_lite.science import reproduce, segment_metrics
from minimind_lite.science.segment_metrics import SegmentSpike
from minimind_lite.segments import MAIN, domain_name

DASH = "–"
NOT_COMPARED = ("micro_batch_size", "max_steps", "probe_every", "token_budget")
FORMATS: Mapping[str, str] = {  # rows of the table below the heights
    "tallest": "+.2f",
    "events": ",.0f",
    "noise": ".3f",
    "base_loss": ".3f",
    "held_out": ".3f",
    "held_out_off_domain": ".3f",
    "samples": ",.0f",
    "steps": ",.0f",
}


class Table(NamedTuple):
    """A comparison as plain text: measure, run A, run B, B − A."""

    head: tuple[str, str, str, str]
    rows: list[tuple[str, str, str, str]]


def differing_settings(a: Run, b: Run) -> dict[str, tuple[object, object]]:
    """Settings of `TrainConfig`, accumulation, pulse and base model that two runs differ in."""
    mine, theirs = _settings(a), _settings(b)
    return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


def _settings(run: Run) -> dict[str, object]:
    config = TrainConfig.from_dict(run.info.get("train_config") or {})
    settings: dict[str, object] = {
        name: value for name, value in config.to_dict().items() if name not in NOT_COMPARED
    }
    return settings | {
        "accumulation_steps": config.accumulation_steps(),
        "pulse": run.info.get("pulse", 1),
        "base": run.info.get("base"),
    }


def common_part(a: Run, b: Run) -> tuple[Run, Run]:
    """Both runs, cut to the conversations that both have trained on."""
    samples = min(_samples(a), _samples(b))
    return _first(a, samples), _first(b, samples)


def _first(run: Run, samples: int) -> Run:
    records = tuple(r for r in run.records if r.samples_seen + len(r.rows) <= samples)
    if len(records) == len(run):
        return run
    info = {name: value for name, value in run.info.items() if name != "probes_after"}
    return Run(info, records)


def _samples(run: Run) -> int:
    """Conversations that a run has trained on."""
    if not run.records:
        return 0
    return run.records[-1].samples_seen + len(run.records[-1].rows)


def measure(run: Run) -> dict[str, float]:
    """What one run shows, by row of the table; a number that can't be known is left out."""
    values: dict[str, float] = {"samples": _samples(run), "steps": len(run)}
    if len(run) > spikes.WINDOW:
        baseline = spikes.baseline(run.loss)
        values["tallest"] = float(np.nanmax(run.loss - baseline.median))
        values["noise"] = float(np.nanmedian(baseline.sigma))
        values["events"] = len(spikes.find(run.loss))
    if run.records:
        values["base_loss"] = reproduce.base_loss(run)
    probes = [r.probes for r in run.records if r.probes]
    last = run.info.get("probes_after") or (probes[-1] if probes else {})
    if last:
        values["held_out"] = last[MAIN]
        off_domain_losses = [loss for name, loss in last.items() if name != MAIN]
        values["held_out_off_domain"] = float(np.mean(off_domain_losses))
    return {name: value for name, value in values.items() if np.isfinite(value)}


def table(a: Run, b: Run, *, names: tuple[str, str] = ("A", "B"), language: str = "en") -> Table:
    """What two runs show over the conversations that both have trained on, row by row."""

    def text(key: str, **values: object) -> str:
        return say(language, f"compare.{key}", **values)

    runs = common_part(a, b)
    letters = zip("AB", names)
    first, second = (text("run", letter=x, name=n) for x, n in letters)
    rows = list(_heights(*runs, text=text, language=language))
    measures = [measure(run) for run in runs]
    for name, form in FORMATS.items():
        values = [m.get(name) for m in measures]
        rows.append(_row(text(name), values, form, [_cell(v, form) for v in values]))
    return Table((text("measure"), first, second, text("difference")), rows)


def _heights(
    a: Run, b: Run, *, text: Callable[..., str], language: str
) -> list[tuple[str, str, str, str]]:
    """A row per segment: height and z in both runs, with * where the detector flags a spike."""
    rows = []
    for segment in shipped.segments():
        heights: list[SegmentSpike | None] = []
        for run in (a, b):
            try:
                heights.append(segment_metrics.at_rows(run, segment.start, segment.stop))
            except ValueError:  # not trained on, or before the baseline's window is full
                heights.append(None)
        cells = [f"{h.height:+.2f} z {h.z:.1f}{'*' * h.flagged}" if h else DASH for h in heights]
        name = domain_name(segment.domain, language)
        label = text("height", domain=name, rows=len(segment))
        rows.append(_row(label, [h.height if h else None for h in heights], "+.2f", cells))
    return rows


def _row(
    label: str, values: list[float | None], form: str, cells: list[str]
) -> tuple[str, str, str, str]:
    first, second = values
    difference = DASH
    if first is not None and second is not None:
        difference = f"{second - first:+{form.removeprefix('+')}}"
    return label, cells[0], cells[1], difference


def _cell(value: float | None, form: str) -> str:
    return DASH if value is None else f"{value:{form}}"


def comparison_page(
    a: Run, b: Run, *, names: tuple[str, str] = ("A", "B"), language: str = "en"
) -> str:
    """The differing settings, the table and the fixed caveat, as HTML."""
    changes = [
        say(language, "compare.change", setting=_name(n, language), a=_value(n, x, language),
            b=_value(n, y, language))
        for n, (x, y) in differing_settings(a, b).items()
    ]  # fmt: skip
    values = {
        "changes": changes,
        "table": table(a, b, names=names, language=language),
        "window": spikes.WINDOW,
        "samples": min(_samples(a), _samples(b)),
        "cut": _samples(a) != _samples(b),
    }
    return render("comparison.html", language, values)


def _name(setting: str, language: str) -> str:
    """What a setting is called; one that the panel lacks keeps its name in `TrainConfig`."""
    texts = TEXTS[language]
    key = f"compare.{setting}" if setting in ("order", "base") else f"setting.{setting}"
    return texts.get(key, setting)


def _value(setting: str, value: object, language: str) -> str:
    if setting == "order":
        return describe_order(str(value), language)
    return option(language, setting, value)
