"""Checks of the exercises: each says what is wrong and what to try; none stops "Run All".

An untouched exercise (None) says "not yet". A check works the right answer out from the data or
the configuration, so it stays right when the data are rebuilt. Each returns True where the
answer is right.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from minimind_lite import spikes
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.conversations import BadLine, ReadReport, read
from minimind_lite.files import shipped
from minimind_lite.lessons.base import verdict
from minimind_lite.records import Run
from minimind_lite.science import reproduce

Value = TypeVar("Value")

NOT_YET = "not yet: put your answer in and run the cell again."
# Lesson 01: two rounds, so that a header, a newline and an end token come on both sides of the mask.
TWO_ROUNDS = (("user", "3+4?"), ("assistant", "7"), ("user", "7+1?"), ("assistant", "8"))
# Lesson 02: what the designed model has to be.
DESIGN_VOCABULARY, DESIGN_LEAST, DESIGN_MOST = 6400, 1_800_000, 2_000_000


def is_number(value: object) -> bool:
    """A finite number that is not a truth value."""
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def one_by_one(
    answers: Mapping[str, object],
    right: Mapping[str, Value],
    wrong: Callable[[str, object, Value], str],
) -> list[str]:
    """What is wrong with each of several answers, by name: not yet given, or what `wrong` says of it ("" for nothing)."""
    said = {
        name: "not yet." if answers.get(name) is None else wrong(name, answers[name], value)
        for name, value in right.items()
    }
    return [f"{name}: {text}" for name, text in said.items() if text]


def _check_number(
    value: float | None,
    right: float,
    advice: Callable[[float], str],
    success: str,
    *,
    tolerance: float,
) -> bool:
    if value is None:
        return verdict([NOT_YET], "")
    if not is_number(value):
        return verdict([f"expected a number, got {value!r}."], "")
    problems = (
        [] if abs(value - right) <= tolerance else [f"{value:,} is not it. {advice(float(value))}"]
    )
    return verdict(problems, success)


# Lesson 00


def check_row_in_first_spike(row: int | None, run: Run) -> bool:
    """A row number (from 0) that lies in a step of the run's first spike event."""
    if row is None:
        return verdict([NOT_YET], "")
    first = spikes.find(run.loss)[0]
    inside = np.concatenate([r.rows for r in run.records[first.start : first.stop]])
    step = next((r.step for r in run.records if row in r.rows), None)
    if step is None:
        return verdict(
            [
                f"row {row} is in no batch; rows go from 0 to {max(int(r.rows.max()) for r in run.records)}."
            ],
            "",
        )
    return verdict(
        []
        if row in inside
        else [
            f"row {row} is in step {step}; the first spike covers steps {first.start} to {first.stop - 1}."
        ],
        f"row {row} is in step {step}, inside the spike (rows {inside.min()} to {inside.max()}).",
    )


def check_buffer_removes_spikes(
    order: str | None, *, seed: int = 0, progress: reproduce.Progress = reproduce.quiet
) -> bool:
    """Train with a shuffle buffer (about ten seconds) and look for spikes."""
    if order is None:
        return verdict([NOT_YET], "")
    if not isinstance(order, str) or not order.startswith("buffer:"):
        return verdict([f'write "buffer:K" with a number for K, got {order!r}.'], "")
    try:
        found = spikes.find(
            reproduce.run_once(
                TrainConfig(order=order, seed=seed), name=order, progress=progress
            ).loss
        )
    except ValueError as error:
        return verdict([str(error)], "")
    heights = ", ".join(f"+{e.peak_height:.2f} nats" for e in found)
    return verdict(
        [f"{len(found)} spikes left ({heights}): the buffer is too small to spread a segment."]
        if found
        else [],
        f"{order} leaves no spike, with this seed.",
    )


# Lesson 01


def check_supervised(positions: Sequence[int] | None) -> bool:
    """Lesson 01: positions of the supervised tokens of `TWO_ROUNDS`, counted from 0."""
    if positions is None:
        return verdict([NOT_YET], "")
    if not isinstance(positions, (list, tuple, set)) or not all(is_number(p) for p in positions):
        return verdict(
            [f"expected a list of positions, for instance [3, 4], got {positions!r}."], ""
        )
    chat = shipped.chat()
    ids, mask = chat.encode(TWO_ROUNDS)
    right, given = {i for i, flag in enumerate(mask) if flag}, {int(p) for p in positions}
    problems = [
        f"position {p}: the tokens are numbered 0 to {len(ids) - 1}."
        for p in sorted(given)
        if not 0 <= p < len(ids)
    ]
    problems += [
        f"position {p} is {chat.decode([ids[p]])!r}: not supervised. {_why_not(ids[p], chat.end_id, p > 0 and mask[p - 1])}"
        for p in sorted(given - right)
        if 0 <= p < len(ids)
    ]
    problems += [
        f"position {p}, {chat.decode([ids[p]])!r}, is missing. {_why(ids[p], chat.end_id)}"
        for p in sorted(right - given)
    ]
    return verdict(
        problems,
        f"Right: {len(right)} of {len(ids)} tokens are supervised, and two of these are end tokens.",
    )


