"""Rules of the house, as tests: import floors, notebook form, a README that is true."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minimind_lite.lessons import base
from minimind_lite.science import reproduce

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "minimind_lite").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
def test_no_instrument_reads_the_truth():
    assert "blocks.json" not in (ROOT / "minimind_lite" / "spikes.py").read_text(encoding="utf-8")


def test_training_imports_no_plotting_widgets_or_datasets():
    code = (
        "import sys; from minimind_lite import trainer, cli; from minimind_lite.files import shipped; "
        "print([m for m in ('matplotlib', 'ipywidgets', 'datasets', 'pandas', 'IPython') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: p.stem)
def test_files_and_functions_stay_short(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, (
                f"{node.name} is {node.end_lineno - node.lineno + 1} lines long"
            )


@pytest.mark.parametrize("path", [p for p in PACKAGE if p.stem != "__init__"], ids=lambda p: p.stem)
def test_public_names_have_docstrings_and_types(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef)]
    for node in [*tree.body, *(m for c in classes if not c.name.startswith("_") for m in c.body)]:
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and node.name != "forward"
        ):
            assert ast.get_docstring(node), f"{path.stem}.{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            assert all(a.annotation for a in arguments if a.arg not in ("self", "cls")), (
                f"{path.stem}.{node.name}: untyped argument"
            )


# Notebooks


def cells(path: Path, kind: str = "code") -> list[dict]:
    return [
        c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind
    ]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


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
                assert output["metadata"].get("image/png", {}).get("alt"), (
                    "a picture without alt text"
                )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_hold_no_timings_addresses_or_machine_paths(path):
    for cell in cells(path):
        text = json.dumps(
            [
                {k: v for k, v in o.items() if k != "data"}
                | {"data": {k: v for k, v in o.get("data", {}).items() if k != "image/png"}}
                for o in cell["outputs"]
            ]
        )
        for pattern in (
            r"0x[0-9a-f]{6,}",
            r"\d\.?\d* ?(s|ms|seconds) left",
            r"/(home|root|tmp|work|Users)/",
            r"it/s\b",
        ):
            assert not re.search(pattern, text), (pattern, text[:300])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_answers_to_predictions_are_stored_folded(path):
    answering = [c for c in cells(path) if "answers-prediction" in tags(c)]
    assert answering
    assert all(c["metadata"].get("jupyter", {}).get("outputs_hidden") for c in answering)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_shipped_answers_are_folded(path):
    answers = [c for c in cells(path) if "".join(c["source"]).startswith("lessons.answer(")]
    assert len(answers) == sum("exercise" in tags(c) for c in cells(path))
    assert all(c["metadata"]["jupyter"]["source_hidden"] for c in answers)


# README


def test_readme_tree_is_true():
    tree = re.search(r"```text\n(.*?)```", README, re.S)[1]
    named = {
        line.split()[0].rstrip("/")
        for line in tree.splitlines()
        if line and not line.startswith(" ")
    }
    there = {
        p.split("/")[0]
        for p in subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    }
    assert named == there - {".gitignore"}
    modules = set(re.findall(r"^  (\w+)\.py", tree, re.M))
    assert modules == {p.stem for p in PACKAGE} - {"__init__"}


def test_readme_test_command_is_what_ci_runs():
    command = "pip install -r requirements.txt && pytest"
    assert f"\n{command}\n" in README
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").count(f"\n{command}\n") == 1


def test_readme_run_command_names_files_that_exist():
    for path in re.findall(r"\b(?:notebooks|data)/[\w/.-]+\.(?:ipynb|py|png|md)", README):
        assert (ROOT / path).exists(), path


def test_readme_commands_parse():
    from minimind_lite.cli import parser

    for line in re.findall(r"^python -m minimind_lite (.*?)(?: *#.*)?$", README, re.M):
        assert parser().parse_args(line.split())


def test_readme_table_is_that_of_the_recorded_runs():
    assert (
        reproduce.table([reproduce.summarise(run) for run in reproduce.recorded().values()])
        in README
    )


def test_readme_picture_shows_the_recorded_runs():
    from PIL import Image

    from minimind_lite.cli import figure

    with Image.open(ROOT / "data" / "figures" / "spike.png") as picture:
        assert picture.text["Description"] == figure(reproduce.recorded()).summary


def test_no_file_names_a_path_of_one_machine():
    kinds = ["*.py", "*.md", "*.toml", "*.txt"]
    listed = subprocess.run(
        ["git", "ls-files", *kinds], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for file in listed.split():
        if file != "tests/test_rules.py":
            assert not re.search(
                r"/(home|root|work)/\w", (ROOT / file).read_text(encoding="utf-8")
            ), file
