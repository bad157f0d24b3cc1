"""Cross-entropy over supervised tokens, always as (sum, count), never as a mean.

Two micro-batches, A with 5 supervised tokens at loss 1.0 and B with 1 token at loss 5.0: the
last micro-batch says 5.00, the mean of the means 3.00, and the sum over the count 10 / 6 = 1.67,
the only one that the optimizer sees in a full batch. A mean can't be put back together from
means; a sum and a count can. So they are what this module returns.

    B batch   T tokens   C channels   V vocabulary   S supervised tokens in the batch
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_cross_entropy(logits: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of -log p(token t | tokens < t) over supervised tokens, and their number.

    logits (B, T, V), ids (B, T), mask (B, T) with True where a token is to be predicted.
    Position t of the logits predicts token t + 1, so position T - 1 and token 0 take no part.
    Returns sum (in nats) and count, both scalars. This is the textbook form: every position
    goes through the head. `sample_cross_entropy` gives the same numbers and skips the rest.
    """
    return padded_cross_entropy(logits, ids, mask).sum(), mask[:, 1:].sum()


def padded_cross_entropy(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """The same sum for each conversation of a padded batch by itself: (B,), in nats."""
    predictions, targets = logits[:, :-1].transpose(1, 2), ids[:, 1:]  # (B, V, T-1), (B, T-1)
    losses = F.cross_entropy(predictions, targets, reduction="none")  # (B, T-1)
    return (losses * mask[:, 1:]).sum(dim=1)


def token_cross_entropy(
    hidden: Tensor, head: Callable[[Tensor], Tensor], ids: Tensor, mask: Tensor
) -> Tensor:
    """Losses (S,) of the supervised tokens alone, in reading order, in nats.

    hidden (B, T, C) are final hidden states; `head` maps (S, C) to logits (S, V). Only
    supervised positions go through it: on chat data that saves about half of the largest
    matrix product, and the gradient is the same.
    """
    target_mask = mask[:, 1:]  # (B, T-1)
    logits = head(hidden[:, :-1][target_mask])  # (S, V)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()  # half precision has too few digits for a log-sum-exp over V terms
    return F.cross_entropy(logits, ids[:, 1:][target_mask], reduction="none")


def sample_cross_entropy(
    hidden: Tensor, head: Callable[[Tensor], Tensor], ids: Tensor, mask: Tensor, lengths: list[int]
) -> Tensor:
    """Per conversation: sum of the losses of its supervised tokens, (B,), in nats.

    hidden (1, T, C), ids (1, T) and mask (1, T) are packed: B conversations of `lengths` tokens
    end to end.
    """
    sizes = torch.tensor(lengths, device=ids.device)
    owner = torch.repeat_interleave(sizes, output_size=ids.shape[1])  # (T,)
    losses = token_cross_entropy(hidden, head, ids, mask)  # (S,)
    sums = torch.zeros(len(lengths), dtype=losses.dtype, device=ids.device)
    return sums.index_add(0, owner[1:][mask[0, 1:]], losses)
