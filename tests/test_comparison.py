"""Two runs side by side: numbers checked by hand, every gap with its reason, and a sentence that claims no more than it can."""

import re
from dataclasses import replace
from functools import cache
from string import Formatter
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minimind_lite.lab.compare import WORDS, changes, measure, page, sentence, table
from minimind_lite.lab.state import CHOICES, Knobs
from minimind_lite.lab.wording import say

from minimind_lite.config import TrainConfig
from minimind_lite.files import shipped
from minimind_lite.lab import compare
from minimind_lite.records import Run
from minimind_lite.science import laws

LANGUAGES = ("en", "zh")
recorded = cache(shipped.recorded_run)


def cut(run: Run, n: int) -> Run:
    return Run(run.info, run.records[:n])


def told(run: Run, **knobs: object) -> Run:
    """The same curve, said to be of other knobs."""
    setup = Knobs(**knobs).setup()
    return Run(
        {**run.info, "train_config": setup.config.to_dict(), "pulse": setup.pulse}, run.records
    )


def without_probes(run: Run) -> Run:
    return Run(
        {k: v for k, v in run.info.items() if k != "probes_after"},
        tuple(replace(r, probes={}) for r in run.records),
    )


@cache
def frozen(batch_size: int) -> Run:
    """The recorded frozen run in other batches: its loss of a conversation does not depend on the batch."""
    whole = recorded("nano-frozen")
    columns = whole.to_columns()
    losses, tokens = (
        np.concatenate([r.sample_losses for r in whole.records]),
        columns["sample_tokens"],
    )
    starts, n = np.arange(0, len(losses), batch_size), len(losses)
    steps = np.arange(len(starts))
    columns = {
        "step": steps,
        "epoch": 0 * steps,
        "samples_seen": starts,
        "loss": laws.rebin(losses, tokens, batch_size=batch_size),
        "tokens": np.add.reduceat(tokens, starts),
        "lr": 0.0 * steps,
        "grad_norm": np.full(len(steps), np.nan),
        "row": columns["row"],
        "sample_loss": losses,
        "sample_tokens": tokens,
        "rows_per_step": np.diff([*starts, n]),
    }
    return Run.from_columns(
        {**whole.info, "train_config": {**whole.info["train_config"], "batch_size": batch_size}},
        columns,
    )


def rows(a: Run, b: Run, **more: object) -> dict[str, tuple[str, str, str]]:
    """Cells by label, with the number of a note taken for its text."""
    found = table(a, b, **more)
    read = lambda cell: re.sub(r"\[(\d+)\]", lambda m: found.notes[int(m[1]) - 1], cell)
    return {label: tuple(map(read, cells)) for label, *cells in found.rows}


HEIGHTS = {
    f"{name} ({n} rows): height (nats), z": n
    for name, n in (
        ("code", 64),
        ("English", 128),
        ("maths", 192),
        ("classical Chinese", 256),
        ("English", 24),
    )
}
TALLEST, EVENTS = "tallest step above the baseline (nats)", "spikes found"
SCORE, WIDTH = (
    "spike score (window of 30 steps, 7 sigma), %",
    "width of the tallest spike (conversations)",
)
RECOVERY, HARM = (
    "recovery: width − L, the rows of its segment (conversations)",
    "Chinese probe across the tallest spike (nats)",
)
END, END_ODD = (
    "held-out loss at the end, Chinese (nats)",
    "held-out loss at the end, mean of odd domains (nats)",
)


def test_the_table_of_the_readme_stands_in_it():
    found = rows(recorded("nano-file"), recorded("nano-frozen"))
    assert [found[h][0] for h in HEIGHTS] == [
        "+1.30 z 18.8*",
        "+1.05 z 14.3*",
        "+1.94 z 27.3*",
        "+0.60 z 6.5*",
        "+1.33 z 16.6*",
    ]
    assert [found[h][1].split(" B:")[0] for h in HEIGHTS] == [
        "+1.37 z 28.3*",
        "+1.01 z 21.7*",
        "+1.76 z 34.6*",
        "+0.62 z 9.4*",
        "+0.96 z 16.7*",
    ]
    assert found["loss of the Chinese rows (nats)"] == ("5.424", "5.509", "+0.085") and found[
        EVENTS
    ] == ("5", "5", "+0")


