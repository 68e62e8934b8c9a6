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
        return {name: _value(text) for name, text in pairs}
    except (ValueError, RecursionError):
        raise ValueError(
            f"state must look like 'k=32&agreement=consensus', as a panel's .state; got {state[:1000]!r}"
        ) from None


def number(settings: Mapping[str, Any], name: str, default: int | float | None = None) -> int | float:
    """A setting that must be a finite number.

    Raises:
        ValueError: It is missing, or is none.
    """
    value = settings.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        raise ValueError(f"state: {name} must be a number; got {value!r}")
    return value


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
