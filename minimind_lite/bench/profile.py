"""Where the time of a step goes, how cost grows, and what the start costs: the rest of `bench`.

N conversations   V vocabulary
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from minimind_lite.bench.steps import BATCH, LADDER, Variant, gradient, load_model, some_batches
from minimind_lite.chat import EncodedRows
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.files import shipped
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import Workers
from minimind_lite.trainer import make_optimizer, train

PARTS = {
    "matrix products": r"aten::(mm|addmm|bmm|baddbmm)$",
    "attention": r"scaled_dot_product",
    "softmax of the head": r"log_softmax|nll_loss",
    "optimiser and clipping": r"adam|foreach|linalg_vector_norm",
    "moving and gathering": r"aten::(cat|copy_|index|gather|fill_|embedding)",
}
FAST = next(v for v in LADDER if v.name == "a micro-batch per core")


def breakdown(model_name: str, *, variant: Variant = FAST, steps: int = 2) -> dict[str, float]:
    """Share of a step's time by kind of work, on one thread; what no part claims is "element-wise and the rest"."""
    data = shipped.sft_rows(shipped.chat())
    model = load_model(model_name)
    optimizer, threads = make_optimizer(model, TrainConfig()), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            Workers(0) as alone,
            torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
        ):
            for rows in some_batches(data, steps):
                gradient(model, data, rows, variant, alone)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    finally:
        torch.set_num_threads(threads)
    shares = dict.fromkeys([*PARTS, "element-wise and the rest"], 0.0)
    for event in profile.key_averages():
        part = next(
            (
                name
                for name, pattern in PARTS.items()
                if re.search(pattern, event.key, re.IGNORECASE)
            ),
            "element-wise and the rest",
        )
        shares[part] += event.self_cpu_time_total
    total = sum(shares.values())
    return {name: t / total for name, t in shares.items()}


def scaling(*, progress: Callable[[str], None] = lambda _: None) -> dict[str, object]:
    """Seconds against rows (x 1, 4, 16, `nano`) and against parameters (three sizes, two steps each), with log-log slopes: 1 is linear."""
    data = shipped.sft_rows(shipped.chat())
    mixed = data.select(np.random.default_rng(0).permutation(len(data)))
    rows, row_seconds = [len(data) // 16, len(data) // 4, len(data)], []
    for n in rows:
        progress(f"nano, {n} rows")
        row_seconds.append(_timed(shipped.base_model("nano"), mixed.select(np.arange(n))))
    sizes, size_seconds, costs = ["nano", "lite", "minimind2_small"], [], []
    for name in sizes:
        progress(f"{name}, one step")
        model = LanguageModel(ModelConfig.preset(name))
        size_seconds.append(_timed(model, mixed.select(np.arange(2 * BATCH))))
        costs.append(sum(p.numel() for p in model.parameters()))
    slope = lambda x, y: float(np.polyfit(np.log(x), np.log(y), 1)[0])
    return {
        "rows": rows,
        "row_seconds": row_seconds,
        "row_slope": slope(rows, row_seconds),
        "models": sizes,
        "parameters": costs,
        "model_seconds": size_seconds,
        "model_slope": slope(costs, size_seconds),
    }


def _timed(model: LanguageModel, data: EncodedRows) -> float:
    """Seconds of a pass: the faster of two, since the first warms up."""
    found = []
    for _ in range(2):
        start = time.perf_counter()
        for _record in train(model, data, TrainConfig()):
            pass
        found.append(time.perf_counter() - start)
    return min(found)


def startup() -> dict[str, object]:
    """Seconds from the `train` command to its first step, and what the imports of the training path cost (-X importtime), in a fresh process each."""
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            "-c",
            "import minimind_lite.trainer, minimind_lite.files.shipped",
        ],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    rows = [
        line.split("|")
        for line in done.stderr.splitlines()
        if line.count("|") == 2 and "cumulative" not in line
    ]
    costs = {name.strip(): int(total) / 1e6 for _, total, name in rows}
    top = sorted(
        (
            (n, t)
            for n, t in costs.items()
            if n.split(".")[0] in ("torch", "numpy", "tokenizers", "minimind_lite")
            and n.count(".") == 0
        ),
        key=lambda item: -item[1],
    )
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "minimind_lite",
                "train",
                "--out",
                str(Path(folder) / "run"),
                "--max-steps",
                "1",
                "--probe-every",
                "0",
            ],
            capture_output=True,
            check=True,
        )
        first = time.perf_counter() - start
    return {"seconds_to_first_step": first, "import_seconds": dict(top)}


def report(
    shares: dict[str, dict[str, float]], scale: dict[str, object], start: dict[str, object]
) -> str:
    """All three, as text."""
    lines = ["Where a step's time goes (one thread):"]
    lines += [
        f"  {name:16s}" + ", ".join(f"{part} {share:.0%}" for part, share in found.items())
        for name, found in shares.items()
    ]
    seconds = lambda values: ", ".join(f"{t:.2f}" for t in values)
    lines += [
        f"Rows {scale['rows']}: {seconds(scale['row_seconds'])} s, slope {scale['row_slope']:.2f} (1 is linear).",
        f"Parameters {scale['parameters']}: {seconds(scale['model_seconds'])} s for two steps, slope {scale['model_slope']:.2f}.",
        f"From the train command to the end of its first step: {start['seconds_to_first_step']:.1f} s. Imports: "
        + ", ".join(f"{name} {t:.2f} s" for name, t in start["import_seconds"].items())
        + ".",
    ]
    return "\n".join(lines)
