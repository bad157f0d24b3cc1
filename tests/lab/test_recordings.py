"""Recorded runs: many specs are one run, what is not recorded is not made up, and each replays."""

from itertools import islice

import numpy as np
import pytest

from minimind_lite import spikes
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.lab.plan import (
    BUFFER_SEEDS,
    EXPERIMENT,
    PULSE_ROWS,
    RunSpec,
    plan,
    session_of,
    steps,
)
from minimind_lite.lab.recordings import Recordings, jobs
from minimind_lite.science.segment_metrics import harm


def of(pulse=1, **config):
    return RunSpec(TrainConfig(**config), pulse)


@pytest.fixture(scope="module")
def recordings():
    return Recordings()


@pytest.fixture(scope="module")
def data():
    return shipped.sft_rows(shipped.chat())


def train(spec, data):
    return steps(spec, session_of(spec, shipped.base_model(), data=data, probes={}))


def test_everything_that_is_planned_is_recorded(recordings):
    assert jobs(recordings.store) == []
    assert len(plan()) == 84
    assert sum(map(len, plan().values())) == 154
    assert len({spec.name() for spec in plan()}) == len(plan()), "two runs under one name"


@pytest.mark.parametrize(
    "spec, same",
    [
        (of(micro_batch_size=4), of()),  # how a batch is cut touches no gradient
        (of(seed=3), of()),  # file order knows no seed
        (of(order="shuffle_once", seed=2), of(order="shuffle", seed=2)),  # in one epoch
        (of(optimizer="none", learning_rate=0.05, pulse=40), of(optimizer="none")),
        (of(micro_batch_size=16, loss_average="micro_batches"), of()),  # one part has one mean
    ],
)
def test_specs_that_are_one_run(spec, same):
    assert spec.plain() == same.plain()


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
def test_specs_that_are_not(a, b):
    assert a.plain() != b.plain()


@pytest.mark.parametrize(
    "spec",
    [
        of(order="buffer:32", learning_rate=2e-3),
        of(order="buffer:128", seed=4),
        of(weight_decay=0.5),
        of(precision="bf16"),
        of(max_steps=10),
        of(grad_clip=0.0),
        of(betas=(0.9, 0.9)),
        of(optimizer="none", max_steps=10),
    ],
    ids=lambda spec: spec.name(),
)
def test_what_is_not_recorded_is_not_made_up(recordings, spec):
    assert recordings.run(spec) is None
    assert not recordings.has(spec)


@pytest.mark.parametrize(
    "spec",
    [
        of(),
        of(order="shuffle", batch_size=4, seed=3),
        of(order="buffer:128", batch_size=64),
        of(batch_size=16, micro_batch_size=4, loss_average="micro_batches"),
        of(order="shuffle", epochs=3),
    ],
    ids=lambda spec: spec.name(),
)
def test_a_recording_is_what_training_gives(recordings, data, spec):
    run = recordings.run(spec)
    fresh = list(islice(train(spec, data), 3))
    np.testing.assert_allclose(run.loss[:3], [r.loss for r in fresh], atol=2e-6)
    for old, new in zip(run.records, fresh):
        assert old.rows.tolist() == new.rows.tolist()
        # Of losses in half precision.
        np.testing.assert_allclose(old.micro_losses, new.micro_losses, atol=4e-3)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_are_cut_as_asked(recordings, parts):
    run = recordings.run(of(micro_batch_size=16 // parts))
    assert all(len(r.micro_losses) == parts for r in run.records)
    assert run.loss.tolist() == recordings.run(of()).loss.tolist()


@pytest.mark.parametrize(
    "spec",
    [
        of(optimizer="none", order="shuffle", batch_size=64, seed=2),
        of(optimizer="none", batch_size=8, epochs=2),
    ],
    ids=["shuffled", "two epochs"],
)
def test_a_frozen_run_in_any_order_is_what_a_frozen_model_reads(recordings, data, spec):
    run = recordings.run(spec)
    assert run.info["rearranged"]
    assert len(run) == spec.config.total_steps(len(data))
    fresh = list(islice(train(spec, data), 4))
    np.testing.assert_allclose(run.loss[:4], [r.loss for r in fresh], atol=1e-5)
    assert [r.rows.tolist() for r in run.records[:4]] == [r.rows.tolist() for r in fresh]


def test_the_frozen_pass_rearranged_into_file_order_is_itself(recordings):
    run = recordings.run(of(optimizer="none"))
    np.testing.assert_allclose(run.loss, recordings.frozen().loss, atol=1e-12)


def test_a_pulse_is_a_part_of_the_same_run(data):
    spec = of(batch_size=256, pulse=40)
    records = list(train(spec, data))
    high = [r.step for r in records if r.lr > 10 * spec.config.learning_rate]
    assert [r.step for r in records] == list(range(9))
    assert high == [PULSE_ROWS[0] // 256]


def test_the_pulse_spikes_in_a_shuffled_curve_and_harms(recordings):
    run = recordings.run(of(order="shuffle", pulse=40))
    (event,) = spikes.find(run.loss)
    assert event.start - PULSE_ROWS[0] // 16 in range(1, 5)
    assert harm(run, event)["zh"] > 0.3
    assert spikes.find(recordings.run(of(order="shuffle")).loss) == []


def test_a_band_is_drawn_from_seeds(recordings):
    assert len(recordings.seeds(of(order="shuffle"))) == 5
    assert recordings.seeds(of()) == []
    assert len(recordings.seeds(of(order="buffer:128"))) == len(BUFFER_SEEDS)


def test_recordings_say_where_they_come_from(recordings):
    trial = recordings.store.get(EXPERIMENT, "default", 0)
    assert trial.info["code"]
    assert trial.info["environment"]["torch"]
    assert trial.run.info["train_config"]["order"] == "file"
