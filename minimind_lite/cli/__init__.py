"""The command line: `python -m minimind_lite COMMAND`; an error that a user can cause is one line.

The options of `train` are the fields of `TrainConfig` with their sentences. What a command needs
is imported only when it runs, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import typing
from pathlib import Path

from minimind_lite import __version__
from minimind_lite.bench import command as bench_command
from minimind_lite.config import PRECISIONS, ModelConfig, TrainConfig
from minimind_lite.files.jsonl import BadLineError
from minimind_lite.files.visible import visible
from minimind_lite.spikes import MIN_HEIGHT, THRESHOLD, WINDOW

DATA = (
    "JSONL file in MiniMind's format, or ShareGPT's, OpenAI's, Alpaca's; also a JSON array, "
    ".gz, .bz2, .zst, .xz, .zip, UTF-16, a CSV table, Parquet, or hf://owner/name"
)
MAX_MESSAGE = 300  # characters of an error
ROLLBACKS = ("replay", "skip", "reshuffle", "lower-rate", "palm")
DEVICE_ERRORS = ("OutOfMemoryError", "AcceleratorError")  # of torch, which is not imported here


class Store(argparse.Action):
    """Store a value, and note in `given` that the option was given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """What argparse calls."""
        setattr(namespace, self.dest, values)
        namespace.given = {*getattr(namespace, "given", ()), self.dest}


class Parser(argparse.ArgumentParser):
    """Two lines for an error, instead of all options."""

    def __init__(self, **options: typing.Any) -> None:
        super().__init__(**options)
        self.register("action", None, Store)

    def error(self, message: str) -> typing.NoReturn:
        """Say what is wrong and where to read on; ends the process."""
        if len(message) > MAX_MESSAGE:  # a word of a kilobyte is repeated whole
            message = f"{message[: MAX_MESSAGE // 2]}…{message[-MAX_MESSAGE // 2 :]}"
        self.exit(2, f"error: {visible(message)}\nAll options: {self.prog} --help\n")

    def add(self, name: str, text: str, **options: typing.Any) -> None:
        """An option with its sentence and, where there is one, its default."""
        default = options.get("default")
        if default is not None:
            text += f" (default: {default})"
        self.add_argument(name, help=text.replace("%", "%%"), **options)

    def add_reading(self) -> None:
        """How a file is read."""
        self.add(
            "--max-seq-len", "tokens of a row; longer ones are cut", type=positive, default=512
        )
        self.add("--no-cache", "encode now and keep no token ids", action="store_true")


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="python -m minimind_lite", description="Reproduce and diagnose MiniMind's loss spikes."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, (function, text, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text}.")
        command.set_defaults(function=function)
        add_options(command)
    return top


def _reproduce(p: Parser) -> None:
    p.add("--model", "shipped base model", choices=("nano", "lite"), default="nano")
    p.add("--seeds", "shuffle seeds, 0 to N-1", type=positive, default=1)
    p.add("--recorded", "show the recorded runs of nano, train nothing", action="store_true")
    p.add("--out", "picture; my_work/reproduce.png or recorded.png if left out", type=Path)


def _train(p: Parser) -> None:
    p.add("--data", f"{DATA}; the shipped data/sft.jsonl if left out")
    p.add("--out", "run folder to write", type=Path)
    p.add("--resume", "instead: run folder to go on with, to the last bit", type=Path)
    every = "steps between two checkpoints; 0: none, and the run can't be resumed"
    p.add("--checkpoint-every", every, type=natural, default=50)
    p.add("--rollback", "when a spike starts, go back; palm: as PaLM did", choices=ROLLBACKS)
    p.add_reading()
    p.add("--skip-bad-lines", "list malformed lines and go on", action="store_true")
    p.add("--allow-mostly-bad", "go on even if most lines are skipped", action="store_true")
    p.add("--hold-out", "lines kept back from training, evenly spaced, as a probe", type=positive)
    probe = "files of your own held-out lines, each a probe named like its file"
    p.add("--probe", probe, nargs="+", action="extend", metavar="FILE")
    p.add("--model", "size", choices=tuple(ModelConfig.PRESETS), default="nano")
    p.add("--weights", "start from these: a run's model.safetensors, or a .pth of MiniMind")
    p.add("--device", "cpu, cuda, mps or auto: CUDA if there is one", default="cpu")
    defaults = {"probe_every": 20, "precision": None}  # others than TrainConfig's
    for name, kind in typing.get_type_hints(TrainConfig).items():
        field = TrainConfig.__dataclass_fields__[name]
        kinds = [k for k in typing.get_args(kind) if k is not type(None)] or [kind]
        text, choices = field.metadata["help"], field.metadata["choices"] or None
        if name == "precision":
            choices = (*PRECISIONS, "auto")
            text += "; auto: the faster one; left out: fp32 for nano and lite, auto for others"
        p.add(
            f"--{name.replace('_', '-')}",
            text,
            type=kinds[0],
            nargs=len(kinds) if len(kinds) > 1 else None,
            default=defaults.get(name, field.default),
            choices=choices,
        )


