"""Laws against counting: by hand, over every start, by simulation, and on a frozen model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite import order
from minimind_lite.files import shipped
from minimind_lite.records import Run
from minimind_lite.science import laws, reproduce
from minimind_lite.science.segment_metrics import file_rows
from minimind_lite.segments import Segment

FEW = settings(max_examples=60, deadline=None)
lengths, sizes, seeds = st.integers(1, 130), st.integers(1, 40), st.integers(0, 2**32)
counts = st.lists(st.tuples(st.integers(0, 50), st.floats(0, 9)), min_size=1, max_size=8).filter(
    lambda parts: any(n for n, _ in parts)
)


def fullest(length: int, batch_size: int, offset: int) -> float:
    """Largest share, by counting rows."""
    return np.bincount((offset + np.arange(length)) // batch_size).max() / batch_size


# Visibility


@pytest.mark.parametrize("r, share", [(0.5, 0.4375), (1, 0.75), (4 / 3, 8 / 9), (2, 1), (7, 1)])
def test_peak_share_by_hand(r, share):
    assert laws.peak_share(r) == pytest.approx(share)


@FEW
@given(lengths, sizes)
def test_peak_share_is_the_mean_over_all_starts(length, batch_size):
    counted = [fullest(length, batch_size, offset) for offset in range(batch_size)]
    assert laws.peak_share_at(length, batch_size, offset=np.arange(batch_size)) == pytest.approx(
        counted
    )
    exact = (
        (batch_size * length - length**2 // 4) / batch_size**2 if length <= 2 * batch_size else 1
    )
    assert np.mean(counted) == pytest.approx(exact)
    assert laws.peak_share(length / batch_size) == pytest.approx(
        exact, abs=(length % 2) / (4 * batch_size**2) + 1e-12
    )


def test_z_is_largest_at_three_quarters_of_the_length():
    z = np.array([laws.expected_z(1.0, 1.0, length=400, batch_size=b) for b in range(1, 1000)])
    assert abs(1 + z.argmax() - 300) <= 1
    assert z.max() == pytest.approx(0.7698 * 20, abs=1e-3)
    assert z[[199, 399]] / z.max() == pytest.approx([0.9186, 0.9743], abs=1e-3)
    assert z[15] / z[3] == pytest.approx(2)  # sqrt(16 / 4), while L/B >= 2


@FEW
@given(lengths, st.floats(0.2, 5))
def test_height_never_grows_with_the_batch(length, ratio):
    heights = [
        laws.expected_height(1.0, length, batch_size=b, token_ratio=ratio) for b in range(1, 100)
    ]
    assert (np.diff(heights) < 1e-12).all()


def test_token_share_by_hand():
    # A quarter of the rows with three times the tokens: 3 of 3 + 3
    assert laws.token_share(0.25, 3) == 0.5
    assert laws.token_share(1.0, 3) == 1


def test_expected_height_by_hand():
    # L = 2, B = 2: starts at 0 (share 1) and 1 (share 1/2); with tripled tokens 1 and 3/4
    assert laws.expected_height(2.0, 2, batch_size=2) == pytest.approx(2 * 0.75)
    assert laws.expected_height(2.0, 2, batch_size=2, token_ratio=3) == pytest.approx(2 * 0.875)


def test_row_sigma_with_equal_tokens_is_the_standard_deviation():
    losses = np.array([1.0, 2.0, 4.0, 9.0])
    assert laws.row_sigma(losses, np.full(4, 7)) == pytest.approx(losses.std())


def test_rebin_by_hand():
    losses, tokens = np.array([1.0, 2.0, 4.0, np.nan, 3.0]), np.array([1, 1, 3, 0, 2])
    assert laws.rebin(losses, tokens, batch_size=2) == pytest.approx([1.5, 4, 3])
    assert laws.rebin(losses, tokens, batch_size=2, phase=1) == pytest.approx([1, 14 / 4, 3])
    assert np.isnan(laws.rebin(losses[3:4], tokens[3:4], batch_size=3)).all()


@pytest.mark.parametrize("phase", [-1, 4])
def test_rebin_refuses_a_phase_that_is_none(phase):
    with pytest.raises(ValueError, match=r"phase must lie in 0 \.\. 3"):
        laws.rebin(np.ones(8), np.ones(8), batch_size=4, phase=phase)


def even_file(length: int, *, ratio: int = 1, n: int = 200, start: int = 70):
    """Losses 2, in the segment 5; `ratio` times as many tokens in the segment."""
    inside = (np.arange(n) >= start) & (np.arange(n) < start + length)
    place = {"segment": Segment("en", start, start + length), "base": ~inside}
    return np.where(inside, 5.0, 2.0), np.where(inside, ratio, 1), place


@FEW
@given(st.integers(1, 60), st.integers(2, 30), st.integers(1, 4), st.sampled_from([None, 0]))
def test_measured_heights_of_even_losses_are_those_of_the_law_at_every_start(
    length, batch_size, ratio, seed
):
    losses, tokens, place = even_file(length, ratio=ratio)
    measured = laws.measured_visibility(
        losses, tokens, batch_size=batch_size, phases=range(batch_size), seed=seed, **place
    )
    law = laws.expected_visibility(losses, tokens, batch_size=batch_size, **place)
    assert sorted(measured.heights) == pytest.approx(sorted(law.heights))
    expected = laws.expected_height(3, length, batch_size=batch_size, token_ratio=ratio)
    assert measured.height == pytest.approx(expected) == law.height
    assert measured.sigma == pytest.approx(0, abs=1e-9)


@FEW
@given(seeds, st.integers(2, 20), st.integers(1, 40))
def test_measured_heights_are_those_of_the_rebinned_curve(seed, batch_size, length):
    rng, (_, _, place) = np.random.default_rng(seed), even_file(length)
    losses, tokens = rng.normal(4, 1, 200), rng.integers(1, 9, 200)
    base, phases = place["base"], [int(rng.integers(batch_size)), 0]
    measured = laws.measured_visibility(
        losses, tokens, batch_size=batch_size, phases=phases, **place
    )
    level = laws.token_mean((losses * tokens)[base], tokens[base])
    for phase, height in zip(phases, measured.heights):
        curve = laws.rebin(losses, tokens, batch_size=batch_size, phase=phase)
        rows = laws.rebin(1.0 * ~base, np.ones(200), batch_size=batch_size, phase=phase)
        assert height == pytest.approx(curve[np.argmax(rows)] - level)


def test_the_noise_is_that_of_random_batches_of_base_rows():
    losses, tokens, place = even_file(40, n=3000)
    losses = losses + np.random.default_rng(1).normal(0, 0.3, 3000)
    losses[0], tokens[0] = np.nan, 0  # a row without a token
    for batch_size in (4, 64):
        measured = laws.measured_visibility(
            losses, tokens, batch_size=batch_size, phases=[0], **place
        )
        assert measured.sigma == pytest.approx(0.3 / batch_size**0.5, rel=0.06)
        assert measured.z == measured.height / measured.sigma


def test_a_neighbor_may_be_in_the_batch_that_lies_there_but_in_none_that_is_drawn():
    losses, tokens, place = even_file(10)
    losses[50:60] = 99.0  # with the segment, 70 .. 79, in the batch of rows 40 .. 79
    place["base"][50:60] = False
    as_it_lies, drawn = (
        laws.measured_visibility(losses, tokens, batch_size=40, phases=[0], seed=seed, **place)
        for seed in (None, 0)
    )
    assert as_it_lies.height == pytest.approx((10 * 3.0 + 10 * 97.0) / 40)
    assert drawn.height == pytest.approx(3.0 * 10 / 40)


def test_random_rows_of_the_segment_are_drawn_without_repeats():
    """All ten rows of a segment of ten: whatever is drawn, it is the segment."""
    losses, tokens, place = even_file(10)
    losses[70:80] = np.arange(10.0)
    measured = laws.measured_visibility(
        losses, tokens, batch_size=20, phases=[10] * 30, seed=3, **place
    )
    assert measured.heights == pytest.approx([(45 + 20) / 20 - 2] * 30)


@pytest.fixture(scope="module")
def frozen():
    """The shipped file's rows under the base model (recorded)."""
    run = reproduce.recorded_run("frozen")
    truth = [vars(segment) for segment in shipped.segments()]
    return file_rows(Run({**run.info, "segments": truth}, run.records))


