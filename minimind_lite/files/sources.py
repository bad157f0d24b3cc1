"""One door for data: whatever is given becomes a file of MiniMind's JSONL, a line a row.

A spike must lead back to a text, and a line of a file can be opened with any editor. So

    JSON lines                                   stay the file they are
    .gz, .bz2, .zst, .xz, a .zip of one file     are unpacked
    UTF-16, UTF-32                               become UTF-8
    one JSON array; objects over several lines   become a line an item
    a CSV or TSV table with named columns        becomes a line a row
    Parquet, a folder of it, hf://owner/name     become a line a row (`datasets`, streamed)
    ShareGPT's format, OpenAI's, Alpaca's ...    are converted, line by line

What is written goes to a folder of the caller's choice and is found there the next time. What
holds no conversations, a picture for instance, is refused by name (`kinds`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from minimind_lite.files import kinds, unpacking
from minimind_lite.files.encoded import Progress, file_stamp
from minimind_lite.files.formats import TEXTS, format_name, other_format
from minimind_lite.files.jsonl import BOM, MAX_LINE_BYTES
from minimind_lite.files.visible import visible
from minimind_lite.files.work import made, write_then_rename

HUB = "hf://"
VERSION = 2  # raised when the same file would be converted otherwise
MAX_NAME = 80  # characters of a file name
MAX_LAYERS = 5  # a packed file may hold a JSON array in another format, and no more


class Layer(NamedTuple):
    """What something is, and the lines that it becomes; none where it is a file of lines."""

    name: str
    lines: Iterator[bytes] | None


def as_jsonl(
    data: str, folder: Path, *, progress: Progress, formats: list[str] | None = None
) -> Path:
    """A JSONL file with the rows of `data`: a path, hf://owner/name or hf://owner/name/file.

    `formats`, if given, lists what it was, from the outside in. Raises `ValueError` for a file
    that holds something else, `OSError` where nothing can be read.
    """
    for _ in range(MAX_LAYERS):
        layer = _layer(data, progress)
        if formats is not None:
            formats.append(layer.name)
        if layer.lines is None:
            return Path(data)
        data = str(_write(data, folder, layer.lines))
    raise ValueError(f"{data} is packed in more than {MAX_LAYERS} layers.")


def _layer(data: str, progress: Progress) -> Layer:
    """The outermost layer of what is given."""
    path = Path(data)
    if data.startswith(HUB) or path.is_dir():
        return Layer("Parquet", _rows(data, progress))
    if not path.exists():
        raise FileNotFoundError(f"no file {data}; for a dataset of the hub: hf://owner/name")
    if not path.is_file():  # a pipe: all of it belongs to the reader
        return Layer("lines", None)
    with open(path, "rb") as stream:
        start = stream.peek()  # thousands of bytes, or all
        head = stream.readline(MAX_LINE_BYTES)
    if not head:
        advice = "Give a file with a conversation on each line."
        raise ValueError(f"{path} is empty: it has no rows. {advice}")
    if compression := kinds.compression_of(head):
        return Layer(compression, unpacking.unpacked(path, compression, progress))
    if head.startswith(kinds.ZIP):
        return Layer("zip", unpacking.only_member(path, progress))
    if head.startswith(kinds.PARQUET):
        return Layer("Parquet", _rows(data, progress))
    if encoding := kinds.encoding_of(start):
        return Layer(encoding.upper(), unpacking.decoded(path, encoding, progress))
    if kind := kinds.refused(start):
        raise kinds.refuse(path, kind)
    return _text(path, head, progress)


def _text(path: Path, head: bytes, progress: Progress) -> Layer:
    """What a text is, as its first line tells."""
    if head.removeprefix(BOM).lstrip().startswith(b"["):
        return Layer("a JSON array", unpacking.items(path))
    first = _parse(head)
    if first is None and unpacking.spreads_objects(path):
        return Layer("JSON objects over several lines", unpacking.objects(path))
    if first is None and (delimiter := unpacking.delimiter_of(path, head)):
        kind = "a table with tabs" if delimiter == "\t" else "a CSV table"
        return Layer(kind, unpacking.table(path, delimiter))
    name = format_name(first)
    if name == TEXTS:
        raise ValueError(
            f"{path} holds texts for pretraining: there are no answers in it to learn."
        )
    return Layer(name or "lines", _converted(path, progress) if other_format(first) else None)


def _write(data: str, folder: Path, lines: Iterable[bytes]) -> Path:
    """Write the lines of `data` to a file, another one for each version of it, and only once."""
    path, stamps = Path(data), _stamps(data)
    version = hashlib.blake2b(repr([VERSION, str(path.resolve()), stamps]).encode(), digest_size=4)
    name = re.sub(r"[^\w.-]+", "-", path.name[:MAX_NAME]).removesuffix(".jsonl")
    target = folder / f"{name}-{version.hexdigest()}.jsonl"
    made(folder, "MINIMIND_LITE_CACHE")
    if not target.exists():
        with write_then_rename(target) as temporary:
            _fill(temporary, lines)
            if stamps != _stamps(data):
                raise ValueError(f"{data} changed while it was read; wait until it is complete.")
    return target


def _fill(path: Path, lines: Iterable[bytes]) -> None:
    try:
        with open(path, "wb") as out:
            out.writelines(lines)
    except OSError as error:
        if error.errno and error.filename is None:  # a full disk says no more than that
            raise OSError(f"{path.parent} can't be written to: {error}") from None
        raise


def _stamps(data: str) -> list[tuple[int, int]]:
    """The version of each file that is read; of the hub, none."""
    return [] if data.startswith(HUB) else [file_stamp(f) for f in _parquet_files(Path(data))]


def _rows(data: str, progress: Progress) -> Iterator[bytes]:
    """Rows of Parquet files or of a dataset on the hub, one in memory at a time."""
    import datasets  # half a second: only who needs it pays
    from datasets.exceptions import DatasetsError

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # the error says it
    if data.startswith(HUB):
        parts = data.removeprefix(HUB).split("/")
        name, files = "/".join(parts[:2]), ["/".join(parts[2:])] if parts[2:] else None
    else:
        name, files = "parquet", [str(file) for file in _parquet_files(Path(data))]
    try:
        rows = datasets.load_dataset(name, data_files=files, split="train", streaming=True)
        for n, row in enumerate(rows, 1):
            progress("reading rows", n, 0)
            yield unpacking.as_line(row)
    except (DatasetsError, ValueError, OSError) as error:
        reason = visible(next(iter(str(error).splitlines()), type(error).__name__))
        raise ValueError(f"{data} can't be read by `datasets`: {reason}") from None


def _parquet_files(path: Path) -> list[Path]:
    """A file itself, or those in a folder. Raises `ValueError` where there is none."""
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        others = sorted(p.name for p in path.iterdir() if p.suffix.startswith(".json"))
        advice = f" Name one of its files, for instance {path / others[0]}." if others else ""
        raise ValueError(f"{path} is a folder without Parquet files.{advice}")
    return files


def _converted(path: Path, progress: Progress) -> Iterator[bytes]:
    """Lines in MiniMind's format; one in no known format stays as it is, for the reader to name."""
    total, done = path.stat().st_size, 0
    with open(path, "rb") as lines:
        for line in lines:
            other = other_format(_parse(line))
            yield unpacking.as_line({"conversations": other.turns}) if other else line
            done += len(line)
            progress("converting", done, total)


def _parse(line: bytes) -> object:
    try:
        return json.loads(line.removeprefix(BOM))
    except (ValueError, RecursionError):
        return None
