"""`train`: fine-tune on a file and leave a run folder."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from minimind_lite.chat import Chat
from minimind_lite.cli import data as reading
from minimind_lite.cli import spikes as reporting
from minimind_lite.cli.progress import progress_bar
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.files import run_folder, shipped
from minimind_lite.files.encoded import EncodedFile, file_stamp
from minimind_lite.files.encoded_cache import cache_folder
from minimind_lite.files.provenance import run_info
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import worker_count
from minimind_lite.rows import EncodedRows
from minimind_lite.trainer import mean_loss, train


def run(arguments: argparse.Namespace) -> int:
    """What can be refused is refused before a file is read; a stop keeps the steps so far."""
    values = {name: getattr(arguments, name) for name in TrainConfig.__dataclass_fields__}
    config = TrainConfig(**(values | {"precision": "fp32"}))  # chosen when the rows are there
    device = choose_device(arguments.device)
    longest = ModelConfig.preset(arguments.model).max_seq_len
    if arguments.max_seq_len > longest:
        raise ValueError(f"{arguments.model} sees {longest} tokens at most: lower --max-seq-len.")
    worker_count()  # this and the next read the environment, which may hold nonsense
    cache_folder()
    writer = run_folder.RunWriter(arguments.out, {})
    try:
        with writer:
            _record(writer, arguments, config, device)
    except KeyboardInterrupt:
        result = f"its steps are kept in {arguments.out}" if writer.parts else "no step was made"
        print(f"stopped; {result}. A stopped run can't go on.", file=sys.stderr)
        return 130
    finally:
        if writer.parts:
            print(reporting.report(arguments.out))
    return 0


def _record(
    writer: run_folder.RunWriter,
    arguments: argparse.Namespace,
    config: TrainConfig,
    device: torch.device,
) -> None:
    """Read, train, and write every step."""
    chat = shipped.chat()
    path = reading.jsonl_of(arguments.data or str(shipped.folder() / "sft.jsonl"))
    data = _data(path, chat, arguments)
    model = _model(arguments, device)
    config = config.replace(precision=_precision(arguments, model, data.rows, config=config))
    learns = config.optimizer != "none"  # a frozen model's held-out loss never changes
    probes = shipped.probes(chat) if config.probe_every and learns else {}
    more = {  # what a reader of the run needs to find the line of each row again
        "data": reading.printable(arguments.data or path),
        "lines_of": reading.printable(path.resolve()),
        "data_stamp": list(file_stamp(path)),
        "data_lines": data.report.lines,
        "skipped_lines": [bad.line for bad in data.report.skipped],
        "rows": len(data.rows),
        "cut_rows": data.n_cut,
        "max_seq_len": arguments.max_seq_len,
    }
    info = run_info(model, config, more=more)
    writer.set_info(info)
    total = min(config.total_steps(len(data.rows)), config.max_steps or sys.maxsize)
    lengths, tokens, start = data.rows.lengths(), 0, time.perf_counter()
    with progress_bar(total, "training") as bar:
        for record in train(model, data.rows, config, probes=probes):
            writer.write(record)
            tokens += int(lengths[record.rows].sum())
            bar.set_postfix(loss=f"{record.loss:.3f}")
            bar.update()
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} s, {tokens / seconds:,.0f} tokens per second (padding not counted).")
    after = {name: mean_loss(model, rows) for name, rows in probes.items()}
    writer.set_info(info | {"probes_after": after})


def _data(path: Path, chat: Chat, arguments: argparse.Namespace) -> EncodedFile:
    """The rows to train on. Raises `ValueError` where there are too few to be meant."""
    data = reading.encode(path, chat, arguments, skip=arguments.skip_bad_lines)
    read, lines = data.report.read, data.report.lines
    if 2 * read < lines and not arguments.allow_mostly_bad:
        raise ValueError(
            f"only {read:,} of {lines:,} lines of {path} could be read. To go on with these: "
            "--allow-mostly-bad."
        )
    if not read:
        raise ValueError(f"{path} has no rows to train on.")
    return data


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
