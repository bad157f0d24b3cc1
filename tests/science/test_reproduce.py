"""The recorded runs show what the lessons say they show, and can be made again."""

from dataclasses import replace

import numpy as np
import pytest

from minimind_lite import segments, spikes
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.records import Run
from minimind_lite.science import reproduce, segment_metrics

SHUFFLED = [f"shuffled, seed {seed}" for seed in range(5)]
REPORTED, RESHUFFLED = "3 epochs, as reported", "3 epochs, shuffled"
CONFIGS = {
    "file": reproduce.VARIANTS["file"],
    "frozen": reproduce.VARIANTS["frozen"],
    **{
        name: reproduce.VARIANTS["shuffled"].replace(seed=seed)
        for seed, name in enumerate(SHUFFLED)
    },
    REPORTED: reproduce.ISSUE_173["as reported"],
    RESHUFFLED: reproduce.ISSUE_173["shuffled"],
}


@pytest.fixture(scope="module")
def runs():
    return {name: reproduce.recorded_run(name) for name in CONFIGS}


def touched(run, event):
    """The segments of which an event holds rows."""
    rows = np.concatenate([r.rows for r in run.records[event.start : event.stop]])
    return [s for s in shipped.segments() if ((rows >= s.start) & (rows < s.stop)).any()]


# What was recorded


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recording_is_a_run_of_today_s_configuration(runs, name):
    """All but what changes no gradient must agree."""
    recorded = TrainConfig.from_dict(runs[name].info["train_config"])
    assert recorded == CONFIGS[name].replace(probe_every=0, token_budget=recorded.token_budget)
    assert runs[name].probe("zh")[0][1] == reproduce.PROBE_EVERY and runs[name].info["name"] == name
    assert runs[name].info["model_config"] == shipped.base_model("nano").config.to_dict()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_row_is_met_once_in_each_epoch(runs, name):
    n_rows = len(shipped.conversations())
    for epoch in range(CONFIGS[name].epochs):
        rows = np.concatenate([r.rows for r in runs[name].records if r.epoch == epoch])
        assert sorted(rows) == list(range(n_rows))


def test_a_live_replay_of_the_first_forty_steps_gives_the_recorded_losses(runs):
    """Up to and over the first spike. Another processor may differ in the last bits only."""
    live = reproduce.run_once(reproduce.VARIANTS["file"].replace(max_steps=40))
    assert len(live) == 40
    assert np.abs(live.loss - runs["file"].loss[:40]).max() < 0.05
    assert [e.start for e in spikes.find(live.loss)] == [spikes.find(runs["file"].loss)[0].start]


# One pass


@pytest.mark.parametrize("name", ["file", "frozen"])
def test_file_order_has_one_spike_per_segment_and_no_other(runs, name):
    """With or without learning."""
    assert [touched(runs[name], e) for e in spikes.find(runs[name].loss)] == [
        [s] for s in shipped.segments()
    ]


def test_a_frozen_model_s_first_spike_is_as_tall_as_a_trained_one_s(runs):
    """The first only: before it both have read nothing but Chinese; then one has learnt."""
    s = shipped.segments()[0]
    frozen, trained = (
        segment_metrics.at_rows(runs[name], s.start, s.stop).height for name in ("frozen", "file")
    )
    assert frozen == pytest.approx(trained, rel=0.2)


@pytest.mark.parametrize("name", [*SHUFFLED, RESHUFFLED])
def test_shuffling_leaves_no_spike(runs, name):
    assert spikes.find(runs[name].loss) == []


@pytest.mark.parametrize("name", SHUFFLED)
def test_the_segments_are_still_there_in_a_shuffled_run_re_sorted_into_file_order(runs, name):
    """Shuffling spreads the hard rows; it does not make them easy."""
    losses = runs[name].losses_by_row(len(shipped.conversations()))
    base = losses[~segments.off_domain(shipped.segments(), len(losses))]
    for s in shipped.segments():
        assert losses[s.start : s.stop].mean() > np.median(base) + 0.1, s


def test_a_frozen_model_s_probes_stand_still(runs):
    measured = [r.probes for r in runs["frozen"].records if r.probes] + [
        runs["frozen"].info["probes_after"]
    ]
    assert len(measured) == 8 and set(measured[0]) == set(segments.DOMAINS)
    assert all(probes == measured[0] for probes in measured)


