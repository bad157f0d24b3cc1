"""A recorded run goes on to the last bit, from whatever is whole, or says why it can't."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from science.toy import base_model, rows_of

from minimind_lite.config import TrainConfig
from minimind_lite.files.model_file import load_model
from minimind_lite.files.run_folder import RunWriter, load
from minimind_lite.runs import recorder
from minimind_lite.runs.disk_states import positions
from minimind_lite.runs.resume import NotResumable, resume
from minimind_lite.runs.rollback import RollbacksSpent, Rule
from minimind_lite.runs.session import TrainingSession

DATA = rows_of(160, segments=())
PROBES = {"en": rows_of(16, segments=(), seed=5)}
CONFIG = TrainConfig(order="shuffle", batch_size=8, epochs=2, probe_every=7)  # 40 steps
EVERY = 4


@pytest.fixture(autouse=True)
def one_worker(monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "1")


def begun(folder, *, config=CONFIG, rule=None, every=EVERY, probes=PROBES):
    writer = RunWriter(folder, {})
    session = TrainingSession(base_model(), DATA, config, probes=probes)
    return recorder.begin(writer, session, rule=rule, every=every)


def trained(run, steps=None):
    """Train to the end, or stop asking after some steps; the records."""
    records = []
    with run:
        for record in run.steps():
            records.append(record)
            if len(records) == steps:
                break
    return records


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody broke off."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    before = os.environ.get("MINIMIND_LITE_WORKERS")
    os.environ["MINIMIND_LITE_WORKERS"] = "1"
    trained(begun(folder))
    os.environ.pop("MINIMIND_LITE_WORKERS")
    if before:
        os.environ["MINIMIND_LITE_WORKERS"] = before
    return folder


@pytest.fixture
def stopped(tmp_path):
    """A run that was stopped after 18 of 40 steps."""
    trained(begun(tmp_path / "run"), 18)
    return tmp_path / "run"


def weights(folder):
    model = load_model(folder / recorder.MODEL)
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def assert_same(a: Path, b: Path) -> None:
    first, second = load(a), load(b)
    assert [r.step for r in first.records] == [r.step for r in second.records]
    for x, y in zip(first.records, second.records):
        for name in vars(x).keys() - {"seconds", "probe_seconds", "probes"}:
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name), err_msg=name)
        assert dict(x.probes) == dict(y.probes)
    assert first.info["probes_after"] == second.info["probes_after"]
    for name, value in weights(a).items():
        np.testing.assert_array_equal(value, weights(b)[name], err_msg=name)


def test_a_finished_run_has_its_weights_and_no_checkpoints(whole):
    assert load(whole).info["finished"] and len(load(whole)) == 40
    assert positions(whole) == [] and weights(whole)


@pytest.mark.parametrize("steps", [1, 4, 18, 20, 39])
def test_a_run_that_was_stopped_goes_on_to_the_last_bit(whole, tmp_path, steps):
    folder = tmp_path / "run"
    trained(begun(folder), steps)
    assert len(load(folder)) == steps and not load(folder).info.get("finished")
    run = resume(folder, DATA, probes=PROBES)
    assert run.session.step == steps and run.left() == 40 - steps
    trained(run)
    assert_same(whole, folder)


def test_it_may_be_stopped_again_and_again(whole, stopped):
    while not load(stopped).info.get("finished"):
        trained(resume(stopped, DATA, probes=PROBES), 5)
    assert_same(whole, stopped)
    assert len(load(stopped).info["resumes"]) == 5


def test_records_after_the_checkpoint_are_trained_again(whole, stopped):
    """As where a process was killed after it had written them."""
    shutil.rmtree(positions(stopped)[-1])  # the one at 18; the one at 16 is left
    run = resume(stopped, DATA, probes=PROBES)
    assert run.session.step == 16 and len(load(stopped)) == 16
    trained(run)
    assert_same(whole, stopped)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(whole, stopped):
    newest = positions(stopped)[-1] / "weights.safetensors"
    content = newest.read_bytes()
    newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    run = resume(stopped, DATA, probes=PROBES)
    assert run.session.step == 16
    assert f"{newest.parent} is damaged" in run.notes[0] and "before it is used" in run.notes[0]
    trained(run)
    assert_same(whole, stopped)


def test_where_none_is_whole_the_folder_is_named(stopped):
    for path in positions(stopped):
        (path / "state.json").unlink()
    with pytest.raises(ValueError, match=r"run has no whole checkpoint to go on from\. .*000018"):
        resume(stopped, DATA, probes=PROBES)


def test_the_last_ones_are_kept(stopped):
    """Three that were due, and the one that the stop left."""
    assert [int(path.name) for path in positions(stopped)] == [8, 12, 16, 18]


def test_what_a_killed_writer_left_is_swept(stopped, whole):
    left = stopped / "steps" / ".000009.parquet.1-2.tmp"
    left.write_bytes(b"half")
    trained(resume(stopped, DATA, probes=PROBES))
    assert not left.exists()
    assert_same(whole, stopped)


def test_missing_records_are_named(stopped):
    for part in sorted(stopped.glob("steps/*.parquet"))[-1:]:
        part.unlink()
    with pytest.raises(ValueError, match="lacks records: a checkpoint comes after 18 of them"):
        resume(stopped, DATA, probes=PROBES)


@pytest.mark.parametrize(
    "options, reason",
    [
        (dict(data=rows_of(160, segments=(), seed=9)), "the data are not those that the run began"),
        (dict(data=rows_of(168, segments=())), "168 rows"),
        (dict(probes={}), "held-out sets have changed since the run began: en"),
        (dict(probes=PROBES | {"more": DATA}), "held-out sets have changed .*: more"),
        (dict(device="cuda:0"), "the run was on cpu; on cuda:0 other instructions"),
    ],
)
def test_another_run_is_refused_with_the_reason(stopped, options, reason):
    with pytest.raises(NotResumable, match=reason):
        resume(stopped, **({"data": DATA, "probes": PROBES} | options))
    assert len(load(stopped)) == 18  # untouched


def test_so_many_threads_that_sums_round_otherwise_are_refused(stopped, monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "5")
    with pytest.raises(NotResumable, match=r"had 1 threads and now there are 5.*WORKERS=1"):
        resume(stopped, DATA, probes=PROBES)


def test_four_threads_give_the_same_bits_and_that_is_said(stopped, whole, monkeypatch):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "4")
    run = resume(stopped, DATA, probes=PROBES)
    assert run.notes == ["1 threads before, 4 now: the same bits."]
    trained(run)
    assert_same(whole, stopped)


def test_an_order_that_numpy_draws_otherwise_is_refused(stopped, monkeypatch):
    monkeypatch.setattr("minimind_lite.order._rng", lambda s, e: np.random.default_rng([s, e, 1]))
    with pytest.raises(NotResumable, match="the order of the rows is another"):
        resume(stopped, DATA, probes=PROBES)


def test_a_finished_run_has_nothing_left(whole):
    with pytest.raises(NotResumable, match="is finished: nothing is left"):
        resume(whole, DATA, probes=PROBES)


def test_a_run_that_max_steps_ended_may_go_on_with_more(whole, tmp_path):
    folder = tmp_path / "run"
    trained(begun(folder, config=CONFIG.replace(max_steps=9)))
    assert load(folder).info["finished"] and len(load(folder)) == 9
    trained(resume(folder, DATA, probes=PROBES, max_steps=40))
    assert len(load(folder)) == 40
    assert_same(whole, folder)


def test_a_run_without_checkpoints_says_so(tmp_path):
    trained(begun(tmp_path / "run", every=0), 3)
    with pytest.raises(NotResumable, match="made without checkpoints"):
        resume(tmp_path / "run", DATA, probes=PROBES)
    with pytest.raises(ValueError, match="a rollback needs checkpoints"):
        begun(tmp_path / "other", every=0, rule=Rule())


def test_one_killed_before_its_first_step_may_be_begun_again(tmp_path):
    RunWriter(tmp_path / "run", {}).lock.release()  # and then the process dies
    with pytest.raises(NotResumable, match=r"nothing to go on from\. Start it again with --out"):
        resume(tmp_path / "run", DATA)
    trained(begun(tmp_path / "run"), 2)
    assert len(load(tmp_path / "run")) == 2


def test_one_killed_while_it_wrote_its_first_checkpoint_may_be_begun_again(tmp_path):
    folder = tmp_path / "run"
    run = begun(folder)
    half = folder / "checkpoints" / ".000000000.1-2.tmp"
    half.mkdir(parents=True)
    (half / "state.json").write_text("{")
    run.writer.lock.release()  # and then the process dies
    with pytest.raises(ValueError, match=r"broken off before its first step\. Start it again"):
        resume(folder, DATA, probes=PROBES)
    trained(begun(folder), 2)
    assert len(load(folder)) == 2 and not half.exists()


def test_two_writers_of_one_folder_are_refused(stopped):
    run = resume(stopped, DATA, probes=PROBES)
    for other in (lambda: resume(stopped, DATA, probes=PROBES), lambda: RunWriter(stopped, {})):
        with pytest.raises(FileExistsError, match=r"another process writes to .*run just now"):
            other()
    with run:
        pass
    with resume(stopped, DATA, probes=PROBES):
        pass


def test_a_full_disk_keeps_the_record(tmp_path, monkeypatch):
    """The checkpoint at step 8 can't be written: the eight steps before it are on the disk."""
    folder, save = tmp_path / "run", recorder.DiskStates.add

    def full(self, state):
        if state.step == 8:
            self.writer.flush()
            raise OSError(28, "No space left on device")
        save(self, state)

    monkeypatch.setattr(recorder.DiskStates, "add", full)
    with pytest.raises(OSError, match="No space left"):
        trained(begun(folder))
    assert len(load(folder)) == 8


