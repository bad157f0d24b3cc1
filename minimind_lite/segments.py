"""Where the segments of a file are: which rows are off-domain, and how much of a batch they fill.

The file's main domain is Chinese; a *segment* is consecutive rows of another, or, in a file of
long blocks, of any. This is ground truth: experiments and the strip under a curve may use it, the
detector and the trainer never do.

    N rows (conversations) of a file
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minimind_lite.records import Run

MAIN = "zh"
DOMAINS = (MAIN, "code", "en", "math", "zh_classical")
LARGE = ("code", "en", "math", "zh_classical")  # segments in averages; the tiny one is left out
CHINESE = ("zh_chat", "zh_knowledge", "zh_writing")  # kinds of MAIN, blocks of a long-block file
TINY = 32  # rows; so short a segment is a question of its own
NAMES = {
    "en": "Chinese|code|English|maths|classical Chinese|everyday Chinese|Chinese knowledge|"
    "Chinese writing",
    "zh": "中文|代码|英文|数学|文言文|中文闲聊|中文知识|中文写作",
}


def domain_name(domain: str, language: str = "en") -> str:
    """For people: English, maths ... Raises `ValueError` for an unknown domain."""
    return NAMES[language].split("|")[(*DOMAINS, *CHINESE).index(domain)]


@dataclass(frozen=True)
class Segment:
    """Rows start .. stop-1 of a file, all of one domain."""

    domain: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def name(self) -> str:
        """For people: English, maths ..."""
        return domain_name(self.domain)

    @property
    def label(self) -> str:
        """Its key in tables: the domain, with `_tiny` where it is no longer than TINY rows."""
        return self.domain if len(self) > TINY else f"{self.domain}_tiny"


def of_run(run: Run) -> list[Segment]:
    """The segments of the file that a run was trained on, from its `info`."""
    return [Segment(**segment) for segment in run.info["segments"]]


def domains(segments: Iterable[Segment], n_rows: int) -> np.ndarray:
    """Domain of each row of a file, (N,) str."""
    labels = np.full(n_rows, MAIN, dtype=object)
    for segment in segments:
        labels[segment.start : segment.stop] = segment.domain
    return labels


def off_domain(segments: Iterable[Segment], n_rows: int) -> np.ndarray:
    """True for the rows of segments that are not Chinese, (N,)."""
    return ~np.isin(domains(segments, n_rows).astype(str), (MAIN, *CHINESE))


def rows_by_domain(segments: Iterable[Segment], n_rows: int) -> dict[str, np.ndarray]:
    """Row numbers (n,) of each domain, ascending; the main domain first."""
    labels = domains(segments, n_rows)
    return {name: np.flatnonzero(labels == name) for name in dict.fromkeys([MAIN, *labels])}


def share(run: Run, segment: Segment, *, epoch: int | None = 0) -> np.ndarray:
    """Share of each step's conversations that lie in the segment, (steps,).

    0 in other epochs than `epoch`; None means all epochs.
    """
    inside = [np.mean((r.rows >= segment.start) & (r.rows < segment.stop)) for r in run.records]
    if epoch is None:
        return np.array(inside)
    return np.where(run.column("epoch") == epoch, inside, 0.0)
