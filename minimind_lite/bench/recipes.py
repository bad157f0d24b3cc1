"""Ways to take one training step, each as its own user would run it: what the benchmark compares.

`minimind` is the step of MiniMind's train_full_sft.py: every conversation padded to 512 tokens,
the head on every position, the mean over supervised tokens, `torch.optim.AdamW` with its defaults.
On a CPU that script computes in fp32, whatever `--dtype` says. `llama` is Hugging Face's Llama of
the same shape, padded to the longest conversation of the batch, with the optimizer that its
`Trainer` takes by default. From `minimind` to `ours` each variant adds one idea.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.loss import masked_cross_entropy, token_cross_entropy
from minimind_lite.model import LanguageModel
from minimind_lite.optimizer import make_optimizer
from minimind_lite.parallel import Workers, cut
from minimind_lite.rows import EncodedRows, collate
from minimind_lite.trainer import batch_gradient, train

IGNORED = -100  # the label that Hugging Face's loss leaves out


@dataclass(frozen=True)
class Variant:
    """One way to take a step. The defaults are ours; each field turns one idea off."""

    title: str
    side_by_side: bool = True  # a micro-batch per core; False: all cores in each operation
    fused: bool = True  # AdamW as one operation over all parameters
    packed: bool = True  # conversations end to end, without padding
    head_everywhere: bool = False  # logits at every position, not at supervised ones alone
    pad_to: int | None = None  # None: the longest of the batch
    llama: bool = False  # Hugging Face's model instead of ours
    precision: str = "fp32"  # of the matrix products (bf16: under autocast)


OURS = Variant("+ a micro-batch per core (ours)")
FUSED = replace(OURS, title="+ fused AdamW", side_by_side=False)
PACKED = replace(FUSED, title="+ no padding: packed end to end", fused=False)
HEAD = replace(PACKED, title="+ head on supervised positions alone", packed=False)
LONGEST = replace(HEAD, title="+ pad to the longest of the batch", head_everywhere=True)
MINIMIND = replace(LONGEST, title="MiniMind's step: pad to 512, head everywhere", pad_to=512)
LLAMA = replace(HEAD, title="Hugging Face Llama", llama=True)
LADDER = {
    "minimind": MINIMIND,
    "longest": LONGEST,
    "head": HEAD,
    "packed": PACKED,
    "fused": FUSED,
    "ours": OURS,
    "ours-bf16": replace(OURS, title="+ bf16 products (ours)", precision="bf16"),
}
BASELINES = {
    "minimind": MINIMIND,
    "minimind-bf16": replace(MINIMIND, title="MiniMind's step, bf16 products", precision="bf16"),
    "llama": LLAMA,
    "llama-bf16": replace(LLAMA, title="Hugging Face Llama, bf16 products", precision="bf16"),
}
VARIANTS = LADDER | BASELINES


class Recipe:
    """A model with its optimizer, stepped as a variant says. Use it as a context manager."""

    def __init__(self, variant: Variant, model: LanguageModel, data: EncodedRows) -> None:
        self.variant, self.data, self.ours = variant, data, model
        self.model: nn.Module = llama(model.config) if variant.llama else model
        self.workers = Workers(None if variant.side_by_side else 0)
        self.optimizer = self._make_optimizer()

    def __enter__(self) -> Recipe:
        return self

    def __exit__(self, *error: object) -> None:
        self.workers.__exit__(*error)

    def steps(self, batches: np.ndarray) -> Iterator[None]:
        """Take an optimizer step (gradient, clipping, update) for each of the batches (steps, B).

        Ours as `train` takes it, with the norms that it measures and the record that it makes.
        """
        if self.variant.side_by_side:
            config = TrainConfig(batch_size=batches.shape[1], precision=self.variant.precision)
            for _record in train(self.ours, self.data.select(batches.ravel()), config):
                yield
            return
        for rows in batches:
            self.gradient(rows)
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            yield

    def gradient(self, rows: np.ndarray) -> None:
        """Leave the gradient of one batch in the parameters' `.grad`."""
        self.model.zero_grad(set_to_none=True)
        if self.variant.packed:
            config = TrainConfig(batch_size=len(rows), precision=self.variant.precision)
            batch_gradient(self.ours, self.data, rows, config=config, workers=self.workers)
            return
        with torch.autocast("cpu", torch.bfloat16, enabled=self.variant.precision == "bf16"):
            loss = self._padded_loss(rows)
        loss.backward()

    def parts(self, rows: np.ndarray) -> int:
        """Micro-batches that a batch is cut into."""
        if not self.variant.packed:
            return 1
        config = TrainConfig(batch_size=len(rows))
        return len(cut(self.data, rows, config, n_workers=self.workers.n))

    def _padded_loss(self, rows: np.ndarray) -> torch.Tensor:
        ids, mask = map(torch.from_numpy, collate(self.data, rows, pad_to=self.variant.pad_to))
        if self.variant.llama:
            real = torch.arange(ids.shape[1]) < torch.from_numpy(self.data.lengths(rows))[:, None]
            labels = ids.where(mask, IGNORED)
            return self.model(ids, attention_mask=real.long(), labels=labels).loss
        if self.variant.head_everywhere:
            total, count = masked_cross_entropy(self.ours(ids), ids, mask)
            return total / count
        return token_cross_entropy(self.ours.hidden(ids), self.ours.head, ids, mask).mean()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        rate = TrainConfig().learning_rate
        if self.variant.llama:
            return torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.0, fused=True)
        ours = make_optimizer(self.ours, TrainConfig()) if self.variant.fused else None
        return ours or torch.optim.AdamW(self.model.parameters(), lr=rate)


def llama(config: ModelConfig) -> nn.Module:
    """Hugging Face's Llama of the same shape; with the same weights it is the same function."""
    import transformers  # slow to import and large in memory: no other variant may pay for it

    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.dim,
            intermediate_size=config.hidden_dim(),
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            max_position_embeddings=config.max_seq_len,
            rms_norm_eps=config.norm_eps,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        )
    )
