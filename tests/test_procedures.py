"""What a trial does, on a toy: a session that goes on as if nothing had been, policies, scrambled rows, shares of variance."""

import numpy as np
import pytest
import torch

from minimind_lite.chat import EncodedRows
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.model import LanguageModel
from minimind_lite.science.procedures import Session, _other_order, explained, scrambled


def toy(n: int = 24) -> EncodedRows:
    rng, lengths = np.random.default_rng(0), np.random.default_rng(1).integers(4, 12, size=n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    mask = rng.random(offsets[-1]) < 0.6
    mask[offsets[:-1]], mask[offsets[1:] - 1] = False, True
    return EncodedRows(rng.integers(23, size=offsets[-1]).astype(np.uint16), mask, offsets)


def session(**config: object) -> Session:
    model = LanguageModel(
        ModelConfig(
            vocab_size=23,
            dim=16,
            n_layers=1,
            n_heads=2,
            n_kv_heads=1,
            multiple_of=8,
            max_seq_len=16,
        )
    )
    return Session(model, toy(), TrainConfig(batch_size=4, learning_rate=0.01, **config))


def test_a_session_that_goes_back_takes_the_same_steps_again():
    s = session()
    s.advance(2)
    state = s.save()
    first = [r.loss for r in s.advance(3)]
    s.restore(state)
    assert s.step == 2 and [r.loss for r in s.advance(3)] == first
    assert len(s.records) == 8 and [r.step for r in s.records] == [0, 1, 2, 3, 4, 2, 3, 4]


def test_a_session_in_pieces_is_a_session_in_one():
    whole, pieces = session(order="shuffle"), session(order="shuffle")
    whole.advance()
    for n in (1, 2, None):
        pieces.advance(n)
    assert [r.loss for r in whole.records] == [r.loss for r in pieces.records] and len(
        whole.records
    ) == 6
    assert all(
        torch.equal(a, b) for a, b in zip(whole.model.parameters(), pieces.model.parameters())
    )


def test_another_configuration_for_some_steps():
    s = session(schedule="constant")
    s.advance(1)
    (hot,) = s.advance(1, config=s.config.replace(learning_rate=0.4))
    (after,) = s.advance(1)
    assert hot.lr == 0.4 and after.lr == 0.01


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("nothing", [0, 1, 2, 3, 4, 5]), ("replay", [0, 1, 2, 3, 4, 5]), ("skip", [0, 1, 4, 5])],
)
def test_policies_by_hand(policy, expected):
    assert _other_order(np.arange(6), 2, 4, policy, np.random.default_rng(0)).tolist() == expected


def test_a_reshuffle_keeps_what_was_read_and_loses_nothing():
    order = _other_order(np.arange(50), 20, 30, "reshuffle", np.random.default_rng(0))
    assert (
        order[:20].tolist() == list(range(20))
        and sorted(order) == list(range(50))
        and order[20:].tolist() != list(range(20, 50))
    )


def test_scrambled_rows_keep_their_tokens_and_lose_their_order():
    data = toy()
    bad = scrambled(data, np.array([3, 7]), seed=0)
    changed = np.flatnonzero(bad.ids != data.ids)
    inside = np.concatenate([np.arange(data.offsets[r], data.offsets[r + 1]) for r in (3, 7)])
    assert len(changed) and set(changed) <= set(inside) and data.mask[changed].all()
    for row in (3, 7):
        assert sorted(bad.row(row)[0]) == sorted(data.row(row)[0])


def test_variance_explained_by_hand():
    values = np.array([1.0, 1.0, 3.0, 3.0])
    assert explained(values, np.array([0, 0, 1, 1])) == pytest.approx(1.0)
    assert explained(values, np.array([0, 1, 0, 1])) == pytest.approx(0.0)
    assert explained(np.array([0.0, 2.0, 4.0, 6.0]), np.array([0, 0, 1, 1])) == pytest.approx(
        0.8
    )  # 4 within, of 20 in all
