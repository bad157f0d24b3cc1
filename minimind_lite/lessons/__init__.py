"""What the lessons share, and a module of checks and toys for each of them."""

from minimind_lite.lessons.base import (
    REPO_URL,
    Prediction,
    Progress,
    answer,
    open_step,
    predict,
    predictions,
    show_source,
    start,
    verdict,
    work_folder,
)

__all__ = [
    "REPO_URL",
    "Prediction",
    "Progress",
    "answer",
    "open_step",
    "predict",
    "predictions",
    "show_source",
    "start",
    "verdict",
    "work_folder",
]
