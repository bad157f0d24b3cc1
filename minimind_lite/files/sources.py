"""One door for data: whatever is given becomes a file of MiniMind's JSONL, a line a row.

A spike must lead back to a text, and a line of a file can be opened with any editor. So

    JSON lines                                   stay the file they are
    JSON lines in .gz, .bz2 or .zst              are unpacked (pyarrow)
    one JSON array                               becomes a line an item
    Parquet, a folder of it, hf://owner/name     become a line a row (`datasets`, streamed)
    ShareGPT's format, OpenAI's, Alpaca's ...    are converted, line by line

What is written goes to a folder of the caller's choice and is found there the next time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from minimind_lite.files.encoded import Progress, file_stamp
from minimind_lite.files.formats import other_turns
from minimind_lite.files.jsonl import BOM, MAX_LINE_BYTES, shorten
from minimind_lite.files.work import write_then_rename

HUB = "hf://"
BLOCK = 1 << 20  # bytes unpacked at once
MAX_LAYERS = 5  # a packed file may hold a JSON array in another format, and no more
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}


def as_jsonl(data: str, folder: Path, *, progress: Progress) -> Path:
    """A JSONL file with the rows of `data`: a path, hf://owner/name or hf://owner/name/file.

    Raises `ValueError` for a file that holds something else, `OSError` where nothing can be read.
    """
    for _ in range(MAX_LAYERS):
        lines = _lines_of(data, progress)
        if lines is None:
            return Path(data)
        data = str(_write(data, folder, lines))
    raise ValueError(f"{data} is packed in more than {MAX_LAYERS} layers.")


def _lines_of(data: str, progress: Progress) -> Iterator[bytes] | None:
    """Lines that `data` is to become, one layer unpacked; None where it is a file of them."""
    path = Path(data)
    if data.startswith(HUB) or path.is_dir():
        return _rows(data, progress)
    if not path.exists():
        raise FileNotFoundError(f"no file {data}; for a dataset of the hub: hf://owner/name")
    if not path.is_file():  # a pipe: all of it belongs to the reader
        return None
    with open(path, "rb") as stream:
        head = stream.readline(MAX_LINE_BYTES)
    for magic, compression in COMPRESSED.items():
        if head.startswith(magic):
            return _unpacked(path, compression, progress)
    if head.startswith(b"PAR1"):
        return _rows(data, progress)
    if head.removeprefix(BOM).lstrip().startswith(b"["):
        return _items(path)
    first = _parse(head)
    if isinstance(first, dict) and first.keys() & {"text", "conversations"} == {"text"}:
        raise ValueError(
            f"{path} holds texts for pretraining: there are no answers in it to learn."
        )
    return _converted(path, progress) if other_turns(first) else None


def _write(data: str, folder: Path, lines: Iterable[bytes]) -> Path:
    """Write the lines of `data` to a file, another one for each version of it, and only once."""
    path = Path(data)
    stamps = [] if data.startswith(HUB) else [file_stamp(file) for file in _parquet_files(path)]
    version = hashlib.blake2b(repr([str(path.resolve()), stamps]).encode(), digest_size=4)
    name = re.sub(r"[^\w.-]+", "-", path.name).removesuffix(".jsonl")
    target = folder / f"{name}-{version.hexdigest()}.jsonl"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with write_then_rename(target) as temporary, open(temporary, "wb") as out:
            out.writelines(lines)
    return target


def _unpacked(path: Path, compression: str, progress: Progress) -> Iterator[bytes]:
    import pyarrow as pa

    total = path.stat().st_size
    try:
        with open(path, "rb") as packed, pa.input_stream(packed, compression=compression) as stream:
            while block := stream.read(BLOCK):
                yield block
                progress("unpacking", packed.tell(), total)
    except OSError as error:
        raise OSError(f"{path} can't be unpacked: {error}") from None


def _items(path: Path) -> Iterator[bytes]:
    try:
        items = json.loads(path.read_bytes().removeprefix(BOM))
        if not all(isinstance(item, dict) for item in items):
            raise ValueError("its items are no objects")
    except (ValueError, RecursionError) as error:
        reason = shorten(str(error))
        raise ValueError(f"{path} is no JSON array of conversations ({reason}).") from None
    yield from map(_line, items)


def _rows(data: str, progress: Progress) -> Iterator[bytes]:
    """Rows of Parquet files or of a dataset on the hub, one in memory at a time."""
    import datasets  # half a second: only who needs it pays
    from datasets.exceptions import DatasetsError

    datasets.disable_progress_bars()
    if data.startswith(HUB):
        parts = data.removeprefix(HUB).split("/")
        name, files = "/".join(parts[:2]), ["/".join(parts[2:])] if parts[2:] else None
    else:
        name, files = "parquet", [str(file) for file in _parquet_files(Path(data))]
    try:
        rows = datasets.load_dataset(name, data_files=files, split="train", streaming=True)
        for n, row in enumerate(rows, 1):
            progress("reading rows", n, 0)
            yield _line(row)
    except (DatasetsError, ValueError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{data} can't be read by `datasets`: {reason}") from None


def _parquet_files(path: Path) -> list[Path]:
    """A file itself, or those in a folder. Raises `ValueError` where there is none."""
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise ValueError(f"{path} is a folder without Parquet files.")
    return files


def _converted(path: Path, progress: Progress) -> Iterator[bytes]:
    """Lines in MiniMind's format; one in no known format stays as it is, for the reader to name."""
    total, done = path.stat().st_size, 0
    with open(path, "rb") as lines:
        for line in lines:
            turns = other_turns(_parse(line))
            yield _line({"conversations": turns}) if turns else line
            done += len(line)
            progress("converting", done, total)


def _parse(line: bytes) -> object:
    try:
        return json.loads(line.removeprefix(BOM))
    except (ValueError, RecursionError):
        return None


def _line(row: object) -> bytes:
    text = json.dumps(row, ensure_ascii=False, default=str)
    return text.encode("utf-8", "surrogatepass") + b"\n"
