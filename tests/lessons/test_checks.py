"""What all checks share; every check of every lesson against nonsense; keys against notebooks."""

import ast
import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest

from minimind_lite.lessons import checks
from minimind_lite.science import evidence
from minimind_lite.segments import of_run

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LESSONS = [path.stem[:2] for path in NOTEBOOKS]
RECORDS = evidence.recorded()
FILE = RECORDS.trial("E1", "file", 0).run
MEMORY = {"weights": 2, "gradients": 2, "optimizer": 4, "activations": {"4": 40, "2": 20, "1": 10}}
LINES = ["Epoch:[1/1](0/40) loss:0.500 lr:0.1", "Epoch:[1/1](16/40) loss:0.900 lr:0.1"]
# What each check needs beside the answer
ARGUMENTS = {
    "00:check_row_in_first_spike": ((FILE,), {}),
    "03:check_hardest_line": ((FILE,), {}),
    "03:check_log_shows_segment": ((FILE,), {"segment": of_run(FILE)[0], "interval": 4}),
    "04:check_deciding_number": ((RECORDS,), {}),
    "04:check_frozen_height": ((RECORDS.trial("E1", "frozen", 0).run,), {}),
    "04:check_causes": ((RECORDS,), {"seed": 0}),
    "04:check_twin": ((RECORDS,), {"seed": 0}),
    "05:check_dispersion": (([1, 0, 1, 0],), {"batch_size": 2}),
    "07:check_largest_micro_batch": ((MEMORY,), {"limit": 45}),
    "08:check_log": ((LINES,), {"accumulation_steps": 8, "batch_size": 16, "every": 32}),
    "08:check_log_interval": ((64,), {"batch_size": 16, "at_least": 0.9}),
    "12:check_state": (("B",), {}),
}


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no text")


NONSENSE = [
    "12",
    "x",
    "",
    b"x",
    True,
    -1,
    -1e308,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    10**5000,
    1 + 2j,
    [],
    [None],
    ["a", "b"],
    ("a", "b"),
    (692, None),
    (float("nan"), float("nan")),
    (-1e308, -1e308),
    {},
    {"A": []},
    {1: 2},
    {"a", "b"},
    np.array([1, 2]),
    np.array(["a", "b"]),
    np.array(7.0),
    object(),
    Unprintable(),
    len,
    lambda *_: float("nan"),
    lambda *_: "text",
]


def all_checks():
    """Every check of every lesson as a function of the answer alone."""
    found = {}
    for lesson in LESSONS:
        module = importlib.import_module(f"minimind_lite.lessons.lesson_{lesson}")
        for name, check in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("check_") and check.__module__ == module.__name__:
                found[f"{lesson}:{name}"] = with_arguments(check, lesson, name)
    return found


def with_arguments(check, lesson, name):
    if name == "check_two_averages":
        return lambda answer: check(answer, answer)
    key = f"{lesson}:{name}"
    positional, keywords = ARGUMENTS.get(key, ((), {}))
    return lambda answer: check(answer, *positional, **keywords)


CHECKS = all_checks()


def test_there_is_a_check_for_every_exercise_but_the_report():
    """Lesson 12's third exercise is a report in the learner's own words."""
    assert len(CHECKS) == 31


@pytest.mark.parametrize("name", CHECKS)
def test_an_untouched_exercise_is_not_answered_yet(name, capsys):
    assert CHECKS[name](None) is False
    assert capsys.readouterr().out == f"○ {checks.NOT_YET}\n"


@pytest.mark.parametrize("name", CHECKS)
def test_nonsense_stops_nothing_and_is_told_what_was_expected(name, capsys):
    """A wrong answer of a wrong type stopped Run All with a TypeError or AttributeError."""
    for nonsense in NONSENSE:
        assert CHECKS[name](nonsense) is False, checks.short(nonsense)
        out = capsys.readouterr().out
        assert out.startswith(("✗", "○", "line ")), checks.short(nonsense)
        assert len(out.splitlines()[0]) < 400


