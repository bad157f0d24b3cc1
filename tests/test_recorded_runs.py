"""The recorded runs show what the lessons say they show, and can be made again."""

import numpy as np
import pytest

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.science import reproduce

SHUFFLED = [f"nano-shuffled-{seed}" for seed in range(5)]
CONFIGS = {
    "nano-file": reproduce.VARIANTS["file"],
    "nano-frozen": reproduce.VARIANTS["frozen"],
    **{
        name: reproduce.VARIANTS["shuffled"].replace(seed=seed)
        for seed, name in enumerate(SHUFFLED)
    },
    "nano-3epochs-as-reported": reproduce.ISSUE_173["as reported"],
    "nano-3epochs-shuffled": reproduce.ISSUE_173["shuffled"],
}


@pytest.fixture(scope="module")
def runs():
    return {name: shipped.recorded_run(name) for name in CONFIGS}


def touched(run, event):
    """The odd segments of which an event holds rows."""
    rows = np.concatenate([r.rows for r in run.records[event.start : event.stop]])
    return [s for s in shipped.segments() if ((rows >= s.start) & (rows < s.stop)).any()]


# What was recorded


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recording_is_a_run_of_today_s_configuration(runs, name):
    """All but `token_budget` must agree, since that one changes no gradient."""
    recorded = TrainConfig.from_dict(runs[name].info["train_config"])
    assert recorded == CONFIGS[name].replace(
        probe_every=reproduce.PROBE_EVERY, token_budget=recorded.token_budget
    )
    assert runs[name].info["model_config"] == shipped.base_model("nano").config.to_dict()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_row_is_met_once_in_each_epoch(runs, name):
    n_rows = len(shipped.conversations())
    for epoch in range(CONFIGS[name].epochs):
        rows = np.concatenate([r.rows for r in runs[name].records if r.epoch == epoch])
        assert sorted(rows) == list(range(n_rows))


def test_a_live_replay_of_the_first_forty_steps_gives_the_recorded_losses(runs):
    """Up to and over the first spike. Another processor may differ in the last bits, and no further."""
    live = reproduce.run_once(reproduce.VARIANTS["file"].replace(max_steps=40))
    assert len(live) == 40
    assert np.abs(live.loss - runs["nano-file"].loss[:40]).max() < 0.05
    assert [e.start for e in spikes.find(live.loss)] == [
        spikes.find(runs["nano-file"].loss)[0].start
    ]


# One pass


@pytest.mark.parametrize("name", ["nano-file", "nano-frozen"])
def test_file_order_has_one_spike_per_odd_segment_and_no_other(runs, name):
    """With or without learning."""
    assert [touched(runs[name], e) for e in spikes.find(runs[name].loss)] == [
        [s] for s in shipped.segments()
    ]


def test_a_frozen_model_s_first_spike_is_as_tall_as_a_trained_one_s(runs):
    """The first only: before it both have met nothing but Chinese, after it the trained model is another one."""
    s = shipped.segments()[0]
    frozen, trained = (
        spikes.at_rows(runs[name], s.start, s.stop).height for name in ("nano-frozen", "nano-file")
    )
    assert frozen == pytest.approx(trained, rel=0.2)


@pytest.mark.parametrize("name", [*SHUFFLED, "nano-3epochs-shuffled"])
def test_shuffling_leaves_no_spike(runs, name):
    assert spikes.find(runs[name].loss) == []


@pytest.mark.parametrize("name", SHUFFLED)
def test_the_segments_are_still_there_in_a_shuffled_run_re_sorted_into_file_order(runs, name):
    """Shuffling spreads the hard rows; it does not make them easy."""
    losses, odd = (
        runs[name].losses_by_row(len(shipped.conversations())),
        reproduce.odd_rows(len(shipped.conversations())),
    )
    for s in shipped.segments():
        assert losses[s.start : s.stop].mean() > np.median(losses[~odd]) + 0.1, s


def test_a_frozen_model_s_probes_stand_still(runs):
    measured = [r.probes for r in runs["nano-frozen"].records if r.probes] + [
        runs["nano-frozen"].info["probes_after"]
    ]
    assert len(measured) == 8 and set(measured[0]) == set(shipped.DOMAINS)
    assert all(probes == measured[0] for probes in measured)


# Three passes


def test_three_epochs_in_file_order_repeat_themselves(runs):
    folding = spikes.epoch_folding(runs["nano-3epochs-as-reported"].loss, 139)
    assert min(folding[1.0], folding[2.0]) > 0.9
    assert max(abs(folding[0.5]), abs(folding[1.5])) < 0.1


def test_three_epochs_shuffled_do_not(runs):
    assert (
        max(map(abs, spikes.epoch_folding(runs["nano-3epochs-shuffled"].loss, 139).values())) < 0.2
    )


def test_spikes_start_at_the_same_rows_in_every_epoch(runs):
    run = runs["nano-3epochs-as-reported"]
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
