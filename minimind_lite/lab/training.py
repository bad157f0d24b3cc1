"""A run that trains in the lab, or has trained and is shown still."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from minimind_lite.files import shipped
from minimind_lite.lab import plan
from minimind_lite.lab.materials import Materials
from minimind_lite.lab.state import Settings
from minimind_lite.lab.worker import LiveRun
from minimind_lite.records import Run, StepRecord
from minimind_lite.rows import EncodedRows
from minimind_lite.trainer import mean_loss


@dataclass(eq=False)
class Training:
    """Its settings stay as they were when it began."""

    settings: Settings
    worker: LiveRun | None = None  # None before it begins and when it is over
    records: list[StepRecord] = field(default_factory=list)  # those that were taken
    probes_after: dict[str, float] = field(default_factory=dict)  # after the last step

    def begin(self, materials: Materials, *, probes: bool, after: LiveRun | None) -> LiveRun:
        """Make the worker; it trains nothing before it is asked. `after`: one that may still end."""

        def steps(live: LiveRun) -> Iterator[StepRecord]:
            def give_up_if_closed(*_: object) -> None:
                live.check()

            model = shipped.base_model(plan.MODEL)
            held_out: Mapping[str, EncodedRows] = materials.probes if probes else {}
            # Every micro-batch asks: a large batch takes a second, too long to wait after Stop.
            model.blocks[0].register_forward_pre_hook(give_up_if_closed)
            yield from plan.steps(self.settings.spec(), model, data=materials.rows, probes=held_out)
            self.probes_after |= {name: mean_loss(model, rows) for name, rows in held_out.items()}

        self.worker = LiveRun(steps, after=after)
        return self.worker

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
