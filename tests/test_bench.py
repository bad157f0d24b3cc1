"""The benchmark's claims that are not timings: every variant has the plain gradient, and FLOPs are counted right."""

import numpy as np
import pytest

from minimind_lite.bench import figure, profile, steps
from minimind_lite.config import ModelConfig
from minimind_lite.files import shipped
from minimind_lite.parallel import Workers


@pytest.fixture(scope="module")
def found():
    data = shipped.sft_rows(shipped.chat())
    with Workers(2) as pool, Workers(0) as alone:
        return steps.differences(
            shipped.base_model("nano"), data, np.array([0, 510, 800, 1200]), pool, alone
        )


def test_every_variant_has_the_plain_gradient(found):
    assert list(found) == [v.name for v in steps.LADDER]
    assert all(found[v.name] <= steps.MAX_DIFFERENCE[v.precision] for v in steps.LADDER)
    assert found[steps.LADDER[-1].name] > 1e-4  # bf16 does round


def test_the_variants_do_differ_in_how_they_compute(found):
    assert found[steps.LADDER[0].name] == 0 and all(
        d > 0 for name, d in found.items() if name != steps.LADDER[0].name
    )


def test_a_wrong_gradient_stops_the_benchmark(monkeypatch):
    monkeypatch.setattr(steps, "matmul_peak", lambda *_: 1.0)
    monkeypatch.setattr(steps, "differences", lambda *_: {v.name: 1e-3 for v in steps.LADDER})
    with pytest.raises(
        ArithmeticError, match="micro-batch per core by 1e-03;"
    ):  # and nothing of bf16, which may round so far
        steps.ladder("nano")


def test_useful_flops_by_hand():
    config = ModelConfig(vocab_size=10, dim=4, n_layers=1, n_heads=2, n_kv_heads=1, multiple_of=8)
    blocks = config.n_parameters() - 40
    # two conversations of 3 and 5 tokens, 2 and 4 of them supervised
    expected = 6 * blocks * 8 + 6 * 40 * 6 + 6 * 1 * 4 * (9 + 25)
    assert steps.useful_flops(config, np.array([3, 5]), np.array([2, 4])) == expected


ROWS = [
    steps.Row("nano", "plain", 0.5, 1000.0, 1.0, 0.05, 900.0, 0.0),
    steps.Row("nano", "fast", 0.1, 5000.0, 5.0, 0.25, 400.0, 2e-7),
]


def test_report_and_json_have_every_row(tmp_path):
    table = steps.report(ROWS).splitlines()
    assert (
        len(table) == 3
        and "5.0x" in table[2]
        and "25%" in table[2]
        and "5,000" in table[2]
        and "400 MB" in table[2]
    )
    steps.save(tmp_path / "bench.json", ROWS, startup={"seconds_to_first_step": 2.0})
    found, rows = steps.load(tmp_path / "bench.json")
    assert (
        rows == ROWS
        and found["startup"]["seconds_to_first_step"] == 2.0
        and found["environment"]["matmul_gflops_fp32"] > 0
    )


def test_a_file_that_is_no_benchmark_is_named(tmp_path):
    (tmp_path / "other.json").write_text('{"rows": [{"speed": 1}]}')
    with pytest.raises(ValueError, match=r"other\.json holds no benchmark .* writes one"):
        steps.load(tmp_path / "other.json")


def test_the_waterfall_says_what_it_shows():
    plot = figure.waterfall(ROWS)
    assert (
        plot.summary
        == "Speed-ups over the plain recipe: nano 5.0 times with “fast”, at 25% of the matrix-product peak."
    )
    assert plot.png()[:4] == b"\x89PNG"


def test_shares_of_a_step_s_time_are_shares():
    shares = profile.breakdown("nano", steps=1)
    assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) > 0
    assert max(shares, key=shares.get) == "matrix products"


def test_the_recorded_benchmark_reached_what_readme_says():
    """README's figures are the recorded ones."""
    readme = (shipped.folder().parent / "README.md").read_text(encoding="utf-8")
    found, rows = steps.load(shipped.folder() / "bench.json")
    for r in rows:
        if r.variant in ("a micro-batch per core", "bf16 products (autocast)"):
            assert f"**{r.speed_up:.1f} times**" in readme, (r.model, r.variant, r.speed_up)
    assert f"{found['environment']['matmul_gflops_fp32']} GFLOP/s" in readme
