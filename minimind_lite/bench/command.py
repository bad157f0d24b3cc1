"""The command `bench`: its options, and what it does: measure, print, write what is asked for.

What measures is imported only when it runs, so that the command line starts quickly.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
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
    add("--json", type=Path, help="write the figures there too")
    add("--picture", type=Path, help="draw the speed-ups there, as PNG")


def run(arguments: argparse.Namespace) -> int:
    """Measure what is asked for. Raises `ValueError` for fewer than one round."""
    if arguments.rounds < 1:
        raise ValueError(f"--rounds must be 1 or more, got {arguments.rounds}.")
    if arguments.lab:
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
