"""The training loop: gradients against plain autograd, reported numbers against sums by hand.

Two toys: `tiny`, a real model in fp64, and `Lookup`, whose losses can be read off a table.
"""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite import order, trainer
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.optimizer import learning_rate, make_optimizer, take_step
from minimind_lite.rows import EncodedRows
from minimind_lite.trainer import NonFiniteLoss, batches_of_run, mean_loss, sample_losses, train

quick = settings(deadline=None, max_examples=15)
PLAIN = TrainConfig(
    batch_size=8, optimizer="sgd", learning_rate=0.5, weight_decay=0.0, grad_clip=0.0
)


def tiny() -> LanguageModel:
    return LanguageModel(
        ModelConfig(
            vocab_size=23,
            dim=16,
            n_layers=2,
            n_heads=2,
            n_kv_heads=1,
            multiple_of=8,
            max_seq_len=16,
        )
    ).double()


def encoded(rows: list[tuple[list[int], list[int]]]) -> EncodedRows:
    """Rows of ids and mask (0 or 1)."""
    ids, masks = zip(*rows)
    return EncodedRows(
        np.concatenate(ids).astype(np.uint16),
        np.concatenate(masks).astype(bool),
        np.cumsum([0, *map(len, ids)]),
    )


def toy(n: int = 11, seed: int = 0) -> EncodedRows:
    """n rows of 2 to 14 tokens, with anything from one supervised token to all but the first."""
    rng, rows = np.random.default_rng(seed), []
    for length in rng.integers(2, 15, size=n):
        mask = np.zeros(length, bool)
        mask[rng.choice(np.arange(1, length), size=rng.integers(1, length), replace=False)] = True
        rows.append((rng.integers(23, size=length), mask))
    return encoded(rows)


class Lookup(torch.nn.Module):
    """After 1 comes 1 with probability e^-1, after 2 comes 2 with e^-5, after 0 anything.

    So the losses are 1, 5 and ln 3.
    """

    def __init__(self) -> None:
        super().__init__()
        after_1, after_2 = math.exp(-1), math.exp(-5)
        p = torch.tensor(
            [
                [1, 1, 1],
                [(1 - after_1) / 2, after_1, (1 - after_1) / 2],
                [(1 - after_2) / 2, (1 - after_2) / 2, after_2],
            ]
        )
        self.embedding = torch.nn.Embedding.from_pretrained(p.double().log(), freeze=False)

    def hidden(self, ids: torch.Tensor, *, lengths: list[int]) -> torch.Tensor:
        return self.embedding(ids)

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


A = ([1] * 6, [0, 1, 1, 1, 1, 1])  # five supervised tokens at 1 nat
B = ([2] * 2, [0, 1])  # one at 5 nats
NOTHING = ([0] * 3, [0, 0, 0])  # none


# The textbook: all rows of a batch padded to the longest, every position through the head


def token_losses(model: LanguageModel, data: EncodedRows, rows: np.ndarray) -> list[torch.Tensor]:
    """Losses of the supervised tokens of each row, in the graph."""
    length = max(len(data.row(r)[0]) for r in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    for b, r in enumerate(rows):
        ids[b, : len(data.row(r)[0])] = torch.from_numpy(data.row(r)[0].astype(int))
    logp = model(ids).log_softmax(-1)
    return [
        torch.stack([-logp[b, t - 1, ids[b, t]] for t in np.flatnonzero(data.row(r)[1])])
        for b, r in enumerate(rows)
    ]


def full_batch(losses: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(losses).mean()


def textbook(
    data: EncodedRows, config: TrainConfig, batch_loss=full_batch
) -> tuple[list[float], list[list], list]:
    """Losses and gradients of every step, and the last parameters, of one epoch in file order."""
    model, losses, gradients = tiny(), [], []
    if config.optimizer == "adamw":
        optimizer = torch.optim.AdamW(
            model.parameters(), betas=config.betas, eps=config.eps, weight_decay=config.weight_decay
        )
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), momentum=config.momentum, weight_decay=config.weight_decay
        )
    steps = math.ceil(len(data) / config.batch_size)
    for step in range(steps):
        rows = np.arange(len(data))[step * config.batch_size : (step + 1) * config.batch_size]
        optimizer.param_groups[0]["lr"] = config.learning_rate * (
            0.1 + 0.5 * (1 + math.cos(math.pi * step / steps))
        )
        loss = batch_loss(token_losses(model, data, rows))
        optimizer.zero_grad()
        loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients, list(model.parameters())


