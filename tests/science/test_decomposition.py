"""The identity of a height: rows worked out by hand, and laws that hold for any losses."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.records import Run, StepRecord
from minimind_lite.science.decomposition import Terms, at_boundaries, decompose, of_runs

FEW = settings(max_examples=40, deadline=None, derandomize=True)
N, SIZE = 400, 16
MIXED = [
    {"domain": "code", "start": 200, "stop": 240},
    {"domain": "en", "start": 300, "stop": 324},
]
BLOCKS = [
    {"domain": "zh_chat", "start": 0, "stop": 100},
    {"domain": "code", "start": 100, "stop": 290},
    {"domain": "zh_writing", "start": 290, "stop": 400},
]


def a_pass(losses, *, listed=MIXED, order=None, tokens=None, size=SIZE) -> Run:
    """A pass over rows with these losses (N,), in file order or another."""
    order = np.arange(len(losses)) if order is None else np.asarray(order)
    tokens = np.full(len(losses), 10) if tokens is None else np.asarray(tokens)
    records = []
    for step, start in enumerate(range(0, len(order), size)):
        rows = order[start : start + size]
        records.append(
            StepRecord(
                step=step,
                epoch=0,
                samples_seen=start,
                loss=float((losses[rows] * tokens[rows]).sum() / tokens[rows].sum()),
                tokens=int(tokens[rows].sum()),
                lr=0.0,
                grad_norm=1.0,
                micro_losses=np.array([0.0]),
                rows=rows,
                sample_losses=losses[rows],
                sample_tokens=tokens[rows],
            )
        )
    return Run({"segments": listed}, tuple(records))


def random_losses(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 12, size=N)


def random_tokens(seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 1]).integers(1, 90, size=N)


# The numbers, by hand


def test_a_height_is_split_as_the_formula_says():
    """Base 5 and 7 nats; training took 2 off the rows before and 0.5 off the new ones."""
    frozen = np.where(np.arange(N) < 200, 5.0, 7.0)
    trained = np.where(np.arange(N) < 200, 3.0, 6.5)
    terms = decompose(
        a_pass(trained), a_pass(frozen), new=np.arange(208, 224), last=np.arange(100, 192)
    )
    assert terms == Terms(height=3.5, unfamiliar=2.0, transferred=-0.5, specialized=2.0)


def test_means_are_over_tokens():
    losses, tokens = np.full(N, 1.0), np.full(N, 10)
    losses[0], tokens[0], tokens[1] = 5.0, 30, 10
    run = a_pass(losses, tokens=tokens)
    terms = decompose(run, run, new=np.array([0, 1]), last=np.array([2]))
    assert terms.height == pytest.approx((5.0 * 30 + 1.0 * 10) / 40 - 1.0)


def test_a_conversation_without_a_supervised_token_does_not_count():
    losses, tokens = np.full(N, 2.0), np.full(N, 10)
    losses[7], tokens[7] = np.nan, 0
    run = a_pass(losses, tokens=tokens)
    assert decompose(run, run, new=np.arange(16), last=np.arange(16, 32)).height == 0.0


# Laws


@FEW
@given(st.integers(0, 10**6), st.integers(1, N - 1), st.sampled_from([MIXED, BLOCKS]))
def test_the_terms_add_up_to_the_height(seed, cut, listed):
    tokens = random_tokens(seed)
    trained = a_pass(random_losses(seed), tokens=tokens, listed=listed)
    frozen = a_pass(random_losses(seed + 1), tokens=tokens, listed=listed)
    order = np.random.default_rng(seed).permutation(N)
    split = [decompose(trained, frozen, new=order[:cut], last=order[cut:])]
    split += [boundary.terms for boundary in at_boundaries(trained, frozen)]
    for terms in split:
        total = terms.unfamiliar + terms.transferred + terms.specialized
        assert total == pytest.approx(terms.height, abs=1e-9)


@FEW
@given(st.integers(0, 10**6))
def test_the_order_of_rows_inside_a_batch_does_not_matter(seed):
    tokens, rng = random_tokens(seed), np.random.default_rng(seed)
    frozen = a_pass(random_losses(seed + 1), tokens=tokens)
    mixed = np.concatenate([rng.permutation(part) for part in np.split(np.arange(N), N // SIZE)])
    plain = a_pass(random_losses(seed), tokens=tokens)
    turned = a_pass(random_losses(seed), tokens=tokens, order=mixed)
    rows = {"new": np.arange(208, 224), "last": np.arange(48, 192)}
    assert astuple(decompose(turned, frozen, **rows)) == pytest.approx(
        astuple(decompose(plain, frozen, **rows)), abs=1e-12
    )
    pairs = zip(at_boundaries(plain, frozen), at_boundaries(turned, frozen), strict=True)
    for ours, other in pairs:
        assert astuple(ours.terms) == pytest.approx(astuple(other.terms), abs=1e-12)


@FEW
@given(st.integers(0, 10**6), st.sampled_from([MIXED, BLOCKS]))
def test_where_nothing_was_trained_the_height_is_all_unfamiliar(seed, listed):
    frozen = a_pass(random_losses(seed), tokens=random_tokens(seed), listed=listed)
    for boundary in at_boundaries(frozen, frozen):
        terms = boundary.terms
        assert (terms.transferred, terms.specialized) == (0.0, 0.0)
        assert terms.unfamiliar == terms.height


@FEW
@given(st.tuples(*[st.floats(0, 12)] * 4), st.integers(0, 3))
def test_rounded_terms_still_add_up(losses, digits):
    names = ("new", "last", "frozen_new", "frozen_last")
    exact = Terms.of_losses(**dict(zip(names, losses)))
    shown = exact.rounded(digits)
    total = shown.unfamiliar + shown.transferred + shown.specialized
    assert total == pytest.approx(shown.height, abs=1e-9)
    assert shown.height == round(exact.height, digits)
    assert astuple(shown) == pytest.approx(astuple(exact), abs=10.0**-digits)
    assert all(value == round(value, digits) for value in astuple(shown))


# Which rows


def marked(rows) -> np.ndarray:
    """Losses that say which rows were read: 1 for these, 0 elsewhere."""
    return np.isin(np.arange(N), rows).astype(float)


NOTHING = np.zeros(N)


@pytest.mark.parametrize(
    "listed, place, name, new, last",
    [
        (MIXED, 0, "Chinese → code", range(208, 224), range(32, 192)),
        (MIXED, 1, "code → Chinese", range(240, 256), range(200, 240)),
        (MIXED, 2, "Chinese → English", range(304, 320), range(240, 288)),
        (MIXED, 3, "English → Chinese", range(336, 352), range(300, 320)),
        (BLOCKS, 0, "everyday Chinese → code", range(112, 128), range(0, 96)),
        (BLOCKS, 1, "code → Chinese writing", range(304, 320), range(128, 288)),
    ],
)
def test_new_is_the_first_whole_batch_and_last_the_block_before(listed, place, name, new, last):
    """Both families: where a segment starts, where it ends, and from block to block."""
    frozen = a_pass(NOTHING, listed=listed)
    for rows, height in ((new, 1.0), (last, -1.0)):
        boundary = at_boundaries(a_pass(marked(rows), listed=listed), frozen)[place]
        assert (boundary.name, boundary.terms.height) == (name, height)
    both = marked([*new, *last])
    assert at_boundaries(a_pass(1 - both, listed=listed), frozen)[place].terms.height == 0.0


def test_every_boundary_comes_once_and_in_file_order():
    run = a_pass(NOTHING)
    starts = [boundary.after.start for boundary in at_boundaries(run, run)]
    assert starts == [200, 240, 300, 324]
    blocks = a_pass(NOTHING, listed=BLOCKS)
    assert [b.after.start for b in at_boundaries(blocks, blocks)] == [100, 290]


def test_the_terms_of_runs_are_those_where_segments_start():
    trained, frozen = a_pass(random_losses(1)), a_pass(random_losses(2))
    boundaries = at_boundaries(trained, frozen)
    assert of_runs(trained, frozen) == {"code": boundaries[0].terms, "en_tiny": boundaries[2].terms}
    trained, frozen = (replace(run, info={"segments": BLOCKS}) for run in (trained, frozen))
    assert list(of_runs(trained, frozen)) == ["code", "zh_writing"]


def test_a_segment_without_a_whole_batch_is_judged_by_the_largest_share():
    listed = [{"domain": "en", "start": 203, "stop": 216}]  # 5 rows of one batch, 8 of the next
    losses = marked(range(208, 224))
    boundary = at_boundaries(a_pass(losses, listed=listed), a_pass(NOTHING, listed=listed))[0]
    assert boundary.terms.height == 1.0


def test_a_boundary_without_a_row_before_it_is_left_out():
    listed = [{"domain": "en", "start": 8, "stop": 100}]
    run = a_pass(NOTHING, listed=listed)
    assert [b.before.domain for b in at_boundaries(run, run)] == ["en"]


# Errors


def test_a_row_that_was_never_read_is_named():
    short = a_pass(NOTHING[:320])
    with pytest.raises(ValueError, match="row 330 was read 0 times"):
        decompose(short, a_pass(NOTHING), new=np.array([330]), last=np.arange(16))
    with pytest.raises(ValueError, match="row 330 was read 0 times"):
        decompose(a_pass(NOTHING), short, new=np.array([330]), last=np.arange(16))


def test_a_row_that_was_read_twice_is_named():
    twice = a_pass(NOTHING, order=[*range(N), 5])
    with pytest.raises(ValueError, match="row 5 was read 2 times"):
        decompose(twice, a_pass(NOTHING), new=np.arange(16), last=np.arange(16, 32))


def test_runs_of_two_files_are_refused():
    other = a_pass(NOTHING, tokens=np.full(N, 11))
    with pytest.raises(ValueError, match="must have read the same file"):
        at_boundaries(a_pass(NOTHING), other)


def test_another_order_has_no_boundaries():
    shuffled = a_pass(NOTHING, order=np.random.default_rng(0).permutation(N))
    with pytest.raises(ValueError, match="file order"):
        at_boundaries(shuffled, a_pass(NOTHING))


def test_rows_without_a_token_have_no_terms():
    run = a_pass(np.ones(N), tokens=np.where(np.arange(N) < 4, 0, 10))
    with pytest.raises(ValueError, match="no token"):
        decompose(run, run, new=np.arange(4), last=np.arange(16, 32))