# Three passes


def test_three_epochs_in_file_order_repeat_themselves(runs):
    folding = segment_metrics.epoch_folding(runs[REPORTED].loss, 139)
    assert min(folding[1.0], folding[2.0]) > 0.9
    assert max(abs(folding[0.5]), abs(folding[1.5])) < 0.1


def test_three_epochs_shuffled_do_not(runs):
    assert max(map(abs, segment_metrics.epoch_folding(runs[RESHUFFLED].loss, 139).values())) < 0.2


def test_spikes_start_at_the_same_rows_in_every_epoch(runs):
    run = runs[REPORTED]
    starts = [
        [
            run.records[e.start].rows[0]
            for e in spikes.find(run.loss)
            if run.records[e.start].epoch == epoch
        ]
        for epoch in range(3)
    ]
    assert starts[0] == starts[1] == starts[2] and len(starts[0]) == len(shipped.segments())
    assert [touched(run, e) for e in spikes.find(run.loss)] == 3 * [[s] for s in shipped.segments()]


# What is made of them


def test_an_unknown_recorded_run_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match="no recorded run 'nono'; recorded: file; frozen; shuf"):
        reproduce.recorded_run("nono")


def test_the_recorded_runs_are_those_of_the_command():
    assert list(reproduce.recorded()) == ["file", "frozen", *SHUFFLED]


def test_the_frozen_run_has_its_losses_in_full_precision(runs):
    losses = np.concatenate([r.sample_losses for r in runs["frozen"].records])
    assert np.any(losses.astype(np.float16) != losses)


def test_the_table_has_a_row_per_run_and_a_column_per_segment(runs):
    summaries = [reproduce.summarize(runs[name]) for name in ("file", "frozen")]
    head, file, frozen = reproduce.table(summaries).splitlines()
    assert head.split()[:4] == ["order", "steps", "base", "loss"]
    assert head.endswith("events  probe change zh / off-domain")
    assert head.count("(") == len(shipped.segments()) == file.count("*")
    assert file.split()[:3] == ["file", "139", f"{reproduce.base_loss(runs['file']):.3f}"]
    assert frozen.endswith("+0.00 / +0.00")


def test_the_table_of_terms_adds_up_in_every_row(runs):
    """A row where each segment starts, and one where it ends."""
    head, *rows = reproduce.terms_table(runs).splitlines()
    assert " ".join(head.split()) == "boundary height = unfamiliar + transferred + specialized"
    names = [row.rsplit(maxsplit=4)[0] for row in rows]
    expected = [
        (f"Chinese → {s.name} (row {s.start})", f"{s.name} → Chinese (row {s.stop})")
        for s in shipped.segments()
    ]
    assert names == [name for pair in expected for name in pair]
    for row in rows:
        height, *terms = map(float, row.rsplit(maxsplit=4)[1:])
        assert sum(terms) == pytest.approx(height, abs=1e-9)


def test_the_table_of_terms_is_all_unfamiliar_for_a_frozen_run(runs):
    frozen = {"file": runs["frozen"], "frozen": runs["frozen"]}
    for row in reproduce.terms_table(frozen).splitlines()[1:]:
        assert row.endswith("+0.00          +0.00"), row


def test_the_first_spike_is_the_base_model_s_and_not_a_floor_that_training_dug(runs):
    """Before the first segment both runs have read Chinese only, which the base knew."""
    height, unfamiliar, _, specialized = map(
        float, reproduce.terms_table(runs).splitlines()[1].rsplit(maxsplit=4)[1:]
    )
    assert unfamiliar > 0.8 * height > 5 * specialized


def test_probes_that_were_not_measured_are_said(runs):
    bare = tuple(replace(r, probes={}) for r in runs["file"].records)
    summary = reproduce.summarize(Run(runs["file"].info, bare))
    assert "not measured" in reproduce.table([summary])


def test_base_loss_is_that_of_the_chinese_rows(runs):
    run = runs["frozen"]
    base = ~segments.off_domain(shipped.segments(), 2224)
    losses, tokens = (
        np.concatenate([getattr(r, name) for r in run.records])
        for name in ("sample_losses", "sample_tokens")
    )
    expected = (losses[base] * tokens[base]).sum() / tokens[base].sum()
    assert reproduce.base_loss(run) == pytest.approx(expected)
