"""Each law beside what a simulation and the recorded runs say of it: numbers, ready to be drawn.

A `Check` holds the law as a curve, a simulation that only counts, and the measurement of every seed
with the law's value for that very seed, so that what a layout adds to both drops out of their
difference. Measured are recorded batches, or rows of a frozen model's record cut into other
batches. Nothing is trained here.

    N rows of a file   B conversations of a batch   L rows of a segment
    K rows of a buffer, or of a micro-batch
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite import order, segments
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import laws
from minimind_lite.science.segment_metrics import FileRows, file_rows, rows_read
from minimind_lite.science.store import Trial
from minimind_lite.segments import LARGE, Segment

BATCHES = (2, 4, 8, 16, 32, 64, 128, 256)
DRAWS = 256  # batches behind a measured height; more for small ones, so that 4096 rows are in
SHUFFLES = 100  # behind a simulated share or dispersion


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


def large(run: Run) -> dict[str, Segment]:
    """The run's large segments by label, longest last."""
    by_length = sorted(segments.of_run(run), key=len)
    return {s.label: s for s in by_length if s.label in LARGE}


def visibility(
    runs: Sequence[Run], name: str, *, batches: Sequence[int] = BATCHES
) -> dict[str, Check]:
    """Height (nats), noise (nats) and z of a segment over batch sizes.

    `runs` are frozen, one per seed. Measured: their rows in batches of every B, over DRAWS phases
    and random rows. Simulated: normal losses with the same mean excess, deviation and ratio of
    tokens. Law: `laws.expected_visibility`.
    """
    dense = _powers_of_two(batches[0], batches[-1], 29)
    law, simulated, measured = [], [], []
    for seed, run in enumerate(runs):
        rows, segment = file_rows(run), large(run)[name]
        normal = _normal_rows(rows, segment, seed)
        law.append([_by_law(rows, segment, int(b)) for b in dense])
        simulated.append([_by_draws(normal, segment, b, seed=seed) for b in batches])
        measured.append([_by_draws(rows, segment, b, seed=seed) for b in batches])
    at = np.searchsorted(dense, batches)
    checks = {}
    for field, attribute in {"height": "height", "noise": "sigma", "z": "z"}.items():
        of_law, of_simulation, of_rows = (
            np.array([[getattr(v, attribute) for v in row] for row in table])
            for table in (law, simulated, measured)
        )
        checks[field] = Check(
            unit="z" if field == "z" else "nats",
            x=dense,
            law=of_law.mean(axis=0),
            sim_x=np.array(batches),
            simulated=of_simulation.mean(axis=0),
            at=np.array(batches),
            law_at=of_law[:, at],
            measured=of_rows,
        )
    return checks


def _powers_of_two(first: float, last: float, n: int) -> np.ndarray:
    """Whole numbers, evenly spaced on a logarithmic axis."""
    return np.unique(np.round(2 ** np.linspace(np.log2(first), np.log2(last), n)).astype(int))


def _by_law(rows: FileRows, segment: Segment, batch_size: int) -> laws.Visibility:
    return laws.expected_visibility(
        rows.losses,
        rows.tokens,
        segment=segment,
        batch_size=batch_size,
        base=~rows.off_domain,
    )


