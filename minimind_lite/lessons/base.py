"""What the notebooks are made of: start-up, predictions, source shown in place, folded answers.

A lesson asks before it shows. `predict` offers choices as buttons where a front end runs them, and
as a method everywhere. `reveal` compares with what was measured. Nothing here stops "Run All".
Answers and explanations are in `texts/`, one file per lesson, so a notebook's source gives nothing
away.
"""

from __future__ import annotations

import html
import inspect
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from IPython.display import HTML, DisplayHandle, Markdown, display

from minimind_lite import __version__
from minimind_lite.files import shipped, work
from minimind_lite.lessons.checks import is_number, texts

if TYPE_CHECKING:
    from ipywidgets import VBox

REPO_URL = ""  # of the published repository; until it is known, the notebooks ask for it
LETTERS = "abcdefgh"
REPAINT_SECONDS = 0.5
DEFAULT_CONFIDENCE = 70  # percent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def start(seed: int = 0) -> None:
    """First line of every lesson: fix the seed, say what runs where."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # training uses all cores by itself, one micro-batch per core
    print(
        f"MiniMind Lite {__version__} on the CPU, seed {seed}. Data: "
        f"{len(shipped.conversations()):,} conversations in data/sft.jsonl. "
        "Your own work goes to my_work/."
    )


def show_source(thing: type | Callable[..., object]) -> None:
    """Show the source of a function or class of the package, read from the installed file."""
    lines, number = inspect.getsourcelines(thing)
    path = Path(inspect.getfile(thing))
    source = textwrap.dedent("".join(lines))
    place = f"`{path.parent.name}/{path.name}`, line {number}"
    display(Markdown(f"{place}:\n```python\n{source}```"))


class Progress:
    """Progress of an experiment as one line that is replaced in place."""

    def __init__(self) -> None:
        self._what = ""
        self._handle: DisplayHandle | None = None
        self._done, self._start, self._last = 0, 0.0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` steps of `what` are behind us."""
        now = time.monotonic()
        if what != self._what or done < self._done:
            self._what, self._start = what, now
            self._handle = display(Markdown(f"{what} …"), display_id=True)
        self._done = done
        if done >= total:
            text = f"{what}: {total} steps, done."
        elif done > 0 and now - self._last > REPAINT_SECONDS:
            left = (now - self._start) / done * (total - done)
            text = f"{what}: step {done} of {total}, about {left:.0f} s left"
        else:
            return
        self._last = now
        if self._handle is not None:  # outside a notebook there is none
            self._handle.update(Markdown(text))


def answer(key: str) -> None:
    """Show an exercise's answer, folded: one click opens it. `key` is lesson and number: "05-2".

    Raises `ValueError` for an unknown key.
    """
    text = html.escape(texts(key, "exercises")["answer"].strip())
    fold("Answer", f"<pre style='white-space:pre-wrap'>{text}</pre>")


def fold(title: str, content: str) -> None:
    """Show HTML that one click opens."""
    summary = f"<summary><b>{html.escape(title)}</b></summary>"
    display(HTML(f"<details>{summary}{content}</details>"))


