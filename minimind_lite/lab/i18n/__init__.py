"""What the Spike Lab says: one TOML file a language, and the function that reads a text from it.

A translator edits `en.toml` and `zh.toml` and nothing else. A test holds that both have the same
keys and the same gaps.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files

LANGUAGES = ("en", "zh")


def read_texts(language: str) -> dict[str, str]:
    """All texts of a language, by "section.key"."""
    source = files(__package__).joinpath(f"{language}.toml").read_text(encoding="utf-8")
    return {
        f"{section}.{key}": text
        for section, texts in tomllib.loads(source).items()
        for key, text in texts.items()
    }


TEXTS: Mapping[str, Mapping[str, str]] = {language: read_texts(language) for language in LANGUAGES}


def say(language: str, key: str, **values: object) -> str:
    """The text of a key ("status.paused") in a language, its gaps filled.

    Raises `ValueError` for a language without texts, `KeyError` for a key without one.
    """
    if language not in TEXTS:
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, got {language!r}.")
    return TEXTS[language][key].format(**values) if values else TEXTS[language][key]


def option(language: str, setting: str, value: object) -> str:
    """What a value of a setting is called; a value without a text of its own is shown as it is."""
    plain = f"{value:g}" if isinstance(value, float) else str(value)
    return TEXTS[language].get(f"option.{setting}={plain}", plain)
