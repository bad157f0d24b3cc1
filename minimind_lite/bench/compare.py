"""The benchmark: every variant of a step in a process of its own, in turn, and their ratios.

One round measures each variant once, one after the other, so that a machine that slows down slows
them all; a ratio is taken within a round, and the median over the rounds counts. Tokens are real
ones: padding is work, not progress.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from minimind_lite.bench.recipes import BASELINES, VARIANTS
from minimind_lite.bench.steps import SAME_GRADIENT, Timing
from minimind_lite.files import shipped
from minimind_lite.files.provenance import environment

STEPS = {"nano": 4, "lite": 2, "minimind2_small": 1}  # timed in each process, after one to warm up


@dataclass(frozen=True)
class Row:
    """What one variant of a step measured with one model."""

    model: str
    variant: str
    timing: Timing  # medians over the rounds
    times: dict[str, float]  # as many tokens a second as each baseline
    of_peak: float  # useful FLOP/s over the best matrix product of the same precision
    gradient_difference: float | None  # from MiniMind's step, of the largest entry; not for Llama

    @property
    def precision(self) -> str:
        """Of the matrix products."""
        return VARIANTS[self.variant].precision

    @property
    def tokens_per_second(self) -> float:
        """Real tokens, padding not counted."""
        return self.timing.tokens / self.timing.seconds


def run_child(variant: str, model: str = "nano", *, steps: int = 1) -> str:
    """What `python -m minimind_lite.bench.steps` prints, as JSON. Raises `CalledProcessError`."""
    command = [sys.executable, "-m", "minimind_lite.bench.steps"]
    command += ["--variant", variant, "--model", model, "--steps", str(steps)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def check(model: str) -> dict[str, float]:
    """How far each variant's gradient is from that of MiniMind's step.

    Raises `ArithmeticError` where one differs: a speed-up that changes the maths is none.
    """
    differences: dict[str, float] = json.loads(run_child("check", model))
    wrong = [
        f"{VARIANTS[name].title} by {difference:.0e}"
        for name, difference in differences.items()
        if not difference <= SAME_GRADIENT[VARIANTS[name].precision]
    ]
    if wrong:
        raise ArithmeticError(f"{model}: not the gradient of MiniMind's step: {'; '.join(wrong)}.")
    return differences


def rounds_for(model: str, rounds: int) -> int:
    """Rounds of one model: a large one takes its time, and is measured less often."""
    return rounds if model in shipped.BASES else max(1, rounds // 2)


def parts(rounds: int) -> int:
    """How often `measure` reports progress."""
    return 1 + rounds * (1 + len(VARIANTS))


def measure(
    model: str, *, rounds: int, progress: Callable[[str], None] = lambda _: None
) -> list[Row]:
    """Every variant with one model. Raises `ArithmeticError` where a gradient differs."""
    progress(f"{model}: are the gradients equal")
    differences, peaks = check(model), []
    timings: dict[str, list[Timing]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        progress(f"{model}: matrix products")
        peaks.append(json.loads(run_child("matmul")))
        for name in VARIANTS:
            progress(f"{model}: {VARIANTS[name].title}")
            printed = run_child(name, model, steps=STEPS[model])
            timings[name].append(Timing(**json.loads(printed)))
    peak = {precision: max(p[precision] for p in peaks) for precision in SAME_GRADIENT}
    rows = []
    for name, measured in timings.items():
        seconds = statistics.median(t.seconds for t in measured)
        timing = replace(measured[0], seconds=seconds, peak_mb=max(t.peak_mb for t in measured))
        times = {baseline: _times(timings[baseline], measured) for baseline in BASELINES}
        of_peak = timing.flops / seconds / peak[VARIANTS[name].precision]
        rows.append(Row(model, name, timing, times, of_peak, differences.get(name)))
    return rows


def _times(baseline: Sequence[Timing], measured: Sequence[Timing]) -> float:
    """Median over the rounds of the ratio within a round."""
    return statistics.median(b.seconds / t.seconds for b, t in zip(baseline, measured))


def table(rows: Sequence[Row]) -> str:
    """The rows as text, with what each ratio is against."""
    heads = ("ms/step", "tokens/s", "x MiniMind", "x Llama", "of peak", "memory", "gradient")
    lines = [f"{'':16s}{'':46s}" + "".join(f"{head:>11s}" for head in heads)]
    for row in rows:
        suffix = "" if row.precision == "fp32" else "-bf16"
        values = (
            f"{1000 * row.timing.seconds:.0f}",
            f"{row.tokens_per_second:,.0f}",
            f"{row.times['minimind' + suffix]:.2f}",
            f"{row.times['llama' + suffix]:.2f}",
            f"{row.of_peak:.0%}",
            f"{row.timing.peak_mb:.0f} MB",
            "" if row.gradient_difference is None else f"{row.gradient_difference:.0e}",
        )
        name = f"{row.model:16s}{VARIANTS[row.variant].title:46s}"
        lines.append(name + "".join(f"{value:>11s}" for value in values))
    return "\n".join([*lines, "", *_notes(rows)])


def _notes(rows: Sequence[Row]) -> list[str]:
    against = [f"{r.model} {r.times['minimind']:.1f}" for r in rows if r.variant == "ours-bf16"]
    parts = [f"{r.model} {r.timing.parts}" for r in rows if r.variant == "ours"]
    return [
        "Each line is a process of its own, with all cores and the library's defaults.",
        "tokens/s: real tokens, padding not counted. of peak: useful operations a second over the",
        "best matrix product of that precision on the same cores. memory: highest of the process.",
        "x MiniMind, x Llama: as many tokens a second as MiniMind's step and as Hugging Face Llama",
        "in the same precision; the median over the rounds of the ratio within a round.",
        "On a CPU MiniMind's script computes in fp32, whatever --dtype says. Against that, ours in",
        f"bf16: {', '.join(against)} times.",
        f"Micro-batches of a batch, a thread each: {', '.join(parts)}.",
    ]


def save(path: Path, rows: Sequence[Row], more: Mapping[str, object]) -> None:
    """Write the rows, and whatever else was measured, as JSON, with where it was measured.

    `load` is the load average of the machine at the end: more than its cores is a noisy record.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # not on Windows
    measured = {"load": load, "rows": [asdict(row) for row in rows], **more}
    content = {"environment": environment(), **measured}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, object], list[Row]]:
    """What `save` wrote: everything, and the rows. Raises `ValueError` for another file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**{**row, "timing": Timing(**row["timing"])}) for row in content["rows"]]
        return content, rows
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no benchmark ({error}); "
            "python -m minimind_lite bench --json FILE writes one."
        ) from None


def recorded() -> tuple[dict[str, object], list[Row]]:
    """The benchmark that comes with the project."""
    return load(shipped.folder() / "bench.json")
