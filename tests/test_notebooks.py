"""Rules of the lessons' notebooks: short cells, text before code, nothing stored that spoils."""

import ast
import json
import re
from pathlib import Path

import pytest

from minimind_lite.lessons import base

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))


def cells(path: Path, kind: str = "code") -> list[dict]:
    return [
        c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind
    ]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def html_of(output: dict) -> str:
    return "".join(output.get("data", {}).get("text/html", ""))


def test_there_are_lessons():
    assert len(NOTEBOOKS) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_code_cells_are_short_and_hold_no_logic(path):
    for cell in cells(path):
        lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
        assert len(lines) <= (12 if "exercise" in tags(cell) else 15), lines
        if "exercise" not in tags(cell):
            tree = ast.parse("".join(cell["source"]).replace("%", "#", 0))
            assert not any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in ast.walk(tree)), (
                lines
            )
            assert all(
                n.body[-1].end_lineno - n.body[0].lineno < 3
                for n in ast.walk(tree)
                if isinstance(n, ast.For | ast.While)
            ), lines


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_markdown_goes_before_each_code_cell(path):
    kinds = [c["cell_type"] for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert kinds[0] == "markdown"
    assert kinds.count("markdown") >= 0.8 * kinds.count("code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_first_code_cell_is_the_same_everywhere(path):
    assert "".join(cells(path)[0]["source"]) == "".join(cells(NOTEBOOKS[0])[0]["source"])
    assert f'os.environ.get("REPO_URL", "{base.REPO_URL}")' in "".join(cells(path)[0]["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_last_code_cell_asserts_what_was_learned(path):
    assert (
        2
        <= sum(
            isinstance(n, ast.Assert)
            for n in ast.walk(ast.parse("".join(cells(path)[-1]["source"])))
        )
        <= 4
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_form_breaks_no_static_viewer(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert "widgets" not in notebook["metadata"]
    for cell in cells(path):
        assert cell["execution_count"] is not None, "run notebooks/refresh.py"
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            data = output.get("data", {})
            assert "application/vnd.jupyter.widget-view+json" not in data or len(data) > 2
            if "image/png" in data:
                assert output["metadata"].get("image/png", {}).get("alt"), "no alt text"
            for picture in re.findall(r"<img [^>]*>", html_of(output)):
                assert re.search(r'alt="[^"]{10,}"', picture), "no alt text"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_hold_no_timings_addresses_or_machine_paths(path):
    for cell in cells(path):
        text = re.sub(r"[A-Za-z0-9+/=\\\\n]{200,}", "", json.dumps(cell["outputs"]))  # pictures
        for pattern in (
            r"0x[0-9a-f]{6,}",
            r"\d\.?\d* ?(s|ms|seconds) left",
            r"/(home|root|tmp|work|Users)/",
            r"it/s\b",
        ):
            assert not re.search(pattern, text), (pattern, text[:300])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_answers_to_predictions_are_stored_behind_a_click(path):
    """Pages that nbconvert makes ignore Jupyter's own folding, but not `<details>`."""
    answering = [c for c in cells(path) if "answers-prediction" in tags(c)]
    assert answering
    for cell in answering:
        assert len(cell["outputs"]) <= 1
        for output in cell["outputs"]:
            assert set(output["data"]) == {"text/html", "text/plain"}
            assert html_of(output).startswith("<details><summary>")
            assert html_of(output).endswith("</details>")
            assert "".join(output["data"]["text/plain"]) == "Run this cell to see the result."


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_shipped_answers_are_folded(path):
    answers = [c for c in cells(path) if "".join(c["source"]).startswith("lessons.answer(")]
    assert len(answers) == sum("exercise" in tags(c) for c in cells(path))
    assert all(c["metadata"]["jupyter"]["source_hidden"] for c in answers)
