"""What the training curve cannot show (E16): curves that look alike and end differently.

Among all recorded passes of one layout, a search looks for two curves with the same spikes whose
held-out losses end furthest apart, and for two unlike curves that end at the same loss. Beside
them are two runs made for the purpose: a tall spike that forgets nothing, and a flat curve that
forgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import attrgetter

import numpy as np

from minimind_lite.science import evidence, forgetting
from minimind_lite.science.evidence import Evidence
from minimind_lite.science.experiments import BATCH_SIZE, EXPERIMENTS
from minimind_lite.science.store import Trial
from minimind_lite.segments import LARGE

SAME_HEIGHT = 0.15  # nats; curves look alike where no large segment's heights differ by more,
SAME_SHAPE = 0.95  # and where they are correlated at least so
UNLIKE = 0.5  # nats; curves are unlike where their tallest steps differ at least by this
SAME_END = 0.05  # nats; ends are the same within this, an eighth of what file order costs

TALL, FLAT = ("E16", "tall spike, no forgetting"), ("E16", "flat curve, forgetting")


@dataclass(frozen=True)
class Pair:
    """Two trials of a layout: how alike their curves are, and how far apart they end."""

    first: Trial
    second: Trial
    correlation: float  # of the two curves
    height_gap: float  # largest difference of a large segment's heights, nats
    tallest_gap: float  # difference of the tallest steps above the trailing median, nats
    end_gap: float  # off-domain held-out loss at the end, second minus first, nats

    @property
    def look_alike(self) -> bool:
        """The curves have the same spikes and the same shape."""
        return self.height_gap <= SAME_HEIGHT and self.correlation >= SAME_SHAPE


def passes(records: Evidence, seed: int) -> list[Trial]:
    """Recorded passes of the nano base over all rows of a layout, with held-out losses on the way.

    Frozen runs and those of other models, of broken rows and of other batch sizes are left out.
    """
    trials = []
    for experiment in EXPERIMENTS.values():
        for variant in experiment.variants:
            if seed not in records.store.seeds(experiment.id, variant.name):
                continue
            if variant.settings.get("model", "nano") != "nano":
                continue
            trial = records.trial(experiment.id, variant.name, seed)
            if _is_plain_pass(trial):
                trials.append(trial)
    return trials


def _is_plain_pass(trial: Trial) -> bool:
    run, settings = trial.run, trial.info["settings"]
    config = settings.get("config", {})
    if config.get("optimizer") == "none" or settings.get("rows") == "garbage":
        return False
    if "segments" not in run.info or run.info.get("family", "mixed") != "mixed":
        return False
    if not len(run) or config.get("batch_size", BATCH_SIZE) != BATCH_SIZE:
        return False
    rows = np.sort(np.concatenate([record.rows for record in run.records]))
    complete = np.array_equal(rows, np.arange(len(rows)))
    measured = set(run.probe_names()) & set(run.info.get("probes_after", {}))
    return complete and set(LARGE) <= measured


def compare(first: Trial, second: Trial) -> Pair:
    """Both curves step by step, the heights of their large segments, and their ends."""
    gaps = [
        abs(first.readings[label].height - second.readings[label].height)
        for label in LARGE
        if label in first.readings and label in second.readings
    ]
    return Pair(
        first,
        second,
        correlation=float(np.corrcoef(first.run.loss, second.run.loss)[0, 1]),
        height_gap=max(gaps, default=float("inf")),
        tallest_gap=abs(evidence.tallest_step(first) - evidence.tallest_step(second)),
        end_gap=evidence.held_out_off_domain(second) - evidence.held_out_off_domain(first),
    )


def pairs(records: Evidence, seed: int) -> list[Pair]:
    """Every pair of a layout's `passes`."""
    return [compare(a, b) for a, b in combinations(passes(records, seed), 2)]


def furthest_look_alikes(candidates: Sequence[Pair]) -> Pair | None:
    """The pair that looks alike and ends furthest apart; None where none looks alike."""
    alike = [pair for pair in candidates if pair.look_alike]
    return max(alike, key=lambda pair: abs(pair.end_gap), default=None)


def unlike_with_one_end(candidates: Sequence[Pair]) -> Pair | None:
    """Of curves that end at the same loss, those whose tallest steps differ most.

    None where they differ by less than `UNLIKE`.
    """
    same_end = [pair for pair in candidates if abs(pair.end_gap) <= SAME_END]
    unlike = [pair for pair in same_end if pair.tallest_gap >= UNLIKE]
    return max(unlike, key=attrgetter("tallest_gap"), default=None)


def facts(trial: Trial) -> dict[str, float]:
    """What a run's curve shows and what the run forgets.

    `tallest step` above the trailing median (nats), flagged `spikes`, and `forgotten` (nats): how
    far the held-out loss of the most forgotten off-domain domain ends above its lowest.
    """
    losses = forgetting.forgotten(trial.run)
    return {
        "tallest step": evidence.tallest_step(trial),
        "spikes": evidence.events(trial),
        "forgotten": max(losses[domain] for domain in LARGE),
    }
