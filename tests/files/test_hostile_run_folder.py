"""A run folder that is damaged, or of another version, is read or refused by its name."""

import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plots.toy import toy_run

from minimind_lite.cli import main
from minimind_lite.files import run_folder
from minimind_lite.files.run_folder import FORMAT, RunWriter
from minimind_lite.files.visible import visible

MAX_MESSAGE = 600


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A run folder of three parts."""
    folder = tmp_path_factory.mktemp("runs") / "sound"
    with RunWriter(folder, {"train_config": {}}) as writer:
        for i, record in enumerate(toy_run(probes=True).records):
            writer.write(record)
            if i in (9, 19):
                writer.flush()
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "run")


def check(folder):
    """The run, or None for an error of one line that names the folder."""
    try:
        return run_folder.load(folder)
    except (ValueError, OSError) as error:
        text = str(error)
        assert str(folder) in text and len(text.splitlines()) == 1, text
        assert len(text) < MAX_MESSAGE and visible(text) == text
        return None


@pytest.mark.parametrize("version", [None, 0, FORMAT - 1, FORMAT + 1, "x" * 5000, [1], 1e999, True])
def test_another_version_is_refused_by_its_number(folder, version):
    info = json.loads((folder / "config.json").read_text()) | {"format": version}
    (folder / "config.json").write_text(json.dumps(info))
    assert check(folder) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "[]",
            "7",
            "null",
            '"a"',
            '[["format", 3]]',
            "\xff\xfe",
            "[" * 99_999,
            "\0",
            "{}",
        ),
        *('{"format": ' + "9" * 5_000 + "}", '{"format": "\\u001b[2J\\n"}'),
    ],
)
def test_a_damaged_config_is_named(folder, text):
    (folder / "config.json").write_text(text, encoding="latin-1")
    assert check(folder) is None


def test_a_run_without_its_config_or_at_a_path_that_is_none_is_named(folder, tmp_path):
    (folder / "config.json").unlink()
    assert check(folder) is None
    assert check(tmp_path / "none") is None
    (tmp_path / "file").write_text("x")
    assert check(tmp_path / "file") is None


def parts_of(folder):
    return sorted((folder / "steps").glob("*.parquet"))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "folder", "other columns", "no rows"])
def test_a_damaged_part_is_named(folder, damage):
    part = parts_of(folder)[1]
    data = part.read_bytes()
    part.unlink()
    if damage == "folder":
        part.mkdir()
    elif damage == "other columns":
        pq.write_table(pa.table({"a": [1]}), part)
    elif damage == "no rows":
        pq.write_table(pa.table({"step": []}), part)
    else:
        part.write_bytes({"cut": data[:-9], "empty": b"", "text": b"hello"}[damage])
    run = check(folder)
    assert run is None or (damage == "no rows" and len(run) == 30)


def test_no_bit_flip_in_a_part_changes_a_number(folder):
    """Pages have checksums; what else a flip can hit is refused, or says nothing of the run."""
    rng, part = random.Random(0), parts_of(folder)[0]
    data, losses, refused = part.read_bytes(), run_folder.load(folder).loss, 0
    for _ in range(300):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        part.write_bytes(flipped)
        run = check(folder)
        refused += run is None
        assert run is None or np.array_equal(run.loss, losses)
    assert refused > 150


def test_no_cut_of_a_part_is_read(folder):
    rng, part = random.Random(1), parts_of(folder)[2]
    data = part.read_bytes()
    for _ in range(50):
        part.write_bytes(data[: rng.randrange(len(data))])
        assert check(folder) is None


@pytest.mark.parametrize("command", ["spikes RUN", "compare SOUND RUN", "train --resume RUN"])
@pytest.mark.parametrize("damage", ["config", "part", "version"])
def test_commands_refuse_a_damaged_run_in_one_line(sound, folder, capsys, command, damage):
    if damage == "part":
        parts_of(folder)[0].write_bytes(b"PAR1")
    else:
        text = "{" if damage == "config" else json.dumps({"format": FORMAT + 1})
        (folder / "config.json").write_text(text)
    words = command.replace("RUN", str(folder)).replace("SOUND", str(sound)).split()
    assert main(words) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(folder) in line


def test_a_run_that_goes_on_does_not_copy_a_damaged_page(folder):
    """The part that is cut at the checkpoint was read without its checksums."""
    part = parts_of(folder)[2]
    data = bytearray(part.read_bytes())
    data[len(data) // 4] ^= 1
    part.write_bytes(data)
    with pytest.raises(ValueError, match=r"000002\.parquet is damaged"):
        RunWriter(folder, {}, resume_at=25)
    assert part.read_bytes() == bytes(data)
