"""The robust z of `spikes` against the permutation detector, on series whose truth is known.

A shuffled series has no segment, so every event in it is a false alarm. A planted one is a shuffled
series with an excess on consecutive rows. A recorded run has the segments of its file; in a file of
whole blocks those count whose first ROWS rows are higher than what comes before. A segment is hit
where an event starts within one batch of the first batch that holds a row of it. An event that
starts in no segment, nor a batch beside one, is a false alarm. What comes out is in
data/detectors.json; `record` makes it.

It says which judges what. z needs nothing but a log, and shows that a curve jumped, by one very
hard row too, which the other leaves alone on purpose: this is the detector to teach with. Where
losses of conversations are recorded the permutation detector judges better. It flags more segments
in every kind of recorded run, those in the first 30 steps and those longer than z's window among
them. It says where they end. At most a share RATE of the runs has a false alarm, whatever the
tails; with heavy ones z raises several hundred times as many. Neither flags half a batch at
+0.6 nats, but for 1 in 200.

    N conversations of a series   steps batches of it
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minimind_lite import segments, spikes
from minimind_lite.files import shipped
from minimind_lite.files.provenance import environment
from minimind_lite.records import Run
from minimind_lite.science import evidence, permutation
from minimind_lite.science.experiments import EXPERIMENTS
from minimind_lite.science.permutation import Batches

SHUFFLES = 200  # of every frozen run, and planted series of each kind
BATCH = 16  # conversations
ROWS = 16  # at the start of a block, against ten times as many before it
LONG = 1049  # steps of a log-normal series, as of a file of 16,784 conversations


Places = tuple[tuple[int, int], ...]
Truth = tuple[Places, tuple[bool, ...], int]  # of a series: segments, which are rising, steps


@dataclass(frozen=True, eq=False)
class Series:
    """A series and its truth."""

    batches: Batches
    segments: Places = ()  # first and last batch of each
    rising: tuple[bool, ...] = ()  # which of them a detector must flag


@dataclass(frozen=True)
class Row:
    """How one detector did on all series of a kind."""

    series: str
    detector: str  # "z" or "permutation"
    runs: int
    steps: int  # of all of them
    segments: int  # to flag
    hits: int  # flagged within one batch of the start
    delay: float | None  # batches from the start to the first event, mean over flagged segments
    false_alarms: int
    runs_with_alarms: int

    @property
    def hit_share(self) -> float:
        """Hits in 100 segments; NaN where there is none to flag."""
        return 100 * self.hits / self.segments if self.segments else float("nan")

    @property
    def alarms_per_1000(self) -> float:
        """False alarms per 1,000 steps."""
        return 1000 * self.false_alarms / self.steps


def starts_by_z(batches: Batches) -> list[int]:
    """Where `spikes` starts events; none where its window is never full."""
    if len(batches) <= spikes.WINDOW:
        return []
    losses = [batches.mean(step, step + 1) for step in range(len(batches))]
    return [event.start for event in spikes.find(losses)]


def starts_by_permutation(batches: Batches) -> list[int]:
    """Where the permutation detector starts events."""
    return [event.start for event in permutation.judge(batches).events]


DETECTORS: Mapping[str, Callable[[Batches], list[int]]] = {
    "z": starts_by_z,
    "permutation": starts_by_permutation,
}


def compare(series: Mapping[str, Iterable[Series]]) -> list[Row]:
    """Both detectors on every kind of series, a row each."""
    rows = []
    for name, several in series.items():
        truths, starts = [], []
        for one in several:
            truths.append((one.segments, one.rising, len(one.batches)))
            starts.append([judge(one.batches) for judge in DETECTORS.values()])
        for detector, by_run in zip(DETECTORS, zip(*starts)):
            rows.append(_row(name, detector, truths=truths, starts=by_run))
    return rows


def _row(
    series: str, detector: str, *, truths: Sequence[Truth], starts: Sequence[list[int]]
) -> Row:
    alarms = [_false_alarms(truth[0], at) for truth, at in zip(truths, starts)]
    delays = [delay for truth, at in zip(truths, starts) for delay in _delays(truth, at)]
    return Row(
        series=series,
        detector=detector,
        runs=len(truths),
        steps=sum(steps for _, _, steps in truths),
        segments=sum(sum(rising) for _, rising, _ in truths),
        hits=sum(abs(delay) <= 1 for delay in delays),
        delay=float(np.mean(delays)) if delays else None,
        false_alarms=sum(alarms),
        runs_with_alarms=sum(n > 0 for n in alarms),
    )


def _delays(truth: Truth, starts: list[int]) -> list[int]:
    """Batches from the start of each segment to the first event that starts in it."""
    delays = []
    for (first, last), rising in zip(truth[0], truth[1]):
        inside = [start - first for start in starts if first - 1 <= start <= last]
        delays += inside[:1] if rising else []
    return delays


def _false_alarms(places: Places, starts: list[int]) -> int:
    return sum(not any(a - 1 <= start <= b + 1 for a, b in places) for start in starts)


# Series


def shuffled(batches: Batches, shuffles: int, *, seed: int = 0) -> Iterator[Series]:
    """The rows of a frozen run in random orders, cut into batches anew."""
    rng = np.random.default_rng(seed)
    for _ in range(shuffles):
        order = rng.permutation(len(batches.losses))
        yield Series(Batches(batches.losses[order], batches.tokens[order], batches.sizes))


def planted(
    several: Iterable[Series], *, rows: int, excess: float, within: int | None = None, seed: int = 0
) -> Iterator[Series]:
    """Series with `excess` nats more on so many consecutive rows, in batches 1 .. within-1."""
    rng = np.random.default_rng(seed)
    for series in several:
        batches, edges = series.batches, series.batches.edges
        start = int(rng.integers(edges[1], edges[within or len(batches)] - rows))
        losses = batches.losses.copy()
        losses[start : start + rows] += excess
        place = np.searchsorted(edges, [start, start + rows - 1], side="right") - 1
        touched = (int(place[0]), int(place[1]))
        yield Series(Batches(losses, batches.tokens, batches.sizes), (touched,), (True,))


def log_normal(steps: int, runs: int, *, seed: int = 0) -> Iterator[Series]:
    """Independent rows with heavy tails, as in a stranger's file: losses and tokens log-normal."""
    rng, n = np.random.default_rng(seed), steps * BATCH
    for _ in range(runs):
        tokens = np.clip(rng.lognormal(4, 1, n), 1, 500).astype(int)
        yield Series(Batches(rng.lognormal(1, 0.5, n), tokens, np.full(steps, BATCH)))


