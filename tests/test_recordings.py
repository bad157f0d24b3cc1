"""Runs recorded for the lab: the right one is found, or none; and it is what training gives."""

from itertools import islice

import numpy as np
import pytest
from minimind_lite.lab.recordings import NAME, PULSE_ROWS, Recordings, Setup, steps

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.lab import recordings


@pytest.fixture(scope="module")
def recorded():
    return Recordings()


@pytest.fixture(scope="module")
def data():
    return shipped.sft_rows(shipped.chat())


def of(pulse=1, **config):
    return Setup(TrainConfig(**config), pulse)


def test_everything_planned_is_recorded(recorded):
    assert recordings.jobs(recorded.store) == []
    assert len({s.name() for s in recordings.plan()}) == len(recordings.plan()), (
        "names tell setups apart"
    )


@pytest.mark.parametrize(
    "setup, same",
    [
        (of(micro_batch_size=4), of()),  # how a batch is cut touches no gradient
        (of(seed=3), of()),  # file order knows no seed
        (of(order="shuffle_once", seed=2), of(order="shuffle", seed=2)),  # in one pass
        (of(optimizer="none", learning_rate=0.05, pulse=40), of(optimizer="none")),
        (of(micro_batch_size=16, loss_average="micro_batches"), of()),
    ],
)  # one part has one mean
def test_setups_that_are_one_run(setup, same):
    assert setup.plain() == same.plain()


@pytest.mark.parametrize(
    "a, b",
    [
        (of(order="shuffle", seed=1), of(order="shuffle", seed=2)),
        (of(order="shuffle_once", epochs=3), of(order="shuffle", epochs=3)),
        (of(micro_batch_size=4, loss_average="micro_batches"), of()),
        (of(pulse=10), of()),
        (of(schedule="constant"), of()),
    ],
)
def test_setups_that_are_not(a, b):
    assert a.plain() != b.plain()


def test_what_is_not_recorded_is_not_made_up(recorded):
    assert recorded.find(of(order="buffer:32", learning_rate=2e-3)) is None
    assert recorded.find(of(order="buffer:128", seed=4)) is None
    for other in (
        {"weight_decay": 0.5},
        {"precision": "bf16"},
        {"max_steps": 10},
        {"grad_clip": 0.0},
        {"betas": (0.9, 0.9)},
    ):
        assert recorded.find(of(**other)) is None, other
    assert recorded.find(of(optimizer="none", max_steps=10)) is None


@pytest.mark.parametrize(
    "setup",
    [
        of(),
        of(order="shuffle", batch_size=4, seed=3),
        of(order="buffer:128", batch_size=64),
        of(batch_size=16, micro_batch_size=4, loss_average="micro_batches"),
        of(order="shuffle", epochs=3),
    ],
    ids=lambda s: s.name(),
)
def test_a_recording_is_what_training_gives(recorded, data, setup):
    found = recorded.find(setup)
    fresh = list(islice(steps(setup, shipped.base_model(), data, {}), 3))
    np.testing.assert_allclose(found.loss[:3], [r.loss for r in fresh], atol=2e-6)
    for old, new in zip(found.records, fresh):
        assert old.rows.tolist() == new.rows.tolist()
        np.testing.assert_allclose(
            old.micro_losses, new.micro_losses, atol=4e-3
        )  # of losses in half precision


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_are_cut_as_asked(recorded, parts):
    run = recorded.find(of(micro_batch_size=16 // parts))
    assert all(len(r.micro_losses) == parts for r in run.records)
    assert run.loss.tolist() == recorded.find(of()).loss.tolist()


@pytest.mark.parametrize(
    "setup",
    [
        of(optimizer="none", order="shuffle", batch_size=64, seed=2),
        of(optimizer="none", batch_size=8, epochs=2),
    ],
    ids=["shuffled", "two epochs"],
)
def test_a_frozen_run_in_any_order_is_what_a_frozen_model_sees(recorded, data, setup):
    found = recorded.find(setup)
    assert found.info["rearranged"] and len(found) == setup.config.total_steps(len(data))
    fresh = list(islice(steps(setup, shipped.base_model(), data, {}), 4))
    np.testing.assert_allclose(found.loss[:4], [r.loss for r in fresh], atol=1e-4)
    assert [r.rows.tolist() for r in found.records[:4]] == [r.rows.tolist() for r in fresh]


def test_a_pulse_is_a_stretch_of_the_same_run(data):
    model, setup = shipped.base_model(), of(batch_size=256, pulse=40)
    records = list(steps(setup, model, data, {}))
    hot = [r.step for r in records if r.lr > 10 * setup.config.learning_rate]
    assert [r.step for r in records] == list(range(9)) and hot == [PULSE_ROWS[0] // 256]


def test_the_pulse_spikes_in_a_shuffled_curve_and_harms(recorded):
    run = recorded.find(of(order="shuffle", pulse=40))
    events = spikes.find(run.loss)
    assert len(events) == 1 and events[0].start - PULSE_ROWS[0] // 16 in range(1, 5)
    assert spikes.harm(run, events[0])["zh"] > 0.3
    assert spikes.find(recorded.find(of(order="shuffle")).loss) == []


def test_a_band_is_drawn_from_seeds(recorded):
    assert len(recorded.seeds(of(order="shuffle"))) == 5 and recorded.seeds(of()) == []
    assert len(recorded.seeds(of(order="buffer:128"))) == len(recordings.BUFFER_SEEDS)


def test_recordings_say_where_they_come_from(recorded):
    trial = recorded.store.get(NAME, "default", 0)
    assert (
        trial.info["code"]
        and trial.info["environment"]["torch"]
        and trial.run.info["train_config"]["order"] == "file"
    )
