"""Each law beside what a simulation and the recorded runs say of it: numbers, ready to be drawn or compared.

A `Check` holds the law as a curve, a simulation that only counts, and the measurement of every seed
with the law's value for that very seed, so that what a layout adds to both drops out of their
difference. Measured are recorded batches, or rows of a frozen model's record cut anew; nothing is
trained here. `figures_laws` draws them.

    N rows of a file   B conversations of a batch   L rows of a segment   K rows of a buffer or of a micro-batch
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite import order
from minimind_lite.files.shipped import Segment
from minimind_lite.records import Run
from minimind_lite.science import laws, segment_metrics
from minimind_lite.science.procedures import segment_name
from minimind_lite.science.trials import Trial

BATCHES = (2, 4, 8, 16, 32, 64, 128, 256)
DRAWS = 256  # re-binned orders behind a measured height, more for small batches, so that 4096 rows at least are in
SHUFFLES = 100  # behind a simulated share or dispersion
TINY = 32  # rows; shorter segments are a question of their own


@dataclass(frozen=True, eq=False)
class Check:
    """One quantity by law, by simulation and by measurement."""

    unit: str
    x: np.ndarray  # (n,) places of the law's curve
    law: np.ndarray  # (n,) mean over the seeds
    sim_x: np.ndarray  # (k,) places of the simulation
    simulated: np.ndarray  # (k,)
    at: np.ndarray  # (m,) places of the measurement
    law_at: np.ndarray  # (seeds, m) the law for each seed's own rows
    measured: np.ndarray  # (seeds, m)

    @property
    def difference(self) -> np.ndarray:
        """Measured minus law, seed by seed (seeds, m)."""
        return self.measured - self.law_at


@dataclass(frozen=True, eq=False)
class FileRows:
    """A run's rows in file order."""

    losses: np.ndarray  # (N,) nats, each at its own step
    tokens: np.ndarray  # (N,) supervised
    odd: np.ndarray  # (N,) bool, of any segment


def file_rows(run: Run) -> FileRows:
    """The first epoch of a run, sorted back into file order. Raises `ValueError` where a row was left out or met twice."""
    rows, losses, tokens = segment_metrics.sorted_back(run)
    if not np.array_equal(rows, np.arange(len(rows))):
        raise ValueError(
            f"every row must be met once, got {len(rows)} rows, {len(np.unique(rows))} different; take a plain pass."
        )
    return FileRows(losses, tokens, segment_metrics.odd_rows(run, len(rows)))


def large(run: Run) -> dict[str, Segment]:
    """The run's segments of more than TINY rows, by name, longest last."""
    found = sorted(
        (s for s in segment_metrics.segments(run) if s.stop - s.start > TINY),
        key=lambda s: s.stop - s.start,
    )
    return {segment_name(s): s for s in found}


def visibility(
    runs: Sequence[Run], name: str, *, batches: Sequence[int] = BATCHES
) -> dict[str, Check]:
    """Height (nats), noise (nats) and z of a segment over batch sizes: `runs` are frozen, one per seed.

    Measured: their rows cut anew at every B, averaged over DRAWS phases and orders of the rows
    inside the segment and among the base, of which a frozen model's losses do not know. Simulated:
    normal losses with the same mean excess, deviation and ratio of tokens. Law: `laws.expected_visibility`.
    """
    fields = {"height": "height", "noise": "sigma", "z": "z"}
    dense = np.unique(
        np.round(2 ** np.linspace(np.log2(batches[0]), np.log2(batches[-1]), 29)).astype(int)
    )
    law, simulated, measured = ({f: [] for f in fields} for _ in range(3))
    for seed, run in enumerate(runs):
        rows, segment = file_rows(run), large(run)[name]
        place = {"start": segment.start, "stop": segment.stop, "base_mask": ~rows.odd}
        found = [
            [
                laws.expected_visibility(rows.losses, rows.tokens, batch_size=int(b), **place)
                for b in dense
            ],
            [_simulated(rows, segment, b, seed) for b in batches],
            [
                laws.measured_visibility(
                    rows.losses, rows.tokens, batch_size=b, phases=_phases(b), seed=seed, **place
                )
                for b in batches
            ],
        ]
        for into, seen in zip((law, simulated, measured), found):
            for f, attribute in fields.items():
                into[f].append([getattr(v, attribute) for v in seen])
    at = np.searchsorted(dense, batches)
    return {
        f: Check(
            "z" if f == "z" else "nats",
            dense,
            np.mean(law[f], axis=0),
            np.array(batches),
            np.mean(simulated[f], axis=0),
            np.array(batches),
            np.array(law[f])[:, at],
            np.array(measured[f]),
        )
        for f in fields
    }


