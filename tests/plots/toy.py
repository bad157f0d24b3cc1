"""Small runs drawn by hand: a ripple with a bump, and held-out losses with it."""

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from minimind_lite.plots.base import Plot
from minimind_lite.records import Run, StepRecord

STEPS, BATCH = 40, 4
BUMP = range(33, 36)  # rows 132 to 143
FIELDS = {field.name for field in dataclasses.fields(StepRecord)}


def toy_run(
    level: float = 2.0,
    *,
    steps: int = STEPS,
    bump: float = 1.5,
    at: range = BUMP,
    probes: bool = False,
) -> Run:
    """Loss near `level`; the steps `at` are `bump` nats above, and a probe with them."""
    losses = level + 0.01 * np.sin(np.arange(steps)) + bump * np.isin(np.arange(steps), at)
    records = tuple(_record(i, float(losses[i]), bump, at, probes) for i in range(steps))
    info = {"event": [at.start, at.stop], "probes_after": {"zh": 3.0 + bump / 4}}
    return Run(info if probes else {}, records)


def _record(step: int, loss: float, bump: float, at: range, probes: bool) -> StepRecord:
    fields = {
        "step": step,
        "epoch": 0,
        "samples_seen": BATCH * step,
        "loss": loss,
        "tokens": 40,
        "lr": 1e-3,
        "grad_norm": 1.0,
        "update_norm": 0.1,
        "micro_losses": np.array([loss, loss]),
        "rows": np.arange(BATCH * step, BATCH * (step + 1)),
        "sample_losses": np.full(BATCH, loss),
        "sample_tokens": np.full(BATCH, 10),
        "seconds": 0.1,
        "probe_seconds": 0.0,
        "probes": {"zh": 3.0 + bump * (step == at.start + 2)} if probes and step % 2 == 0 else {},
    }
    return StepRecord(**{name: value for name, value in fields.items() if name in FIELDS})


def texts(figure: Figure) -> list[str]:
    """All texts inside the axes of a figure."""
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def smallest_letter(plot: Plot) -> float:
    """Size of the smallest letter of a figure, points."""
    sizes = []
    for ax in plot.figure.axes:
        legend = ax.get_legend()
        drawn = [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
        drawn += [*ax.get_xticklabels(), *ax.get_yticklabels()]
        drawn += legend.get_texts() if legend else []
        sizes += [text.get_fontsize() for text in drawn]
    return min(sizes)
