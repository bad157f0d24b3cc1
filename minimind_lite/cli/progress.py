"""Progress bars on a terminal; a log file gets none."""

from __future__ import annotations

from tqdm.auto import tqdm


class Bar:
    """A bar for each thing that is done, driven by (what, done, total); shown after a while."""

    def __init__(self, *, unit: str = "step", delay: float = 0) -> None:
        self.unit, self.delay, self.what = unit, delay, ""
        self.bar: tqdm | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if self.bar is None or what != self.what:
            self.__exit__()
            self.what = what
            self.bar = progress_bar(total, what, unit=self.unit, delay=self.delay)
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()


def progress_bar(total: float, what: str, *, unit: str = "step", delay: float = 0) -> tqdm:
    """A bar with the time that remains, where stderr is a terminal."""
    scale = unit == "B"
    return tqdm(
        total=total or None, desc=what, unit=unit, unit_scale=scale, delay=delay, disable=None
    )
