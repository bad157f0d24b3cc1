"""A run comes back from its folder bit by bit, also when the writer was killed half-way."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind_lite.files import run_folder
from minimind_lite.files.run_columns import from_columns, to_columns
from minimind_lite.files.run_folder import FORMAT, RunWriter, load
from minimind_lite.files.work import write_then_rename
from minimind_lite.records import Run, StepRecord

FEW = settings(max_examples=30, deadline=None)
ARRAYS = ("micro_losses", "rows", "sample_losses", "sample_tokens")
HALF = b"PAR1 and then the machine went down"


@pytest.fixture(autouse=True)
def part_size(monkeypatch):
    """Small parts."""
    monkeypatch.setattr(run_folder, "PART_SIZE", 2)


def save(run, folder):
    with RunWriter(folder, run.info) as writer:
        for r in run.records:
            writer.write(r)


def record(step, *, probes=None, **changes):
    """A record of two conversations, rows 2 step and 2 step + 1; the second has no token."""
    values = dict(
        step=step,
        epoch=0,
        samples_seen=2 * step,
        loss=0.1 + step,
        tokens=5,
        lr=1e-4 / 3,
        grad_norm=float("nan"),
        micro_losses=np.array([0.1 + step]),
        rows=np.array([2 * step, 2 * step + 1]),
        sample_losses=np.array([0.1 + step, np.nan]),
        sample_tokens=np.array([5, 0]),
        seconds=0.25,
        probes=probes or {},
    )
    return StepRecord(**values | changes)


def assert_same(loaded, expected):
    """Every field of every record, floats bit by bit, NaN where NaN was."""
    assert len(loaded) == len(expected)
    for a, b in zip(loaded, expected):
        for name in (f.name for f in dataclasses.fields(StepRecord)):
            x, y = getattr(a, name), getattr(b, name)
            if name == "probes":
                assert dict(x) == dict(y)
            else:
                np.testing.assert_array_equal(x, y, err_msg=name)  # exact, and NaN equals NaN
                assert name not in ARRAYS or x.dtype == y.dtype, name


losses = st.floats(allow_infinity=False, allow_subnormal=True)


@st.composite
def record_lists(draw):
    records = []
    for step in range(draw(st.integers(0, 6))):
        n = draw(st.integers(1, 4))

        def floats(size):
            return np.array(draw(st.lists(losses, min_size=size, max_size=size)), dtype=float)

        probes = draw(
            st.dictionaries(
                st.sampled_from(["code", "en", "zh 文言"]), st.floats(allow_nan=False), max_size=3
            )
        )
        records.append(
            record(
                step,
                epoch=step // 3,
                loss=draw(losses),
                lr=draw(losses),
                grad_norm=draw(losses),
                seconds=draw(losses),
                micro_losses=floats(draw(st.integers(1, 3))),
                rows=np.array(draw(st.permutations(range(n)))),
                sample_losses=floats(n),
                sample_tokens=np.array([draw(st.integers(0, 10**6)) for _ in range(n)]),
                probes=probes,
            )
        )
    return records


@FEW
@given(record_lists())
def test_what_is_written_is_loaded_exactly(tmp_path_factory, records):
    # Probes are measured at some steps only: a part may have columns that an earlier one lacks.
    folder = tmp_path_factory.mktemp("runs") / "run"
    with RunWriter(folder, {"seed": 3, "who": "文"}) as writer:
        for r in records:
            writer.write(r)
    if not records:  # given up again
        assert not folder.exists()
        return
    run = load(folder)
    assert_same(run.records, records)
    assert run.info == {"format": FORMAT, "seed": 3, "who": "文"}
    assert len(list(folder.glob("steps/*"))) == -(-len(records) // 2)


def test_a_loaded_run_can_be_saved_again(tmp_path):
    first = Run(
        {"seed": 1}, tuple(record(i, probes={"code": 1.5} if i % 2 else {}) for i in range(5))
    )
    save(first, tmp_path / "a")
    save(load(tmp_path / "a"), tmp_path / "b")
    second = load(tmp_path / "b")
    assert_same(second.records, first.records)
    assert second.info == load(tmp_path / "a").info


@pytest.fixture
def folder(tmp_path):
    """A run of five steps in parts of two, probed at steps 0 and 3."""
    with RunWriter(tmp_path / "run", {}) as writer:
        for i in range(5):
            writer.write(record(i, probes={0: {"code": 2.0, "en": 4.0}, 3: {"code": 1.0}}.get(i)))
    return tmp_path / "run"


def test_pandas_opens_the_parts_as_one_table(folder):
    """Also where a part has a probe that the first one lacks: the first part's columns, in all."""
    assert len({tuple(pq.read_schema(part).names) for part in folder.glob("steps/*")}) == 1
    steps = pd.read_parquet(folder / "steps")
    assert steps["step"].tolist() == [0, 1, 2, 3, 4]
    assert steps["loss"].tolist() == [0.1, 1.1, 2.1, 3.1, 4.1]
    assert steps["probe/code"].fillna(-1).tolist() == [2.0, -1, -1, 1.0, -1]
    assert steps["probe/en"].fillna(-1).tolist() == [4.0, -1, -1, -1, -1]
    samples = steps.explode(["rows", "sample_losses", "sample_tokens"])
    assert samples["rows"].tolist() == list(range(10))
    assert samples["step"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_killed_writer_leaves_the_finished_parts(tmp_path):
    writer = RunWriter(tmp_path, {})
    for i in range(5):
        writer.write(record(i))  # and then the process dies: nothing is flushed
    assert_same(load(tmp_path).records, [record(i) for i in range(4)])
    assert pd.read_parquet(tmp_path / "steps")["step"].tolist() == [0, 1, 2, 3]


def test_a_writer_killed_before_its_first_part_leaves_an_empty_run(tmp_path):
    RunWriter(tmp_path, {"seed": 1}).write(record(0))
    run = load(tmp_path)
    assert len(run) == 0 and run.loss.tolist() == [] and run.info["seed"] == 1


def test_an_error_in_training_writes_what_is_pending(tmp_path):
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path, {}) as writer:
        writer.write(record(0))
        raise KeyboardInterrupt
    assert_same(load(tmp_path).records, [record(0)])


