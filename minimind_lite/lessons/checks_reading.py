"""Checks of the exercises of lessons 07 and 08: averages of micro-batches, memory, logs, field cases.

As in `exercises`: an untouched exercise (None) says "not yet", a check works the right answer out
from the data, says what is wrong, and never stops "Run All". Each returns True where it is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minimind_lite.lessons.base import verdict
from minimind_lite.lessons.checks import NOT_YET, is_number, one_by_one
from minimind_lite.science import laws

# Lesson 07: three micro-batches, supervised tokens and token means
THREE = ((100, 2.0), (20, 3.0), (5, 6.0))
# Lesson 08: public threads, what was seen, and the letter of the cause
CAUSES = {
    "a": "the last micro-batch is what is logged",
    "b": "rows sorted by length, so that the curve follows the sort key",
    "c": "the file is two sources, one after the other",
    "d": "a learning rate far too small, under unaveraged noise",
    "e": "a true instability of the optimiser",
}
FIELD = {"minimind #241": "a", "alpaca-lora #246": "b", "minimind #455": "c", "minimind #566": "d"}


# Lesson 07


def check_two_averages(mean_of_means: float | None, token_mean: float | None) -> bool:
    """Lesson 07: both averages of the micro-batches `THREE`, to two digits."""
    if mean_of_means is None or token_mean is None:
        return verdict([NOT_YET], "")
    if not (is_number(mean_of_means) and is_number(token_mean)):
        return verdict([f"expected two numbers, got {mean_of_means!r} and {token_mean!r}."], "")
    n, m = np.array(THREE).T
    usual, right = laws.mean_of_means(n * m, n), laws.token_mean(n * m, n)
    problems = []
    if abs(mean_of_means - usual) > 0.006:
        problems.append(
            f"mean of means: {mean_of_means:g} is not it. Add the {len(n)} means and divide by {len(n)}; tokens play no part in it."
        )
    if abs(token_mean - right) > 0.006:
        slip = "That is the mean of means again. " if abs(token_mean - usual) <= 0.006 else ""
        problems.append(
            f"token mean: {token_mean:g} is not it. {slip}Each micro-batch's summed loss is tokens x mean; "
            f"add these sums and divide by all {n.sum():g} tokens."
        )
    return verdict(
        problems,
        f"Right: {usual:.2f} and {right:.2f}. The {n[-1]:g} tokens of the last count as much as the {n[0]:g} of the first "
        "in the mean of means.",
    )


def check_largest_micro_batch(size: int | None, memory: Mapping[str, object], limit: float) -> bool:
    """Lesson 07: the largest audited micro-batch with which all memory (bytes) stays within `limit` bytes."""
    if size is None:
        return verdict([NOT_YET], "")
    fixed, activations = (
        sum(memory[k] for k in ("weights", "gradients", "optimiser")),
        memory["activations"],
    )
    if str(size) not in activations:
        return verdict(
            [f"choose one of the audited sizes, {', '.join(activations)}, got {size!r}."], ""
        )
    total = {int(k): fixed + v for k, v in activations.items()}
    right = max(k for k, v in total.items() if v <= limit)
    problem = (
        f"with {size}, {total[int(size)] / 1e6:.1f} MB are needed, and there are {limit / 1e6:.1f}."
    )
    if int(size) < right:
        problem = (
            f"{size} fits ({total[int(size)] / 1e6:.1f} MB), but something larger fits as well."
        )
    elif int(size) > right and activations[str(size)] <= limit:
        problem += " Did you forget weights, gradients and optimiser? They do not shrink."
    return verdict(
        [] if int(size) == right else [problem],
        f"Right: {right}. Of the {limit / 1e6:.1f} MB, {fixed / 1e6:.1f} are taken before the first conversation is read.",
    )


def check_weight(weight: Callable[[int, int, int], float] | None) -> bool:
    """Lesson 07: what the mean loss of a micro-batch is to be multiplied by, from its tokens, those of the step, and the micro-batches K."""
    if weight is None:
        return verdict([NOT_YET], "")
    if not callable(weight):
        return verdict(
            [f"expected a function such as lambda n, total, K: ..., got {weight!r}."], ""
        )
    rng, problems = np.random.default_rng(0), []
    for counts in ([5, 1], [10, 990], [4, 4, 4], [7, 0, 3], rng.integers(1, 100, 8).tolist()):
        n, means = np.array(counts), rng.uniform(1, 6, len(counts))
        try:
            found = sum(
                float(weight(int(k), int(n.sum()), len(n))) * m for k, m in zip(n, means) if k
            )
        except Exception as error:  # whatever a learner's function may do, Run All goes on
            return verdict([f"your function failed on tokens {counts}: {error!r}."], "")
        right = laws.token_mean(n * means, n)
        if abs(found - right) > 1e-9:
            usual = (
                " That is the mean of means."
                if abs(found - means[n > 0].mean()) < 1e-9 or abs(found - means.mean()) < 1e-9
                else ""
            )
            problems.append(
                f"tokens {counts}: your weights give {found:.3f}, the whole batch has {right:.3f}.{usual}"
            )
    return verdict(
        problems[:2],
        "Right: with these weights any cut has the loss, and so the gradient, of the whole batch.",
    )


# Lesson 08


def check_log(
    answers: Mapping[str, float | int | None],
    lines: Sequence[str],
    accumulation_steps: int,
    batch_size: int,
    every: int,
) -> bool:
    """Lesson 08: read off a MiniMind log: the true loss of its first line, conversations between two lines, line (from 0) of the highest value."""
    if all(v is None for v in answers.values()):
        return verdict([NOT_YET], "")
    values = [float(re.search(r"loss:([\d.]+)", line)[1]) for line in lines]
    between = every * batch_size // accumulation_steps
    right = {
        "first_loss": values[0] * accumulation_steps,
        "conversations_between": between,
        "highest_line": int(np.argmax(values)),
    }
    advice = {
        "first_loss": f"The script divided by {accumulation_steps} before it printed: multiply back.",
        "conversations_between": f"The number in brackets counts micro-batches; {accumulation_steps} of them are one batch of {batch_size}.",
        "highest_line": "Count lines from 0, and look for the largest loss.",
    }

    def wrong(name: str, given: object, value: float) -> str:
        close = is_number(given) and abs(given - value) <= (0.06 if name == "first_loss" else 0)
        return "" if close else f"{given!r} is not it. {advice[name]}"

    problems = one_by_one(answers, right, wrong)
    shown = batch_size // accumulation_steps
    return verdict(
        problems,
        f"Right: {right['first_loss']:.2f} nats, a line for every {between} conversations, and line "
        f"{right['highest_line']} is the highest. Each line shows {shown} conversations of these {between}.",
    )


def check_causes(causes: Mapping[str, str | None]) -> bool:
    """Lesson 08: the letter of the likely cause (`CAUSES`) of each case of `FIELD`."""
    if all(causes.get(case) is None for case in FIELD):
        return verdict([NOT_YET], "")
    hints = {
        "a": "What does one printed value stand for, when 32 micro-batches make a step?",
        "b": "What repeats with a period, and what does the flag do to the order?",
        "c": "A spike comes back down. This does not: what begins in the middle of the file?",
        "d": "How far can the weights move at such a rate?",
    }

    def wrong(case: str, given: object, right: str) -> str:
        if given not in CAUSES:
            return f"choose one of the letters {', '.join(CAUSES)}, got {given!r}."
        return "" if given == right else f"hardly {CAUSES[given]}. {hints[right]}"

    problems = one_by_one(causes, FIELD, wrong)
    return verdict(
        problems,
        "Right, all four: "
        + "; ".join(f"{case}: {CAUSES[right]}" for case, right in FIELD.items())
        + ".",
    )


def check_log_interval(every: int | None, length: int, batch_size: int, *, at_least: float) -> bool:
    """Lesson 08: the longest log interval with which a segment of `length` rows is touched with probability `at_least`."""
    if every is None:
        return verdict([NOT_YET], "")
    if not is_number(every) or every != int(every) or every < 1:
        return verdict([f"expected a whole number of steps, 1 or more, got {every!r}."], "")
    right = max(
        i
        for i in range(1, length + batch_size)
        if laws.logged_touch(length, batch_size, every=i) >= at_least
    )
    shown = laws.logged_touch(length, batch_size, every=int(every))
    judged = "too rarely." if every > right else "enough, but a longer interval is, too."
    problem = f"with one step in {every} it is seen with probability {shown:.0%}: {judged}"
    return verdict(
        [] if every == right else [problem],
        f"Right: one step in {right} ({laws.logged_touch(length, batch_size, every=right):.0%}); with {right + 1} it would be "
        f"{laws.logged_touch(length, batch_size, every=right + 1):.0%}.",
    )
