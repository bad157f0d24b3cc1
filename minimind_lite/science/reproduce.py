"""`reproduce`: the report's runs on the shipped data, and what their numbers say.

The same model, the same conversations, the same learning rate: once in file order, once with the
model frozen, and shuffled with several seeds. Experiments may read the ground truth of where the
segments lie; the instruments that they use do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from minimind_lite import segments, spikes
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.provenance import run_info
from minimind_lite.records import Run
from minimind_lite.rows import EncodedRows
from minimind_lite.science import bases, decomposition, laws, segment_metrics
from minimind_lite.science import store as stores
from minimind_lite.science.segment_metrics import SegmentSpike
from minimind_lite.segments import MAIN, Segment
from minimind_lite.spikes import SpikeEvent
from minimind_lite.trainer import mean_loss, train

PROBE_EVERY = 20  # steps; what it costs is measured by `bench`
RECORDED_SEEDS = 5
VARIANTS: Mapping[str, TrainConfig] = {  # as reported; its control; its cure
    "file": TrainConfig(order="file"),
    "frozen": TrainConfig(order="file", optimizer="none"),
    "shuffled": TrainConfig(order="shuffle"),
}
# Issue #173 scaled. There: batch 256 on one A800, 3 epochs, one line in 100 in the log. Here: the
# epochs, the schedule, file order, and a batch that is small against the segments. See lesson 03.
ISSUE_173 = {
    "as reported": TrainConfig(order="file", epochs=3),
    "shuffled": TrainConfig(order="shuffle", epochs=3),
}
# Where data/lab/ has these runs: table, variant, seed.
RECORDED: Mapping[str, tuple[str, str, int]] = {
    "file": ("runs", "default", 0),
    "frozen": ("frozen", "optimizer=none", 0),
    **{f"shuffled, seed {s}": ("runs", "order=shuffle", s) for s in range(RECORDED_SEEDS)},
    "3 epochs, as reported": ("runs", "epochs=3", 0),
    "3 epochs, shuffled": ("runs", "order=shuffle epochs=3", 0),
}

Progress = Callable[[str, int, int], None]  # (what runs, steps done, steps in all)


def no_progress(what: str, done: int, total: int) -> None:
    """No progress shown."""


def run_once(
    config: TrainConfig,
    *,
    model: str = "nano",
    data: EncodedRows | None = None,
    probes: Mapping[str, EncodedRows] | None = None,
    name: str = "run",
    progress: Progress = no_progress,
) -> Run:
    """One run from a base `model`; probes are also measured after the last step.

    `progress` is called after every step. Raises what `train` raises.
    """
    data = shipped.sft_rows(shipped.chat()) if data is None else data
    trained, records = bases.base_model(model), []
    total = config.total_steps(len(data))
    total = min(total, config.max_steps or total)
    for record in train(trained, data, config, probes=probes):
        records.append(record)
        progress(name, len(records), total)
    more = {
        "name": name,
        "base": model,
        "rows": len(data),
        "probes_after": {p: mean_loss(trained, rows) for p, rows in (probes or {}).items()},
    }
    return Run(run_info(trained, config, more=more), tuple(records))


def reproduce(
    *, model: str = "nano", seeds: int = 1, progress: Progress = no_progress
) -> dict[str, Run]:
    """File order, frozen, and shuffled with seeds 0 .. seeds-1, all from the same base model."""
    chat = shipped.chat()
    data, probes = shipped.sft_rows(chat), shipped.probes(chat)
    shuffled = {
        f"shuffled, seed {seed}": VARIANTS["shuffled"].replace(seed=seed) for seed in range(seeds)
    }
    plan = {"file": VARIANTS["file"], "frozen": VARIANTS["frozen"], **shuffled}
    return {
        name: run_once(
            config.replace(probe_every=PROBE_EVERY),
            model=model,
            data=data,
            probes=probes,
            name=name,
            progress=progress,
        )
        for name, config in plan.items()
    }


def recorded_run(name: str) -> Run:
    """A run that comes with the project, of nano: a name of `RECORDED`.

    Losses of conversations were stored with three digits, but for the frozen run. Raises
    `ValueError` for an unknown name.
    """
    if name not in RECORDED:
        raise ValueError(f"no recorded run {name!r}; recorded: {'; '.join(RECORDED)}.")
    run = stores.recorded("lab").get(*RECORDED[name]).run
    return Run({**run.info, "name": name}, run.records)


def recorded() -> dict[str, Run]:
    """What `reproduce` gives with five seeds, from the recorded runs."""
    return {name: recorded_run(name) for name in RECORDED if not name.startswith("3 epochs")}


def base_loss(run: Run) -> float:
    """Loss of the Chinese conversations of a run, each at its own step, in nats per token.

    Sums of steps are exact, while losses of conversations may be stored with three digits. So the
    off-domain rows are taken from the whole.
    """
    rows, losses, tokens = (
        np.concatenate([getattr(r, name) for r in run.records])
        for name in ("rows", "sample_losses", "sample_tokens")
    )
    off_domain = segments.off_domain(shipped.segments(), int(rows.max()) + 1)[rows]
    base_sum = (run.loss * run.column("tokens")).sum()
    base_sum -= laws.sum_losses(losses, tokens)[off_domain].sum()
    return laws.token_mean(base_sum, tokens[~off_domain])


@dataclass(frozen=True)
class Summary:
    """What one run shows: a row of the table of `reproduce`."""

    name: str
    steps: int
    base_loss: float  # nats
    spikes: dict[Segment, SegmentSpike]
    events: list[SpikeEvent]
    largest: tuple[float, float]  # largest height (nats) and z of any step with a full window
    probe_change: dict[str, float]  # nats, end minus start


def summarize(run: Run) -> Summary:
    """Read a run with the instruments."""
    base, first = spikes.baseline(run.loss), run.records[0].probes
    after = run.info.get("probes_after", {})
    return Summary(
        name=str(run.info.get("name", "")),
        steps=len(run),
        base_loss=base_loss(run),
        spikes={s: segment_metrics.at_rows(run, s.start, s.stop) for s in shipped.segments()},
        events=spikes.find(run.loss),
        largest=(segment_metrics.tallest_step(run), float(np.nanmax(base.z))),
        probe_change={probe: after[probe] - first[probe] for probe in after if probe in first},
    )


def table(summaries: list[Summary]) -> str:
    """The table of `reproduce`: heights in nats with z, an asterisk where the detector flags it."""
    head = [
        "order",
        "steps",
        "base loss",
        *(f"{segment.name} ({len(segment)})" for segment in summaries[0].spikes),
        "events",
        "probe change zh / off-domain",
    ]
    return aligned([head, *(_cells(summary) for summary in summaries)])


def terms_table(runs: Mapping[str, Run]) -> str:
    """What each spike is made of: the terms of "file" against "frozen", where segments start.

    And where they end, back in Chinese. In nats; rounded so that every row adds up.
    """
    listed = [vars(segment) for segment in shipped.segments()]
    trained, frozen = (
        Run({**runs[name].info, "segments": listed}, runs[name].records)
        for name in ("file", "frozen")
    )
    rows = [["boundary", "height", "= unfamiliar", "+ transferred", "+ specialized"]]
    for boundary in decomposition.at_boundaries(trained, frozen):
        name = f"{boundary.name} (row {boundary.after.start})"
        values = astuple(boundary.terms.rounded())
        rows.append([name, *(f"{value:+z.2f}" for value in values)])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:]))
        lines.append("  ".join([name.ljust(widths[0]), *right]))
    return "\n".join(lines)


def _cells(summary: Summary) -> list[str]:
    heights = [
        f"{spike.height:+.2f} z{spike.z:5.1f}{'*' if spike.flagged else ' '}"
        for spike in summary.spikes.values()
    ]
    change = "not measured"
    if MAIN in summary.probe_change:
        others = [v for probe, v in summary.probe_change.items() if probe != MAIN]
        change = f"{summary.probe_change[MAIN]:+.2f} / {np.mean(others):+.2f}"
    return [
        summary.name,
        str(summary.steps),
        f"{summary.base_loss:.3f}",
        *heights,
        str(len(summary.events)),
        change,
    ]
