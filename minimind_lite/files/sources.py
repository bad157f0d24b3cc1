"""One door for data: whatever is given becomes a JSONL file, a line a row.

A spike must lead back to a text, and a line of a file can be opened with any editor. So

    JSON lines                                   stay the file they are
    JSON lines in .gz, .bz2 or .zst              are unpacked (pyarrow)
    one JSON array                               becomes a line an item
    Parquet, a folder of it, hf://owner/name     become a line a row (`datasets`, streamed)

What is written goes to a folder of the caller's choice and is found there the next time.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from minimind_lite.files.encoded import Progress, file_stamp
from minimind_lite.files.jsonl import BOM, shorten
from minimind_lite.files.work import write_then_rename

HUB = "hf://"
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
PARQUET = b"PAR1"
REFUSED = {
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\xfd7zXZ": "an XZ archive; unpack it first",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"ARROW1": "an Arrow file; save it as Parquet",
    b"SQLite": "an SQLite database",
}


def as_jsonl(data: str, folder: Path, *, progress: Progress) -> Path:
    """A JSONL file with the rows of `data`: a path, or hf://owner/name, or hf://owner/name/file.

    Raises `ValueError` for a file of another kind, `OSError` where there is nothing to read.
    """
    path = Path(data)
    if not data.startswith(HUB):
        if not path.exists():
            raise FileNotFoundError(f"no file {data}; for a dataset of the hub: hf://owner/name")
        if not (path.is_file() or path.is_dir()):  # a pipe: all of it belongs to the reader
            return path
    target = _target(data, folder)
    if data.startswith(HUB) or path.is_dir():
        return _write(target, _table_rows(data, progress))
    with open(path, "rb") as stream:
        head = stream.read(64)
    for magic, name in REFUSED.items():
        if head.startswith(magic):
            raise ValueError(f"{path} is {name}. Expected JSON lines, Parquet, .gz, .bz2 or .zst.")
    for magic, compression in COMPRESSED.items():
        if head.startswith(magic):
            return as_jsonl(str(_unpack(path, target, compression)), folder, progress=progress)
    if head.startswith(PARQUET):
        return _write(target, _table_rows(data, progress))
    if head.removeprefix(BOM).lstrip().startswith(b"["):
        return _write(target, _items(path))
    return path


def _target(data: str, folder: Path) -> Path:
    """Where the lines of `data` go: another file for each version of it."""
    path = Path(data)
    files = [] if data.startswith(HUB) else _parquet_files(path)
    stamps = [file_stamp(file) for file in files]
    version = hashlib.blake2b(repr([str(path.resolve()), stamps]).encode(), digest_size=4)
    name = re.sub(r"[^\w.-]+", "-", path.name)
    return folder / f"{name}-{version.hexdigest()}.jsonl"


def _write(target: Path, rows: Iterable[object]) -> Path:
    """A line a row, unless that was done before."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with write_then_rename(target) as temporary, open(temporary, "wb") as out:
            for row in rows:
                text = json.dumps(row, ensure_ascii=False, default=str)
                out.write(text.encode("utf-8", "surrogatepass") + b"\n")
    return target


def _unpack(path: Path, target: Path, compression: str) -> Path:
    import pyarrow as pa

    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with write_then_rename(target) as temporary, open(temporary, "wb") as out:
                with pa.input_stream(str(path), compression=compression) as stream:
                    shutil.copyfileobj(stream, out, 1 << 20)
        except OSError as error:
            raise OSError(f"{path} can't be unpacked into {target.parent}: {error}") from None
    return target


def _items(path: Path) -> list[object]:
    try:
        return json.loads(path.read_bytes().removeprefix(BOM))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} begins like one JSON array, but is none ({shorten(str(error))}). "
            "Expected one JSON object a line."
        ) from None


def _parquet_files(path: Path) -> list[str]:
    """A Parquet file, or those in a folder. Raises `ValueError` where there is none."""
    files = [path]
    if path.is_dir():
        files = sorted([*path.glob("*.parquet"), *path.glob("*/*.parquet")])
    if not files:
        raise ValueError(f"{path} is a folder without Parquet files.")
    return [str(file) for file in files]


def _table_rows(data: str, progress: Progress) -> Iterator[object]:
    """Rows of Parquet files or of a dataset on the hub, one in memory at a time."""
    import datasets  # half a second: only who needs it pays

    datasets.disable_progress_bars()
    if data.startswith(HUB):
        parts = data.removeprefix(HUB).split("/")
        name, files = "/".join(parts[:2]), ["/".join(parts[2:])] if parts[2:] else None
    else:
        name, files = "parquet", _parquet_files(Path(data))
    try:
        rows = datasets.load_dataset(name, data_files=files, split="train", streaming=True)
        for n, row in enumerate(rows, 1):
            progress("reading rows", n, 0)
            yield row
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{data} can't be read by `datasets`: {reason}") from None
