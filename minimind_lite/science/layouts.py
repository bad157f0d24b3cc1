"""A seed draws a layout: where the segments lie, which conversations they hold, in what order.

With file order and a fixed checkpoint nothing differs between two seeds of a run, so five seeds
of it are one measurement, five times. Here every seed makes another file of the same make as
data/sft.jsonl: Chinese conversations with off-domain segments in between, each segment as long as
in the shipped file. All come from the pool: the corpus without what the probes hold out and what
the base models were trained on. data/build.py lays the shipped file out with the same `lay_out`.
A second family has nothing mixed: whole domains one after the other, as a file has that somebody
concatenated.

    pool = corpus - probes - pretraining
    draw(seed):        Chinese | segment | Chinese | segment | ... Chinese
    draw_blocks(seed): block | block | block | ...                          (a block: one domain)

A domain of your own (broken rows, say) is one more entry of the pool and one more segment:
`draw(seed, pool=pool | {"garbage": rows}, segments=(*SEGMENTS, ("garbage", len(rows))), gap=150)`.

    N conversations of a layout   P conversations of the pool
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from minimind_lite import segments as truth
from minimind_lite.chat import Chat
from minimind_lite.conversations import Conversation
from minimind_lite.files import shipped
from minimind_lite.files.encoding import encode_many
from minimind_lite.files.jsonl import read
from minimind_lite.rows import EncodedRows
from minimind_lite.segments import CHINESE, DOMAINS, MAIN, Segment

OFF_DOMAIN = tuple(domain for domain in DOMAINS if domain != MAIN)
SEGMENTS = (("code", 64), ("en", 128), ("math", 192), ("zh_classical", 256), ("en", 24))
FIRST_GAP, GAP = 500, 200  # least Chinese rows before the first segment, and after each
# Orders draw from (seed, epoch): a layout must not share the random numbers of its own order.
STREAM = int.from_bytes(b"layo")
MAX_LEN = 512  # tokens of a conversation
RESERVED = (
    178  # last conversations of each Chinese kind that the base "high" may read: 250 are left
)

Row = TypeVar("Row")
Pool = Mapping[str, Sequence[Conversation]]


def lay_out(
    chinese: Sequence[Row],
    off_domain: Mapping[str, Sequence[Row]],
    *,
    rng: np.random.Generator,
    segments: Sequence[tuple[str, int]] = SEGMENTS,
    first_gap: int = FIRST_GAP,
    gap: int = GAP,
) -> tuple[list[Row], list[Segment]]:
    """One file, concatenated like MiniMind's: its rows, and where the segments lie in it.

    `segments` are (domain, rows) in file order; each takes the next rows of its domain, and all
    Chinese rows are used. Those beyond the least gaps go to gaps at random. Raises `ValueError`
    where there are too few rows for the gaps or for a domain's segments.
    """
    gaps = _gaps(len(chinese), len(segments), rng=rng, first_gap=first_gap, gap=gap)
    for domain in dict.fromkeys(domain for domain, _ in segments):
        wanted = sum(size for d, size in segments if d == domain)
        available = len(off_domain.get(domain, ()))
        if wanted > available:
            raise ValueError(
                f"segments of {domain} want {wanted} rows, there are {available}; shorten them."
            )
    unused = {domain: iter(rows) for domain, rows in off_domain.items()}
    unused_chinese = iter(chinese)
    rows = [next(unused_chinese) for _ in range(gaps[0])]
    placed = []
    for (domain, size), gap_after in zip(segments, gaps[1:]):
        placed.append(Segment(domain, len(rows), len(rows) + size))
        rows += [next(unused[domain]) for _ in range(size)]
        rows += [next(unused_chinese) for _ in range(gap_after)]
    return rows, placed


def _gaps(
    n: int, n_segments: int, *, rng: np.random.Generator, first_gap: int, gap: int
) -> np.ndarray:
    """n Chinese rows in gaps before, between and after the segments, (n_segments + 1,)."""
    spare = n - first_gap - gap * n_segments
    if spare < 0:
        raise ValueError(
            f"{n} Chinese rows are too few for the gaps; {-spare} are missing. "
            "Take fewer segments or smaller gaps."
        )
    cuts = np.sort(rng.integers(spare + 1, size=n_segments))
    return np.diff([0, *cuts, spare]) + np.array([first_gap] + [gap] * n_segments)


@dataclass(frozen=True, eq=False)
class Layout:
    """A file that a seed drew. Row i of it is conversation i, and row `rows[i]` of the pool."""

    seed: int
    conversations: tuple[Conversation, ...]  # N, in file order; each knows its corpus file and line
    segments: tuple[Segment, ...]  # ground truth, in file order
    rows: np.ndarray  # (N,) int64: places in the pool, its domains end to end
    domains: np.ndarray  # (N,) str: domain in the pool, with Chinese in its three kinds
    family: str = "mixed"  # or "blocks"

    def __len__(self) -> int:
        return len(self.conversations)

    def off_domain(self) -> np.ndarray:
        """True for the rows of any segment, (N,)."""
        return truth.off_domain(self.segments, len(self))


def pool() -> dict[str, list[Conversation]]:
    """What a layout may draw, by domain in corpus order: neither held out nor pretrained on.

    Which conversations those are is read off probes.jsonl and pretrain.jsonl, by their messages.
    """
    taken = {
        conversation.messages
        for name in ("probes", "pretrain")
        for conversation in read(shipped.folder() / f"{name}.jsonl")
    }
    return {
        domain: [c for c in corpus(domain) if c.messages not in taken]
        for domain in (*CHINESE, *OFF_DOMAIN)
    }


def corpus(domain: str) -> list[Conversation]:
    """All conversations of a domain, as they were written."""
    return list(read(shipped.folder() / "corpus" / f"{domain}.jsonl"))


def pool_rows(chat: Chat, pool: Pool) -> EncodedRows:
    """The whole pool encoded, P rows, its domains end to end; takes about a second."""
    return encode_many(chat, (c for rows in pool.values() for c in rows), max_len=MAX_LEN)


def draw(
    seed: int,
    *,
    pool: Pool,
    segments: Sequence[tuple[str, int]] = SEGMENTS,
    first_gap: int = FIRST_GAP,
    gap: int = GAP,
) -> Layout:
    """The layout of a seed: same seed and pool, same layout.

    The seed draws the order of the segments in the file, their places, which rows of the pool each
    holds (no row twice), their order inside it, and that of the Chinese rows, which are all used.
    Raises `ValueError` as `lay_out` does.
    """
    conversations = [c for rows in pool.values() for c in rows]
    names = np.repeat(list(pool), [len(rows) for rows in pool.values()])
    places = {domain: np.flatnonzero(names == domain) for domain in pool}
    rng = np.random.default_rng([seed, STREAM])
    chinese = rng.permutation(np.concatenate([places[domain] for domain in CHINESE]))
    others = {d: rng.permutation(places[d]).tolist() for d in pool if d not in CHINESE}
    order = rng.permutation(len(segments))
    rows, placed = lay_out(
        chinese.tolist(),
        others,
        rng=rng,
        segments=[segments[i] for i in order],
        first_gap=first_gap,
        gap=gap,
    )
    return Layout(
        seed=seed,
        conversations=tuple(conversations[i] for i in rows),
        segments=tuple(placed),
        rows=np.array(rows, np.int64),
        domains=names[rows],
    )


def draw_blocks(seed: int, *, pool: Pool, length: int | None = None, reserved: int = 0) -> Layout:
    """A long-block file: every domain of the pool in one piece, none mixed with another.

    The seed draws the order of the blocks, and which rows each holds in which order: all of its
    domain, or `length` of them (fewer where there are fewer). The last `reserved` conversations of
    each Chinese kind are left out. Raises `ValueError` for a length below 1.
    """
    if length is not None and length < 1:
        raise ValueError(f"a block needs at least one row, got length {length}.")
    conversations = [c for rows in pool.values() for c in rows]
    names = np.repeat(list(pool), [len(rows) for rows in pool.values()])
    rng = np.random.default_rng([seed, STREAM, 1])
    blocks = {}
    for domain, rows_of_domain in pool.items():
        available = len(rows_of_domain) - (reserved if domain in CHINESE else 0)
        blocks[domain] = rng.permutation(np.flatnonzero(names == domain)[:available])[:length]
    rows: list[int] = []
    placed = []
    for domain in rng.permutation(list(pool)).tolist():
        placed.append(Segment(domain, len(rows), len(rows) + len(blocks[domain])))
        rows += blocks[domain].tolist()
    return Layout(
        seed=seed,
        conversations=tuple(conversations[i] for i in rows),
        segments=tuple(placed),
        rows=np.array(rows, np.int64),
        domains=names[rows],
        family="blocks",
    )
