"""Recorded runs side by side: their settings, and what each shows at the same lines of one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite.records import Run
from minimind_lite.science import laws, run_events
from minimind_lite.science.decomposition import LAST_ROWS, Terms
from minimind_lite.science.run_report import is_trained_in_file_order

NEW_BATCHES = 5  # of the rows that a rise begins with
OPTIONS = ("model", "weights", "rollback", "hold_out")  # of `train`, recorded beside its settings
TENTH = 10  # the last part of a run is one in so many steps


@dataclass(frozen=True)
class Place:
    """What runs show where the loss of one of them rises; nats, NaN where rows were not read."""

    row: int  # the first of the new rows
    heights: Mapping[str, float]  # of each run: loss of the new rows minus that of the rows before
    terms: Terms | None  # of the trained run by the frozen one, where there are both


def settings(run: Run) -> dict[str, object]:
    """All that decides a run, by name: its `TrainConfig`, its model, how it read the file."""
    info = run.info
    model = info.get("model_config", {})
    more = {"parameters of the model": tuple(model.values()) or None}
    more |= {name: info.get(name) for name in ("data", "max_seq_len", "rows")}
    more |= {name: info.get("options", {}).get(name) for name in OPTIONS}
    return {**info.get("train_config", {}), **more}


def differences(runs: Mapping[str, Run]) -> dict[str, list[object]]:
    """The settings that differ, by name, with the value of each run."""
    all_settings = [settings(run) for run in runs.values()]
    names = dict.fromkeys(name for each in all_settings for name in each)
    values = {name: [each.get(name) for each in all_settings] for name in names}
    return {name: each for name, each in values.items() if any(v != each[0] for v in each)}


def last_loss(run: Run) -> float:
    """Mean loss of the last tenth of the steps, in nats."""
    return float(run.loss[-max(1, len(run) // TENTH) :].mean())


def same_rows(a: Run, b: Run) -> bool:
    """Whether two runs read the same rows: all that both read have as many supervised tokens."""
    tokens = [_Rows(run).tokens for run in (a, b)]
    n = min(map(len, tokens))
    both = (tokens[0][:n] >= 0) & (tokens[1][:n] >= 0)
    equal_size = a.info.get("rows") == b.info.get("rows")
    return bool(equal_size and both.any() and (tokens[0][:n] == tokens[1][:n])[both].all())


class _Rows:
    """Losses and tokens (N,) by row, of the first epoch; NaN and -1 where a row was not read."""

    def __init__(self, run: Run) -> None:
        n_rows = 1 + max(int(record.rows.max()) for record in run.records)
        self.losses, self.tokens = run.losses_by_row(n_rows), np.full(n_rows, -1)
        for record in run.records:
            if record.epoch == 0:
                self.tokens[record.rows] = record.sample_tokens

    def mean(self, rows: np.ndarray) -> float:
        """Token mean of ascending rows, in nats; NaN where one was not read."""
        if rows[-1] >= len(self.tokens) or (self.tokens[rows] < 0).any():
            return float("nan")
        tokens = self.tokens[rows]
        return laws.token_mean(laws.sum_losses(self.losses[rows], tokens), tokens)


def base_of(runs: Mapping[str, Run]) -> str | None:
    """The run whose rises are looked at: trained in file order; None where there is none."""
    return next((name for name, run in runs.items() if is_trained_in_file_order(run)), None)


def frozen_of(runs: Mapping[str, Run]) -> str | None:
    """The run of a frozen model; None where there is none."""
    names = (
        n for n, r in runs.items() if r.info.get("train_config", {}).get("optimizer") == "none"
    )
    return next(names, None)


def places(runs: Mapping[str, Run], base: str) -> list[Place]:
    """Every rise of the first epoch of run `base`, and what the others show at its rows.

    New rows: up to five batches from its first row. Rows before: up to 160.
    """
    trained, frozen = runs[base], frozen_of(runs)
    rows = {name: _Rows(run) for name, run in runs.items()}
    listed = []
    for rise in run_events.find(trained):
        records = trained.records[rise.start : rise.stop]
        if records[-1].epoch or not run_events.in_file_order(trained, rise):
            continue
        first, size = run_events.first_row(trained, rise), len(records[0].rows)
        last_row = max(int(records[-1].rows[-1]), first)
        new = np.arange(first, min(first + NEW_BATCHES * size, last_row + 1))
        before = np.arange(max(0, first - LAST_ROWS), first)
        if not len(before):
            continue
        means = {name: (each.mean(new), each.mean(before)) for name, each in rows.items()}
        heights = {name: first - last for name, (first, last) in means.items()}
        terms = None
        if frozen and np.isfinite([heights[base], heights[frozen]]).all():
            terms = Terms.of_losses(
                new=means[base][0],
                last=means[base][1],
                frozen_new=means[frozen][0],
                frozen_last=means[frozen][1],
            )
        listed.append(Place(int(new[0]), heights, terms))
    return listed


def names_of(folders: Sequence[str]) -> list[str]:
    """Short names of folders: the last part where it tells them apart, else the whole."""
    last = [folder.rstrip("/").rpartition("/")[2] or folder for folder in folders]
    return list(folders) if len(set(last)) < len(last) else last
