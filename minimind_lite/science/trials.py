"""What a trial is: one variant of an experiment, run with one seed.

An experiment is declared before it runs: its question, the claims that it bears on, what we bet,
and its variants. A variant is a procedure with its settings. All settings are plain values, so
what was run can be written beside what came out.

    N conversations of a layout
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from minimind_lite.chat import Chat
from minimind_lite.files import shipped
from minimind_lite.records import Run
from minimind_lite.rows import EncodedRows
from minimind_lite.science import layouts
from minimind_lite.science.layouts import Layout, Pool


class SharedData:
    """What all trials of a process share: tokenizer, pool of conversations, held-out probes."""

    def __init__(self) -> None:
        self.chat: Chat = shipped.chat()
        self.pool: Pool = layouts.pool()
        self.pool_rows: EncodedRows = layouts.pool_rows(self.chat, self.pool)
        self.probes: dict[str, EncodedRows] = shipped.probes(self.chat)

    def layout(self, seed: int) -> Layout:
        """The layout that a seed draws."""
        return layouts.draw(seed, pool=self.pool)

    def data(self, layout: Layout) -> EncodedRows:
        """Its conversations, encoded, in file order."""
        return self.pool_rows.select(layout.rows)


@dataclass(frozen=True)
class Outcome:
    """What a trial leaves: a run, where there is one curve, and named values."""

    run: Run | None = None
    values: Mapping[str, object] = field(default_factory=dict)  # JSON-ready


Procedure = Callable[[SharedData, int, Mapping[str, object]], Outcome]


@dataclass(frozen=True)
class Variant:
    """A procedure and its settings."""

    name: str
    procedure: Procedure
    settings: Mapping[str, object] = field(default_factory=dict)  # JSON-ready
    cost: float = 1.0  # in passes over the file, for the remaining time
    quick: bool = True  # part of --quick
    exact: bool = False  # losses of conversations are stored in double precision, not in half

    def signature(self) -> str:
        """Changes with the procedure's name and any setting."""
        text = json.dumps([self.procedure.__name__, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Experiment:
    """A question, asked before the answer was known."""

    id: str
    question: str
    claims: tuple[str, ...]
    prediction: str
    variants: tuple[Variant, ...]

    def variant(self, name: str) -> Variant:
        """By name; raises `ValueError` for one that it does not have."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        names = ", ".join(v.name for v in self.variants)
        raise ValueError(f"{self.id} has no variant {name!r}; it has {names}.")