@pytest.fixture
def torn(tmp_path):
    """A run of four steps whose writer was killed in the middle of its third part."""
    writer = RunWriter(tmp_path, {})
    for i in range(5):
        writer.write(record(i))
    with write_then_rename(tmp_path / "steps" / "000002.parquet") as temporary:
        temporary.write_bytes(HALF)
        left = temporary.with_name(f"{temporary.name}.left")
        temporary.rename(left)  # what a killed process leaves behind
        temporary.write_bytes(b"")
    (tmp_path / "steps" / "000002.parquet").unlink()
    assert left.name.startswith(".") and left.read_bytes() == HALF
    return tmp_path


def test_half_a_file_is_no_part_of_the_run(torn):
    assert_same(load(torn).records, [record(i) for i in range(4)])


def test_half_a_file_does_not_keep_pandas_from_reading(torn):
    assert len(pd.read_parquet(torn / "steps")) == 4


def test_a_folder_with_a_run_is_not_written_over(folder):
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(FileExistsError, match="already holds a run; choose another folder"):
        RunWriter(folder, {"seed": 9})
    with pytest.raises(FileExistsError):
        save(Run({}, (record(0),)), folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_another_format_is_refused(folder):
    (folder / "config.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(
        ValueError, match=f"has run format {FORMAT + 1}, this version reads {FORMAT}"
    ):
        load(folder)


@pytest.mark.parametrize("config", [None, "", "{", "[]", "7"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, config):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=str(tmp_path.name)):
        load(tmp_path)


def test_columns_and_probes_by_hand(folder):
    run = load(folder)
    assert run.column("samples_seen").tolist() == [0, 2, 4, 6, 8] and run.loss.tolist() == [
        0.1,
        1.1,
        2.1,
        3.1,
        4.1,
    ]
    assert run.probe_names() == ["code", "en"]
    assert [part.tolist() for part in run.probe("code")] == [[0, 3], [2.0, 1.0]]
    assert [part.tolist() for part in run.probe("maths")] == [[], []]


def test_reading_a_run_needs_no_torch():
    code = "import sys, minimind_lite.files.run_folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_run_whose_steps_repeat_comes_back_as_it_was(tmp_path):
    """A rolled-back run takes steps twice; joined by step number, its rows were scrambled."""
    steps = [0, 1, 2, 1, 2, 3]
    records = tuple(
        record(step, rows=np.array([10 * i, 10 * i + 1])) for i, step in enumerate(steps)
    )
    save(Run({}, records), tmp_path / "run")
    assert_same(load(tmp_path / "run").records, records)


def test_a_gap_between_parts_is_named(folder):
    (folder / "steps" / "000001.parquet").unlink()
    with pytest.raises(ValueError, match=r"lacks part 000001\.parquet"):
        load(folder)


def test_columns_round_conversations_to_half_precision_and_nothing_else(folder):
    run = load(folder)
    info = {"train_config": {"micro_batch_size": None}}
    again = from_columns(info, to_columns(run))
    assert again.loss.tolist() == run.loss.tolist()
    for a, b in zip(again.records, run.records):
        np.testing.assert_allclose(a.sample_losses, b.sample_losses, rtol=1e-3)
        assert a.rows.tolist() == b.rows.tolist() and dict(a.probes) == dict(b.probes)
        assert a.seconds == 0


def test_columns_cut_micro_batches_again():
    losses, tokens = np.array([1.0, 5.0, 2.0]), np.array([5, 1, 2])
    one = record(0, rows=np.arange(3), sample_losses=losses, sample_tokens=tokens)
    info = {"train_config": {"micro_batch_size": 2}}
    (again,) = from_columns(info, to_columns(Run(info, (one,)))).records
    assert again.micro_losses == pytest.approx([10 / 6, 2])
