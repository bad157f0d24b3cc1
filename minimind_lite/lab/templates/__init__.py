"""HTML of the lab, from templates that escape whatever is put into them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined

from minimind_lite.lab.i18n import say

ENVIRONMENT = Environment(
    loader=PackageLoader("minimind_lite.lab", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, language: str, values: Mapping[str, object]) -> str:
    """A template filled in; in it, `say("section.key")` is a text of the language."""
    return ENVIRONMENT.get_template(template).render(
        values, language=language, say=partial(say, language)
    )
