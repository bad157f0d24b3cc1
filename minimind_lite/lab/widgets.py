"""The lab's widgets: made, labelled and laid out here; what they do is said in `lab`.

Every control has a label, a tooltip and a place in the tab order. Nothing is drawn on by mouse:
what can be pointed at in a figure has a button beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import ipywidgets as W

from minimind_lite.lab.figure import WIDTH
from minimind_lite.lab.state import CHOICES, KNOBS, LINES, PRESETS, VIEWS, LabState
from minimind_lite.lab.wording import say

OWN_CLOCK = (
    int(W.__version__.split(".")[0]) < 8
)  # before version 8 only a click on the Play widget itself starts it
TICK = 160  # milliseconds between two ticks of the clock
ICONS = '<link rel="stylesheet" href="https://stackpath.bootstrapcdn.com/font-awesome/4.7.0/css/font-awesome.min.css">'
ACTIONS = ("run", "pause", "step", "stop", "reset")
STYLES = {"run": "success", "stop": "danger"}
OWN_WIDTH = {"description_width": "initial"}  # as wide as its words, in any language
BOX = {"width": "auto", "margin": "2px 14px 2px 2px"}
ROW = {"flex_flow": "row wrap", "align_items": "center"}


def tip(widget: W.Widget, text: str) -> None:
    """A tooltip, under the name that this version of the widgets gives it."""
    name = "tooltip" if widget.has_trait("tooltip") else "description_tooltip"
    if widget.has_trait(name):
        setattr(widget, name, text)


def _options(language: str, name: str, values: Sequence[object]) -> list[tuple[str, object]]:
    return [
        (
            say(language, f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"),
            value,
        )
        for value in values
    ]


class Panel:
    """All widgets of one lab, by name, and the box that holds them."""

    def __init__(self, state: LabState, *, presets: bool) -> None:
        self.knobs = {
            name: W.Dropdown(
                options=_options("en", name, CHOICES[name]),
                value=getattr(state.run, name),
                style=OWN_WIDTH,
                layout=W.Layout(width="auto", margin="2px 10px 2px 2px"),
            )
            for name in KNOBS
        }
        self.preset = W.Dropdown(
            options=[("", "")], style=OWN_WIDTH, layout=W.Layout(width="260px")
        )
        self.language = W.Button(layout=W.Layout(width="130px"))
        self.buttons = {
            name: W.Button(button_style=STYLES.get(name, ""), layout=W.Layout(width="96px"))
            for name in ACTIONS
        }
        self.clock = W.Play(min=0, max=1_000_000_000, value=0, interval=TICK, show_repeat=False)
        self.status = W.HTML(layout=W.Layout(min_height="28px"))
        self.error = W.HTML()
        self.image = W.Image(
            format="png",
            layout=W.Layout(width=f"{WIDTH}px", max_width="100%", height="auto", flex="0 0 auto"),
        )
        self.sentence = W.HTML()
        self.views = {
            name: W.Checkbox(value=getattr(state, name), indent=False, layout=W.Layout(**BOX))
            if values[0] is False
            else W.Dropdown(
                options=_options("en", name, values),
                value=getattr(state, name),
                style=OWN_WIDTH,
                layout=W.Layout(width="auto"),
            )
            for name, values in VIEWS.items()
        }
        self.lines = {
            name: W.Checkbox(value=name in state.lines, indent=False, layout=W.Layout(**BOX))
            for name in LINES
        }
        self.state = W.Text(layout=W.Layout(width="98%"), style=OWN_WIDTH)
        self.spikes = W.HBox(layout=W.Layout(**ROW))
        self.previous, self.next, self.close = (
            W.Button(layout=W.Layout(width="96px")) for _ in range(3)
        )
        self.walk = W.HBox([self.previous, self.next, self.close], layout=W.Layout(display="none"))
        self.page = W.HTML(layout=W.Layout(max_height="560px", overflow="auto"))
        self.pin = W.Button(layout=W.Layout(width="96px"))
        self.pins = W.VBox()
        self.pair = {
            name: W.Dropdown(options=[("", None)], style=OWN_WIDTH, layout=W.Layout(width="270px"))
            for name in ("pair a", "pair b")
        }
        self.compare = W.Button(layout=W.Layout(width="96px"))
        self.comparison = W.HTML()
        self._presets = presets
        self.box = self._box(state)
        self.box._view_count = 0  # asks the front end to count the places where the panel is shown
        self.label(state.language)

    def _box(self, state: LabState) -> W.VBox:
        row = lambda children: W.HBox(list(children), layout=W.Layout(**ROW))
        transport = [
            b for name, b in self.buttons.items() if not (OWN_CLOCK and name in ("run", "pause"))
        ]
        self.clock_label = W.Label()
        if OWN_CLOCK:
            # Colab's page lacks the icons of the Play widget.
            transport = [
                self.clock_label,
                self.clock,
                *transport,
                *([W.HTML(ICONS)] if "google.colab" in sys.modules else []),
            ]
        else:
            self.clock.layout.display = "none"
            transport.append(self.clock)
        self.lines_label = W.Label()
        knobs = [self.knobs[name] for name in state.knobs]
        first = (
            [row([self.preset, self.language]), row(knobs)]
            if self._presets
            else [row([*knobs, self.language])]
        )
        views = row([*self.views.values(), self.lines_label, *self.lines.values()])
        return W.VBox(
            [
                *first,
                row([*transport, self.status]),
                self.error,
                self.image,
                self.sentence,
                views,
                self.spikes,
                self.walk,
                self.page,
                row([self.pin, *self.pair.values(), self.compare]),
                self.pins,
                self.comparison,
                self.state,
            ]
        )

    def label(self, language: str) -> None:
        """Every label, option and tooltip in a language; values stay."""
        for name, widget in (
            self.knobs.items()
            | {n: v for n, v in self.views.items() if isinstance(v, W.Dropdown)}.items()
        ):
            values, now = (CHOICES | VIEWS)[name], widget.value
            widget.options, widget.value = _options(language, name, values), now
        for name, widget in {
            **self.knobs,
            **self.views,
            **self.buttons,
            "preset": self.preset,
            "pin": self.pin,
            "compare": self.compare,
            "previous": self.previous,
            "next": self.next,
            "close": self.close,
        }.items():
            widget.description = say(language, name)
            tip(widget, say(language, f"{name}?"))
        for name, dropdown in self.pair.items():
            dropdown.description = say(language, name)
            tip(dropdown, say(language, "pair?"))
        self.language.description = say(language, "language?")
        self.preset.options = [
            (say(language, "choose"), ""),
            *((say(language, f"preset:{name}"), name) for name in PRESETS),
        ]
        for name, box in self.lines.items():
            box.description = say(language, f"line={name}")
            tip(box, say(language, f"line={name}?"))
        self.lines_label.value, self.clock_label.value = (
            say(language, "lines") + ":",
            say(language, "clock"),
        )
        self.state.description = say(language, "state")

    def show_choice(self, state: LabState) -> None:
        """Put knobs, views and the name of the preset where a state says."""
        alike = ("run", "lines", "band", "probes")
        self.preset.value = next(
            (
                n
                for n, p in PRESETS.items()
                if all(getattr(p, a) == getattr(state, a) for a in alike)
            ),
            "",
        )
        for name, knob in self.knobs.items():
            knob.value = getattr(state.run, name)
        for name, view in self.views.items():
            view.value = getattr(state, name)
        for name, box in self.lines.items():
            box.value = name in state.lines

    def show_state(self, text: str) -> None:
        """The state string, for copying."""
        if self.state.value != text:
            self.state.value = text
