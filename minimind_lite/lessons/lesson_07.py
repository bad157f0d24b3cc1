"""Lesson 07: a batch in pieces: its loss, its memory and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minimind_lite.lessons.checks import Exercise, is_number, is_whole
from minimind_lite.science import laws

# Three micro-batches: supervised tokens and mean loss of each
THREE = ((100, 2.0), (20, 3.0), (5, 6.0))
STEPS = ((5, 1), (10, 990), (4, 4, 4), (7, 0, 3), (17, 60, 3, 88, 41))  # tokens of micro-batches


def check_two_averages(mean_of_means: object, token_mean: object) -> bool:
    """Both averages of the micro-batches `THREE`, to two digits."""
    exercise = Exercise("07-1")
    if mean_of_means is None or token_mean is None:
        return exercise.refuse(None)
    if not is_number(mean_of_means) or not is_number(token_mean):
        return exercise.refuse((mean_of_means, token_mean))
    n, m = np.array(THREE).T
    usual, right, problems = laws.mean_of_means(n * m, n), laws.token_mean(n * m, n), []
    if abs(mean_of_means - usual) > 0.006:
        problems.append(exercise.say("mean_of_means", value=mean_of_means, n=len(n)))
    if abs(token_mean - right) > 0.006:
        slip = exercise.texts["same"] if abs(token_mean - usual) <= 0.006 else ""
        problem = exercise.say("token_mean", value=token_mean, slip=slip, tokens=n.sum())
        problems.append(problem)
    return exercise.verdict(problems, usual=usual, right=right, first=n[0], last=n[-1])


def check_largest_micro_batch(answer: object, memory: Mapping[str, Any], *, limit: float) -> bool:
    """The largest audited micro-batch with which all memory stays within `limit` bytes.

    `memory` is what the audit measured: bytes of weights, gradients, optimizer and activations.
    """
    exercise = Exercise("07-2")
    activations = {int(size): used for size, used in memory["activations"].items()}
    if not is_whole(answer) or answer not in activations:
        return exercise.refuse(answer)
    fixed = sum(used for part, used in memory.items() if part != "activations")
    total = {size: fixed + used for size, used in activations.items()}
    right = max(size for size, used in total.items() if used <= limit)
    forgot = exercise.texts["forgot"] if activations[answer] <= limit else ""
    values = {"size": answer, "needed": total[answer] / 1e6, "limit": limit / 1e6}
    problems = []
    if answer < right:
        problems.append(exercise.say("small", **values))
    if answer > right:
        problems.append(exercise.say("large", forgot=forgot, **values))
    return exercise.verdict(problems, right=right, limit=limit / 1e6, fixed=fixed / 1e6)


def check_weight(answer: object) -> bool:
    """What the mean loss of a micro-batch is to be multiplied by.

    The answer is a function of its tokens, the tokens of the step, and the micro-batches K.
    """
    exercise = Exercise("07-3")
    if not callable(answer):
        return exercise.refuse(answer)
    rng, problems = np.random.default_rng(0), []
    for tokens in STEPS:
        n, means = np.array(tokens), rng.uniform(1, 6, len(tokens))
        try:
            loss = _weighted(answer, tokens, means)
        except Exception as error:  # whatever a learner's function may do, Run All goes on
            return exercise.verdict([exercise.say("failed", tokens=tokens, error=repr(error))])
        right, usual = laws.token_mean(n * means, n), (means[n > 0].mean(), means.mean())
        if not abs(loss - right) <= 1e-9:  # so that NaN is wrong
            is_usual = any(abs(loss - mean) < 1e-9 for mean in usual)
            slip = exercise.texts["mean_of_means"] if is_usual else ""
            problem = exercise.say("wrong", tokens=tokens, loss=loss, right=right, slip=slip)
            problems.append(problem)
    return exercise.verdict(problems[:2])


def _weighted(weight: Callable[..., Any], tokens: Sequence[int], means: np.ndarray) -> float:
    loss = 0.0
    for n, mean in zip(tokens, means):
        if n > 0:  # a micro-batch without supervised tokens has no mean
            loss += float(weight(n, sum(tokens), len(tokens))) * mean
    return loss
