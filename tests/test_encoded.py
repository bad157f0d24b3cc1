"""A file becomes the same rows however it gets there: direct, by chunks, from the cache, or anew after any damage to it."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minimind_lite import chat
from minimind_lite import cli as cli
from minimind_lite.bench import streaming
from minimind_lite.chat import Chat, EncodedRows, train_tokenizer
from minimind_lite.conversations import BadLineError, ReadReport, read, write
from minimind_lite.files import encoded_cache, shipped
from minimind_lite.files.encoded_cache import (
    ARRAYS,
    CacheWarning,
    cache_folder,
    cache_size,
    clear_cache,
    encode_file,
    line_numbers,
)
from minimind_lite.records import Run

FEW = settings(max_examples=20, deadline=None)
GOOD = b'{"conversations": [{"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Fine, \xe4\xbd\xa0\xe5\xa5\xbd"}]}'
LONG = GOOD.replace(b"Fine", b"So am I. " * 9)
BAD = b"not JSON"
FILES = [f"{name}.npy" for name in ARRAYS] + ["meta.json"]

lines = st.lists(st.sampled_from([GOOD, LONG, BAD, b""]), max_size=8)
lengths = st.none() | st.integers(0, 40)


@pytest.fixture(scope="module")
def talk():
    return Chat(train_tokenizer(["How are you? Fine, and you?", "你好"], 300))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("MINIMIND_LITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoded"


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([GOOD, BAD, LONG, b"", GOOD]))
    return path


def keep(path, talk, **options):
    """Encode a file, however small, with the cache."""
    return encode_file(path, talk, **({"smallest": 0, "on_error": "skip"} | options))


def content(data):
    """All that a caller sees of a file, without where it came from."""
    arrays = (data.rows.ids, data.rows.mask, data.rows.offsets, data.lines, data.bytes)
    return (
        [(a.dtype.str, a.tolist()) for a in arrays],
        data.report.read,
        data.report.skipped,
        data.content,
    )


def entry_files(folder):
    return sorted(p.name for p in folder.glob("*/*"))


# The same rows by every way


@FEW
@given(lines, lengths, st.integers(1, 200))
@example([], None, 1)
@example([BAD], 0, 1)
def test_from_the_cache_by_chunks_and_direct_are_the_same(
    talk, tmp_path_factory, many, max_len, size
):
    tmp = tmp_path_factory.mktemp("law")
    path, report = tmp / "a.jsonl", ReadReport()
    path.write_bytes(b"\n".join(many))
    conversations = list(read(path, on_error="skip", report=report))
    direct = [talk.encode(c.messages, max_len) for c in conversations]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMIND_LITE_CACHE", str(tmp))
        patch.setattr(chat, "CHUNK_CHARACTERS", size)
        ways = [keep(path, talk, max_len=max_len, cache=cache) for cache in (False, True, True)]
    assert [w.cached for w in ways] == [False, False, True]
    for data in ways:
        assert [
            (ids.tolist(), mask.tolist()) for ids, mask in map(data.rows.row, range(len(data.rows)))
        ] == direct
        assert (data.report.read, data.report.skipped) == (report.read, report.skipped)
        assert [data.conversation(i) for i in range(len(data.rows))] == conversations
        assert content(data) == content(ways[0])


@given(st.lists(st.lists(st.booleans(), max_size=5), max_size=12), st.integers(1, 8))
@example([], 3)
@example([[], []], 3)
def test_supervised_tokens_are_counted_by_blocks_as_at_once(masks, block):
    mask, offsets = (
        np.array([flag for m in masks for flag in m], bool),
        np.cumsum([0, *map(len, masks)], dtype=np.int64),
    )
    total = np.concatenate([[0], np.cumsum(mask)])  # the whole mask at once
    expected = total[offsets[1:]] - total[np.minimum(offsets[:-1] + 1, offsets[1:])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat, "BLOCK_TOKENS", block)
        found = EncodedRows(np.zeros(len(mask), np.uint16), mask, offsets).supervised()
    assert found.tolist() == expected.tolist() == [sum(m[1:]) for m in masks]


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_the_line_of_a_row_follows_from_the_lines_that_were_skipped(good):
    kept = [i + 1 for i, flag in enumerate(good) if flag]
    skipped = [i + 1 for i, flag in enumerate(good) if not flag]
    assert line_numbers(np.arange(len(kept)), skipped).tolist() == kept


def test_released_memory_is_read_again(jsonl, talk):
    data = keep(jsonl, talk)
    before = content(data)
    data.rows.release()
    in_memory = talk.encode_rows(read(jsonl, on_error="skip"))
    in_memory.release()
    assert content(data) == before and data.rows.ids.tolist() == in_memory.ids.tolist()


def test_the_arrays_are_maps_that_can_t_be_written_to(jsonl, talk):
    for data in (keep(jsonl, talk), keep(jsonl, talk), keep(jsonl, talk, cache=False)):
        for array in (data.rows.ids, data.rows.mask, data.rows.offsets, data.lines, data.bytes):
            assert (
                type(array) is np.ndarray
                and not array.flags.writeable
                and isinstance(array.base, np.memmap)
            )


def test_progress_ends_at_the_whole(jsonl, talk):
    seen = []
    keep(jsonl, talk, progress=lambda *step: seen.append(step))
    size = jsonl.stat().st_size
    assert ("hashing", size, size) in seen and ("encoding", size, size) in seen
    assert all(0 <= done <= total for _, done, total in seen)


# What an entry is kept under


def test_an_entry_holds_what_it_says_and_nothing_half_built_is_left(jsonl, talk, folder):
    data = keep(jsonl, talk, max_len=20)
    assert (
        data.entry.parent == folder
        and entry_files(folder) == sorted(FILES)
        and len(list(folder.iterdir())) == 1
    )
    assert cache_size() == sum(p.stat().st_size for p in data.entry.iterdir())
    assert np.load(data.entry / "lines.npy").tolist() == [1, 3, 5]
    assert json.loads((data.entry / "meta.json").read_bytes())["content"]["arrays"]["lines"][
        "shape"
    ] == [3]
    clear_cache()
    assert cache_size() == 0 and not keep(jsonl, talk, max_len=20).cached


def test_the_key_is_the_content_not_the_name_or_the_time(jsonl, talk, tmp_path):
    keep(jsonl, talk)
    shutil.copy(jsonl, tmp_path / "b.jsonl")
    os.utime(jsonl, (1, 1))
    other = keep(tmp_path / "b.jsonl", talk)
    assert keep(jsonl, talk).cached and other.cached
    assert {bad.file for bad in other.report.skipped} == {
        str(tmp_path / "b.jsonl")
    }  # told of the file that was asked for


def test_another_content_tokenizer_or_setting_is_another_entry(jsonl, talk, folder):
    stat = jsonl.stat()
    keep(jsonl, talk)
    assert not keep(jsonl, talk, max_len=5).cached
    assert not keep(jsonl, Chat(train_tokenizer(["Fine, fine, fine"], 290))).cached
    jsonl.write_bytes(jsonl.read_bytes().replace(b"How", b"Who"))
    os.utime(
        jsonl, ns=(stat.st_atime_ns, stat.st_mtime_ns)
    )  # same size and time: only the bytes tell
    assert not keep(jsonl, talk).cached
    jsonl.write_bytes(GOOD)
    assert not keep(jsonl, talk).cached and not keep(jsonl, talk, on_error="raise").cached
    assert len(list(folder.iterdir())) == 6


def test_small_files_and_no_cache_leave_nothing(jsonl, talk, folder):
    for data in (encode_file(jsonl, talk, on_error="skip"), keep(jsonl, talk, cache=False)):
        assert len(data.rows) == 3 and not data.cached and data.entry is None
    assert not folder.exists()


# Damage


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def flip_last(path):
    data = bytearray(path.read_bytes())
    data[-1 if path.suffix == ".npy" else data.index(b'"skipped"') + 30] ^= 1
    path.write_bytes(data)


def flip_header(path):
    path.write_bytes(
        path.read_bytes().replace(b"(", b"[", 1)
        if path.suffix == ".npy"
        else b"x" + path.read_bytes()[1:]
    )


def folder_instead(path):
    path.unlink()
    path.mkdir()


DAMAGE = [
    truncate,
    flip_last,
    flip_header,
    Path.unlink,
    folder_instead,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes() + b"\0"),
]


@pytest.mark.parametrize("file", FILES)
def test_any_damage_is_said_and_mended(jsonl, talk, folder, file):
    first = keep(jsonl, talk)
    right = content(first)
    for damage in DAMAGE:
        damage(first.entry / file)
        with pytest.warns(
            CacheWarning,
            match=r"the cached form of .*a\.jsonl can't be used \(.+\); encoding it anew",
        ) as said:
            mended = keep(jsonl, talk)
        assert len(said) == 1 and "\n" not in str(said[0].message)
        assert (
            content(mended) == right and not mended.cached and entry_files(folder) == sorted(FILES)
        )
        assert content(keep(jsonl, talk)) == right and keep(jsonl, talk).cached


@FEW
@given(st.data())
def test_a_flipped_bit_anywhere_is_never_used(talk, tmp_path_factory, data):
    tmp = tmp_path_factory.mktemp("bit")
    (tmp / "a.jsonl").write_bytes(b"\n".join([GOOD, BAD, LONG]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMIND_LITE_CACHE", str(tmp))
        first = keep(tmp / "a.jsonl", talk)
        right, path = content(first), first.entry / data.draw(st.sampled_from(FILES))
        damaged = bytearray(path.read_bytes())
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.unlink()  # the map of `first` stays as it is
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            assert content(keep(tmp / "a.jsonl", talk)) == right


@pytest.mark.parametrize(
    "meta",
    [
        "[]",
        "7",
        "null",
        "{}",
        '{"checksum": 1, "content": {}}',
        "[" * 100_000,
        "\xff",
        "whole of another",
    ],
)
def test_a_foreign_meta_is_not_believed(jsonl, talk, meta):
    first = keep(jsonl, talk)
    if meta == "whole of another":  # sound in itself, in the wrong place
        other = keep(jsonl, talk, max_len=7)
        shutil.rmtree(first.entry)
        shutil.copytree(other.entry, first.entry)
    else:
        (first.entry / "meta.json").write_text(meta, encoding="latin-1")
    with pytest.warns(CacheWarning, match="can't be used"):
        assert content(keep(jsonl, talk)) == content(first)


def test_a_sound_checksum_over_wrong_parts_is_not_believed(jsonl, talk):
    first = keep(jsonl, talk)
    path = first.entry / "meta.json"
    for spoil in (
        lambda m: m.pop("arrays"),
        lambda m: m.pop("skipped"),
        lambda m: m.update(skipped=[7]),
        lambda m: m.update(skipped=[[1]]),
        lambda m: m["arrays"].update(ids=[]),
        lambda m: m["arrays"]["mask"].update(shape=[1]),
    ):
        meta = json.loads(path.read_bytes())["content"]
        spoil(meta)
        path.write_text(json.dumps({"checksum": encoded_cache._checksum(meta), "content": meta}))
        with pytest.warns(CacheWarning, match="can't be used"):
            assert content(keep(jsonl, talk)) == content(first)


def test_a_file_in_the_place_of_an_entry_gives_way(jsonl, talk):
    entry = keep(jsonl, talk, cache=True).entry
    shutil.rmtree(entry)
    entry.write_text("?")
    with pytest.warns(CacheWarning, match="can't be used"):
        assert keep(jsonl, talk).entry == entry
    assert keep(jsonl, talk).cached


# Where the cache can't be written


@pytest.mark.parametrize("place", ["", "encoded"])
def test_without_a_place_to_write_it_goes_on(jsonl, talk, tmp_path, place):
    (tmp_path / "cache" / place).parent.mkdir(exist_ok=True)
    (tmp_path / "cache" / place).write_text("a file where a folder should be")
    with pytest.warns(
        CacheWarning,
        match=r"can't be kept in .*; going on without\. MINIMIND_LITE_CACHE names another folder",
    ) as said:
        data = keep(jsonl, talk)
    assert len(said) == 1 and len(data.rows) == 3 and data.entry is None


def test_a_disk_that_fills_up_goes_on_and_leaves_nothing(jsonl, talk, folder, monkeypatch):
    append = encoded_cache._GrowingArray.append

    def full(self, values):
        if str(folder) in self.file.name and self.n:
            raise OSError(28, "No space left on device")
        append(self, values)

    monkeypatch.setattr(encoded_cache._GrowingArray, "append", full)
    with pytest.warns(CacheWarning, match="No space left on device"):
        assert len(keep(jsonl, talk).rows) == 3
    assert list(folder.iterdir()) == []


def test_a_temporary_form_goes_with_its_result(jsonl, talk, tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_cache.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    rows = keep(jsonl, talk, cache=False).rows
    assert len(rows.row(0)[0]) > 0 and list((tmp_path / "tmp").iterdir()) == []


def test_half_built_entries_of_killed_processes_are_swept(jsonl, talk, folder):
    for name, age in ((".building-old", 2 * encoded_cache.STALE_SECONDS), (".building-new", 0)):
        (folder / name / "new").mkdir(parents=True)
        for path in (folder / name / "new", folder / name):
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    keep(jsonl, talk)
    assert [p.name for p in folder.glob(".building-*")] == [".building-new"]


# Errors


def test_a_bad_line_stops_and_leaves_nothing(jsonl, talk, folder):
    with pytest.raises(BadLineError, match=r"a\.jsonl, line 2 \(byte"):
        keep(jsonl, talk, on_error="raise")
    assert list(folder.iterdir()) == []


def test_a_missing_file_and_a_folder_are_errors(tmp_path, talk):
    with pytest.raises(FileNotFoundError):
        keep(tmp_path / "none.jsonl", talk)
    with pytest.raises(IsADirectoryError):
        keep(tmp_path, talk)


def test_a_file_that_grows_while_it_is_read_is_an_error(jsonl, talk, folder, monkeypatch):
    def growing(path, **options):
        yield from read(path, **options)
        jsonl.write_bytes(jsonl.read_bytes() + b"\n" + GOOD)

    monkeypatch.setattr(encoded_cache, "read", growing)
    with pytest.raises(
        ValueError, match=r"a\.jsonl changed while it was read; wait until it is complete"
    ):
        keep(jsonl, talk)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_once(tmp_path, talk):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        [sys.executable, "-c", f"open({str(tmp_path / 'pipe')!r}, 'wb').write({GOOD!r})"]
    ):
        data = keep(tmp_path / "pipe", talk)
    assert len(data.rows) == 1 and data.entry is None and data.content is None


# Two at once


def test_processes_that_build_the_same_entry_do_not_disturb_each_other(tmp_path, folder):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([GOOD, LONG] * 300))
    tokenizer = shipped.folder() / "tokenizer.json"
    code = (
        "import shutil\n"
        "from minimind_lite.chat import Chat, load_tokenizer; from minimind_lite.files.encoded_cache import encode_file\n"
        f"chat = Chat(load_tokenizer({str(tokenizer)!r}))\n"
        "for _ in range(10):\n"
        f"    data = encode_file({str(path)!r}, chat, smallest=0)\n"
        "    print(len(data.rows), int(data.rows.ids.astype(int).sum()), int(data.rows.supervised().sum()))\n"
        "    shutil.rmtree(data.entry, ignore_errors=True)\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=100) for process in running]
    alone = encode_file(path, Chat(chat.load_tokenizer(tokenizer)), cache=False).rows
    expected = f"{len(alone)} {alone.ids.astype(int).sum()} {alone.supervised().sum()}\n" * 10
    for (out, err), process in zip(said, running):
        # Each pulls the entry away under the other, which may say so, but is never wrong.
        assert out == expected and process.returncode == 0, err


def test_it_needs_no_torch():
    code = "import sys; from minimind_lite.files import encoded_cache; from minimind_lite.bench import streaming; print([m for m in ('torch', 'datasets', 'pandas') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_the_cache_folder_is_the_platform_s_unless_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIMIND_LITE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "encoded"
    monkeypatch.delenv("MINIMIND_LITE_CACHE")
    assert "minimind_lite" in cache_folder().parts and cache_folder().name == "encoded"


# Command line


def test_train_finds_the_encoded_form_again_and_its_run_tells_lines(
    tmp_path, monkeypatch, capsys, folder
):
    monkeypatch.setattr(encode_file, "__kwdefaults__", encode_file.__kwdefaults__ | {"smallest": 0})
    path = tmp_path / "a.jsonl"
    write(path, [c.messages for c in shipped.conversations()[:6]])
    path.write_bytes(b"bad\n" + path.read_bytes())

    words = [
        "train",
        "--data",
        str(path),
        "--out",
        "",
        "--batch-size",
        "2",
        "--max-steps",
        "2",
        "--probe-every",
        "0",
        "--skip-bad-lines",
    ]
    said, runs = [], []
    for name, extra in (("a", ["--no-cache"]), ("b", []), ("c", [])):
        words[4] = str(tmp_path / name)
        assert cli.main([*words, *extra]) == 0
        said.append(capsys.readouterr().out)
        runs.append(Run.load(tmp_path / name))
    assert (
        "Token ids" not in said[0]
        and "Token ids kept in" in said[1]
        and "Token ids found in" in said[2]
    )
    assert all("6 conversations read, 1 lines skipped, 7 lines" in out for out in said)
    for run in runs:
        assert (
            run.info["skipped_lines"] == [1]
            and run.info["data_lines"] == 7
            and run.loss == pytest.approx(runs[0].loss, abs=1e-6)
        )
        assert line_numbers(run.records[1].rows, run.info["skipped_lines"]).tolist() == [4, 5]

    [meta] = folder.glob("*/meta.json")
    meta.write_text("?")
    cli._encode(path, shipped.chat(), cli.parser().parse_args(words))
    [line] = capsys.readouterr().err.splitlines()
    assert re.match(
        r"warning: the cached form of .* can't be used \(.*\); encoding it anew\.$", line
    )


# Measuring


def test_streaming_is_measured(capfd):
    found = streaming.measure_streaming(0.3, rounds=1)
    assert (
        0.29 <= found.size_mb <= 0.3
        and found.rows > 0
        and found.tokens > found.rows
        and 0 < found.peak_mb <= found.training_peak_mb
    )
    assert (
        found.mb_per_second == pytest.approx(found.size_mb / found.seconds)
        and found.ratio_to_batch_encoder > 0
    )