def _why_not(token: int, end_id: int, after_supervised: bool) -> str:
    if token == end_id:
        return (
            "This end token closes the user's turn, and the user's turns are given, not predicted."
        )
    if after_supervised:
        return "The newline after an end token belongs to the template: the answer is already over."
    return "Only the assistant's content and its end token are; headers and the user's words are given."


def _why(token: int, end_id: int) -> str:
    if token == end_id:
        return "Without the end token in its loss, the model would never learn to stop."
    return "It is content of an answer: what the model is to say."


def check_longest_row(row: int | None) -> bool:
    """Lesson 01: the row (from 0) of data/sft.jsonl with the most tokens."""
    if row is None:
        return verdict([NOT_YET], "")
    if not is_number(row):
        return verdict(
            [f"expected a row number, got {row!r}. Try numpy's argmax on data.lengths()."], ""
        )
    lengths = shipped.sft_rows(shipped.chat(), max_len=1 << 30).lengths()
    longest, row, problems = int(lengths.argmax()), int(row), []
    if row == lengths.max():
        problems.append(
            f"{row} is how many tokens the longest conversation has; which row is it? Try argmax in place of max."
        )
    elif row == longest + 1:
        problems.append(f"{row} is its line in an editor, counted from 1; rows count from 0.")
    elif not 0 <= row < len(lengths):
        problems.append(f"there are rows 0 to {len(lengths) - 1}, got {row}.")
    elif lengths[row] < lengths.max():
        problems.append(
            f"row {row} has {lengths[row]} tokens, and {int((lengths > lengths[row]).sum())} rows have more. "
            "Look at data.lengths(); argmax gives the position of the largest."
        )
    where = next(
        (s.name for s in shipped.segments() if s.start <= longest < s.stop), shipped.NAMES["zh"]
    )
    return verdict(
        problems,
        f"Right: row {longest}, with {lengths[longest]} tokens, in the {where} part of the file.",
    )


def check_bad_lines(lines: Sequence[str] | None, wanted: int = 3) -> bool:
    """Lesson 01: lines that the reader refuses, for `wanted` different reasons. Prints what it says of each."""
    if lines is None:
        return verdict([NOT_YET], "")
    if not isinstance(lines, (list, tuple)) or not all(isinstance(line, str) for line in lines):
        return verdict(
            [f"expected a list of strings, one per line of the file, got {lines!r}."], ""
        )
    problems, reasons = [], set()
    for number, line in enumerate(lines, start=1):
        found = _refusals(line)
        if not found:
            problems.append(f"line {number} is a sound conversation, the reader takes it: {line}")
        for bad in found:
            print(f"line {number}: {bad.problem}. {bad.advice}")
            reasons.add(bad.advice)
    if len(reasons) < wanted:
        problems.append(
            f"{len(reasons)} different complaint{'s' * (len(reasons) != 1)} so far, {wanted} are asked for. "
            "Try the wrong order of roles, an empty content, a missing bracket, an empty line ..."
        )
    return verdict(
        problems,
        f"Right: {len(reasons)} kinds of bad line, and the reader let none of them through.",
    )


def _refusals(line: str) -> list[BadLine]:
    report = ReadReport()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.jsonl"
        path.write_bytes((line + "\n").encode("utf-8", errors="surrogatepass"))
        for _ in read(path, on_error="skip", report=report):
            pass
    return report.skipped


# Lesson 02


def check_attention_parameters(n: int | None) -> bool:
    """Lesson 02: parameters of the attention of one block of MiniMind2-Small."""
    config = ModelConfig.preset("minimind2_small")
    C, kv = config.dim, config.n_kv_heads * config.head_dim()
    right = config.parameters_by_part()["attention"] // config.n_layers
    slips = {
        4
        * C
        * C: "That is multi-head attention: here k_proj and v_proj are narrower, K x D columns, not C.",
        right * config.n_layers: "That is all blocks together; one block is asked for.",
        right - C * C: "One C x C matrix is missing. Did you count o_proj?",
        C * C + C * kv: "q and k alone; v_proj and o_proj have parameters too.",
        right
        + C: "The norm before attention was counted in; its C weights are listed under norms.",
    }
    return _check_number(
        n,
        right,
        lambda x: slips.get(
            round(x),
            f"Four matrices: q_proj and o_proj are {C} x {C}; k_proj and v_proj "
            f"have {C} rows and n_kv_heads x D columns. D = dim / n_heads.",
        ),
        f"Right: {right:,}, of which k and v hold {2 * C * kv:,}.",
        tolerance=0.5,
    )


