"""Spans: half-open stretches of seconds, ``((begin_s, end_s), ...)``, in order and apart from each other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

Spans = tuple[tuple[float, float], ...]


def joined(pieces: Iterable[tuple[float, float]], gap_s: float = 0.0) -> Spans:
    """Pieces in any order as spans; a gap of ``gap_s`` seconds or less does not part them."""
    spans: list[tuple[float, float]] = []
    for begin_s, end_s in sorted(pieces):
        if spans and begin_s - spans[-1][1] <= gap_s:
            spans[-1] = spans[-1][0], max(spans[-1][1], end_s)
        elif end_s > begin_s:
            spans.append((begin_s, end_s))
    return tuple(spans)


def common(first: Spans, second: Spans) -> Spans:
    """Where both are."""
    found, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        begin_s, end_s = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if begin_s < end_s:
            found.append((begin_s, end_s))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def length_s(spans: Spans) -> float:
    """Seconds of all spans together."""
    return sum((end_s - begin_s for begin_s, end_s in spans), 0.0)


def to_text(spans: Spans) -> str:
    """Spans as a manifest holds them: ``"0-4.2;6-10"``, to the millisecond; "" for none. Shorter ones are left out."""
    rounded = [(round(begin_s, 3), round(end_s, 3)) for begin_s, end_s in spans]
    return ";".join(f"{begin_s:.10g}-{end_s:.10g}" for begin_s, end_s in rounded if begin_s < end_s)


def from_text(text: str) -> Spans:
    """The reverse of `to_text`.

    Raises:
        ValueError: The text is no list of spans in order.
    """
    try:
        spans = tuple((float(begin_s), float(end_s)) for begin_s, end_s in (p.split("-") for p in text.split(";") if p))
    except ValueError:
        spans = ((0.0, 0.0),)
    ends = [0.0, *(end for span in spans for end in span)]
    rising = all(a <= b for a, b in pairwise(ends)) and all(a < b for a, b in spans)
    if not (rising and ends[-1] < float("inf")):
        raise ValueError(
            f"spans must be begin-end in seconds, in order, joined by ';', such as 0-4.2;6-10; got {text!r}"
        )
    return spans


def without(spans: Spans, holes: Spans) -> Spans:
    """The spans, less the holes."""
    edges = [0.0, *(edge for hole in joined(holes) for edge in hole), float("inf")]
    return common(spans, tuple((begin_s, end_s) for begin_s, end_s in zip(edges[::2], edges[1::2], strict=True)))
