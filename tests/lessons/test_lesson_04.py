"""Lesson 04: tables hold what the records hold; checks know right from wrong and say why."""

from types import SimpleNamespace

import pytest
from plots.toy import toy_run

from minimind_lite.lessons import lesson_04 as lesson
from minimind_lite.records import Run
from minimind_lite.science import evidence, forgetting, segment_metrics
from minimind_lite.segments import of_run

RECORDS = evidence.recorded()


@pytest.mark.parametrize(
    ("answer", "right", "text"),
    [
        ("held-out loss", True, "rises by"),
        ("training loss", False, "jumps for both"),
        ("length of the spike", False, "as long as"),
        ("nonsense", False, "expected one of"),
    ],
)
def test_the_number_that_decides(answer, right, text, capsys):
    assert lesson.check_deciding_number(answer, RECORDS) is right
    assert text in capsys.readouterr().out


def test_the_height_of_a_frozen_spike(capsys):
    run = RECORDS.trial("E1", "frozen", 0).run
    first = of_run(run)[0]
    right = segment_metrics.read(run)[first.label].height
    step = -(-first.start // 16)
    assert lesson.check_frozen_height(right, run)
    assert "nothing was trained" in capsys.readouterr().out
    assert not lesson.check_frozen_height(float(run.loss[step]), run)
    assert "subtract the median" in capsys.readouterr().out
    assert not lesson.check_frozen_height(float(run.loss[step - 1]), run)
    assert "still has ordinary rows" in capsys.readouterr().out
    assert not lesson.check_frozen_height(right + 1, run)
    assert f"the first whole batch is step {step}" in capsys.readouterr().out


def test_mystery_runs(capsys):
    right = lesson.mystery_causes(4)
    assert sorted(right.values()) == sorted(lesson.CAUSES)
    assert lesson.check_causes(right, RECORDS, seed=4)
    swapped = right | {"A": right["B"], "B": right["A"]}
    assert not lesson.check_causes(swapped, RECORDS, seed=4)
    assert capsys.readouterr().out.count(": not '") == 2
    assert not lesson.check_causes(right | {"A": "bad luck"}, RECORDS, seed=4)
    plot = lesson.mystery(RECORDS, 4)
    assert plot.summary.startswith("Four mystery runs, in nats. A: training loss up to ")
    assert len(plot.figure.axes) == 8 and plot.png()


@pytest.mark.parametrize(
    ("height", "rise", "right", "text"),
    [
        (0.9, 0.8, True, "height alone does not say what it is"),
        (2.0, 1.5, False, "smaller factor"),
        (0.1, 0.0, False, "larger factor"),
        (0.9, 0.01, False, "hardly an instability"),
    ],
)
def test_a_twin_is_as_tall_and_does_harm(height, rise, right, text, capsys):
    assert lesson.twin_verdict(height, rise=rise, wanted=0.86) is right
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("answer", [1000, 1, 0.5, "tall"])
def test_a_factor_out_of_range_is_not_trained(answer, capsys, monkeypatch):
    monkeypatch.setattr(lesson.procedures, "pulse", lambda *_: pytest.fail("trained"))
    assert not lesson.check_twin(answer, RECORDS, seed=0)
    assert "expected a number above 1 and up to 100" in capsys.readouterr().out


# Tables


def test_the_three_views_are_those_of_the_records():
    heights = lesson.view_heights(RECORDS)
    assert list(heights) == ["trained", "frozen", "shuffled, sorted back"]
    code = [
        segment_metrics.read(
            segment_metrics.in_file_order(RECORDS.trial("E1", "shuffled", seed).run)
        )["code"].height
        for seed in RECORDS.common(("E1", "shuffled"))
    ]
    assert heights["shuffled, sorted back"]["code"].mean == pytest.approx(sum(code) / len(code))
    assert heights["frozen"]["tiny English"].n == len(code)


def test_the_swap_table_adds_up():
    *states, spread = lesson.swap_table(RECORDS)
    assert [row["state"] for row in states] == list(lesson.STATES)
    first = [row[lesson.SEGMENT] for row in states]
    assert spread[lesson.SEGMENT] == pytest.approx(max(first) - min(first))
    for row in states:
        assert row["difference"] == pytest.approx(row[lesson.SEGMENT] - row[lesson.ORDINARY])
        assert row["difference"] > 0  # the segment's rows are harder in every state


def test_a_rise_inside_a_segment_counts_from_the_last_measurement_before_it():
    run = toy_run(bump=1.0, steps=48, at=range(40, 44), probes=True)
    segments = [
        {"domain": "math", "start": 158, "stop": 172},  # steps 39 to 42
        {"domain": "code", "start": 181, "stop": 182},  # step 45: no measurement inside
    ]
    rises = lesson.rise_inside(Run(run.info | {"segments": segments}, run.records))
    assert rises == {"math_tiny": pytest.approx(1.0)}


def test_rises_inside_are_those_of_the_records():
    classical = next(
        row for row in lesson.rises_inside(RECORDS) if row["segment"] == "classical Chinese"
    )
    seeds = RECORDS.common(("E1", "file"))
    runs = [RECORDS.trial("E1", "file", seed).run for seed in seeds]
    largest = max(lesson.rise_inside(run)["zh_classical"] for run in runs)
    assert classical["largest"] == f"{largest:+.2f}"
    assert classical["layouts measured inside"] == f"{len(seeds)} of {len(seeds)}"


def test_dents_are_those_right_after_a_segment():
    dents = lesson.dents(RECORDS)
    assert list(dents) == ["code", "English", "maths", "classical Chinese"]
    pairs = [
        (RECORDS.trial("E1", "file", seed).run, RECORDS.trial("E1", "frozen", seed).run)
        for seed in RECORDS.common(("E1", "file"), ("E1", "frozen"))
    ]
    classical = [forgetting.dents(trained, frozen)["zh_classical"] for trained, frozen in pairs]
    assert dents["classical Chinese"].mean == pytest.approx(sum(classical) / len(classical))
    assert dents["classical Chinese"].above(0) and not dents["code"].above(0)


def test_held_out_losses_rise_with_hard_rows_less_than_with_a_pulse():
    rises = lesson.largest_rises(RECORDS)
    assert all(rise.above(0) for rise in rises.values())
    pulse = RECORDS.over_seeds(evidence.probe_rise, lesson.SICK)
    assert rises["held-out Chinese"].high < pulse.low


def test_texts_are_a_table(monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "display", lambda markdown: shown.append(markdown.data))
    lesson.show_texts(RECORDS.trial("E1", "file", 0))
    rows = shown[0].split("</tr>")[:-1]
    titles = ("when", "question in Chinese", "question in code", "question in English")
    assert rows[0] == f"<table><tr>{''.join(f'<th>{title}</th>' for title in titles)}"
    assert all(row.count("<td>") == 4 for row in rows[1:]) and len(rows) > 5
    assert "<|im_end|>" not in shown[0]


def test_what_the_model_writes_is_text_and_no_markup(monkeypatch):
    shown, answers = [], dict.fromkeys(("zh", "code", "en"), "<b>$x$ | y</b>")
    monkeypatch.setattr(lesson, "display", lambda table: shown.append(table.data))
    trial = SimpleNamespace(values={"texts": [{"when": "<i>", "answers": answers}]})
    lesson.show_texts(trial)
    assert shown[0].count("&lt;b&gt;$x$ | y&lt;/b&gt;") == 3 and "<i>" not in shown[0]


def test_hard_rows_and_an_instability_are_told_apart():
    table = lesson.tell_apart(RECORDS)
    assert len(table) == 9 and set(table[0]) == {"test", "hard rows", "instability"}
    assert table[0]["hard rows"].startswith("✓ spike stays: +")
    assert table[0]["instability"] == "– (no learning rate, no pulse)"


def test_ticks_follow_the_margins():
    height, file = evidence.height, (("E1", "file"),)
    assert lesson.Expectation(height, file, "tall:", above=0.3).cell(RECORDS)[0] == "✓"
    assert lesson.Expectation(height, file, "tall:", above=9.0).cell(RECORDS)[0] == "✗"
    assert lesson.Expectation(height, file, "low:", below=0.3).cell(RECORDS)[0] == "✗"
