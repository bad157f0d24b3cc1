"""Command line: python -m minimind_lite {reproduce, train, claims, bench}."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from minimind_lite import __version__, order, spikes
from minimind_lite.chat import Chat, EncodedRows
from minimind_lite.config import OPTIMIZERS, PRECISIONS, SCHEDULES, ModelConfig, TrainConfig
from minimind_lite.conversations import BadLineError
from minimind_lite.files import shipped
from minimind_lite.files.encoded_cache import EncodedFile, encode_file
from minimind_lite.model import LanguageModel
from minimind_lite.order import KINDS
from minimind_lite.records import RunWriter
from minimind_lite.science import reproduce
from minimind_lite.science.trials import FailedTrials, MissingTrials
from minimind_lite.trainer import choose_device, describe, faster_precision, train

if TYPE_CHECKING:
    from minimind_lite.plots.base import Plot


class _Bar:
    """A tqdm bar per run, driven by an experiment's progress callback; shown after `delay` seconds."""

    def __init__(self, *, unit: str = "step", delay: float = 0) -> None:
        self.name, self.bar, self.unit, self.delay = None, None, unit, delay

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self.name:
            self.close()
            self.name, self.bar = (
                what,
                tqdm(
                    total=total,
                    desc=what,
                    unit=self.unit,
                    unit_scale=self.unit == "B",
                    delay=self.delay,
                ),
            )
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def reproduce_command(arguments: argparse.Namespace) -> int:
    """File order, frozen, shuffled: table on the terminal, picture in a file."""
    start, bar = time.perf_counter(), _Bar()
    if arguments.recorded:
        runs = reproduce.recorded()
        print("Recorded runs of nano, nothing trained now:")
    else:
        runs = reproduce.reproduce(model=arguments.model, seeds=arguments.seeds, progress=bar)
    bar.close()
    summaries = [reproduce.summarise(run) for run in runs.values()]
    print(reproduce.table(summaries))
    print(
        "Heights: first batch wholly inside the segment minus the trailing median, nats per token. "
        "* = part of an event with z >= 6 and at least 0.3 nats."
    )
    shuffled = [s for s in summaries if s.name.startswith("shuffled")]
    print(
        f"Shuffled, {len(shuffled)} seed{'s' * (len(shuffled) > 1)}: {sum(len(s.events) for s in shuffled)} events, "
        f"largest height {max(s.largest[0] for s in shuffled):.2f} nats, largest z {max(s.largest[1] for s in shuffled):.1f}."
    )
    plot = figure(runs)
    out = arguments.out or Path("my_work") / (
        "recorded.png" if arguments.recorded else "reproduce.png"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    plot.save(out)
    print(plot.summary)
    print(f"Picture: {out.resolve()} ({time.perf_counter() - start:.0f} s in all)")
    return 0


def figure(runs: dict) -> Plot:
    """File order with its spikes marked, frozen, and the first shuffled run, on one pair of axes."""
    from minimind_lite.plots import base  # training draws nothing

    shown = {
        "file order": runs["file"],
        "frozen model": runs["frozen"],
        "shuffled": next(run for name, run in runs.items() if name.startswith("shuffled")),
    }
    return base.loss_curve(
        shown,
        segments=shipped.segments(),
        events=spikes.find(runs["file"].loss),
        strips=("file order", "shuffled"),
        title="One data set, one model: three ways to pass over the file",
    )


def _encode(path: Path, chat: Chat, arguments: argparse.Namespace) -> EncodedFile:
    """The file as rows, with a bar where that takes more than two seconds, and a line for what the cache has to say."""
    start, bar = time.perf_counter(), _Bar(unit="B", delay=2)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        try:
            data = encode_file(
                path,
                chat,
                max_len=arguments.max_seq_len,
                on_error="skip" if arguments.skip_bad_lines else "raise",
                cache=bool(arguments.data) and not arguments.no_cache,
                progress=bar,
            )
        finally:
            bar.close()
    print(data.report)
    if data.entry:
        print(
            f"Token ids {'found' if data.cached else 'kept'} in {data.entry} ({time.perf_counter() - start:.1f} s)."
        )
    return data


def train_command(arguments: argparse.Namespace) -> int:
    """Fine-tune on a JSONL file and leave a run folder."""
    device = choose_device(arguments.device)
    chat = shipped.chat()
    names = (
        "order",
        "batch_size",
        "micro_batch_size",
        "epochs",
        "optimizer",
        "learning_rate",
        "schedule",
        "probe_every",
        "seed",
        "max_steps",
    )
    config = TrainConfig(**{name: getattr(arguments, name) for name in names})
    order.make(config.order, 1)  # an unknown order is an error before anything is read or written
    path = arguments.data or shipped.folder() / "sft.jsonl"
    data = _encode(path, chat, arguments)
    rows = data.rows
    if not len(rows):
        raise ValueError(f"{path} has no rows to train on.")
    model = _model(arguments, device)
    config = config.replace(precision=_precision(arguments, model, rows, config))
    probes = shipped.probes(chat) if config.probe_every else None
    lengths, total = (
        rows.lengths(),
        min(config.total_steps(len(rows)), config.max_steps or sys.maxsize),
    )
    # With these, `encoded.line_numbers` finds the line of each row of the run, in the file that has this content.
    info = describe(
        model,
        config,
        data=str(path),
        data_blake2b=data.content,
        data_lines=data.report.lines,
        rows=len(rows),
        max_seq_len=arguments.max_seq_len,
    ) | {"skipped_lines": [bad.line for bad in data.report.skipped]}
    with RunWriter(arguments.out, info) as writer:
        with tqdm(train(model, rows, config, probes=probes), total=total, unit="step") as steps:
            losses, seconds, seen = [], 0.0, 0
            for record in steps:
                writer.write(record)
                losses.append(record.loss)
                seconds, seen = seconds + record.seconds, seen + int(lengths[record.rows].sum())
                steps.set_postfix(loss=f"{record.loss:.3f}")
                rows.release()  # else all of a large file that was touched once stays in memory
    enough = len(losses) > spikes.WINDOW
    events = spikes.find(losses) if enough else []
    found = (
        f"{len(events)} spike events"
        if enough
        else f"too few to look for spikes (that takes more than {spikes.WINDOW})"
    )
    print(
        f"{len(losses)} step{'s' * (len(losses) != 1)}, {found}; {seconds:.1f} s, {seen / max(seconds, 1e-9):,.0f} tokens per second "
        f"(padding not counted). Run folder: {arguments.out.resolve()}"
    )
    for e in events:
        print(f"  steps {e.start}–{e.stop - 1}: +{e.peak_height:.2f} nats, z = {e.z:.1f}")
    return 0


def _model(arguments: argparse.Namespace, device: torch.device) -> LanguageModel:
    if arguments.model in shipped.BASES:
        return shipped.base_model(arguments.model, device=str(device))
    print(f"{arguments.model} starts from random weights: no base checkpoint of it is shipped.")
    return LanguageModel(ModelConfig.preset(arguments.model), seed=arguments.seed).to(device)


def _precision(
    arguments: argparse.Namespace, model: LanguageModel, rows: EncodedRows, config: TrainConfig
) -> str:
    """What was asked for; if nothing was, fp32 for the models of the recorded curves, and what is measured to be faster for others."""
    wanted = arguments.precision or ("fp32" if arguments.model in shipped.BASES else "auto")
    if wanted != "auto":
        return wanted
    batch = rows.select(
        np.arange(min(config.batch_size, len(rows)))
    )  # a batch is all it times; a large file need not be counted for it
    choice, sentence = faster_precision(model, batch, config)
    print(sentence)
    return choice


def claims_command(arguments: argparse.Namespace) -> int:
    """Run what is missing of the experiments, then print the verdicts."""
    from minimind_lite.parallel import available_cores
    from minimind_lite.plots import curves
    from minimind_lite.science import claims, experiments, trials
    from minimind_lite.science.evidence import Evidence

    chosen = [experiments.EXPERIMENTS[name] for name in arguments.only or experiments.EXPERIMENTS]
    seeds = tuple(range(1 if arguments.quick else arguments.seeds))
    store = trials.Store(arguments.out or shipped.folder() / "claims")
    jobs = (
        trials.missing(chosen, store, seeds, quick=arguments.quick, fresh=arguments.fresh)
        if not arguments.recorded
        else []
    )
    if stale := store.of_other_code(chosen):
        print(f"{stale} trials were recorded by other code than this; --fresh runs them again.")
    if jobs:
        print(
            f"{len(jobs)} trials to run, {sum(j.variant.cost for j in jobs):.0f} passes over the file in all; a stop loses only what is running."
        )
        form = "{l_bar}{bar}| {n:.1f}/{total:.1f} passes [{elapsed}<{remaining}]"
        with tqdm(
            total=round(sum(j.variant.cost for j in jobs), 1), unit="pass", bar_format=form
        ) as bar:
            for job in trials.run(jobs, store, processes=arguments.jobs or available_cores()):
                bar.set_description(f"{job.experiment.id} {job.variant.name}, seed {job.seed}")
                bar.update(job.variant.cost)
    if not arguments.only:
        verdicts = claims.scoreboard(
            Evidence(store, None if arguments.recorded else seeds), partial=arguments.quick
        )
        print(claims.text(verdicts))
        if arguments.quick:
            print(
                f"{len(verdicts)} of {len(claims.CLAIMS)} claims can be looked at with these trials; verdicts need five layouts (without --quick)."
            )
        if arguments.picture:
            arguments.picture.parent.mkdir(parents=True, exist_ok=True)
            curves.scoreboard(verdicts).save(arguments.picture)
            print(f"Picture: {arguments.picture.resolve()}")
    return 0


def bench_command(arguments: argparse.Namespace) -> int:
    """What each idea of the fast path gains, model by model; where time goes, how cost grows, what the start costs."""
    from minimind_lite.bench import figure, profile, steps, streaming  # nothing else needs them

    if arguments.lab:
        return _bench_lab(arguments.json)
    plan = {
        name: (arguments.rounds, 2) if name in shipped.BASES else (1, 1)
        for name in arguments.models
    }  # rounds, steps
    rows, more = [], {}
    bar = tqdm(total=sum(rounds for rounds, _ in plan.values()) * len(steps.LADDER), unit="variant")

    def progress(what: str) -> None:
        bar.set_description(what)
        bar.update()

    for name, (rounds, n_steps) in plan.items():
        rows += steps.ladder(name, rounds=rounds, steps=n_steps, progress=progress)
    bar.close()
    print(steps.report(rows))
    print(
        "tokens/s: real tokens, padding not counted. of peak: useful FLOP/s over the best matrix product of that precision measured just now.\n"
        "memory: highest of a process that does one step. gradient: largest difference from the plain one."
    )
    if arguments.profile:
        more = {
            "breakdown": {name: profile.breakdown(name) for name in arguments.models},
            "scaling": profile.scaling(),
            "startup": profile.startup(),
        }
        print(profile.report(more["breakdown"], more["scaling"], more["startup"]))
    if arguments.data_mb:
        more["streaming"] = vars(streaming.measure_streaming(arguments.data_mb))
        print(
            "Streaming: "
            + ", ".join(f"{name} {value:,.1f}" for name, value in more["streaming"].items())
        )
    if arguments.json:
        steps.save(arguments.json, rows, **more)
    if arguments.picture:
        figure.waterfall(rows).save(arguments.picture)
    return 0


def _bench_lab(json_file: Path | None) -> int:
    """How quickly the Spike Lab answers."""
    from minimind_lite.bench import browser, lab

    if why := browser.missing():
        print(f"Nothing is measured on the screen: {why}.")
    with tqdm(total=2 + lab.ROUNDS + (0 if why else 2), unit="part") as bar:

        def progress(what: str) -> None:
            bar.set_description(what)
            bar.update()

        lines = lab.measure(screen=not why, progress=progress)
    print(lab.report(lines))
    if json_file:
        lab.save(json_file, lines)
    return 0


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="python -m minimind_lite", description="Reproduce and diagnose MiniMind's loss spikes."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)

    p = commands.add_parser(
        "reproduce",
        help="file order against frozen and shuffled: table and picture, under a minute",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--model", choices=("nano", "lite"), default="nano", help="shipped base model")
    p.add_argument("--seeds", type=_positive, default=1, help="shuffle seeds, 0 to N-1")
    p.add_argument(
        "--recorded",
        action="store_true",
        help="show the runs that come with the project, train nothing",
    )
    p.add_argument(
        "--out",
        type=Path,
        help="where the picture goes; my_work/reproduce.png or recorded.png if left out",
    )
    p.set_defaults(run=reproduce_command)

    d = TrainConfig()
    p = commands.add_parser(
        "train",
        help="fine-tune on a MiniMind JSONL and record the run",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--data", type=Path, help="JSONL file; the shipped data/sft.jsonl if left out")
    p.add_argument(
        "--out",
        type=Path,
        required=True,
        help="run folder to write (config.json, steps/, samples/)",
    )
    p.add_argument("--model", choices=tuple(ModelConfig.PRESETS), default="nano", help="size")
    p.add_argument(
        "--device", default="cpu", help="cpu, cuda, mps or auto (CUDA if there is one, else CPU)"
    )
    p.add_argument(
        "--precision",
        choices=(*PRECISIONS, "auto"),
        help="of the matrix products; auto measures which is faster; left out: fp32 for nano and lite, auto for others",
    )
    p.add_argument("--order", default=d.order, help="one of " + ", ".join(KINDS))
    p.add_argument(
        "--batch-size",
        type=_positive,
        default=d.batch_size,
        help="conversations per optimiser step",
    )
    p.add_argument(
        "--micro-batch-size",
        type=_positive,
        help="conversations per forward pass; cut by length if left out",
    )
    p.add_argument("--epochs", type=_positive, default=d.epochs, help="passes over the file")
    p.add_argument(
        "--max-steps", type=_positive, help="stop after so many steps, schedule unchanged"
    )
    p.add_argument(
        "--optimizer", choices=OPTIMIZERS, default=d.optimizer, help="none = a frozen model"
    )
    p.add_argument("--learning-rate", type=float, default=d.learning_rate, help="see --schedule")
    p.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default=d.schedule,
        help="MiniMind's of February 2025, of late 2025, or constant",
    )
    p.add_argument(
        "--probe-every", type=int, default=20, help="measure held-out loss every N steps, 0 = never"
    )
    p.add_argument(
        "--max-seq-len",
        type=_positive,
        default=512,
        help="tokens per conversation, longer ones are cut",
    )
    p.add_argument(
        "--skip-bad-lines",
        action="store_true",
        help="list malformed lines and go on, instead of stopping",
    )
    p.add_argument(
        "--no-cache",
        action="store_true",
        help="encode --data anew and keep nothing (MINIMIND_LITE_CACHE: where token ids are kept)",
    )
    p.add_argument("--seed", type=int, default=d.seed, help="of the order")
    p.set_defaults(run=train_command)

    _claims_parser(commands)
    _bench_parser(commands)
    return top


def _bench_parser(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "bench",
        help="tokens per second from the plain recipe to the fast path, step by step",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument(
        "--models",
        nargs="+",
        choices=tuple(ModelConfig.PRESETS),
        default=list(ModelConfig.PRESETS),
        help="minimind2_small takes the longest, and is measured in one round",
    )
    p.add_argument(
        "--rounds",
        type=_positive,
        default=3,
        help="how often each variant is measured, in turn; the median counts",
    )
    p.add_argument(
        "--profile",
        action="store_true",
        help="also where time goes, how cost grows with rows and size, what the start costs",
    )
    p.add_argument(
        "--lab",
        action="store_true",
        help="instead, how quickly the Spike Lab answers, in the kernel and in a browser if there is one",
    )
    p.add_argument(
        "--data-mb",
        type=_positive,
        help="also encode a file of so many megabytes, in a process of its own",
    )
    p.add_argument("--json", type=Path, help="write the figures there too")
    p.add_argument("--picture", type=Path, help="draw the speed-ups there, as PNG")
    p.set_defaults(run=bench_command)


def _claims_parser(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "claims",
        help="run the experiments E1 to E12 and print the verdict on each claim",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument(
        "--only",
        nargs="+",
        choices=tuple(f"E{i}" for i in range(1, 13)),
        metavar="E",
        help="run these experiments, print no verdicts",
    )
    p.add_argument(
        "--seeds",
        type=_positive,
        default=5,
        help="layouts, 0 to N-1; intervals need two, verdicts five",
    )
    p.add_argument(
        "--quick",
        action="store_true",
        help="one seed and the main variants: no intervals, no verdicts, a few minutes",
    )
    p.add_argument(
        "--recorded", action="store_true", help="run nothing: the verdicts from what is recorded"
    )
    p.add_argument("--fresh", action="store_true", help="run trials again that are recorded")
    p.add_argument(
        "--jobs", type=_positive, help="trials side by side; the number of cores if left out"
    )
    p.add_argument("--out", type=Path, help="folder of the records; data/claims if left out")
    p.add_argument(
        "--picture",
        type=Path,
        help="write the scoreboard as a picture there, too (PNG; not with --only)",
    )
    p.set_defaults(run=claims_command)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def main(words: list[str] | None = None) -> int:
    """Run a command; an error that a user can cause is one line, not a traceback."""
    arguments = parser().parse_args(words)
    try:
        return arguments.run(arguments)
    except BadLineError as error:
        print(
            f"error: {error.bad_line} To go on without such lines: --skip-bad-lines.",
            file=sys.stderr,
        )
        return 1
    except (ValueError, OSError, ArithmeticError, MissingTrials, FailedTrials) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was recorded so far is kept", file=sys.stderr)
        return 130