def test_all_other_rows_by_hand():
    found = rows(recorded("nano-file"), recorded("nano-shuffled-0"))
    assert found["noise: robust σ of the baseline (nats)"] == ("0.080", "0.086", "+0.006")
    assert found[TALLEST] == ("+1.94", "+0.18", "-1.76")
    assert found[SCORE] == (
        "0.9",
        "0.0",
        "-0.9",
    )  # 1 of the 109 steps that have a window before them
    assert found[WIDTH] == ("192", "– B: no spike is found.", "–"), (
        "steps 71 to 82, 16 conversations each"
    )
    assert found[RECOVERY][0] == "+0", "and 192 rows of maths"
    assert found[HARM][0] == "-0.03"
    assert found[END] == ("5.339", "5.336", "-0.003")
    assert found[END_ODD] == ("6.125", "5.629", "-0.497")  # (6.364 + 6.217 + 6.033 + 5.888) / 4
    assert found["conversations seen"][:2] == ("2,224", "2,224") and found["optimiser steps"] == (
        "139",
        "139",
        "+0",
    )
    assert "the batch with most of it (19%–38%)" in found["code (64 rows): height (nats), z"][1]


def test_a_run_that_was_stopped_shows_what_it_met():
    found = rows(recorded("nano-file"), cut(recorded("nano-file"), 54))
    code, english, maths, *_ = (found[h] for h in HEIGHTS)
    assert code == ("+1.30 z 18.8*", "+1.30 z 18.8*", "+0.00") and english[1] == "+1.05 z 14.3*"
    assert maths == ("+1.94 z 27.3*", "– B: not met in 54 of 139 steps.", "–")
    last = (
        recorded("nano-file").records[40].probes["zh"]
    )  # not that of the whole run, though `info` has it
    assert found[END][1] == f"{last:.3f} B: not at the end; measured last after 640 conversations."
    assert found[END][2] == "– Both have met the first 864 conversations only."
    assert found[TALLEST][:2] == ("+1.94", "+1.30")
    assert (
        found[TALLEST][2]
        == "+0.00 Steps and spikes are compared over conversations 480 to 864, which both runs have and can judge."
    )


def test_a_spike_that_was_cut_is_at_least_so_wide():
    found = rows(recorded("nano-shuffled-0"), cut(recorded("nano-file"), 34))
    assert found[WIDTH][1].startswith("≥ 32 B: the spike was not over") and found[RECOVERY][
        1
    ].startswith("– B: the spike was not over")


def test_a_new_level_is_at_least_so_wide():
    found = measure(
        frozen(4)
    )  # at batch 4 the maths segment lasts 48 steps, longer than the window
    assert found.notes["width"] == "open" and found.width == 31 * 4 and found.recovery is None


def test_too_few_steps_for_a_baseline():
    found = rows(recorded("nano-frozen"), frozen(256))
    short = "– B: 9 steps are too few; a baseline needs 30, and one more to judge."
    assert all(
        found[label][1] == short
        for label in (*HEIGHTS, TALLEST, EVENTS, SCORE, WIDTH, RECOVERY, HARM)
    )
    assert found["loss of the Chinese rows (nats)"][:2] == ("5.509", "5.509")
    assert measure(frozen(256)).held_out == recorded("nano-frozen").info["probes_after"]["zh"]


def test_segments_before_the_baseline_is_there_and_a_baseline_that_holds_them():
    found = rows(frozen(16), frozen(64))  # 35 steps: only the last segment comes after 30
    *before, last = (found[h][1] for h in HEIGHTS)
    assert (
        set(before) == {"– B: met before the baseline's 30 steps are there."}
        and "no batch lies wholly inside" in last
    )
    assert (
        "its first 30 steps, which make the baseline, hold whole batches of odd rows"
        in found["noise: robust σ of the baseline (nats)"][1]
    )
    here = (
        measure(frozen(64)).tallest - measure(frozen(16)).heights[shipped.segments()[-1]].height
    )  # both at the last segment, not at the maths
    assert found[TALLEST][2].startswith(
        f"{here:+.2f} Steps and spikes are compared over conversations 1,920 to 2,224"
    )


