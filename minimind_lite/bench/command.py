"""What `python -m minimind_lite bench` does: measure, print, and write what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from minimind_lite.bench import compare, figure, lab, profile, streaming
from minimind_lite.bench.recipes import VARIANTS
from minimind_lite.files import shipped


def run(
    *,
    models: Sequence[str],
    rounds: int,
    with_profile: bool = False,
    data_mb: int | None = None,
    json_file: Path | None = None,
    picture: Path | None = None,
) -> None:
    """Compare every variant with every model; a large model is measured in fewer rounds."""
    plan = {name: rounds if name in shipped.BASES else max(1, rounds // 2) for name in models}
    rows = []
    with _bar(sum(1 + n * (1 + len(VARIANTS)) for n in plan.values())) as progress:
        for name, n in plan.items():
            rows += compare.measure(name, rounds=n, progress=progress)
    print(compare.table(rows))
    more: dict[str, object] = {}
    if with_profile:
        more["profile"] = _print(asdict(profile.measure_profile()))
    if data_mb:
        more["streaming"] = _print(asdict(streaming.measure_streaming(data_mb)))
    if json_file:
        compare.save(json_file, rows, **more)
    if picture:
        figure.waterfall(rows).save(picture)


def run_lab(*, json_file: Path | None = None) -> None:
    """How quickly the Spike Lab answers, in the kernel and, where there is a browser, in a page."""
    on_screen, why_not = lab.screen()
    if why_not:
        print(f"Nothing is measured on the screen: {why_not}.")
    with _bar(lab.PARTS + (2 if on_screen else 0)) as progress:
        lines = lab.measure(on_screen=on_screen, progress=progress)
    print(lab.report(lines))
    if json_file:
        lab.save(json_file, lines)


def _print(figures: dict[str, object]) -> dict[str, object]:
    """Print figures, one a line, and hand them on."""
    for name, value in figures.items():
        print(f"{name:28s}{value}")
    return figures


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar, as a function that takes what begins now."""
    with tqdm(total=total, unit="part") as bar:

        def progress(what: str) -> None:
            bar.set_description(what)
            bar.update()

        yield progress
