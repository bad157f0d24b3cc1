"""What is said of how a run comes back: differences, the table, the file, and the child process."""

import json
import sys

import pytest

from minimind_lite.bench import one_pass, reproducibility
from minimind_lite.bench.one_pass import Pass
from minimind_lite.bench.reproducibility import Case, Row
from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped

SHORT = {"max_steps": 2}


def passed(losses, *, height=1.0, zh=2.0, weights="a") -> Pass:
    return Pass(losses, {"en": height}, {"zh": zh}, weights, {})


def test_differences_are_the_largest_so_far():
    a, b = [1.0] * 60, [1.0] * 60
    b[0], b[9], b[10], b[50] = 1.5, 0.0, 3.0, 6.0
    assert reproducibility.differences(a, b) == {"1": 0.5, "10": 1.0, "40": 2.0, "all": 5.0}


def test_a_row_has_the_largest_difference_of_a_height_and_of_a_held_out_loss():
    row = reproducibility.row_of("x", passed([1.0, 2.0]), passed([1.0, 2.5], height=0.5, zh=2.25))
    assert (row.losses["1"], row.losses["all"], row.height, row.held_out) == (0.0, 0.5, 0.5, 0.25)
    assert not row.same_bits


def test_the_same_bits_are_the_losses_and_the_weights():
    same, other = passed([1.0, 2.0]), passed([1.0, 2.0], weights="b")
    assert reproducibility.row_of("x", same, same).same_bits
    assert not reproducibility.row_of("x", same, other).same_bits


def test_the_table_says_what_is_the_same_and_how_far_the_rest_is():
    losses = {"1": 0.0, "10": 1.2e-7, "40": 2e-7, "all": 0.0081}
    rows = [Row("again", dict.fromkeys(losses, 0.0), 0.0, 0.0, True)]
    rows.append(Row("bf16", losses, 0.02, 0.003, False))
    _, _, again, bf16 = reproducibility.table(rows).splitlines()
    assert again.startswith("| again | the same to the last bit |")
    assert bf16 == "| bf16 | 0 | 1e-07 | 2e-07 | 0.008 | 0.02 | 0.003 |"
    assert again.count("|") == bf16.count("|")


def test_figures_come_back_from_their_file(tmp_path):
    rows = [Row("again", {"1": 0.0, "all": 0.0}, 0.0, 0.0, True)]
    reproducibility.save(tmp_path / "a.json", rows, rows * 2)
    environment, one, two = reproducibility.load(tmp_path / "a.json")
    assert (one, two) == (rows, rows * 2) and "torch" in environment


def test_every_case_is_recorded_and_threads_up_to_four_change_no_bit():
    environment, rows, recorded = reproducibility.load(shipped.folder() / reproducibility.FILE)
    titles = [row.title for row in rows]
    ours = [case.title for case in reproducibility.cases() if "AVX2" not in case.title]
    assert set(ours) < set(titles) and any("PyTorch" in title for title in titles)
    assert environment["torch"] and len(recorded) == 2
    exact = {row.title for row in rows if row.same_bits}
    assert {f"`MINIMIND_LITE_WORKERS={n}`" for n in (1, 2, 3, 4)} < exact
    inexact = [r for r in (*rows, *recorded) if not r.same_bits and "bf16" not in r.title]
    assert inexact and all(max(r.losses["all"], r.height, r.held_out) < 1e-6 for r in inexact)


def test_trials_of_every_processor_are_trained_again():
    chosen = reproducibility.trials()
    assert len(chosen) == 8 and len({reproducibility.processor_of(t) for t in chosen}) == 2
    assert {trial.variant for trial in chosen} == {"file", "shuffled"}


def test_a_process_trains_what_it_is_asked_under_its_own_variables(monkeypatch):
    case = Case("three", {"MINIMIND_LITE_WORKERS": "3"}, SHORT)
    there = reproducibility.run_child(case)
    assert there.environment["workers"] == 3 and len(there.losses) == 2
    monkeypatch.setenv("MINIMIND_LITE_WORKERS", "2")
    here = one_pass.one_pass(TrainConfig(**SHORT))
    # JSON keeps every bit, and three workers have those of two.
    assert reproducibility.row_of("x", there, here).same_bits
    textbook = one_pass.one_pass(TrainConfig(**SHORT), fast=False)
    assert textbook.weights != here.weights
    assert textbook.losses == pytest.approx(here.losses, abs=1e-5)


def test_what_the_process_prints_is_json(capsys):
    one_pass.main([json.dumps({"config": {"max_steps": 1}, "fast": True})])
    assert len(json.loads(capsys.readouterr().out)["losses"]) == 1


def test_another_interpreter_must_have_torch(tmp_path):
    assert reproducibility.torch_of(sys.executable)
    with pytest.raises(ValueError, match="must be a Python that can import torch"):
        reproducibility.torch_of(str(tmp_path / "python"))
