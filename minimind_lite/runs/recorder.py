"""A session whose records and states go to a run folder, from which it goes on to the last bit.

    records -> steps/*.parquet          every step, abandoned ones included
    states  -> checkpoints/POSITION/    the last few; each says how many records come before it

`begin` makes one; `resume.resume` goes on with one that was broken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from minimind_lite.files import provenance
from minimind_lite.files.checkpoint import fingerprint
from minimind_lite.files.model_file import save_model
from minimind_lite.files.run_folder import CHECKPOINTS, RunWriter
from minimind_lite.files.work import remove
from minimind_lite.records import StepRecord
from minimind_lite.runs import rollback
from minimind_lite.runs.disk_states import KEEP, DiskStates
from minimind_lite.runs.interrupt import StopWish
from minimind_lite.runs.session import TrainingSession

MODEL = "model.safetensors"  # of a finished run
EVERY = 50  # steps between two checkpoints


class NothingLeft(ArithmeticError):
    """A rollback skipped all rows that were left."""


class RecordedRun:
    """A run that is trained by `steps`, and leaves a folder that says all of it.

    Used as a context manager, which lets go of the folder. `notes` are sentences for the user.
    """

    def __init__(
        self,
        writer: RunWriter,
        session: TrainingSession,
        info: Mapping[str, Any],
        *,
        policy: rollback.RollbackPolicy | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.writer, self.session, self.policy, self.notes = writer, session, policy, list(notes)
        self.info, self.stop, self.finished = dict(info), StopWish(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.__exit__(*error)

    def steps(self, records: Iterator[StepRecord] | None = None) -> Iterator[StepRecord]:
        """Train what is left, and yield the records; give those of another way to train it.

        Ctrl-C, or a caller who stops asking, leaves a checkpoint at the last whole step. At the
        end `finished` is True and the weights are in `model.safetensors`. Raises what `train` and
        the policy raise, and `OSError` where the disk takes no more.
        """
        try:
            with self.stop:
                for record in records or self.session.steps(policy=self.policy):
                    self._note_rollbacks()
                    yield record
                    if self.stop.wished:
                        break
        except GeneratorExit:
            self.save()
            raise
        if self.stop.wished and self.left():
            self.save()
        else:
            self._finish()

    def left(self) -> int:
        """Steps that are left; fewer, where a rollback skips rows."""
        total = self.session.total_steps
        return max(0, min(total, self.session.config.max_steps or total) - self.session.step)

    def save(self) -> None:
        """Leave a checkpoint, where the run has any; not in the middle of a step."""
        if self.session.states is not None:
            self.session.states.add(self.session.save())

    def _note_rollbacks(self) -> None:
        """Say in config.json which rollbacks there were. Raises `NothingLeft`."""
        if len(self.session.rollbacks) > len(self.info.get("rollbacks", [])):
            self.info["rollbacks"] = [r.to_dict() for r in self.session.rollbacks]
            self.writer.set_info(self.info)
            if not self.session.has_steps():
                last = rollback.sentence(self.session.rollbacks[-1])
                raise NothingLeft(
                    f"{last} That leaves no step: the run has {self.session.total_steps}. Take a "
                    "rule that skips less, --rollback replay for instance."
                )

    def _finish(self) -> None:
        session = self.session
        if session.optimizer is not None:
            save_model(self.writer.folder / MODEL, session.model)
        self.writer.flush()
        stopped_early = session.step < session.total_steps and session.config.max_steps is not None
        if stopped_early:  # it may go on with a later `max_steps`
            self.save()
        self.info |= {"probes_after": session.probe_losses(), "finished": True}
        self.writer.set_info(self.info)
        self.finished = True
        if not stopped_early:
            remove(self.writer.folder / CHECKPOINTS)


def begin(
    writer: RunWriter,
    session: TrainingSession,
    *,
    info: Mapping[str, Any] | None = None,
    rule: rollback.Rule | None = None,
    every: int = EVERY,
) -> RecordedRun:
    """A new session's run in the folder of `writer`: a checkpoint in `every` steps, none for 0.

    Raises `ValueError` for a `rule` without checkpoints.
    """
    if rule is not None and not every:
        raise ValueError("a rollback needs checkpoints to go back to: let there be some.")
    session.write = writer.write
    more = {
        "checkpoint_every": every,
        "rollback_rule": asdict(rule) if rule else None,
        "total_steps": session.total_steps,
    }
    run_info = provenance.run_info(session.model, session.config, more={**(info or {}), **more})
    writer.set_info(run_info)
    if every:
        about = _about(session) | more
        session.states = DiskStates(writer, about, keep=kept_states(rule, every))
        session.every = every
    return RecordedRun(
        writer, session, run_info, policy=rollback.RollbackPolicy(rule) if rule else None
    )


def kept_states(rule: rollback.Rule | None, every: int) -> int:
    """How many checkpoints are kept: a rollback must find one that is old enough."""
    return KEEP if rule is None else max(KEEP, rule.back // every + 2)


def _about(session: TrainingSession) -> dict[str, Any]:
    """What decides the rest of a run, beside its state."""
    return {
        "train_config": session.config.to_dict(),
        "model_config": session.model.config.to_dict(),
        "data": fingerprint(session.data),
        "probes": {name: fingerprint(rows) for name, rows in session.probes.items()},
        "device": session.model.embedding.weight.device.type,
        "environment": provenance.environment(),
    }
