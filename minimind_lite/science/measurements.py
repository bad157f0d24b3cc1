"""What a trial does when it trains nothing: an audit of accumulation, and what explains a loss."""

from __future__ import annotations

import numpy as np
import torch

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.files.provenance import run_info
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import Workers, cut, packed_losses
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.science.layouts import Layout
from minimind_lite.science.procedures import Settings
from minimind_lite.science.token_stats import count_tokens, js_divergence
from minimind_lite.science.trials import Outcome, SharedData
from minimind_lite.segments import MAIN
from minimind_lite.trainer import batch_gradient, sample_losses

BRACKETS_AND_OPERATORS = "{}[]()=<>_;#+*/\\"


def audit(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """Accumulation: whether every cut of a batch gives the same gradient, and what memory it needs.

    Values: `gradient_difference` (largest, relative, fp64, over the cuts), `bytes` (weights,
    gradients, optimizer, and `activations` by micro-batch size: tensors that autograd keeps, fp32).
    """
    data = shared.data(shared.layout(seed))
    sizes = [int(n) for n in settings["micro_batch_sizes"]]
    rows = np.random.default_rng([seed, 3]).permutation(len(data))[: max(sizes)]
    weights = 4 * sum(p.numel() for p in shipped.base_model().parameters())
    activations = {
        str(size): _bytes_for_backward(shipped.base_model(), data, rows, size=size)
        for size in sizes
    }
    values = {
        "gradient_difference": gradient_difference(shipped.base_model(), data, rows, sizes=sizes),
        "bytes": {
            "weights": weights,
            "gradients": weights,
            "optimizer": 2 * weights,
            "activations": activations,
        },
    }
    return Outcome(values=values)


def gradient_difference(
    model: LanguageModel, data: EncodedRows, rows: np.ndarray, *, sizes: list[int]
) -> float:
    """Largest difference of a batch's gradient between micro-batch `sizes`, relative, in fp64."""
    model, gradients = model.double(), []
    with Workers(0) as serial:
        for size in sizes:
            config = TrainConfig(batch_size=len(rows), micro_batch_size=size)
            model.zero_grad(set_to_none=True)
            batch_gradient(model, data, rows, config=config, workers=serial)
            parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
            gradients.append(torch.cat(parts))
    first = gradients[0]
    return max(float((g - first).abs().max() / first.abs().max()) for g in gradients)


def _bytes_for_backward(
    model: LanguageModel, data: EncodedRows, rows: np.ndarray, *, size: int
) -> int:
    """Most bytes that a micro-batch of `size` rows keeps for its backward pass, without weights."""
    weights, most = {p.data_ptr() for p in model.parameters()}, 0
    for part in cut(data, rows, TrainConfig(micro_batch_size=size)):
        stored: dict[int, int] = {}

        def keep(tensor: torch.Tensor, stored: dict[int, int] = stored) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                stored[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            sums = packed_losses(model, data, rows[part])
        most = max(most, sum(stored.values()))
        del sums
    return most


def sort_keys(shared: SharedData, seed: int, settings: Settings) -> Outcome:
    """What explains a conversation's loss, and how far each segment is from the Chinese rows.

    Values: `explained` (share of the variance of per-conversation losses that each key explains,
    in ten equal groups of it or by its own groups), `divergence` (Jensen-Shannon, bits, of a
    segment's supervised tokens from those of the Chinese rows). The losses, of the base model, are
    the run: one record of N rows.
    """
    layout = shared.layout(seed)
    data, model = shared.data(layout), shipped.base_model()
    losses, tokens = sample_losses(model, data)
    values = {
        "explained": {name: explained(losses, key) for name, key in _keys(layout, tokens).items()},
        "divergence": _divergences(layout, data, shared.chat.vocab_size),
    }
    record = StepRecord(
        step=0,
        epoch=0,
        samples_seen=0,
        loss=float((losses * tokens).sum() / tokens.sum()),
        tokens=int(tokens.sum()),
        lr=0.0,
        grad_norm=float("nan"),
        micro_losses=np.array([]),
        rows=np.arange(len(data)),
        sample_losses=losses,
        sample_tokens=tokens,
    )
    config = TrainConfig(optimizer="none", batch_size=len(data))
    segments = [vars(segment) for segment in layout.segments]
    return Outcome(Run(run_info(model, config, more={"segments": segments}), (record,)), values)


def _keys(layout: Layout, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """What the rows could be sorted by: one number for each row (N,), by name."""
    texts = [
        "".join(content for role, content in conversation.messages if role == "assistant")
        for conversation in layout.conversations
    ]
    chinese = [np.mean(["\u4e00" <= c <= "\u9fff" for c in text]) for text in texts]
    code = [np.mean([c in BRACKETS_AND_OPERATORS for c in text]) for text in texts]
    domains = np.where(layout.off_domain(), layout.domains, MAIN)
    return {
        "domain": np.unique(domains, return_inverse=True)[1],
        "language (share of Chinese characters)": np.array(chinese),
        "code share (brackets, operators)": np.array(code),
        "answer length": tokens,
        "rounds": np.array([len(c.messages) for c in layout.conversations]),
    }


def _divergences(layout: Layout, data: EncodedRows, vocab_size: int) -> dict[str, float]:
    base = count_tokens(data, vocab_size, np.flatnonzero(~layout.off_domain()))
    return {
        s.label: js_divergence(count_tokens(data, vocab_size, np.arange(s.start, s.stop)), base)
        for s in layout.segments
    }


def explained(values: np.ndarray, key: np.ndarray, *, groups: int = 10) -> float:
    """Share of the variance of values (N,) between groups of a key (N,): eta squared.

    The groups are the key's own values if they are few, else `groups` quantiles.
    """
    if len(np.unique(key)) > groups:
        edges = np.quantile(key, np.linspace(0, 1, groups + 1)[1:-1])
        key = np.searchsorted(edges, key, side="right")
    parts = [values[key == group] for group in np.unique(key)]
    within = sum(((part - part.mean()) ** 2).sum() for part in parts)
    return float(1 - within / ((values - values.mean()) ** 2).sum())
