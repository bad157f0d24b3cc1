"""Lesson 09: the toy is Adam's algorithm; steps, plans and half-lives are checked."""

import math
from itertools import pairwise

import pytest
import torch
from plots.toy import toy_run

from minimind_lite.lessons import lesson_09 as lesson
from minimind_lite.records import Run
from minimind_lite.science import evidence


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.9), (0.0, 0.0)])
def test_the_toy_is_torch_s_adam(betas):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    adam = torch.optim.Adam([parameter], lr=lesson.LEARNING_RATE, betas=betas, eps=1e-300)
    places = [0.0]
    for gradient in lesson.toy_gradients():
        parameter.grad = torch.full((1,), gradient, dtype=torch.float64)
        adam.step()
        places.append(float(parameter.detach()))
    assert [a - b for a, b in pairwise(places)] == pytest.approx(list(lesson.toy_steps(betas)))


def test_an_old_memory_softens_an_unusual_gradient_less():
    """By hand: the old mean square is 1, the new 100."""
    steps = [lesson.toy_steps((0.9, 0.999), before=n)[n] for n in (20, 200, 5000)]
    by_hand = 0.1 * 1.9 / math.sqrt(1 + 0.001 * 99)
    assert steps == sorted(steps) and steps[-1] == pytest.approx(by_hand, rel=0.01)


def test_the_toy_plot_says_both_steps():
    steps = {name: lesson.toy_steps(betas) for name, betas in lesson.RULES.items()}
    plot = lesson.toy_plot(steps, title="Toy")
    assert "The usual step is 0.1. plain gradient descent: 1.000 at the unusual step, 0.100" in (
        plot.summary
    )
    assert plot.png()
    labels = plot.figure.axes[0].get_yticklabels(which="both")
    assert not any("$" in label.get_text() for label in labels)


def test_a_step_by_hand(capsys):
    assert lesson.check_adam_step(float(lesson.toy_steps((0.9, 0.999))[20]))
    assert not lesson.check_adam_step(1.0)
    assert "plain gradient descent" in capsys.readouterr().out
    assert not lesson.check_adam_step(0.3)
    assert "about 1.9 and the mean square about 5.7" in capsys.readouterr().out


def test_plans(capsys):
    assert lesson.check_plan(lesson.PLAN)
    assert not lesson.check_plan({"A": "go on", "B": "go on", "C": "shuffle"})
    advice = capsys.readouterr().out
    assert "A: not 'go on': held-out loss rose as well" in advice
    assert "B: not 'go on': the spike comes back by position" in advice
    assert not lesson.check_plan({"A": "roll back"})
    assert "B: not answered yet." in capsys.readouterr().out


def test_the_dent_after_classical_chinese_is_deepest_under_adam():
    records, frozen = evidence.recorded(), ("E1", "frozen")
    adam, sgd = (
        lesson.dent_after_classical(records, which, frozen)
        for which in (("E1", "file"), ("E3", "sgd"))
    )
    assert adam.above(0) and sgd.above(0) and adam.mean > sgd.mean


def test_half_lives(capsys):
    right = tuple(math.log(0.5) / math.log(beta) for beta in lesson.BETAS)
    assert lesson.check_half_lives(right) and lesson.check_half_lives([693, 13.5])
    assert "about 693 and 13.5 steps" in capsys.readouterr().out
    assert not lesson.check_half_lives((1000, 20))
    assert "0.999 to the power 1000 is 0.37, not one half" in capsys.readouterr().out


def test_half_lives_that_are_no_numbers_are_wrong(capsys):
    """NaN was accepted as right: no difference from it is too large."""
    assert not lesson.check_half_lives((float("nan"), float("nan")))
    assert "expected two numbers of steps" in capsys.readouterr().out


def test_a_run_with_rollbacks_shows_the_last_version_of_each_step():
    run, other = toy_run(), toy_run(3.0)
    both = Run({}, (*run.records[:10], *other.records[5:]))
    shown = lesson.last_version(both)
    assert shown.column("step").tolist() == list(range(40))
    assert shown.loss[4] == run.loss[4] and shown.loss[5] == other.loss[5]
