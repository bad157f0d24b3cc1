"""What the notebooks are built from: start-up, predictions, source shown in place, answers kept apart.

A lesson asks before it shows. `predict` offers the choices as buttons where a front end runs
them and as a method everywhere; `reveal` compares with what was measured. Nothing here blocks
"Run All": an unmade prediction says "not yet" and the lesson goes on. What the learner writes
goes to `my_work/` (or MINIMIND_LITE_WORK), which git ignores, so no update ever conflicts with it.
"""

from __future__ import annotations

import html
import inspect
import json
import os
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from IPython.display import HTML, Markdown, display

from minimind_lite import __version__
from minimind_lite.files import shipped
from minimind_lite.records import Run

REPO_URL = ""  # address of the published repository; the notebooks' first cell takes it from the environment until it is known
LETTERS = "abcdefgh"


def work_folder() -> Path:
    """Where the learner's own files go; made when first needed."""
    folder = Path(os.environ.get("MINIMIND_LITE_WORK") or shipped.folder().parent / "my_work")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def start(seed: int = 0) -> None:
    """First line of every lesson: fix the seed, say what runs where."""
    torch.manual_seed(seed)
    torch.set_num_threads(
        1
    )  # workers use the cores; inside one small operation, threads only wait for each other
    print(
        f"MiniMind Lite {__version__} on the CPU, seed {seed}. Data: {len(shipped.conversations()):,} conversations "
        "in data/sft.jsonl. Your own work is kept in my_work/."
    )


def show_source(thing: object) -> None:
    """Show the source of a function or class of the package, read from the installed file."""
    source = textwrap.dedent(inspect.getsource(thing))
    path = Path(inspect.getsourcefile(thing))
    line = inspect.getsourcelines(thing)[1]
    display(Markdown(f"`{path.parent.name}/{path.name}`, line {line}:\n```python\n{source}```"))


class Progress:
    """Progress of an experiment as one line that is replaced in place; what stays says what was done."""

    def __init__(self) -> None:
        self._what, self._handle, self._start, self._last = None, None, 0.0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._start, self._handle = (
                what,
                now,
                display(Markdown(f"{what} …"), display_id=True),
            )
        if done == total:
            text = f"{what}: {total} steps, done."
        elif now - self._last > 0.5:
            text = f"{what}: step {done} of {total}, about {(now - self._start) / done * (total - done):.0f} s left"
        else:
            return
        self._last = now
        if self._handle is not None:  # there is none outside a notebook
            self._handle.update(Markdown(text))


def open_step(run: Run, step: int, *, most: int = 4, characters: int = 90) -> None:
    """Read the conversations that made one step's loss: file line, loss, beginning of question and answer.

    The `most` hardest are shown, hardest first. `step` is a position in the run.
    """
    record, rows = run.records[step], shipped.conversations()
    hardest = np.argsort(-np.nan_to_num(record.sample_losses))[:most]
    cut = lambda text: (
        html.escape(text[:characters] + "…" * (len(text) > characters))
        .replace("\n", " ⏎ ")
        .replace("|", "&#124;")
    )
    lines = [
        f"| {rows[record.rows[i]].line} | {record.sample_losses[i]:.2f} | {cut(rows[record.rows[i]].messages[0][1])} "
        f"| {cut(rows[record.rows[i]].messages[1][1])} |"
        for i in hardest
    ]
    display(
        Markdown(
            f"Step {record.step}, loss {record.loss:.2f}: the {len(hardest)} hardest of its {len(record.rows)} conversations.\n\n"
            "| line of sft.jsonl | loss (nats) | question | answer |\n|---|---|---|---|\n"
            + "\n".join(lines)
        )
    )


def answer(text: str, title: str = "Answer") -> None:
    """A folded answer: one click to open, nothing given away before."""
    display(
        HTML(
            f"<details><summary><b>{title}</b></summary>"
            f"<pre style='white-space:pre-wrap'>{html.escape(text)}</pre></details>"
        )
    )


def predictions() -> dict[str, dict]:
    """All predictions made so far, by key. Raises `ValueError` where the file is damaged."""
    path = work_folder() / "predictions.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); mend or delete it.") from None


