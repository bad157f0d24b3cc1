"""Run trials side by side, in processes of their own, and record each as it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import current_process, get_context, parent_process

from minimind_lite.science.fingerprint import code_fingerprint
from minimind_lite.science.store import Store
from minimind_lite.science.trials import Experiment, Outcome, SharedData, Variant


class FailedTrials(ValueError):
    """Trials ended with an error; the others are recorded."""


@dataclass(frozen=True)
class Job:
    """A trial that is still to be run."""

    experiment: Experiment
    variant: Variant
    seed: int

    def __str__(self) -> str:
        return f"{self.experiment.id} {self.variant.name!r} seed {self.seed}"


def missing(
    experiments: Sequence[Experiment],
    store: Store,
    *,
    seeds: Sequence[int],
    quick: bool = False,
    fresh: bool = False,
) -> list[Job]:
    """Trials to run: seed by seed, so that an early stop leaves whole seeds of everything."""
    return [
        Job(experiment, variant, seed)
        for seed in seeds
        for experiment in experiments
        for variant in experiment.variants
        if (variant.quick or not quick) and (fresh or not store.has(experiment.id, variant, seed))
    ]


def run(jobs: Sequence[Job], store: Store, *, processes: int) -> Iterator[Job]:
    """Run trials; each is recorded, then yielded, as it ends. Raises as `outcomes`."""
    modules = {job.variant.procedure.__module__ for job in jobs}
    # Of the code that is loaded now, whatever becomes of the files meanwhile.
    codes = {module: code_fingerprint(module) for module in modules}
    for job, outcome in outcomes(jobs, processes=processes):
        code = codes[job.variant.procedure.__module__]
        store.add(job.experiment.id, job.variant, job.seed, outcome=outcome, code=code)
        yield job


def outcomes(jobs: Sequence[Job], *, processes: int) -> Iterator[tuple[Job, Outcome]]:
    """Run trials in `processes` processes; each is yielded as it ends.

    One that fails does not stop the others. At the end `FailedTrials` names all that did, with
    the first cause.
    """
    failed: list[tuple[Job, BaseException]] = []
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_prepare_process
    ) as pool:
        running = {pool.submit(_run_in_process, job): job for job in jobs}
        try:
            for future in as_completed(running):
                error = future.exception()
                if error is None:
                    yield running[future], future.result()
                else:
                    failed.append((running[future], error))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if failed:
        names, first = ", ".join(str(job) for job, _ in failed), failed[0][1]
        raise FailedTrials(f"{len(failed)} trials failed: {names}. The first: {first!r}") from first


def _run_in_process(job: Job) -> Outcome:
    of_process = vars(current_process())  # a worker's shared data is built once, by its first job
    if "shared_data" not in of_process:
        of_process["shared_data"] = SharedData()
    return job.variant.procedure(of_process["shared_data"], job.seed, job.variant.settings)


def _prepare_process() -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    # Runs side by side are quicker than cores side by side in one run, and the bits are the same.
    os.environ["MINIMIND_LITE_WORKERS"] = "1"
    import torch

    torch.set_num_threads(1)


def _end_with_the_parent() -> None:
    parent = parent_process()
    assert parent is not None, "this runs in a worker process"
    parent.join()
    os._exit(1)  # the parent was killed: nobody is left to record what this process computes
