"""The panel of an opened run: its curve, a menu of its rises, and the page of any step."""

from __future__ import annotations

from typing import Any

import ipywidgets as W
from IPython.display import display

from minimind_lite.lab.i18n import say
from minimind_lite.lab.opened_run import OpenedRun
from minimind_lite.lab.templates import render


class RunView:
    """As the last line of a cell it shows itself; nothing in it trains."""

    def __init__(self, opened: OpenedRun, *, language: str = "en") -> None:
        self.opened, self.language = opened, language
        positions = len(opened.run) - 1
        choices = [(say(language, "run.any"), None), *opened.choices()]
        label = say(language, "run.menu")
        self.rises = W.Dropdown(options=choices, value=None, description=label)
        self.position = W.IntSlider(
            min=0, max=positions, description=say(language, "run.record"), continuous_update=False
        )
        self.image = W.Image(format="png")
        self.summary = W.HTML(opened.summary(language))
        self.page = W.HTML()
        self.rises.observe(self._choose, "value")
        self.position.observe(self._open, "value")
        controls = W.HBox([self.rises, self.position])
        stored = W.HTML(render("stored.html", language, {}))
        self.box = W.VBox([stored, self.image, controls, self.page, self.summary])
        self.box.add_class("minimind-lite-panel")
        self.show(opened.rises[0].peak if opened.rises else 0)

    def show(self, position: int) -> None:
        """Open a step by its position. Raises `ValueError` for one that the run does not have."""
        page = self.opened.page(position, self.language)
        plot = self.opened.picture(position)
        self.page.value, self.image.value, self.image.alt = page, plot.png(), plot.summary
        self.position.value = position

    def _choose(self, change: dict[str, Any]) -> None:
        if change["new"] is not None:
            self.position.value = change["new"]

    def _open(self, change: dict[str, Any]) -> None:
        self.show(change["new"])

    def _ipython_display_(self) -> None:
        """The panel; a notebook that is opened later shows the picture before it."""
        plot = self.opened.picture(self.position.value)
        display(plot)
        display(self.box)
