"""Whatever `train --data` is given becomes a file of lines, or an error that names what it is."""

import bz2
import gzip
import json
import os
import re
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minimind_lite.files.formats import other_turns
from minimind_lite.files.jsonl import BadLineError, read
from minimind_lite.files.sources import as_jsonl

TALKS = [(("user", f"How are you, {i}?"), ("assistant", "你好")) for i in range(3)]
ROWS = [
    {"conversations": [{"role": role, "content": content} for role, content in talk]}
    for talk in TALKS
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def quiet(what, done, total):
    """No progress shown."""


@pytest.mark.parametrize(
    "name, content, stays",
    [
        ("a.jsonl", LINES, True),
        ("a.txt", b"\xef\xbb\xbf" + LINES, True),
        ("a.jsonl.gz", gzip.compress(LINES), False),
        ("a.jsonl.bz2", bz2.compress(LINES), False),
        ("a.jsonl.zst", None, False),
        ("a.json", json.dumps(ROWS, indent=1).encode(), False),
        ("a.json.gz", gzip.compress(b"\xef\xbb\xbf " + json.dumps(ROWS).encode()), False),
        ("a.parquet", None, False),
        ("folder", None, False),
    ],
)
def test_every_kind_of_file_gives_the_same_conversations(tmp_path, name, content, stays):
    path = tmp_path / name
    if name.endswith(".zst"):
        with pa.output_stream(str(path), compression="zstd") as out:
            out.write(LINES)
    elif content is None:
        if name == "folder":
            path.mkdir()
        pq.write_table(pa.Table.from_pylist(ROWS), path / "0.parquet" if path.is_dir() else path)
    else:
        path.write_bytes(content)
    lines = as_jsonl(str(path), tmp_path / "lines", progress=quiet)
    assert [c.messages for c in read(lines)] == TALKS
    assert (lines == path) is stays
    before = os.stat(lines)
    assert as_jsonl(str(path), tmp_path / "lines", progress=quiet) == lines
    assert os.stat(lines).st_mtime_ns == before.st_mtime_ns  # written once


def test_another_version_of_a_file_is_read_again(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS))
    first = as_jsonl(str(path), tmp_path / "lines", progress=quiet)
    path.write_text(json.dumps(ROWS[:1]))
    second = as_jsonl(str(path), tmp_path / "lines", progress=quiet)
    assert (len(list(read(first))), len(list(read(second)))) == (3, 1)


@pytest.mark.parametrize(
    "data, name, files",
    [
        ("hf://owner/name", "owner/name", None),
        ("hf://owner/name/sft_mini_512.jsonl", "owner/name", ["sft_mini_512.jsonl"]),
        ("hf://owner/name/a/b.parquet", "owner/name", ["a/b.parquet"]),
    ],
)
def test_a_name_on_the_hub_is_handed_to_datasets(tmp_path, monkeypatch, data, name, files):
    import datasets

    calls, seen = [], []

    def load_dataset(path, **options):
        calls.append((path, options))
        return iter(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    lines = as_jsonl(data, tmp_path, progress=lambda *step: seen.append(step))
    assert [c.messages for c in read(lines)] == TALKS
    assert calls == [(name, {"data_files": files, "split": "train", "streaming": True})]
    assert seen == [("reading rows", n, 0) for n in (1, 2, 3)]


BINARY = {
    "a ZIP archive": b"PK\x03\x04",
    "an XZ archive": b"\xfd7zXZ",
    "a PNG picture": b"\x89PNG\r\n",
    "an Arrow file": b"ARROW1",
    "an SQLite database": b"SQLite",
}


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_file_goes_to_the_reader_which_says_so(tmp_path, name):
    path = tmp_path / "a.jsonl"
    path.write_bytes(BINARY[name] + b"\0\1\2" * 50)
    assert as_jsonl(str(path), tmp_path, progress=quiet) == path
    with pytest.raises(BadLineError, match=r"a\.jsonl, line 1 .*A binary file"):
        list(read(path))


@pytest.mark.parametrize(
    "name, content",
    [
        ("cut.gz", gzip.compress(LINES * 99)[:-30]),
        ("not.gz", b"\x1f\x8bnothing"),
        ("a.parquet", b"PAR1 and no more"),
        ("a.json", b'[{"a": 1}, '),
        ("deep.json", b"[" * 100_000),
        ("list.json", b'[["a"]]'),
    ],
)
def test_what_is_damaged_is_an_error_and_leaves_nothing(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, OSError), match=re.escape(str(tmp_path / name))):
        as_jsonl(str(tmp_path / name), tmp_path / "lines", progress=quiet)
    assert not (tmp_path / "lines").exists() or list((tmp_path / "lines").iterdir()) == []


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl; for a dataset of the hub"):
        as_jsonl(str(tmp_path / "none.jsonl"), tmp_path, progress=quiet)
    (tmp_path / "a.jsonl").write_bytes(LINES)
    with pytest.raises(ValueError, match="is a folder without Parquet files"):
        as_jsonl(str(tmp_path), tmp_path, progress=quiet)


