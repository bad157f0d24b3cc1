"""Which rows each step of a run reads, also where it was rolled back.

A pure function of the number of rows, the configuration and the rollbacks so far. So a run that
was rolled back, killed and resumed still reads the rows that it would have read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from minimind_lite.config import TrainConfig
from minimind_lite.rows import batches
from minimind_lite.trainer import Batch, batches_of_run

AFTERWARDS = ("replay", "skip", "reshuffle")


@dataclass(frozen=True)
class Rollback:
    """One rollback: after which step it was called, where the run went on, and how.

    `then`: "replay" the same rows; "skip" those from `back_to` to `called_at`, and `skip` batches
    more; "reshuffle" all that are left of the epoch. Raises `ValueError` for anything else.
    """

    called_at: int  # step
    back_to: int  # step that is taken next
    then: str = "replay"
    skip: int = 0  # batches, beyond those that are abandoned
    rate_factor: float = 1.0  # on the learning rate, from here on
    reason: str = ""
    position: int = 0  # records before it, abandoned ones included

    def __post_init__(self) -> None:
        if self.then not in AFTERWARDS:
            raise ValueError(
                f"after a rollback comes one of {', '.join(AFTERWARDS)}, got {self.then!r}."
            )

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def batches_after(
    n_rows: int, config: TrainConfig, rollbacks: Sequence[Rollback] = (), *, start_step: int = 0
) -> Iterator[Batch]:
    """The batches from `start_step` on, after all `rollbacks`, up to `max_steps`."""
    course: Iterable[Batch] = batches_of_run(n_rows, config.replace(max_steps=None))
    rng = np.random.default_rng([config.seed, 2])
    for rollback in rollbacks:
        course = _changed(iter(course), rollback, config.batch_size, rng)
    return islice(_numbered(course), start_step, config.max_steps)


def _changed(
    course: Iterator[Batch], rollback: Rollback, batch_size: int, rng: np.random.Generator
) -> Iterable[Batch]:
    """A course with what one rollback does to it."""
    if rollback.then == "replay":
        return course
    before = list(islice(course, rollback.back_to))
    if rollback.then == "skip":
        left_out = rollback.called_at + 1 - rollback.back_to + rollback.skip
        return chain(before, islice(course, left_out, None))
    rest = list(course)
    epoch = rest[0].epoch if rest else 0
    rows = [batch.rows for batch in rest if batch.epoch == epoch]
    mixed = rng.permutation(np.concatenate(rows)) if rows else np.empty(0, int)
    again = [Batch(0, epoch, 0, part) for part in batches(mixed, batch_size)]
    return [*before, *again, *rest[len(rows) :]]


def _numbered(course: Iterable[Batch]) -> Iterator[Batch]:
    samples_seen = 0
    for step, batch in enumerate(course):
        yield batch._replace(step=step, samples_seen=samples_seen)
        samples_seen += len(batch.rows)