def _phases(batch_size: int) -> list[int]:
    return list(range(batch_size)) * -(-max(DRAWS, 16 * DRAWS // batch_size) // batch_size)


def _simulated(rows: FileRows, segment: Segment, batch_size: int, seed: int) -> laws.Visibility:
    """Rows with equal tokens in the segment, equal tokens in the base, and normal losses: nothing but delta, sigma and the ratio."""
    inside = np.zeros(len(rows.odd), bool)
    inside[segment.start : segment.stop] = True
    level, delta_level = (
        laws.token_mean((rows.losses * rows.tokens)[m], rows.tokens[m]) for m in (~rows.odd, inside)
    )
    losses = np.random.default_rng([seed, 3]).normal(0, 1, len(inside))
    for part, mean, sigma in (
        (~rows.odd, level, laws.row_sigma(rows.losses[~rows.odd], rows.tokens[~rows.odd])),
        (inside, delta_level, laws.row_sigma(rows.losses[inside], rows.tokens[inside])),
    ):
        losses[part] = mean + sigma * (losses[part] - losses[part].mean()) / losses[part].std()
    tokens = np.where(inside, rows.tokens[inside].mean(), rows.tokens[~rows.odd].mean())
    return laws.measured_visibility(
        losses,
        tokens,
        start=segment.start,
        stop=segment.stop,
        batch_size=batch_size,
        base_mask=~rows.odd,
        phases=_phases(batch_size),
        seed=seed,
    )


def equal_token_heights(
    runs: Sequence[Run], name: str, *, batches: Sequence[int] = BATCHES
) -> np.ndarray:
    """What the visibility law would say if all rows had as many tokens: mean heights (batches,), nats."""
    found = []
    for run in runs:
        rows, s = file_rows(run), large(run)[name]
        sums, inside = rows.losses * rows.tokens, np.arange(s.start, s.stop)
        delta = laws.token_mean(sums[inside], rows.tokens[inside]) - laws.token_mean(
            sums[~rows.odd], rows.tokens[~rows.odd]
        )
        found.append([laws.expected_height(delta, s.stop - s.start, batch_size=b) for b in batches])
    return np.mean(found, axis=0)


def plotting(
    runs: Sequence[Run], name: str, *, every: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
) -> tuple[Check, Check]:
    """How likely a log of one step in I (`every`) shows a segment at all, and at least half of min(L, B) of it.

    Measured: in recorded file-order runs, one per seed, over all I first steps that a log can have.
    """
    size = len(runs[0].records[0].rows)
    segments = [
        next(s for s in segment_metrics.segments(run) if segment_name(s) == name) for run in runs
    ]
    length = segments[0].stop - segments[0].start
    simulated = np.array([laws.simulate_logged(length, size, every=i, draws=20_000) for i in every])
    dense, found = np.unique(np.round(2 ** np.linspace(0, np.log2(every[-1]), 40)).astype(int)), []
    for k, (law, wanted) in enumerate(
        ((laws.logged_touch, 0.5), (laws.logged_half, min(length, size) / 2))
    ):
        held = [segment_metrics.shares(run, s) * size >= wanted for run, s in zip(runs, segments)]
        measured = [
            [np.mean([h[first::i].any() for first in range(i)]) for i in every] for h in held
        ]
        at = np.array([law(length, size, every=i) for i in every])
        found.append(
            Check(
                "probability",
                dense,
                np.array([law(length, size, every=int(i)) for i in dense]),
                np.array(every),
                simulated[:, k],
                np.array(every),
                np.tile(at, (len(runs), 1)),
                np.array(measured),
            )
        )
    return found[0], found[1]


def peak_shares(runs: Mapping[int, Sequence[Run]], name: str) -> Check:
    """Largest expected share of a segment in the batches of shuffle buffers: `runs` by K, one per seed.

    Law: the exact recursion at each seed's place, `laws.buffer_profile`, averaged over whole batches.
    Measured: the share over batches of half the segment's length, at the place, counted from where the
    segment starts, where the *other* seeds have their largest, so that no seed's own luck is in (the largest
    single batch would be biased upwards); times the law's ratio of peaks, single batch over half a
    segment. A seed that is alone is read where the law has its peak.
    """
    sizes, first = sorted(runs), next(iter(runs.values()))
    segments, size = [large(run)[name] for run in first], len(first[0].records[0].rows)
    n = sum(len(r.rows) for r in first[0].records)
    box = np.ones(max(1, (segments[0].stop - segments[0].start) // (2 * size)))
    smooth = lambda shares: np.convolve(shares[: n // size], box / len(box), "valid")
    dense = np.unique(np.round(2 ** np.linspace(np.log2(sizes[0] / 2), np.log2(n), 15)).astype(int))
    profile = lambda k, s: laws.batch_shares(
        laws.buffer_profile(n, int(k), start=s.start, stop=s.stop), size
    )
    law = np.mean([[profile(k, s).max() for k in dense] for s in segments], axis=0)
    law_at, measured, simulated = [], [], []
    for k in sizes:
        expected = [profile(k, s) for s in segments]
        found = _unlucky_peaks(
            [smooth(segment_metrics.shares(run, s)) for run, s in zip(runs[k], segments)],
            [smooth(e) for e in expected],
            [s.start // size for s in segments],
        )
        law_at.append([e.max() for e in expected])
        measured.append([f * e.max() / smooth(e).max() for f, e in zip(found, expected)])
        rows = np.stack([order.buffer(n, 0, epoch, size=k) for epoch in range(SHUFFLES)])
        simulated.append(
            np.mean(
                [
                    laws.batch_shares(
                        ((rows >= s.start) & (rows < s.stop)).mean(axis=0), size
                    ).max()
                    for s in segments
                ]
            )
        )
    return Check(
        "share",
        dense,
        law,
        np.array(sizes),
        np.array(simulated),
        np.array(sizes),
        np.transpose(law_at),
        np.transpose(measured),
    )


def _unlucky_peaks(
    shares: Sequence[np.ndarray], expected: Sequence[np.ndarray], starts: Sequence[int]
) -> list[float]:
    """Each curve (places,) at the place, relative to its start, where the mean of the others is largest; for one curve, of what is expected."""
    if len(shares) == 1:
        return [float(shares[0][int(np.argmax(expected[0]))])]
    before = max(starts)
    aligned = np.full(
        (len(shares), before + max(len(s) - start for s, start in zip(shares, starts))), np.nan
    )
    for row, own, start in zip(aligned, shares, starts):
        row[before - start : before - start + len(own)] = own
    known = ~np.isnan(aligned)
    sums, counts = np.where(known, aligned, 0.0), known.sum(axis=0)
    found = []
    for own, own_known in zip(sums, known):
        others = np.where(
            own_known, (sums.sum(axis=0) - own) / np.maximum(counts - own_known, 1), -1.0
        )
        found.append(float(own[int(np.argmax(others))]))
    return found


def dispersion(runs: Mapping[str, Sequence[Run]]) -> Check:
    """Dispersion index of all odd rows, by order: `runs` by the order's name, one per seed. Place i is the i-th order."""
    law_at, measured, simulated = [], [], []
    for kind, of_seeds in runs.items():
        rows = [file_rows(run) for run in of_seeds]
        size = len(of_seeds[0].records[0].rows)
        law_at.append([expected_dispersion(kind, run, size) for run in of_seeds])
        met = [np.concatenate([r.rows for r in run.records if r.epoch == 0]) for run in of_seeds]
        measured.append([order.dispersion_index(known.odd[m], size) for known, m in zip(rows, met)])
        simulated.append(
            laws.simulate_dispersion(kind, rows[0].odd, batch_size=size, shuffles=SHUFFLES)
        )
    x = np.arange(len(runs))
    return Check(
        "D",
        x,
        np.mean(law_at, axis=1),
        x,
        np.array(simulated),
        x,
        np.transpose(law_at),
        np.transpose(measured),
    )


def expected_dispersion(kind: str, run: Run, batch_size: int) -> float:
    """D of the run's odd rows by law, for an order of that kind.

    Blocks of whole batches only put the file's own batches in another order, so their D is the file's.
    """
    name, _, size = kind.partition(":")
    segments, n = (
        segment_metrics.segments(run),
        sum(len(r.rows) for r in run.records if r.epoch == 0),
    )
    if name == "file" or (name == "block" and int(size) % batch_size == 0):
        return laws.sorted_dispersion(
            [s.stop - s.start for s in segments], n, batch_size=batch_size
        )
    if name == "buffer":
        return laws.expected_dispersion(
            sum(laws.buffer_profile(n, int(size), start=s.start, stop=s.stop) for s in segments),
            batch_size,
        )
    if name in ("shuffle", "shuffle_once"):
        return (n - batch_size) / (n - 1)
    raise ValueError(
        f"no law for the dispersion of {kind!r}; take file, shuffle, buffer:K, or block:K with whole batches in a block."
    )


def accumulation(runs: Sequence[Run], *, sizes: Sequence[int] = (16, 8, 4, 2, 1)) -> Check:
    """Mean of the means of micro-batches minus token mean of the step, nats, over the rows K of a micro-batch.

    Law, for rows in random order: -E[t^2 (l - R)] / E[t]^2 (1/K - 1/B), l losses and t tokens of rows,
    R their token mean: the bias of a ratio of means, once for a micro-batch, less once for the step. It is
    the first order in 1/K, so it overstates the bias of single rows, where the mean of rows would be exact.
    `runs` are shuffled, one per seed; measured is the mean over their steps. Sum over sum has no bias.
    """
    law_at, measured, simulated = [], [], []
    rng = np.random.default_rng(4)
    for run in runs:
        batch, rows = len(run.records[0].rows), file_rows(run)
        sums = rows.losses * rows.tokens
        excess = rows.tokens * (sums - rows.tokens * laws.token_mean(sums, rows.tokens))
        slope = -excess.mean() / rows.tokens.mean() ** 2
        law_at.append([slope * (1 / k - 1 / batch) for k in sizes])
        own = [(r.sample_losses * r.sample_tokens, r.sample_tokens) for r in run.records]
        measured.append([np.mean([_bias(s, t, k) for s, t in own]) for k in sizes])
        picks = rng.choice(len(sums), (SHUFFLES * 5, batch))
        simulated.append(
            [np.mean([_bias(sums[p], rows.tokens[p], k) for p in picks]) for k in sizes]
        )
    dense = np.linspace(sizes[-1], sizes[0], 61)
    slopes = np.mean(law_at, axis=0)[-1] / (1 / sizes[-1] - 1 / batch)
    return Check(
        "nats",
        dense,
        slopes * (1 / dense - 1 / batch),
        np.array(sizes),
        np.mean(simulated, axis=0),
        np.array(sizes),
        np.array(law_at),
        np.array(measured),
    )


def _bias(sums: np.ndarray, tokens: np.ndarray, size: int) -> float:
    starts = np.arange(0, len(sums), size)
    return laws.accumulation_bias(np.add.reduceat(sums, starts), np.add.reduceat(tokens, starts))


def resume(trials: Sequence[Trial], *, kind: str) -> Check:
    """Share of the rows that an interrupted epoch reads twice (as many are never read), over the place of the break.

    `trials` are resumes that go on in an order of `kind`, one per seed, all broken off at the same place.
    """
    n = len(np.unique(np.concatenate([r.rows for r in trials[0].run.records]))) + int(
        trials[0].values["never_read"]
    )
    seen = sum(len(r.rows) for r in trials[0].run.records[: trials[0].run.info["resumed_at"]])
    dense, some = np.linspace(0, 1, 51), np.linspace(0.1, 0.9, 9)
    return Check(
        "share of the rows",
        dense,
        laws.resume_rows(1, dense),
        some,
        np.array([laws.simulate_resume(n, f, kind=kind, draws=20)[0] / n for f in some]),
        np.array([seen / n]),
        np.full((len(trials), 1), laws.resume_rows(1, seen / n)),
        np.array([[t.values["read_twice"] / n] for t in trials]),
    )


def share_times_hardness(run: Run, frozen: Run, *, window: int = 30) -> tuple[float, float]:
    """Of the fullest batch of each large segment: (expected, found) height in nats, mean over the segments, of an order's run.

    Expected: share of tokens times what the frozen model finds the segment harder by, summed over all
    segments that have rows in the batch. Found: the batch's loss above the token mean of the base rows
    of the `window` steps on either side, so that an order without a pure base batch can be read, too.
    """
    rows, segments = file_rows(frozen), segment_metrics.segments(run)
    mean = lambda keep: laws.token_mean((rows.losses * rows.tokens)[keep], rows.tokens[keep])
    hardness = np.zeros(len(rows.odd))
    for s in segments:
        hardness[s.start : s.stop] = mean(np.arange(s.start, s.stop)) - mean(~rows.odd)
    expected, found = [], []
    for s in large(run).values():
        step = int(np.argmax(segment_metrics.shares(run, s)))
        record, around = run.records[step], run.records[max(0, step - window) : step + window + 1]
        sums, counts = (
            np.concatenate([f(r)[~rows.odd[r.rows]] for r in around])
            for f in (lambda r: r.sample_losses * r.sample_tokens, lambda r: r.sample_tokens)
        )
        expected.append(
            float((hardness[record.rows] * record.sample_tokens).sum() / record.sample_tokens.sum())
        )
        found.append(record.loss - laws.token_mean(sums, counts))
    return float(np.mean(expected)), float(np.mean(found))
