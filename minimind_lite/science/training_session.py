"""A training run that can be interrupted: advanced by steps, saved, restored, given other rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimind_lite.config import TrainConfig
from minimind_lite.files.provenance import run_info
from minimind_lite.model import LanguageModel
from minimind_lite.optimizer import make_optimizer
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.science.layouts import Layout
from minimind_lite.trainer import mean_loss, train


@dataclass(frozen=True)
class Checkpoint:
    """Everything that `TrainingSession.restore` needs."""

    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    step: int


class TrainingSession:
    """A run in parts. Its schedule is that of the data it began with, whatever happens later."""

    def __init__(
        self,
        model: LanguageModel,
        data: EncodedRows,
        config: TrainConfig,
        *,
        probes: Mapping[str, EncodedRows] | None = None,
    ) -> None:
        self.model, self.data, self.config, self.probes = model, data, config, probes or {}
        self.optimizer = make_optimizer(model, config)
        self.total_steps = config.total_steps(len(data))
        self.step = 0
        self.records: list[StepRecord] = []

    def advance(
        self,
        steps: int | None = None,
        *,
        config: TrainConfig | None = None,
        row_weights: np.ndarray | None = None,
    ) -> list[StepRecord]:
        """The next `steps` steps, or all that are left; returns their records.

        With `config`, under other settings.
        """
        config = config or self.config
        if steps is not None:
            config = config.replace(max_steps=self.step + steps)
        records = list(
            train(
                self.model,
                self.data,
                config,
                probes=self.probes,
                row_weights=row_weights,
                optimizer=self.optimizer,
                start_step=self.step,
                total_steps=self.total_steps,
            )
        )
        self.records += records
        self.step += len(records)
        return records

    def save(self) -> Checkpoint:
        """The weights, the optimizer and the position, as they are now."""
        state = self.optimizer.state_dict() if self.optimizer else {}
        return copy.deepcopy(Checkpoint(self.model.state_dict(), state, self.step))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Back to a saved state; records stay, as a log would."""
        self.model.load_state_dict(checkpoint.model)
        if self.optimizer:
            self.optimizer.load_state_dict(copy.deepcopy(dict(checkpoint.optimizer)))
        self.step = checkpoint.step

    def run(self, layout: Layout | None = None, *, info: Mapping[str, object] | None = None) -> Run:
        """What was recorded, with the layout's ground truth and the probes as they are now."""
        more: dict[str, Any] = {"rows": len(self.data), **(info or {})}
        if layout is not None:
            more["family"] = layout.family
            more["segments"] = [vars(segment) for segment in layout.segments]
        more["probes_after"] = {n: mean_loss(self.model, rows) for n, rows in self.probes.items()}
        return Run(run_info(self.model, self.config, more=more), tuple(self.records))
