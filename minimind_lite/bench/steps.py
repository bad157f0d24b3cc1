"""How fast a training step is, how near that is to what the machine can do, and what each idea gained.

Variants are cumulative, from the plain recipe (every conversation padded to `max_seq_len`, the
head on every position, as MiniMind's trainer does) to what `trainer` does. They are measured in
one process, interleaved, each in turn, and compared by medians, since a shared machine is noisy.
Every variant's gradient is compared with the plain one: a speed-up that changes the maths is none.
Peak memory is that of a process that does one step and nothing else.

    B conversations of a batch   T tokens   C channels   V vocabulary
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from minimind_lite.bench import streaming
from minimind_lite.chat import EncodedRows
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.provenance import processor
from minimind_lite.loss import masked_cross_entropy, token_cross_entropy
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import Workers, available_cores
from minimind_lite.rows import collate
from minimind_lite.trainer import batch_gradient, make_optimizer

BATCH = 16
MAX_DIFFERENCE = {"fp32": 1e-4, "bf16": 0.05}  # of a gradient, relative to its largest entry
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Variant:
    """One step of the way from the plain recipe to the fast path."""

    name: str
    pad_to_max: bool = False  # pad to max_seq_len instead of to the longest of the batch
    head_everywhere: bool = False  # logits at every position instead of at supervised ones
    packed: bool = True  # conversations end to end in equal parts, without padding
    fused: bool = True  # AdamW as one operation over all parameters
    side_by_side: bool = True  # a micro-batch per core, instead of all cores in each operation
    precision: str = "fp32"  # of the matrix products


LADDER = (
    Variant(
        "plain: pad to 512, head everywhere",
        pad_to_max=True,
        head_everywhere=True,
        packed=False,
        fused=False,
        side_by_side=False,
    ),
    Variant(
        "pad to the longest of the batch",
        head_everywhere=True,
        packed=False,
        fused=False,
        side_by_side=False,
    ),
    Variant("head on supervised positions", packed=False, fused=False, side_by_side=False),
    Variant("no padding: packed end to end", fused=False, side_by_side=False),
    Variant("fused AdamW", side_by_side=False),
    Variant("a micro-batch per core"),
    Variant("bf16 products (autocast)", precision="bf16"),
)


@dataclass(frozen=True)
class Row:
    """What one variant measured."""

    model: str
    variant: str
    seconds_per_step: float  # median
    tokens_per_second: float  # real tokens, padding not counted
    speed_up: float  # against the plain recipe
    utilisation: (
        float  # useful FLOP/s over the best matrix product of the same precision measured here
    )
    peak_mb: float  # resident memory of a process that did one step
    gradient_difference: float  # largest, relative to the largest entry of the plain gradient


def useful_flops(config: ModelConfig, lengths: np.ndarray, supervised: np.ndarray) -> float:
    """Floating-point operations that the maths of one step needs, forward and backward, padding not counted.

    6 per weight and token for the blocks, 6 per weight and *supervised* token for the head, and
    6 T^2 C per block and conversation for causal attention (two products of T^2 C multiply-adds,
    half of them behind the diagonal, three times for forward and backward).
    """
    blocks = config.n_parameters() - config.vocab_size * config.dim
    attention = 6.0 * config.n_layers * config.dim * float((lengths.astype(float) ** 2).sum())
    return (
        6.0 * blocks * float(lengths.sum())
        + 6.0 * config.vocab_size * config.dim * float(supervised.sum())
        + attention
    )


def matmul_peak(dtype: torch.dtype = torch.float32, *, seconds: float = 0.4) -> float:
    """Best FLOP/s of a matrix product here: all cores in one product, or one product per core, whichever is faster."""

    def rate(run: Callable[[], None], flops: float) -> float:
        run()
        best, end = 0.0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            run()
            best = max(best, flops / (time.perf_counter() - start))
        return best

    found = []
    with Workers() as workers:
        for n in (512, 1024, 2048):
            a = torch.randn(n, n).to(dtype)
            found.append(rate(lambda a=a: torch.mm(a, a), 2.0 * n**3))
            items = [a] * max(workers.n, 1)
            found.append(
                rate(
                    lambda items=items: list(workers.map(lambda x: torch.mm(x, x), items)),
                    2.0 * n**3 * len(items),
                )
            )
    return max(found)


def _plain_gradient(
    model: LanguageModel, data: EncodedRows, rows: np.ndarray, variant: Variant
) -> None:
    """Textbook forms, as one batch: what the fast path must equal."""
    ids, mask = collate(data, rows, pad_to=model.config.max_seq_len if variant.pad_to_max else None)
    if variant.head_everywhere:
        total, count = masked_cross_entropy(model(ids), ids, mask)
        (total / count).backward()
        return
    token_cross_entropy(model.hidden(ids), model.head, ids, mask).mean().backward()


def gradient(
    model: LanguageModel, data: EncodedRows, rows: np.ndarray, variant: Variant, workers: Workers
) -> None:
    """Leave the gradient of one batch in the parameters' `.grad`, computed as the variant says."""
    for parameter in model.parameters():
        parameter.grad = None
    if variant.packed:
        batch_gradient(
            model,
            data,
            rows,
            TrainConfig(batch_size=len(rows), precision=variant.precision),
            workers,
        )
    else:
        _plain_gradient(model, data, rows, variant)