def agrees(data: EncodedRows, config: TrainConfig, batch_loss=full_batch) -> None:
    """Gradients of every step, losses, and the last parameters are the textbook's, to 1e-9."""
    losses, gradients, parameters = textbook(data, config, batch_loss)
    model = tiny()
    for step, record in enumerate(train(model, data, config)):
        for ours, theirs in zip(model.parameters(), gradients[step]):
            torch.testing.assert_close(ours.grad, theirs, rtol=0, atol=1e-9)
        if batch_loss is full_batch:
            assert record.loss == pytest.approx(losses[step], abs=1e-9)
    assert step == len(losses) - 1
    for ours, theirs in zip(model.parameters(), parameters):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


# Gradients


@pytest.mark.parametrize("micro_batch_size", [8, 4, 3, 2, 1])
def test_gradient_does_not_depend_on_the_micro_batch_size(micro_batch_size):
    """Eleven rows: the second batch has three, so its last micro-batch is short as well."""
    agrees(toy(), PLAIN.replace(micro_batch_size=micro_batch_size))


@quick
@given(token_budget=st.integers(1, 150), seed=st.integers(0, 99))
def test_gradient_does_not_depend_on_the_token_budget(token_budget, seed):
    agrees(toy(seed=seed), PLAIN.replace(token_budget=token_budget))


def test_half_precision_gives_nearly_the_same_gradient_and_keeps_the_weights():
    data = toy(8)
    gradients = {}
    for precision in ("fp32", "bf16"):
        model = tiny().float()
        next(train(model, data, PLAIN.replace(precision=precision)))
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())
        gradients[precision] = torch.cat([p.grad.flatten() for p in model.parameters()])
    difference = (gradients["bf16"] - gradients["fp32"]).abs().max() / gradients["fp32"].abs().max()
    assert 1e-5 < difference < 0.05  # rounded to 8 bits, and no more wrong than that


@pytest.mark.parametrize(
    "config",
    [
        PLAIN.replace(
            optimizer="adamw", learning_rate=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1
        ),
        PLAIN.replace(momentum=0.9, weight_decay=0.1),
    ],
    ids=["adamw", "sgd"],
)
def test_every_setting_of_the_optimizer_reaches_it(config):
    agrees(toy(32), config.replace(micro_batch_size=4))


@pytest.mark.parametrize("micro_batch_size", [4, 3, 1])
def test_micro_batch_average_is_minimind_s_mean_of_means(micro_batch_size):
    def mean_of_means(losses):
        starts = range(0, len(losses), micro_batch_size)
        return torch.stack(
            [torch.cat(losses[i : i + micro_batch_size]).mean() for i in starts]
        ).mean()

    agrees(
        toy(),
        PLAIN.replace(micro_batch_size=micro_batch_size, loss_average="micro_batches"),
        mean_of_means,
    )


def lookup_gradient(rows, average: str) -> torch.Tensor:
    model = Lookup()
    next(train(model, encoded(rows), PLAIN.replace(micro_batch_size=1, loss_average=average)))
    return model.embedding.weight.grad


def test_mean_of_means_is_another_gradient_unless_all_micro_batches_count_the_same():
    assert (
        lookup_gradient([A, B], "tokens") - lookup_gradient([A, B], "micro_batches")
    ).abs().max() > 0.1
    assert torch.allclose(
        lookup_gradient([B, B], "tokens"), lookup_gradient([B, B], "micro_batches")
    )


def test_a_micro_batch_of_one_token_counts_in_full():
    alone = lookup_gradient([B], "micro_batches")
    assert torch.allclose(alone, lookup_gradient([B], "tokens")) and alone.abs().max() > 0.1


def test_a_micro_batch_without_supervised_tokens_is_no_part_of_the_mean():
    assert torch.allclose(
        lookup_gradient([A, B], "micro_batches"), lookup_gradient([A, NOTHING, B], "micro_batches")
    )


# Reported losses


def test_reported_losses_by_hand():
    record = next(train(Lookup(), encoded([A, B, NOTHING]), PLAIN.replace(micro_batch_size=1)))
    assert record.loss == pytest.approx(
        10 / 6
    )  # not 3.00, the mean of the means, and not the last micro-batch
    assert record.micro_losses == pytest.approx([1, 5, math.nan], nan_ok=True)
    assert record.sample_losses == pytest.approx([1, 5, math.nan], nan_ok=True)
    assert record.tokens == 6 and record.sample_tokens.tolist() == [5, 1, 0]


