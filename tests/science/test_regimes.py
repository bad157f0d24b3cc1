"""The terms over recorded trials: by segment, by regime, and frozen heights against trained."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from science.test_decomposition import BLOCKS, MIXED, N, a_pass

from minimind_lite import segments
from minimind_lite.science import evidence as ev
from minimind_lite.science import regimes
from minimind_lite.science.decomposition import TERMS, Terms, at_boundaries
from minimind_lite.science.evidence import Evidence
from minimind_lite.science.intervals import crossed_interval, mean_interval
from minimind_lite.science.procedures import one_pass
from minimind_lite.science.regimes import Point, TermIntervals, fit, mean_terms, regime_map
from minimind_lite.science.store import MissingTrials, Store
from minimind_lite.science.trials import Outcome, Variant

FEW = settings(max_examples=40, deadline=None, derandomize=True)
RECORDS = ev.recorded()
BASE_LOSS = (5.0, 6.0, 5.0)  # of the three blocks
E1 = ("E1", "file"), ("E1", "frozen")


def add(store, which, seed, losses, listed=BLOCKS, probes=None):
    """Record a pass with a loss for each block; halves and quarters survive half precision."""
    ends = [block["start"] for block in BLOCKS[1:]]
    run = a_pass(np.array(losses)[np.searchsorted(ends, np.arange(N), side="right")], listed=listed)
    if probes:
        records = [replace(r, probes=probes(r.step)) for r in run.records]
        run = replace(run, records=tuple(records))
    variant = Variant(which[1], one_pass)
    store.add(which[0], variant, seed, outcome=Outcome(run), code="c")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def terms(unfamiliar, transferred, specialized):
    return Terms(unfamiliar + transferred + specialized, unfamiliar, transferred, specialized)


# Over seeds


@FEW
@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=2, max_size=9))
def test_the_means_over_seeds_add_up_too(values):
    of_seeds = [terms(*each) for each in values]
    got = TermIntervals.over_seeds(of_seeds)
    assert sum(got.term(name).mean for name in TERMS) == pytest.approx(got.height.mean, abs=1e-9)
    assert got.term(got.dominant).mean == max(got.term(name).mean for name in TERMS)
    assert got.lead.mean >= -1e-12
    mean = mean_terms(of_seeds)
    assert astuple(mean)[0] == pytest.approx(sum(astuple(mean)[1:]), abs=1e-9)


def test_the_lead_is_paired_by_seed():
    """The largest term is 0.5 ahead of the next in each file, though both vary between files."""
    got = TermIntervals.over_seeds([terms(x, -1.0, x + 0.5) for x in (0.0, 1.0, 2.0)])
    assert got.dominant == "specialized"
    assert (got.lead.low, got.lead.high) == pytest.approx((0.5, 0.5))
    assert got.specialized == mean_interval([0.5, 1.5, 2.5])


def test_each_segment_has_its_row_where_it_starts_and_where_it_ends(store):
    for seed in (0, 1):
        add(store, ("T", "file"), seed, (4.5, 5.75 + seed, 5.0))
        add(store, ("T", "frozen"), seed, BASE_LOSS)
    which = ("T", "file"), ("T", "frozen")
    starts = regimes.by_segment(Evidence(store), *which)
    assert list(starts) == ["code", "zh_writing"]  # the taller first; the first block has none
    assert starts["code"].unfamiliar == mean_interval([1.0, 1.0])
    assert starts["code"].transferred == mean_interval([-0.25, 0.75])
    assert starts["code"].specialized == mean_interval([0.5, 0.5])
    ends = regimes.by_segment(Evidence(store), *which, ends=True)
    assert set(ends) == {"zh_chat", "code"}
    assert ends["zh_chat"] == starts["code"]
    assert ends["code"].specialized == mean_interval([0.25, -0.75])


def test_chinese_rows_between_segments_have_no_row(store):
    add(store, ("T", "file"), 0, (4.5, 5.75, 5.0), listed=MIXED)
    add(store, ("T", "frozen"), 0, BASE_LOSS, listed=MIXED)
    for ends in (False, True):
        table = regimes.by_segment(Evidence(store), ("T", "file"), ("T", "frozen"), ends=ends)
        assert set(table) == {"code", "en_tiny"}


def test_base_models_are_crossed_with_layouts_where_they_are_asked_for(store):
    """Unfamiliarity differs between three bases by 0, 1 and 2 nats, and between layouts not."""
    for i, base in enumerate(("", ", nano-1", ", nano-2")):
        for seed in (0, 1, 2):
            add(store, ("T", f"file{base}"), seed, (4.5, 5.75 + i, 5.0))
            add(store, ("T", f"frozen{base}"), seed, (5.0, 6.0 + i, 5.0))
    add(store, ("T", "file"), 3, (4.5, 9.75, 5.0))  # of one base only
    add(store, ("T", "frozen"), 3, (5.0, 10.0, 5.0))
    which = ("T", "file"), ("T", "frozen")
    code = regimes.by_segment(Evidence(store), *which, bases=True)["code"]
    assert code.unfamiliar == crossed_interval([[1.0, 2.0, 3.0]] * 3)
    assert (code.unfamiliar.mean, code.unfamiliar.n, code.unfamiliar.bases) == (2.0, 3, 3)
    one_layout = Evidence(store, seeds=(0,))
    code = regimes.by_segment(one_layout, *which, bases=True)["code"]
    assert (code.unfamiliar.mean, code.unfamiliar.low) == (2.0, -np.inf)
    alone = regimes.by_segment(Evidence(store), *which)["code"]
    assert alone.unfamiliar == mean_interval([1.0, 1.0, 1.0, 5.0])


# Regimes


def test_a_regime_says_what_its_spikes_are_made_of(store):
    """Two boundaries, of which one rises: +1.25 = 1 - 0.25 + 0.5; the other falls by 0.75."""
    for seed, first in enumerate((4.5, 3.0)):
        add(store, ("E18", "low 64 file"), seed, (first, 5.75, 5.0))
        add(store, ("E18", "low 64 frozen"), seed, BASE_LOSS)
    add(store, ("E18", "high 64 file"), 0, BASE_LOSS)  # its frozen run is not recorded
    [regime] = regime_map(Evidence(store))
    assert (regime.exposure, regime.length, regime.chinese) == ("low", 64, 69)
    assert (regime.n_spikes, regime.n_boundaries) == (1.0, 2.0)
    assert regime.spikes.height == mean_interval([1.25, 2.75])
    assert regime.spikes.specialized == mean_interval([0.5, 2.0])
    assert regime.spikes.dominant == "specialized"
    assert not regime.spikes.lead.above(0)
    assert regime.boundaries.unfamiliar == mean_interval([0.0, 0.0])  # up by 1, down by 1
    assert regime.boundaries.specialized == mean_interval([0.375, 1.125])
    assert regime.after_chinese == regime.spikes  # everyday Chinese ends, then code
    assert regime.after_others.specialized == mean_interval([0.25, 0.25])


def test_a_regime_may_have_no_spike(store):
    add(store, ("E18", "high 128 file"), 0, (5.0, 5.25, 5.0))
    add(store, ("E18", "high 128 frozen"), 0, (5.0, 5.25, 5.0))
    [regime] = regime_map(Evidence(store))
    assert regime.spikes is None
    assert (regime.n_spikes, regime.chinese) == (0.0, 1086)


def test_without_a_record_there_is_no_map(store):
    with pytest.raises(MissingTrials, match="no trial of E18 is recorded"):
        regime_map(Evidence(store))


# Frozen heights against trained ones


def test_points_are_starts_of_segments_with_what_was_learnt_of_their_domain_before(store):
    probes = lambda step: {"code": 7.0 - step / 4, "zh": 5.0} if step % 4 == 0 else {}
    add(store, ("E1", "file"), 0, (4.5, 5.75, 5.0), probes=probes)
    add(store, ("E1", "frozen"), 0, BASE_LOSS)
    add(store, ("E18", "low 64 file"), 3, (4.5, 5.75, 5.0))
    add(store, ("E18", "low 64 frozen"), 3, BASE_LOSS)
    points = regimes.frozen_against_trained(Evidence(store))
    assert [(p.seed, p.label) for p in points["mixed"]] == [(0, "code"), (0, "zh_writing")]
    assert [p.held_out for p in points["mixed"]] == [-1.0, 0.0]  # step 6 is the first of code
    assert [p.terms for p in points["blocks"]] == [p.terms for p in points["mixed"]]
    assert {p.seed for p in points["blocks"]} == {3}
    assert np.isnan([p.held_out for p in points["blocks"]]).all()


UNKNOWN = np.full(12, np.nan)


def points_of(frozen, trained, held_out, *, per_layout=4):
    return [
        Point("mixed", i // per_layout, "code", Terms(t, f, t - f, 0.0), h)
        for i, (f, t, h) in enumerate(zip(frozen, trained, held_out))
    ]


@FEW
@given(st.integers(0, 10**6), st.floats(0.2, 2), st.floats(-1, 1))
def test_a_line_is_read_off_its_points(seed, slope, intercept):
    frozen = np.random.default_rng(seed).uniform(-2, 2, size=12)
    line = fit(points_of(frozen, slope * frozen + intercept, UNKNOWN))
    assert (line.n, line.files) == (12, 3)
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept))
    assert line.r_squared == pytest.approx(1)
    assert (line.slopes.low, line.slopes.high) == pytest.approx((slope, slope))
    assert line.residual == pytest.approx(0, abs=1e-9)


def test_what_the_line_misses_can_be_what_was_learnt_before():
    frozen = np.tile([0.0, 1.0], 6)
    learnt = np.repeat([-1.0, 1.0, 0.0], 4)
    line = fit(points_of(frozen, frozen + learnt, learnt))
    assert line.by_held_out == pytest.approx(1)
    assert line.r_squared < 0.5
    assert line.r_squared_as_is == pytest.approx(1 - (2 / 3) / (2 / 3 + 1 / 4))
    unknown = fit(points_of(frozen, frozen + learnt, UNKNOWN))
    assert np.isnan(unknown.by_held_out)


def test_a_constant_height_is_no_prediction():
    """Worse than the mean of all heights: the share is below zero."""
    frozen = np.array([1.0, 2.0, 3.0, 4.0])
    assert fit(points_of(frozen, frozen[::-1], UNKNOWN)).r_squared_as_is < 0


def test_too_few_points_have_no_line():
    with pytest.raises(ValueError, match="three points of each layout, got 5 in all"):
        fit(points_of(range(5), range(5), range(5)))


# What was recorded


@pytest.mark.parametrize(
    "trained, frozen",
    [E1, (("E17", "blocks, file"), ("E17", "blocks, frozen"))],
)
def test_the_identity_holds_in_every_recorded_file_and_heights_are_those_of_its_steps(
    trained, frozen
):
    """Losses of steps are stored in double precision, those of conversations with three digits."""
    for seed in RECORDS.common(trained, frozen):
        run = RECORDS.trial(*trained, seed).run
        tokens = run.column("tokens")
        for boundary in at_boundaries(run, RECORDS.trial(*frozen, seed).run):
            height, *three = astuple(boundary.terms)
            assert sum(three) == pytest.approx(height, abs=1e-9)
            if len(boundary.before) < 176 or boundary.before.start % 16:
                continue
            share = segments.share(run, boundary.after)
            first = int(np.argmax(share > 0))
            last = slice(first - 10, first)
            before = (run.loss[last] * tokens[last]).sum() / tokens[last].sum()
            assert run.loss[np.argmax(share)] - before == pytest.approx(height, abs=5e-3)


def test_short_segments_in_chinese_are_unfamiliar_and_the_rest_is_small():
    """In all layouts together: the shipped base knows Chinese, and no segment is long."""
    table = regimes.by_segment(RECORDS, *E1)
    for label in segments.LARGE:
        assert table[label].dominant == "unfamiliar"
        assert table[label].lead.above(0.5)
        assert table[label].specialized.within(0, 0.2)


def test_the_recorded_map_has_all_cells_and_length_decides_where_off_domain_blocks_end():
    """Blocks of 350 leave a lower floor than blocks of 64 under every base model."""
    of_cell = {(regime.exposure, regime.length): regime for regime in regime_map(RECORDS)}
    assert len(of_cell) == 12
    for exposure in ("low", "shipped", "high"):
        short, long = of_cell[exposure, 64], of_cell[exposure, 350]
        assert long.after_others.specialized.low > short.after_others.specialized.high
        assert long.n_spikes > short.n_spikes
        assert short.spikes.dominant != "specialized"
    assert of_cell["low", 350].spikes.dominant == "specialized"
    assert of_cell["low", 350].after_chinese.specialized.above(0)
