"""The states of a run as checkpoints in its folder: written, found again, let go.

A record is on the disk before the checkpoint that comes after it. So whenever a run is killed, its
newest whole checkpoint and the records before it are one consistent state.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minimind_lite.files.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    load_checkpoint,
    save_checkpoint,
)
from minimind_lite.files.run_folder import CHECKPOINTS, RunWriter
from minimind_lite.files.work import remove
from minimind_lite.runs.course import Rollback
from minimind_lite.runs.session import State

KEEP = 3  # checkpoints


class DiskStates:
    """The last `keep` states of a run, as checkpoints in its folder.

    `about` is what must agree when the run goes on. `line` is (position, step) of the states that
    a rollback may go back to: those that none made void, at steps that are due. One that Ctrl-C
    left in between is none of them: the run without a break would not have it.
    """

    def __init__(
        self,
        writer: RunWriter,
        about: Mapping[str, Any],
        *,
        keep: int = KEEP,
        line: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.folder = writer.folder / CHECKPOINTS
        self.writer, self.about, self.keep, self.line = writer, about, keep, list(line)

    def _path(self, position: int) -> Path:
        return self.folder / f"{position:09d}"

    def add(self, state: State) -> None:
        """Write a checkpoint, after all records before it; then let old ones go."""
        self.writer.flush()
        last = self.writer.last
        about = {
            **self.about,
            "step": state.step,
            "position": state.position,
            "rollbacks": [r.to_dict() for r in state.rollbacks],
            "last_rows": last.rows.tolist() if last and last.step + 1 == state.step else None,
        }
        path = self._path(state.position)
        save_checkpoint(path, Checkpoint(state.weights, state.moments, about))
        self.line = _extended(self.line, (state.position, state.step), self.about)
        newest = {self._path(position) for position, _ in self.line[-self.keep :]}
        for old in set(positions(self.writer.folder)[: -self.keep]) - newest:
            remove(old)

    def before(self, step: int) -> State:
        """The newest whole state at or before `step`; else the oldest."""
        candidates = [p for p, s in reversed(self.line) if s <= step] or [self.line[0][0]]
        for position in candidates:
            try:
                return state_of(load_checkpoint(self._path(position)))
            except DamagedCheckpoint as error:
                warnings.warn(f"{error} The one before it is used.", stacklevel=2)
        raise ValueError(f"no checkpoint in {self.folder} is whole: there is none to go back to.")


def _extended(
    line: Sequence[tuple[int, int]], new: tuple[int, int], about: Mapping[str, Any]
) -> list[tuple[int, int]]:
    """With a new state; those after the step that it goes on from are void."""
    if new[1] % about["checkpoint_every"]:
        return list(line)
    return [*(old for old in line if old[1] < new[1]), new]


def positions(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first, whole or not."""
    return sorted(p for p in (folder / CHECKPOINTS).glob("[0-9]*") if p.name.isdecimal())


def state_of(checkpoint: Checkpoint) -> State:
    """The state of a session that a checkpoint holds."""
    about = checkpoint.about
    rollbacks = tuple(Rollback(**values) for values in about["rollbacks"])
    return State(
        checkpoint.weights, checkpoint.moments, about["step"], about["position"], rollbacks
    )


def newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest whole checkpoint of a run folder, and what is wrong with those after it.

    Raises `ValueError` where there is none.
    """
    problems: list[str] = []
    if not positions(folder):
        raise ValueError(
            f"{folder} has no checkpoint: it was broken off before its first step. Start it again "
            "with --out."
        )
    for path in reversed(positions(folder)):
        try:
            checkpoint = load_checkpoint(path)
            return checkpoint, [f"{p} The checkpoint before it is used." for p in problems]
        except DamagedCheckpoint as error:
            problems.append(str(error))
    raise ValueError(f"{folder} has no whole checkpoint to go on from. {' '.join(problems)}")


def line_of(folder: Path, position: int) -> list[tuple[int, int]]:
    """(position, step) of the states to which a run that goes on at `position` may go back."""
    line: list[tuple[int, int]] = []
    for path in positions(folder):
        if int(path.name) <= position:
            try:
                about = load_checkpoint(path).about
                line = _extended(line, (about["position"], about["step"]), about)
            except DamagedCheckpoint:
                continue
    return line
