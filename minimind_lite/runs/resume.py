"""Go on with a run that was broken off: to the last bit, or not at all, with the reason.

Whatever would make the rest another run (data, order, schedule, device, threads) was written beside
the state, and is compared before anything is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.files import provenance
from minimind_lite.files.checkpoint import fingerprint
from minimind_lite.files.run_folder import RunWriter, load, read_info
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import MULTIPLE, worker_count
from minimind_lite.rows import EncodedRows
from minimind_lite.runs import rollback
from minimind_lite.runs.course import batches_after
from minimind_lite.runs.disk_states import DiskStates, line_of, newest, state_of
from minimind_lite.runs.recorder import RecordedRun, kept_states
from minimind_lite.runs.session import State, TrainingSession


class NotResumable(ValueError):
    """A run that can't go on as it was; the message says why, and what to do."""


def resume(
    folder: str | Path,
    data: EncodedRows,
    *,
    probes: Mapping[str, EncodedRows] | None = None,
    device: str = "cpu",
    max_steps: int | None = None,
) -> RecordedRun:
    """Go on with the run of a folder from its newest whole checkpoint, to the last bit.

    `data` and `probes` must be those it began with; a later `max_steps` is welcome. A damaged
    checkpoint is named in `notes` and the one before it used. Raises `NotResumable` with the
    reason where the rest would be another run, and `FileExistsError` where a process writes there.
    """
    folder = Path(folder)
    info = resumable_info(folder)
    checkpoint, notes = newest(folder)
    about, state = checkpoint.about, state_of(checkpoint)
    config = TrainConfig.from_dict(about["train_config"])
    config = config.replace(max_steps=max_steps or config.max_steps)
    if info.get("finished") and state.step >= (config.max_steps or 0):
        raise NotResumable(f"{folder} ended at step {state.step}: give a larger --max-steps.")
    _compare(about, data, probes or {}, device=device)
    _compare_order(about, state, len(data))
    model = LanguageModel(ModelConfig.from_dict(about["model_config"])).to(device)
    writer = RunWriter(folder, info, resume_at=state.position)
    session = TrainingSession(model, data, config, probes=probes, write=writer.write)
    session.restore(state)
    if state.rollbacks and not session.has_steps():
        raise NotResumable(f"the last rollback of {folder} left no step: nothing can go on.")
    rule = rollback.Rule(**about["rollback_rule"]) if about["rollback_rule"] else None
    policy = _policy(rule, folder, state) if rule else None
    session.every = about["checkpoint_every"]
    keep, line = kept_states(rule, session.every), line_of(folder, state.position)
    about = {**about, "train_config": config.to_dict()}
    session.states = DiskStates(writer, about, keep=keep, line=line)
    info = _note(writer, info, config, state)
    notes += _differences(about["environment"], provenance.environment())
    return RecordedRun(writer, session, info, policy=policy, notes=notes)


def _policy(rule: rollback.Rule, folder: Path, state: State) -> rollback.RollbackPolicy:
    """As it was after the records that are left in the folder."""
    return rollback.resumed(rule, load(folder), state.rollbacks, step=state.step)


def _note(
    writer: RunWriter, info: Mapping[str, Any], config: TrainConfig, state: State
) -> dict[str, Any]:
    """Say in config.json where the run went on, and on what; what was said of its end is void."""
    here = {"position": state.position, "environment": provenance.environment()}
    noted = {name: value for name, value in info.items() if name != "probes_after"}
    noted |= {"train_config": config.to_dict(), "finished": False}
    noted["resumes"] = [*info.get("resumes", []), here]
    if "rollbacks" in noted:  # of those after the checkpoint, each will be called again
        noted["rollbacks"] = [past.to_dict() for past in state.rollbacks]
    writer.set_info(noted)
    return noted


def resumable_info(folder: str | Path) -> dict[str, Any]:
    """What config.json says of a run that can go on. Raises `NotResumable` for another."""
    info = read_info(folder)
    if "checkpoint_every" not in info:
        raise NotResumable(
            f"{folder} was broken off before its first step: there is nothing to go on from. Start "
            "it again with --out."
        )
    if info["checkpoint_every"] == 0:
        raise NotResumable(f"{folder} was made without checkpoints: it can't go on.")
    if info.get("finished") and info["train_config"]["max_steps"] is None:
        raise NotResumable(f"{folder} is finished: nothing is left to train.")
    return info


def _compare(
    about: Mapping[str, Any],
    data: EncodedRows,
    probes: Mapping[str, EncodedRows],
    *,
    device: str,
) -> None:
    """Raise `NotResumable` where something would make the rest another run."""
    before, now = about["data"], fingerprint(data)
    if before != now:
        then, here = (f"{d['rows']:,} rows of {d['tokens']:,} tokens" for d in (before, now))
        if then == here:
            then, here = (f"digest {d['digest']}" for d in (before, now))
        raise NotResumable(
            f"the data are not those that the run began with: {then} then, {here} now. Give the "
            "old file with --data, or begin a new run with --out."
        )
    changed = [
        name
        for name in about["probes"].keys() | probes.keys()
        if name not in probes or about["probes"].get(name) != fingerprint(probes[name])
    ]
    if changed:
        raise NotResumable(f"held-out sets have changed since the run began: {', '.join(changed)}.")
    if torch_kind(device) != about["device"]:
        raise NotResumable(
            f"the run was on {about['device']}; on {device} other instructions round otherwise. "
            "Go on with the device that it began on."
        )
    config, workers = about["train_config"], about["environment"]["workers"]
    free = config["micro_batch_size"] is None and config["optimizer"] != "none"
    if free and _parts(workers) != _parts(worker_count()):
        raise NotResumable(
            f"the run had {workers} threads and now there are {worker_count()}: batches would be "
            f"cut and sums rounded otherwise. Set MINIMIND_LITE_WORKERS={workers}."
        )


def torch_kind(device: str) -> str:
    """cpu, cuda or mps, without a number."""
    return device.partition(":")[0]


def _parts(workers: int) -> int:
    """A batch is cut into a multiple of so many parts; see `parallel.cut`."""
    return -(-workers // MULTIPLE)


def _compare_order(about: Mapping[str, Any], state: State, n_rows: int) -> None:
    """The order, worked out again, must have the last step's rows: numpy may draw otherwise."""
    if about["last_rows"] is None:
        return
    config = TrainConfig.from_dict(about["train_config"]).replace(max_steps=None)
    course = batches_after(n_rows, config, state.rollbacks, start_step=state.step - 1)
    batch = next(islice(course, 1), None)
    if batch is None or batch.rows.tolist() != about["last_rows"]:
        before = about["environment"]["numpy"]
        raise NotResumable(
            f"the order of the rows is another than when the run began (numpy was {before}, is "
            f"{np.__version__}): some rows would be read twice and others never."
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is allowed to differ, and what it means."""
    notes = []
    if before["workers"] != now["workers"]:
        notes.append(f"{before['workers']} threads before, {now['workers']} now: the same bits.")
    for name in ("torch", "machine", "vector", "processor"):
        if before[name] != now[name]:
            notes.append(
                f"{name} was {before[name]} and is {now[name]}: the rest is the same run, but not "
                "to the last bit."
            )
    return notes
