"""Files of chat data, damaged in every way that we could think of; each is drawn from its number.

A case is a file of a few conversations in one format, one line of it damaged, and all of it packed.
What was left whole is known, so that a reader which loses a line is caught.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from minimind_lite.conversations import Messages

TEXTS = (
    "Hello?",
    "你好，你好吗？",
    'a "quoted" text\nin two lines',
    "x" * 200,
    "😀 $\\frac$ <b>",
    "1",
)
HUGE = 1 << 20  # characters of a huge line
VALUES: tuple[Any, ...] = (None, True, 7, -1.5, "", " ", [], {}, ["a"], {"a": "b"}, 10**30)


@dataclass(frozen=True)
class Case:
    """A file, and what is known of it."""

    number: int
    format: str
    damage: str
    packing: str
    name: str
    content: bytes | None  # None for a folder
    first_whole: bool  # whether its first line was left as it was
    whole: tuple[Messages, ...]  # conversations that were left as they were, in file order

    def __str__(self) -> str:
        return f"case {self.number} ({self.format}; {self.damage}; {self.packing})"


def case(number: int, *, seed: int = 0) -> Case:
    """The case of a number: always the same file."""
    rng = random.Random(f"{seed}-{number}")
    format_name, damage = rng.choice(sorted(FORMATS)), rng.choice(sorted(DAMAGES))
    packing = rng.choice(sorted(PACKINGS))
    talks = [_talk(rng) for _ in range(rng.randint(1, 5))]
    lines = [_dumps(FORMATS[format_name](talk), rng) for talk in talks]
    place = rng.randrange(len(lines))
    if damage != "none":
        lines[place] = DAMAGES[damage](rng, lines[place])
    suffix, pack = PACKINGS[packing]
    content = pack(rng, lines)
    rest = [talk for i, talk in enumerate(talks) if damage == "none" or i != place]
    unknown = packing in UNKNOWN or format_name in NEVER_READ
    return Case(
        *(number, format_name, damage, packing, f"a.{suffix}", content),
        first_whole=damage == "none" or place > 0,
        whole=() if unknown else tuple(rest),
    )


def _talk(rng: random.Random) -> Messages:
    pairs = rng.randint(1, 2)
    roles = ["system"] * rng.randint(0, 1) + ["user", "assistant"] * pairs
    return tuple((role, rng.choice(TEXTS)) for role in roles)


def _dumps(data: object, rng: random.Random) -> bytes:
    return json.dumps(data, ensure_ascii=rng.random() < 0.5).encode()


# Formats: a conversation as the object of a line


def _minimind(talk: Messages) -> object:
    return {"conversations": [{"role": role, "content": content} for role, content in talk]}


def _share_gpt(talk: Messages) -> object:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return {"conversations": [{"from": names[role], "value": content} for role, content in talk]}


def _openai(talk: Messages) -> object:
    return {"messages": [{"role": role, "content": content} for role, content in talk]}


def _alpaca(talk: Messages) -> object:
    system = dict(talk[:1]).get("system", "")
    *history, (_, question), (_, answer) = [m for m in talk if m[0] != "system"]
    pairs = [[history[i][1], history[i + 1][1]] for i in range(0, len(history), 2)]
    return {"instruction": question, "output": answer, "system": system, "history": pairs}


def _preferences(talk: Messages) -> object:
    chosen = [{"role": role, "content": content} for role, content in talk]
    return {"chosen": chosen, "rejected": chosen[:-1]}


def _texts(talk: Messages) -> object:
    return {"text": "\n".join(content for _, content in talk)}


def _tools(talk: Messages) -> object:
    turns = [{"role": role, "content": content} for role, content in talk]
    call = {"role": "assistant", "content": "", "tool_calls": "[{}]"}
    return {"conversations": [*turns[:-1], call, {"role": "tool", "content": "7"}, turns[-1]]}


FORMATS: Mapping[str, Callable[[Messages], object]] = {
    "MiniMind's": _minimind,
    "ShareGPT's": _share_gpt,
    "OpenAI's": _openai,
    "Alpaca's": _alpaca,
    "DPO": _preferences,
    "pretraining": _texts,
    "tool calls": _tools,
}
NEVER_READ = ("pretraining", "tool calls")


# Damages: one line, damaged


def _cut(rng: random.Random, line: bytes) -> bytes:
    return line[: rng.randrange(len(line))]


def _places(data: object) -> list[tuple[Any, Any]]:
    """(container, key) of every value inside."""
    keys = (
        list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    )
    places: list[tuple[Any, Any]] = [(data, key) for key in keys]
    return places + [p for container, key in places for p in _places(container[key])]


def _changed(rng: random.Random, line: bytes, change: Callable[[Any, Any], None]) -> bytes:
    """One value somewhere in the object, changed."""
    data = json.loads(line)
    change(*rng.choice(_places(data)))
    return _dumps(data, rng)


def _wrong_type(rng: random.Random, line: bytes) -> bytes:
    value = rng.choice(VALUES)
    return _changed(rng, line, lambda container, key: container.__setitem__(key, value))


def _missing(rng: random.Random, line: bytes) -> bytes:
    return _changed(rng, line, lambda container, key: container.__delitem__(key))


def _nested(rng: random.Random, line: bytes) -> bytes:
    depth = rng.choice((50, 5_000, 100_000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"-", b""), (b"{'a':-", b"}")))
    return opening * depth + rng.choice((b"1", b"", line)) + closing * rng.choice((0, depth))


def _huge(rng: random.Random, line: bytes) -> bytes:
    text = b"x" * (HUGE + rng.randint(-len(line) - 5, 5) - len(line))
    return line.replace(b'": "', b'": "' + text, 1) if b'": "' in line else text


def _inserted(*pieces: bytes) -> Callable[[random.Random, bytes], bytes]:
    def insert(rng: random.Random, line: bytes) -> bytes:
        place = rng.randint(0, len(line))
        return line[:place] + rng.choice(pieces) + line[place:]

    return insert


def _in_text(*pieces: bytes) -> Callable[[random.Random, bytes], bytes]:
    def insert(rng: random.Random, line: bytes) -> bytes:
        return line.replace(b'": "', b'": "' + rng.choice(pieces))

    return insert


def _scrambled(rng: random.Random, line: bytes) -> bytes:
    data = bytearray(line)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(data))
        data[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
    return bytes(data)


def _twice(rng: random.Random, line: bytes) -> bytes:
    key = rng.choice((b'"conversations": [], ', b'"role": 1, ', b'"role": "user", "role": 2, '))
    return line.replace(b"{", b"{" + key, rng.randint(1, 3))


DAMAGES: Mapping[str, Callable[[random.Random, bytes], bytes]] = {
    "none": lambda rng, line: line,
    "truncation": _cut,
    "wrong type": _wrong_type,
    "missing key": _missing,
    "deep nesting": _nested,
    "huge line": _huge,
    "bad UTF-8": _inserted(b"\xff", b"\xc4\xe3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xbd"),
    "half a surrogate pair": _in_text(rb"\ud83d", rb"\udc00", rb"\ud83d\ud83d"),
    "NUL and control characters": _inserted(b"\0", b"\x1b[2J", b"\x07", b"\x85", b"\x0c"),
    "escape sequences": _in_text(rb"\u001b[31m", rb"\u202e", rb"\u0000", "\u202e".encode()),
    "byte order mark": _inserted(b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"),
    "line separators": _inserted("\u2028".encode(), b"\r", b"\n", b"\r\r\n", b"\x0b"),
    "random bytes": _scrambled,
    "key twice": _twice,
    "two objects": lambda rng, line: line + rng.choice((b"", b" ", b", ")) + line,
    "comma at the end": lambda rng, line: line + b",",
    "Python dict": lambda rng, line: repr(json.loads(line)).encode("utf-8", "surrogatepass"),
    "blank line": lambda rng, line: rng.choice((b"", b" ", b"\t \t")),
    "another format": lambda rng, line: _dumps(rng.choice(list(FORMATS.values()))(_talk(rng)), rng),
    "huge number": lambda rng, line: (
        b'{"id": ' + b"7" * rng.choice((400, 5_000)) + b", " + line[1:]
    ),
    "not an object": lambda rng, line: _dumps(rng.choice(VALUES), rng),
    "Infinity and NaN": _inserted(b"NaN", b"Infinity", b"-Infinity"),
}


# Packings: lines as a file


def _joined(rng: random.Random, lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


def _array(rng: random.Random, lines: list[bytes]) -> bytes:
    return b"[" + rng.choice((b", ", b",\n")).join(lines) + b"]"


def _pretty(rng: random.Random, lines: list[bytes]) -> bytes:
    """Each object over several lines; one that is no JSON stays as it is."""
    parts = []
    for line in lines:
        try:
            parts.append(json.dumps(json.loads(line), indent=1).encode())
        except (ValueError, RecursionError):
            parts.append(line)
    return rng.choice((b"\n", b",\n", b"\n\n")).join(parts)


def _recoded(*encodings: str) -> Callable[[random.Random, list[bytes]], bytes]:
    def recode(rng: random.Random, lines: list[bytes]) -> bytes:
        text = _joined(rng, lines).decode("utf-8", "surrogateescape")
        return text.encode(rng.choice(encodings), "surrogatepass")

    return recode


def _table(delimiter: str) -> Callable[[random.Random, list[bytes]], bytes]:
    def write(rng: random.Random, lines: list[bytes]) -> bytes:
        out = io.StringIO(newline="")
        rows = csv.writer(out, delimiter=delimiter)
        rows.writerow(
            rng.choice((["question", "answer"], ["id", "prompt", "response"], ["a", "b"]))
        )
        rows.writerows([line.decode("utf-8", "replace")[:99], "b"] for line in lines)
        return out.getvalue().encode("utf-8", "replace")

    return write


def _zipped(rng: random.Random, lines: list[bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/a.jsonl", _joined(rng, lines))
        if rng.random() < 0.2:
            archive.writestr("b.txt", "more")
    return out.getvalue()


def _parquet(rng: random.Random, lines: list[bytes]) -> bytes:
    """Rows with one column of turns; a line that does not fit it is left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    ]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows * len(lines)), out)
    return out.getvalue()


