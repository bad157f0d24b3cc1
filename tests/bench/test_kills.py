"""Ten kills, ten exact resumes; and the comparison sees what differs."""

from dataclasses import replace

import pytest

from minimind_lite.bench import kills
from minimind_lite.files.run_folder import RunWriter, load


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    return kills.kill_and_resume(10, folder, seed=0, progress=lambda what: None), folder


def test_runs_that_were_killed_end_as_if_nobody_had(outcomes):
    results, _ = outcomes
    assert sum(outcome.kills for outcome in results) >= 10
    assert [outcome for outcome in results if outcome.difference] == []
    assert "file order" in kills.report(results)


def test_a_difference_is_named(outcomes, tmp_path):
    _, folder = outcomes
    whole = folder / "whole, file order"
    run = load(whole)
    altered = {
        "loss of record 2": replace(run.records[2], loss=run.records[2].loss + 1e-12),
        "rows of record 2": replace(run.records[2], rows=run.records[2].rows[::-1]),
    }
    for number, (name, record) in enumerate(altered.items()):
        with RunWriter(tmp_path / str(number), run.info) as writer:
            for r in (*run.records[:2], record, *run.records[3:]):
                writer.write(r)
        assert kills.compare(whole, tmp_path / str(number)) == name
    with RunWriter(tmp_path / "short", run.info) as writer:
        for r in run.records[:-1]:
            writer.write(r)
    assert "records instead of" in kills.compare(whole, tmp_path / "short")
    with RunWriter(tmp_path / "without", run.info) as writer:
        for r in run.records:
            writer.write(r)
    assert kills.compare(whole, tmp_path / "without") == "whether there is a model.safetensors"


def test_no_kill_is_refused(tmp_path):
    with pytest.raises(ValueError, match="kills must be 1 or more, got 0"):
        kills.kill_and_resume(0, tmp_path, seed=0, progress=print)