class Prediction:
    """A question with choices, made before the experiment runs and kept with its confidence."""

    def __init__(self, key: str, question: str, choices: Sequence[str]) -> None:
        if not 2 <= len(choices) <= len(LETTERS):
            raise ValueError(f"a prediction needs 2 to {len(LETTERS)} choices, got {len(choices)}.")
        self.key, self.question, self.choices = key, question, tuple(choices)
        self._panel = None

    @property
    def _file(self) -> Path:
        return work_folder() / "predictions.json"

    @property
    def made(self) -> dict | None:
        """The recorded prediction ({choice, confidence, reason}), None if not made yet."""
        return predictions().get(self.key)

    def choose(self, choice: str, confidence: int = 70, reason: str = "") -> None:
        """Record a prediction: a letter, how sure (percent), and, if you like, why.

        Raises `ValueError` for another letter or a confidence outside 0 .. 100.
        """
        letters = LETTERS[: len(self.choices)]
        if choice not in tuple(letters):
            raise ValueError(f"choose one of the letters {', '.join(letters)}, got {choice!r}.")
        if not 0 <= confidence <= 100:
            raise ValueError(f"confidence is a percentage, 0 to 100, got {confidence!r}.")
        everything = predictions() | {
            self.key: {
                "question": self.question,
                "choice": choice,
                "confidence": confidence,
                "reason": reason,
            }
        }
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(everything, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(temporary, self._file)

    def panel(self):
        """The question as widgets: choices, confidence, reason, Save."""
        import ipywidgets as W  # no lesson logic needs widgets, so a missing front end costs nothing

        if self._panel is None:
            made = self.made or {}
            choice = W.RadioButtons(
                options=[(f"{c}) {t}", c) for c, t in zip(LETTERS, self.choices)],
                value=made.get("choice"),
                layout=W.Layout(width="auto"),
            )
            sure = W.IntSlider(
                value=made.get("confidence", 70), min=0, max=100, step=10, description="how sure, %"
            )
            why = W.Text(
                value=made.get("reason", ""),
                placeholder="why? (optional)",
                layout=W.Layout(width="50%"),
            )
            save, said = (
                W.Button(description="Save my prediction", button_style="primary"),
                W.Label("saved" if made else "not yet"),
            )

            def on_save(_: object) -> None:
                try:
                    self.choose(choice.value or "", sure.value, why.value)
                    said.value = f"saved: {choice.value}, {sure.value} % sure"
                except (
                    ValueError,
                    OSError,
                ) as error:  # an exception in a callback would be invisible
                    said.value = f"error: {error}"

            save.on_click(on_save)
            self._panel = W.VBox(
                [
                    W.HTML(f"<b>{self.question}</b>"),
                    choice,
                    W.HBox([sure, why]),
                    W.HBox([save, said]),
                ]
            )
        return self._panel

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        lines = "\n".join(f"- **{c})** {t}" for c, t in zip(LETTERS, self.choices))
        text = (
            f"**{self.question}**\n\n{lines}\n\nNo buttons here? Write in a new cell the name that the cell above ends with, "
            "and after it `.choose('a', confidence=70)`, with your letter."
        )
        try:
            return {
                "application/vnd.jupyter.widget-view+json": {
                    "version_major": 2,
                    "version_minor": 0,
                    "model_id": self.panel().model_id,
                },
                "text/markdown": text,
                "text/plain": self.question,
            }
        except ImportError:
            return {"text/markdown": text, "text/plain": self.question}

    def reveal(
        self, measured: str, because: str, *, others: Mapping[str, str] | None = None
    ) -> None:
        """Say what was measured (a letter), what the learner had said, and why; also for a wrong choice."""
        made, said = self.made, dict(zip(LETTERS, self.choices))
        if made is None:
            text = "You have made no prediction yet; you can still do it above, and run this cell again."
        elif made["choice"] == measured:
            text = f"You said **{made['choice']})**, {made['confidence']} % sure. **It did.**"
        else:
            own = (others or {}).get(made["choice"], "")
            text = f"You said **{made['choice']})** {said[made['choice']]}, {made['confidence']} % sure. **It did otherwise.** {own}"
        display(Markdown(f"{text}\n\n**Measured: {measured})** {said[measured]} {because}"))


def predict(key: str, question: str, choices: Sequence[str]) -> Prediction:
    """A `Prediction`; as the last line of a cell it shows its buttons."""
    return Prediction(key, question, choices)


def verdict(problems: Sequence[str], success: str) -> bool:
    """Print what an exercise's check found: each problem, or `success`. True if there was none."""
    for problem in problems:
        print(f"✗ {problem}")
    if not problems:
        print(f"✓ {success}")
    return not problems
