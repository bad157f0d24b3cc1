"""The training panel: knobs, a live curve, and nothing that computes.

Rules it keeps, each for a reason:
 1. The browser is the clock. `widgets.Play` ticks; a tick is one message and trains for one short
    chunk. The next tick comes only after the answer, so nothing queues up, and between two ticks
    every other button is heard. No thread, no polling.
 2. A figure is PNG bytes in a `widgets.Image`: redrawn in place, never stacked, on any front end.
 3. One lock around every callback: some kernels run callbacks on a second thread.
 4. `run(n)` is the same chunk in the foreground, for front ends without widgets.
 5. The stored notebook shows a picture, since the panel carries one beside its widgets.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import ipywidgets as W
from IPython.display import Image, display

from . import assets, plots, spikes
from .config import TrainConfig
from .records import Run, StepRecord
from .trainer import train

CHUNK_SECONDS = 0.25  # training between two repaints: four a second, and Stop is heard within one
GHOSTS = 3            # earlier runs that stay visible in grey
ORDERS = {"off (file order)": "file", "once": "shuffle_once", "every epoch": "shuffle", "buffer of 128": "buffer:128"}
PLAIN_HTML = '<link rel="stylesheet" href="https://stackpath.bootstrapcdn.com/font-awesome/4.7.0/css/font-awesome.min.css">'


class TrainingPanel:
    """Train from the shipped base model with three knobs and watch the curve.

    `knobs` chooses which are shown ("shuffle", "batch", "accumulation"); `recorded` names a
    recorded run that is there, in grey, before anything is trained. A changed knob takes effect
    with the next new run and starts nothing by itself. Raises `ValueError` for an unknown knob.
    """

    def __init__(self, *, knobs: tuple[str, ...] = ("shuffle", "batch", "accumulation"), model: str = "nano",
                 recorded: str | None = None, config: TrainConfig = TrainConfig()) -> None:
        made = {"shuffle": W.Dropdown(options=ORDERS, value=config.order, description="shuffle"),
                "batch": W.SelectionSlider(options=[4, 8, 16, 32, 64, 128], value=config.batch_size, description="batch size"),
                "accumulation": W.Dropdown(options={"off": 1, "2": 2, "4": 4, "8": 8}, value=1, description="accumulation")}
        if unknown := set(knobs) - set(made):
            raise ValueError(f"no knob {', '.join(sorted(unknown))}; knobs are {', '.join(made)}.")
        self.knobs, self._shown, self.model, self._config = made, knobs, model, config
        self._lock, self._panel = threading.RLock(), None
        self._data = assets.sft_rows(assets.chat())
        self.recorded = assets.recorded_run(recorded) if recorded else None
        self.ghosts: list[Run] = []
        self._begin()

    # The run, which needs no widget front end.

    @property
    def settings(self) -> TrainConfig:
        """The configuration that the knobs spell out now."""
        batch, parts = self.knobs["batch"].value, self.knobs["accumulation"].value
        return self._config.replace(order=self.knobs["shuffle"].value, batch_size=batch,
                                    micro_batch_size=None if parts == 1 else max(1, batch // parts))

    @property
    def run_so_far(self) -> Run:
        """The records of the present run."""
        return Run({"train_config": self.config.to_dict()}, tuple(self.records))

    def _begin(self) -> None:
        self.config, self.records = self.settings, []
        self._steps: Iterator[StepRecord] = train(assets.base_model(self.model), self._data, self.config)
        self.total, self.finished = self.config.total_steps(len(self._data)), False

    def new_run(self) -> None:
        """Set the present run aside as a ghost and begin one with the knobs as they are."""
        with self._lock:
            if self.records:
                self.ghosts = [*self.ghosts, self.run_so_far][-GHOSTS:]
            self._begin()

    def advance(self, *, steps: int | None = None) -> int:
        """Train `steps` steps, or for about CHUNK_SECONDS; returns the number of steps done."""
        with self._lock:
            end, before = time.monotonic() + CHUNK_SECONDS, len(self.records)
            while (len(self.records) - before < steps) if steps else (time.monotonic() < end):
                record = next(self._steps, None)
                if record is None:
                    self.finished = True
                    break
                self.records.append(record)
            return len(self.records) - before

    def plot(self) -> plots.Plot:
        """The figure as it stands: the present run, earlier ones in grey, spikes marked."""
        ghosts = [*([self.recorded] if self.recorded else []), *self.ghosts]
        run, what = (self.run_so_far, "this run") if self.records else (ghosts[-1] if ghosts else None, "recorded")
        if run is None:
            return plots.message("Nothing trained yet: press play, or “10 steps”.")
        events = spikes.find(run.loss) if len(run) > spikes.WINDOW else []
        title = self._describe(self.config) if self.records else "a recorded run; press play to train your own"
        return plots.loss_curve({what: run}, segments=assets.segments(), events=events, title=title,
                                ghosts=ghosts if self.records else ghosts[:-1], size=(9.5, 4.4))

    @staticmethod
    def _describe(config: TrainConfig) -> str:
        names = {order: name for name, order in ORDERS.items()}
        parts = config.accumulation_steps()
        return (f"shuffle {names.get(config.order, config.order)}, batch {config.batch_size}"
                + (f" = {parts} x {config.micro_batch_size}" if parts > 1 else ""))

    def run(self, steps: int) -> None:
        """Train in the foreground, redrawing in place; the notebook's interrupt button is the stop."""
        handle, goal = display(Image(self.plot().png()), display_id=True), len(self.records) + steps
        try:
            while len(self.records) < goal and not self.finished:
                self.advance(steps=min(5, goal - len(self.records)))
                plot = self.plot()
                if handle is not None:
                    handle.update(Image(plot.png(), alt=plot.summary))
        except KeyboardInterrupt:
            print(f"stopped after step {len(self.records)}; run again to go on")

    # The widgets, which only call the above.

    def panel(self) -> W.Widget:
        """Knobs, buttons and curve; built once, so that showing it twice shows the same run."""
        if self._panel is None:
            self.play = W.Play(min=0, max=1_000_000_000, value=0, interval=50, show_repeat=False)
            self.step_button, self.new_button = W.Button(description="10 steps"), W.Button(description="new run")
            plot = self.plot()
            self.image = W.Image(value=plot.png(), format="png", layout=W.Layout(max_width="100%", flex="0 0 auto"))
            self.status, self.sentence = W.Label(self._status()), W.HTML(plot.summary)
            self.play.observe(lambda _: self._guarded(self._tick, wait=False), "value")
            self.step_button.on_click(lambda _: self._guarded(lambda: self.advance(steps=10)))
            self.new_button.on_click(lambda _: self._guarded(self.new_run))
            for knob in self.knobs.values():
                knob.observe(lambda _: self._guarded(self._turned), "value")
            extra = [W.HTML(PLAIN_HTML)] if "google.colab" in sys.modules else []  # Play's icons need it there
            self._panel = W.VBox([W.HBox([self.knobs[k] for k in self._shown], layout=W.Layout(flex_flow="row wrap")),
                                  W.HBox([W.Label("train:"), self.play, self.step_button, self.new_button, self.status, *extra]),
                                  self.image, self.sentence])
        return self._panel

    def _tick(self) -> None:
        if self.finished:
            self.play.playing = False  # where the front end supports it; elsewhere further ticks do nothing
        else:
            self.advance()

    def _turned(self) -> None:
        if not self.records:
            self._begin()  # nothing is lost by taking the new setting at once

    def _status(self) -> str:
        if self.settings != self.config:
            return f"step {len(self.records)} of {self.total}; press “new run” to train with the changed knobs"
        if not self.records:
            return f"ready: {self.total} steps"
        last = self.records[-1]
        left = (self.total - len(self.records)) * sum(r.seconds for r in self.records[-20:]) / len(self.records[-20:])
        end = "done" if self.finished or len(self.records) == self.total else f"about {left:.0f} s left"
        return f"step {len(self.records)} of {self.total}, loss {last.loss:.3f}, {end}"

    def _guarded(self, action: Callable[[], object], *, wait: bool = True) -> None:
        """Run a callback under the lock and repaint; an error is shown, for nobody else would see it."""
        if not self._lock.acquire(blocking=wait):
            return  # a tick is still at work on another thread; the next tick will do, a click would be lost
        try:
            records, n = self.records, len(self.records)
            action()
            if records is not self.records or n != len(self.records) or not self.records:
                plot = self.plot()
                self.image.value, self.sentence.value = plot.png(), plot.summary
            self.status.value = self._status()
        except Exception as error:
            self.status.value = f"error: {type(error).__name__}: {error}"
        finally:
            self._lock.release()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict, dict]:
        data, metadata = self.plot()._repr_mimebundle_()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.panel().model_id}
        return {**data, "application/vnd.jupyter.widget-view+json": view}, metadata
