"""A file becomes the same rows by every way: direct, by chunks, from the cache, after damage."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minimind_lite.chat import Chat
from minimind_lite.files import encoded, encoded_cache, encoding, shipped
from minimind_lite.files.encoded import ARRAYS, line_numbers
from minimind_lite.files.encoded_cache import CacheWarning, cache_folder, encode_file
from minimind_lite.files.jsonl import BadLineError, ReadReport, read
from minimind_lite.files.tokenizer import load_tokenizer, train_tokenizer

FEW = settings(max_examples=20, deadline=None)
GOOD = (
    b'{"conversations": [{"role": "user", "content": "How are you?"}, '
    b'{"role": "assistant", "content": "Fine, \xe4\xbd\xa0\xe5\xa5\xbd"}]}'
)
LONG = GOOD.replace(b"Fine", b"So am I. " * 9)
BAD = b"not JSON"
FILES = [*ARRAYS, "meta.json"]

lines = st.lists(st.sampled_from([GOOD, LONG, BAD, b""]), max_size=8)
lengths = st.none() | st.integers(1, 40)


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
    arrays = (data.rows.ids, data.rows.mask, data.rows.offsets)
    return (
        [(a.dtype.str, a.tolist()) for a in arrays],
        data.report.read,
        data.report.skipped,
        data.report.ignored,
        data.cut.tolist(),
        data.n_cut,
    )


def entry_files(folder):
    return sorted(p.name for p in folder.glob("*/*"))


# The same rows by every way


@FEW
@given(lines, lengths, st.integers(1, 200))
@example([], None, 1)
@example([BAD], 1, 1)
@example([GOOD, LONG], 14, 1)
def test_from_the_cache_by_chunks_and_direct_are_the_same(
    talk, tmp_path_factory, many, max_len, size
):
    tmp = tmp_path_factory.mktemp("law")
    path, report = tmp / "a.jsonl", ReadReport()
    path.write_bytes(b"\n".join(many))
    conversations = list(read(path, on_error="skip", report=report))
    direct = [talk.encode(c.messages, max_len) for c in conversations]
    answered = [any(mask[1:]) for _, mask in direct]  # the others are bad lines, too
    direct = [row for row, good in zip(direct, answered) if good]
    bad = {b.line for b in report.skipped} | {
        c.line for c, good in zip(conversations, answered) if not good
    }
    conversations = [c for c, good in zip(conversations, answered) if good]
    lines_of_rows = [c.line for c in conversations]
    n_cut = sum(len(talk.encode(c.messages)[0]) > (max_len or 999) + 1 for c in conversations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMIND_LITE_CACHE", str(tmp))
        patch.setattr(encoding, "CHUNK_CHARACTERS", size)
        ways = [keep(path, talk, max_len=max_len, cache=cache) for cache in (False, True, True)]
    assert [w.cached for w in ways] == [False, False, True]
    for data in ways:
        assert [
            (ids.tolist(), mask.tolist()) for ids, mask in map(data.rows.row, range(len(data.rows)))
        ] == direct
        assert [b.line for b in data.report.skipped] == sorted(bad)
        assert data.report.read == len(direct) and data.report.lines == report.lines
        skipped = [b.line for b in data.report.skipped]
        assert line_numbers(np.arange(len(direct)), skipped).tolist() == lines_of_rows
        assert data.n_cut == n_cut  # a line break after the last answer is no loss
        assert content(data) == content(ways[0])


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_the_line_of_a_row_follows_from_the_lines_that_were_skipped(good):
    kept = [i + 1 for i, flag in enumerate(good) if flag]
    skipped = [i + 1 for i, flag in enumerate(good) if not flag]
    assert line_numbers(np.arange(len(kept)), skipped).tolist() == kept


def test_the_arrays_are_maps_that_can_t_be_written_to(jsonl, talk):
    for data in (keep(jsonl, talk), keep(jsonl, talk), keep(jsonl, talk, cache=False)):
        for array in (data.rows.ids, data.rows.mask, data.rows.offsets):
            assert (
                type(array) is np.ndarray
                and not array.flags.writeable
                and isinstance(array.base, np.memmap)
            )


def test_progress_ends_at_the_whole(jsonl, talk):
    seen = []
    keep(jsonl, talk, progress=lambda *step: seen.append(step))
    size = jsonl.stat().st_size
    assert ("encoding", size, size) in seen
    assert all(0 <= done <= total for _, done, total in seen)


# What an entry is kept under


def test_an_entry_holds_what_it_says_and_nothing_half_built_is_left(jsonl, talk, folder):
    data = keep(jsonl, talk, max_len=40)
    assert (
        data.entry.parent == folder
        and entry_files(folder) == sorted(FILES)
        and len(list(folder.iterdir())) == 1
    )
    assert np.fromfile(data.entry / "offsets", np.int64).tolist() == data.rows.offsets.tolist()


def test_another_file_time_size_tokenizer_or_setting_is_another_entry(jsonl, talk, folder):
    keep(jsonl, talk)
    assert keep(jsonl, talk).cached
    assert not keep(jsonl, talk, max_len=5).cached
    assert not keep(jsonl, Chat(train_tokenizer(["Fine, fine, fine"], 290))).cached
    os.utime(jsonl, ns=(1, 1))
    assert not keep(jsonl, talk).cached
    jsonl.write_bytes(GOOD)
    os.utime(jsonl, ns=(1, 1))
    assert not keep(jsonl, talk).cached and not keep(jsonl, talk, on_error="raise").cached
    shutil.copy2(jsonl, jsonl.with_name("b.jsonl"))
    assert not keep(jsonl.with_name("b.jsonl"), talk).cached
    assert len(list(folder.iterdir())) == 7


def test_what_was_skipped_and_cut_comes_back_from_the_cache(jsonl, talk):
    jsonl.write_bytes(GOOD.replace(b'"user", ', b'"user", "tools": "[]", ') + b"\n" + BAD)
    first, second = keep(jsonl, talk, max_len=25), keep(jsonl, talk, max_len=25)
    assert second.cached and content(second) == content(first)
    assert (second.report.ignored, second.n_cut) == ({"tools": 1}, 1)


def test_small_files_and_no_cache_leave_nothing(jsonl, talk, folder):
    for data in (encode_file(jsonl, talk, on_error="skip"), keep(jsonl, talk, cache=False)):
        assert len(data.rows) == 3 and not data.cached and data.entry is None
    assert not folder.exists()


# Damage


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def flip_last(path):
    data = bytearray(path.read_bytes())
    data[data.index(b'"skipped"') + 30 if path.suffix else -1] ^= 1
    path.write_bytes(data)


def flip_first(path):
    path.write_bytes(b"x" + path.read_bytes()[1:])


def folder_instead(path):
    path.unlink()
    path.mkdir()


DAMAGE = [
    truncate,
    flip_last,
    flip_first,
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
            match=r"the cached form of .*a\.jsonl can't be used \(.+\); encoding it again",
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
        damaged[data.draw(st.integers(0, 9999)) % len(damaged)] ^= 1 << data.draw(st.integers(0, 7))
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
        lambda m: m.pop("fingerprints"),
        lambda m: m.pop("skipped"),
        lambda m: m.update(skipped=[7]),
        lambda m: m.update(skipped=[[1]]),
        lambda m: m["fingerprints"].pop("ids"),
        lambda m: m.update(read=[]),
        lambda m: m.update(ignored=7),
    ):
        meta = json.loads(path.read_bytes())["content"]
        spoil(meta)
        path.write_text(json.dumps({"checksum": encoded_cache._digest(meta), "content": meta}))
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
    write_arrays = encoded._write_arrays

    def full(target, *arguments):
        write_arrays(target, *arguments)
        if folder in target.parents:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoded, "_write_arrays", full)
    with pytest.warns(CacheWarning, match="No space left on device"):
        assert len(keep(jsonl, talk).rows) == 3
    assert list(folder.iterdir()) == []


def test_a_temporary_form_goes_with_its_result(jsonl, talk, tmp_path, monkeypatch):
    monkeypatch.setattr(encoded_cache.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    rows = keep(jsonl, talk, cache=False).rows
    assert len(rows.row(0)[0]) > 0 and list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("cache", [True, False])
def test_what_killed_processes_left_half_built_is_swept(jsonl, talk, folder, monkeypatch, cache):
    """An encoding without the cache left its folder for ever."""
    monkeypatch.setattr(encoded_cache.tempfile, "tempdir", str(jsonl.parent))
    place, name = (folder, ".{}.tmp") if cache else (jsonl.parent, "minimind_lite-encoding-{}")
    for age in (0, 2 * encoded_cache.STALE_SECONDS):
        leftover = place / name.format(age)
        leftover.mkdir(parents=True)
        (leftover / "ids").touch()
        for path in (leftover / "ids", leftover):
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    keep(jsonl, talk, cache=cache)
    assert [p.name for p in place.glob(name.format("*"))] == [name.format(0)]


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

    monkeypatch.setattr(encoded, "read", growing)
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
    assert len(data.rows) == 1 and data.entry is None


# Two at once


def test_processes_that_build_the_same_entry_do_not_disturb_each_other(tmp_path, folder):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([GOOD, LONG] * 300))
    tokenizer = shipped.folder() / "tokenizer.json"
    code = (
        "import shutil\n"
        "from minimind_lite.chat import Chat\n"
        "from minimind_lite.files.tokenizer import load_tokenizer\n"
        "from minimind_lite.files.encoded_cache import encode_file\n"
        f"chat = Chat(load_tokenizer({str(tokenizer)!r}))\n"
        "for _ in range(10):\n"
        f"    data = encode_file({str(path)!r}, chat, smallest=0)\n"
        "    ids, answers = data.rows.ids.astype(int), data.rows.supervised()\n"
        "    print(len(data.rows), ids.sum(), answers.sum())\n"
        "    shutil.rmtree(data.entry, ignore_errors=True)\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=100) for process in running]
    alone = encode_file(path, Chat(load_tokenizer(tokenizer)), cache=False).rows
    expected = f"{len(alone)} {alone.ids.astype(int).sum()} {alone.supervised().sum()}\n" * 10
    for (out, err), process in zip(said, running):
        # Each pulls the entry away under the other, which may say so, but is never wrong.
        assert out == expected and process.returncode == 0, err


def test_it_needs_no_torch():
    code = (
        "import sys; from minimind_lite.files import encoded_cache\n"
        "print([m for m in ('torch', 'datasets', 'pandas') if m in sys.modules])"
    )
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_cache_folder_is_the_platform_s_unless_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIMIND_LITE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "encoded"
    monkeypatch.delenv("MINIMIND_LITE_CACHE")
    assert "minimind_lite" in cache_folder().parts and cache_folder().name == "encoded"


def test_the_home_of_nobody_is_an_error_that_names_the_variable(monkeypatch):
    """It was a traceback: `expanduser` raises RuntimeError."""
    monkeypatch.setenv("MINIMIND_LITE_CACHE", "~nosuchuser/c")
    with pytest.raises(ValueError, match="MINIMIND_LITE_CACHE='~nosuchuser/c' names no folder"):
        cache_folder()


# Rows that can't be trained on


def test_a_row_without_an_answer_token_is_a_bad_line(jsonl, talk):
    """Training died at such a row, in the middle of a run."""
    unanswered = GOOD.replace(b"you?", b"you? " * 30)
    jsonl.write_bytes(b"\n".join([GOOD, unanswered, GOOD]))
    with pytest.raises(BadLineError, match=r"line 2 .*no answer among the first 25 tokens"):
        keep(jsonl, talk, max_len=25, on_error="raise")
    jsonl.write_bytes(b"\n".join([GOOD, unanswered, BAD, GOOD]))
    for attempt in range(2):
        data = keep(jsonl, talk, max_len=25)
        assert data.cached is bool(attempt)
        assert len(data.rows) == 2 and data.rows.supervised().min() > 0
        assert [bad.line for bad in data.report.skipped] == [2, 3]
        assert (data.report.read, data.report.lines) == (2, 4)
        skipped = [bad.line for bad in data.report.skipped]
        assert line_numbers(np.arange(2), skipped).tolist() == [1, 4]


def test_a_file_cut_short_while_it_is_read_has_changed(jsonl, talk, monkeypatch):
    """It was called a line that is not JSON."""

    def shrinking(path, **options):
        for conversation in read(path, **options):
            os.truncate(jsonl, len(GOOD) + 9)
            yield conversation

    jsonl.write_bytes((GOOD + b"\n") * 1000)  # more than a reader takes in at once
    monkeypatch.setattr(encoded, "read", shrinking)
    with pytest.raises(ValueError, match="changed while it was read"):
        keep(jsonl, talk, on_error="raise")
