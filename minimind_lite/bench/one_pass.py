"""One pass of nano over the shipped file, in a process of its own: its losses, to the last bit.

`reproducibility` starts it under settings of the environment, which a process reads only once.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.provenance import environment
from minimind_lite.model import LanguageModel
from minimind_lite.records import Run
from minimind_lite.science import segment_metrics
from minimind_lite.trainer import mean_loss, train


@dataclass(frozen=True)
class Pass:
    """What a pass leaves behind; JSON keeps every bit of a number."""

    losses: Sequence[float]  # of the steps, in nats
    heights: Mapping[str, float]  # nats, of each segment's spike
    held_out: Mapping[str, float]  # nats, at the end, by domain
    weights: str  # digest of the trained weights
    environment: Mapping[str, object]


def one_pass(config: TrainConfig, *, fast: bool = True) -> Pass:
    """Train the base model over the shipped file; `fast=False` in the textbook form."""
    chat, model = shipped.chat(), shipped.base_model()
    records = tuple(train(model, shipped.sft_rows(chat), config, fast=fast))
    run = Run({"segments": [vars(segment) for segment in shipped.segments()]}, records)
    return Pass(
        losses=run.loss.tolist(),
        heights={label: r.height for label, r in segment_metrics.read(run).items()},
        held_out={name: mean_loss(model, rows) for name, rows in shipped.probes(chat).items()},
        weights=digest(model),
        environment=environment(),
    )


def digest(model: LanguageModel) -> str:
    """Of all weights, in their order."""
    summed = hashlib.sha256()
    for parameter in model.parameters():
        summed.update(parameter.detach().numpy().tobytes())
    return summed.hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> None:
    """Take {"config": ..., "fast": ...} as JSON and print the pass as JSON."""
    (asked,) = sys.argv[1:] if arguments is None else arguments
    settings = json.loads(asked)
    done = one_pass(TrainConfig.from_dict(settings["config"]), fast=settings["fast"])
    print(json.dumps(asdict(done)))


if __name__ == "__main__":
    main()
