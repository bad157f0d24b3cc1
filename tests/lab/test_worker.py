"""A run on a thread of its own: it trains on a lease, and every way to end it ends it."""

import subprocess
import sys
import threading
import time

import pytest

from minimind_lite.lab.worker import LiveRun


def counting(n=10**6, pause=0.001):
    """Stands for a training loop: yields numbers, and remembers on which thread it was closed."""

    def steps(_):
        try:
            for i in range(n):
                time.sleep(pause)
                yield i
        finally:
            steps.closed = threading.current_thread().name

    return steps


def taken(run, enough, seconds=5.0):
    records, end = [], time.monotonic() + seconds
    while len(records) < enough and time.monotonic() < end:
        records += run.take(wait=0.1)
    return records


def test_nothing_is_trained_before_it_is_asked_for():
    run = LiveRun(counting())
    assert run.take(wait=0.05) == []
    assert not run.busy
    assert not run.ended
    run.close()


def test_a_lease_trains_and_ends_by_itself():
    run = LiveRun(counting())
    run.lease(0.05)
    first = taken(run, 1)
    time.sleep(0.15)
    run.take()
    assert first[0] == 0
    assert not run.busy
    assert run.take(wait=0.05) == []
    run.lease(0.05)
    assert taken(run, 1), "a renewed lease goes on"
    run.close()


def test_allowed_steps_are_counted():
    run = LiveRun(counting())
    run.allow(3)
    assert taken(run, 3) == [0, 1, 2]
    assert run.take(wait=0.05) == []
    run.close()


def test_records_come_in_order_and_none_is_lost():
    run = LiveRun(counting(200, pause=0))
    run.lease(5)
    assert taken(run, 200) == list(range(200))
    run.take(wait=1)
    assert run.ended
    assert run.join(1)


def test_closing_ends_the_thread_and_the_loop_on_it():
    steps = counting()
    run = LiveRun(steps)
    run.lease(60)
    taken(run, 1)
    run.close()
    assert run.ended
    assert run.take() == []
    assert run.join(2)
    assert steps.closed == "minimind-lite-training"


def test_an_error_in_training_is_raised_once_where_records_are_taken():
    def steps(_):
        yield 1
        raise ArithmeticError("not finite")

    run = LiveRun(steps)
    run.allow(2)
    assert taken(run, 1) == [1]
    with pytest.raises(ArithmeticError, match="not finite"):
        run.take(wait=2)
    assert run.ended
    assert run.take() == []


def test_an_error_before_the_first_record_is_raised_too():
    def begin(_):
        raise FileNotFoundError("no model")

    run = LiveRun(begin)
    run.allow(1)
    with pytest.raises(FileNotFoundError):
        run.take(wait=2)


def test_a_run_that_fails_after_it_was_closed_has_ended():
    def steps(run):
        while not run.ended:
            time.sleep(0.001)
        raise ArithmeticError("too late")
        yield

    run = LiveRun(steps)
    run.allow(1)
    time.sleep(0.02)
    run.close()
    assert run.join(2)
    assert run.ended
    assert run.take() == []


def test_two_never_train_at_once():
    inside, most = 0, 0

    def steps(_):
        nonlocal inside, most
        for i in range(100):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1
            yield i

    first = LiveRun(steps)
    first.lease(60)
    taken(first, 2)
    first.close()
    second = LiveRun(steps, after=first)
    second.lease(60)
    taken(second, 3)
    second.close()
    assert most == 1


def test_a_step_in_flight_is_given_up():
    def steps(run):
        for _ in range(10_000):
            time.sleep(0.001)
            run.check()
        yield 1

    run = LiveRun(steps)
    run.allow(1)
    time.sleep(0.02)
    run.close()
    assert run.join(1)
    assert run.take() == []


def test_a_program_that_ends_in_mid_step_ends_quietly():
    """B15n: "terminate called without an active exception", from a thread in the last moment."""
    program = (
        "import time, torch\n"
        "from minimind_lite.lab.worker import LiveRun\n"
        "def steps(run):\n"
        "    while True:\n"
        "        run.check()\n"
        "        torch.ones(300, 300) @ torch.ones(300, 300)\n"
        "    yield\n"
        "run = LiveRun(steps)\n"
        "run.lease(60)\n"
        "time.sleep(0.2)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")