def of_run(run: Run) -> Series:
    """A recorded pass in file order, with the segments of its file."""
    batches = permutation.batches_of(run)
    blocks = [s for s in segments.of_run(run) if s.start > 0]
    whole = run.info.get("family") == "blocks"
    return Series(
        batches,
        tuple((s.start // BATCH, (s.stop - 1) // BATCH) for s in blocks),
        tuple(not whole or _rise(batches, s.start) >= spikes.MIN_HEIGHT for s in blocks),
    )


def _rise(batches: Batches, row: int) -> float:
    """Token mean of the first rows of a block minus that of the rows before it, nats."""
    after, before = slice(row, row + ROWS), slice(max(row - 10 * ROWS, 0), row)
    means = [
        float(np.average(batches.losses[part], weights=batches.tokens[part]))
        for part in (after, before)
    ]
    return means[0] - means[1]


# What is recorded


def record(path: Path, *, shuffles: int = SHUFFLES) -> None:
    """Compare the detectors on all that is recorded, and write the rows there as JSON.

    With 200 shuffles it takes about five minutes on one core.
    """
    rows = compare(all_series(shuffles))
    content = {"environment": environment(), "shuffles": shuffles, "rows": list(map(asdict, rows))}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def recorded() -> list[Row]:
    """What comes with the project: data/detectors.json."""
    text = (shipped.folder() / "detectors.json").read_text(encoding="utf-8")
    return [Row(**row) for row in json.loads(text)["rows"]]


def all_series(shuffles: int) -> dict[str, Iterable[Series]]:
    """The series of the comparison, by name."""
    mixed, blocks, short = (_trials(experiment) for experiment in ("E1", "E17", "E18"))
    frozen = [run for name, run in mixed if "frozen" in name]
    each = math.ceil(shuffles / len(frozen))

    def plain() -> Iterator[Series]:
        return _shuffled(frozen, each)

    def heavy(runs: int, steps: int = LONG) -> Iterator[Series]:
        return log_normal(steps, runs)

    series: dict[str, Iterable[Series]] = {}
    for name, runs in (("mixed files", mixed), ("long blocks", blocks), ("short blocks", short)):
        still = [run for variant, run in runs if "frozen" in variant]
        random = [run for variant, run in runs if "shuffled" in variant]
        series[f"{name}, frozen, shuffled"] = _shuffled(still, shuffles)
        if random:
            passes = [Series(permutation.batches_of(run)) for run in random]
            series[f"{name}, trained, shuffled"] = passes
        series[f"{name}, frozen"] = map(of_run, still)
        series[f"{name}, trained"] = [of_run(run) for variant, run in runs if "file" in variant]
    series["log-normal rows, shuffled"] = heavy(shuffles)
    for rows in (8, 64, 256, 640):
        series[f"planted {rows} rows, +0.6 nats"] = planted(plain(), rows=rows, excess=0.6)
    return series | {
        "planted 64 rows, +0.3 nats": planted(plain(), rows=64, excess=0.3),
        "planted 64 rows in the first 30 steps, +0.6 nats": planted(
            plain(), rows=64, excess=0.6, within=spikes.WINDOW
        ),
        "planted 64 log-normal rows, +4 nats": planted(heavy(shuffles, 139), rows=64, excess=4),
        "planted a single row, +20 nats": planted(plain(), rows=1, excess=20),
    }


def _shuffled(runs: Sequence[Run], shuffles: int) -> Iterator[Series]:
    for seed, run in enumerate(runs):
        yield from shuffled(permutation.batches_of(run), shuffles, seed=seed)


def _trials(experiment: str) -> list[tuple[str, Run]]:
    """Passes with the names of their variants: frozen, in file order, shuffled."""
    records = evidence.recorded()
    names = [variant.name for variant in EXPERIMENTS[experiment].variants]
    return [
        (name, records.trial(experiment, name, seed).run)
        for name in names
        if any(kind in name for kind in ("file", "frozen", "shuffled"))
        for seed in records.store.seeds(experiment, name)
    ]