SPIKY = Rule("reshuffle", back=3, quiet=40)


def calls_at(*steps):
    return lambda losses: len(losses) - 1 in steps


@pytest.fixture
def detector(monkeypatch):
    """It calls at steps 10 and 25, whatever the losses are."""
    monkeypatch.setattr(
        recorder.rollback.RollbackPolicy.__init__,
        "__kwdefaults__",
        {**recorder.rollback.RollbackPolicy.__init__.__kwdefaults__, "detector": calls_at(10, 25)},
    )


@pytest.mark.parametrize("then", ["reshuffle", "skip", "replay"])
@pytest.mark.parametrize("steps", [5, 11, 12, 30, 33])
def test_a_run_that_was_rolled_back_goes_on_to_the_last_bit(tmp_path, detector, then, steps):
    rule = Rule(then, back=3, skip=2, quiet=5, rate_factor=0.5)
    trained(begun(tmp_path / "whole", rule=rule))
    trained(begun(tmp_path / "run", rule=rule), steps)
    run = resume(tmp_path / "run", DATA, probes=PROBES)
    trained(run)
    assert_same(tmp_path / "whole", tmp_path / "run")
    rollbacks = load(tmp_path / "run").info["rollbacks"]
    assert [r["called_at"] for r in rollbacks] == [10, 25]
    assert rollbacks == load(tmp_path / "whole").info["rollbacks"]


def test_rollbacks_that_are_spent_stop_the_run_and_its_record_stays(tmp_path, detector):
    with pytest.raises(RollbacksSpent, match=r"at step 25, after 1 rollbacks .*steps 10"):
        trained(begun(tmp_path / "run", rule=Rule("skip", quiet=5, at_most=1)))
    assert max(r.step for r in load(tmp_path / "run").records) == 25


INTERRUPTED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from runs.test_recorder import begun
run = begun({folder!r})
with run:
    for record in run.steps():
        if record.step in {at}:
            os.kill(os.getpid(), signal.{name})
print(run.finished, run.session.step)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_step_and_leaves_a_checkpoint(tmp_path, whole, name):
    folder, tests = tmp_path / "run", str(Path(__file__).resolve().parents[1])
    code = INTERRUPTED.format(tests=tests, folder=str(folder), at=(13,), name=name)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "14"], result.stderr
    assert "finishing this step" in result.stderr and int(positions(folder)[-1].name) == 14
    trained(resume(folder, DATA, probes=PROBES))
    assert_same(whole, folder)


def test_signals_are_heard_by_others_again_afterwards(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    trained(begun(tmp_path / "run"), 2)
    assert signal.getsignal(signal.SIGINT) is before
