"""What a segment leaves behind: a dent on ordinary rows, domains forgotten, and how both fade.

A *dent* is the loss that reading a segment adds to the Chinese batches right after it. It is
measured as trained minus frozen loss of the very same batches, so how hard they are drops out:
the first batch wholly after the segment, less the mean of the eight ordinary batches before it. A
dent that is still there when the next segment begins raises the level that the next is judged by.

*Forgetting* is a rise of held-out loss. A segment's span is the batches that it fills in file
order; the same span of steps of a shuffled pass is what the segment's rows are compared with.

    steps of a run   n batches after a segment or inside it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from minimind_lite import segments
from minimind_lite.records import Run
from minimind_lite.science.intervals import Interval, interval_over_seeds
from minimind_lite.science.segment_metrics import probe_to_the_end
from minimind_lite.science.store import Trial
from minimind_lite.segments import LARGE, MAIN, Segment

BEFORE = 8  # ordinary batches before a segment: the level that its dent is measured from
VISIBLE = 0.05  # nats; less than this has no half-life, batches differ by as much
SHORTEST = 8  # batches inside a block from which a half-life can be read

Table = Mapping[str, Mapping[str, float]]


# Held-out losses


def rises(run: Run) -> dict[str, dict[str, float]]:
    """Change of each held-out loss while a segment is read, nats: segment's label -> probe.

    From the last measurement before its first batch to the first after its last; NaN where there
    is none. Of a shuffled run: the change over the same span of steps.
    """
    return {
        segment.label: {probe: _change(run, probe, span=span) for probe in run.probe_names()}
        for segment, span in _spans(run).items()
    }


def matrix(run: Run) -> dict[str, dict[str, float]]:
    """Forgetting matrix, nats: domain that is read -> probe -> change of its held-out loss.

    A domain's segments are added up, and the main domain's row is the rest of the pass, so a column
    adds up to the change of that held-out loss over the whole pass.
    """
    rest = {probe: _change(run, probe, span=slice(0, len(run))) for probe in run.probe_names()}
    table = {MAIN: rest}
    for segment, span in _spans(run).items():
        row = table.setdefault(segment.domain, dict.fromkeys(rest, 0.0))
        for probe in rest:
            change = _change(run, probe, span=span)
            row[probe] += change
            rest[probe] -= change
    return table


def learnt(run: Run) -> float:
    """Fall of held-out Chinese over the pass, nats."""
    return -_change(run, MAIN, span=slice(0, len(run)))


def forgotten(run: Run) -> dict[str, float]:
    """By probe: held-out loss at the end above its lowest on the way, nats.

    Source: forgetting, Chaudhry et al., arXiv 1801.10112 §2 (there of accuracies).
    """
    losses = {probe: probe_to_the_end(run, probe)[1] for probe in run.probe_names()}
    return {probe: float(values[-1] - values.min()) for probe, values in losses.items()}


def left(file: Run, shuffled: Run) -> dict[str, float]:
    """By probe: held-out loss at the end, file order minus shuffled, nats."""
    after = shuffled.info["probes_after"]
    return {probe: loss - after[probe] for probe, loss in file.info["probes_after"].items()}


def left_by_age(file: Trial, shuffled: Trial) -> float:
    """How much `left` grows with the conversations since a domain was last read.

    Slope over the off-domain domains of one layout, nats for 1,000 conversations.
    """
    prices = left(file.run, shuffled.run)
    last_read: dict[str, int] = {}
    for segment in segments.of_run(file.run):
        if segment.domain in LARGE:
            last_read[segment.domain] = max(segment.stop, last_read.get(segment.domain, 0))
    n_rows = file.run.records[-1].samples_seen + len(file.run.records[-1].rows)
    ages = [(n_rows - row) / 1000 for row in last_read.values()]
    return float(np.polyfit(ages, [prices[domain] for domain in last_read], 1)[0])


def _spans(run: Run) -> dict[Segment, slice]:
    """Positions of the batches that each segment touches in file order, in the first epoch."""
    samples = run.column("samples_seen")
    spans = {}
    for segment in segments.of_run(run):
        first = int(np.searchsorted(samples, segment.start, side="right")) - 1
        spans[segment] = slice(first, int(np.searchsorted(samples, segment.stop)))
    return spans


def _change(run: Run, probe: str, *, span: slice) -> float:
    positions, losses = probe_to_the_end(run, probe)
    before, after = losses[positions <= span.start], losses[positions >= span.stop]
    return float(after[0] - before[-1]) if len(before) and len(after) else float("nan")


# Dents and how they fade


def excess(trained: Run, frozen: Run) -> np.ndarray:
    """Trained minus frozen loss of each batch (steps,), nats.

    Raises `ValueError` where the two runs read other rows, or the same in another order.
    """
    pairs = zip(trained.records, frozen.records)
    if len(trained) != len(frozen) or not all(np.array_equal(a.rows, b.rows) for a, b in pairs):
        raise ValueError("the trained and the frozen run must read the same rows, batch by batch.")
    return trained.loss - frozen.loss


def dent_curves(trained: Run, frozen: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By label of an off-domain segment: its dent over the ordinary batches that follow it.

    Conversations read since its end (n,), and the dent there (n,), nats. The last batch is the
    last before the next segment. Segments without `BEFORE` ordinary batches before them, or with
    none after, are left out.
    """
    values, samples = excess(trained, frozen), trained.column("samples_seen")
    spans = {s: span for s, span in _spans(trained).items() if s.domain in LARGE}
    ordinary = np.ones(len(trained), bool)
    for span in spans.values():
        ordinary[span] = False
    curves = {}
    for segment, span in spans.items():
        others = np.flatnonzero(~ordinary[span.stop :])
        after = slice(span.stop, span.stop + int(others[0]) if len(others) else len(trained))
        before = slice(span.start - BEFORE, span.start)
        if after.stop > after.start and span.start >= BEFORE and ordinary[before].all():
            dent = values[after] - values[before].mean()
            curves[segment.label] = samples[after] - segment.stop, dent
    return curves


