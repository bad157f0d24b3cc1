"""The benchmark's claims that are not timings: every variant has the plain gradient, and FLOPs are counted right."""

import json

import numpy as np
import pytest

from minimind_lite import assets, bench
from minimind_lite.config import ModelConfig
from minimind_lite.workers import Workers


@pytest.fixture(scope="module")
def found():
    data = assets.sft_rows(assets.chat())
    with Workers(2) as pool, Workers(0) as alone:
        return bench.differences(assets.base_model("nano"), data, np.array([0, 510, 800, 1200]), pool, alone)


def test_every_variant_has_the_plain_gradient(found):
    assert list(found) == [v.name for v in bench.LADDER]
    assert max(found.values()) <= bench.MAX_DIFFERENCE


def test_the_variants_do_differ_in_how_they_compute(found):
    assert found[bench.LADDER[0].name] == 0 and all(d > 0 for name, d in found.items() if name != bench.LADDER[0].name)


def test_a_wrong_gradient_stops_the_benchmark(monkeypatch):
    monkeypatch.setattr(bench, "matmul_peak", lambda: 1.0)
    monkeypatch.setattr(bench, "differences", lambda *_: {"some variant": 0.1})
    with pytest.raises(ArithmeticError, match="some variant by 1e-01"):
        bench.ladder("nano")


def test_useful_flops_by_hand():
    config = ModelConfig(vocab_size=10, dim=4, n_layers=1, n_heads=2, n_kv_heads=1, multiple_of=8)
    blocks = config.n_parameters() - 40
    # two conversations of 3 and 5 tokens, 2 and 4 of them supervised
    expected = 6 * blocks * 8 + 6 * 40 * 6 + 6 * 1 * 4 * (9 + 25)
    assert bench.useful_flops(config, np.array([3, 5]), np.array([2, 4])) == expected


def test_report_and_json_have_every_row(tmp_path):
    rows = [bench.Row("nano", "plain", 0.5, 1000.0, 1.0, 0.05, 0.0), bench.Row("nano", "fast", 0.1, 5000.0, 5.0, 0.25, 2e-7)]
    table = bench.report(rows).splitlines()
    assert len(table) == 3 and "5.0x" in table[2] and "25%" in table[2] and "5,000" in table[2]
    bench.save(rows, tmp_path / "bench.json")
    assert [r["speed_up"] for r in json.loads((tmp_path / "bench.json").read_text())["rows"]] == [1.0, 5.0]