def _by_draws(rows: FileRows, segment: Segment, batch_size: int, *, seed: int) -> laws.Visibility:
    draws = max(DRAWS, 16 * DRAWS // batch_size)
    return laws.measured_visibility(
        rows.losses,
        rows.tokens,
        segment=segment,
        batch_size=batch_size,
        base=~rows.off_domain,
        phases=list(range(batch_size)) * -(-draws // batch_size),
        seed=seed,
    )


def _normal_rows(rows: FileRows, segment: Segment, seed: int) -> FileRows:
    """Rows with equal tokens in the segment, equal tokens in the base, and normal losses.

    Only the excess of the segment, the deviations and the ratio of tokens are those of `rows`.
    """
    n = len(rows.losses)
    inside = np.zeros(n, bool)
    inside[segment.start : segment.stop] = True
    losses, tokens = np.random.default_rng([seed, 3]).normal(0, 1, n), np.zeros(n)
    for part in (~rows.off_domain, inside):
        sums = laws.sum_losses(rows.losses[part], rows.tokens[part])
        mean, drawn = laws.token_mean(sums, rows.tokens[part]), losses[part]
        sigma = laws.row_sigma(rows.losses[part], rows.tokens[part])
        losses[part] = mean + sigma * (drawn - drawn.mean()) / drawn.std()
        tokens[part] = rows.tokens[part].mean()
    return FileRows(losses, tokens, rows.off_domain)


def equal_token_heights(
    runs: Sequence[Run], name: str, *, batches: Sequence[int] = BATCHES
) -> np.ndarray:
    """What the visibility law would say if all rows had as many tokens: mean heights, nats."""
    heights = []
    for run in runs:
        rows, segment = file_rows(run), large(run)[name]
        excess = _token_mean(rows, np.arange(segment.start, segment.stop)) - _base_level(rows)
        heights.append([laws.expected_height(excess, len(segment), batch_size=b) for b in batches])
    return np.mean(heights, axis=0)


def _token_mean(rows: FileRows, chosen: np.ndarray) -> float:
    losses, tokens = rows.losses[chosen], rows.tokens[chosen]
    return laws.token_mean(laws.sum_losses(losses, tokens), tokens)


def _base_level(rows: FileRows) -> float:
    return _token_mean(rows, ~rows.off_domain)


def plotting(
    runs: Sequence[Run], name: str, *, every: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
) -> tuple[Check, Check]:
    """How likely a log of one step in I (`every`) shows a segment: at all, and half of min(L, B).

    Measured: in recorded file-order runs, one per seed, over all I first steps a log can have.
    """
    size = len(runs[0].records[0].rows)
    chosen = [next(s for s in segments.of_run(run) if s.label == name) for run in runs]
    length = len(chosen[0])
    simulated = np.array([laws.simulate_logged(length, size, every=i, draws=20_000) for i in every])
    dense, checks = _powers_of_two(1, every[-1], 40), []
    wanted = (0.5, min(length, size) / 2)  # rows of the segment in a logged batch
    for k, law in enumerate((laws.logged_touch, laws.logged_half)):
        measured = []
        for run, segment in zip(runs, chosen):
            shows = segments.share(run, segment) * size >= wanted[k]
            measured.append([np.mean([shows[i::n].any() for i in range(n)]) for n in every])
        law_at = [law(length, size, every=i) for i in every]
        checks.append(
            Check(
                unit="probability",
                x=dense,
                law=np.array([law(length, size, every=int(i)) for i in dense]),
                sim_x=np.array(every),
                simulated=simulated[:, k],
                at=np.array(every),
                law_at=np.tile(law_at, (len(runs), 1)),
                measured=np.array(measured),
            )
        )
    return checks[0], checks[1]


def peak_shares(runs: Mapping[int, Sequence[Run]], name: str) -> Check:
    """Largest expected share of a segment in the batches of shuffle buffers.

    `runs` by K, one per seed. Law: `laws.buffer_profile` at each seed's place, averaged over whole
    batches. Measured: the largest share of the mean profile over the seeds, so that no lucky batch
    is picked, smoothed over half a segment; times what that smoothing takes from the law's peak.
    """
    sizes, first = sorted(runs), next(iter(runs.values()))
    chosen, batch = [large(run)[name] for run in first], len(first[0].records[0].rows)
    n = len(rows_read(first[0]))
    law_at, measured, simulated = [], [], []
    for k in sizes:
        profiles = [_batch_profile(n, k, segment=s, batch_size=batch) for s in chosen]
        law_at.append([profile.max() for profile in profiles])
        shares = [segments.share(run, s)[: n // batch] for run, s in zip(runs[k], chosen)]
        peaks = _peaks_of_mean_profile(shares, chosen, batch_size=batch)
        law_peaks = [_smooth(p, len(s) // batch).max() for p, s in zip(profiles, chosen)]
        measured.append(np.array(law_at[-1]) * peaks / law_peaks)
        shuffled = np.stack([order.buffer(n, 0, epoch, size=k) for epoch in range(SHUFFLES)])
        inside = [((shuffled >= s.start) & (shuffled < s.stop)).mean(axis=0) for s in chosen]
        simulated.append(np.mean([laws.batch_shares(x, batch).max() for x in inside]))
    dense = _powers_of_two(sizes[0] / 2, n, 15)
    law = [
        [_batch_profile(n, int(k), segment=s, batch_size=batch).max() for k in dense]
        for s in chosen
    ]
    return Check(
        unit="share",
        x=dense,
        law=np.mean(law, axis=0),
        sim_x=np.array(sizes),
        simulated=np.array(simulated),
        at=np.array(sizes),
        law_at=np.transpose(law_at),
        measured=np.transpose(measured),
    )


def _batch_profile(n: int, size: int, *, segment: Segment, batch_size: int) -> np.ndarray:
    profile = laws.buffer_profile(n, size, start=segment.start, stop=segment.stop)
    return laws.batch_shares(profile, batch_size)


def _smooth(shares: np.ndarray, length: int) -> np.ndarray:
    """Mean over half a segment; `length` of the segment in batches."""
    box = np.ones(max(1, length // 2))
    return np.convolve(shares, box / len(box), "valid")


def _peaks_of_mean_profile(
    shares: Sequence[np.ndarray], chosen: Sequence[Segment], *, batch_size: int
) -> np.ndarray:
    """Each seed's share (seeds,) where the mean, counted from the segment's start, is largest."""
    smoothed = [_smooth(x, len(s) // batch_size) for x, s in zip(shares, chosen)]
    starts = [s.start // batch_size for s in chosen]
    before = min(starts)
    after = min(len(x) - start for x, start in zip(smoothed, starts))
    aligned = np.array([x[start - before : start + after] for x, start in zip(smoothed, starts)])
    return aligned[:, int(np.argmax(aligned.mean(axis=0)))]


def dispersion(runs: Mapping[str, Sequence[Run]]) -> Check:
    """Dispersion index of all off-domain rows, by order; place i is the i-th order.

    `runs` by the order's name, one per seed.
    """
    law_at, measured, simulated = [], [], []
    for kind, of_seeds in runs.items():
        size, rows = len(of_seeds[0].records[0].rows), [file_rows(run) for run in of_seeds]
        law_at.append([expected_dispersion(kind, run, batch_size=size) for run in of_seeds])
        in_order = [x.off_domain[rows_read(run)] for x, run in zip(rows, of_seeds)]
        measured.append([laws.dispersion_index(member, size) for member in in_order])
        simulated.append(
            laws.simulate_dispersion(kind, rows[0].off_domain, batch_size=size, shuffles=SHUFFLES)
        )
    places = np.arange(len(runs))
    return Check(
        unit="D",
        x=places,
        law=np.mean(law_at, axis=1),
        sim_x=places,
        simulated=np.array(simulated),
        at=places,
        law_at=np.transpose(law_at),
        measured=np.transpose(measured),
    )


def expected_dispersion(kind: str, run: Run, *, batch_size: int) -> float:
    """D of the run's off-domain rows by law, for an order of that kind.

    Blocks of whole batches only put the file's batches in another order: their D is the file's.
    """
    name, _, size = kind.partition(":")
    chosen = segments.of_run(run)
    n = len(rows_read(run))
    if name == "file" or (name == "block" and int(size) % batch_size == 0):
        return laws.sorted_dispersion([len(s) for s in chosen], n, batch_size=batch_size)
    if name == "buffer":
        profiles = [laws.buffer_profile(n, int(size), start=s.start, stop=s.stop) for s in chosen]
        return laws.expected_dispersion(np.sum(profiles, axis=0), batch_size)
    if name in ("shuffle", "shuffle_once"):
        return (n - batch_size) / (n - 1)
    raise ValueError(
        f"no law for the dispersion of {kind!r}; take file, shuffle, buffer:K, or block:K with "
        "whole batches in a block."
    )


def accumulation(runs: Sequence[Run], *, sizes: Sequence[int] = (16, 8, 4, 2, 1)) -> Check:
    """Mean of the means of micro-batches minus token mean of the step, over their K rows, nats.

    Law, for rows in random order: -E[t² (l - R)] / E[t]² (1/K - 1/B), l losses and t tokens of
    rows, R their token mean: the bias of a ratio of means, once for a micro-batch, less once for
    the step. It is the first order in 1/K, so it overstates the bias of single rows, where the
    mean of rows would be exact. `runs` are shuffled, one per seed; measured is the mean over their
    steps.
    """
    law_at, measured, simulated, slopes = [], [], [], []
    rng, batch = np.random.default_rng(4), len(runs[0].records[0].rows)
    for run in runs:
        rows = file_rows(run)
        sums = laws.sum_losses(rows.losses, rows.tokens)
        excess = rows.tokens * (sums - rows.tokens * laws.token_mean(sums, rows.tokens))
        slopes.append(-excess.mean() / rows.tokens.mean() ** 2)
        law_at.append([slopes[-1] * (1 / k - 1 / batch) for k in sizes])
        measured.append([np.mean([_step_bias(r, k) for r in run.records]) for k in sizes])
        draws = rng.choice(len(sums), (SHUFFLES * 5, batch))
        simulated.append(
            [np.mean([_bias(sums[d], rows.tokens[d], k) for d in draws]) for k in sizes]
        )
    dense = np.linspace(sizes[-1], sizes[0], 61)
    return Check(
        unit="nats",
        x=dense,
        law=np.mean(slopes) * (1 / dense - 1 / batch),
        sim_x=np.array(sizes),
        simulated=np.mean(simulated, axis=0),
        at=np.array(sizes),
        law_at=np.array(law_at),
        measured=np.array(measured),
    )


def _step_bias(record: StepRecord, size: int) -> float:
    sums = laws.sum_losses(record.sample_losses, record.sample_tokens)
    return _bias(sums, record.sample_tokens, size)


def _bias(sums: np.ndarray, tokens: np.ndarray, size: int) -> float:
    starts = np.arange(0, len(sums), size)
    return laws.accumulation_bias(np.add.reduceat(sums, starts), np.add.reduceat(tokens, starts))


def resume(trials: Sequence[Trial], *, kind: str) -> Check:
    """Share of the rows that an interrupted epoch reads twice, over the place of the break.

    As many are never read. `trials` are resumes that go on in an order of `kind`, one per seed,
    all broken off at the same place.
    """
    first = trials[0].run
    rows_read = len(np.unique(np.concatenate([r.rows for r in first.records])))
    n = rows_read + int(trials[0].values["never_read"])
    fraction = sum(len(r.rows) for r in first.records[: first.info["resumed_at"]]) / n
    dense, some = np.linspace(0, 1, 51), np.linspace(0.1, 0.9, 9)
    simulated = [laws.simulate_resume(n, f, kind=kind, draws=20)[0] / n for f in some]
    return Check(
        unit="share of the rows",
        x=dense,
        law=np.array([laws.resume_rows(1, f) for f in dense]),
        sim_x=some,
        simulated=np.array(simulated),
        at=np.array([fraction]),
        law_at=np.full((len(trials), 1), laws.resume_rows(1, fraction)),
        measured=np.array([[trial.values["read_twice"] / n] for trial in trials]),
    )


def share_times_hardness(run: Run, frozen: Run, *, window: int = 30) -> tuple[float, float]:
    """Height of the fullest batch of each large segment: (expected, measured), means, nats.

    Expected: share of tokens times what the frozen model finds the segment harder by, summed over
    all segments that have rows in the batch. Measured: the batch's loss above the token mean of
    the base rows of the `window` steps on either side, so that an order without a pure base batch
    can be read, too.
    """
    rows = file_rows(frozen)
    hardness = np.zeros(len(rows.losses))
    for segment in segments.of_run(run):
        inside = np.arange(segment.start, segment.stop)
        hardness[inside] = _token_mean(rows, inside) - _base_level(rows)
    expected, measured = [], []
    for segment in large(run).values():
        position = int(np.argmax(segments.share(run, segment)))
        record = run.records[position]
        tokens = record.sample_tokens
        expected.append(float((hardness[record.rows] * tokens).sum() / tokens.sum()))
        around = run.records[max(0, position - window) : position + window + 1]
        measured.append(record.loss - _level_of_base_rows(around, rows.off_domain))
    return float(np.mean(expected)), float(np.mean(measured))


def _level_of_base_rows(records: Sequence[StepRecord], off_domain: np.ndarray) -> float:
    base = ~off_domain[np.concatenate([r.rows for r in records])]
    losses = np.concatenate([r.sample_losses for r in records])[base]
    tokens = np.concatenate([r.sample_tokens for r in records])[base]
    return laws.token_mean(laws.sum_losses(losses, tokens), tokens)
