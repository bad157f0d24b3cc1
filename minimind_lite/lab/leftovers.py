"""The live run of a lab as a folder, so that it can go on after the kernel was restarted.

There is one folder for each spec, under my_work/lab/. It is a run folder as any other: `spikes`
and `compare` read it. A new run of the same spec takes its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minimind_lite.files import shipped
from minimind_lite.files.run_folder import CHECKPOINTS, CONFIG, STEPS, RunWriter, lock, read_info
from minimind_lite.files.work import remove, work_folder
from minimind_lite.lab.plan import MODEL, RunSpec, session_of
from minimind_lite.rows import EncodedRows
from minimind_lite.runs.disk_states import positions
from minimind_lite.runs.recorder import RecordedRun, begin
from minimind_lite.runs.resume import resume

EVERY = 20  # steps between two checkpoints: two seconds of training


@dataclass(frozen=True)
class Leftover:
    """A run that was broken off: where it is, and how far it came."""

    folder: Path
    done: int  # steps
    total: int


def folder_of(spec: RunSpec, *, probes: bool) -> Path:
    """Where a live run of a spec is recorded."""
    text = json.dumps([MODEL, spec.config.to_dict(), spec.pulse, probes], sort_keys=True)
    name = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    return work_folder() / "lab" / name


def leftover(spec: RunSpec, *, probes: bool) -> Leftover | None:
    """What is left of an earlier run of a spec that did not come to its end; None if nothing is."""
    try:
        folder = folder_of(spec, probes=probes)
        checkpoints = positions(folder)
        info = read_info(folder) if checkpoints else {"finished": True}
        if info.get("finished"):
            return None
    except (OSError, ValueError):
        return None  # nothing that could go on
    done = int(checkpoints[-1].name)  # nothing is rolled back in a lab
    return Leftover(folder, done, info["total_steps"]) if done else None


def open_run(
    spec: RunSpec,
    *,
    data: EncodedRows,
    probes: Mapping[str, EncodedRows],
    go_on: bool,
) -> RecordedRun:
    """A run of a spec in its folder: a new one, or the one that is left there.

    Raises `OSError` where the folder can't be had, `ValueError` where nothing can go on.
    """
    folder = folder_of(spec, probes=bool(probes))
    if go_on:
        return resume(folder, data, probes=probes)
    _clear(folder)
    session = session_of(spec, shipped.base_model(MODEL), data=data, probes=probes)
    info = {"base": MODEL, "pulse": spec.pulse, "rows": len(data)}
    return begin(RunWriter(folder, {}), session, info=info, every=EVERY)


def _clear(folder: Path) -> None:
    """Make room for a new run, unless another process writes to the old one."""
    if folder.exists():
        taken = lock(folder)
        for name in (CONFIG, STEPS, CHECKPOINTS):
            remove(folder / name)
        taken.release()
