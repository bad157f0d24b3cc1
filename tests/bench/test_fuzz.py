"""The fuzz finds nothing in the readers, and does find what is wrong with broken ones."""

import pytest

from minimind_lite.bench import fuzz, mutations
from minimind_lite.bench.mutations import case
from minimind_lite.cli import main
from minimind_lite.files import jsonl, sources

FEW = 120


def test_the_readers_have_no_fault():
    report = fuzz.run(FEW, seed=1)
    assert report.faults == [] and report.cases == FEW
    assert report.lines > report.lines_read > 0


def test_a_case_is_the_same_file_every_time():
    assert [case(i) for i in range(30)] == [case(i) for i in range(30)]
    assert case(3) != case(3, seed=1)


def test_every_format_damage_and_packing_is_drawn():
    cases = [case(i) for i in range(1500)]
    for what, names in (
        ("format", mutations.FORMATS),
        ("damage", mutations.DAMAGES),
        ("packing", mutations.PACKINGS),
    ):
        assert {getattr(c, what) for c in cases} == set(names)


def faults(n=60):
    return "\n".join(fuzz.run(n).faults)


def test_a_crash_is_a_fault(monkeypatch):
    monkeypatch.setattr(jsonl, "_check_roles", lambda turns: {}["x"])
    assert "KeyError" in faults()


def test_a_lost_line_is_a_fault(monkeypatch):
    lines = jsonl._lines
    monkeypatch.setattr(jsonl, "_lines", lambda stream: (x for x in lines(stream) if x[0] != 2))
    assert "expected [(1, 0), (2, " in faults()


def test_a_lost_conversation_is_a_fault(monkeypatch):
    monkeypatch.setattr(sources, "other_format", lambda data: None)
    monkeypatch.setattr(jsonl, "other_format", lambda data: None)
    assert "a whole conversation is lost" in faults()


def test_an_error_that_names_no_file_is_a_fault(monkeypatch):
    def refuse(path):
        raise ValueError("something is wrong")

    monkeypatch.setattr("minimind_lite.files.unpacking.items", refuse)
    assert "an error without " in faults(99)


def test_an_escape_sequence_in_an_error_is_a_fault(monkeypatch):
    for module in ("jsonl", "sources"):
        monkeypatch.setattr(f"minimind_lite.files.{module}.visible", lambda text: text + "\x1b")
    assert "an error that is no line" in faults()


def test_a_strict_reader_that_goes_on_is_a_fault(monkeypatch):
    read = jsonl.read
    monkeypatch.setattr(
        jsonl, "read", lambda path, on_error="", **kw: read(path, on_error="skip", **kw)
    )
    assert "strict reading stops at None" in faults()


@pytest.mark.parametrize("broken, code", [(False, 0), (True, 1)])
def test_the_command_prints_counts_and_fails_with_a_fault(monkeypatch, capsys, broken, code):
    if broken:
        monkeypatch.setattr(jsonl, "_check_roles", lambda turns: {}["x"])
    assert main(["bench", "--fuzz", "20"]) == code
    out = capsys.readouterr().out
    assert "lines read + " in out and ("Faults: 0" in out) is not broken


def test_a_fuzz_of_nothing_is_refused(capsys):
    assert main(["bench", "--fuzz", "0"]) == 1
    assert "--fuzz must be 1 or more, got 0" in capsys.readouterr().err