@pytest.mark.parametrize("batch_size", [2, 4, 8, 16, 32, 64, 128, 256])
def test_visibility_law_on_a_frozen_model(frozen, batch_size):
    for segment in shipped.segments():
        place = {"segment": segment, "base": ~frozen.off_domain}
        law = laws.expected_visibility(frozen.losses, frozen.tokens, batch_size=batch_size, **place)
        measured = laws.measured_visibility(
            frozen.losses,
            frozen.tokens,
            batch_size=batch_size,
            phases=np.arange(1024) % batch_size,
            seed=1,
            **place,
        )
        assert measured.height == pytest.approx(law.height, rel=0.05), segment
        assert measured.z == pytest.approx(law.z, rel=0.08), segment


# Plotting


@FEW
@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 7))
def test_logged_probabilities_by_counting_every_start(length, batch_size, every):
    touches = halves = 0
    for start in range(batch_size * every):
        held = np.bincount((start + np.arange(length)) // batch_size)[::every].max()
        touches, halves = touches + (held > 0), halves + (held >= min(length, batch_size) / 2)
    starts = batch_size * every
    assert laws.logged_touch(length, batch_size, every=every) == pytest.approx(touches / starts)
    assert laws.logged_half(length, batch_size, every=every) == pytest.approx(halves / starts)


def test_logged_probabilities_of_the_issue():
    # Batch 256, a line in 100 steps, a segment of 1,000 rows: (1000 + 255) and (1000 + 1) of 25,600
    # starts
    assert laws.logged_touch(1000, 256, every=100) == 1255 / 25600
    assert laws.logged_half(1000, 256, every=100) == 1001 / 25600
    touch, half = laws.simulate_logged(1000, 256, every=100, draws=2000)
    assert touch == pytest.approx(0.049, abs=0.02) and half == pytest.approx(0.039, abs=0.02)


# Buffer and dispersion


def test_buffer_profile_by_hand():
    # K = 2, rows 2 and 3 of 6: content 0 -> 1 -> 1.5 -> 0.75 -> 0.375, a half of it drawn each time
    assert laws.buffer_profile(6, 2, start=2, stop=4).tolist() == [
        0,
        0.5,
        0.75,
        0.375,
        0.1875,
        0.1875,
    ]


@FEW
@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 299), st.integers(0, 300))
def test_buffer_profile_keeps_every_row_and_has_the_closed_peak(n, size, start, length):
    start = min(start, n - 1)
    stop = min(start + length, n)
    profile, k = laws.buffer_profile(n, size, start=start, stop=stop), min(size, n)
    assert profile.sum() == pytest.approx(stop - start)
    first = min(max(k - start, 0), stop - start)  # rows of the segment in the first fill
    assert profile.max() == pytest.approx(
        1 - (1 - first / k) * (1 - 1 / k) ** (stop - start - first)
    )
    assert profile.max() >= (stop - start) / n - 1e-12


