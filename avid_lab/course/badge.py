"""The small coloured boxes under a cell: HTML that needs no kernel, and plain text where there is no browser."""

from __future__ import annotations

import html
import re

from avid_lab.course.checks import Exercise, Verdict

# Border colour by kind. Text uses the page's own colour, so boxes fit light and dark pages.
COLOURS = {"blank": "#d98e04", "wrong": "#d1393e", "right": "#2f9e5b", "plain": "#6b7fa3"}
SIGNS = {"blank": "○", "wrong": "✗", "right": "✓"}


class Box:
    """Something to display: HTML in a notebook, text elsewhere.

    Args:
        kind: "blank", "wrong", "right" or "plain".
        content: HTML.
    """

    def __init__(self, kind: str, content: str) -> None:
        self.kind, self.content = kind, content

    def _repr_html_(self) -> str:
        colour = COLOURS[self.kind]
        style = (
            f"border-left:5px solid {colour};background:{colour}1c;border-radius:4px;padding:.5em .9em;margin:.3em 0;"
            "max-width:56em;line-height:1.45;font-family:var(--jp-content-font-family,system-ui,sans-serif)"
        )
        return f'<div class="avid-box avid-{self.kind}" style="{style}">{self.content}</div>'

    def __repr__(self) -> str:
        text = re.sub(r"<summary>(.*?)</summary>", r"\1: ", self.content)
        return html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<br>|</p>|</li>|</tr>|</details>", "\n", text))).strip()


def verdict_box(exercise: Exercise, verdict: Verdict) -> Box:
    """What the checks say, with folded hints."""
    name = f"<code>{html.escape(exercise.name)}</code>"
    head = {
        "blank": f"{name} is not written yet; the reference solution runs instead.",
        "wrong": f"{name}: {prose(verdict.title)}. The reference solution runs instead.",
        "right": f"{name} is right: from here on the notebook runs your code.",
    }[verdict.status]
    parts = [f"<b>{SIGNS[verdict.status]} {head}</b>"]
    body = exercise.task if verdict.status == "blank" else verdict.explanation
    if body:
        parts.append(f'<div style="margin:.25em 0">{prose(body)}</div>')
    if verdict.printed and verdict.status == "wrong":
        parts.append(
            f"<details><summary>what it printed</summary><pre>{html.escape(verdict.printed[:2000])}</pre></details>"
        )
    if verdict.status != "right":
        nested = ""
        for number, hint in reversed(list(enumerate(exercise.hints, 1))):
            nested = f"<details><summary>Hint {number}</summary>{prose(hint)}{nested}</details>"
        parts.append(f'<div style="opacity:.9;margin-top:.3em">{nested}</div>')
    return Box(verdict.status, "".join(parts))


def prose(text: str) -> str:
    """Text to HTML: ``code`` in backticks, *words* in stars, paragraphs at empty lines."""
    code_and_words = re.split(r"`+([^`]+)`+", html.escape(text, quote=False))
    for number, part in enumerate(code_and_words):
        if number % 2:
            code_and_words[number] = f"<code>{part}</code>"
        else:
            code_and_words[number] = re.sub(r"\*(\w[^*\n]*?)\*", r"<i>\1</i>", part)
    return re.sub(r"\n\s*\n", "<br>", "".join(code_and_words))
