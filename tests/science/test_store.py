"""A trial is recorded whole and read again; two processes lose none; what is missing is said."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from science.toy import records_of

from minimind_lite.files import provenance
from minimind_lite.records import Run
from minimind_lite.science import store as stores
from minimind_lite.science.fingerprint import code_fingerprint
from minimind_lite.science.store import MissingTrials, Store
from minimind_lite.science.trials import Experiment, Outcome, Variant


def a_run(height: float = 0.0) -> Run:
    records = list(records_of([5.0, 5.0 + 1 / 7 + height, 5.5]))
    records[0] = replace(
        records[0],
        rows=np.array([1, 0]),
        probes={"zh": 5.5},
        sample_losses=np.array([4.5 + 1e-9, np.nan]),
        sample_tokens=np.array([7, 0]),
    )
    return Run({"train_config": {"batch_size": 2}, "segments": []}, tuple(records))


def curve(shared, seed, settings):
    return Outcome(a_run(), {"seed": seed, "twice": 2 * settings["x"]})


def other(shared, seed, settings):
    return Outcome(values={"other": True})


A = Variant("a", curve, {"x": 1})
B = Variant("b", curve, {"x": 2}, quick=False)
TOY = Experiment("T1", "?", ("C1",), "a bet", (A, B))


def record(store: Store, variant: Variant, seed: int, *, code: str = "code") -> None:
    outcome = variant.procedure(None, seed, variant.settings)
    store.add("T1", variant, seed, outcome=outcome, code=code)


def test_what_is_stored_comes_back(tmp_path):
    record(Store(tmp_path), A, 3)
    store = Store(tmp_path)  # another process
    trial = store.get("T1", "a", 3)
    assert trial.values == {"seed": 3, "twice": 2}
    assert trial.info["settings"] == {"x": 1} and trial.info["code"] == "code"
    assert trial.info["environment"] == provenance.environment()
    assert store.seeds("T1", "a") == [3] and store.seeds("T1", "b") == []
    for before, after in zip(a_run().records, trial.run.records, strict=True):
        assert (before.loss, before.step, before.probes) == (after.loss, after.step, after.probes)
        assert before.rows.tolist() == after.rows.tolist()
        assert before.tokens == after.tokens


def test_losses_of_conversations_have_three_digits_or_all(tmp_path):
    store = Store(tmp_path)
    record(store, A, 0)
    record(store, replace(A, name="exact", exact=True), 1)
    rounded = store.get("T1", "a", 0).run.records[0].sample_losses
    assert rounded[0] == 4.5 and np.isnan(rounded[1])
    # One column of a table has one type: an exact variant is better off in a table of its own.
    alone = Store(tmp_path / "alone")
    record(alone, replace(A, name="exact", exact=True), 1)
    assert alone.get("T1", "exact", 1).run.records[0].sample_losses[0] == 4.5 + 1e-9


def test_a_trial_without_a_curve_has_a_run_without_records(tmp_path):
    store = Store(tmp_path)
    record(store, Variant("c", other), 0)
    assert len(store.get("T1", "c", 0).run) == 0 and store.get("T1", "c", 0).values["other"]


def test_other_settings_are_another_trial(tmp_path):
    store = Store(tmp_path)
    record(store, A, 0)
    assert store.has("T1", A, 0) and not store.has("T1", A, 1)
    assert not store.has("T1", Variant("a", curve, {"x": 9}), 0)
    assert not store.has("T1", Variant("a", other, {"x": 1}), 0)
    record(store, Variant("a", curve, {"x": 9}), 0)  # takes its place
    assert Store(tmp_path).get("T1", "a", 0).values["twice"] == 18


def test_a_missing_trial_says_how_to_make_it(tmp_path):
    with pytest.raises(MissingTrials, match=r"no trial E3 'sgd' with seed 0 .* --only E3 makes it"):
        Store(tmp_path).get("E3", "sgd", 0)
    assert issubclass(MissingTrials, ValueError)


def test_a_writer_that_was_killed_leaves_the_table_as_it_was(tmp_path):
    store = Store(tmp_path)
    record(store, A, 0)
    (tmp_path / ".T1.parquet.123-4.tmp").write_bytes(b"half a table")
    assert Store(tmp_path).seeds("T1", "a") == [0]


# Several writers

WRITER = """
import sys
from pathlib import Path
from science.test_store import A, Store, record

