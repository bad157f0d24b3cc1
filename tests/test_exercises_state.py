"""Checks of lessons 04 and 09 know right from wrong and say why; the toy of lesson 09 is Adam's algorithm."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from minimind_lite.lessons import checks_state, optimizers
from minimind_lite.plots import probes
from minimind_lite.records import Run, StepRecord
from minimind_lite.science import evidence, segment_metrics

RECORDS = evidence.recorded()


@pytest.mark.parametrize(
    ("choice", "right", "words"),
    [
        (None, False, "not yet"),
        ("held-out loss", True, "rises by"),
        ("training loss", False, "jumps for both"),
        ("length of the spike", False, "as long as"),
        ("nonsense", False, "expected one of"),
    ],
)
def test_the_number_that_decides(choice, right, words, capsys):
    assert (
        checks_state.check_deciding_number(choice, RECORDS) is right
        and words in capsys.readouterr().out
    )


def test_the_height_of_a_frozen_spike(capsys):
    run = RECORDS.trial("E1", "frozen", 0).run
    first = segment_metrics.segments(run)[0]
    right = segment_metrics.read(run)[segment_metrics.segment_name(first)].height
    step = -(-first.start // 16)
    assert (
        checks_state.check_frozen_height(right, run)
        and "nothing was trained" in capsys.readouterr().out
    )
    assert (
        not checks_state.check_frozen_height(float(run.loss[step]), run)
        and "subtract the median" in capsys.readouterr().out
    )
    assert not checks_state.check_frozen_height(
        right + 1, run
    ) and not checks_state.check_frozen_height("tall", run)


def test_mystery_runs(capsys):
    right = checks_state.mystery_cells(4)
    assert sorted(right.values()) == sorted(checks_state.CAUSES)
    assert checks_state.check_causes(right, RECORDS, 4)
    a, b = "AB"
    assert not checks_state.check_causes(right | {a: right[b], b: right[a]}, RECORDS, 4)
    assert capsys.readouterr().out.count("is not") == 2
    assert not checks_state.check_causes(
        {"A": "both"}, RECORDS, 4
    ) and not checks_state.check_causes(right | {"A": "bad luck"}, RECORDS, 4)
    assert "Four mystery runs" in checks_state.mystery(RECORDS, 4).summary


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.9), (0.0, 0.0)])
def test_the_toy_is_torch_s_adam(betas):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    adam, places = (
        torch.optim.Adam([parameter], lr=optimizers.LEARNING_RATE, betas=betas, eps=1e-300),
        [0.0],
    )
    for gradient in optimizers.toy_gradients():
        parameter.grad = torch.full((1,), gradient, dtype=torch.float64)
        adam.step()
        places.append(float(parameter.detach()))
    assert [a - b for a, b in pairwise(places)] == pytest.approx(list(optimizers.toy_steps(betas)))


def test_adam_by_hand(capsys):
    assert checks_state.check_adam_step(float(optimizers.toy_steps((0.9, 0.999))[20]))
    assert (
        not checks_state.check_adam_step(1.0)
        and "plain gradient descent" in capsys.readouterr().out
    )
    assert not checks_state.check_adam_step(None) and not checks_state.check_adam_step(0.3)


def test_plans_and_half_lives(capsys):
    assert checks_state.check_plan({k: right for k, (right, _) in checks_state.PLAN.items()})
    assert (
        not checks_state.check_plan({"A": "go on", "B": "go on", "C": "shuffle"})
        and "A: not 'go on'" in capsys.readouterr().out
    )
    assert not checks_state.check_plan(None) and not checks_state.check_plan({"A": "go on"})
    assert checks_state.check_half_lives(
        (math.log(0.5) / math.log(0.999), math.log(0.5) / math.log(0.95))
    )
    assert (
        not checks_state.check_half_lives((1000, 20))
        and not checks_state.check_half_lives(3)
        and not checks_state.check_half_lives(None)
    )


# The tables of lesson 04


def test_the_tables_hold_what_the_records_hold():
    agreement = probes.agreement(RECORDS)
    assert len(agreement) == 5 and all("frozen: above 0 · flagged" in row for row in agreement)
    *states, spread = probes.swap_table(RECORDS)
    assert [row["state"] for row in states] == list(probes.STATES)
    odd = [row["the segment's first batch"] for row in states]
    assert spread["the segment's first batch"] == pytest.approx(max(odd) - min(odd))
    assert all(
        row["difference by rows"]
        == pytest.approx(row["the segment's first batch"] - row["ordinary rows after it"])
        for row in states
    )
    assert {"test", "hard rows", "instability"} == set(probes.tell_apart(RECORDS)[0])


def test_training_loss_and_probe_share_their_scale():
    run = RECORDS.trial("E1", "file", 0).run
    above, below = probes.with_probe(run, segment_metrics.segments(run), title="Both").figure.axes
    span = lambda ax: ax.get_ylim()[1] - ax.get_ylim()[0]
    assert span(above) == pytest.approx(span(below))


def test_a_rise_inside_a_segment_counts_from_the_last_measurement_before_it():
    record = lambda step, probe: StepRecord(
        step=step,
        epoch=0,
        samples_seen=2 * step,
        loss=1.0,
        tokens=2,
        lr=0.0,
        grad_norm=0.0,
        micro_losses=np.ones(1),
        rows=np.array([2 * step, 2 * step + 1]),
        sample_losses=np.ones(2),
        sample_tokens=np.ones(2, int),
        seconds=0.0,
        probes={} if probe is None else {"zh": probe},
    )
    measured = {0: 5.0, 2: 4.9, 4: 5.4, 6: 5.1}  # rows 6 .. 11 are steps 3 to 5
    run = Run(
        {
            "segments": [
                {"domain": "math", "start": 6, "stop": 12},
                {"domain": "code", "start": 14, "stop": 16},
            ]
        },
        tuple(record(step, measured.get(step)) for step in range(8)),
    )
    assert probes.inside(run) == {
        "math_tiny": pytest.approx(5.4 - 4.9)
    }  # no measurement inside the code


def test_the_sentences_of_lesson_04_are_those_of_the_records():
    flagged = sum(
        r.flagged
        for s in range(5)
        for r in segment_metrics.read(
            segment_metrics.in_file_order(RECORDS.trial("E1", "shuffled", s).run)
        ).values()
    )
    assert (
        f"shuffled, sorted back: 25 of 25 above zero, {flagged} flagged"
        in probes.agreement_said(RECORDS)
    )
    worst = max(probes.inside(RECORDS.trial("E1", "file", s).run)["zh_classical"] for s in range(5))
    assert f"(at most {worst:.2f})" in probes.inside_said(RECORDS, harm=0.1)
    assert "It never rises by more than 9 nats." in probes.inside_said(RECORDS, harm=9)
    assert "In every state" in probes.swap_said(RECORDS) and str(
        probes.STATES[2]
    ) in probes.swap_said(RECORDS)
    assert probes.view_heights(RECORDS)["frozen"]["code"].n == 5


def test_ticks_follow_the_margins():
    as_declared = probes.tell_apart(RECORDS, spike=0.3, harm=0.1)
    assert as_declared[0]["hard rows"].startswith("✓ spike stays")
    assert probes.tell_apart(RECORDS, spike=9.0, harm=0.1)[0]["hard rows"].startswith(
        "✗ spike stays"
    )


@pytest.mark.parametrize(
    ("height", "rise", "right", "words"),
    [
        (0.9, 0.8, True, "does not say what it is"),
        (2.0, 1.5, False, "smaller factor"),
        (0.1, 0.0, False, "larger factor"),
        (0.9, 0.01, False, "hardly an instability"),
    ],
)
def test_a_twin_is_as_tall_and_hurts(height, rise, right, words, capsys):
    assert (
        checks_state.twin_verdict(height, rise, 0.86) is right and words in capsys.readouterr().out
    )


def test_a_twin_that_is_no_number_is_not_trained(capsys):
    assert not checks_state.check_twin(None, RECORDS, 0) and not checks_state.check_twin(
        1000, RECORDS, 0
    )
    assert (
        not checks_state.check_twin("tall", RECORDS, 0)
        and capsys.readouterr().out.count("expected a number") == 2
    )


def test_an_old_memory_softens_an_odd_gradient_less():
    steps = [optimizers.toy_steps((0.9, 0.999), before=n)[n] for n in (20, 200, 5000)]
    assert steps == sorted(steps) and steps[-1] == pytest.approx(
        0.1 * 1.9 / math.sqrt(1 + 0.001 * 99), rel=0.01
    )  # by hand: old square 1, new 100
