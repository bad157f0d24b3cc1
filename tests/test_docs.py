"""README and docs/ are true: files, commands, tables and numbers equal what they name."""

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path

import docs_tables
import pytest
from docs_tables import BLOCKS

from minimind_lite import __version__
from minimind_lite.cli import parser
from minimind_lite.lab.state import LabState
from minimind_lite.science import claims, evidence, reproduce
from minimind_lite.science.rules import NOT_HERE, UNCLEAR

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "README.zh.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
README, README_ZH = (page.read_text(encoding="utf-8") for page in PAGES[:2])
TEST_COMMAND = "pip install -r requirements.txt && pytest"
START_COMMAND = "pip install -r requirements.txt && jupyter lab notebooks/00_start_here.ipynb"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
# Words that the pages of this project do without.
NOT_OURS = r"\b(knobs?|anew|mend(ed|s)?|elder|hills?|leaps?|odd rows|optimis\w+|colour\w*)\b"


def files():
    """Everything in the repository, by path."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def code_blocks(text):
    return re.findall(r"^```(?:text|python|toml|bash)?\n(.*?)^```", text, re.S | re.M)


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_readme_tree_is_true():
    tree = re.search(r"```text\n(README\.md.*?)```", README, re.S)[1]
    first = {name.split("/")[0] for name in files()} - {".gitignore"}
    for name in first:
        assert re.search(rf"(^|\s){re.escape(name)}", tree, re.M), f"{name} is not in the tree"
    for line in tree.splitlines():
        name = line.split()[0].rstrip("/")
        shelf = line.startswith("  ")
        assert (ROOT / "minimind_lite" / name if shelf else ROOT / name).exists(), name
    shelves = set(re.findall(r"^  (\w+)/", tree, re.M))
    assert shelves == {p.parent.name for p in (ROOT / "minimind_lite").glob("*/__init__.py")}


def test_architecture_names_every_module_of_the_root_and_every_shelf():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    root, shelves = text.split("## The shelves")
    modules = {p.stem for p in (ROOT / "minimind_lite").glob("*.py")} - {"__init__", "__main__"}
    assert set(re.findall(r"^\| `(\w+)` \|", root, re.M)) == modules
    folders = {p.parent.name for p in (ROOT / "minimind_lite").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/` \|", shelves, re.M)) == folders


def test_paths_that_architecture_names_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.(?:py|toml))`", text):
        exists = (ROOT / "minimind_lite" / name).exists() or (ROOT / name).exists()
        assert exists or "NN" in name, name
    for name, function in re.findall(r"`([\w/]+\.py)`, `(\w+)`", text):
        source = (ROOT / "minimind_lite" / name).read_text(encoding="utf-8")
        assert f"\ndef {function}(" in source, (name, function)


def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings
            }


def test_files_that_pages_name_exist(page):
    for path in re.findall(
        r"\b(?:notebooks|data|tests|docs|minimind_lite)/[\w/.-]+\.\w+", page.read_text("utf-8")
    ):
        assert "NN" in path or (ROOT / path).exists(), f"{page.name} names {path}"


def test_commands_parse(page):
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"python -m minimind_lite ([^`\n]*)", text):
        words = shlex.split(line, comments=True)
        if "COMMAND" not in words:
            assert parser().parse_args(words), line


def test_the_two_commands_are_in_both_languages():
    for text in (README, README_ZH):
        assert f"\n{START_COMMAND}\n" in text and f"\n{TEST_COMMAND}\n" in text


def test_continuous_integration_runs_the_test_command():
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").count(f"\n{TEST_COMMAND}\n") == 1


@pytest.mark.parametrize("file, name", [(f, n) for f, names in BLOCKS.items() for n in names])
def test_tables_are_those_of_the_records(file, name):
    assert docs_tables.block(file, name) == BLOCKS[file][name](), "python tests/docs_tables.py"


def lesson_title(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = "".join(cells[0]["source"]).splitlines()[0]
    return re.fullmatch(r"# (\w+) · (.*)", first).groups()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_lesson_has_its_line(path):
    number, title = lesson_title(path)
    link = f"[{number}](notebooks/{path.name})"
    row = re.search(rf"^\| {re.escape(link)} \| {re.escape(title)} \| (\d+) \|$", README, re.M)
    head = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    assert row and f"take about {row[1]} minutes" in head
    assert f"| {link} |" in README_ZH


def test_states_of_the_lab_can_be_opened(page):
    for state in re.findall(r'from_state\("([^"]*)"', page.read_text(encoding="utf-8")):
        assert LabState.from_string(state)


def test_python_in_pages_is_python(page):
    for source in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M):
        ast.parse(source)


def test_pictures_have_words(page):
    for words, path in re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text(encoding="utf-8")):
        assert len(words) >= 10, path


def test_pages_speak_plainly(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->|```.*?```|`[^`]*`", "", text, flags=re.S)
    assert not re.search(NOT_OURS, prose, re.I), re.search(NOT_OURS, prose, re.I)


def test_readme_numbers_are_those_of_the_records():
    runs = reproduce.recorded()
    summaries = {name: reproduce.summarize(run) for name, run in runs.items()}
    assert len(summaries["file"].events) == len(summaries["frozen"].events) == 5
    shuffled = [s for name, s in summaries.items() if name.startswith("shuffled")]
    assert len(shuffled) == 5 and not any(s.events for s in shuffled)
    assert sum(len(record.rows) for record in runs["file"].records) == 2224
    for text in (README, README_ZH):
        assert "2,224" in text
    assert len(claims.CLAIMS) == 16 + 6 and "sixteen claims; we add six" in README
    board = claims.scoreboard(evidence.recorded())
    untested = [v for v in board if v.outcome == NOT_HERE]
    open_ones = [v for v in board if v.outcome == UNCLEAR and v.claim.id[0] != "N"]
    assert len(open_ones) == 2 and "two of those stay open" in README
    assert len(untested) == 1 and "Fifteen of the sixteen could be tested" in README
    half_life = re.search(r"halved after (\d+) ", docs_tables.block("docs/results.md", "half-life"))
    assert half_life and all(f"{half_life[1]} " in text for text in (README, README_ZH))
    price = evidence.change(evidence.held_out_off_domain)
    cost = evidence.recorded().over_seeds(price, ("E1", "file"), ("E1", "shuffled"))
    dent = re.search(
        r"classical Chinese \| \S+ \S+ \S+ \| \+(\S+)",
        docs_tables.block("docs/results.md", "findings"),
    )[1]
    for text in (README, README_ZH):
        assert f"{cost.mean:.2f} nat" in text.replace("\u3000", " ")
        assert f"{float(dent):.2f} nat" in text


def test_the_version_to_cite_is_this_one():
    assert f"version {__version__} (" in README


def test_no_file_names_a_path_of_one_machine():
    for name in files():
        if name.endswith((".py", ".md", ".toml", ".txt")) and name != "tests/test_docs.py":
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(r"/(home|root|work|tmp)/\w", text), name
