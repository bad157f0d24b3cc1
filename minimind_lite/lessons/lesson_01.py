"""Lesson 01: what is in the data, and which tokens are supervised."""

from __future__ import annotations

import tempfile
from pathlib import Path

from minimind_lite.files import shipped
from minimind_lite.files.jsonl import BadLine, ReadReport, read
from minimind_lite.lessons.checks import Exercise, is_whole
from minimind_lite.segments import domain_name, domains

# Two rounds, so that a header, a newline and an end token come on both sides of the mask.
TWO_ROUNDS = (("user", "3+4?"), ("assistant", "7"), ("user", "7+1?"), ("assistant", "8"))


def check_supervised(answer: object) -> bool:
    """Positions (from 0) of the supervised tokens of `TWO_ROUNDS`."""
    exercise = Exercise("01-1")
    if not isinstance(answer, (list, tuple, set)) or not all(is_whole(p) for p in answer):
        return exercise.refuse(answer)
    chat = shipped.chat()
    ids, mask = chat.encode(TWO_ROUNDS)
    right, given = {i for i, flag in enumerate(mask) if flag}, {int(p) for p in answer}
    problems = []
    for p in sorted(given - right):
        if not 0 <= p < len(ids):
            problems.append(exercise.say("outside", p=p, last=len(ids) - 1))
            continue
        after_answer = p > 0 and mask[p - 1]
        why = "newline" if after_answer else "other"
        why = exercise.texts["end_of_user" if ids[p] == chat.end_id else why]
        token = chat.decode([ids[p]])
        problems.append(exercise.say("not_supervised", p=p, token=token, why=why))
    for p in sorted(right - given):
        why = exercise.texts["end_of_answer" if ids[p] == chat.end_id else "content"]
        problems.append(exercise.say("missing", p=p, token=chat.decode([ids[p]]), why=why))
    return exercise.verdict(problems, n=len(right), total=len(ids))


def check_longest_row(answer: object) -> bool:
    """The row (from 0) of data/sft.jsonl with the most tokens."""
    exercise = Exercise("01-2")
    if not is_whole(answer):
        return exercise.refuse(answer)
    lengths = shipped.sft_rows(shipped.chat(), max_len=1 << 30).lengths()
    row, longest, problems = int(answer), int(lengths.argmax()), []
    if row == lengths.max():
        problems.append(exercise.say("length", row=row))
    elif row == longest + 1:
        problems.append(exercise.say("line", row=row))
    elif not 0 <= row < len(lengths):
        problems.append(exercise.say("outside", row=row, last=len(lengths) - 1))
    elif lengths[row] < lengths.max():
        longer = int((lengths > lengths[row]).sum())
        problems.append(exercise.say("shorter", row=row, length=lengths[row], longer=longer))
    part = domain_name(domains(shipped.segments(), len(lengths))[longest])
    return exercise.verdict(problems, row=longest, length=lengths[longest], part=part)


def check_bad_lines(answer: object, *, wanted: int = 3) -> bool:
    """Lines that the reader refuses, for `wanted` different reasons.

    Prints what the reader says of each.
    """
    exercise = Exercise("01-3")
    if not isinstance(answer, (list, tuple)) or not all(isinstance(line, str) for line in answer):
        return exercise.refuse(answer)
    problems, reasons = [], set()
    for number, line in enumerate(answer, start=1):
        refusals = _refusals(line)
        if not refusals:
            problems.append(exercise.say("good", number=number, line=line))
        for bad in refusals:
            print(exercise.say("refused", number=number, problem=bad.problem, advice=bad.advice))
            reasons.add(bad.advice)
    if len(reasons) < wanted:
        problems.append(exercise.say("few", n=len(reasons), wanted=wanted))
    return exercise.verdict(problems, n=len(reasons))


def _refusals(line: str) -> list[BadLine]:
    report = ReadReport()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.jsonl"
        path.write_bytes((line + "\n").encode("utf-8", errors="surrogatepass"))
        for _ in read(path, on_error="skip", report=report):
            pass
    return report.skipped
