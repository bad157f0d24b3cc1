"""A run that trains on a thread of its own, only as long as somebody asks for more.

A notebook's kernel does one thing at a time: while it trains it cannot hear a button. So the
training loop runs on its own thread, on a *lease*: whoever watches renews it, a moment at a time,
and takes the records that have come in. Pause and Stop are heard at once, since the watcher's
thread is never busy. A page that was closed renews nothing, and training ends with the lease.
The thread touches no widget and no figure.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field

from minimind_lite.files import shipped
from minimind_lite.files.run_folder import load
from minimind_lite.lab import leftovers, plan
from minimind_lite.lab.materials import Materials
from minimind_lite.lab.state import Settings
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.runs.session import TrainingSession

EXIT_TIMEOUT = 5.0  # seconds that a program which ends waits for the step in flight


class Closed(Exception):
    """The run was closed while a step was in flight; nobody wants the rest of it."""


class LiveRun:
    """Step records as they come from a thread; nothing is trained before `lease` or `allow`.

    `begin` makes the records (so that even loading the model is the thread's work). It is given
    the run, whose `check` it may call in the middle of a step. `after` is an earlier run that was
    closed: its end is waited for, so that two never train at once.
    """

    def __init__(
        self, begin: Callable[[LiveRun], Iterator[StepRecord]], *, after: LiveRun | None = None
    ) -> None:
        self._begin = begin
        self._after = after
        self._changed = threading.Condition()
        self._until = 0.0  # on the monotonic clock: trains until then
        self._allowed = 0  # steps to train, whatever the clock says
        self._records: list[StepRecord] = []
        self._error: Exception | None = None
        self._closed = self._ended = self._busy = False
        self._thread = threading.Thread(
            target=self._work, name="minimind-lite-training", daemon=True
        )
        atexit.register(self._at_exit)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """`take` has nothing more to give, ever: all records are taken, or it was closed."""
        with self._changed:
            return self._ended and not self._records and self._error is None

    @property
    def busy(self) -> bool:
        """Whether a step is in flight."""
        with self._changed:
            return self._busy and not self._ended

    def lease(self, seconds: float) -> None:
        """Train for so many seconds from now on; a later call resets the deadline, 0 pauses."""
        with self._changed:
            self._until = time.monotonic() + seconds
            if not seconds:
                self._allowed = 0
            self._changed.notify_all()

    def allow(self, steps: int) -> None:
        """Train so many steps more, however long they take."""
        with self._changed:
            self._allowed += steps
            self._changed.notify_all()

    def take(self, *, wait: float = 0.0) -> list[StepRecord]:
        """Records that have come since the last call; waits up to `wait` seconds for one.

        Raises, once, what training raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._records or self._ended, timeout=wait)
            taken, self._records = self._records, []
            if not taken and self._error is not None:
                error, self._error = self._error, None
                raise error
            return taken

    def close(self) -> None:
        """End it; returns at once. The step in flight is thrown away, and so is an error."""
        with self._changed:
            self._closed = self._ended = True
            self._records, self._error = [], None
            self._changed.notify_all()

    def check(self) -> None:
        """Raises `Closed` where the run was closed; any thread may call it, at any time."""
        if self._closed:
            raise Closed

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _at_exit(self) -> None:
        """A thread that computes while the interpreter goes down would crash it."""
        self.close()
        self.join(EXIT_TIMEOUT)

    def _work(self) -> None:
        if self._after is not None:
            self._after.join()
            self._after = None
        steps: Iterator[StepRecord] | None = None
        try:
            while self._may_go_on():
                steps = steps or self._begin(self)
                self._put(next(steps, None))
        except Closed:
            pass
        except Exception as error:  # whatever it is, it belongs to whoever takes the records
            self._fail(error)
        finally:
            if isinstance(steps, Generator):
                steps.close()  # here, on the thread that ran it, so that its workers end with it
            atexit.unregister(self._at_exit)

    def _may_go_on(self) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or self._allowed > 0 or time.monotonic() < self._until
            )
            self._busy = not self._ended
            return self._busy

    def _put(self, record: StepRecord | None) -> None:
        with self._changed:
            self._allowed, self._busy = max(0, self._allowed - 1), False
            if self._closed:
                return
            if record is None:
                self._ended = True
            else:
                self._records.append(record)
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error, self._ended = None if self._closed else error, True
            self._changed.notify_all()


@dataclass(eq=False)
class Training:
    """A run that trains here, or has trained and is shown still, with its first settings."""

    settings: Settings
    worker: LiveRun | None = None  # None before it begins and when it is over
    records: list[StepRecord] = field(default_factory=list)  # those that were taken
    probes_after: dict[str, float] = field(default_factory=dict)  # after the last step

    def begin(
        self, materials: Materials, *, probes: bool, after: LiveRun | None, go_on: bool = False
    ) -> LiveRun:
        """Make the worker; it trains nothing before it is asked. `after` may still have to end.

        With `go_on`, from where an earlier run of these settings was broken off.
        """
        held_out: Mapping[str, EncodedRows] = materials.probes if probes else {}

        def steps(live: LiveRun) -> Iterator[StepRecord]:
            spec = self.settings.spec()
            try:
                run = leftovers.open_run(spec, data=materials.rows, probes=held_out, go_on=go_on)
            except OSError:
                if go_on:
                    raise
                yield from self._unrecorded(live, materials, held_out)
                return
            _give_up_if_closed(live, run.session)
            with run:
                if go_on:
                    yield from load(run.writer.folder).records
                try:
                    yield from run.steps(plan.steps(spec, run.session))
                except Closed:  # in the middle of a step, which changes nothing before its end
                    run.save()
                    raise
            self.probes_after |= run.info["probes_after"]

        self.worker = LiveRun(steps, after=after)
        return self.worker

    def _unrecorded(
        self, live: LiveRun, materials: Materials, probes: Mapping[str, EncodedRows]
    ) -> Iterator[StepRecord]:
        """Where no folder can be had (another kernel has it, a full disk), training goes on."""
        spec, model = self.settings.spec(), shipped.base_model(plan.MODEL)
        session = plan.session_of(spec, model, data=materials.rows, probes=probes)
        _give_up_if_closed(live, session)
        yield from plan.steps(spec, session)
        self.probes_after |= session.probe_losses()

    def run(self, n_rows: int) -> Run | None:
        """What it has trained so far, on a file of `n_rows` conversations; None before a step."""
        if not self.records:
            return None
        spec = self.settings.spec()
        info: dict[str, object] = {
            "train_config": spec.config.to_dict(),
            "pulse": spec.pulse,
            "base": plan.MODEL,
            "rows": n_rows,
        }
        if self.probes_after:
            info["probes_after"] = dict(self.probes_after)
        return Run(info, tuple(self.records))


def _give_up_if_closed(live: LiveRun, session: TrainingSession) -> None:
    """Every micro-batch asks: a large batch takes a second, too long to wait after Stop."""

    def check(*_: object) -> None:
        live.check()

    session.model.blocks[0].register_forward_pre_hook(check)
