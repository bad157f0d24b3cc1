"""`train`: fine-tune on a file and leave a run folder."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from minimind_lite.cli import data as reading
from minimind_lite.cli import resuming
from minimind_lite.cli import spikes as reporting
from minimind_lite.cli.inputs import checked_probes, inputs
from minimind_lite.cli.progress import progress_bar
from minimind_lite.cli.weights import StartingWeights, starting_weights
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.encoded_cache import cache_folder
from minimind_lite.files.run_folder import RunWriter
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import worker_count
from minimind_lite.rows import EncodedRows
from minimind_lite.runs.recorder import MODEL, RecordedRun, begin
from minimind_lite.runs.rollback import RULES
from minimind_lite.runs.rollback import sentence as rollback_sentence
from minimind_lite.runs.session import TrainingSession


def run(arguments: argparse.Namespace) -> int:
    """A new run, or one that goes on; a stop keeps the steps so far, and says how to go on."""
    if (arguments.out is None) == (arguments.resume is None):
        raise ValueError("give --out RUN for a new run, or --resume RUN to go on with one.")
    worker_count()  # this and the next read the environment, which may hold nonsense
    cache_folder()
    if arguments.resume:
        return _train(arguments.resume, lambda: resuming.reopened(arguments))
    config, device = _checked(arguments)
    weights = starting_weights(arguments)
    if weights is not None:
        arguments.model = weights.preset  # None for a shape of no preset
    with RunWriter(arguments.out, {}) as writer:
        return _train(
            arguments.out,
            lambda: _begun(writer, arguments, config=config, device=device, weights=weights),
        )


def _checked(arguments: argparse.Namespace) -> tuple[TrainConfig, torch.device]:
    """What can be refused is refused before a file is read."""
    values = {name: getattr(arguments, name) for name in TrainConfig.__dataclass_fields__}
    config = TrainConfig(**(values | {"precision": "fp32"}))  # chosen when the rows are there
    device = choose_device(arguments.device)
    longest = ModelConfig.preset(arguments.model).max_seq_len
    if not arguments.weights and arguments.max_seq_len > longest:
        raise ValueError(f"{arguments.model} sees {longest} tokens at most: lower --max-seq-len.")
    checked_probes(arguments)
    if arguments.rollback and not arguments.checkpoint_every:
        raise ValueError("--rollback needs checkpoints: leave out --checkpoint-every 0.")
    return config, device


def _train(folder: Path, opened: Callable[[], RecordedRun]) -> int:
    """Train what is left of a run; then its report, however it ended."""
    run: RecordedRun | None = None
    stopped = ""
    try:
        with (run := opened()):
            _show(run)
            stopped = "" if run.finished else "stopped"
    except KeyboardInterrupt:
        stopped = "stopped at once"
    finally:
        if run is not None and run.writer.parts:
            print(reporting.report(folder))
    if stopped:
        print(f"{stopped}; {_kept_so_far(run)}", file=sys.stderr)
        return 130
    return 0


def _kept_so_far(run: RecordedRun | None) -> str:
    """What a stop leaves, and how to go on."""
    if run is None or not run.writer.parts:
        return "no step was made."
    folder = reading.printable(run.writer.folder)
    if run.session.states is None:
        return f"its steps are in {folder}. It has no checkpoint, so it can't go on."
    step = run.session.step
    return (
        f"{step:,} of {step + run.left():,} steps are in {folder}. To go on: "
        f"python -m minimind_lite train --resume {shlex.quote(folder)}"
    )


def _show(run: RecordedRun) -> None:
    """Train with a progress bar; the rate at the end."""
    for note in run.notes:
        print(note)
    lengths, tokens, start = run.session.data.lengths(), 0, time.perf_counter()
    told = len(run.session.rollbacks)
    with progress_bar(run.left(), "training") as bar:
        for record in run.steps():
            for past in run.session.rollbacks[told:]:
                bar.write(f"Rollback: {rollback_sentence(past)}")
            told = len(run.session.rollbacks)
            tokens += int(lengths[record.rows].sum())
            bar.set_postfix(loss=f"{record.loss:.3f}")
            bar.update()
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} s, {tokens / seconds:,.0f} tokens per second (padding not counted).")
    if run.finished and (run.writer.folder / MODEL).exists():
        print(f"Weights: {reading.printable(run.writer.folder / MODEL)}")


def _begun(
    writer: RunWriter,
    arguments: argparse.Namespace,
    *,
    config: TrainConfig,
    device: torch.device,
    weights: StartingWeights | None,
) -> RecordedRun:
    """Read the data, make the model, and begin."""
    chat = shipped.chat()
    path = reading.jsonl_of(arguments.data or str(shipped.folder() / "sft.jsonl"))
    read = inputs(path, chat, arguments, config)
    data, rows = read.file, read.rows
    model = weights.model.to(device) if weights else _model(arguments, device)
    config = config.replace(precision=_precision(arguments, model, rows, config=config))
    info = {
        **resuming.place_of(path, arguments.data),
        "data_lines": data.report.lines,
        "skipped_lines": [bad.line for bad in data.report.skipped],
        "held_out_lines": read.held_out_lines,
        "rows": len(rows),
        "cut_rows": data.n_cut,
        "max_seq_len": arguments.max_seq_len,
        "options": resuming.options(arguments),
        **({"weights": weights.info} if weights else {}),
    }
    return begin(
        writer,
        TrainingSession(model, rows, config, probes=read.probes),
        info=info,
        rule=RULES[arguments.rollback] if arguments.rollback else None,
        every=arguments.checkpoint_every,
    )


def _model(arguments: argparse.Namespace, device: torch.device) -> LanguageModel:
    if arguments.model in shipped.BASES:
        return shipped.base_model(arguments.model, device=str(device))
    print(f"{arguments.model} starts from random weights: no base model of it is shipped.")
    return LanguageModel(ModelConfig.preset(arguments.model), seed=arguments.seed).to(device)


def _precision(
    arguments: argparse.Namespace, model: LanguageModel, rows: EncodedRows, *, config: TrainConfig
) -> str:
    """What is asked for; else fp32 for the models of the recorded curves, the faster for others."""
    wanted = arguments.precision or ("fp32" if arguments.model in shipped.BASES else "auto")
    if wanted != "auto":
        return wanted
    from minimind_lite.bench.precision import faster_precision

    batch = rows.select(np.arange(min(config.batch_size, len(rows))))
    choice, sentence = faster_precision(model, batch, config=config)
    print(sentence)
    return choice


def choose_device(name: str = "cpu") -> torch.device:
    """The device `cpu` (the reference), `cuda`, `mps`, or `auto`: CUDA if there is one, else CPU.

    Raises `ValueError` for a device that this machine does not have.
    """
    available = {"cpu"}
    if torch.cuda.is_available():
        available.add("cuda")
    if torch.backends.mps.is_available():
        available.add("mps")
    if name == "auto":
        name = "cuda" if "cuda" in available else "cpu"
    kind, colon, index = name.partition(":")
    if kind not in available or (colon and not index.isdecimal()):
        names = ", ".join(sorted(available))
        raise ValueError(f"device {name!r} is not available here; available: {names}.")
    return torch.device(name)
