"""Checks of lessons 04 and 09 know right from wrong and say why; the toy of lesson 09 is Adam's algorithm."""

import math
from itertools import pairwise

import pytest
import torch

from minimind_lite import evidence, exercises_state, figures_state, optimisers, readings

RECORDS = evidence.recorded()


@pytest.mark.parametrize(("choice", "right", "words"), [
    (None, False, "not yet"), ("held-out loss", True, "rises by"), ("training loss", False, "jumps for both"),
    ("length of the spike", False, "as long as"), ("nonsense", False, "expected one of")])
def test_the_number_that_decides(choice, right, words, capsys):
    assert exercises_state.check_deciding_number(choice, RECORDS) is right and words in capsys.readouterr().out


def test_the_height_of_a_frozen_spike(capsys):
    run = RECORDS.trial("E1", "frozen", 0).run
    first = readings.segments(run)[0]
    right = readings.read(run)[readings.segment_name(first)].height
    step = -(-first.start // 16)
    assert exercises_state.check_frozen_height(right, run) and "nothing was trained" in capsys.readouterr().out
    assert not exercises_state.check_frozen_height(float(run.loss[step]), run) and "subtract the median" in capsys.readouterr().out
    assert not exercises_state.check_frozen_height(right + 1, run) and not exercises_state.check_frozen_height("tall", run)


def test_mystery_runs(capsys):
    right = exercises_state.mystery_cells(4)
    assert sorted(right.values()) == sorted(exercises_state.CAUSES)
    assert exercises_state.check_causes(right, RECORDS, 4)
    a, b = "AB"
    assert not exercises_state.check_causes(right | {a: right[b], b: right[a]}, RECORDS, 4)
    assert capsys.readouterr().out.count("is not") == 2
    assert not exercises_state.check_causes({"A": "both"}, RECORDS, 4) and not exercises_state.check_causes(right | {"A": "bad luck"}, RECORDS, 4)
    assert "Four mystery runs" in exercises_state.mystery(RECORDS, 4).summary


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.9), (0.0, 0.0)])
def test_the_toy_is_torch_s_adam(betas):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    adam, places = torch.optim.Adam([parameter], lr=optimisers.LEARNING_RATE, betas=betas, eps=1e-300), [0.0]
    for gradient in optimisers.toy_gradients():
        parameter.grad = torch.full((1,), gradient, dtype=torch.float64)
        adam.step()
        places.append(float(parameter.detach()))
    assert [a - b for a, b in pairwise(places)] == pytest.approx(list(optimisers.toy_steps(betas)))


def test_adam_by_hand(capsys):
    assert exercises_state.check_adam_step(float(optimisers.toy_steps((0.9, 0.999))[20]))
    assert not exercises_state.check_adam_step(1.0) and "plain gradient descent" in capsys.readouterr().out
    assert not exercises_state.check_adam_step(None) and not exercises_state.check_adam_step(0.3)


def test_plans_and_half_lives(capsys):
    assert exercises_state.check_plan({k: right for k, (right, _) in exercises_state.PLAN.items()})
    assert not exercises_state.check_plan({"A": "go on", "B": "go on", "C": "shuffle"}) and "A: not 'go on'" in capsys.readouterr().out
    assert not exercises_state.check_plan(None) and not exercises_state.check_plan({"A": "go on"})
    assert exercises_state.check_half_lives((math.log(0.5) / math.log(0.999), math.log(0.5) / math.log(0.95)))
    assert not exercises_state.check_half_lives((1000, 20)) and not exercises_state.check_half_lives(3) and not exercises_state.check_half_lives(None)


# The tables of lesson 04


def test_the_tables_hold_what_the_records_hold():
    agreement = figures_state.agreement(RECORDS)
    assert len(agreement) == 5 and all("frozen: above 0 · flagged" in row for row in agreement)
    *states, spread = figures_state.swap_table(RECORDS)
    assert [row["state"] for row in states] == list(figures_state.STATES)
    odd = [row["the segment's first batch"] for row in states]
    assert spread["the segment's first batch"] == pytest.approx(max(odd) - min(odd))
    assert all(row["difference by rows"] == pytest.approx(row["the segment's first batch"] - row["ordinary rows after it"]) for row in states)
    assert {"test", "hard rows", "instability"} == set(figures_state.tell_apart(RECORDS)[0])


def test_training_loss_and_probe_share_their_scale():
    run = RECORDS.trial("E1", "file", 0).run
    above, below = figures_state.with_probe(run, readings.segments(run), title="Both").figure.axes
    span = lambda ax: ax.get_ylim()[1] - ax.get_ylim()[0]
    assert span(above) == pytest.approx(span(below))
