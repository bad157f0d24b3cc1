"""What a resume shows in the curve, and what it costs: E19 against its uninterrupted runs.

f share of the rows that were read before the break   n rows of the layout
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from minimind_lite.records import Run
from minimind_lite.science import laws
from minimind_lite.science.evidence import Evidence, final_probe_loss
from minimind_lite.science.experiments import E19
from minimind_lite.science.intervals import Interval, interval_over_seeds
from minimind_lite.science.store import Trial
from minimind_lite.segments import MAIN

FIRST_STEPS = 10  # after the break: the jump is their mean
CLOSE_STEPS = 20  # after the break, in which held-out losses are measured closely
WHOLE = ("E19", "uninterrupted")
WAYS = tuple(v.name for v in E19.variants if v.name != WHOLE[1])


@dataclass(frozen=True)
class Cost:
    """A resumed run minus the uninterrupted one of the same layout; losses in nats."""

    jump: float  # mean training loss of the first steps after the break
    tallest: float  # highest training loss after the break
    held_out_rise: float  # highest held-out loss close after the break, mean of all domains
    held_out: float  # at the end, mean of all domains
    off_domain: float  # at the end, mean of those that are not Chinese
    read_twice: float  # share of the rows
    never_read: float


def cost(resumed: Trial, whole: Trial) -> Cost:
    """What one resume cost. A resume that takes more steps is judged by as many as are left."""
    at, end = broken_at(whole), len(whole.run)
    after, as_it_was = resumed.run.loss[at:end], whole.run.loss[at:end]
    n, others = rows_of_layout(whole), sorted(set(whole.run.info["probes_after"]) - {MAIN})
    return Cost(
        jump=float((after - as_it_was)[:FIRST_STEPS].mean()),
        tallest=float(after.max() - as_it_was.max()),
        held_out_rise=_highest_held_out(resumed.run, at) - _highest_held_out(whole.run, at),
        held_out=final_probe_loss(resumed) - final_probe_loss(whole),
        off_domain=final_probe_loss(resumed, *others) - final_probe_loss(whole, *others),
        read_twice=resumed.values["read_twice"] / n,
        never_read=resumed.values["never_read"] / n,
    )


def broken_at(trial: Trial) -> int:
    """The first position after the break."""
    return int(trial.run.info["resumed_at"])


def rows_of_layout(whole: Trial) -> int:
    """n, from a run that reads each row once."""
    return sum(len(record.rows) for record in whole.run.records)


def _highest_held_out(run: Run, at: int) -> float:
    measured = [r.probes for r in run.records[at : at + CLOSE_STEPS] if r.probes]
    return max(float(np.mean(list(losses.values()))) for losses in measured)


def same_bits(resumed: Trial, whole: Trial) -> bool:
    """Every loss, gradient, held-out loss and last weight is the same to the last bit."""
    steps = [
        [(r.step, r.loss, r.grad_norm, r.update_norm, r.probes) for r in trial.run.records]
        for trial in (resumed, whole)
    ]
    return steps[0] == steps[1] and resumed.values["weights"] == whole.values["weights"]


def over_layouts(evidence: Evidence, way: str) -> dict[str, Interval]:
    """Intervals of each field of `Cost`, by its name."""
    costs = [cost(resumed, whole) for resumed, whole in pairs(evidence, way)]
    return {
        field.name: interval_over_seeds([getattr(c, field.name) for c in costs])
        for field in fields(Cost)
    }


def pairs(evidence: Evidence, way: str) -> list[tuple[Trial, Trial]]:
    """A way of resuming and the uninterrupted run, for each layout. Raises `MissingTrials`."""
    which = (WHOLE[0], way)
    return [
        (evidence.trial(*which, seed), evidence.trial(*WHOLE, seed))
        for seed in evidence.common(which, WHOLE)
    ]


def expected_shares(settings: Mapping[str, Any], f: float) -> tuple[float, float]:
    """Shares of the rows that a way of resuming reads twice, and never; see `laws.resume_rows`."""
    if not settings["step"]:
        return f, 0.0
    if settings["order"] == "again":
        return min(f, 1 - f), min(f, 1 - f)
    if settings["order"] == "goes on":
        return 0.0, 0.0
    return laws.resume_rows(1, f), laws.resume_rows(1, f)


def fraction(whole: Trial) -> float:
    """f."""
    done = sum(len(record.rows) for record in whole.run.records[: broken_at(whole)])
    return done / rows_of_layout(whole)
