"""A run on one page: headline numbers with their baselines, pictures, clips to play, and how it was made."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avid_lab.atomic import replacing
from avid_lab.plots.style import encode

STYLE = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")


class SummaryRow(NamedTuple):
    """One headline number, in [0, 1], with what it has to be compared to."""

    name: str
    value: float
    random_initialisation: float | None = None
    chance: float | None = None
    spread: float | None = None  # one standard deviation over seeds
    reference: float | None = None  # a network that came from elsewhere, as it came
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Args:
        title: Heading.
        items: In order: text, a paragraph each; figures or axes; HTML such as galleries; mappings of name to value.
    """

    title: str
    items: Sequence[str | Figure | Axes | HTML | Mapping[str, Any]]


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary_rows: Sequence[SummaryRow],
    sections: Sequence[Section],
    lead: str = "",
    provenance: Mapping[str, Any] | None = None,
    trained: str = "Trained",
) -> Path:
    """Write a self-contained HTML page, whole or not at all.

    Args:
        path: Destination; its folder is created if necessary.
        title: Title of the page.
        summary_rows: Headline numbers.
        sections: Parts of the page.
        lead: A sentence or two under the title.
        provenance: How it was made, by name: command, seed, hardware, versions, seconds.
        trained: Heading of the numbers.

    Raises:
        ValueError: A headline number outside [0, 1].
        TypeError: An item that is none of those a section can hold.
    """
    parts = [*sections, *([Section("How it was made", [provenance])] if provenance else [])]
    body = "".join(
        f"<section><h2>{escape(part.title)}</h2>{''.join(map(_item, part.items))}</section>" for part in parts
    )
    lead = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<title>{escape(title)}</title><style>{STYLE}</style></head>'
        f'<body><main><header><p class="kicker">avid_lab</p><h1>{escape(title)}</h1>{lead}</header>'
        f"{_summary(summary_rows, trained)}{body}</main></body></html>\n"
    )
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _summary(rows: Sequence[SummaryRow], trained: str) -> str:
    """Headline numbers, each with a bar on which chance and random initialisation are marked."""
    if not rows:
        return ""
    body, beside = [], any(row.reference is not None for row in rows)
    for row in rows:
        marks = []
        for value, kind in ((row.chance, "chance"), (row.random_initialisation, "random")):
            _share(row.name, value)
            if value is not None:
                marks.append(f'<i class="{kind}" style="left:{100 * value:.1f}%"></i>')
        for value in (row.value, row.reference):
            _share(row.name, value)
        spread = f" <small>± {100 * row.spread:.1f}</small>" if row.spread is not None else ""
        if row.interval is not None:
            low, high = (100 * end for end in row.interval)
            spread += f'<small class="interval">{low:.0f} to {high:.0f}</small>'
        bar = f'<div><b style="width:{100 * row.value:.1f}%"></b>{"".join(marks)}</div>'
        body.append(
            f'<tr><th scope="row">{escape(row.name)}</th><td class="value">{100 * row.value:.1f}{spread}</td>'
            f'<td class="bar" aria-hidden="true">{bar}</td>'
            + (f"<td>{_percent(row.reference)}</td>" if beside else "")
            + f"<td>{_percent(row.random_initialisation)}</td><td>{_percent(row.chance)}</td></tr>"
        )
    caption = "Per cent, higher is better" + (", with 95 % interval" if any(row.interval for row in rows) else "")
    heads = '<th scope="col">Reference, as it came</th>' if beside else ""
    return (
        f'<table class="summary"><caption>{caption}</caption><thead><tr><th scope="col">Measure</th>'
        f'<th scope="col">{escape(trained)}</th><td></td>{heads}<th scope="col"><i class="random"></i>Random '
        'initialisation</th><th scope="col"><i class="chance"></i>Chance</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _item(item: Any) -> str:
    if isinstance(item, str):
        return f"<p>{escape(item)}</p>"
    if isinstance(item, HTML):
        return f'<div class="embedded">{item.data}</div>'
    if isinstance(item, Mapping):
        pairs = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in item.items())
        return f"<dl>{pairs}</dl>"
    if isinstance(item, Figure | Axes):
        return _picture(item)
    raise TypeError(f"a report holds text, figures, axes, HTML and mappings; got {type(item).__name__}")


def _picture(item: Figure | Axes) -> str:
    figure = item.get_figure(root=True)
    assert figure is not None  # axes always have one
    kind, data = encode(figure)
    title = figure.get_suptitle() or " ".join(ax.get_title("left") for ax in figure.axes).strip() or "figure"
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return (
        f'<figure class="picture"><img alt="{escape(title)}" width="{width}" height="{height}" '
        f'src="data:{kind};base64,{base64.b64encode(data).decode()}"></figure>'
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _share(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"summary row {name!r} must hold shares in [0, 1]; got {value!r}")
