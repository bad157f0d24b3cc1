"""Pictures: data in, a figure and one sentence for people out."""

from minimind_lite.plots.base import Plot, bar_chart, loss_curve, losses_by_row, message

__all__ = ["Plot", "bar_chart", "loss_curve", "losses_by_row", "message"]
