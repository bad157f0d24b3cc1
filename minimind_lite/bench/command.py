"""The command `bench`: its options, and what it does: measure, print, write what is asked for.

What measures is imported only when it runs, so that the command line starts quickly.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from minimind_lite.config import ModelConfig

MODELS = tuple(ModelConfig.PRESETS)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `bench`."""
    add = parser.add_argument
    add("--models", nargs="+", choices=MODELS, default=list(MODELS), help="sizes to measure")
    add("--rounds", type=int, default=3, help="how often each is measured, in turn; medians count")
    add("--data-mb", type=int, help="also encode a file of so many megabytes")
    add("--lab", action="store_true", help="instead, how quickly the Spike Lab answers")
    add("--fuzz", type=int, help="instead, read so many damaged files: none may be lost or crash")
    add("--kills", type=int, help="instead, kill and resume so often: all must be exact")
    add("--saving", action="store_true", help="instead, what a checkpoint costs")
    add("--reproducibility", action="store_true", help="instead, how far a run differs elsewhere")
    add("--python", help="with --reproducibility, an interpreter with another version of torch")
    add("--json", type=Path, help="write the figures there too")
    add("--picture", type=Path, help="draw the speed-ups there, as PNG")


def run(arguments: argparse.Namespace) -> int:
    """Measure what is asked for. Raises `ValueError` for fewer than one round."""
    if arguments.rounds < 1:
        raise ValueError(f"--rounds must be 1 or more, got {arguments.rounds}.")
    if arguments.kills is not None:
        return _run_kills(arguments.kills)
    if arguments.fuzz is not None:
        return _run_fuzz(arguments.fuzz)
    if arguments.saving:
        _run_saving(arguments.models, arguments.rounds)
    elif arguments.reproducibility:
        _run_reproducibility(arguments.python, arguments.json)
    elif arguments.lab:
        _run_lab(arguments.json)
    else:
        _run_steps(arguments)
    return 0


def _run_steps(arguments: argparse.Namespace) -> None:
    from minimind_lite.bench import compare, figure, streaming

    plan = {name: compare.rounds_for(name, arguments.rounds) for name in arguments.models}
    rows: list[compare.Row] = []
    with _bar(sum(compare.parts(n) for n in plan.values())) as progress:
        for name, n in plan.items():
            rows += compare.measure(name, rounds=n, progress=progress)
    print(compare.table(rows))
    more = {}
    if arguments.data_mb:
        more["streaming"] = asdict(streaming.measure_streaming(arguments.data_mb))
        print("\n".join(f"{name:20s}{value:14.1f}" for name, value in more["streaming"].items()))
    if arguments.json:
        compare.save(arguments.json, rows, more)
    if arguments.picture:
        figure.waterfall(rows).save(arguments.picture)


def _run_fuzz(n: int) -> int:
    """Print counts and faults; 1 where there is a fault. Raises `ValueError` for no file."""
    from minimind_lite.bench import fuzz

    if n < 1:
        raise ValueError(f"--fuzz must be 1 or more, got {n}.")
    with tqdm(total=n, unit="file", disable=None) as bar:
        report = fuzz.run(n, progress=bar.update)
    print(report)
    return 1 if report.faults else 0


def _run_kills(n: int) -> int:
    """Print what became of the runs; 1 where one was not exact, and then its folder stays."""
    import tempfile

    from minimind_lite.bench import kills

    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    with tqdm(total=n, unit="kill", disable=None) as bar:
        outcomes = kills.kill_and_resume(n, folder, seed=0, progress=lambda _: bar.update())
    print(kills.report(outcomes))
    if any(outcome.difference for outcome in outcomes):
        print(f"The runs that differ are in {folder}.")
        return 1
    shutil.rmtree(folder)
    return 0


def _run_saving(models: Sequence[str], rounds: int) -> None:
    from minimind_lite.bench import saving

    with _bar(len(models) * rounds) as progress:
        rows = [saving.measure(name, rounds=rounds, progress=progress) for name in models]
    print(saving.table(rows))


def _run_reproducibility(python: str | None, json_file: Path | None) -> None:
    from minimind_lite.bench import reproducibility

    with _bar(reproducibility.parts(python=python)) as progress:
        rows, recorded = reproducibility.measure(python=python, progress=progress)
    print(reproducibility.table([*rows, *recorded]))
    if json_file:
        reproducibility.save(json_file, rows, recorded)


def _run_lab(json_file: Path | None) -> None:
    from minimind_lite.bench import lab

    on_screen, why_not = lab.screen()
    if why_not:
        print(f"Nothing is measured on the screen: {why_not}.")
    with _bar(lab.PARTS + (2 if on_screen else 0)) as progress:
        lines = lab.measure(on_screen=on_screen, progress=progress)
    print(lab.report(lines))
    if json_file:
        lab.save(json_file, lines)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar, as a function that takes what begins now."""
    with tqdm(total=total, unit="part") as bar:

        def progress(what: str) -> None:
            bar.set_description(what)
            bar.update()

        yield progress
