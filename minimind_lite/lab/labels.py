"""Labels that fit the room of a legend without a number being cut in two."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def fit_labels(
    names: Sequence[str], reference: str, separator: str, *, fits: Callable[[str], bool]
) -> list[str]:
    """Each name, as much of it as fits; a name that is too long keeps what differs.

    Names are parts joined by `separator` ("file order, batch 16"). From one that is too long the
    parts that the `reference` (the run of the moment) has as well are left out first, then whole
    parts from the end, with "…". Only a single part that is too long by itself is cut inside.
    """
    return [_fit(name, reference.split(separator), separator, fits) for name in names]


def _fit(name: str, common: Sequence[str], separator: str, fits: Callable[[str], bool]) -> str:
    if fits(name):
        return name
    parts = name.split(separator)
    differing = [part for part in parts if part not in common] or parts
    for n in range(len(differing), 0, -1):
        label = separator.join(differing[:n]) + ("…" if n < len(differing) else "")
        if fits(label):
            return label
    first = differing[0]
    longest = max((n for n in range(len(first)) if fits(f"{first[:n]}…")), default=0)
    return f"{first[:longest]}…"