def test_micro_losses_are_a_data_loader_s_even_where_rows_are_cut_by_length():
    data = encoded([A, B, B, B, A])
    record = next(train(Lookup(), data, PLAIN.replace(micro_batch_size=2)))
    assert record.micro_losses == pytest.approx([10 / 6, 5, 1])
    assert next(train(Lookup(), data, PLAIN.replace(token_budget=4))).micro_losses == pytest.approx(
        [25 / 13]
    )


def test_losses_are_those_before_the_update():
    model, data = tiny(), toy(8)
    before = mean_loss(model, data)
    assert next(train(model, data, PLAIN)).loss == pytest.approx(before, abs=1e-12)
    assert mean_loss(model, data) < before - 0.01


def test_evaluation_by_hand():
    losses, counts = sample_losses(Lookup(), encoded([A, NOTHING, B]))
    assert losses == pytest.approx([1, math.nan, 5], nan_ok=True) and counts.tolist() == [5, 0, 1]
    assert mean_loss(Lookup(), encoded([A, NOTHING, B])) == pytest.approx(10 / 6)


def test_the_gradient_norm_is_the_one_before_clipping():
    model = tiny()
    record = next(train(model, toy(8), PLAIN.replace(grad_clip=0.0)))
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
    assert record.grad_norm == pytest.approx(norm)
    assert next(
        train(tiny(), toy(8), PLAIN.replace(grad_clip=norm / 10))
    ).grad_norm == pytest.approx(norm)


@pytest.mark.parametrize(
    "share, expected", [(0.1, 0.1), (2.0, 1.0)], ids=["above the limit", "below the limit"]
)
def test_clipping_shortens_what_is_too_long_and_nothing_else(share, expected):
    def update(grad_clip):
        model = tiny()
        next(train(model, toy(8), PLAIN.replace(grad_clip=grad_clip)))
        return torch.cat(
            [(a - b).flatten() for a, b in zip(model.parameters(), tiny().parameters())]
        )

    norm = next(train(tiny(), toy(8), PLAIN)).grad_norm
    torch.testing.assert_close(update(share * norm), expected * update(0.0), rtol=1e-4, atol=1e-9)


# Which rows, which step, which learning rate


@pytest.mark.parametrize("kind", ["file", "shuffle_once", "shuffle", "buffer:4", "block:3"])
def test_rows_are_recorded_in_the_order_s_order(kind):
    records = list(
        train(tiny(), toy(), PLAIN.replace(order=kind, epochs=2, seed=7, optimizer="none"))
    )
    for epoch in (0, 1):
        rows = np.concatenate([r.rows for r in records if r.epoch == epoch])
        assert rows.tolist() == order.make(kind, 11, seed=7, epoch=epoch).tolist()
    assert [r.step for r in records] == [0, 1, 2, 3]
    assert [r.samples_seen for r in records] == [0, 8, 11, 19]


@pytest.mark.parametrize(
    "schedule, start, middle, end",
    [("minimind_2025", 1.1, 0.6, 0.1), ("minimind", 1.0, 0.55, 0.1), ("constant", 1.0, 1.0, 1.0)],
)
def test_schedules_at_start_middle_and_end(schedule, start, middle, end):
    config = TrainConfig(schedule=schedule, learning_rate=2.0)
    assert [learning_rate(config, t, 1000) for t in (0, 500, 1000)] == pytest.approx(
        [2 * start, 2 * middle, 2 * end]
    )
    assert learning_rate(config, 999, 1000) == pytest.approx(2 * end, rel=1e-4)


@quick
@given(t=st.integers(0, 400), T=st.integers(400, 500))
def test_schedules_are_minimind_s_formulas(t, T):
    lr = 5e-4
    assert learning_rate(TrainConfig(), t, T) == pytest.approx(
        lr / 10 + 0.5 * lr * (1 + math.cos(math.pi * t / T))
    )
    assert learning_rate(TrainConfig(schedule="minimind"), t, T) == pytest.approx(
        lr * (0.1 + 0.45 * (1 + math.cos(math.pi * t / T)))
    )


