"""Named experiments on the shipped data: what to run, and what the numbers say.

`reproduce` is the first: the same model, the same conversations, the same learning rate, once
in file order, once with the model frozen, and shuffled with several seeds. Experiments may read
the ground truth of where the odd segments lie; the instruments that they use do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minimind_lite import spikes
from minimind_lite.chat import EncodedRows
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.records import Run
from minimind_lite.trainer import describe, mean_loss, train

PROBE_EVERY = 20  # steps; what it costs is measured by `bench`
RECORDED_SEEDS = 5
VARIANTS: Mapping[str, TrainConfig] = {  # as reported; its control; its cure
    "file": TrainConfig(order="file"),
    "frozen": TrainConfig(order="file", optimizer="none"),
    "shuffled": TrainConfig(order="shuffle"),
}
# Issue #173 scaled. There: batch 256 on one A800, 3 epochs, one line in 100 in the log. Kept here: the
# epochs, the schedule, file order, and a batch that is small against the segments. See lesson 03.
ISSUE_173 = {
    "as reported": TrainConfig(order="file", epochs=3),
    "shuffled": TrainConfig(order="shuffle", epochs=3),
}

Progress = Callable[[str, int, int], None]  # (what runs, steps done, steps in all)


def quiet(what: str, done: int, total: int) -> None:
    """No progress shown."""


def run_once(
    config: TrainConfig,
    *,
    model: str = "nano",
    data: EncodedRows | None = None,
    probes: Mapping[str, EncodedRows] | None = None,
    name: str = "run",
    progress: Progress = quiet,
) -> Run:
    """One run from the shipped base `model`; probes, where given, are also measured after the last step.

    `progress` is called after every step. Raises what `train` raises.
    """
    data = shipped.sft_rows(shipped.chat()) if data is None else data
    net, total, records = shipped.base_model(model), config.total_steps(len(data)), []
    total = min(total, config.max_steps or total)
    for record in train(net, data, config, probes=probes):
        records.append(record)
        progress(name, len(records), total)
    after = {p: mean_loss(net, rows) for p, rows in (probes or {}).items()}
    return Run(
        describe(net, config, name=name, base=model, rows=len(data)) | {"probes_after": after},
        tuple(records),
    )


def odd_rows(n_rows: int) -> np.ndarray:
    """True where a row of the SFT file belongs to an odd segment (ground truth), (n_rows,)."""
    member = np.zeros(n_rows, bool)
    for segment in shipped.segments():
        member[segment.start : segment.stop] = True
    return member


def base_loss(run: Run) -> float:
    """Loss of the Chinese conversations of a run, each at its own step, in nats per token (ground truth)."""
    rows, losses, tokens = (
        np.concatenate([getattr(r, k) for r in run.records])
        for k in ("rows", "sample_losses", "sample_tokens")
    )
    chinese = ~odd_rows(int(rows.max()) + 1)[rows] & (tokens > 0)
    return float((losses * tokens)[chinese].sum() / tokens[chinese].sum())


@dataclass(frozen=True)
class Summary:
    """What one run shows: a row of the table of `reproduce`."""

    name: str
    steps: int
    base_loss: float  # nats
    spikes: dict[shipped.Segment, spikes.SegmentSpike]
    events: list[spikes.SpikeEvent]
    largest: tuple[float, float]  # largest height (nats) and z of any step with a full window
    probe_change: dict[str, float]  # nats, end minus start


def summarise(run: Run) -> Summary:
    """Read a run with the instruments."""
    base = spikes.baseline(run.loss)
    found = {s: spikes.at_rows(run, s.start, s.stop) for s in shipped.segments()}
    first = run.records[0].probes
    change = {
        p: after - first[p] for p, after in run.info.get("probes_after", {}).items() if p in first
    }
    largest = (float(np.nanmax(run.loss - base.median)), float(np.nanmax(base.z)))
    return Summary(
        str(run.info.get("name", "")),
        len(run),
        base_loss(run),
        found,
        spikes.find(run.loss),
        largest,
        change,
    )


def _plan(seeds: int) -> dict[str, TrainConfig]:
    """The runs of `reproduce`, by the names that table, progress and folders give them."""
    return {
        "file": VARIANTS["file"],
        "frozen": VARIANTS["frozen"],
        **{f"shuffled, seed {s}": VARIANTS["shuffled"].replace(seed=s) for s in range(seeds)},
    }


def reproduce(*, model: str = "nano", seeds: int = 1, progress: Progress = quiet) -> dict[str, Run]:
    """File order, frozen, and shuffled with seeds 0 .. seeds-1, all from the same base model."""
    chat = shipped.chat()
    data, probes = shipped.sft_rows(chat), shipped.probes(chat)
    return {
        name: run_once(
            config.replace(probe_every=PROBE_EVERY),
            model=model,
            data=data,
            probes=probes,
            name=name,
            progress=progress,
        )
        for name, config in _plan(seeds).items()
    }


def table(summaries: list[Summary]) -> str:
    """The table of `reproduce`, as text: heights in nats with z, an asterisk where the detector flags it."""
    segments = list(summaries[0].spikes)
    head = [
        "order",
        "steps",
        "base loss",
        *(f"{s.name} ({s.stop - s.start})" for s in segments),
        "events",
        "probe change zh / odd",
    ]
    rows = [head]
    for s in summaries:
        cells = [
            f"{h.height:+.2f} z{h.z:5.1f}{'*' if h.flagged else ' '}" for h in s.spikes.values()
        ]
        odd = [v for k, v in s.probe_change.items() if k != "zh"]
        change = f"{s.probe_change['zh']:+.2f} / {np.mean(odd):+.2f}" if odd else "not measured"
        rows.append(
            [s.name, str(s.steps), f"{s.base_loss:.3f}", *cells, str(len(s.events)), change]
        )
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(r, widths))
        )
        for r in rows
    )


def recorded() -> dict[str, Run]:
    """What `reproduce` gives, from the recorded runs (nano, five shuffle seeds)."""
    return {name: shipped.recorded_run(_folder_name(name)) for name in _plan(RECORDED_SEEDS)}


def _folder_name(name: str) -> str:
    return f"nano-{name.replace(', seed ', '-')}"


def record(folder: Path, *, progress: Progress = quiet) -> None:
    """Record the runs that lessons and README show, under `folder` (nano; five shuffle seeds; three epochs)."""
    for name, run in reproduce(seeds=RECORDED_SEEDS, progress=progress).items():
        run.save(folder / _folder_name(name))
    chat = shipped.chat()
    data, probes = shipped.sft_rows(chat), shipped.probes(chat)
    for name, config in ISSUE_173.items():
        run = run_once(
            config.replace(probe_every=PROBE_EVERY),
            data=data,
            probes=probes,
            name=f"3 epochs, {name}",
            progress=progress,
        )
        run.save(folder / f"nano-3epochs-{name.replace(' ', '-')}")