def test_the_hub_out_of_reach_is_an_error(tmp_path, monkeypatch):
    import datasets

    def load_dataset(path, **options):
        raise datasets.exceptions.DatasetNotFoundError("no such dataset\nmore")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match=r"hf://a/b can't be read by `datasets`: no such dataset$"):
        as_jsonl("hf://a/b", tmp_path, progress=quiet)


def test_plain_files_need_no_datasets(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_bytes(LINES)
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    as_jsonl(str(tmp_path / "a.jsonl"), tmp_path, progress=quiet)
    assert "datasets" not in sys.modules


# Other formats

OTHERS = {
    "ShareGPT's format": {
        "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    },
    "OpenAI's chat format": {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    },
    "Alpaca's format": {"instruction": "a", "input": "", "output": "b"},
    "preference pairs (DPO)": {"prompt": "a", "chosen": "b", "rejected": "c"},
    "prompts and completions": {"prompt": "a", "completion": "b"},
    "prompts and responses": {"prompt": "a", "response": "b"},
    "questions and answers": {"question": "a", "answer": "b"},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_another_format_is_converted_line_by_line(tmp_path, name, packed):
    path, text = tmp_path / "a.jsonl", (json.dumps(OTHERS[name]) + "\n") * 2
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    lines = as_jsonl(str(path), tmp_path / "lines", progress=quiet)
    assert [c.messages for c in read(lines)] == [(("user", "a"), ("assistant", "b"))] * 2


def test_pairs_keep_their_input_and_chosen_conversations_are_taken():
    alpaca = {"instruction": "Translate.", "input": "你好", "output": "Hello."}
    assert other_turns(alpaca)[0]["content"] == "Translate.\n你好"
    chosen = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert other_turns({"chosen": chosen, "rejected": []}) == chosen


def test_minimind_s_own_lines_may_have_any_other_key():
    for key in ("text", "messages", "chosen"):
        assert other_turns(ROWS[0] | {key: [{"role": "user", "content": "a"}]}) is None


def test_texts_for_pretraining_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "once upon"}\n')
    with pytest.raises(ValueError, match="holds texts for pretraining: there are no answers"):
        as_jsonl(str(path), tmp_path, progress=quiet)


def test_lines_in_no_known_format_stay_where_they_are(tmp_path):
    path = tmp_path / "a.jsonl"
    alpaca = json.dumps(OTHERS["Alpaca's format"]).encode()
    path.write_bytes(alpaca + b"\r\n\xff\xfe\n" + LINES + b"[\n" + b"{}")
    lines = as_jsonl(str(path), tmp_path / "lines", progress=quiet).read_bytes().splitlines()
    assert (lines[1], lines[-2:]) == (b"\xff\xfe", [b"[", b"{}"]) and len(lines) == 7


def test_a_file_is_not_unpacked_for_ever(tmp_path):
    data = LINES
    for _ in range(9):
        data = gzip.compress(data)
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(ValueError, match="packed in more than 5 layers"):
        as_jsonl(str(tmp_path / "a.gz"), tmp_path / "lines", progress=quiet)
