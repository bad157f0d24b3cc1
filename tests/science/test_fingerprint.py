"""The fingerprint sees every module that decides numbers, and no words."""

import shutil
from pathlib import Path

import pytest

from minimind_lite.science import fingerprint
from minimind_lite.science.fingerprint import NOT_NUMERIC, code_fingerprint, numeric_modules

PROCEDURES = "minimind_lite.science.procedures"
RECORDINGS = "minimind_lite.lab.plan"


@pytest.fixture
def package(tmp_path):
    """A copy of the package."""
    folder = tmp_path / "minimind_lite"
    shutil.copytree(fingerprint.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_copy_of_the_package_has_the_same_fingerprint(package):
    assert code_fingerprint(PROCEDURES, package=package) == code_fingerprint(PROCEDURES)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("spikes.py", "THRESHOLD = 6.0", "THRESHOLD = 7.0"),  # E9 decides by it
        ("rows.py", "MULTIPLE = 4", "MULTIPLE = 2"),
        ("science/layouts.py", "GAP = 500, 200", "GAP = 500, 100"),
        ("runs/session.py", "record.step + 1", "record.step"),
        ("optimizer.py", "0.1 + 0.5 * cosine", "0.1 + 0.4 * cosine"),
    ],
)
def test_a_changed_number_anywhere_behind_the_procedures_is_other_code(package, file, old, new):
    before = code_fingerprint(PROCEDURES, package=package)
    change(package / file, old, new)
    assert code_fingerprint(PROCEDURES, package=package) != before


def test_measurements_depend_on_the_token_statistics(package):
    module = "minimind_lite.science.measurements"
    before = code_fingerprint(module, package=package)
    change(package / "science" / "token_stats.py", "(2 * np.log(2))", "(3 * np.log(2))")
    assert code_fingerprint(module, package=package) != before


def test_the_steps_of_the_lab_s_recordings_are_in_theirs(package):
    before = code_fingerprint(RECORDINGS, package=package)
    change(package / "lab" / "plan.py", "PULSE_ROWS = (960, 1024)", "PULSE_ROWS = (960, 1040)")
    assert code_fingerprint(RECORDINGS, package=package) != before


@pytest.mark.parametrize("module", [PROCEDURES, RECORDINGS])
def test_what_decides_numbers_is_found_by_the_imports(module):
    needed = ("config", "chat", "conversations", "order", "rows", "model", "loss", "parallel")
    needed += ("optimizer", "trainer", "records", "files.shipped", "files.model_file")
    assert {f"minimind_lite.{name}" for name in needed} <= set(numeric_modules(module))
    assert "minimind_lite.spikes" in numeric_modules(PROCEDURES)


def test_pictures_lessons_and_verdicts_decide_no_number():
    for module in (PROCEDURES, RECORDINGS):
        for name in numeric_modules(module):
            assert name.split(".")[1] not in ("plots", "lessons", "bench", "cli"), name
            assert name not in ("minimind_lite.science.claims", "minimind_lite.science.rules")


def test_what_is_left_out_is_there():
    for name in NOT_NUMERIC:
        assert fingerprint._path(name, fingerprint.PACKAGE).exists(), name


def test_words_and_layout_do_not_count(tmp_path):
    def code(text: str) -> str:
        (tmp_path / "m.py").write_text(text, encoding="utf-8")
        return fingerprint._code(tmp_path / "m.py")

    plain = code("def f(x):\n    return x + 1\n")
    worded = '"""About."""\n\ndef f(x):\n    """Adds."""\n    # why\n    return (x +\n         1)\n'
    assert plain == code(worded) != code("def f(x):\n    return x + 2\n")
    assert code('def f():\n    """Only words."""\n') == code("def f():\n    pass\n")
