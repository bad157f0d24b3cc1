"""The lab's widgets: made, labelled and laid out here; `app` says what they do.

Every button has a tooltip, every setting a line in a list of help texts, since JupyterLab shows no
tooltip of a dropdown. Nothing needs a mouse. All widgets are made once: what changes is what they
say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

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
ACTIONS = ("run", "pause", "step", "stop", "reset")
BUTTONS = (*ACTIONS, "pin", "compare", "hide", "previous", "next", "close")
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


class Panel:
    """All widgets of one lab, by name, and the box that holds them."""

    def __init__(self, state: LabState, *, presets: bool) -> None:
        self.on_spike: Callable[[int], None] = lambda number: None  # of a button, from 0
        self.language_shown = state.language
        wide, small = W.Layout(width="auto", margin="2px 10px 2px 2px"), W.Layout(width="96px")
        self._spike_layout = W.Layout(width="auto")
        self.settings = {n: self._dropdown(n, CHOICES[n], state.run, wide) for n in SETTINGS}
        self.preset = W.Dropdown(style=WORD_WIDTH, layout=W.Layout(width="260px"))
        self.language = W.Button(layout=W.Layout(width="130px"))
        self.buttons = {name: W.Button(layout=small) for name in BUTTONS if name != "hide"}
        self.buttons["hide"] = W.Button(layout=W.Layout(width="96px"))  # it comes and goes
        self.buttons["run"].button_style = "success"
        self.clock = W.Play(min=0, max=1_000_000_000, value=0, interval=TICK, show_repeat=False)
        self.clock_label, self.lines_label, self.spikes_label = (W.Label() for _ in range(3))
        self.pins_label, self.compare_label = W.Label(), W.Label()
        self.head, self.status, self.error, self.sentence = (W.HTML() for _ in range(4))
        self.page, self.comparison, self.help = (W.HTML() for _ in range(3))
        self.image = W.Image(
            format="png",
            layout=W.Layout(width=f"{WIDTH}px", max_width="100%", height="auto", flex="0 0 auto"),
        )
        self.views = {
            name: W.Checkbox(value=getattr(state, name), indent=False, layout=wide)
            if values[0] is False
            else self._dropdown(name, values, state, wide)
            for name, values in VIEWS.items()
        }
        self.lines = {
            name: W.Checkbox(value=name in state.lines, indent=False, layout=wide) for name in LINES
        }
        self.state = W.Text(continuous_update=False, style=WORD_WIDTH, layout=W.Layout(width="98%"))
        self.spikes: list[W.Button] = []  # as many as a run ever had
        self.spike_row = row([])
        self.pin_names = [
            W.Text(continuous_update=False, layout=W.Layout(width="320px")) for _ in range(MAX_PINS)
        ]
        self.pin_removers = [W.Button(layout=small) for _ in range(MAX_PINS)]
        self.pin_notes = [W.Label() for _ in range(MAX_PINS)]
        self.pin_rows = [
            W.HBox(list(row_of))
            for row_of in zip(self.pin_names, self.pin_removers, self.pin_notes)
        ]
        self.box = self._box(state, presets=presets)
        self.box.add_class("minimind-lite-panel")
        self.box._view_count = 0  # asks the front end to count the places that show the panel
        self.set_language(state.language)

    def _dropdown(
        self, name: str, values: Sequence[Value], chosen: object, layout: W.Layout
    ) -> W.Dropdown:
        options = [(option("en", name, value), value) for value in values]
        value = getattr(chosen, name)
        return W.Dropdown(options=options, value=value, style=WORD_WIDTH, layout=layout)

    def _box(self, state: LabState, *, presets: bool) -> W.VBox:
        buttons = self.buttons
        if OWN_CLOCK:  # its own buttons are Run and Pause
            transport = [self.clock_label, self.clock]
            transport += [buttons[name] for name in ("step", "stop", "reset")]
        else:
            show(self.clock, False)
            transport = [*(buttons[name] for name in ACTIONS), self.clock]
        shown = [self.settings[name] for name in state.settings]
        if presets:
            first = [row([self.preset, self.language]), row(shown)]
        else:
            first = [row([*shown, self.language])]
        self.walk = row([buttons["previous"], buttons["next"], buttons["close"]])
        self.pins = W.VBox([self.pins_label, *self.pin_rows])
        return W.VBox(
            [
                self.head,
                *first,
                row([*transport, self.status]),
                self.error,
                self.image,
                self.sentence,
                self.spike_row,
                self.walk,
                self.page,
                row([*self.views.values(), self.lines_label, *self.lines.values()]),
                row([buttons["pin"], buttons["compare"], buttons["hide"], self.compare_label]),
                self.comparison,
                self.pins,
                self.state,
                self.help,
            ]
        )

    def set_language(self, language: str) -> None:
        """Every label, option and tooltip; values stay."""
        self.language_shown = language
        colab = "google.colab" in sys.modules  # its page lacks the icons of the Play widget
        self.head.value = render("head.html", language, {"colab": colab})
        labelled = {**self.views, **self.lines, **self.buttons, "preset": self.preset}
        for name, widget in {**labelled, "state": self.state}.items():
            widget.description = say(language, f"label.{name}")
        for name, button in self.buttons.items():
            button.tooltip = say(language, f"help.{name}")
        for name, dropdown in self.settings.items():
            dropdown.description = say(language, f"setting.{name}")
        for name in ("axis", "scale"):
            options = [(option(language, name, value), value) for value in VIEWS[name]]
            set_options(self.views[name], options, self.views[name].value)
        for remover in self.pin_removers:
            remover.description = say(language, "label.remove")
            remover.tooltip = say(language, "help.remove")
        self.language.description = say(language, "label.language")
        self.lines_label.value = say(language, "label.lines")
        self.clock_label.value = say(language, "label.clock")
        self.spikes_label.value = say(language, "label.spikes")
        self.pins_label.value = say(language, "label.pinned")
        self.help.value = render(
            "help.html", language, {"settings": SETTINGS, "views": (*VIEWS, *LINES)}
        )

    def show_choice(self, state: LabState, unrecorded: frozenset[tuple[str, Value]]) -> None:
        """Put all controls where a state says; options without a recording say so."""
        for name, dropdown in self.settings.items():
            options = [(self._option(name, v, unrecorded), v) for v in CHOICES[name]]
            set_options(dropdown, options, getattr(state.run, name))
        for name, view in self.views.items():
            view.value = getattr(state, name)
        for name, box in self.lines.items():
            box.value = name in state.lines
        options = [(say(state.language, "label.choose"), "")]
        options += [(say(state.language, f"preset.{name}"), name) for name in PRESETS]
        set_options(self.preset, options, preset_of(state.run))

    def _option(self, name: str, value: Value, unrecorded: frozenset[tuple[str, Value]]) -> str:
        text = option(self.language_shown, name, value)
        if (name, value) in unrecorded:
            return say(self.language_shown, "option.unrecorded", value=text)
        return text

    def show_spikes(self, labels: Sequence[str], tooltips: Sequence[str]) -> None:
        """A button per spike."""
        while len(self.spikes) < len(labels):
            button = W.Button(layout=self._spike_layout)
            number = len(self.spikes)
            button.on_click(lambda _, number=number: self.on_spike(number))
            self.spikes.append(button)
        for button, label, tooltip in zip(self.spikes, labels, tooltips):
            button.description = label
            button.tooltip = tooltip
        children = (self.spikes_label, *self.spikes[: len(labels)]) if labels else ()
        if self.spike_row.children != children:
            self.spike_row.children = children

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
                self.pin_names[i].value, self.pin_notes[i].value = names[i], notes[i]
        show(self.pins, bool(names))

    def close(self) -> None:
        """Close every widget, those of the moment and those that are put away."""
        for widget in (*self.settings.values(), self.preset, *self.spikes, self.spikes_label):
            close_all(widget)
        for widget in (*self.buttons.values(), self.clock, self.clock_label, self.box):
            close_all(widget)


def preset_of(settings: Settings) -> str:
    """The preset whose run this is; "" where there is none. How it is shown does not matter."""
    return next((name for name, state in PRESETS.items() if state.run == settings), "")
