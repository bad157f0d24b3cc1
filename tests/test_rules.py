"""Rules of the house, as tests: format, types, imports, lengths, names."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = sorted((ROOT / "minimind_lite").rglob("*.py"))
CODE = ("minimind_lite", "tests", "data", "notebooks/refresh.py")
MECHANISM = ("order", "rows", "loss", "trainer", "spikes")
# Participles that name nothing; a variable is a noun.
NAMELESS = {"found", "own", "seen", "held", "there", "said", "kept", "met"}


def run(*command: str) -> None:
    """Run a tool of the virtual environment; its output is the failure's message."""
    outcome = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_code_is_formatted():
    run("ruff", "format", "--check", *CODE)


def test_code_has_no_lint():
    run("ruff", "check", *CODE)


def test_types_agree():
    run("mypy")


def test_imports_keep_to_the_shelves():
    """The contracts are in pyproject.toml."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "minimind_lite"))


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_nobody_imports_a_private_name(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minimind_lite"):
            private = [a.name for a in node.names if re.match(r"_[a-z]", a.name)]
            assert not private, f"{name_of(path)} takes {private} from {node.module}"


def test_no_instrument_reads_the_truth():
    """The truth file is read in one place; the detector and the trainer import nothing of it."""
    readers = [name_of(p) for p in PACKAGE if "sft.blocks.json" in p.read_text(encoding="utf-8")]
    assert readers == ["files/shipped.py"]


def test_training_imports_no_plotting_widgets_or_datasets():
    code = (
        "import sys; from minimind_lite import trainer, cli; from minimind_lite.files import "
        "shipped; unwanted = ('matplotlib', 'ipywidgets', 'datasets', 'pandas', 'IPython'); "
        "print([m for m in unwanted if m in sys.modules])"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert outcome.stdout.strip() == "[]"


def test_the_root_is_read_in_an_hour():
    """At most 1,700 lines, and the mechanism alone at most 700."""
    lines = {
        p.stem: len(p.read_text(encoding="utf-8").splitlines())
        for p in (ROOT / "minimind_lite").glob("*.py")
    }
    root = {name: n for name, n in lines.items() if name not in ("__init__", "__main__")}
    assert sum(root.values()) <= 1700, root
    assert sum(lines[name] for name in MECHANISM) <= 700, lines


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_files_and_functions_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            most = 45 if (path.stem, node.name) == ("trainer", "train") else 40
            assert length <= most, f"{node.name} is {length} lines long"


def test_the_training_loop_is_on_one_level():
    [train] = [
        node
        for node in tree_of(ROOT / "minimind_lite" / "trainer.py").body
        if isinstance(node, ast.FunctionDef) and node.name == "train"
    ]
    nested = (ast.FunctionDef, ast.Lambda)
    assert not any(isinstance(n, nested) for n in ast.walk(train) if n is not train)
    assert ".backward()" in ast.unparse(train)


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_names_are_nouns(path):
    stored = {
        node.id
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    stored |= {node.arg for node in ast.walk(tree_of(path)) if isinstance(node, ast.arg)}
    assert not stored & NAMELESS


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_no_module_keeps_a_cache(path):
    """What must be kept is an object that somebody owns."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            decorators = {ast.unparse(d).split("(")[0] for d in node.decorator_list}
            assert not decorators & {"cache", "lru_cache", "functools.cache", "functools.lru_cache"}
        assert not isinstance(node, ast.Global), f"{name_of(path)} writes a global"


@pytest.mark.parametrize("path", [p for p in PACKAGE if p.name != "__main__.py"], ids=name_of)
def test_public_names_have_docstrings_and_types(path):
    tree = tree_of(path)
    assert ast.get_docstring(tree)
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    for node in [*tree.body, *(member for c in classes for member in c.body)]:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if node.name != "forward":
            assert ast.get_docstring(node), f"{name_of(path)}: {node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            typed = all(a.annotation for a in arguments if a.arg not in ("self", "cls"))
            assert typed, f"{name_of(path)}: {node.name} has an untyped argument"


def test_no_file_names_a_path_of_one_machine():
    kinds = ["*.py", "*.md", "*.toml", "*.txt", "*.json"]
    listed = subprocess.run(
        ["git", "ls-files", *kinds], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for file in listed.split():
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(home|root|work)/\w", text) or __file__.endswith(file), (
            file
        )
