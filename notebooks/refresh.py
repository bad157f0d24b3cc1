"""Run the lessons and store their outputs, the way they are committed.

    python notebooks/refresh.py                     every lesson
    python notebooks/refresh.py 03_the_report.ipynb that one

What would break a static viewer or make a needless difference is taken out: widget state, widget
views that have a picture or text beside them, timings, the kernel's own version. What answers a
prediction (cells tagged `answers-prediction`) becomes HTML that one click opens: viewers that know
nothing of Jupyter's folding honor it, too. Running the cell replaces it.
"""

from __future__ import annotations

import html
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert.filters import markdown2html

HERE = Path(__file__).resolve().parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def clean(notebook: nbformat.NotebookNode) -> None:
    """Strip what must not be stored, fold what must not be given away."""
    notebook.metadata = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            data = output.get("data", {})
            if WIDGET_VIEW in data and len(data) > 2:  # the view and text/plain are always there
                del data[WIDGET_VIEW]
        cell.outputs = [o for o in cell.outputs if o.output_type != "stream" or o.name != "stderr"]
        join_streams(cell)
        if "answers-prediction" in tags and cell.outputs:
            fold(cell)
        if cell.source.startswith("lessons.answer("):
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["cellView"] = "form"  # the same, for Colab


def join_streams(cell: nbformat.NotebookNode) -> None:
    """One block of printed text where the kernel happened to send several."""
    joined: list[nbformat.NotebookNode] = []
    for output in cell.outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    cell.outputs = joined


def fold(cell: nbformat.NotebookNode) -> None:
    """All outputs of a cell as one that a click opens."""
    content = "".join(as_html(output) for output in cell.outputs)
    page = f"<details><summary><b>Show the result</b></summary>{content}</details>"
    data = {"text/html": page, "text/plain": "Run this cell to see the result."}
    cell.outputs = [nbformat.v4.new_output("display_data", data=data)]


def as_html(output: nbformat.NotebookNode) -> str:
    """One output as a static page shows it; a picture with its alternative text."""
    if output.output_type == "stream":
        return f"<pre>{html.escape(output.text)}</pre>"
    data = output.data
    if "image/png" in data:
        alt = html.escape(output.metadata.get("image/png", {}).get("alt", ""), quote=True)
        source = data["image/png"].replace("\n", "")
        return f'<p><img alt="{alt}" src="data:image/png;base64,{source}"></p>'
    if "text/html" in data:
        return data["text/html"]
    if "text/markdown" in data:
        return markdown2html(data["text/markdown"])
    return f"<pre>{html.escape(data['text/plain'])}</pre>"


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
            print(f"{path.name}: {refresh(path):.1f} s", flush=True)


if __name__ == "__main__":
    main()