def test_max_steps_stops_early_and_does_not_reshape_the_schedule():
    config = PLAIN.replace(batch_size=2, epochs=2)
    whole, cut = (list(train(tiny(), toy(), c)) for c in (config, config.replace(max_steps=5)))
    assert len(whole) == 12 and len(cut) == 5
    assert [(r.lr, r.loss) for r in cut] == [(r.lr, r.loss) for r in whole[:5]]


def test_a_frozen_model_only_looks():
    model, data = tiny(), toy()
    records = list(train(model, data, PLAIN.replace(optimizer="none", order="shuffle")))
    assert all(
        torch.equal(a, b) and a.grad is None
        for a, b in zip(model.parameters(), tiny().parameters())
    )
    seen = np.full(11, np.nan)
    for record in records:
        seen[record.rows] = record.sample_losses
    assert seen == pytest.approx(sample_losses(tiny(), data)[0], abs=1e-12)
    assert all(math.isnan(r.grad_norm) for r in records)


def test_probes_are_measured_every_n_steps_before_the_update():
    model, probe = tiny(), toy(5, seed=1)
    before, measured = (
        [mean_loss(model, probe)],
        {},
    )  # before[step] is measured here, between the steps
    for record in train(
        model, toy(), PLAIN.replace(batch_size=2, probe_every=2), probes={"held out": probe}
    ):
        if record.probes:
            measured[record.step] = record.probes["held out"]
        before.append(mean_loss(model, probe))
    assert measured == {step: pytest.approx(before[step], abs=1e-12) for step in (0, 2, 4)}
    assert len({round(loss, 6) for loss in before}) == 7  # each update shows in the probe


def test_no_probe_is_measured_unless_asked_for():
    assert next(train(tiny(), toy(), PLAIN, probes={"held out": toy(5)})).probes == {}


# Stopping


def test_closing_midway_leaves_the_model_of_the_last_step():
    config = PLAIN.replace(optimizer="adamw", batch_size=2, learning_rate=0.01)
    closed, stopped = tiny(), tiny()
    steps = train(closed, toy(), config)
    records = [next(steps) for _ in range(3)]
    steps.close()
    assert [r.loss for r in train(stopped, toy(), config.replace(max_steps=3))] == [
        r.loss for r in records
    ]
    assert all(
        torch.equal(a, b) and a.isfinite().all()
        for a, b in zip(closed.parameters(), stopped.parameters())
    )


def raises_without_a_step(model: torch.nn.Module, steps) -> NonFiniteLoss:
    """Run until NonFiniteLoss; the step that raised it has changed no parameter."""
    while True:
        before = [p.detach().clone() for p in model.parameters()]
        try:
            next(steps)
        except NonFiniteLoss as error:
            for old, new in zip(before, model.parameters()):
                torch.testing.assert_close(new.detach(), old, rtol=0, atol=0, equal_nan=True)
            return error


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "none"])
def test_a_poisoned_weight_stops_the_run_before_the_update(optimizer):
    model = tiny()
    with torch.no_grad():
        model.blocks[1].feed_forward.up_proj.weight[0, 0] = math.nan
    error = raises_without_a_step(
        model, train(model, toy(), PLAIN.replace(optimizer=optimizer, batch_size=3))
    )
    assert (
        error.step == 0
        and error.rows.tolist() == [0, 1, 2]
        and "weights are no longer finite" in error.cause
    )
    assert all(part in str(error) for part in ("step 0", "0, 1, 2", error.cause))


def test_a_huge_learning_rate_stops_the_run_before_the_update():
    model = tiny().float()
    error = raises_without_a_step(
        model,
        train(model, toy(), PLAIN.replace(optimizer="adamw", batch_size=2, learning_rate=1e25)),
    )
    assert error.step > 0 and error.rows.tolist() == [2 * error.step, 2 * error.step + 1]
    assert "learning rate that is too high" in error.cause and "e+25" in error.cause


class InfiniteSlope(Lookup):
    """Adds a square root at zero: the loss is finite, its gradient is not."""

    def __init__(self) -> None:
        super().__init__()
        self.at_zero = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden * (1 + self.at_zero.sqrt())


def test_an_infinite_gradient_under_a_finite_loss_stops_the_run_too():
    model = InfiniteSlope()
    assert math.isfinite(mean_loss(model, encoded([A, B])))
    error = raises_without_a_step(model, train(model, encoded([A, B]), PLAIN))
    assert error.step == 0 and "no update was made yet" in error.cause