def _damaged(pack: Callable[[random.Random, list[bytes]], bytes]) -> Any:
    def damage(rng: random.Random, lines: list[bytes]) -> bytes:
        content = pack(rng, lines)
        return rng.choice((_cut, _scrambled))(rng, content)

    return damage


def _gzipped(rng: random.Random, lines: list[bytes]) -> bytes:
    content = _joined(rng, lines)
    for _ in range(rng.choice((1, 1, 1, 2, 7))):
        content = gzip.compress(content, mtime=0)
    return content


Pack = Callable[[random.Random, list[bytes]], bytes | None]
PACKINGS: Mapping[str, tuple[str, Pack]] = {  # suffix of the file, and what is in it
    "lines": ("jsonl", _joined),
    "lines, CRLF": ("jsonl", lambda rng, lines: b"\r\n".join(lines) + b"\r\n"),
    "lines, byte order mark": ("jsonl", lambda rng, lines: b"\xef\xbb\xbf" + _joined(rng, lines)),
    "lines, none at the end": ("jsonl", lambda rng, lines: b"\n".join(lines)),
    "lines, blank at the end": ("jsonl", lambda rng, lines: _joined(rng, lines) + b" \r\n"),
    "UTF-16": ("jsonl", _recoded("utf-16", "utf-16-le", "utf-16-be")),
    "UTF-32": ("jsonl", _recoded("utf-32")),
    "gzip": ("jsonl.gz", _gzipped),
    "bz2": ("bz2", lambda rng, lines: bz2.compress(_joined(rng, lines))),
    "xz": ("xz", lambda rng, lines: lzma.compress(_joined(rng, lines))),
    "zip": ("zip", _zipped),
    "JSON array": ("json", _array),
    "pretty JSON": ("json", _pretty),
    "CSV": ("csv", _table(",")),
    "TSV": ("tsv", _table("\t")),
    "Parquet": ("parquet", _parquet),
    "damaged lines": ("jsonl", _damaged(_joined)),
    "damaged UTF-16": ("jsonl", _damaged(_recoded("utf-16"))),
    "damaged gzip": ("gz", _damaged(_gzipped)),
    "damaged xz": ("xz", _damaged(lambda rng, lines: lzma.compress(_joined(rng, lines)))),
    "damaged zip": ("zip", _damaged(_zipped)),
    "damaged Parquet": ("parquet", _damaged(_parquet)),
    "empty file": ("jsonl", lambda rng, lines: b""),
    "folder": ("folder", lambda rng, lines: None),
}
# Of these, what is left can't be told: damage may be anywhere, or the lines are other ones.
UNKNOWN = {name for name in PACKINGS if name.startswith("damaged")} | {
    *("CSV", "TSV", "Parquet", "empty file", "folder")
}