store = Store(Path(sys.argv[1]))
store.seeds("T1", "a")  # the table as it is before the other has written
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 10):
    record(store, A, seed)
"""


def test_two_processes_on_one_store_lose_no_trial(tmp_path):
    """Each used to write the table as it had read it at its start."""
    tests = Path(__file__).parents[1]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(first)], cwd=tests)
        for first in (0, 100)
    ]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0]
    assert Store(tmp_path).seeds("T1", "a") == [*range(10), *range(100, 110)]


def test_a_store_sees_what_another_has_written(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    record(first, A, 0)
    assert second.seeds("T1", "a") == [0]
    before = second.content("T1")
    record(first, A, 1)
    assert second.seeds("T1", "a") == [0, 1] and second.content("T1") != before
    record(second, B, 0)
    assert first.seeds("T1", "a") == [0, 1] and first.seeds("T1", "b") == [0]


def test_an_unchanged_table_is_read_once(tmp_path, monkeypatch):
    store = Store(tmp_path)
    record(store, A, 0)
    store.get("T1", "a", 0)
    monkeypatch.setattr(stores, "_read", lambda *_: pytest.fail("read again"))
    assert store.get("T1", "a", 0).seed == 0 and store.seeds("T1", "b") == []


# Code


def test_trials_of_other_code_are_named(tmp_path):
    store, today = Store(tmp_path), code_fingerprint(curve.__module__)
    record(store, A, 0, code=today)
    record(store, A, 1, code="older")
    record(store, B, 0, code="older")
    assert store.of_other_code([TOY]) == [("T1", "a", 1), ("T1", "b", 0)]


def test_an_adopted_trial_says_who_recorded_it_and_what_was_replayed(tmp_path):
    store, today = Store(tmp_path), code_fingerprint(curve.__module__)
    for seed in (0, 1):
        record(store, A, seed, code="older")
    record(store, B, 0, code="older")
    store.adopt("T1", "a", [0, 1], code=today, replayed="seed 0, 3 steps")
    trial = Store(tmp_path).get("T1", "a", 1)
    assert trial.info["code"] == "older"
    assert trial.info["verified"] == {"code": today, "replayed": "seed 0, 3 steps"}
    assert trial.run.loss.tolist() == a_run().loss.tolist() and trial.values["seed"] == 1
    assert store.of_other_code([TOY]) == [("T1", "b", 0)]
    assert store.has("T1", A, 0)
    with pytest.raises(MissingTrials):
        store.adopt("T1", "a", [7], code=today, replayed="nothing")


def test_code_that_changed_after_a_verification_is_other_code_again(tmp_path):
    store = Store(tmp_path)
    record(store, A, 0, code="older")
    store.adopt("T1", "a", [0], code="yesterday", replayed="seed 0, 3 steps")
    assert store.of_other_code([TOY]) == [("T1", "a", 0)]


def test_what_comes_with_the_project():
    assert stores.recorded("claims").seeds("E1", "file") == list(range(8))
    assert 0 in stores.recorded("lab").seeds("runs", "default")


def test_floats_are_stored_so_that_they_are_small_and_come_back_the_same(tmp_path):
    store = Store(tmp_path)
    losses = np.random.default_rng(0).normal(5, 0.1, size=4000)
    run = Run({}, tuple(records_of(losses.tolist())))
    store.add("T1", A, 0, outcome=Outcome(run), code="code")
    assert store.get("T1", "a", 0).run.loss.tolist() == losses.tolist()
    stored = pq.ParquetFile(tmp_path / "T1.parquet").metadata.row_group(0)
    columns = [stored.column(i) for i in range(stored.num_columns)]
    [loss] = [c for c in columns if c.path_in_schema == "run/loss.list.element"]
    assert "BYTE_STREAM_SPLIT" in loss.encodings
    assert loss.total_compressed_size < 0.9 * 8 * len(losses)
