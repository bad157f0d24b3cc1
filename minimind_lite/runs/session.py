"""A training run as an object: advanced by steps, saved, restored, rolled back.

A state lies between two optimizer steps. So there is never half a batch to save: a run that is
broken off in the middle of its micro-batches takes the whole step again, with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from torch import Tensor

from minimind_lite.config import TrainConfig
from minimind_lite.files.provenance import run_info
from minimind_lite.model import LanguageModel
from minimind_lite.optimizer import make_optimizer
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.runs.course import Rollback, batches_after
from minimind_lite.trainer import NonFiniteLoss, mean_loss, train


@dataclass(frozen=True)
class State:
    """Everything that changes while a run goes on, as it is before step `step`."""

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]  # of the optimizer: "0.exp_avg", "0.step" ... by parameter
    step: int
    position: int  # records so far, abandoned ones included
    rollbacks: tuple[Rollback, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What a policy asks for: to go back `back` steps or more, and what then; see `Rollback`."""

    reason: str
    back: int = 0
    then: str = "replay"
    skip: int = 0
    rate_factor: float = 1.0


# Given a step and its loss (NaN where it is not finite), says whether to go back.
Policy = Callable[[int, float], Wish | None]


class States(Protocol):
    """Where states are kept: in memory, or on disk."""

    def add(self, state: State) -> None:
        """Keep one more; an old one may be let go."""

    def before(self, step: int) -> State:
        """The newest one that a run may go back to from `step`; else the oldest that is kept."""


class MemoryStates:
    """The last `n` states; those after the one that a run went back to are forgotten."""

    def __init__(self, n: int = 1) -> None:
        self.n, self._states = n, list[State]()

    def add(self, state: State) -> None:
        """Keep a state in place of an older one of the same step."""
        earlier = [s for s in self._states if s.step < state.step]
        self._states = [*earlier, state][-self.n :]

    def before(self, step: int) -> State:
        """The newest state at or before `step`; else the oldest. Raises `ValueError` for none."""
        if not self._states:
            raise ValueError("no state was kept yet: there is nothing to go back to.")
        return next((s for s in reversed(self._states) if s.step <= step), self._states[0])


