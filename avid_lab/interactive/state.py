"""A panel's settings as one short string, to copy and to share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode


def pack(settings: Mapping[str, Any]) -> str:
    """Settings as one short string, ``k=32&agreement=consensus``, as in a web address."""
    return urlencode({name: _text(value) for name, value in settings.items()}, quote_via=quote, safe="[],{}:/ ")


def unpack(state: str) -> dict[str, Any]:
    """The settings that `pack` made a string of.

    Raises:
        ValueError: It is no such string.
    """
    try:
        pairs = parse_qsl(state.strip(), keep_blank_values=True, strict_parsing=bool(state.strip()))
    except ValueError:
        raise ValueError(
            f"state must look like 'k=32&agreement=consensus', as a panel's .state; got {state!r}"
        ) from None
    return {name: _value(text) for name, text in pairs}


def _text(value: Any) -> str:
    """JSON, but plain text without its quotes where that cannot be misread."""
    if isinstance(value, str):
        plain = isinstance(_value(value), str) and not value.startswith('"') and value == value.strip()
        return value if plain else json.dumps(value)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return json.dumps(value, separators=(",", ":"))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
