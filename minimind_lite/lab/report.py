"""A lab report: what was seen, with what setting, and what the learner concludes, as one file that can be sent.

One HTML page without scripts or outside resources: any browser opens it, prints it, or saves it as
PDF. The state string in it makes the same lab again.
"""

from __future__ import annotations

import base64
import datetime
import html
import os
from collections.abc import Mapping
from pathlib import Path

from minimind_lite import __version__

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Lab report",
        "made": "made on {day} with MiniMind Lite {version}",
        "seen": "What was seen",
        "setting": "Setting",
        "again": 'The same lab again: SpikeLab.from_state("…") with the line above.',
        "conclusion": "What I conclude",
        "none": "(nothing written yet)",
        "predictions": "What I predicted",
        "sure": "{sure} % sure",
        "comparison": "Compared",
    },
    "zh": {
        "title": "实验报告",
        "made": "{day}，MiniMind Lite {version}",
        "seen": "看到了什么",
        "setting": "设置",
        "again": '用上面这一行重现同一个实验室：SpikeLab.from_state("…")。',
        "conclusion": "我的结论",
        "none": "（还没有写）",
        "predictions": "我的预测",
        "sure": "把握 {sure} %",
        "comparison": "比较",
    },
}


def page(
    *,
    picture: bytes,
    summary: str,
    state: str,
    comparison: str = "",
    conclusion: str = "",
    predictions: Mapping[str, Mapping] | None = None,
    language: str = "en",
) -> str:
    """The report as HTML; `picture` is a PNG, `comparison` HTML, all else is escaped."""
    words, day = WORDS[language], datetime.date.today().isoformat()
    tell = lambda key, **values: html.escape(words[key].format(**values) if values else words[key])
    said = [
        f"<li>{html.escape(p['question'])} <b>{html.escape(p['choice'])})</b> {tell('sure', sure=p['confidence'])} "
        f"{html.escape(p['reason'])}</li>"
        for p in (predictions or {}).values()
    ]
    parts = [
        f"<h1>{tell('title')}</h1><p>{tell('made', day=day, version=__version__)}</p>",
        f"<h2>{tell('seen')}</h2>",
        f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}" alt="{html.escape(summary)}" style="max-width:100%">',
        f"<p>{html.escape(summary)}</p>",
        f"<h2>{tell('setting')}</h2><p><code>{html.escape(state)}</code></p><p>{tell('again')}</p>",
        f"<h2>{tell('comparison')}</h2>{comparison}" if comparison else "",
        f"<h2>{tell('predictions')}</h2><ul>{''.join(said)}</ul>" if said else "",
        f"<h2>{tell('conclusion')}</h2><p style='white-space:pre-wrap'>{html.escape(conclusion) or tell('none')}</p>",
    ]
    return (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{tell("title")}</title>'
        f'<body style="font-family:sans-serif;max-width:62em;margin:2em auto;line-height:1.5">{"".join(parts)}</body></html>\n'
    )


def write(folder: Path, name: str, text: str) -> Path:
    """Write a report, never over another: `name`.html, `name`-2.html, … Returns where."""
    for number in range(1, 10_000):
        path = folder / (f"{name}.html" if number == 1 else f"{name}-{number}.html")
        try:
            with os.fdopen(
                os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w", encoding="utf-8"
            ) as file:
                file.write(text)
            return path
        except FileExistsError:
            continue
    raise FileExistsError(f"{folder} holds ten thousand reports named {name}; move some away.")
