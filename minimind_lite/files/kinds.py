"""What a file is, told by its first bytes: read, unpacked, or refused by name with the way out."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import NamedTuple

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
}
PARQUET, ZIP = b"PAR1", b"PK\x03\x04"
ENCODINGS = (  # by their marks, the longest first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UNMARKED = (  # two characters of ASCII
    (re.compile(rb"[\t-~]\0[\t-~]\0"), "utf-16-le"),
    (re.compile(rb"\0[\t-~]\0[\t-~]"), "utf-16-be"),
)


class Kind(NamedTuple):
    """What a file is called that holds no conversations, and what to do."""

    name: str
    advice: str


NOT_TEXT = "Give the file that holds the conversations."
IMAGE = Kind("a picture", NOT_TEXT)
REFUSED = {  # first bytes
    b"\x89PNG": IMAGE,
    b"\xff\xd8\xff": IMAGE,
    b"GIF8": IMAGE,
    b"%PDF": Kind("a PDF document", NOT_TEXT),
    b"7z\xbc\xaf\x27\x1c": Kind("a 7z archive", "Unpack it: 7z x FILE."),
    b"Rar!": Kind("a RAR archive", "Unpack it: unrar x FILE."),
    b"ARROW1": Kind("an Arrow file", "Write it as Parquet: `datasets` or pyarrow does it."),
    b"SQLite format 3": Kind("an SQLite database", "Export the table as JSON lines."),
    b"\x89HDF": Kind("an HDF5 file", NOT_TEXT),
    b"\x93NUMPY": Kind("a NumPy array", NOT_TEXT),
    b"\xd0\xcf\x11\xe0": Kind("an old Office document", "Save the table as CSV."),
    b"\x80\x02": Kind("a Python pickle", "It may run anything; ask for JSON lines."),
    b"\x80\x04": Kind("a Python pickle", "It may run anything; ask for JSON lines."),
    b"\x7fELF": Kind("a program", NOT_TEXT),
    b"version https://git-lfs": Kind("a pointer of Git LFS", "Fetch the file: git lfs pull."),
}
WEB_PAGE = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
PAGE = Kind("a web page", "Download the file itself: on the Hub, /resolve/ instead of /blob/.")
TAR_MARK, TAR_PLACE = b"ustar", 257
TAR = Kind("a tar archive", "Unpack it: tar -xf FILE.")
SAFETENSORS = Kind("a file of weights", NOT_TEXT)


def refused(head: bytes) -> Kind | None:
    """The kind of a file that can't hold conversations; None where it may."""
    for magic, kind in REFUSED.items():
        if head.startswith(magic):
            return kind
    if head[TAR_PLACE:].startswith(TAR_MARK):
        return TAR
    if head[6:9] == b"\0\0{":  # the length of a header, eight bytes, then the header
        return SAFETENSORS
    return PAGE if WEB_PAGE.match(head) else None


def compression_of(head: bytes) -> str | None:
    """gzip, bz2, zstd or xz; None for another file."""
    return next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None)


def encoding_of(start: bytes) -> str | None:
    """The encoding of a text that is not in UTF-8, where its first bytes tell."""
    names = [name for mark, name in ENCODINGS if start.startswith(mark)]
    names += [name for pattern, name in UNMARKED if pattern.match(start)]
    return names[0] if names else None


def refuse(path: Path, kind: Kind) -> ValueError:
    """The error that says what a file is and what to do."""
    return ValueError(f"{path} is {kind.name}, no conversations. {kind.advice}")
