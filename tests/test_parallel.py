"""Micro-batches side by side: results in order, few at once, and one setting for how many."""

import threading
import time

import numpy as np
import pytest
import torch

from minimind_lite.config import TrainConfig
from minimind_lite.parallel import Workers, available_cores, cut, one_thread, worker_count
from minimind_lite.rows import EncodedRows


def test_the_number_of_workers_is_the_cores_unless_it_is_set(monkeypatch):
    monkeypatch.delenv("MINIMIND_LITE_WORKERS", raising=False)
    assert worker_count() == available_cores() >= 1
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "7")
    assert worker_count() == 7
    with Workers() as workers:
        assert workers.n == 7
    with Workers(2) as workers:
        assert workers.n == 2


@pytest.mark.parametrize("value", ["abc", "-1", "0", "1.5", "²"])
def test_a_number_of_workers_that_is_none_names_the_variable(monkeypatch, value):
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", value)
    with pytest.raises(ValueError, match=r"^MINIMIND_LITE_WORKERS must be a whole number"):
        worker_count()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(n):
    def slow_at_first(i):
        time.sleep(0.02 if i == 0 else 0.0)
        return i * i

    with Workers(n) as workers:
        assert list(workers.map(slow_at_first, range(9))) == [i * i for i in range(9)]


def test_items_are_worked_on_by_as_many_threads_as_there_are_workers():
    threads, everyone = set(), threading.Barrier(3)

    def work(_):
        everyone.wait(timeout=20)  # passes only if three work at once
        threads.add(threading.get_ident())

    with Workers(3) as workers:
        list(workers.map(work, range(3)))
    assert len(threads) == 3 and threading.get_ident() not in threads


def test_without_workers_the_calling_thread_does_it_all():
    with Workers(0) as workers:
        assert list(workers.map(lambda _: threading.get_ident(), [1])) == [threading.get_ident()]


def test_at_most_two_results_a_worker_wait():
    """A result may be the gradient of a whole model."""
    taken = []

    def items():
        for i in range(20):
            taken.append(i)
            yield i

    with Workers(2) as workers:
        results = workers.map(lambda i: i, items())
        next(results)
        assert len(taken) == 5  # four in flight, and the one that made room


def test_an_error_in_a_worker_is_the_caller_s():
    def fail(i):
        if i == 2:
            raise ArithmeticError("item 2")
        return i

    with Workers(2) as workers, pytest.raises(ArithmeticError, match="item 2"):
        list(workers.map(fail, range(5)))


def test_leaving_the_pool_ends_its_threads():
    before = threading.active_count()
    with Workers(3):
        assert threading.active_count() == before + 3
    assert threading.active_count() == before


def test_one_thread_puts_the_number_back_after_an_error_too():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("n_workers, parts", [(1, 4), (2, 4), (4, 4), (5, 8), (8, 8), (12, 12)])
def test_a_batch_falls_into_as_many_parts_as_the_cores_ask_for(n_workers, parts):
    """Parts came in fours whatever the machine: half of eight cores had nothing to do."""
    data = EncodedRows(np.zeros(320, np.uint16), np.ones(320, bool), np.arange(0, 321, 10))
    config = TrainConfig(batch_size=32)
    micro_batches = cut(data, np.arange(32), config, n_workers=n_workers)
    assert len(micro_batches) == parts
    assert sorted(np.concatenate(micro_batches)) == list(range(32))