def flat_gradient(model: LanguageModel) -> torch.Tensor:
    """All gradients as one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def ladder(
    model_name: str,
    *,
    steps: int = 2,
    rounds: int = 3,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Measure every variant of `LADDER` for one model on the shipped data: medians over `rounds` of `steps` steps each.

    Raises `ArithmeticError` where a variant's gradient differs from the plain one by more than MAX_DIFFERENCE.
    """
    data = shipped.sft_rows(shipped.chat())
    batches = some_batches(data, steps)
    peak, seconds = (
        {p: matmul_peak(dtype) for p, dtype in DTYPES.items()},
        {v.name: [] for v in LADDER},
    )
    model = load_model(model_name)
    with Workers() as pool, Workers(0) as alone:
        difference = differences(model, data, batches[0], pool, alone)
        if wrong := [
            f"{v.name} by {difference[v.name]:.0e}"
            for v in LADDER
            if not difference[v.name] <= MAX_DIFFERENCE[v.precision]
        ]:
            raise ArithmeticError(
                f"not the plain gradient: {', '.join(wrong)}; a speed-up that changes the maths is none."
            )
        for _ in range(rounds):
            for variant in LADDER:
                progress(f"{model_name}: {variant.name}")
                seconds[variant.name].append(
                    _time_steps(
                        load_model(model_name),
                        data,
                        batches,
                        variant,
                        pool if variant.side_by_side else alone,
                    )
                )
    lengths, supervised = data.lengths()[batches], data.supervised()[batches]
    flops = useful_flops(model.config, lengths.ravel(), supervised.ravel()) / steps
    medians = [statistics.median(seconds[v.name]) for v in LADDER]
    return [
        Row(
            model_name,
            v.name,
            t,
            float(lengths.sum() / steps / t),
            medians[0] / t,
            flops / t / peak[v.precision],
            peak_memory(model_name, v),
            difference[v.name],
        )
        for v, t in zip(LADDER, medians)
    ]


def peak_memory(model_name: str, variant: Variant) -> float:
    """Resident memory (10^6 bytes) at its highest of a process that loads the model and does one step of a variant."""
    code = (
        f"from minimind_lite import bench; bench.one_step({model_name!r}, {LADDER.index(variant)})"
    )
    return float(
        subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    )


def one_step(model_name: str, number: int) -> None:
    """What `peak_memory` runs in a process of its own; prints megabytes."""
    data, variant = shipped.sft_rows(shipped.chat()), LADDER[number]
    with Workers(None if variant.side_by_side else 0) as workers:
        _time_steps(
            load_model(model_name), data, some_batches(data, 1), variant, workers, warm_up=False
        )
    print(streaming.peak_mb())


def load_model(name: str) -> LanguageModel:
    """The shipped base of that size, or a preset with random weights where none is shipped: as quick, whatever it knows."""
    return (
        shipped.base_model(name)
        if name in shipped.BASES
        else LanguageModel(ModelConfig.preset(name))
    )


def some_batches(data: EncodedRows, steps: int) -> np.ndarray:
    """Rows (steps, BATCH) of the data in random order, always the same."""
    return np.random.default_rng(0).permutation(len(data))[: steps * BATCH].reshape(steps, BATCH)


def differences(
    model: LanguageModel, data: EncodedRows, rows: np.ndarray, pool: Workers, alone: Workers
) -> dict[str, float]:
    """Largest difference of each variant's gradient from the plain one, relative to the latter's largest entry."""
    found, plain = {}, None
    for variant in LADDER:
        gradient(model, data, rows, variant, pool if variant.side_by_side else alone)
        flat = flat_gradient(model)
        plain = flat if plain is None else plain
        found[variant.name] = float((flat - plain).abs().max() / plain.abs().max())
    return found


def _time_steps(
    model: LanguageModel,
    data: EncodedRows,
    batches: np.ndarray,
    variant: Variant,
    workers: Workers,
    *,
    warm_up: bool = True,
) -> float:
    """Seconds per whole step: gradient, clipping, update."""
    config = TrainConfig()
    optimizer = (
        make_optimizer(model, config)
        if variant.fused
        else torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            foreach=False,
            fused=False,
        )
    )
    if warm_up:
        gradient(model, data, batches[0], variant, workers)
    start = time.perf_counter()
    for rows in batches:
        gradient(model, data, rows, variant, workers)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
    return (time.perf_counter() - start) / len(batches)


def report(rows: list[Row]) -> str:
    """The table, as text."""
    lines = [
        f"{'model':16s}{'variant (each adds to the one above)':36s}{'ms/step':>9s}{'tokens/s':>10s}"
        f"{'speed-up':>10s}{'of peak':>9s}{'memory':>9s}{'gradient':>10s}"
    ]
    lines += [
        f"{r.model:16s}{r.variant:36s}{1000 * r.seconds_per_step:9.0f}{r.tokens_per_second:10,.0f}{r.speed_up:9.1f}x{r.utilisation:9.0%}"
        f"{r.peak_mb:6.0f} MB{r.gradient_difference:10.0e}"
        for r in rows
    ]
    return "\n".join(lines)


def environment() -> dict[str, str | int | float]:
    """Where figures were measured, with the matrix products that they are held against."""
    return {
        "processor": processor(),
        "machine": platform.machine(),
        "cores": available_cores(),
        "workers": Workers().n,
        "threads_in_operations": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        **{f"matmul_gflops_{p}": round(matmul_peak(dtype) / 1e9) for p, dtype in DTYPES.items()},
    }


def save(path: Path, rows: list[Row], **more: object) -> None:
    """Write the rows, and whatever else was measured, as JSON, with where it was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {"environment": environment(), "rows": [asdict(r) for r in rows], **more}, indent=1
        )
        + "\n",
        encoding="utf-8",
    )


def load(path: Path) -> tuple[dict[str, object], list[Row]]:
    """What `save` wrote: everything, and the rows. Raises `ValueError` for a file that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found, [Row(**r) for r in found["rows"]]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no benchmark ({error}); python -m minimind_lite bench --json FILE writes one."
        ) from None
