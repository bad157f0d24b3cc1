"""The lab's widgets: made, labelled and laid out here; `app` says what they do.

Every button has a tooltip, every setting a line in a list of help texts, since JupyterLab shows no
tooltip of a dropdown. Nothing needs a mouse. All widgets are made once: what changes is what they
say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from html import escape

import ipywidgets as W

from minimind_lite.lab.figure import WIDTH
from minimind_lite.lab.i18n import option, say
from minimind_lite.lab.state import (
    CHOICES,
    LINES,
    MAX_PINS,
    PRESETS,
    SETTINGS,
    VIEWS,
    LabState,
    Settings,
    Value,
)
from minimind_lite.lab.templates import render

# Before version 8 only a click on the Play widget itself starts it.
OWN_CLOCK = int(W.__version__.split(".")[0]) < 8
TICK = 160  # milliseconds between two ticks of the clock
ACTIONS = ("run", "pause", "step", "stop", "go_on", "reset")
BUTTONS = (*ACTIONS, "pin", "compare", "hide", "previous", "next", "close")
VIEWED = (*VIEWS, *LINES)  # what changes the picture and no run
WORD_WIDTH = {"description_width": "initial"}  # as wide as its words, in any language
ROW = {"flex_flow": "row wrap", "align_items": "center"}


def row(children: Iterable[W.Widget]) -> W.HBox:
    """Side by side, in as many lines as it takes."""
    return W.HBox(list(children), layout=W.Layout(**ROW))


def set_options(dropdown: W.Dropdown, options: Sequence[tuple[str, object]], value: object) -> None:
    """Options and choice at once; nothing is sent where nothing changes."""
    if tuple(dropdown.options) != tuple(options):
        dropdown.options = options
    if dropdown.value != value:
        dropdown.value = value


def show(widget: W.Widget, shown: bool) -> None:
    """Give a widget its place, or take it."""
    widget.layout.display = None if shown else "none"


def close_all(widget: W.Widget) -> None:
    """Close a widget and whatever belongs to it: children, layout, style."""
    for name in widget.keys:
        value = getattr(widget, name)
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, W.Widget):
                close_all(part)
    widget.close()


def dropdown(width: str = "auto") -> W.Dropdown:
    """Empty; what it offers comes with the first repaint."""
    return W.Dropdown(style=WORD_WIDTH, layout=W.Layout(width=width, margin="2px 10px 2px 2px"))


def checkbox() -> W.Checkbox:
    """As wide as its words."""
    return W.Checkbox(indent=False, layout=W.Layout(width="auto", margin="2px 10px 2px 2px"))


class Panel:
    """All widgets of one lab, by name, and the box that holds them."""

    def __init__(self, state: LabState, *, presets: bool) -> None:
        self.language_shown = ""
        self.settings = {name: dropdown() for name in SETTINGS}
        self.preset, self.language = dropdown("260px"), W.Button(layout=W.Layout(width="130px"))
        self.buttons = {name: W.Button(layout=W.Layout(width="96px")) for name in BUTTONS}
        self.buttons["run"].button_style = "success"
        self.clock = W.Play(min=0, max=1_000_000_000, value=0, interval=TICK, show_repeat=False)
        self.labels = {name: W.Label() for name in ("clock", "lines", "spikes", "pinned")}
        self.head, self.status, self.error, self.sentence = (W.HTML() for _ in range(4))
        self.page, self.comparison, self.help = (W.HTML() for _ in range(3))
        self.image = W.Image(
            format="png",
            layout=W.Layout(width=f"{WIDTH}px", max_width="100%", height="auto", flex="0 0 auto"),
        )
        self.views = {n: dropdown() if n in ("axis", "scale") else checkbox() for n in VIEWS}
        self.lines = {name: checkbox() for name in LINES}
        self.compare_label = W.HTML()  # names in it: a label would typeset them as formulas
        self.state = W.Text(continuous_update=False, style=WORD_WIDTH, layout=W.Layout(width="98%"))
        self.spikes: list[W.Button] = []  # as many as a run ever had
        self.on_spike: Callable[[int], None] = print  # what a press of one does
        self.pin_names = [W.Text(continuous_update=False) for _ in range(MAX_PINS)]
        self.pin_removers = [W.Button(layout=W.Layout(width="96px")) for _ in range(MAX_PINS)]
        self.pin_notes = [W.HTML() for _ in range(MAX_PINS)]
        self.box = W.VBox(self._rows(state.settings, presets=presets))
        self.box.add_class("minimind-lite-panel")
        self.box._view_count = 0  # asks the front end to count the places that show the panel

    def _rows(self, settings: Sequence[str], *, presets: bool) -> list[W.Widget]:
        buttons = self.buttons
        transport = [buttons[name] for name in ACTIONS]
        if OWN_CLOCK:  # its own buttons are Run and Pause
            transport[:2] = [self.labels["clock"], self.clock]
        else:
            show(self.clock, False)
            transport.append(self.clock)
        shown = [self.settings[name] for name in settings]
        first = [self.preset, self.language] if presets else [*shown, self.language]
        pins = zip(self.pin_names, self.pin_removers, self.pin_notes)
        self.pin_rows = [row(of_pin) for of_pin in pins]
        self.pins = W.VBox([self.labels["pinned"], *self.pin_rows])
        self.walk = row([buttons["previous"], buttons["next"], buttons["close"]])
        self.spike_row = row([])
        return [
            self.head,
            row(first),
            *([row(shown)] if presets else []),
            row([*transport, self.status]),
            self.error,
            self.image,
            self.sentence,
            self.spike_row,
            self.walk,
            self.page,
            row([*self.views.values(), self.labels["lines"], *self.lines.values()]),
            row([buttons["pin"], buttons["compare"], buttons["hide"], self.compare_label]),
            self.comparison,
            self.pins,
            self.state,
            self.help,
        ]

    def set_language(self, language: str) -> None:
        """Every label and tooltip."""
        self.language_shown = language
        colab = "google.colab" in sys.modules  # its page lacks the icons of the Play widget
        self.head.value = render("head.html", language, {"colab": colab})
        self.help.value = render("help.html", language, {"settings": SETTINGS, "views": VIEWED})
        named = {"preset": self.preset, "language": self.language, "state": self.state}
        for name, widget in {**named, **self.views, **self.lines, **self.buttons}.items():
            widget.description = say(language, f"label.{name}")
        for name, widget in self.settings.items():
            widget.description = say(language, f"setting.{name}")
        for name, button in self.buttons.items():
            button.tooltip = say(language, f"help.{name}")
        for remover in self.pin_removers:
            remover.description = say(language, "label.remove")
        for name, label in self.labels.items():
            label.value = say(language, f"label.{name}")

    def show_choice(self, state: LabState, unrecorded: frozenset[tuple[str, Value]]) -> None:
        """Put all controls where a state says; options without a recording say so."""
        language = state.language
        for name, widget in self.settings.items():
            options = []
            for value in CHOICES[name]:
                text = option(language, name, value)
                if (name, value) in unrecorded:
                    text = say(language, "option.unrecorded", value=text)
                options.append((text, value))
            set_options(widget, options, getattr(state.run, name))
        for name in ("axis", "scale"):
            options = [(option(language, name, value), value) for value in VIEWS[name]]
            set_options(self.views[name], options, getattr(state, name))
        for name in ("band", "probes"):
            self.views[name].value = getattr(state, name)
        for name, box in self.lines.items():
            box.value = name in state.lines
        options = [(say(language, "label.choose"), "")]
        options += [(say(language, f"preset.{name}"), name) for name in PRESETS]
        set_options(self.preset, options, preset_of(state.run))

    def show_spikes(self, labels: Sequence[str], tooltips: Sequence[str]) -> None:
        """A button per spike."""
        while len(self.spikes) < len(labels):
            button = W.Button(layout=W.Layout(width="auto"))
            button.on_click(partial(self._spike_pressed, len(self.spikes)))
            self.spikes.append(button)
        for button, label, tooltip in zip(self.spikes, labels, tooltips):
            button.description, button.tooltip = label, tooltip
        children = (self.labels["spikes"], *self.spikes[: len(labels)]) if labels else ()
        if self.spike_row.children != children:
            self.spike_row.children = children

    def _spike_pressed(self, number: int, _: W.Button) -> None:
        self.on_spike(number)

    def stop_clock(self) -> None:
        """No more ticks."""
        name = "_playing" if OWN_CLOCK else "playing"
        if getattr(self.clock, name):
            setattr(self.clock, name, False)

    def show_pins(self, names: Sequence[str], notes: Sequence[str]) -> None:
        """A row per pinned run: its name, a button to remove it, a note where it can't be drawn."""
        for i, pin_row in enumerate(self.pin_rows):
            show(pin_row, i < len(names))
            if i < len(names):
                self.pin_names[i].value, self.pin_notes[i].value = names[i], escape(notes[i])
        show(self.pins, bool(names))

    def close(self) -> None:
        """Close every widget, those on the page and those that are put away."""
        for widgets in (self.settings, self.buttons, self.labels):
            for widget in widgets.values():
                close_all(widget)
        for widget in (*self.spikes, self.preset, self.clock, self.box):
            close_all(widget)


def preset_of(settings: Settings) -> str:
    """The preset whose run this is; "" where there is none. How it is shown does not matter."""
    return next((name for name, state in PRESETS.items() if state.run == settings), "")
