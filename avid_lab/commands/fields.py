"""Options and JSON for the fields of a dataclass."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints


def add_fields(parser: Any, kind: type, of_preset: set[str] | None) -> None:
    """Add one option per field, with the text of its docstring; options not given are absent from the result."""
    texts, hints = _field_texts(kind), get_type_hints(kind)
    for f in fields(kind):
        option, hint = f"--{f.name.replace('_', '-')}", hints[f.name]
        text = (
            texts[f.name][0].lower() + texts[f.name][1:]
            if texts[f.name][1:2] in "abcdefghijklmnopqrstuvwxyz "
            else texts[f.name]
        )
        text = text.rstrip(".").replace("%", "%%")
        if of_preset is not None:
            text += " (default: the preset's)" if f.name in of_preset else f" (default: {f.default})"
        how: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS, "dest": f.name}
        if hint is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, **how)
        elif get_origin(hint) is Literal:
            parser.add_argument(option, choices=get_args(hint), **how)
        elif get_origin(hint) is tuple:
            parser.add_argument(option, type=_tuple_of_floats, metavar="X,X", **how)
        else:
            parser.add_argument(option, type=_parser_of(hint), metavar="X", **how)


def _field_texts(kind: type) -> dict[str, str]:
    """The text for each field in the ``Args`` section of a dataclass's docstring."""
    texts: dict[str, str] = {}
    name = ""
    names = {f.name for f in fields(kind)}
    for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
        head, _, rest = line.strip().partition(": ")
        if line.startswith("    ") and not line.startswith("     ") and head in names:
            name, line = head, rest
        elif not line.startswith("     "):
            name = ""
        if name:
            texts[name] = f"{texts.get(name, '')} {line.strip()}".strip()
    return texts


def _parser_of(hint: Any) -> Callable[[str], Any]:
    options = get_args(hint)  # of "float | None"
    kind = next((option for option in options if option is not type(None)), hint)

    def parse(text: str) -> Any:
        return None if type(None) in options and text.lower() == "none" else kind(text)

    parse.__name__ = kind.__name__  # argparse says "invalid float value"
    return parse


def _tuple_of_floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",") if part)
