"""When to go back, and what then: a policy that a `TrainingSession` asks after each step.

A policy hears of a step and its loss, two numbers, and answers with a `Wish` or with None. It
knows no model and no file; the session that asks it knows no detector. So each can be tested, and
replaced, without the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite import spikes
from minimind_lite.records import Run
from minimind_lite.runs.course import AFTERWARDS, Rollback
from minimind_lite.runs.session import Wish

TAIL = 5 * spikes.WINDOW  # last losses that the detector is shown: its work must not grow


class RollbacksSpent(ArithmeticError):
    """A policy went back as often as it may, and was called once more."""


@dataclass(frozen=True)
class Rule:
    """How a policy answers a call. Raises `ValueError` for an unknown `then`.

    Back `back` steps or more, to a state that is kept; `then` and `skip` as in `Rollback`; the
    learning rate times `rate_factor` from there on. After a call it is silent for `quiet` steps:
    what it went back for may come again. After `at_most` rollbacks it stops the run.
    """

    then: str = "replay"
    back: int = 0
    skip: int = 0
    rate_factor: float = 1.0
    quiet: int = 0
    at_most: int = 3

    def __post_init__(self) -> None:
        if self.then not in AFTERWARDS:
            raise ValueError(f"no policy {self.then!r}; choose one of {', '.join(AFTERWARDS)}.")


RULES: Mapping[str, Rule] = {
    "replay": Rule("replay", back=10, quiet=50),
    "skip": Rule("skip", back=10, skip=20, quiet=50),
    "reshuffle": Rule("reshuffle", back=10, quiet=50),
    "lower-rate": Rule("replay", back=10, rate_factor=0.5, quiet=50),
    # PaLM (arXiv 2204.02311, section 5.1): a checkpoint roughly 100 steps before the spike
    # started, and roughly 200 to 500 batches skipped, those before and during the spike included.
    "palm": Rule("skip", back=100, skip=200, quiet=100, at_most=20),
}


def spike_starts(losses: Sequence[float]) -> bool:
    """Whether the detector sees a spike that starts at the last of some losses."""
    tail = losses[-TAIL:]
    return any(event.start == len(tail) - 1 for event in spikes.find(tail))


class RollbackPolicy:
    """Asks a detector after each step; where it calls, wishes what its rule says.

    `losses` and `calls` are those of a run that is resumed: the losses of the steps before, and
    the steps at which it was called.
    """

    def __init__(
        self,
        rule: Rule,
        *,
        detector: Callable[[Sequence[float]], bool] = spike_starts,
        losses: Iterable[float] = (),
        calls: Iterable[int] = (),
    ) -> None:
        self.rule, self.detector = rule, detector
        self.losses = list(losses)  # of the steps that were not abandoned
        self.calls = list(calls)  # steps at which it was called

    def __call__(self, step: int, loss: float) -> Wish | None:
        """What to do after a step. Raises `RollbacksSpent`."""
        finite = math.isfinite(loss)
        del self.losses[step:]  # of steps that were abandoned
        if finite:
            self.losses.append(loss)
        if finite and (self._is_quiet(step) or not self.detector(self.losses)):
            return None
        cause = "a spike starts" if finite else "the loss is not finite"
        if len(self.calls) >= self.rule.at_most:
            raise RollbacksSpent(
                f"{cause} at step {step}, after {len(self.calls)} rollbacks (called at steps "
                f"{', '.join(map(str, self.calls))}): going back doesn't help here. Read the rows "
                "of these steps, or lower the learning rate and start again."
            )
        self.calls.append(step)
        rule, reason = self.rule, f"{cause} at step {step}"
        return Wish(reason, rule.back, rule.then, rule.skip, rule.rate_factor)

    def _is_quiet(self, step: int) -> bool:
        return bool(self.calls) and step <= self.calls[-1] + self.rule.quiet


def resumed(rule: Rule, run: Run, rollbacks: Sequence[Rollback], *, step: int) -> RollbackPolicy:
    """The policy of a run that goes on at `step`, from its records and its rollbacks so far."""
    losses = run.loss[~abandoned(run)][:step]
    return RollbackPolicy(rule, losses=losses, calls=[r.called_at for r in rollbacks])


def abandoned(run: Run) -> np.ndarray:
    """True for records that a rollback made void (steps,): a later one has their step or less.

    Or a rollback that `run.info` knows went back before them, and no step has followed it.
    """
    steps = run.column("step")
    if not len(steps):
        return np.zeros(0, bool)
    later = np.minimum.accumulate(steps[::-1])[::-1]  # smallest step from here on
    void = np.append(steps[:-1] >= later[1:], False)
    for past in run.info.get("rollbacks", []):
        void[: past["position"]] |= steps[: past["position"]] >= past["back_to"]
    return void


def sentence(past: Rollback) -> str:
    """One rollback in words."""
    skipped = past.called_at + 1 - past.back_to + past.skip
    then = {
        "replay": "the same rows again",
        "skip": f"without the next {skipped:,} batches",
        "reshuffle": "the rest of the epoch in another order",
    }[past.then]
    rate = "" if past.rate_factor == 1 else f", at {past.rate_factor:g} times the learning rate"
    return f"{past.reason}: back to step {past.back_to}, then {then}{rate}."
