"""Pictures: data in, a figure and one sentence about it out."""

from minimind_lite.plots import laws
from minimind_lite.plots.accumulation import (
    bias_scatter,
    gradient_gaps,
    memory_bars,
    three_means,
)
from minimind_lite.plots.base import DOMAIN_COLORS, Plot, canvas, rendering
from minimind_lite.plots.curves import compare_detectors, loss_curve, losses_by_row, panels
from minimind_lite.plots.effects import bar_chart, forest
from minimind_lite.plots.probes import loss_and_probe
from minimind_lite.plots.scoreboard import scoreboard

__all__ = [
    "DOMAIN_COLORS",
    "Plot",
    "bar_chart",
    "bias_scatter",
    "canvas",
    "compare_detectors",
    "forest",
    "gradient_gaps",
    "laws",
    "loss_and_probe",
    "loss_curve",
    "losses_by_row",
    "memory_bars",
    "panels",
    "rendering",
    "scoreboard",
    "three_means",
]
