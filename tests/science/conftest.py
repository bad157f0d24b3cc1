"""Trials that run in this process."""

from concurrent.futures import Future
from multiprocessing import current_process

import pytest

from minimind_lite.science import runner


class Here:
    """A pool that runs at once, in this process: the pool's own part is a library's."""

    def submit(self, function, *arguments):
        done = Future()
        try:
            done.set_result(function(*arguments))
        except ArithmeticError as error:
            done.set_exception(error)
        return done

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def shutdown(self, **_):
        pass


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setitem(vars(current_process()), "shared_data", None)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", lambda *_, **__: Here())
