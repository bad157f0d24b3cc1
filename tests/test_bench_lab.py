"""What is said of the lab's speed: the table, the file, and the figures in README."""

from pathlib import Path

from minimind_lite.bench.lab import Line, _line, load, report, save

from minimind_lite.bench import lab
from minimind_lite.files import shipped

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_goals_are_met_or_not():
    assert _line("a", 90, "ms", 100).met and not _line("a", 110, "ms", 100).met
    assert (
        _line("a", 5, "1/s", 4, at_least=True).met
        and not _line("a", 3, "1/s", 4, at_least=True).met
    )


def test_a_miss_is_said():
    text = report(
        [Line("switch", 76.7, "ms", "<= 100", True), Line("slowed", 21.2, "%", "<= 15", False)]
    )
    assert text.splitlines()[1].split() == [
        "switch",
        "76.7",
        "ms",
        "<=",
        "100",
        "ms",
    ] and text.endswith("falls short")


def test_figures_come_back_from_their_file(tmp_path):
    lines = [Line("switch", 76.7, "ms", "<= 100", True)]
    save(tmp_path / "lab.json", lines)
    assert load(tmp_path / "lab.json") == lines


def test_readme_has_the_recorded_figures():
    for line in load(shipped.folder() / "bench_lab.json"):
        assert (
            f"| {line.what} | {line.value:.3g} {line.unit} | {line.goal} {line.unit} |" in README
        ), line


def test_every_figure_is_recorded():
    recorded = {x.what for x in load(shipped.folder() / "bench_lab.json")}
    assert len(recorded) == 11 and any("on the screen" in what for what in recorded)
    assert lab.SWITCHES >= 100
