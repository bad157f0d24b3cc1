"""Ways to take one training step, each as its own user would run it: what the benchmark compares.

`minimind` is the step of MiniMind's train_full_sft.py: every conversation padded to 512 tokens,
the head on every position, the mean over supervised tokens, `torch.optim.AdamW` with its defaults.
On a CPU that script computes in fp32, whatever `--dtype` says. `llama` is Hugging Face's Llama of
the same shape and weights, padded to the longest conversation of the batch, with the optimizer
that its `Trainer` takes by default. From `minimind` to `ours` each variant adds one idea.

All of them start from the same weights and see the same batches, and all have the same gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from minimind_lite.config import TrainConfig
from minimind_lite.loss import masked_cross_entropy, token_cross_entropy
from minimind_lite.model import LanguageModel
from minimind_lite.optimizer import make_optimizer
from minimind_lite.parallel import Workers, cut
from minimind_lite.rows import EncodedRows, collate
from minimind_lite.trainer import batch_gradient, train

PADDED_TO = 512
IGNORED = -100  # the label that Hugging Face's loss leaves out
LLAMA_NAMES = {
    "embedding": "model.embed_tokens",
    "blocks": "model.layers",
    "norm": "model.norm",
    "attention_norm": "input_layernorm",
    "attention": "self_attn",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward": "mlp",
}


@dataclass(frozen=True)
class Variant:
    """One way to take a step. The defaults are ours; each field turns one idea off."""

    title: str
    llama: bool = False  # Hugging Face's model instead of ours
    pad_to: int | None = None  # None: the longest of the batch
    head_everywhere: bool = False  # logits at every position, not at supervised ones alone
    packed: bool = True  # conversations end to end, without padding
    fused: bool = True  # AdamW as one operation over all parameters
    side_by_side: bool = True  # a micro-batch per core; False: all cores in each operation
    precision: str = "fp32"  # of the matrix products (bf16: under autocast)


OURS = Variant("+ a micro-batch per core (ours)")
FUSED = replace(OURS, title="+ fused AdamW", side_by_side=False)
PACKED = replace(FUSED, title="+ no padding: packed end to end", fused=False)
HEAD = replace(PACKED, title="+ head on supervised positions alone", packed=False)
LONGEST = replace(HEAD, title="+ pad to the longest of the batch", head_everywhere=True)
MINIMIND = replace(LONGEST, title="MiniMind's step: pad to 512, head everywhere", pad_to=PADDED_TO)
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
    "minimind-bf16": replace(MINIMIND, title="MiniMind's step, bf16 products", precision="bf16"),
    "llama": LLAMA,
    "llama-bf16": replace(LLAMA, title="Hugging Face Llama, bf16 products", precision="bf16"),
}
VARIANTS = LADDER | BASELINES


class Recipe:
    """A model with its optimizer, stepped as a variant says. Use it as a context manager."""

    def __init__(self, variant: Variant, model: LanguageModel, data: EncodedRows) -> None:
        self.variant, self.data, self.ours = variant, data, model
        self.model: nn.Module = llama_of(model) if variant.llama else model
        self.workers = Workers(None if variant.side_by_side else 0)
        self.optimizer = self._make_optimizer()
        self._backward: Callable[[np.ndarray], None] = (
            self._llama if variant.llama else self._packed if variant.packed else self._padded
        )

    def __enter__(self) -> Recipe:
        return self

    def __exit__(self, *error: object) -> None:
        self.workers.__exit__(*error)

    def gradient(self, rows: np.ndarray) -> None:
        """Leave the gradient of one batch in the parameters' `.grad`."""
        self.model.zero_grad(set_to_none=True)
        self._backward(rows)

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

    def parts(self, rows: np.ndarray) -> int:
        """Micro-batches that a batch is cut into."""
        if not self.variant.packed:
            return 1
        config = TrainConfig(batch_size=len(rows))
        return len(cut(self.data, rows, config, n_workers=self.workers.n))

    def flat_gradient(self) -> Tensor:
        """All gradients as one vector, in the order of our model's parameters."""
        names = [name for name, _ in self.ours.named_parameters()]
        if self.variant.llama:
            names = [llama_name(name) for name in names]
        gradients = [self.model.get_parameter(name).grad for name in names]
        return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])

    def _make_optimizer(self) -> torch.optim.Optimizer:
        rate = TrainConfig().learning_rate
        if self.variant.llama:
            return torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.0, fused=True)
        ours = make_optimizer(self.ours, TrainConfig()) if self.variant.fused else None
        return ours or torch.optim.AdamW(self.model.parameters(), lr=rate)

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.variant.precision == "bf16")

    def _padded(self, rows: np.ndarray) -> None:
        ids, mask = map(torch.as_tensor, collate(self.data, rows, pad_to=self.variant.pad_to))
        with self._autocast():
            if self.variant.head_everywhere:
                total, count = masked_cross_entropy(self.ours(ids), ids, mask)
                loss = total / count
            else:
                loss = token_cross_entropy(self.ours.hidden(ids), self.ours.head, ids, mask).mean()
        loss.backward()

    def _packed(self, rows: np.ndarray) -> None:
        config = TrainConfig(batch_size=len(rows), precision=self.variant.precision)
        batch_gradient(self.ours, self.data, rows, config=config, workers=self.workers)

    def _llama(self, rows: np.ndarray) -> None:
        ids, mask = map(torch.as_tensor, collate(self.data, rows))
        real = torch.arange(ids.shape[1]) < torch.from_numpy(self.data.lengths(rows))[:, None]
        with self._autocast():
            labels = ids.where(mask, IGNORED)
            loss = self.model(ids, attention_mask=real.long(), labels=labels).loss
        loss.backward()


def llama_name(name: str) -> str:
    """What Hugging Face's Llama has for the name of one of our parameters."""
    return ".".join(LLAMA_NAMES.get(part, part) for part in name.split("."))


def llama_of(model: LanguageModel) -> nn.Module:
    """Hugging Face's Llama with the shape and the weights of `model`."""
    import transformers  # slow to import and large in memory: no other variant may pay for it

    config = model.config
    llama = transformers.LlamaForCausalLM(
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
    weights = {llama_name(name): weight for name, weight in model.state_dict().items()}
    llama.load_state_dict(weights | {"lm_head.weight": model.embedding.weight})
    return llama
