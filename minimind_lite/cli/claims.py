"""`claims`: run the experiments that are missing and print the verdicts."""

from __future__ import annotations

import argparse

from minimind_lite import plots
from minimind_lite.cli.progress import progress_bar
from minimind_lite.files import shipped
from minimind_lite.parallel import available_cores
from minimind_lite.plots import results
from minimind_lite.science import claims as verdicts
from minimind_lite.science import replay, runner
from minimind_lite.science.evidence import Evidence
from minimind_lite.science.experiments import EXPERIMENTS
from minimind_lite.science.runner import Job
from minimind_lite.science.store import Store


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing of the experiments, then print the verdicts."""
    chosen = [EXPERIMENTS[name] for name in arguments.only or EXPERIMENTS]
    seeds = tuple(range(1 if arguments.quick else arguments.seeds))
    records = Store(arguments.out or shipped.folder() / "claims")
    processes = arguments.jobs or available_cores()
    if arguments.verify:
        for job, different in replay.verify(chosen, records, processes=processes):
            print(f"{job}: {'differs in ' + ', '.join(different) if different else 'same bits'}")
        return 0
    if not arguments.recorded:
        quick, fresh = arguments.quick, arguments.fresh
        jobs = runner.missing(chosen, records, seeds=seeds, quick=quick, fresh=fresh)
        _run_trials(jobs, records, processes=processes)
    if stale := records.of_other_code(chosen):
        print(
            f"{len(stale)} trials were recorded by other code than this; --verify compares "
            "replays, --fresh runs them again."
        )
    if arguments.only:
        return 0
    evidence = Evidence(records, None if arguments.recorded else seeds)
    board = verdicts.scoreboard(evidence, partial=arguments.quick)
    print(verdicts.text(board))
    if arguments.quick:
        print(
            f"{len(board)} of {len(verdicts.CLAIMS)} claims can be looked at with these trials; "
            "one layout decides on none (leave --quick out)."
        )
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        plots.scoreboard(board).save(arguments.pictures / "scoreboard.png")
        for name, picture in results.draw(evidence):
            picture.save(arguments.pictures / f"{name}.png")
        print(f"Pictures: {arguments.pictures.resolve()}")
    return 0


def _run_trials(jobs: list[Job], records: Store, *, processes: int) -> None:
    """Run jobs side by side; each is kept as soon as it is done."""
    if not jobs:
        return
    total = sum(job.variant.cost for job in jobs)
    print(
        f"{len(jobs)} trials to run, {total:.0f} passes over the file in all; "
        "a stop loses only what is running."
    )
    with progress_bar(round(total, 1), "trials", unit="pass") as bar:
        for job in runner.run(jobs, records, processes=processes):
            bar.set_description(f"{job.experiment.id} {job.variant.name}, seed {job.seed}")
            bar.update(job.variant.cost)