def check_start_loss(loss: float | None, vocab_size: int = 32_000) -> bool:
    """Lesson 02: loss, in nats, of an untrained model with a vocabulary of `vocab_size`."""
    right = math.log(vocab_size)
    slips = {
        round(
            math.log2(vocab_size), 1
        ): "That is in bits (log2). Losses here are in nats: take math.log.",
        round(math.log10(vocab_size), 1): "That is log10. Take the natural logarithm, math.log.",
        float(vocab_size): "That is the perplexity, e to the loss: take its logarithm.",
        round(-right, 1): "The sign: loss is minus the log-probability, so it is positive.",
    }
    return _check_number(
        loss,
        right,
        lambda x: slips.get(
            round(x, 1),
            f"Untrained means no preference: each of {vocab_size:,} tokens has "
            f"probability 1/{vocab_size:,}. Loss is minus its logarithm.",
        ),
        f"Right: ln {vocab_size:,} = {right:.2f} nats. A first loss far above that points to a bug; "
        "one far below, to a model that was trained before.",
        tolerance=0.02,
    )


def check_design(config: ModelConfig | None) -> bool:
    """Lesson 02: a model with MiniMind's vocabulary, 1.8 to 2.0 M parameters, less than half of them in the embedding."""
    if config is None:
        return verdict([NOT_YET], "")
    if not isinstance(config, ModelConfig):
        return verdict([f"expected a ModelConfig(...), got {config!r}."], "")
    parts, total, problems = config.parameters_by_part(), config.n_parameters(), []
    for part, n in parts.items():
        print(f"{part:33s}{n:>10,}  {n / total:6.1%}")
    if config.vocab_size != DESIGN_VOCABULARY:
        problems.append(
            f"vocab_size is {config.vocab_size:,}; MiniMind's tokenizer needs {DESIGN_VOCABULARY:,}."
        )
    if not DESIGN_LEAST <= total <= DESIGN_MOST:
        problems.append(
            f"{total:,} parameters; wanted {DESIGN_LEAST:,} to {DESIGN_MOST:,}. "
            + (
                "A narrower `dim` or fewer layers."
                if total > DESIGN_MOST
                else "More layers, or a wider `dim`."
            )
        )
    share = next(iter(parts.values())) / total
    if share >= 0.5:
        problems.append(
            f"the embedding holds {share:.0%}. It grows with dim, a block with dim squared times the number of layers: "
            "trade some width for depth."
        )
    return verdict(problems, f"Right: {total:,} parameters, {share:.0%} of them in the embedding.")


# Lesson 03


def check_hardest_line(line: int | None, run: Run) -> bool:
    """File line (from 1) of the hardest conversation at the peak of the tallest event of the last epoch."""
    if line is None:
        return verdict([NOT_YET], "")
    last = [e for e in spikes.find(run.loss) if run.records[e.start].epoch == run.records[-1].epoch]
    record = run.records[max(last, key=lambda e: e.peak_height).peak]
    hardest = shipped.conversations()[record.rows[int(np.nanargmax(record.sample_losses))]].line
    in_step = line - 1 in record.rows
    problem = (
        f"line {line} is in the right step, but not its hardest conversation."
        if in_step
        else f"line {line} is not in the tallest step of the last epoch, which is step {record.step}."
    )
    return verdict(
        [] if line == hardest else [problem],
        f"line {line}, at {np.nanmax(record.sample_losses):.2f} nats per token.",
    )


def check_log_shows_segment(
    count: int | None, run: Run, segment: shipped.Segment, *, interval: int
) -> bool:
    """For how many starts a log of one step in `interval` shows rows of the segment in the first epoch."""
    if count is None:
        return verdict([NOT_YET], "")
    touches = [
        bool(r.epoch == 0 and ((r.rows >= segment.start) & (r.rows < segment.stop)).any())
        for r in run.records
    ]
    right = sum(any(touches[first::interval]) for first in range(interval))
    steps = [i for i, touched in enumerate(touches) if touched]
    return verdict(
        []
        if count == right
        else [
            f"not {count}. Steps {steps} hold rows of the segment; which starts keep one of them?"
        ],
        f"{right} of {interval} starts show it; the others never print a batch with any of its rows.",
    )
