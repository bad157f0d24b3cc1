"""Lines out of what is packed or written otherwise: archives, encodings, arrays, tables.

Each function reads one layer. An error names the file, for whoever gave it.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from minimind_lite.files.encoded import Progress
from minimind_lite.files.formats import PAIRS, next_object
from minimind_lite.files.jsonl import BOM
from minimind_lite.files.visible import shorten, visible

BLOCK = 1 << 20  # bytes unpacked at once
MAX_OBJECT = 1 << 24  # characters of one JSON object that spreads over several lines
DELIMITERS = "\t,;"
# Of a ZIP archive that is no archive to the user; its first file or folder.
OFFICE, TORCH = ("[Content_Types].xml", "mimetype"), "data.pkl"
UNPACKING_ERRORS = (
    *(OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, UnicodeError),
    *(NotImplementedError, RuntimeError),
)


def as_line(row: object) -> bytes:
    """A row as a line of JSON."""
    text = json.dumps(row, ensure_ascii=False, default=str)
    return text.encode("utf-8", "surrogatepass") + b"\n"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of unpacking that name the file."""
    try:
        yield
    except UNPACKING_ERRORS as error:
        reason = visible(shorten(str(error), 200)) or type(error).__name__
        raise OSError(f"{path} can't be unpacked: {reason}") from None


def unpacked(path: Path, compression: str, progress: Progress) -> Iterator[bytes]:
    """Blocks of a file that is packed with gzip, bz2, zstd or xz."""
    with _named(path), open(path, "rb") as packed:
        if compression == "xz":
            with lzma.open(packed) as stream:
                yield from _blocks(stream, packed, path, progress)
            return
        import pyarrow as pa

        with pa.input_stream(packed, compression=compression) as blocks:
            yield from _blocks(blocks, packed, path, progress)


def only_member(path: Path, progress: Progress) -> Iterator[bytes]:
    """Blocks of the one file in a ZIP archive. Raises `ValueError` for several."""
    with _named(path), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if names and names[0] in OFFICE:
            raise ValueError(f"{path} is an Office document, no conversations. Save it as CSV.")
        if any(name.endswith(TORCH) for name in names):
            raise ValueError(f"{path} is a file of weights, no conversations.")
        names = [name for name in names if not name.startswith("__MACOSX/")]
        if len(names) != 1:
            listed = visible(shorten(", ".join(names)))
            raise ValueError(
                f"{path} is a ZIP archive of {len(names)} files ({listed}). Unpack it and give "
                "one of them: unzip FILE."
            )
        with archive.open(names[0]) as stream, open(path, "rb") as packed:
            yield from _blocks(stream, packed, path, progress)


def _blocks(
    stream: IO[bytes], packed: IO[bytes], path: Path, progress: Progress
) -> Iterator[bytes]:
    total = path.stat().st_size
    while block := stream.read(BLOCK):
        yield block
        progress("unpacking", min(packed.tell(), total), total)


def decoded(path: Path, encoding: str, progress: Progress) -> Iterator[bytes]:
    """Blocks of UTF-8 of a text in another encoding."""
    total = path.stat().st_size
    try:
        with open(path, "rb") as raw, io.TextIOWrapper(raw, encoding, newline="") as stream:
            while block := stream.read(BLOCK):
                yield block.encode("utf-8", "surrogatepass")
                progress("decoding", min(raw.tell(), total), total)
    except UnicodeError as error:
        raise ValueError(
            f"{path} looks like {encoding.upper()} and is damaged ({shorten(str(error))})."
        ) from None


def items(path: Path) -> Iterator[bytes]:
    """A line an item of a JSON array. Raises `ValueError` where an item is no object."""
    try:
        array = json.loads(path.read_bytes().removeprefix(BOM))
        if not all(isinstance(item, dict) for item in array):
            raise ValueError("its items are no objects")
    except (ValueError, RecursionError) as error:
        reason = shorten(str(error))
        raise ValueError(f"{path} is no JSON array of conversations ({reason}).") from None
    yield from map(as_line, array)


def spreads_objects(path: Path) -> bool:
    """Whether a text begins with a JSON object that takes more than its first line."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="\n") as stream:
        text = stream.read(MAX_OBJECT)
    start = len(text) - len(text.lstrip())
    try:
        data, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and "\n" in text[start:end]


def objects(path: Path) -> Iterator[bytes]:
    """A line an object of JSON that spreads over several. Raises `ValueError` with the line."""
    try:
        text = path.read_bytes().removeprefix(BOM).decode()
        decoder, at = json.JSONDecoder(), next_object(text, 0)
        while at < len(text):
            data, at = decoder.raw_decode(text, at)
            if not isinstance(data, dict):
                raise ValueError(f"line {text.count(chr(10), 0, at) + 1} is no object")
            yield as_line(data)
            at = next_object(text, at)
    except (ValueError, RecursionError) as error:
        reason = shorten(str(error), 120)
        raise ValueError(
            f"{path} has JSON objects over several lines and is damaged ({reason})."
        ) from None


def delimiter_of(path: Path, head: bytes) -> str | None:
    """What separates the columns of a table; None where the first line names no known columns.

    Raises `ValueError` for a file that is called .csv or .tsv and has other columns.
    """
    text = head.removeprefix(BOM).decode("utf-8", "replace").rstrip("\r\n")
    for delimiter in DELIMITERS:
        columns = _row(text, delimiter)
        if any(set(pair) <= set(columns) for pair in PAIRS):
            return delimiter
    if path.suffix.lower() not in (".csv", ".tsv"):
        return None
    known = "; ".join(" and ".join(pair) for pair in PAIRS)
    raise ValueError(
        f"{path} is a table whose first line ({visible(shorten(text))}) names no question and "
        f"answer. Call two of its columns so: {known}."
    )


def _row(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        return []


def table(path: Path, delimiter: str) -> Iterator[bytes]:
    """A line a row of a CSV table, its columns as keys. Raises `ValueError` with the line."""
    with open(path, encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                if None in row or None in row.values():
                    n = len(rows.fieldnames or ())
                    raise ValueError(f"line {rows.line_num} has not the {n} columns of the first")
                yield as_line(row)
        except (csv.Error, ValueError) as error:
            reason = shorten(str(error), 120)
            raise ValueError(f"{path} is a damaged table ({reason}).") from None