TABLES = {
    "04:check_causes": "ABCD",
    "08:check_log": ("first_loss", "conversations_between", "highest_line"),
    "08:check_causes": ("minimind #241", "alpaca-lora #246"),
    "09:check_plan": "ABC",
    "12:check_mysteries": "ABCDEF",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("value", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_in_a_table_is_named_by_its_key(name, value, capsys):
    first, *others = TABLES[name]
    assert CHECKS[name]({first: value}) is False
    out = capsys.readouterr().out
    assert out.startswith(f"✗ {first}: ") and f"{others[0]}: not answered yet." in out


# The shared parts


@pytest.fixture
def exercise():
    return checks.Exercise("06-1")


def test_a_number_is_right_within_its_tolerance(exercise, capsys):
    values = {"small": 4, "large": 64}
    assert exercise.check_number(4.04, 4, tolerance=0.05, values=values)
    assert not exercise.check_number(4.06, 4, tolerance=0.05, values=values)
    assert "✗ 4.06 is not it. The deviation" in capsys.readouterr().out


def test_a_slip_gets_its_own_advice(exercise, capsys):
    assert not exercise.check_number(16, 4, tolerance=0.05, slips={"no_root": 16, "inverse": 2})
    assert "noise goes with its square root" in capsys.readouterr().out


@pytest.mark.parametrize("value", [2, 2.0, np.int64(2), np.float32(2.0)])
def test_numbers_of_numpy_are_numbers(value):
    assert checks.is_number(value) and checks.is_whole(value)
    assert checks.is_number(2.5) and not checks.is_whole(2.5)


def test_letters_may_be_capital():
    right = {"x": "a"}
    assert checks.Exercise("08-2").check_causes({"x": "A"}, right)


# Keys


def sources(path):
    """Sources of the code cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def calls(path, name):
    """Calls of `lessons.<name>` in a notebook, as syntax trees."""
    nodes = [node for source in sources(path) for node in ast.walk(ast.parse(source))]
    wanted = [node for node in nodes if isinstance(node, ast.Call)]
    return [node for node in wanted if ast.unparse(node.func) == f"lessons.{name}"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=LESSONS)
def test_an_answer_cell_holds_a_key_and_nothing_else(path):
    """Folded cells show their first line in JupyterLab, and static viewers show all of them."""
    cells = [source for source in sources(path) if "lessons.answer" in source]
    keys = [f'lessons.answer("{path.stem[:2]}-{n}")' for n in range(1, len(cells) + 1)]
    assert cells == keys


@pytest.mark.parametrize("path", NOTEBOOKS, ids=LESSONS)
def test_no_reveal_holds_explanations(path):
    """A list of what to say of every wrong letter tells the right one."""
    reveals = [s for s in sources(path) if ".reveal(" in s]
    for node in (n for source in reveals for n in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".reveal"):
            assert len(node.args) == 2 and not node.keywords


@pytest.mark.parametrize("path", NOTEBOOKS, ids=LESSONS)
def test_every_key_exists_and_none_is_unused(path):
    lesson = path.stem[:2]
    text = (Path(checks.__file__).parent / "texts" / f"{lesson}.toml").read_text(encoding="utf-8")
    tables = checks.tomllib.loads(text)
    answers = [ast.literal_eval(call.args[0]) for call in calls(path, "answer")]
    predictions = [ast.literal_eval(call.args[0]) for call in calls(path, "predict")]
    assert answers == [f"{lesson}-{number}" for number in tables["exercises"]]
    assert predictions == [f"{lesson}-{name}" for name in tables["predictions"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=LESSONS)
def test_explanations_belong_to_choices(path):
    for call in calls(path, "predict"):
        [choices] = [keyword.value for keyword in call.keywords if keyword.arg == "choices"]
        explanations = checks.texts(ast.literal_eval(call.args[0]), "predictions")
        assert set(explanations) <= set("abcdefgh"[: len(choices.elts)])
        assert len(explanations) >= len(choices.elts) - 1