# What a user can get wrong


def test_empty_data_is_an_error():
    with pytest.raises(ValueError, match="no rows"):
        next(train(tiny(), toy().select([]), PLAIN))


@pytest.mark.parametrize("optimizer", ["sgd", "none"])
def test_a_batch_without_supervised_tokens_is_an_error_that_names_its_rows(optimizer):
    steps = train(
        Lookup(),
        encoded([A, B, NOTHING, NOTHING]),
        PLAIN.replace(batch_size=2, optimizer=optimizer),
    )
    with pytest.raises(ValueError, match=r"step 1 would have no supervised.* 2, 3: .*max_seq_len"):
        next(steps)  # known before the first step, so said before it


# The record


FINGERPRINTS = """
import hashlib, numpy as np
from minimind_lite.rows import EncodedRows
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.trainer import train
rng = np.random.default_rng(0)
ids = rng.integers(512, size=40 * 50).astype(np.uint16)
data = EncodedRows(ids, np.tile(np.arange(50) > 9, 40), np.arange(41) * 50)
shape = ModelConfig(vocab_size=512, dim=96, n_layers=2, n_heads=3, n_kv_heads=1)
for seed in (3, 4):
    model, digest = LanguageModel(shape), hashlib.sha256()
    config = TrainConfig(order="shuffle", seed=seed, probe_every=2)
    for r in train(model, data, config, probes={"same": data}):
        numbers = [r.loss, r.grad_norm, r.update_norm, *r.sample_losses, *r.probes.values()]
        digest.update(r.rows.tobytes() + np.array(numbers).tobytes())
    for parameter in model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    print(digest.hexdigest())
"""


def test_the_same_seed_gives_the_same_run_bit_for_bit_in_two_processes_with_any_number_of_workers():
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FINGERPRINTS],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MINIMIND_LITE_WORKERS": workers},
        )
        for workers in ("1", "3")
    ]
    first, again = (process.communicate(timeout=120)[0].split() for process in processes)
    assert first == again
    assert len(set(first)) == 2  # one for each seed


# Carrying on, and rows that count for less


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_run_that_is_carried_on_is_the_run_without_a_break(optimizer, stop):
    config = PLAIN.replace(
        order="shuffle",
        batch_size=4,
        epochs=2,
        optimizer=optimizer,
        learning_rate=0.01,
        momentum=0.9,
    )
    data, whole, broken = toy(), tiny(), tiny()
    expected = list(train(whole, data, config))
    carried = make_optimizer(broken, config)
    first = list(train(broken, data, config.replace(max_steps=stop), optimizer=carried))
    rest = batches_of_run(len(data), config, start_step=stop)
    second = list(train(broken, data, config, optimizer=carried, batches=rest))
    for a, b in zip(expected, first + second, strict=True):
        assert (a.step, a.epoch, a.samples_seen, a.loss, a.lr) == (
            b.step,
            b.epoch,
            b.samples_seen,
            b.loss,
            b.lr,
        )
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters()))


def test_a_weight_of_zero_leaves_a_row_out_and_a_weight_of_two_counts_it_twice():
    data, picked = toy(5), PLAIN.replace(batch_size=5)

    def gradient(rows, weights=None):
        model = tiny()
        next(train(model, data.select(rows), picked, row_weights=weights))
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    tokens = data.supervised()
    three, two, four = (tokens[rows].sum() for rows in ([0, 1, 2], [0, 2], [0, 1, 1, 2]))
    without = gradient([0, 1, 2], np.array([1, 0, 1]))
    twice = gradient([0, 1, 2], np.array([1, 2, 1]))
    # The divisor is the tokens of the batch, whatever they weigh.
    assert torch.allclose(without * three, gradient([0, 2]) * two, atol=1e-12)
    assert torch.allclose(twice * three, gradient([0, 1, 1, 2]) * four, atol=1e-12)


def test_reported_losses_are_not_weighted():
    a, b = (
        next(train(tiny(), toy(8), PLAIN, row_weights=w)) for w in (None, np.linspace(0.1, 3, 8))
    )
    assert a.loss == b.loss and (a.sample_losses == b.sample_losses).all()


