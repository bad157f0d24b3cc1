"""`train --resume`: the same data, read the same way, and the run goes on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minimind_lite.cli import data as reading
from minimind_lite.cli.inputs import inputs
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.encoded import file_stamp
from minimind_lite.files.run_folder import lock
from minimind_lite.runs.recorder import RecordedRun
from minimind_lite.runs.resume import NotResumable, resumable_info, resume

OPTIONS = (
    "model",
    "max_seq_len",
    "skip_bad_lines",
    "allow_mostly_bad",
    "hold_out",
    "rollback",
    "device",
)
WELCOME = {"resume", "data", "max_steps"}  # may be given again, and be others


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of a new run that are no settings of `TrainConfig`, for config.json."""
    data = _whole_path(arguments.data) if arguments.data else None
    return {
        "data": data,
        "probe": [_whole_path(name) for name in arguments.probe or ()],
        **{name: getattr(arguments, name) for name in OPTIONS},
        "weights": _whole_path(arguments.weights) if arguments.weights else None,
    }


def _whole_path(name: str) -> str:
    """The same name from any folder; that of a dataset on the hub stays."""
    return reading.storable(Path(name).resolve()) if Path(name).exists() else name


def reopened(arguments: argparse.Namespace) -> RecordedRun:
    """The run of a folder, ready to go on. Raises `NotResumable` for other settings."""
    folder = arguments.resume
    info = resumable_info(folder)
    before = info["train_config"] | info["options"]
    _refuse_others(arguments, before | {"checkpoint_every": info["checkpoint_every"]})
    again = argparse.Namespace(**vars(arguments) | info["options"])
    lock(folder).release()  # a file of gigabytes is not read in vain
    chat, data = shipped.chat(), arguments.data or again.data
    try:
        path = reading.jsonl_of(data or str(shipped.folder() / "sft.jsonl"))
    except FileNotFoundError as error:
        raise NotResumable(f"{error}. If you moved it, give its new place: --data FILE.") from None
    read = inputs(path, chat, again, TrainConfig.from_dict(info["train_config"]))
    run = resume(
        folder,
        read.rows,
        probes=read.probes,
        device=again.device,
        max_steps=arguments.max_steps,
    )
    if arguments.data:
        run.info |= place_of(path, arguments.data)
        run.info["options"] = info["options"] | {"data": _whole_path(arguments.data)}
        run.writer.set_info(run.info)
    return run


def place_of(path: Path, data: str | None) -> dict[str, Any]:
    """Where the rows of a run are read, for config.json: what finds the line of each row again."""
    return {
        "data": reading.storable(data or path),
        "lines_of": reading.storable(path.resolve()),
        "data_stamp": list(file_stamp(path)),
    }


def _refuse_others(arguments: argparse.Namespace, before: dict[str, Any]) -> None:
    """Raise `NotResumable` for an option that would make another run of it."""
    given = {*getattr(arguments, "given", ()), *(["probe"] if arguments.probe else ())}
    now = vars(arguments) | options(arguments)
    for name in sorted(given - WELCOME):
        value, option = now[name], f"--{name.replace('_', '-')}"
        was = "was not given" if before.get(name) is None else f"was {before[name]}"
        if value != before.get(name):
            raise NotResumable(
                f"{option} {was} when the run began, and can't become {value}. Leave it out, or "
                "begin a new run with --out."
            )
