"""What is said of the lab's speed: goals, the table, the file, and where the browser part is."""

from minimind_lite.bench import lab
from minimind_lite.bench.lab import Line
from minimind_lite.files import shipped


def test_goals_are_met_or_not():
    assert Line("a", 90, "ms", 100).met() and not Line("a", 110, "ms", 100).met()
    assert Line("a", 5, "1/s", 4, at_least=True).met()
    assert not Line("a", 3, "1/s", 4, at_least=True).met()


def test_a_miss_is_in_the_table():
    text = lab.report([Line("switch", 76.7, "ms", 100), Line("slowed", 21.2, "%", 15)])
    assert text.splitlines()[1].split() == ["switch", "76.7", "ms", "<=", "100", "ms"]
    assert text.endswith("falls short")


def test_figures_come_back_from_their_file(tmp_path):
    lines = [Line("switch", 76.7, "ms", 100)]
    lab.save(tmp_path / "lab.json", lines)
    assert lab.load(tmp_path / "lab.json") == lines


def test_without_a_clone_s_tests_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(lab, "__file__", str(tmp_path / "minimind_lite" / "bench" / "lab.py"))
    on_screen, why_not = lab.screen()
    assert on_screen is None and "a clone of the repository has it" in why_not


def test_a_clone_has_the_browser_part():
    on_screen, why_not = lab.screen()
    assert (on_screen is None) == bool(why_not)
    assert "tests/browser" not in why_not


def test_every_figure_is_recorded():
    recorded = lab.load(shipped.folder() / "bench_lab.json")
    assert len(recorded) == 8 and any("on the screen" in line.what for line in recorded)
