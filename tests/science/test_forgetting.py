"""Forgetting: matrices that add up, dents by hand, half-lives of known curves."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from science.toy import records_of

from minimind_lite.records import Run
from minimind_lite.science import evidence, forgetting
from minimind_lite.science.store import Trial

RECORDS = evidence.recorded()
CODE = {"domain": "code", "start": 40, "stop": 80}  # steps 10 to 19 of 4 rows
EN = {"domain": "en", "start": 122, "stop": 162}  # steps 30 to 40, the first and last in part
STEPS = 60


def run_of(
    losses: list[float] | np.ndarray,
    *,
    probes: dict[str, np.ndarray] | None = None,
    segments: tuple = (CODE, EN),
) -> Run:
    """Steps of 4 rows; `probes` (steps + 1,) are measured before each and after the last."""
    records = list(records_of([float(loss) for loss in losses], batch=4))
    measured = probes or {}
    for i, record in enumerate(records):
        values = {name: float(series[i]) for name, series in measured.items()}
        records[i] = replace(record, probes=values)
    after = {name: float(series[-1]) for name, series in measured.items()}
    return Run({"segments": list(segments), "probes_after": after}, tuple(records))


def trial(run: Run) -> Trial:
    return Trial("T1", "a", 0, {}, {}, run)


def flat(value: float = 2.0) -> np.ndarray:
    return np.full(STEPS, value)


# Held-out losses


def test_a_rise_is_from_the_last_measurement_before_to_the_first_after():
    series = np.zeros(STEPS + 1)
    series[:11], series[11:20], series[20:30] = 1.0, 5.0, 1.5  # step 10 is the first of code
    series[30], series[31:41], series[41:] = 2.0, 9.0, 2.25  # EN touches steps 30 to 40
    changes = forgetting.rises(run_of(flat(), probes={"zh": series}))
    assert changes == {"code": {"zh": pytest.approx(0.5)}, "en": {"zh": pytest.approx(0.25)}}


def test_a_probe_that_was_not_measured_before_has_no_rise():
    run = run_of(flat(), probes={"zh": np.ones(STEPS + 1)})
    late = tuple(r if i >= 25 else replace(r, probes={}) for i, r in enumerate(run.records))
    changes = forgetting.rises(Run(run.info, late))
    assert np.isnan(changes["code"]["zh"]) and changes["en"]["zh"] == 0


def test_a_shuffled_pass_is_judged_over_the_same_steps():
    series = np.arange(STEPS + 1.0)
    run = run_of(flat(), probes={"zh": series})
    order = np.random.default_rng(0).permutation(4 * STEPS).reshape(STEPS, 4)
    shuffled = Run(run.info, tuple(replace(r, rows=rows) for r, rows in zip(run.records, order)))
    assert forgetting.rises(shuffled) == forgetting.rises(run)
    assert forgetting.rises(run)["code"]["zh"] == 10


@given(st.lists(st.floats(0, 9), min_size=STEPS + 1, max_size=STEPS + 1))
def test_columns_of_the_matrix_add_up_to_the_whole_pass(series):
    second = {"domain": "code", "start": 200, "stop": 208}
    run = run_of(flat(), probes={"en": np.array(series)}, segments=(CODE, EN, second))
    table = forgetting.matrix(run)
    assert list(table) == ["zh", "code", "en"]
    total = sum(row["en"] for row in table.values())
    assert total == pytest.approx(series[-1] - series[0], abs=1e-9)
    parts = forgetting.rises(run)
    assert table["code"]["en"] == pytest.approx(parts["code"]["en"] + parts["code_tiny"]["en"])


def test_learnt_is_the_fall_of_held_out_chinese():
    assert forgetting.learnt(run_of(flat(), probes={"zh": np.linspace(5, 4, 61)})) == 1.0


def test_forgotten_is_the_end_above_the_lowest():
    series = np.concatenate([np.linspace(5, 3, 30), np.linspace(3, 3.75, 31)])
    assert forgetting.forgotten(run_of(flat(), probes={"en": series})) == {"en": 0.75}
    rising = run_of(flat(), probes={"en": -series})
    assert forgetting.forgotten(rising) == {"en": 5 - 3.75}


def test_what_is_left_and_how_it_grows_with_age():
    """Code ends 160 rows before the end, English 78: 0.25 a thousand rows."""
    ends = {"code": 1.0 + 0.25 * 0.160, "en": 1.0 + 0.25 * 0.078, "zh": 1.0}
    file = run_of(flat(), probes={name: np.full(61, loss) for name, loss in ends.items()})
    shuffled = run_of(flat(), probes={name: np.full(61, 1.0) for name in ends})
    assert forgetting.left(file, shuffled) == pytest.approx({"code": 0.04, "en": 0.0195, "zh": 0.0})
    assert forgetting.left_by_age(trial(file), trial(shuffled)) == pytest.approx(0.25)


# Dents


def dented() -> tuple[Run, Run]:
    """Frozen at 2; trained 0.1 below it, and 0.3 above that after code, halving in 4 batches."""
    frozen = flat() + np.sin(np.arange(STEPS))
    trained = frozen - 0.1
    trained[20:30] += 0.3 * 2.0 ** (-np.arange(10) / 4)
    trained[41:] -= 0.05
    return run_of(trained), run_of(frozen)


def test_a_dent_is_the_excess_after_above_the_excess_before():
    assert forgetting.dents(*dented())["code"] == pytest.approx(0.3)
    samples, dent = forgetting.dent_curves(*dented())["code"]
    assert samples.tolist() == list(range(0, 40, 4))  # to the last batch before English
    assert dent == pytest.approx(0.3 * 2.0 ** (-np.arange(10) / 4))


def test_the_first_batch_wholly_after_a_segment_is_judged():
    """English ends inside step 40, and its level before has eight batches of the first dent."""
    samples, dent = forgetting.dent_curves(*dented())["en"]
    level = np.mean(0.3 * 2.0 ** (-np.arange(2, 10) / 4))
    assert samples[0] == 164 - 162 and len(dent) == 19
    assert dent == pytest.approx(np.full(19, -0.05 - level))


def test_dents_halve_where_there_are_any():
    lives = forgetting.dent_half_lives(*dented())
    assert lives["code"] == pytest.approx(16) and np.isnan(lives["en"])


def test_a_segment_without_ordinary_batches_around_it_has_no_dent():
    near = {"domain": "math", "start": 164, "stop": 200}  # next to English
    first = {"domain": "zh_classical", "start": 16, "stop": 24}  # four batches before it
    run = run_of(flat(), segments=(first, CODE, EN, near))
    assert list(forgetting.dents(run, run)) == []
    run = run_of(flat(), segments=(CODE,))
    assert forgetting.dents(run, run) == {"code": 0.0}


def test_two_runs_that_read_other_rows_are_not_compared():
    trained, frozen = dented()
    with pytest.raises(ValueError, match="same rows, batch by batch"):
        forgetting.excess(trained, Run(frozen.info, frozen.records[::-1]))
    with pytest.raises(ValueError, match="same rows, batch by batch"):
        forgetting.excess(trained, frozen.every(2))


# Half-lives


@given(st.floats(2, 200), st.floats(0.2, 5))
def test_the_half_life_of_an_exponential_is_its_own(life, start):
    samples = np.arange(0, 500, 2.0)
    assert forgetting.half_life(start * 2 ** (-samples / life), samples) == pytest.approx(
        life, rel=0.02, abs=0.3
    )


def test_a_curve_that_never_halves_has_its_length_and_a_flat_one_none():
    samples = np.arange(100, 200, 10)
    assert forgetting.half_life(np.linspace(1.0, 0.6, 10), samples) == 90
    assert np.isnan(forgetting.half_life(np.full(10, 0.01), samples))
    assert np.isnan(forgetting.half_life(np.linspace(-1, 1, 10), samples))


def test_noise_moves_a_half_life_little():
    rng, samples = np.random.default_rng(0), np.arange(0, 240, 16)
    lives = [
        forgetting.half_life(0.3 * 2 ** (-samples / 60) + rng.normal(0, 0.03, 15), samples)
        for _ in range(200)
    ]
    assert np.mean(lives) == pytest.approx(60, abs=6)


def test_a_block_is_learnt_with_its_half_life():
    """48 whole batches; the late level is the mean of the last twelve."""
    block = {"domain": "en", "start": 20, "stop": 212}
    frozen = flat()
    trained = frozen.copy()
    trained[5:53] = frozen[5:53] - 1 + 2.0 ** (-np.arange(48) / 5)
    trained[35:] = 1.0
    lives = forgetting.half_lives(
        run_of(trained, segments=(block,)), run_of(frozen, segments=(block,))
    )
    assert lives["en"] == pytest.approx(20, abs=0.5)


def test_a_short_block_has_no_half_life():
    block = {"domain": "en", "start": 20, "stop": 20 + 4 * 8 + 3}
    run = run_of(flat(), segments=(block, CODE))
    assert list(forgetting.half_lives(run, run)) == ["en", "code"]
    short = {"domain": "en", "start": 21, "stop": 21 + 4 * 8}  # seven whole batches
    run = run_of(flat(), segments=(short,))
    assert forgetting.half_lives(run, run) == {}


# Height and harm, and over layouts


def test_the_lowest_spike_may_leave_the_deepest_dent():
    """Two large segments: one high without a dent, one low with it."""
    trained, frozen = dented()
    losses = trained.loss.copy()
    losses[10:20] += 1.0
    losses[30:41] += 2.0
    high = run_of(losses)
    assert forgetting.height_and_dent(trial(high), trial(frozen)) == pytest.approx(-1)
    harm = {"code": 0.5, "en": 0.1, "en_tiny": 9.0}
    assert forgetting.correlation_with_height(trial(high), harm) == pytest.approx(-1)


def test_entries_without_a_number_do_not_count():
    table = forgetting.over_layouts([{"a": 1.0, "b": np.nan}, {"a": 3.0}, {"b": np.nan}])
    assert list(table) == ["a"] and (table["a"].mean, table["a"].n) == (2.0, 2)
    rows = forgetting.tables_over_layouts([{"x": {"a": 1.0}}, {"x": {"a": 2.0}, "y": {"a": 5.0}}])
    assert rows["x"]["a"].mean == 1.5 and rows["y"]["a"].n == 1


def test_recorded_dents_are_those_of_the_first_measurement():
    """Five layouts, first batch after classical Chinese, to two digits."""
    values = [
        forgetting.dents(
            RECORDS.trial("E1", "file", seed).run, RECORDS.trial("E1", "frozen", seed).run
        )["zh_classical"]
        for seed in range(5)
    ]
    assert np.round(values, 2).tolist() == [0.28, 0.27, 0.11, 0.26, 0.31]
