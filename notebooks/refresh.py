"""Run the lessons and store their outputs, the way they are committed.

    python notebooks/refresh.py                     every lesson
    python notebooks/refresh.py 03_the_report.ipynb that one

What would break a static viewer or make a needless difference is taken out: widget state and
widget views that have a picture or text beside them, timings, the kernel's own version. Outputs
of cells tagged `answers-prediction` are stored folded, and so is the source of shipped answers,
so that the page does not give away what it asks; running a cell unfolds its output.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def clean(notebook: nbformat.NotebookNode) -> None:
    """Strip what must not be stored, fold what must not be given away."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        )
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if (
                WIDGET_VIEW in output.get("data", {}) and len(output.data) > 2
            ):  # it and text/plain are always there
                del output.data[WIDGET_VIEW]
        cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.name != "stderr"]
        join_streams(cell)
        if "answers-prediction" in cell.metadata.get("tags", []):
            cell.metadata["collapsed"] = True
            cell.metadata["jupyter"] = {"outputs_hidden": True}
        if cell.source.startswith(
            "lessons.answer("
        ):  # what it shows is folded; its source must not give it away
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["cellView"] = "form"  # the same, for Colab


def join_streams(cell: nbformat.NotebookNode) -> None:
    """One block of printed text where the kernel happened to send several."""
    joined = []
    for output in cell.outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    cell.outputs = joined


def refresh(path: Path) -> float:
    """Execute one notebook from its own folder and write it back; returns the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=180,
        kernel_name="python3",
        store_widget_state=False,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    seconds = time.perf_counter() - start
    clean(notebook)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    return seconds


def main() -> None:
    """Refresh the named lessons, or all."""
    with tempfile.TemporaryDirectory() as work:
        os.environ["MINIMIND_LITE_WORK"] = work  # nobody's predictions but an empty folder's
        for path in [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
            print(f"{path.name}: {refresh(path):.1f} s")


if __name__ == "__main__":
    main()
