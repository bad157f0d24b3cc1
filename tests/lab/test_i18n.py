"""Both languages say everything, with the same gaps, and no text is left over."""

import re
from pathlib import Path
from string import Formatter

import pytest

import minimind_lite.lab
from minimind_lite.config import OPTIMIZERS
from minimind_lite.conversations import ROLES
from minimind_lite.lab.i18n import LANGUAGES, TEXTS, option, say
from minimind_lite.lab.state import CHOICES, LINES, PRESETS, SETTINGS, VIEWS
from minimind_lite.lab.widgets import BUTTONS

FOLDER = Path(minimind_lite.lab.__file__).parent


def gaps(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys_and_gaps():
    english, chinese = ({k: gaps(t) for k, t in TEXTS[x].items()} for x in ("en", "zh"))
    assert english == chinese


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_control_has_a_label_and_a_help_text(language):
    texts = TEXTS[language]
    for name in SETTINGS:
        assert texts[f"setting.{name}"]
        assert texts[f"help.{name}"]
    for name in (*VIEWS, *LINES, *BUTTONS, "state"):
        assert texts[f"label.{name}"]
        assert texts[f"help.{name}"]
    assert all(texts[f"preset.{name}"] for name in PRESETS)


def test_values_without_a_text_are_shown_as_they_are():
    assert option("en", "order", "shuffle") == "every epoch"
    assert option("en", "batch_size", 16) == "16"
    assert option("zh", "learning_rate", 5e-4) == "0.0005"
    named = {key.split("=")[0] for key in TEXTS["en"] if key.startswith("option.") and "=" in key}
    assert named <= {f"option.{name}" for name in (*CHOICES, *VIEWS)}
    assert set(OPTIMIZERS) <= {k.split("=")[1] for k in TEXTS["en"] if "optimizer=" in k}


def test_no_text_is_left_over():
    """A key is written out in the code, or built there from its section and a name of the code."""
    paths = [p for p in FOLDER.rglob("*") if p.suffix in (".py", ".html")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    for key in TEXTS["en"]:
        section, _, name = key.partition(".")
        built = f'"{section}.' in code and any(part in code for part in re.split("[=_]", name))
        assert f'"{key}"' in code or built or name in ROLES, key


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="language must be one of en, zh, got 'fr'"):
        say("fr", "label.run")


@pytest.mark.parametrize("word", ["knob", "optimiser", "anew", "旋钮"])
def test_words_that_are_not_ours(word):
    for language in LANGUAGES:
        for key, text in TEXTS[language].items():
            assert word not in text.lower(), key
