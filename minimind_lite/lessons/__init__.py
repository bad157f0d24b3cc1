"""What the notebooks call; `lesson_00` ... `lesson_12` have the checks and tables of one lesson."""

from minimind_lite.lessons.base import (
    REPO_URL,
    Prediction,
    Progress,
    answer,
    predict,
    show_source,
    start,
)

__all__ = ["REPO_URL", "Prediction", "Progress", "answer", "predict", "show_source", "start"]
