"""Whatever `train --data` is given becomes a file of lines, or an error that names what it is."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import re
import sys
import zipfile

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


TABLE = "".join(f'{i}|"{talk[0][1]}"|{talk[1][1]}\n' for i, talk in enumerate(TALKS))


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
        ("a.jsonl.xz", lzma.compress(LINES), False),
        ("a.zip", None, False),
        ("a.jsonl", LINES.decode().encode("utf-16"), False),
        ("a.jsonl", LINES.decode().encode("utf-16-le"), False),
        ("a.jsonl", LINES.decode().encode("utf-16-be"), False),
        ("a.jsonl", LINES.decode().encode("utf-32"), False),
        ("a.json", json.dumps(ROWS, indent=1).encode(), False),
        ("a.json", "\n".join(json.dumps(row, indent=1) for row in ROWS).encode(), False),
        ("a.json", ",\n".join(json.dumps(row, indent=1) for row in ROWS).encode("utf-16"), False),
        ("a.csv", b"id;prompt;response\r\n" + TABLE.replace("|", ";").encode(), False),
        ("a.tsv", b"\xef\xbb\xbfid\tprompt\tresponse\n" + TABLE.replace("|", "\t").encode(), False),
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
    elif name == "a.zip":
        path.write_bytes(zipped(**{"__MACOSX/._a": b"?", "data/": b"", "data/a.jsonl": LINES}))
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


def zipped(**members):
    """A ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


REFUSED = {  # what a file holds: what it is called, and what to do
    b"": ("is empty", "a conversation on each line"),
    b"\x89PNG\r\n": ("is a picture", "the file that holds the conversations"),
    b"\xff\xd8\xff\xe0": ("is a picture", "the file that holds"),
    b"%PDF-1.7": ("is a PDF document", "the file that holds"),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", "7z x FILE"),
    b"ARROW1": ("is an Arrow file", "Write it as Parquet"),
    b"SQLite format 3": ("is an SQLite database", "Export the table"),
    b"version https://git-lfs.github.com/spec/v1": ("is a pointer of Git LFS", "git lfs pull"),
    b"\n<!DOCTYPE html><html>": ("is a web page", "/resolve/"),
    b"a" * 257 + b"ustar\0": ("is a tar archive", "tar -xf FILE"),
    b"\x80\x04": ("is a Python pickle", "ask for JSON lines"),
    (len(LINES)).to_bytes(8, "little") + b'{"a"': ("is a file of weights", "the file that holds"),
    zipped(a=LINES, b=LINES): ("is a ZIP archive of 2 files (a, b)", "unzip FILE"),
    zipped(**{"[Content_Types].xml": "", "xl/a.xml": ""}): ("is an Office document", "as CSV"),
    zipped(**{"archive/data.pkl": ""}): ("is a file of weights", ""),
    b"PK\x03\x04and no more": ("can't be unpacked", ""),
    b"\xfd7zXZ\0and no more": ("can't be unpacked", ""),
    codecs.BOM_UTF16_LE + LINES[:101]: ("looks like UTF-16 and is damaged", ""),
    b'{\n "conversations": []\n}\n{"a": ': ("over several lines and is damaged", "line 4"),
    b'{\n "conversations": []\n}\n7': ("is damaged", "line 4 is no object"),
    b"question,answer\na,b,c\n": ("is a damaged table", "line 2 has not the 2 columns"),
    b'question,answer\n"a" b,c\n': ("is a damaged table", "expected after"),
}


@pytest.mark.parametrize("content", REFUSED, ids=[name for name, _ in REFUSED.values()])
def test_what_holds_no_conversations_is_called_by_its_name(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content + b"\0\1\n\2" * 50 if b"ARROW" in content else content)
    with pytest.raises((ValueError, OSError)) as error:
        as_jsonl(str(path), tmp_path / "lines", progress=quiet)
    text = str(error.value)
    assert text.startswith(f"{path} ") and all(part in text for part in REFUSED[content])


def test_a_table_with_other_columns_says_how_to_name_them(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("title\tbody\na\tb\n")
    with pytest.raises(ValueError, match=r"names no question and answer\. Call two .* instruction"):
        as_jsonl(str(path), tmp_path, progress=quiet)


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
    with pytest.raises(ValueError, match=r"without Parquet files. Name one .*/a.jsonl\.$"):
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


def test_a_file_that_changes_while_it_is_converted_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(OTHERS["Alpaca's format"]) + "\n")

    def shrink(what, done, total):
        path.write_text("{}")

    with pytest.raises(ValueError, match=r"a\.json changed while it was read; wait"):
        as_jsonl(str(path), tmp_path / "lines", progress=shrink)
    assert list((tmp_path / "lines").iterdir()) == []


def test_a_name_as_long_as_a_name_can_be_is_shortened(tmp_path):
    path = tmp_path / ("a" * 250 + ".json")
    path.write_text(json.dumps(ROWS))
    assert len(list(read(as_jsonl(str(path), tmp_path / "lines", progress=quiet)))) == 3


def test_what_a_file_was_is_told_from_the_outside_in(tmp_path):
    path, formats = tmp_path / "a.gz", []
    path.write_bytes(gzip.compress(json.dumps([OTHERS["ShareGPT's format"]]).encode()))
    as_jsonl(str(path), tmp_path / "lines", progress=quiet, formats=formats)
    assert formats == ["gzip", "a JSON array", "ShareGPT's", "MiniMind's"]


def test_what_comes_before_a_question_is_kept():
    """Alpaca's system, history and input; a system beside ShareGPT's turns; a list as a prompt."""
    alpaca = {"instruction": "b", "input": "c", "output": "d", "system": "s"}
    turns = other_turns(alpaca | {"history": [["q", "a"]]})
    assert [t["content"] for t in turns] == ["s", "q", "a", "b\nc", "d"]
    assert [t["role"] for t in turns] == ["system", *["user", "assistant"] * 2]
    talk = OTHERS["ShareGPT's format"] | {"system": "s"}
    assert other_turns(talk)[0] == {"role": "system", "content": "s"}
    pair = {"prompt": [{"role": "user"}], "chosen": [{"role": "assistant"}]}
    assert other_turns(pair) == [{"role": "user"}, {"role": "assistant"}]


@pytest.mark.parametrize(
    "data",
    [
        {"instruction": 7, "output": "b"},
        {"instruction": "a", "input": ["x"], "output": "b"},
        {"instruction": "a", "output": "b", "history": ["x"]},
        {"prompt": None, "completion": "b"},
    ],
)
def test_what_is_no_text_is_not_made_one(tmp_path, data):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(data))
    with pytest.raises(BadLineError, match=r"line 1 .* not text"):
        list(read(as_jsonl(str(path), tmp_path / "lines", progress=quiet)))
