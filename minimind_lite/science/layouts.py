"""A seed draws a new layout: where the odd segments lie, which conversations they hold, in what order.

With file order and a fixed checkpoint nothing differs between two seeds of a run, so five seeds
of it are one measurement, five times. Here every seed makes another file of the same make as
data/sft.jsonl: Chinese conversations with the odd segments in between, each segment as long as
in the shipped file, all of them from the pool, that is, from the corpus without what the probes
hold out and what the base models have seen. data/build.py lays the shipped file out with the same `lay_out`.

    pool = corpus - probes - pretraining
    draw(seed): rows of the pool in file order -> segments -> EncodedRows

A domain of one's own (broken rows, say) is one more entry of the pool and one more segment:
`draw(seed, pool=pool | {"garbage": rows}, segments=(*SEGMENTS, ("garbage", len(rows))), gap=150)`.

    N conversations of a layout   P conversations of the pool
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from minimind_lite.chat import Chat, EncodedRows
from minimind_lite.conversations import Conversation, read
from minimind_lite.files import shipped
from minimind_lite.files.shipped import Segment

CHINESE = ("zh_chat", "zh_knowledge", "zh_writing")
ODD = ("code", "en", "math", "zh_classical")
SEGMENTS = (("code", 64), ("en", 128), ("math", 192), ("zh_classical", 256), ("en", 24))
FIRST_GAP, GAP = 500, 200  # least Chinese rows before the first segment, and after each
# Orders draw from (seed, epoch): a layout must not share the random numbers of the order it is read in.
STREAM = int.from_bytes(b"layo")

Row = TypeVar("Row")
Pool = Mapping[str, Sequence[Conversation]]


def lay_out(
    chinese: Sequence[Row],
    odd: Mapping[str, Sequence[Row]],
    *,
    rng: np.random.Generator,
    segments: Sequence[tuple[str, int]] = SEGMENTS,
    first_gap: int = FIRST_GAP,
    gap: int = GAP,
) -> tuple[list[Row], list[Segment]]:
    """One file, concatenated like MiniMind's: Chinese rows with odd segments in between, and where they lie.

    `segments` are (domain, rows) in file order; each takes the next rows of its domain, and all
    Chinese rows are used. Those beyond the least gaps go to gaps at random. Raises `ValueError`
    where there are too few rows for the gaps or for a domain's segments.
    """
    gaps = _gaps(len(chinese), len(segments), rng=rng, first_gap=first_gap, gap=gap)
    wanted = {domain: sum(size for d, size in segments if d == domain) for domain, _ in segments}
    for domain, size in wanted.items():
        if size > len(odd.get(domain, ())):
            raise ValueError(
                f"segments of {domain} want {size} rows, there are {len(odd.get(domain, ()))}; shorten them."
            )
    rows, found, chinese_rows, odd_rows = (
        [],
        [],
        iter(chinese),
        {domain: iter(odd[domain]) for domain in wanted},
    )
    for chinese_size, segment in zip(gaps, [*segments, None]):
        rows += [next(chinese_rows) for _ in range(chinese_size)]
        if segment:
            domain, size = segment
            found.append(Segment(domain, len(rows), len(rows) + size))
            rows += [next(odd_rows[domain]) for _ in range(size)]
    return rows, found


def _gaps(
    n: int, n_segments: int, *, rng: np.random.Generator, first_gap: int, gap: int
) -> np.ndarray:
    """n Chinese rows cut into the stretches before, between and after the segments, (n_segments + 1,)."""
    spare = n - first_gap - gap * n_segments
    if spare < 0:
        raise ValueError(
            f"{n} Chinese rows are too few for the gaps; {-spare} are missing. Take fewer segments or smaller gaps."
        )
    cuts = np.sort(rng.integers(spare + 1, size=n_segments))
    return np.diff([0, *cuts, spare]) + np.array([first_gap] + [gap] * n_segments)


@dataclass(frozen=True, eq=False)
class Layout:
    """A file that a seed drew. Row i of it is conversation i, and row `rows[i]` of the pool."""

    seed: int
    conversations: tuple[Conversation, ...]  # N, in file order; each knows its corpus file and line
    segments: tuple[Segment, ...]  # ground truth: the odd ones, in file order
    rows: np.ndarray  # (N,) int64: places in the pool, its domains end to end
    domains: np.ndarray  # (N,) str: domain in the pool, with Chinese in its three kinds

    def __len__(self) -> int:
        return len(self.conversations)

    def member(self, segment: Segment) -> np.ndarray:
        """True for the rows of a segment, (N,)."""
        return (np.arange(len(self)) >= segment.start) & (np.arange(len(self)) < segment.stop)

    def odd(self) -> np.ndarray:
        """True for the rows of any odd segment, (N,)."""
        return np.any([np.zeros(len(self), bool), *(self.member(s) for s in self.segments)], axis=0)

    def data(self, chat: Chat, max_len: int = 512) -> EncodedRows:
        """The file, encoded; `pool_rows(chat, pool).select(layout.rows)` is the same at less cost, once the pool is encoded."""
        return chat.encode_rows(self.conversations, max_len)


def pool() -> dict[str, list[Conversation]]:
    """What a layout may draw, by domain in corpus order: conversations that are neither held out nor pretrained on.

    Which ones those are is read off probes.jsonl and pretrain.jsonl, by their messages.
    """
    taken = {
        c.messages
        for name in ("probes", "pretrain")
        for c in read(shipped.folder() / f"{name}.jsonl")
    }
    return {
        domain: [
            c
            for c in read(shipped.folder() / "corpus" / f"{domain}.jsonl")
            if c.messages not in taken
        ]
        for domain in (*CHINESE, *ODD)
    }


def pool_rows(chat: Chat, pool: Pool, *, max_len: int = 512) -> EncodedRows:
    """The whole pool encoded, P rows, its domains end to end; takes about a second, so once per process."""
    return chat.encode_rows((c for rows in pool.values() for c in rows), max_len)


def draw(
    seed: int,
    *,
    pool: Pool,
    segments: Sequence[tuple[str, int]] = SEGMENTS,
    first_gap: int = FIRST_GAP,
    gap: int = GAP,
    permute_domains: bool = True,
    n_chinese: int | None = None,
) -> Layout:
    """The layout of a seed: same seed and pool, same layout.

    The seed draws the order of the segments in the file (with `permute_domains`; else as given),
    their places, which rows of the pool each holds (no row twice), their order inside it, and
    that of the Chinese rows: all of them, or `n_chinese`. Raises `ValueError` as `lay_out` does,
    and where there are fewer Chinese rows than asked for.
    """
    ends = np.cumsum([len(rows) for rows in pool.values()])
    places = {
        domain: np.arange(end - len(rows), end) for (domain, rows), end in zip(pool.items(), ends)
    }
    chinese = np.concatenate([places[domain] for domain in CHINESE])
    if n_chinese is not None and n_chinese > len(chinese):
        raise ValueError(
            f"n_chinese must be at most the pool's {len(chinese)} Chinese rows, got {n_chinese}."
        )
    rng = np.random.default_rng([seed, STREAM])
    chinese = rng.permutation(chinese)[:n_chinese]
    odd = {
        domain: rng.permutation(rows) for domain, rows in places.items() if domain not in CHINESE
    }
    if permute_domains:
        segments = [segments[i] for i in rng.permutation(len(segments))]
    rows, found = lay_out(
        chinese.tolist(),
        {domain: own.tolist() for domain, own in odd.items()},
        rng=rng,
        segments=segments,
        first_gap=first_gap,
        gap=gap,
    )
    table, names = (
        [c for own in pool.values() for c in own],
        np.repeat(list(pool), [len(own) for own in pool.values()]),
    )
    return Layout(
        seed, tuple(table[i] for i in rows), tuple(found), np.array(rows, np.int64), names[rows]
    )
