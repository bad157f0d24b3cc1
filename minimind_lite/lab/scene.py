"""What a picture of the lab shows, as data; and the sentence that says it in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minimind_lite.lab.curves import MIN_STEPS_TO_JUDGE, describe_events
from minimind_lite.lab.i18n import say
from minimind_lite.lab.plan import RunSpec
from minimind_lite.plots.base import MAX_LABELS, cjk_font
from minimind_lite.records import Run
from minimind_lite.science import log_views
from minimind_lite.segments import Segment
from minimind_lite.spikes import WINDOW, SpikeEvent


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a picture of the lab shows."""

    spec: RunSpec  # of the run of the moment: its order is known before it runs
    run: Run | None  # the run of the moment, as far as it has come
    title: str
    n_rows: int  # conversations of the file
    segments: Sequence[Segment]  # of the file
    name: str = ""  # of the run of the moment
    under: Run | None = None  # recorded, under the live run
    under_label: str = ""
    ghosts: Sequence[tuple[str, Run]] = ()  # in grey
    pinned: Sequence[tuple[str, Run]] = ()
    band: Sequence[Run] | None = None  # whole runs over seeds; empty where there are too few
    events: Sequence[SpikeEvent] = ()  # of the run of the moment
    opened: int | None = None  # position of the step whose conversations are read
    lines: Sequence[str] = ("accumulated",)
    log_every: int = 8
    axis: str = "samples"
    scale: str = "linear"
    probes: bool = False
    language: str = "en"

    @property
    def drawn_language(self) -> str:
        """The language of the words in the picture: English where no font has Chinese."""
        return self.language if self.language == "en" or cjk_font() else "en"

    @property
    def complete(self) -> bool:
        """Whether the run of the moment has come to its end."""
        if self.run is None:
            return False
        return _samples(self.run) == self.n_rows * self.spec.config.epochs

    def still_key(self) -> tuple[object, ...]:
        """Equal for two scenes whose unmoving parts are the same."""
        fixed = self.under
        if fixed is None and self.complete:
            fixed = self.run
        others = [(name, id(run)) for name, run in (*self.ghosts, *self.pinned)]
        return (
            *(self.spec, self.title, id(fixed), id(self.under), tuple(others), len(self.pinned)),
            *(len(self.band or ()), tuple(self.lines), self.axis, self.scale, self.probes),
            self.drawn_language,
        )

    def x(self, run: Run) -> np.ndarray:
        """Where each step of a run is on the x axis (steps,)."""
        if self.axis == "samples":
            return run.column("samples_seen")
        return np.arange(len(run))

    def end(self) -> int:
        """Where the run of the moment ends on the x axis, when it is whole."""
        config = self.spec.config
        if self.axis == "samples":
            return self.n_rows * config.epochs
        return config.total_steps(self.n_rows)

    def last_x(self) -> int:
        """Where the axis ends: with the longest of the run of the moment and the pinned runs."""
        lengths = [_samples(run) if self.axis == "samples" else len(run) for _, run in self.pinned]
        return max([self.end(), *lengths])


def _samples(run: Run) -> int:
    return run.records[-1].samples_seen + len(run.records[-1].rows)


def line_of(name: str, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """x and y of one way of showing the run of the moment."""
    run = scene.run
    assert run is not None
    if name == "micro-batches":
        size = log_views.micro_batch_size(run)
        starts = [r.samples_seen + size * np.arange(len(r.micro_losses)) for r in run.records]
        samples = np.concatenate(starts)
        values = np.concatenate([r.micro_losses for r in run.records])
    else:
        views: dict[str, Callable[[], log_views.Curve]] = {
            "accumulated": lambda: log_views.full(run),
            "smoothed": lambda: log_views.moving_average(run),
            "log": lambda: log_views.minimind(run, scene.log_every),
        }
        curve = views[name]()
        samples, values = curve.samples, curve.values
    return samples if scene.axis == "samples" else steps_at(run, samples), values


def steps_at(run: Run, samples: np.ndarray) -> np.ndarray:
    """Conversations read as steps, and parts of a step for micro-batches."""
    ends = [*run.column("samples_seen"), _samples(run)]
    return np.interp(samples, ends, np.arange(len(ends)))


def sentence(scene: Scene) -> str:
    """What the picture shows, from the same numbers: its alternative text."""
    run, language = scene.run, scene.language
    if run is None:
        return say(language, "sentence.none", title=scene.title)
    top, tenth = int(run.loss.argmax()), max(1, len(run) // 10)
    values = {
        "title": scene.title,
        "steps": len(run),
        "top": run.loss[top],
        "at": run.records[top].samples_seen,
        "first": run.loss[:tenth].mean(),
        "last": run.loss[-tenth:].mean(),
        "tenth": tenth,
    }
    if len(run) <= WINDOW:
        events = describe_events(0, len(run), language)
        return say(language, "sentence.short", events=events, **values)
    sentences = [say(language, "sentence.course", **values), _events_sentence(scene, run)]
    if scene.band is not None and not scene.band:
        sentences.append(say(language, "sentence.no_band"))
    losses = run.probe("zh")[1]
    if scene.probes and len(losses):
        last = run.info.get("probes_after", {}).get("zh", losses[-1])
        sentences.append(say(language, "sentence.probe", first=losses[0], last=last))
    return say(language, "sentence.space").join(sentences)


def _events_sentence(scene: Scene, run: Run) -> str:
    language, more = scene.language, len(scene.events) - MAX_LABELS
    listed = [
        say(
            language,
            "sentence.event",
            height=event.peak_height,
            z=event.z,
            at=run.records[event.peak].samples_seen,
        )
        for event in scene.events[:MAX_LABELS]
    ]
    if more > 0:
        listed.append(say(language, "sentence.more", n=more))
    if listed:
        return say(language, "sentence.events", listed=say(language, "sentence.and").join(listed))
    if len(run) >= MIN_STEPS_TO_JUDGE:
        return say(language, "sentence.no_events")
    return say(language, "sentence.none_judged", n=len(run) - WINDOW, window=WINDOW)
