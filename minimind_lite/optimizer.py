"""What happens to the gradient: schedule, clipping, and the step of AdamW or SGD."""

from __future__ import annotations

import math

import torch

from minimind_lite.config import TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import one_thread


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """Learning rate of optimizer step `step` (0-based).

    minimind_2025: lr/10 + lr/2 (1 + cos(pi t/T)), from 1.1 lr to 0.1 lr (train_full_sft.py at
    commit e7ed058); minimind: lr (0.1 + 0.45 (1 + cos(pi t/T))), from lr to 0.1 lr
    (trainer_utils.py, late 2025). There t counts micro-batches, here steps: the same curve.
    """
    cosine = 1 + math.cos(math.pi * step / total_steps)
    factor = {"minimind_2025": 0.1 + 0.5 * cosine, "minimind": 0.1 + 0.45 * cosine, "constant": 1.0}
    return config.learning_rate * factor[config.schedule]


def make_optimizer(model: LanguageModel, config: TrainConfig) -> torch.optim.Optimizer | None:
    """AdamW or SGD, weight decay on all parameters as MiniMind has it; None for a frozen model."""
    weights, lr, decay = model.parameters(), config.learning_rate, config.weight_decay
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            weights, lr=lr, betas=config.betas, eps=config.eps, weight_decay=decay, fused=True
        )
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=lr, momentum=config.momentum, weight_decay=decay)
    return None


def clip_gradient(model: LanguageModel, config: TrainConfig) -> float:
    """Norm of the gradient before it was clipped to `config.grad_clip`; NaN for a frozen model."""
    if config.optimizer == "none":
        return math.nan
    with one_thread():  # a sum in a fixed order, whatever the machine
        # An infinite limit clips nothing and still returns the norm.
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip or math.inf)
    return float(norm)


def take_step(model: LanguageModel, optimizer: torch.optim.Optimizer | None, lr: float) -> float:
    """One optimizer step at a learning rate; the norm of the change of the weights, 0 if frozen."""
    if optimizer is None:
        return 0.0
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = lr
    with one_thread(), torch.no_grad():  # threads that wait for each other: slow on a busy machine
        optimizer.step()
        torch._foreach_sub_(before, list(model.parameters()))
        return float(torch.nn.utils.get_total_norm(before))
