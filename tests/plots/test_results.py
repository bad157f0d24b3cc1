"""The pictures of docs/results.md: all can be drawn from the records, and their titles are true."""

import pytest
from plots.toy import smallest_letter
from results_tables import over_layouts

from minimind_lite.plots import results
from minimind_lite.science import evidence, forgetting, look_alikes, regimes, responses
from minimind_lite.science.intervals import mean_interval
from minimind_lite.segments import LARGE


@pytest.fixture(scope="module")
def records():
    return evidence.recorded()


@pytest.mark.parametrize("name", results.PICTURES)
def test_a_picture_is_drawn_from_the_records_and_says_what_it_shows(name, records):
    plot = results.PICTURES[name](records)
    assert len(plot.summary) > 80 and plot.png()
    assert smallest_letter(plot) >= 10
    assert "nan" not in plot.summary.split()


def test_pictures_have_the_names_of_the_page():
    page = (evidence.stores.shipped.folder().parent / "docs" / "results.md").read_text("utf-8")
    for name in results.PICTURES:
        assert f"](../data/figures/{name}.png)" in page


# What their titles say


def test_classical_chinese_is_the_lowest_spike_and_leaves_a_dent(records):
    heights = over_layouts(
        lambda trial: {label: trial.readings[label].height for label in LARGE}, results.FILE
    )
    assert min(LARGE, key=lambda label: heights[label].mean) == "zh_classical"
    dents = over_layouts(lambda t, f: forgetting.dents(t.run, f.run), results.FILE, results.FROZEN)
    assert dents["zh_classical"].above(0)


def test_domains_are_learnt_when_read_and_others_forgotten(records):
    table = forgetting.tables_over_layouts(
        forgetting.matrix(records.trial(*results.CLOSE, seed).run)
        for seed in records.common(results.CLOSE)
    )
    assert all(table[domain][domain].below(0) for domain in LARGE)
    rises = [table[i][j] for i in LARGE for j in LARGE if i != j]
    assert any(rise.above(0) for rise in rises)
    assert records.over_seeds(
        evidence.change(evidence.held_out_off_domain), results.FILE, results.SHUFFLED
    ).above(0)


def test_the_dent_grows_with_the_dose_and_most_for_classical(records):
    measured = responses.responses(records)
    for field in ("rate", "length"):
        for domain in LARGE:
            slopes = [responses.slopes(rs, "dent", domain=domain) for rs in measured.values()]
            assert mean_interval([slope[field] for slope in slopes]).above(0), (domain, field)
    ends = {
        domain: responses.curve(measured, "dent", along="length", domain=domain, fixed=1)[256].mean
        for domain in LARGE
    }
    assert max(ends, key=ends.__getitem__) == "zh_classical"


def test_the_tall_spike_forgets_nothing_and_the_flat_curve_forgets(records):
    tall, flat = (
        [look_alikes.facts(records.trial(*which, seed)) for seed in records.common(which)]
        for which in (look_alikes.TALL, look_alikes.FLAT)
    )
    assert mean_interval([fact["tallest step"] for fact in tall]).above(0.5)
    assert all(fact["spikes"] > 0 for fact in tall)
    assert sum(fact["spikes"] > 0 for fact in flat) <= 1  # layouts with a flagged spike, of 8
    assert mean_interval([fact["forgotten"] for fact in tall]).below(0.1)
    assert mean_interval([fact["forgotten"] for fact in flat]).above(0.1)


def test_more_exposure_makes_a_lower_spike(records):
    for domain in LARGE:
        heights = [
            records.over_seeds(lambda t, d=domain: t.readings[d].height, which).mean
            for which in (("E11", "exposure 0"), results.FROZEN, ("E11", "exposure 20"))
        ]
        assert heights == sorted(heights, reverse=True)


def test_the_three_terms_add_up_to_every_height(records):
    for which in ((results.FILE, results.FROZEN), (results.BLOCKS, results.FROZEN_BLOCKS)):
        for terms in regimes.by_segment(records, *which).values():
            parts = (terms.unfamiliar, terms.transferred, terms.specialized)
            assert terms.height.mean == pytest.approx(sum(p.mean for p in parts), abs=1e-9)