class TrainingSession:
    """A run in parts. Its schedule is that of the data it began with, whatever happens later.

    With `states`, one is kept every `every` steps, from the first on; a policy needs them. `write`
    is given each record before a state is kept that comes after it.
    """

    def __init__(
        self,
        model: LanguageModel,
        data: EncodedRows,
        config: TrainConfig,
        *,
        probes: Mapping[str, EncodedRows] | None = None,
        states: States | None = None,
        every: int = 50,
        write: Callable[[StepRecord], None] | None = None,
    ) -> None:
        self.model, self.data, self.config, self.probes = model, data, config, probes or {}
        self.optimizer = make_optimizer(model, config)
        self.total_steps = config.total_steps(len(data))
        self.step = self.position = 0
        self.rollbacks: tuple[Rollback, ...] = ()
        self.records: list[StepRecord] = []  # those that `advance` took
        self.states, self.every, self.write = states, every, write
        self._latest: tuple[int, int] | None = None  # position and step of the last state kept

    def steps(
        self,
        n: int | None = None,
        *,
        config: TrainConfig | None = None,
        row_weights: np.ndarray | None = None,
        policy: Policy | None = None,
    ) -> Iterator[StepRecord]:
        """Train `n` steps, or all that are left, and yield their records.

        With `config`, under other settings. A `policy` is asked after each step. Where it wishes,
        the run goes back to a kept state, and the steps since then are abandoned. Whenever a
        record is yielded, the session can be saved. Raises what `train` raises; of a loss that is
        not finite a policy hears first.
        """
        config = config or self.config
        stop = math.inf if n is None else self.position + n
        while self.position < stop:
            n_rollbacks = len(self.rollbacks)
            left = None if n is None else int(stop) - self.position
            yield from self._until_rollback(config, left, row_weights, policy)
            if len(self.rollbacks) == n_rollbacks:
                return

    def _until_rollback(
        self,
        config: TrainConfig,
        n: int | None,
        row_weights: np.ndarray | None,
        policy: Policy | None,
    ) -> Iterator[StepRecord]:
        """The next `n` steps on one course; fewer where the run goes back."""
        n_rollbacks = len(self.rollbacks)
        self._keep_if_due()
        batches = batches_after(len(self.data), config, self.rollbacks, start_step=self.step)
        factor = math.prod(rollback.rate_factor for rollback in self.rollbacks)
        records = train(
            self.model,
            self.data,
            config.replace(learning_rate=config.learning_rate * factor),
            probes=self.probes,
            row_weights=row_weights,
            optimizer=self.optimizer,
            batches=islice(batches, n),
            total_steps=self.total_steps,
        )
        try:
            for record in records:
                self.step, self.position = record.step + 1, self.position + 1
                if self.write:
                    self.write(record)
                self._ask(policy, record.step, record.loss)
                if len(self.rollbacks) == n_rollbacks:
                    self._keep_if_due()
                yield record
                if len(self.rollbacks) > n_rollbacks:
                    return
        except NonFiniteLoss as error:
            self._ask(policy, error.step, math.nan)
            if len(self.rollbacks) == n_rollbacks:
                raise

    def _ask(self, policy: Policy | None, step: int, loss: float) -> None:
        """Go back, where the policy wishes so after this step."""
        wish = policy(step, loss) if policy else None
        if wish is None:
            return
        if self.states is None:
            raise ValueError("a policy needs states to go back to: make the session with some.")
        state = self.states.before(step - wish.back)
        rollback = Rollback(
            step, state.step, wish.then, wish.skip, wish.rate_factor, wish.reason, self.position
        )
        rollbacks, position = (*self.rollbacks, rollback), self.position
        self.restore(state)
        self.rollbacks, self.position = rollbacks, position
        self._keep(self.states)

    def _keep_if_due(self) -> None:
        if self.states is not None and self.step % self.every == 0:
            self._keep(self.states)

    def _keep(self, states: States) -> None:
        if self._latest != (self.position, self.step):
            states.add(self.save())
            self._latest = self.position, self.step

    def advance(
        self,
        n: int | None = None,
        *,
        config: TrainConfig | None = None,
        row_weights: np.ndarray | None = None,
        policy: Policy | None = None,
    ) -> list[StepRecord]:
        """As `steps`, at once; their records are also in `self.records`."""
        records = []
        for record in self.steps(n, config=config, row_weights=row_weights, policy=policy):
            records.append(record)
            self.records.append(record)  # at once: the next step may raise
        return records

    def save(self) -> State:
        """The state as it is now, copied."""
        weights = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        by_parameter = self.optimizer.state_dict()["state"] if self.optimizer else {}
        moments = {
            f"{number}.{name}": value.detach().clone()
            for number, values in by_parameter.items()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        return State(weights, moments, self.step, self.position, self.rollbacks)

    def restore(self, state: State) -> None:
        """Back to a saved state; records stay, as a log would."""
        self.model.load_state_dict(dict(state.weights))
        if self.optimizer:
            by_parameter: dict[int, dict[str, Tensor]] = {}
            for key, value in state.moments.items():
                number, _, name = key.partition(".")
                by_parameter.setdefault(int(number), {})[name] = value.clone()
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": by_parameter, "param_groups": groups})
        self.step, self.position = state.step, state.position
        self.rollbacks, self._latest = state.rollbacks, None

    def run(self, *, info: Mapping[str, object] | None = None) -> Run:
        """What `advance` recorded, with `info` and the held-out losses as they are now."""
        more = {"rows": len(self.data), **(info or {}), "probes_after": self.probe_losses()}
        return Run(run_info(self.model, self.config, more=more), tuple(self.records))

    def has_steps(self) -> bool:
        """Whether there is a step left to train."""
        n_rows = len(self.data)
        batches = batches_after(n_rows, self.config, self.rollbacks, start_step=self.step)
        return next(batches, None) is not None

    def probe_losses(self) -> dict[str, float]:
        """The held-out losses as they are now, in nats."""
        return {name: mean_loss(self.model, rows) for name, rows in self.probes.items()}
