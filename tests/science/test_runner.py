"""Trials run seed by seed, each is recorded as it ends, and one that fails stops no other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from science.test_store import TOY, A, B, curve, record

from minimind_lite.science import runner
from minimind_lite.science.fingerprint import code_fingerprint
from minimind_lite.science.runner import FailedTrials, Job
from minimind_lite.science.store import Store
from minimind_lite.science.trials import Experiment, Variant


def failing(shared, seed, settings):
    raise ArithmeticError(f"no luck with seed {seed}")


def test_missing_trials_come_seed_by_seed(tmp_path):
    store = Store(tmp_path)
    record(store, B, 0)

    def names(**how):
        return [(j.seed, j.variant.name) for j in runner.missing([TOY], store, seeds=(0, 1), **how)]

    assert names() == [(0, "a"), (1, "a"), (1, "b")]
    assert names(quick=True) == [(0, "a"), (1, "a")] and len(names(fresh=True)) == 4


def test_every_trial_is_recorded_and_one_that_fails_stops_no_other(tmp_path, in_this_process):
    store, bad, c = (
        Store(tmp_path),
        Variant("bad", failing, {"x": 1}),
        Variant("c", curve, {"x": 3}),
    )
    toy = Experiment("T1", "?", ("C1",), "a bet", (A, bad, c))
    jobs = runner.missing([toy], store, seeds=(0,))
    with pytest.raises(FailedTrials, match=r"1 trials failed: T1 'bad' seed 0. The first: .*luck"):
        list(runner.run(jobs, store, processes=1))
    assert store.seeds("T1", "a") == store.seeds("T1", "c") == [0]
    assert [j.variant.name for j in runner.missing([toy], store, seeds=(0,))] == ["bad"]
    assert store.info("T1", "a", 0)["code"] == code_fingerprint(curve.__module__)


def test_outcomes_are_given_and_not_recorded(tmp_path, in_this_process):
    ((job, outcome),) = runner.outcomes([Job(TOY, A, 4)], processes=1)
    assert str(job) == "T1 'a' seed 4" and outcome.values == {"seed": 4, "twice": 2}
    assert list(tmp_path.iterdir()) == []


PARENT = """
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from minimind_lite.science import runner
import os

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=runner._prepare_process)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_worker_ends_with_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(300):
        if not alive(worker):
            break
        time.sleep(0.1)
    assert not alive(worker)