def test_buffer_share_is_the_peak_of_the_profile():
    for length, size in [(64, 256), (128, 128), (300, 900)]:
        assert laws.buffer_profile(
            2000, size, start=1000, stop=1000 + length
        ).max() == pytest.approx(laws.buffer_share(length, size), abs=1 / size)
    # A segment in the first fill keeps more than the law says, a buffer of the whole file leaves
    # L/N.
    assert laws.buffer_profile(2000, 500, start=100, stop=400).max() == pytest.approx(0.6)
    assert laws.buffer_share(300, 500) == pytest.approx(0.451, abs=1e-3)
    assert laws.buffer_profile(1000, 2000, start=300, stop=500).max() == pytest.approx(0.2)


# A segment of whole batches, where B is 4, 16 or 32
MEMBER = (np.arange(2048) >= 800) & (np.arange(2048) < 1056)


def test_dispersion_index_by_hand():
    # Shares 1, 1/2, 0 and a rest of one row that does not count: variance 1/6, p (1 - p) / 2 = 1/8.
    member = [1, 1, 1, 0, 0, 0, 1]
    assert laws.dispersion_index(member, batch_size=2) == pytest.approx((1 / 6) / (1 / 8))


def test_dispersion_index_of_perfectly_even_batches_is_zero():
    assert laws.dispersion_index([0, 1] * 8, batch_size=2) == 0


@pytest.mark.parametrize("batch_size", [4, 16, 64])
def test_dispersion_index_of_a_sorted_file_is_the_batch_size(batch_size):
    assert laws.dispersion_index(np.arange(6400) < 1280, batch_size) == pytest.approx(batch_size)


def test_dispersion_index_of_a_shuffle_is_one():
    member = np.arange(2000) < 400
    values = [laws.dispersion_index(member[order.shuffle(2000, seed)], 16) for seed in range(60)]
    # One value scatters by 0.13, their mean by 0.016.
    assert np.mean(values) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("member", [[], [1, 0, 1], [0] * 8, [1] * 8, [0] * 8 + [1]])
def test_dispersion_index_needs_both_kinds_in_whole_batches(member):
    with pytest.raises(ValueError, match="needs whole batches with members and others in them"):
        laws.dispersion_index(member, batch_size=4)


@pytest.mark.parametrize("batch_size", [4, 16, 32])
def test_expected_dispersion_of_sorted_and_shuffled(batch_size):
    assert laws.expected_dispersion(1.0 * MEMBER, batch_size) == pytest.approx(batch_size)
    assert laws.expected_dispersion(np.full(2048, 0.125), batch_size) == pytest.approx(1)
    assert laws.simulate_dispersion(
        "file", MEMBER, batch_size=batch_size, shuffles=1
    ) == pytest.approx(batch_size)
    assert laws.simulate_dispersion(
        "shuffle", MEMBER, batch_size=batch_size, shuffles=200
    ) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("size, batch_size", [(16, 16), (64, 4), (256, 16), (1024, 64)])