def test_of_three_passes_the_first_gives_the_heights():
    three = recorded("nano-3epochs-as-reported")
    found = rows(recorded("nano-file"), three)
    assert [found[h][1] for h in HEIGHTS][:2] == ["+1.29 z 18.7*", "+1.09 z 14.8*"]
    assert measure(three).heights == measure(cut(three, 139)).heights
    assert found[EVENTS] == ("5", "15", "– Both have met the first 2,224 conversations only.")
    assert "five spikes are found in each" in sentence(
        recorded("nano-file"), told(three, epochs=3)
    ), "of the pass that both have"


def test_runs_without_probes_and_probes_on_one_side():
    bare = without_probes(recorded("nano-file"))
    found = rows(recorded("nano-file"), bare)
    assert (
        found[HARM][1]
        == found[END][1]
        == found[END_ODD][1]
        == "– B: the held-out probes were not measured there."
    )
    assert "the training loss of the Chinese rows" in sentence(
        told(bare), without_probes(recorded("nano-shuffled-0"))
    )


def test_harm_is_measured_after_the_last_step_where_no_step_is_left():
    run = recorded("nano-file")
    last = Run(
        run.info, tuple(replace(r, loss=r.loss + (r.step == 125)) for r in run.records)
    )  # now the last spike is the tallest
    assert measure(last).harm == pytest.approx(
        run.info["probes_after"]["zh"] - run.records[120].probes["zh"]
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_single_step(language):
    found = table(cut(recorded("nano-file"), 1), cut(frozen(256), 1), language=language)
    assert len(found.rows) == 17 and sentence(
        cut(recorded("nano-file"), 1), cut(frozen(256), 1), language=language
    )
    assert (
        measure(Run(recorded("nano-file").info, recorded("nano-file").records[33:34])).notes[
            "base_loss"
        ]
        == "no Chinese"
    )


def test_a_run_without_a_step_is_refused():
    with pytest.raises(ValueError, match="without a step"):
        measure(cut(recorded("nano-file"), 0))


def test_a_spike_of_shuffled_rows_has_no_segment_to_recover_from():
    run = recorded("nano-shuffled-0")
    hot = Run(
        run.info, tuple(replace(r, loss=r.loss + 2.0 * (60 <= r.step < 64)) for r in run.records)
    )
    assert measure(hot).notes["recovery"] == "scattered" and measure(hot).width == 64
    assert measure(told(recorded("nano-file"), order="shuffle")).recovery is None, (
        "whatever the event happens to overlap"
    )
    run = recorded("nano-file")
    hot = Run(
        run.info, tuple(replace(r, loss=r.loss + 3.0 * (60 <= r.step < 64)) for r in run.records)
    )
    assert measure(hot).notes["recovery"] == "elsewhere", "Chinese rows: a true instability"


# The sentence


def test_the_sentence_of_the_first_lesson():
    file, shuffled = recorded("nano-file"), recorded("nano-shuffled-0")
    assert sentence(file, shuffled) == (
        "With shuffling (order: file order → shuffled), the tallest step above the baseline fell from 1.94 to 0.18 nats and no spike is found "
        "instead of five, while the held-out Chinese loss at the end is the same (5.34 and 5.34) and that of the odd domains is lower (6.13 → 5.63). "
        "One run each: no interval."
    )
    assert sentence(file, shuffled, language="zh") == (
        "打乱之后（顺序：文件顺序 → 打乱），最高一步高出基线的幅度从 1.94 降到 0.18 nat，检出的尖峰从 5 个变为没有；"
        "结束时中文留出集的损失相同（5.34 和 5.34），异类领域的损失降低（6.13 → 5.63）。每种设置只训练了一次，没有区间。"
    )


def test_several_settings_make_no_cause():
    a, b = (
        recorded("nano-file"),
        told(recorded("nano-shuffled-0"), order="shuffle", learning_rate=1e-3),
    )
    assert sentence(a, b).startswith(
        "Two settings differ (order: file order → shuffled; learning rate: 0.0005 → 0.001), so this comparison "
        "can't say which one did it: the tallest step above the baseline fell from 1.94 to 0.18 nats"
    )
    assert sentence(a, b, language="zh").startswith(
        "有 2 项设置不同（顺序：文件顺序 → 打乱；学习率：0.0005 → 0.001），所以这次比较说不清是哪一项起的作用："
    )


def test_a_slight_difference_is_called_one_and_hedged():
    text = sentence(recorded("nano-shuffled-0"), recorded("nano-shuffled-1"))
    assert (
        text.startswith("With another seed (seed: 0 → 1)")
        and "slightly lower (5.34 → 5.33)" in text
    )
    assert text.endswith("One run each: no interval, so a slight difference may be chance.")
    text = sentence(recorded("nano-shuffled-0"), recorded("nano-shuffled-1"), language="zh")
    assert text.endswith("每种设置只训练了一次，没有区间，略微的差别可能只是偶然。")


def test_five_shuffles_differ_by_less_than_what_counts_as_clear():
    found = [measure(recorded(f"nano-shuffled-{i}")) for i in range(5)]
    assert (
        np.ptp([m.held_out for m in found]) < 0.01
        and np.ptp([m.held_out_odd for m in found]) < 0.02 < compare.CLEAR
    )


def test_other_batches_compare_in_nats_only():
    a, b = frozen(16), frozen(32)
    assert "nats can be compared, z can't" in sentence(
        a, b
    ) and "nat 可以直接比较，z 不能" in sentence(a, b, language="zh")
    assert rows(a, b)[EVENTS][2] == rows(a, b)[SCORE][2] == f"– {WORDS['en']['batch']}"
    assert "z can't" not in sentence(recorded("nano-file"), recorded("nano-frozen"))


def test_only_what_both_have_met_is_compared():
    text = sentence(
        recorded("nano-file"),
        cut(recorded("nano-shuffled-0"), 60),
        names=("the report", "the cure"),
    )
    assert (
        "fell from 1.30 to 0.06 nats" in text
        and "conversations 480 to 960" in text
        and "“the cure” stands at step 60 of 139." in text
    )
    assert "the held-out Chinese loss after 640 conversations" in text
    text = sentence(recorded("nano-file"), cut(recorded("nano-shuffled-0"), 20))
    assert (
        "Both have met the first 320 conversations only." in text
        and "20 steps are too few" in text
        and "spike" not in text
    )
    assert "training loss of the Chinese rows" in text, (
        "both probes were measured before the first step, which compares nothing"
    )
    assert "nothing to compare yet" in sentence(cut(recorded("nano-file"), 1), frozen(256))


def test_the_same_settings_and_settings_that_can_t_matter():
    run = recorded("nano-file")
    assert (
        sentence(run, run)
        == "The settings are the same: in the 139 steps that both have, losses are equal."
    )
    near = Run(run.info, tuple(replace(r, loss=r.loss + 2e-6 * (r.step == 9)) for r in run.records))
    assert sentence(run, near).endswith("losses differ by at most 0.000002 nats.")
    assert sentence(run, told(run, accumulation=4)).startswith(
        "What differs (accumulation: off → 4) can't change the loss of a step: in the 139"
    )
    assert sentence(told(run, seed=1), told(run, seed=2)).startswith(
        "What differs (seed: 1 → 2) can't"
    ), "file order draws nothing"
    far = sentence(run, told(recorded("nano-shuffled-0")))
    assert far.startswith(
        "The settings are the same. Here the tallest step above the baseline fell"
    ), "what the settings do not tell is not hidden"


def test_a_setting_that_only_one_run_uses_is_no_difference():
    run = recorded("nano-file")
    names = lambda a, b: [c.field for c in changes(told(run, **a), told(run, **b))]
    assert names({}, {"order": "shuffle", "seed": 3}) == ["order"]
    assert names({"learning_rate": 1e-3}, {"optimizer": "none"}) == ["optimizer"]
    assert (
        names({"order": "shuffle"}, {"order": "shuffle_once", "seed": 0}) == ["order"]
        and changes(told(run, order="shuffle"), told(run, order="shuffle_once"))[0].idle
    ), "one pass"
    assert names(
        {"accumulation": 2, "average": "micro_batches"},
        {"accumulation": 4, "average": "micro_batches"},
    ) == ["accumulation"]
    assert names({"accumulation": 4}, {"accumulation": 4, "average": "micro_batches"}) == [
        "loss_average"
    ]


def test_harm_is_told_where_there_is_some():
    run = recorded("nano-shuffled-0")
    hurt = tuple(
        replace(
            r,
            loss=r.loss + 3.0 * (60 <= r.step < 64),
            probes={k: v + (r.step > 60) for k, v in r.probes.items()},
        )
        for r in run.records
    )
    text = sentence(
        run, told(Run(run.info, hurt), order="shuffle", pulse=40), names=("calm", "sick")
    )
    assert text.startswith("With a learning-rate pulse (rate pulse: none → ×40)")
    assert "Across the tallest spike of “sick” the Chinese probe rose by" in text
    assert "calm” the Chinese probe" not in text


CHOICE = {
    "order": ("shuffle", "shuffle_once", "buffer:128", "block:16"),
    "batch_size": (16, 32, 64),
    "accumulation": (2, 4, 8),
    "learning_rate": (1e-4, 5e-4, 1e-3),
    "optimizer": ("adamw", "sgd"),
    "schedule": ("minimind_2025", "minimind", "constant"),
    "epochs": (2, 3),
    "seed": (0, 1, 2),
    "pulse": (1, 10, 40),
    "grad_clip": (1.0, 0.0),
    "weight_decay": (0.01, 0.1),
}  # all of them used
LABELS = {
    "order": "order",
    "batch_size": "batch size",
    "accumulation": "accumulation",
    "learning_rate": "learning rate",
    "optimizer": "optimiser",
    "schedule": "schedule",
    "epochs": "epochs",
    "seed": "seed",
    "pulse": "rate pulse",
}


def of(values: dict[str, object]) -> Run:
    rest = {k: v for k, v in values.items() if k not in ("accumulation", "pulse")}
    config = TrainConfig(
        **rest,
        micro_batch_size=values["batch_size"] // values["accumulation"],
        loss_average="micro_batches",
    )
    return Run(
        {"train_config": config.to_dict(), "pulse": values["pulse"], "rows": 2224},
        recorded("nano-file").records[:3],
    )


@settings(deadline=None, max_examples=60)
@given(
    st.fixed_dictionaries({k: st.permutations(v) for k, v in CHOICE.items()}),
    st.sets(st.sampled_from(sorted(CHOICE))),
)
def test_the_sentence_names_exactly_the_settings_that_differ(values, turned):
    a = of({k: v[0] for k, v in values.items()})
    b = of({k: v[1] if k in turned else v[0] for k, v in values.items()})
    for language in LANGUAGES:
        text = sentence(a, b, language=language)
        labels = (
            LABELS
            if language == "en"
            else {
                k: WORDS["zh"]["order"] if k == "order" else say("zh", k.removesuffix("_size"))
                for k in LABELS
            }
        )
        named = re.findall(r"(?:\(|; |（|；)([^:：;；()（）]+)[:：] ?[^;；→]+ → ", text)
        assert sorted(named) == sorted(labels.get(f, f) for f in turned)
        assert ("can't say which" in text or "说不清" in text) == (len(turned) > 1)


CURVES = st.sampled_from(
    ["nano-file", "nano-frozen", "nano-shuffled-0", "nano-3epochs-as-reported", 8, 64, 256]
)
KNOBS = st.builds(Knobs, **{name: st.sampled_from(values) for name, values in CHOICES.items()})


@st.composite
def some_runs(draw):
    curve = draw(CURVES)
    run = recorded(curve) if isinstance(curve, str) else frozen(curve)
    run = cut(run, draw(st.just(len(run)) | st.integers(1, min(len(run), 70))))
    knobs = draw(KNOBS)
    run = told(run, **{k: getattr(knobs, k) for k in CHOICES})
    return without_probes(run) if draw(st.booleans()) else run


@settings(deadline=None, max_examples=30)
@given(some_runs(), some_runs(), st.sampled_from(LANGUAGES))
def test_no_gap_is_ever_shown_as_a_number(a, b, language):
    found, text = table(a, b, language=language), sentence(a, b, language=language)
    assert not re.search(
        r"nan|None|inf\b|[{}]", " ".join([text, *found.notes, *sum(found.rows, ())])
    )
    for _, *cells, difference in found.rows:
        assert all(cell != "–" for cell in cells), "a dash leads to a note"
        assert "–" in difference or not any(c.startswith("–") for c in cells)
    used = {int(n) for row in found.rows for cell in row for n in re.findall(r"\[(\d+)\]", cell)}
    assert used == set(range(1, len(found.notes) + 1))


# The page


def test_the_page_is_well_formed_and_escapes_names():
    html = page(
        {
            "<script>alert(1)</script>": recorded("nano-file"),
            'a "b" & {c}': cut(recorded("nano-shuffled-0"), 60),
        }
    )
    assert (
        "<script" not in html
        and "&lt;script&gt;" in html
        and "“a &quot;b&quot; &amp; {c}” stands at step 60" in html
    )
    root = ElementTree.fromstring(html)
    assert root.find("table/caption") is not None and len(root.findall("table/tbody/tr")) == 17
    assert {th.get("scope") for th in root.iter("th")} == {"col", "row"}
    assert (
        all(float(size) >= 13 for size in re.findall(r"font-size:(\d+)px", html))
        and "http" not in html
    )


def test_the_page_speaks_chinese():
    html = page({"甲": recorded("nano-file"), "乙": recorded("nano-frozen")}, language="zh")
    assert (
        'lang="zh-CN"' in html
        and "文言文（256 行）：高度（nat）、z" in html
        and "冻结模型之后（优化器：AdamW → 无（冻结））" in html
    )


@pytest.mark.parametrize(
    "runs, complaint",
    [
        ({"a": 1}, "two runs, got 1"),
        ({"a": 1, "b": 1, "c": 1}, "two runs, got 3"),
        ({"a": 1, "bare": 0}, "nothing to compare: bare"),
    ],
)
def test_a_page_needs_two_runs(runs, complaint):
    with pytest.raises(ValueError, match=complaint):
        page({name: cut(recorded("nano-file"), n) for name, n in runs.items()})


def test_both_languages_say_the_same():
    gaps = lambda text: {name for _, name, _, _ in Formatter().parse(text) if name}
    assert set(WORDS["en"]) == set(WORDS["zh"])
    assert {k: gaps(v) for k, v in WORDS["en"].items()} == {
        k: gaps(v) for k, v in WORDS["zh"].items()
    }
    assert all(field in WORDS["en"] for field in compare.FORMATS)


def test_what_one_pass_does_not_tell_apart_is_no_difference():
    once = {"order": "shuffle_once", "epochs": 3}
    a, b = (
        Run({"train_config": TrainConfig(**c).to_dict()}, recorded("nano-shuffled-0").records)
        for c in ({"order": "shuffle"}, once)
    )
    assert [c.field for c in changes(a, b) if not c.idle] == ["epochs"]


def test_spikes_are_not_counted_against_each_other_across_batch_sizes():
    from minimind_lite.lab.recordings import Recordings, Setup

    runs = [Recordings().find(Setup(TrainConfig(batch_size=b))) for b in (16, 4)]
    assert "spikes are found" not in sentence(*runs) and "z can't" in sentence(*runs)
