"""Laws beside records: expected values by hand on toy runs, and laws on made-up rows."""

import numpy as np
import pytest

from minimind_lite import order
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import law_checks, laws
from minimind_lite.science.store import Trial
from minimind_lite.segments import Segment

SEGMENT = {"domain": "code", "start": 200, "stop": 264}


def toy(
    rows: np.ndarray,
    losses: np.ndarray,
    tokens: np.ndarray,
    *,
    batch: int = 16,
    segments: tuple[dict, ...] = (SEGMENT,),
    **info: object,
) -> Run:
    """A run whose conversations have these losses and tokens, by row, met in the order `rows`."""
    records = []
    for step, part in enumerate(np.split(rows, range(batch, len(rows), batch))):
        loss = float((losses * tokens)[part].sum() / tokens[part].sum())
        records.append(
            StepRecord(
                step=step,
                epoch=0,
                samples_seen=step * batch,
                loss=loss,
                tokens=int(tokens[part].sum()),
                lr=0.0,
                grad_norm=1.0,
                micro_losses=np.array([loss]),
                rows=part,
                sample_losses=losses[part],
                sample_tokens=tokens[part],
                seconds=0.0,
            )
        )
    return Run({"segments": list(segments), **info}, tuple(records))


def rows_of(
    n: int = 480, *, delta: float = 1.0, ratio: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Losses around 5 with deviation 0.2, the segment `delta` harder.

    10 tokens, `ratio` times as many in the segment.
    """
    inside = (np.arange(n) >= SEGMENT["start"]) & (np.arange(n) < SEGMENT["stop"])
    losses = 5 + delta * inside + np.random.default_rng(seed).normal(0, 0.2, n)
    return losses, np.where(inside, 10 * ratio, 10)


def test_large_segments_by_length_without_the_tiny():
    others = (
        {"domain": "math", "start": 0, "stop": 100},
        {"domain": "en", "start": 110, "stop": 134},
    )
    run = toy(np.arange(480), *rows_of(), segments=(*others, SEGMENT))
    assert list(law_checks.large(run)) == ["code", "math"]


@pytest.mark.parametrize("ratio", [1, 3])
def test_visibility_of_made_up_rows_follows_the_law(ratio):
    run = toy(np.arange(480), *rows_of(ratio=ratio))
    found = law_checks.visibility([run], "code", batches=(4, 16, 128))
    # Wholly inside at 4 and 16 rows.
    assert found["height"].law_at[0, :2] == pytest.approx([1.0, 1.0], abs=0.1)
    share = laws.expected_height(1.0, 64, batch_size=128, token_ratio=ratio)
    assert found["height"].law_at[0, 2] == pytest.approx(
        share * found["height"].law_at[0, 0], rel=0.01
    )
    assert (
        np.abs(found["height"].difference).max() < 0.03
        and np.abs(found["height"].simulated - found["height"].law_at[0]).max() < 0.05
    )
    assert found["noise"].measured[0] == pytest.approx([0.1, 0.05, 0.2 / 128**0.5], rel=0.12)
    assert found["z"].measured[0] == pytest.approx(
        found["height"].measured[0] / found["noise"].measured[0]
    )


def test_equal_tokens_leave_the_ratio_out():
    run = toy(np.arange(480), *rows_of(ratio=3))
    equal = law_checks.equal_token_heights([run], "code", batches=(256,))
    assert equal[0] == pytest.approx(0.234375, abs=0.02)  # r - r^2/4 at r = 1/4
    by_tokens = law_checks.visibility([run], "code", batches=(128,))["height"]
    assert by_tokens.law_at[0, 0] > 0.6  # three times the tokens: far above 7/16


def test_a_log_shows_what_was_counted_by_hand():
    # Rows 200 .. 263 lie in batches 12 (8 rows), 13, 14, 15 (whole), 16 (8 rows).
    run = toy(np.arange(480), *rows_of())
    touched, half = law_checks.plotting([run], "code", every=(1, 4, 8, 16))
    assert touched.measured[0].tolist() == [1, 1, 5 / 8, 5 / 16]
    assert half.measured[0].tolist() == [1, 1, 5 / 8, 5 / 16]  # 8 of 16 rows are half
    assert touched.law_at[0].tolist() == [1, 1, 79 / 128, 79 / 256]


def test_peak_share_follows_the_law_and_sees_another_buffer_either_way():
    made = lambda kind: [toy(order.make(kind, 480, seed=s), *rows_of()) for s in range(12)]
    check = law_checks.peak_shares({16: made("buffer:16"), 64: made("buffer:64")}, "code")
    assert check.law_at[0] == pytest.approx([0.98, 1 - np.exp(-1)], abs=0.05)
    assert (
        np.abs(check.difference.mean(axis=0)).max() < 0.08
        and np.abs(check.simulated - check.law_at[0]).max() < 0.05
    )
    off = {
        kind: law_checks.peak_shares({64: made(kind)}, "code").difference.mean()
        for kind in ("buffer:16", "file", "buffer:256", "shuffle")
    }
    assert (
        min(off["buffer:16"], off["file"]) > 0.2 and max(off["buffer:256"], off["shuffle"]) < -0.2
    )


def test_peaks_are_read_where_the_mean_profile_is_largest():
    # The second segment starts one batch later. Aligned: 0.1 0.9 0.2 and 0.3 0.1 0.8.
    shares = [np.array([0.1, 0.9, 0.2]), np.array([0.0, 0.3, 0.1, 0.8])]
    places = [Segment("en", 0, 16), Segment("en", 16, 32)]
    peaks = law_checks._peaks_of_mean_profile(shares, places, batch_size=16)
    assert peaks.tolist() == [0.9, 0.1]


def test_smoothing_is_over_half_a_segment():
    shares = np.array([0.0, 1.0, 0.0, 0.5])
    assert law_checks._smooth(shares, 1).tolist() == shares.tolist()
    assert law_checks._smooth(shares, 4).tolist() == [0.5, 0.5, 0.25]


def test_dispersion_of_file_blocks_and_shuffle():
    runs = {
        kind: [toy(order.make(kind, 480, seed=s), *rows_of()) for s in range(8)]
        for kind in ("file", "block:32", "buffer:32", "shuffle")
    }
    check = law_checks.dispersion(runs)
    file, block, buffer, shuffle = check.measured.mean(axis=0)
    assert file == block == pytest.approx(check.law_at[0, 0], rel=0.1)
    assert buffer == pytest.approx(check.law_at[0, 2], rel=0.15) and file > buffer > 2 * shuffle
    assert shuffle == pytest.approx(1, abs=0.3)


def test_an_order_without_a_law_is_refused():
    with pytest.raises(ValueError, match="no law"):
        law_checks.expected_dispersion("block:24", toy(np.arange(480), *rows_of()), batch_size=16)


def test_bias_of_the_mean_of_means_by_hand():
    # Two rows a step: 10 tokens at loss 4, 990 at loss 2. Mean of means 3.00, sum / sum 2.02.
    run = toy(np.arange(40), np.tile([4.0, 2.0], 20), np.tile([10, 990], 20), batch=2, segments=())
    check = law_checks.accumulation([run], sizes=(2, 1))
    assert check.measured[0].tolist() == pytest.approx([0.0, 0.98])
    assert check.law_at[0, 0] == 0 and check.law_at[0, 1] > 0


def test_bias_is_first_order_in_one_over_k():
    rng = np.random.default_rng(0)
    tokens = rng.integers(80, 121, 4096)
    run = toy(
        np.arange(4096), 5 - 0.01 * (tokens - 100) + rng.normal(0, 0.1, 4096), tokens, segments=()
    )
    check = law_checks.accumulation([run], sizes=(16, 4, 1))
    assert (
        check.measured[0] == pytest.approx(check.law_at[0], abs=0.002) and check.law_at[0, 2] > 0.01
    )


def test_rows_read_twice_by_hand():
    first, then = np.array([0, 1, 2, 3]), np.array([4, 5, 2, 3])  # 2 and 3 twice, 6 and 7 never
    run = toy(
        np.concatenate([first, then]),
        np.ones(8),
        np.ones(8, int),
        batch=2,
        segments=(),
        resumed_at=2,
    )
    check = law_checks.resume(
        [Trial("E10", "toy", 0, {}, {"read_twice": 2, "never_read": 2}, run)], kind="file"
    )
    assert (
        check.at.tolist() == [0.5]
        and check.measured.tolist() == [[0.25]]
        and check.law_at.tolist() == [[0.25]]
    )


def test_a_frozen_pass_lies_on_the_line_and_a_lower_one_below():
    losses, tokens = rows_of()
    frozen = toy(np.arange(480), losses, tokens)
    expected, found = law_checks.share_times_hardness(frozen, frozen)
    assert expected == pytest.approx(1.0, abs=0.06) and found == pytest.approx(expected, abs=0.12)
    learnt = toy(np.arange(480), rows_of(delta=0.4)[0], tokens)
    again, lower = law_checks.share_times_hardness(learnt, frozen)
    assert again == expected and lower == pytest.approx(found - 0.6, abs=0.05)