def test_expected_dispersion_of_a_buffer(size, batch_size):
    law = laws.expected_dispersion(
        laws.buffer_profile(2048, size, start=800, stop=1056), batch_size
    )
    assert laws.simulate_dispersion(
        f"buffer:{size}", MEMBER, batch_size=batch_size, shuffles=40
    ) == pytest.approx(law, rel=0.05)


@pytest.mark.parametrize("length, batch_size", [(300, 16), (100, 64), (10, 16), (64, 64)])
def test_sorted_dispersion_is_the_mean_over_starts(length, batch_size):
    n, rows = 2048, np.arange(2048)
    counted = [
        laws.dispersion_index((rows >= s) & (rows < s + length), batch_size)
        for s in range(512, 512 + batch_size)
    ]
    assert laws.sorted_dispersion([length], n, batch_size=batch_size) == pytest.approx(
        np.mean(counted), rel=0.01
    )


# Accumulation


def test_accumulation_by_hand():
    # 10 tokens at 4 nats and 990 at 2: 3.00 against 2020 / 1000
    sums, tokens = np.array([40.0, 1980.0]), np.array([10, 990])
    assert laws.mean_of_means(sums, tokens) == 3
    assert laws.token_mean(sums, tokens) == pytest.approx(2.02)
    assert laws.accumulation_bias(sums, tokens) == pytest.approx(0.98)


@FEW
@given(counts)
def test_accumulation_identity(parts):
    tokens = np.array([n for n, _ in parts])
    sums = np.array([n * m for n, m in parts])
    assert laws.mean_of_means(sums, tokens) - laws.token_mean(sums, tokens) == pytest.approx(
        laws.accumulation_bias(sums, tokens), abs=1e-9
    )


@FEW
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
    st.lists(st.floats(0, 9), min_size=8, max_size=8),
)
def test_equal_means_or_equal_counts_have_no_bias(tokens, means):
    tokens, means = np.array(tokens), np.array(means[: len(tokens)])
    assert laws.accumulation_bias(tokens * 2.5, tokens) == pytest.approx(0, abs=1e-9)
    assert laws.accumulation_bias(means * 7, np.full(len(means), 7)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("mean", [laws.token_mean, laws.mean_of_means])
def test_a_mean_over_no_token_is_said(mean):
    with pytest.raises(ValueError, match="no token to take a mean over"):
        mean(np.zeros(2), np.zeros(2))


# Resume


def test_resume_by_hand():
    assert laws.resume_rows(2000, 0.25) == 375
    assert laws.resume_rows(2000, 0) == laws.resume_rows(2000, 1) == 0


@pytest.mark.parametrize("kind", ["shuffle", "file"])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.8])
def test_simulated_resume_is_the_law(kind, fraction):
    twice, never = laws.simulate_resume(1000, fraction, kind=kind)
    assert twice == never
    # A draw scatters by at most 8, their mean by 0.8.
    assert twice == pytest.approx(laws.resume_rows(1000, fraction), abs=4)


def test_a_kept_order_loses_nothing():
    # Its first epoch is that of the shuffle.
    assert laws.simulate_resume(100, 0.5, kind="shuffle_once") == (0, 0)


# Step size and batch size


def test_scaled_adam_by_hand():
    found = laws.scaled_adam(1e-3, (0.9, 0.999), eps=1e-8, k=4)
    assert (found.learning_rate, *found.betas, found.eps) == pytest.approx((2e-3, 0.6, 0.996, 5e-9))


def test_the_linear_rule_by_hand():
    assert laws.linear_lr(1e-3, 4) == 4e-3


@FEW
@given(st.floats(0.1, 3), st.floats(0.1, 3))
def test_scaling_twice_is_scaling_by_the_product(k, j):
    once = laws.scaled_adam(1e-3, (0.9, 0.999), eps=1e-8, k=k * j)
    twice = laws.scaled_adam(1e-3, (0.9, 0.999), eps=1e-8, k=k)
    twice = laws.scaled_adam(twice.learning_rate, twice.betas, eps=twice.eps, k=j)
    assert (once.learning_rate, *once.betas, once.eps) == pytest.approx(
        (twice.learning_rate, *twice.betas, twice.eps)
    )


@pytest.mark.parametrize("k", [0, -1, 10.1, 16])
def test_the_square_root_rule_ends(k):
    with pytest.raises(ValueError, match=r"k must lie in 0 \.\. 10"):
        laws.scaled_adam(1e-3, (0.9, 0.999), eps=1e-8, k=k)