def dents(trained: Run, frozen: Run) -> dict[str, float]:
    """By label: the dent on the first batch after an off-domain segment, nats."""
    return {label: float(dent[0]) for label, (_, dent) in dent_curves(trained, frozen).items()}


def dent_half_lives(trained: Run, frozen: Run) -> dict[str, float]:
    """By label: conversations until a dent has halved; NaN where there is none."""
    curves = dent_curves(trained, frozen)
    return {label: half_life(dent, samples) for label, (samples, dent) in curves.items()}


def half_lives(trained: Run, frozen: Run) -> dict[str, float]:
    """By label of a segment or block: conversations until its excess inside has halved.

    The excess is trained minus frozen loss of the batches wholly inside, above its late level (the
    mean of their last quarter): what is still to be learnt. Blocks of fewer than `SHORTEST` whole
    batches are left out.
    """
    values, samples = excess(trained, frozen), trained.column("samples_seen")
    ends = samples + np.array([len(record.rows) for record in trained.records])
    lives = {}
    for segment in segments.of_run(trained):
        inside = np.flatnonzero((samples >= segment.start) & (ends <= segment.stop))
        if len(inside) >= SHORTEST:
            late = values[inside[-(len(inside) // 4) :]].mean()
            lives[segment.label] = half_life(values[inside] - late, samples[inside])
    return lives


def half_life(fading: np.ndarray, samples: np.ndarray) -> float:
    """Conversations until the best falling curve through `fading` (n,) is at half of its start.

    That curve is the isotonic regression: no formula is assumed, and no batch decides alone. All
    of `samples` (n,) where it never is; NaN where it starts below `VISIBLE`.
    """
    from scipy.optimize import isotonic_regression

    curve = isotonic_regression(fading, increasing=False).x
    if curve[0] < VISIBLE:
        return float("nan")
    halved = np.interp(-curve[0] / 2, -curve, samples, right=samples[-1])
    return float(halved - samples[0])


# Does height predict harm?


def height_and_dent(trained: Trial, frozen: Trial) -> float:
    """Correlation of height and dent over the large segments of a layout."""
    return correlation_with_height(trained, dents(trained.run, frozen.run))


def correlation_with_height(trial: Trial, harm: Mapping[str, float]) -> float:
    """Correlation of height with a `harm` by label, over the large segments that have both."""
    labels = [label for label in LARGE if label in harm and label in trial.readings]
    heights = [trial.readings[label].height for label in labels]
    return float(np.corrcoef(heights, [harm[label] for label in labels])[0, 1])


# Over layouts


def over_layouts(values: Iterable[Mapping[str, float]]) -> dict[str, Interval]:
    """Interval of each entry over layouts; a layout in which it is NaN or missing doesn't count."""
    columns: dict[str, list[float]] = {}
    for entries in values:
        for name, value in entries.items():
            if np.isfinite(value):
                columns.setdefault(name, []).append(value)
    return {name: interval_over_seeds(column) for name, column in columns.items()}


def tables_over_layouts(tables: Iterable[Table]) -> dict[str, dict[str, Interval]]:
    """`over_layouts` for each row of tables like `matrix`."""
    rows: dict[str, list[Mapping[str, float]]] = {}
    for table in tables:
        for name, row in table.items():
            rows.setdefault(name, []).append(row)
    return {name: over_layouts(entries) for name, entries in rows.items()}
