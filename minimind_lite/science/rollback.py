"""A run that is watched by the detector, and goes back to its last checkpoint when it calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.rows import EncodedRows
from minimind_lite.science.training_session import TrainingSession

POLICIES = ("nothing", "replay", "skip", "reshuffle")


@dataclass(frozen=True)
class Pulse:
    """Steps at which a run is trained under other settings."""

    steps: Sequence[int]
    config: TrainConfig


class WatchedRun:
    """Training with a checkpoint every `every` steps, and one rollback for each call.

    `policy` says what follows a rollback: "replay" the same rows, "skip" them and `skip` batches
    after them, or "reshuffle" what is left. A replay repeats the pulse, the others do not. With
    "nothing" the calls are only counted.
    """

    def __init__(
        self,
        session: TrainingSession,
        data: EncodedRows,
        *,
        order: np.ndarray,
        policy: str,
        every: int,
        skip: int,
        pulse: Pulse,
        rng: np.random.Generator,
    ) -> None:
        if policy not in POLICIES:
            raise ValueError(f"no policy {policy!r}; choose one of {', '.join(POLICIES)}.")
        self.session, self.data, self.order = session, data, order
        self.policy, self.every, self.skip, self.pulse, self.rng = policy, every, skip, pulse, rng
        self.checkpoint = session.save()
        self.losses: list[float] = []  # of the steps that were not rolled back
        self.rows_read: list[np.ndarray] = []  # of every step that was taken
        self.calls: list[int] = []  # steps at which the detector called
        session.data = data.select(order)

    def train(self) -> None:
        """To the end of the order. The session's records then have the rows of `data`."""
        while self.session.step * self.session.config.batch_size < len(self.order):
            step = self.session.step
            if step % self.every == 0:
                self.checkpoint = self.session.save()
            self._take_step()
            if self._spike_starts_at(step):
                self.calls.append(step)
                if self.policy != "nothing":
                    self._go_back(step)
        self.session.records = [
            replace(record, rows=rows) for record, rows in zip(self.session.records, self.rows_read)
        ]

    def rows_never_read(self) -> int:
        """How many rows no step has read."""
        return len(self.data) - len(np.unique(np.concatenate(self.rows_read)))

    def _take_step(self) -> None:
        pulsed = self.session.step in self.pulse.steps
        config = self.pulse.config if pulsed else self.session.config
        (record,) = self.session.advance(1, config=config)
        self.rows_read.append(self.order[record.rows])
        self.losses.append(record.loss)

    def _spike_starts_at(self, step: int) -> bool:
        """Whether the detector calls now; it is silent for `every` steps after a call."""
        if self.calls and step <= self.calls[-1] + self.every:
            return False
        return any(event.start == step for event in spikes.find(self.losses))

    def _go_back(self, called_at: int) -> None:
        self.session.restore(self.checkpoint)
        self.losses = self.losses[: self.session.step]
        size = self.session.config.batch_size
        start, stop = self.session.step * size, (called_at + 1 + self.skip) * size
        if self.policy == "skip":
            self.order = np.concatenate([self.order[:start], self.order[stop:]])
        if self.policy == "reshuffle":
            rest = self.rng.permutation(self.order[start:])
            self.order = np.concatenate([self.order[:start], rest])
        if self.policy != "replay":
            self.pulse = replace(self.pulse, steps=())
        self.session.data = self.data.select(self.order)
