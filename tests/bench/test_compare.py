"""What is said of the timings: ratios, the table, the file, the picture."""

import itertools
import json

import pytest

from minimind_lite.bench import compare, figure
from minimind_lite.bench.recipes import VARIANTS

SECONDS = {"minimind": 8.0, "minimind-bf16": 6.0, "llama": 2.4, "llama-bf16": 2.0}


@pytest.fixture
def children(monkeypatch):
    """Children that take the seconds above (others one); the machine is half as fast each round."""
    calls = []

    def run_child(variant, model="nano", *, steps=1):
        calls.append(variant)
        if variant == "matmul":
            return '{"fp32": 4e9, "bf16": 8e9}'
        if variant == "check":
            return json.dumps(dict.fromkeys(VARIANTS, 1e-6))
        slower = 2.0 ** (calls.count("matmul") - 1)
        timing = {
            "seconds": SECONDS.get(variant, 1.0) * slower,
            "tokens": 100.0,
            "flops": 2e9,
            "threads": 2,
            "workers": 2,
            "parts": 4,
            "peak_mb": 300.0,
        }
        return json.dumps(timing)

    monkeypatch.setattr(compare, "run_child", run_child)
    return calls


@pytest.fixture
def rows(children):
    return compare.measure("nano", rounds=3)


def test_variants_are_measured_in_turn(children, rows):
    one_round = ["matmul", *VARIANTS]
    assert children == ["check", *itertools.chain(*[one_round] * 3)]


def test_progress_is_reported_as_often_as_announced(children):
    reported = []
    compare.measure("nano", rounds=2, progress=reported.append)
    assert len(reported) == compare.parts(2)
    assert compare.rounds_for("minimind2_small", 3) == 1 and compare.rounds_for("nano", 3) == 3


def test_ratios_are_taken_within_a_round(rows):
    ours = next(row for row in rows if row.variant == "ours")
    assert ours.times == pytest.approx(SECONDS)  # whatever the machine did between the rounds
    assert ours.timing.seconds == 2.0 and ours.tokens_per_second == 50.0
    assert ours.of_peak == pytest.approx(0.25)  # 2e9 operations in 2 s, of 4e9 a second


def test_another_gradient_stops_the_benchmark(monkeypatch):
    differences = json.dumps(dict.fromkeys(VARIANTS, 1e-3))  # as much as bf16 may round
    monkeypatch.setattr(compare, "run_child", lambda *_: differences)
    with pytest.raises(ArithmeticError, match=r"micro-batch per core \(ours\) by 1e-03; "):
        compare.check("nano")


def test_the_table_says_against_what_each_ratio_is(rows):
    lines = compare.table(rows).splitlines()
    ours = next(line for line in lines if "a micro-batch per core" in line)
    assert ours.split()[-6:] == ["8.00", "2.40", "25%", "300", "MB", "1e-06"]
    text = " ".join(lines)
    assert "bf16: nano 8.0 times" in text and "a thread each: nano 4." in text


def test_what_was_saved_comes_back(rows, tmp_path):
    compare.save(tmp_path / "bench.json", rows, {"streaming": {"seconds": 2.0}})
    content, loaded = compare.load(tmp_path / "bench.json")
    assert loaded == rows
    assert content["streaming"] == {"seconds": 2.0}
    assert {"processor", "cores", "torch"} <= set(content["environment"])


def test_a_file_that_is_no_benchmark_is_named(tmp_path):
    (tmp_path / "other.json").write_text('{"rows": [{"speed": 1}]}')
    with pytest.raises(ValueError, match=r"other\.json holds no benchmark .* writes one"):
        compare.load(tmp_path / "other.json")


def test_the_waterfall_says_what_it_shows(rows):
    plot = figure.waterfall(rows)
    assert plot.summary == (
        "Real tokens per second in fp32: nano 8.0 times MiniMind's step and "
        "2.4 times Hugging Face Llama."
    )
    assert plot.png()[:4] == b"\x89PNG"


def test_the_recorded_benchmark_has_every_variant_and_model():
    _, rows = compare.recorded()
    assert {row.model for row in rows} == set(compare.STEPS)
    assert len(rows) == len(compare.STEPS) * len(VARIANTS)
    for row in rows:
        assert (row.gradient_difference or 0) <= compare.SAME_GRADIENT[row.precision]
        assert row.timing.threads == rows[0].timing.threads
