"""One variant timed in a process of its own, with all cores and the library's own defaults.

    python -m minimind_lite.bench.steps --variant ours --model nano --steps 2

prints a `Timing` as JSON. A process of its own, because a setting such as `torch.set_num_threads`
is one of the whole process: measured beside ours, a baseline ran on one thread. `--variant matmul`
prints the machine's best matrix product, `--variant check` how far the gradients are apart.

    B conversations of a batch   T tokens   C channels   V vocabulary
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from minimind_lite.bench.recipes import LADDER, VARIANTS, Recipe
from minimind_lite.bench.streaming import peak_mb
from minimind_lite.config import ModelConfig
from minimind_lite.files import shipped
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import Workers
from minimind_lite.rows import EncodedRows

BATCH = 16
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SAME_GRADIENT = {"fp32": 1e-4, "bf16": 0.05}  # largest difference, of the largest entry


@dataclass(frozen=True)
class Timing:
    """What one process measured."""

    seconds: float  # per step, after one step to warm up
    tokens: float  # real tokens a step, padding not counted
    flops: float  # useful operations a step
    threads: int  # in an operation of the thread that runs the step
    workers: int  # threads that compute micro-batches side by side; 0: none
    parts: int  # micro-batches that a batch was cut into
    peak_mb: float  # largest resident memory of the process


def load_model(name: str) -> LanguageModel:
    """The shipped base of that size, or random weights where none is shipped: as quick."""
    if name in shipped.BASES:
        return shipped.base_model(name)
    return LanguageModel(ModelConfig.preset(name))


def some_batches(data: EncodedRows, steps: int) -> np.ndarray:
    """Rows (steps, BATCH) of the data in random order, always the same."""
    return np.random.default_rng(0).permutation(len(data))[: steps * BATCH].reshape(steps, BATCH)


def useful_flops(config: ModelConfig, lengths: np.ndarray, supervised: np.ndarray) -> float:
    """Operations that the maths of one step needs, forward and backward, padding not counted.

    6 per weight and token for the blocks, 6 per weight and *supervised* token for the head, and
    6 T^2 C per block and conversation for causal attention (two products of T^2 C multiply-adds,
    half of them behind the diagonal, three times for forward and backward). By formula, because
    torch.utils.flop_counter does not know attention on a CPU.
    """
    head = config.vocab_size * config.dim
    attention = config.n_layers * config.dim * float((lengths.astype(float) ** 2).sum())
    blocks = (config.n_parameters() - head) * float(lengths.sum())
    return 6.0 * (blocks + head * float(supervised.sum()) + attention)


def time_variant(name: str, model: LanguageModel, data: EncodedRows, batches: np.ndarray) -> Timing:
    """Time whole steps of one variant over batches (steps, B), after one to warm up."""
    lengths = data.lengths()[batches]
    with Recipe(VARIANTS[name], model, data) as recipe:
        steps = recipe.steps(np.concatenate([batches[:1], batches]))
        next(steps)
        start = time.perf_counter()
        for _step in steps:
            pass
        seconds = (time.perf_counter() - start) / len(batches)
    flops = useful_flops(model.config, lengths.ravel(), data.supervised()[batches].ravel())
    return Timing(
        seconds=seconds,
        tokens=float(lengths.sum()) / len(batches),
        flops=flops / len(batches),
        threads=torch.get_num_threads(),
        workers=recipe.workers.n,
        parts=recipe.parts(batches[0]),
        peak_mb=peak_mb(),
    )


def gradient_differences(
    model: LanguageModel, data: EncodedRows, rows: np.ndarray
) -> dict[str, float]:
    """Largest difference of our variants' gradients from the first's, of its largest entry."""
    gradients = {}
    for name, variant in VARIANTS.items():
        if variant.llama:  # it has other weights
            continue
        with Recipe(variant, model, data) as recipe:
            recipe.gradient(rows)
        parameters = [parameter.grad for parameter in model.parameters()]
        gradients[name] = torch.cat([g.flatten() for g in parameters if g is not None])
    plain = gradients[next(iter(LADDER))]
    largest = plain.abs().max()
    return {name: float((flat - plain).abs().max() / largest) for name, flat in gradients.items()}


def matmul_peak(dtype: torch.dtype = torch.float32, *, repeats: int = 20) -> float:
    """Best FLOP/s of a matrix product, with all cores in one product or one product per core."""
    best = 0.0
    # The pool comes second, as it changes the threads of the whole process.
    for workers in (Workers(0), Workers()):
        with workers:
            for n in (512, 1024, 2048):
                a = torch.randn(n, n).to(dtype)
                products = [a] * max(workers.n, 1)
                for _ in range(repeats):
                    start = time.perf_counter()
                    list(workers.map(a.mm, products))
                    seconds = time.perf_counter() - start
                    best = max(best, 2.0 * n**3 * len(products) / seconds)
    return best


def main(arguments: list[str] | None = None) -> None:
    """Measure what is asked for and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=(*VARIANTS, "matmul", "check"), required=True)
    parser.add_argument("--model", choices=tuple(ModelConfig.PRESETS), default="nano")
    parser.add_argument("--steps", type=int, default=1)
    asked = parser.parse_args(arguments)
    if asked.variant == "matmul":
        print(json.dumps({name: matmul_peak(dtype) for name, dtype in DTYPES.items()}))
        return
    data, model = shipped.sft_rows(shipped.chat()), load_model(asked.model)
    batches = some_batches(data, asked.steps)
    if asked.variant == "check":
        print(json.dumps(gradient_differences(model, data, batches[0])))
    else:
        print(json.dumps(asdict(time_variant(asked.variant, model, data, batches))))


if __name__ == "__main__":
    main()