@pytest.mark.parametrize("average", ["tokens", "micro_batches"])
def test_a_quarter_of_every_weight_is_a_quarter_of_the_gradient(average):
    """Once the weights were normalized inside the batch: a quarter everywhere changed nothing."""
    config = PLAIN.replace(micro_batch_size=4, loss_average=average)

    def gradient(weights):
        model = tiny()
        next(train(model, toy(8), config, row_weights=weights))
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    torch.testing.assert_close(gradient(np.full(8, 0.25)), gradient(None) / 4, atol=1e-15, rtol=0)


def test_a_batch_that_weighs_nothing_has_no_gradient():
    model = tiny()
    record = next(train(model, toy(8), PLAIN, row_weights=np.zeros(8)))
    assert record.grad_norm == 0 and record.loss > 0


# The textbook form


@pytest.mark.parametrize("how", [{}, {"micro_batch_size": 3}, {"optimizer": "adamw"}])
def test_the_textbook_form_is_the_fast_one(how):
    """Gradients of every step, and whole runs: other sums, the same numbers."""
    config = PLAIN.replace(order="shuffle", learning_rate=0.01, epochs=2, **how)
    fast_model, textbook_model = tiny(), tiny()
    fast = train(fast_model, toy(), config)
    for a, b in zip(fast, train(textbook_model, toy(), config, fast=False), strict=True):
        assert a.loss == pytest.approx(b.loss, abs=1e-9)
        assert a.sample_losses == pytest.approx(b.sample_losses, abs=1e-9)
        assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-6)
        for ours, theirs in zip(fast_model.parameters(), textbook_model.parameters()):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-9)
    for ours, theirs in zip(fast_model.parameters(), textbook_model.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_the_textbook_form_of_a_frozen_model_only_looks():
    frozen = PLAIN.replace(optimizer="none")
    model = tiny()
    (fast,) = train(tiny(), toy(8), frozen)
    (textbook,) = train(model, toy(8), frozen, fast=False)
    assert fast.loss == pytest.approx(textbook.loss, abs=1e-9) and textbook.update_norm == 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), tiny().parameters()))


# Measured beside the loss


def test_the_update_norm_is_the_length_of_the_step():
    model = tiny()
    record = next(train(model, toy(8), PLAIN))
    change = [(a - b).flatten() for a, b in zip(model.parameters(), tiny().parameters())]
    assert record.update_norm == pytest.approx(float(torch.cat(change).detach().norm()), rel=1e-6)
    assert record.update_norm == pytest.approx(record.lr * record.grad_norm, rel=1e-6)  # plain SGD


def test_the_seconds_of_a_step_are_without_its_probes(monkeypatch):
    clock = [100.0]

    def taking(seconds, function):
        def slow(*args, **options):
            clock[0] += seconds
            return function(*args, **options)

        return slow

    monkeypatch.setattr(trainer.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(trainer, "mean_loss", taking(5.0, mean_loss))
    monkeypatch.setattr(trainer, "take_step", taking(1.0, take_step))
    config = PLAIN.replace(probe_every=2, batch_size=4)
    probed, plain, _ = train(tiny(), toy(), config, probes={"held out": toy(5)})
    assert (probed.seconds, probed.probe_seconds) == (1, 5)
    assert (plain.seconds, plain.probe_seconds) == (1, 0)


def test_a_schedule_is_held_when_rows_are_dropped():
    """A rolled-back run goes on with fewer rows; its learning rates must not jump."""
    config = PLAIN.replace(batch_size=2)
    whole = [r.lr for r in train(tiny(), toy(), config)]
    fewer = toy().select(np.arange(7))
    shortened = [r.lr for r in train(tiny(), fewer, config)]
    held = [r.lr for r in train(tiny(), fewer, config, total_steps=len(whole))]
    assert held == whole[:4] and shortened != whole[:4]


def test_the_process_keeps_its_number_of_threads():
    """After any training, the caller and its new threads once computed on one thread."""
    code = """
import threading, torch
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.rows import EncodedRows
from minimind_lite.trainer import train
import numpy as np
torch.set_num_threads(3)
data = EncodedRows(np.arange(40, dtype=np.uint16), np.ones(40, bool), np.arange(0, 41, 5))
model = LanguageModel(ModelConfig(vocab_size=64, dim=16, n_layers=1, n_heads=2, n_kv_heads=1))
during = [torch.get_num_threads() for _ in train(model, data, TrainConfig(batch_size=4))]
counts = []
new = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
new.start(); new.join()
print(during, torch.get_num_threads(), counts)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[3, 3] 3 [3]"