class Prediction:
    """A question with choices, answered before the experiment runs."""

    def __init__(self, key: str, question: str, *, choices: Sequence[str]) -> None:
        if not 2 <= len(choices) <= len(LETTERS):
            raise ValueError(f"a prediction needs 2 to {len(LETTERS)} choices, got {len(choices)}.")
        self.key, self.question = key, question
        self.choices = dict(zip(LETTERS, choices))
        self._panel: VBox | None = None

    @property
    def made(self) -> Mapping[str, object] | None:
        """The stored prediction (choice, confidence, reason); None if there is none yet."""
        stored = work.predictions().get(self.key, {})
        choice, confidence = stored.get("choice"), stored.get("confidence")
        if not isinstance(choice, str) or choice not in self.choices:
            return None
        sure = confidence if is_number(confidence) else DEFAULT_CONFIDENCE
        return stored | {"confidence": sure, "reason": str(stored.get("reason", ""))}

    def choose(
        self, choice: str, confidence: int = DEFAULT_CONFIDENCE, *, reason: str = ""
    ) -> None:
        """Store a prediction: a letter, how sure you are (percent) and, if you like, why.

        Raises `ValueError` for another letter, a confidence outside 0 .. 100 or a reason that is
        no text.
        """
        if not isinstance(choice, str) or choice not in self.choices:
            letters = ", ".join(self.choices)
            raise ValueError(f"choose one of the letters {letters}, got {choice!r}.")
        if not is_number(confidence) or not 0 <= confidence <= 100:
            raise ValueError(f"confidence is a percentage, 0 to 100, got {confidence!r}.")
        if not isinstance(reason, str):
            raise ValueError(f"the reason is a text, got {reason!r}.")
        prediction = {
            "question": self.question,
            "choice": choice,
            "confidence": confidence,
            "reason": reason,
        }
        work.save_prediction(self.key, prediction)

    def panel(self) -> VBox:
        """The question as widgets: choices, confidence, reason, Save."""
        if self._panel is None:
            self._panel = _panel(self)
        return self._panel

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, object]:
        choices = "\n".join(f"- **{letter})** {text}" for letter, text in self.choices.items())
        text = (
            f"**{self.question}**\n\n{choices}\n\nNo buttons here? Write in a new cell the name "
            "that the cell above ends with, and after it `.choose('a', confidence=70)`, with your "
            "letter."
        )
        bundle: dict[str, object] = {"text/markdown": text, "text/plain": self.question}
        try:
            model = self.panel().model_id
        except ImportError:  # no widgets here
            return bundle
        view = {"version_major": 2, "version_minor": 0, "model_id": model}
        return {WIDGET_VIEW: view, **bundle}

    def reveal(self, measured: str, because: str) -> None:
        """Compare the prediction with what was measured (a letter), and say why.

        What is to say of a wrong choice is in the lesson's file of answers. Without a prediction
        the result stays folded.
        """
        made, result = self.made, f"{self.choices[measured]} {because}"
        if made is None:
            display(Markdown("You have made no prediction yet. Make one above and run this again."))
            fold("Show the result", f"<p><b>Measured: {measured})</b> {html.escape(result)}</p>")
            return
        choice = str(made["choice"])
        text = f"Your prediction: **{choice})**, {made['confidence']} % sure. **That is right.**"
        if choice != measured:
            because_not = texts(self.key, "predictions").get(choice, "")
            text = (
                f"Your prediction: **{choice})** {self.choices[choice]} {made['confidence']} % "
                f"sure. **Not this time, and here is why:** {because_not}"
            )
        display(Markdown(f"{text}\n\n**Measured: {measured})** {result}"))


def _panel(prediction: Prediction) -> VBox:
    import ipywidgets as W  # no lesson logic needs widgets: a missing front end costs nothing

    made = prediction.made or {
        "choice": None,
        "confidence": DEFAULT_CONFIDENCE,
        "reason": "",
    }
    choice = W.RadioButtons(
        options=[(f"{letter}) {text}", letter) for letter, text in prediction.choices.items()],
        value=made["choice"],
        layout=W.Layout(width="auto"),
    )
    sure = W.IntSlider(value=made["confidence"], min=0, max=100, step=10, description="how sure, %")
    why = W.Text(value=made["reason"], placeholder="why? (optional)", layout=W.Layout(width="50%"))
    save = W.Button(description="Save my prediction", button_style="primary")
    status = W.HTML("saved" if made["choice"] else "not saved yet")

    def on_save(_: object) -> None:
        if choice.value is None:
            status.value = "choose an answer first"
            return
        try:
            prediction.choose(choice.value, sure.value, reason=why.value)
            status.value = f"saved: {html.escape(choice.value)}, {sure.value} % sure"
        except (ValueError, OSError) as error:  # an exception in a callback would be invisible
            status.value = html.escape(f"not saved: {error}")

    save.on_click(on_save)
    title = W.HTML(f"<b>{html.escape(prediction.question)}</b>")
    return W.VBox([title, choice, W.HBox([sure, why]), W.HBox([save, status])])


def predict(key: str, question: str, *, choices: Sequence[str]) -> Prediction:
    """A `Prediction`; as the last line of a cell it shows its buttons."""
    return Prediction(key, question, choices=choices)
