"""The loss: both forms against each other, against a loop over tokens, and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.loss import masked_cross_entropy, sample_cross_entropy, token_cross_entropy

quick = settings(deadline=None, max_examples=50)


def packed(hidden, head, ids, mask):
    """The rows of a padded toy end to end, first tokens unsupervised, as `pack` leaves them."""
    mask = mask.clone()
    mask[:, 0] = False
    return sample_cross_entropy(
        hidden.flatten(0, 1)[None],
        head,
        ids.flatten()[None],
        mask.flatten()[None],
        [ids.shape[1]] * len(ids),
    )


@st.composite
def micro_batch(draw):
    """hidden (B, T, C), head matrix (V, C), ids (B, T), mask (B, T), in fp64, any mask at all."""
    B, T, V = draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    normal = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    mask = torch.tensor(
        draw(st.lists(st.lists(st.booleans(), min_size=T, max_size=T), min_size=B, max_size=B))
    )
    return normal(B, T, 5), 3 * normal(V, 5), torch.randint(V, (B, T), generator=generator), mask


def loop(logits, ids, mask):
    """One token after the other: -log p(token t | tokens < t), a list per conversation."""
    losses = [[] for _ in ids]
    for b in range(len(ids)):
        for t in range(1, ids.shape[1]):
            if mask[b, t]:
                scores = logits[b, t - 1].tolist()
                losses[b].append(math.log(sum(math.exp(s) for s in scores)) - scores[ids[b, t]])
    return losses


# The example


def certain(losses):
    """Logits, ids, mask of one conversation over two tokens, with given losses of its tokens."""
    p = torch.exp(
        -torch.tensor([*losses, 1.0], dtype=torch.float64)
    )  # the last position predicts nothing
    logits = torch.stack([p, 1 - p], dim=-1).log()[None]  # (1, T, 2)
    ids = torch.zeros(1, len(p), dtype=torch.long)
    return logits, ids, torch.tensor([[False, *[True] * len(losses)]])


def test_sum_over_count_is_the_loss_and_a_mean_of_means_is_not():
    (sum_a, n_a), (sum_b, n_b) = (masked_cross_entropy(*certain(x)) for x in ([1.0] * 5, [5.0]))
    assert (n_a, n_b) == (5, 1)
    assert float((sum_a + sum_b) / (n_a + n_b)) == pytest.approx(1.67, abs=0.005)
    assert float((sum_a / n_a + sum_b / n_b) / 2) == pytest.approx(3.00)


def test_both_in_one_batch_give_the_same():
    """Right padding with mask False adds nothing to sum or count."""
    logits, ids, mask = (
        torch.cat([long, torch.cat([short, torch.zeros_like(long)], dim=1)[:, :6]])
        for long, short in zip(certain([1.0] * 5), certain([5.0]))
    )
    total, count = masked_cross_entropy(logits, ids, mask)
    assert float(total / count) == pytest.approx(10 / 6)


# The laws


@quick
@given(micro_batch())
def test_both_forms_agree_with_a_loop_over_tokens(batch):
    hidden, matrix, ids, mask = batch
    expected = loop(hidden @ matrix.T, ids, mask)
    total, count = masked_cross_entropy(hidden @ matrix.T, ids, mask)
    sums = packed(hidden, lambda h: h @ matrix.T, ids, mask)
    assert count == sum(map(len, expected))
    assert sums.tolist() == pytest.approx([sum(row) for row in expected], abs=1e-9)
    assert float(total) == pytest.approx(sum(map(sum, expected)), abs=1e-9)


@quick
@given(micro_batch())
def test_token_losses_come_in_reading_order(batch):
    hidden, matrix, ids, mask = batch
    losses = token_cross_entropy(hidden, lambda h: h @ matrix.T, ids, mask)
    assert losses.tolist() == pytest.approx(
        [x for row in loop(hidden @ matrix.T, ids, mask) for x in row], abs=1e-9
    )


@quick
@given(micro_batch())
def test_both_forms_have_the_same_gradient(batch):
    hidden, matrix, ids, mask = batch
    gradients = []
    for form in (
        lambda h, w: masked_cross_entropy(h @ w.T, ids, mask)[0],
        lambda h, w: packed(h, lambda x: x @ w.T, ids, mask).sum(),
    ):
        leaves = hidden.clone().requires_grad_(), matrix.clone().requires_grad_()
        gradients.append(torch.autograd.grad(form(*leaves), leaves))
    for textbook, ours in zip(*gradients):
        torch.testing.assert_close(ours, textbook, rtol=0, atol=1e-12)


@quick
@given(micro_batch(), st.integers(0, 999))
def test_first_token_and_last_logits_take_no_part(batch, seed):
    """Nothing comes before the first token, and nothing after the last."""
    hidden, matrix, ids, mask = batch
    other_mask, other_hidden = mask.clone(), hidden.clone()
    other_mask[:, 0] = ~mask[:, 0]
    other_hidden[:, -1] = torch.randn(
        hidden[:, -1].shape, generator=torch.Generator().manual_seed(seed)
    )
    result = lambda h, m: (
        *masked_cross_entropy(h @ matrix.T, ids, m),
        packed(h, lambda x: x @ matrix.T, ids, m),
    )
    for changed, same in zip(result(other_hidden, other_mask), result(hidden, mask)):
        assert torch.equal(changed, same)


# The edges


def toy(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    hidden, matrix = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for shape in ((3, 4, 5), (400, 5))
    )
    ids = torch.randint(400, (3, 4), generator=generator)
    mask = torch.tensor([[False, True, True, False], [False] * 4, [False, False, False, True]])
    return hidden, matrix, ids, mask


def test_a_row_without_supervised_tokens_is_zero_of_zero():
    hidden, matrix, ids, mask = toy()
    sums = packed(hidden, lambda h: h @ matrix.T, ids, mask)
    assert sums[1] == 0 and (sums[[0, 2]] > 0).all()


def test_a_batch_without_supervised_tokens_has_a_zero_gradient():
    hidden, matrix, ids, mask = toy()
    matrix.requires_grad_()
    sums = packed(hidden, lambda h: h @ matrix.T, ids, mask & False)
    sums.sum().backward()
    assert sums.tolist() == [0, 0, 0] and not matrix.grad.any()


def test_the_head_sees_supervised_positions_alone():
    hidden, matrix, ids, mask = toy()
    seen = []

    def head(h):
        seen.append(h)
        return h @ matrix.T

    packed(hidden, head, ids, mask)
    # Row 0 predicts tokens 1 and 2 from positions 0 and 1; row 2 predicts token 3 from position 2.
    assert len(seen) == 1 and torch.equal(
        seen[0], torch.stack([hidden[0, 0], hidden[0, 1], hidden[2, 2]])
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_upcast(dtype):
    hidden, matrix, ids, mask = toy(dtype)
    sums = packed(hidden, lambda h: h @ matrix.T, ids, mask)
    exact = packed(hidden, lambda h: (h @ matrix.T).double(), ids, mask)
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums.double(), exact, rtol=1e-6, atol=0)
    assert (
        exact.to(dtype).double() - exact
    ).abs().max() > 1e-4  # half precision could not have said this
