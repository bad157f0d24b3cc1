"""Which precision is faster here: what `train --precision auto` asks."""

from __future__ import annotations

import statistics
import time

import numpy as np

from minimind_lite.config import PRECISIONS, TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import Workers
from minimind_lite.rows import EncodedRows
from minimind_lite.trainer import batch_gradient

BF16_GAIN = 1.2  # what half precision must gain before its rounding is worth having


def faster_precision(
    model: LanguageModel, data: EncodedRows, *, config: TrainConfig, rounds: int = 3
) -> tuple[str, str]:
    """ "bf16" where a batch of `data` is BF16_GAIN times as fast in it, else "fp32"; a sentence.

    Measured here and now, in turn, by medians: what a processor claims to support says little of
    what a small model gains from it. The model stays as it is.
    """
    rows = np.arange(min(config.batch_size, len(data)))
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    with Workers(None if model.embedding.weight.device.type == "cpu" else 0) as workers:
        for _ in range(rounds + 1):  # the first warms up
            for precision, times in seconds.items():
                asked = config.replace(precision=precision)
                start = time.perf_counter()
                batch_gradient(model, data, rows, config=asked, workers=workers)
                times.append(time.perf_counter() - start)
                model.zero_grad(set_to_none=True)
    fp32, bf16 = (statistics.median(seconds[name][1:]) for name in ("fp32", "bf16"))
    choice = "bf16" if fp32 >= BF16_GAIN * bf16 else "fp32"
    return choice, (
        f"precision: {choice}, since a batch takes {1000 * fp32:.0f} ms in fp32 and "
        f"{1000 * bf16:.0f} ms in bf16 here (bf16 must gain {BF16_GAIN:g} times or more)."
    )
