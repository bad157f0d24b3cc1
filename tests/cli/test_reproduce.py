"""`reproduce` on the command line: the recorded runs, and what it is asked to train."""

from minimind_lite import spikes
from minimind_lite.cli import main
from minimind_lite.cli import reproduce as reproduce_command


def error_line(capsys):
    """The one line that went to stderr."""
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_reproduce_shows_the_recorded_runs(tmp_path, capsys):
    picture = tmp_path / "new" / "picture.png"
    assert main(["reproduce", "--recorded", "--out", str(picture)]) == 0
    out = capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert reproduce_command.science.terms_table(reproduce_command.science.recorded()) in out
    assert "Shuffled, 5 seeds: 0 events" in out and f"Picture: {picture}" in out
    run = reproduce_command.science.recorded()["file"]
    assert all(f"+{e.peak_height:.2f} nats (z = {e.z:.0f})" in out for e in spikes.find(run.loss))


def test_runs_of_lite_are_not_recorded_and_that_is_said(capsys):
    """The model was ignored."""
    assert main(["reproduce", "--recorded", "--model", "lite"]) == 1
    assert "only runs of nano are recorded" in error_line(capsys)


def test_reproduce_trains_what_it_is_asked_for(tmp_path, monkeypatch, capsys):
    asked = {}

    def quick(**options):
        asked.update(options)
        runs = reproduce_command.science.recorded()
        return {name: runs[name] for name in ("file", "frozen", "shuffled, seed 0")}

    monkeypatch.setattr(reproduce_command.science, "reproduce", quick)
    monkeypatch.setenv("MINIMIND_LITE_WORK", str(tmp_path))
    assert main(["reproduce", "--model", "lite", "--seeds", "3"]) == 0
    assert (asked["model"], asked["seeds"]) == ("lite", 3)
    assert "Shuffled, 1 seed: 0 events" in capsys.readouterr().out
    assert (tmp_path / "reproduce.png").exists()