def _spikes(p: Parser) -> None:
    p.add("run_folder", "what `train --out` wrote", type=Path)
    p.add("--window", "steps before a step that it is judged by", type=positive, default=WINDOW)
    p.add("--threshold", "z at which a rise begins", type=amount, default=THRESHOLD)
    p.add("--min-height", "nats that a rise must have as well", type=amount, default=MIN_HEIGHT)


def _compare(p: Parser) -> None:
    p.add("run_folders", "what `train --out` wrote, two to five", type=Path, nargs="+")
    p.add("--out", "picture; my_work/compare.png if left out", type=Path)


def _check(p: Parser) -> None:
    p.add("data", DATA)
    p.add("--most", "bad lines to list; all if left out", type=positive)
    p.add("--write", "also write what can be read or converted to this new file", type=Path)
    p.add_reading()


def _claims(p: Parser) -> None:
    names = tuple(f"E{i}" for i in range(1, 20) if i != 15)  # E15 reads what others recorded
    p.add("--only", "run these, print no verdicts", nargs="+", choices=names, metavar="E")
    p.add("--seeds", "layouts, 0 to N-1; one decides nothing", type=positive, default=8)
    p.add("--quick", "one seed, main variants: a few minutes, no verdicts", action="store_true")
    p.add("--recorded", "run nothing: verdicts from what is recorded", action="store_true")
    p.add("--fresh", "run trials again that are recorded", action="store_true")
    p.add("--verify", "replay what other code recorded; accept equal bits", action="store_true")
    p.add("--jobs", "trials side by side; as many as cores if left out", type=positive)
    p.add("--out", "folder of the records; data/claims if left out", type=Path)
    p.add("--pictures", "folder for scoreboard and results (PNG; not with --only)", type=Path)


COMMANDS = {  # what runs it, one sentence, its options
    "reproduce": ("cli.reproduce:run", "file order, frozen, shuffled: table, picture", _reproduce),
    "train": ("cli.train:run", "fine-tune on a file and record the run", _train),
    "spikes": ("cli.spikes:run", "the spikes of a recorded run, with their lines", _spikes),
    "compare": ("cli.compare:run", "recorded runs side by side: table, picture", _compare),
    "check": ("cli.data:check", "what a file holds: bad lines, cut rows, tokens", _check),
    "claims": ("cli.claims:run", "run the experiments, print the verdicts", _claims),
    "bench": ("bench.command:run", "tokens per second, step by step", bench_command.add_options),
}


def natural(text: str) -> int:
    """A whole number from 0 to 2^31 - 1, as an option's type."""
    return 0 if text == "0" else positive(text)


def positive(text: str) -> int:
    """A whole number from 1 to 2^31 - 1, as an option's type."""
    if not text.isdecimal() or not 1 <= int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def amount(text: str) -> float:
    """A number from 0 on, as an option's type."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def main(words: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = parser().parse_args(words)
    module, function = arguments.function.split(":")
    try:
        return getattr(importlib.import_module(f"minimind_lite.{module}"), function)(arguments)
    except BadLineError as error:
        message = f"{error.bad_line} To go on without such lines: --skip-bad-lines."
    except (ValueError, OSError, ArithmeticError, MemoryError) as error:
        message = str(error) or "not enough memory"
    except RuntimeError as error:
        if type(error).__name__ not in DEVICE_ERRORS and "can't allocate memory" not in str(error):
            raise  # a mistake of ours
        message = f"the device: {str(error).splitlines()[0]}"
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(f"error: {visible(message)}", file=sys.stderr)
    return 1
