"""Plots of evaluations: estimates with chance and random initialisation, and signs of collapse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avid_lab.plots.chart import Axis, Line, Mark, Plot, Ticks, limits, row_axis, segments, side_by_side
from avid_lab.plots.render import draw, draw_chart
from avid_lab.plots.style import VIDEO, class_colour, require_some


@runtime_checkable
class IntervalLike(Protocol):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@runtime_checkable
class EstimateLike(IntervalLike, Protocol):
    """A figure with its 95 % interval, chance and random initialisation (NaN where not known)."""

    chance: float
    random: float


def estimate_rows(
    tables: Mapping[str, EstimateLike] | Mapping[str, Mapping[str, EstimateLike]],
    *,
    rows: Sequence[str] | None = None,
    percent: bool = True,
    xlabel: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Figures as dots with their 95 % intervals; a ring is random initialisation, a tick is chance.

    Args:
        tables: Estimates by name, or several models' such tables by the model's name.
        rows: Which names, from the top; those of the first table if not given.
        percent: Whether the figures are shares.
        xlabel: What is measured.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No rows, or a name that a table lacks.
    """
    models = _models(tables)
    names = list(rows or next(iter(models.values())))
    _require_rows(models, names)
    plot = _rows(models, dict(zip(names, names, strict=True)), "percent" if percent else "numbers")
    plot = replace(plot, x=replace(plot.x, label=xlabel), title=title or "", legend="above")
    return draw(plot, ax, (8.2, 1.25 + 0.36 * len(names) * max(1, 0.6 * len(models))))


def _rows(models: Mapping[str, Mapping[str, EstimateLike]], names: Mapping[str, str], ticks: Ticks) -> Plot:
    """A row for each name, written as its value says; the axis begins at 0, or ends there."""
    marks: list[Mark] = []
    for order, (model, table) in enumerate(models.items()):
        lift = 0.0 if len(models) == 1 else 0.5 * (order / (len(models) - 1) - 0.5)
        places, colour = np.arange(len(names)) + lift, class_colour(order)
        values, low, high, random = (_column(table, names, key) for key in ("value", "low", "high", "random"))
        known = bool(np.isfinite(random).any())
        label = model or ("trained, with 95 % interval" if known else "with 95 % interval")
        interval = segments(low, high), segments(places, places)
        ring = {"legend": "random initialisation" if known and order == 0 else "", "width": 0, "dots": 3.7}
        marks += [
            Line(*interval, colour, f"interval {model}", width=2.2),
            Line(values, places, colour, f"value {model}", label, width=0, dots=4.9),
            Line(random, places, colour, f"random {model}", hollow=True, **ring),
        ]
    chance, places = _column(next(iter(models.values())), names, "chance"), np.arange(len(names))
    legend = "chance" if np.isfinite(chance).any() else ""
    marks.append(Line(segments(chance, chance), segments(places - 0.22, places + 0.22), name="chance", legend=legend))
    keys = ("low", "high", "value", "random", "chance")
    low, high = limits(*(_column(table, names, key) for table in models.values() for key in keys))
    x = Axis(0 if low > 0 else low, max(high, 0), ticks=ticks, grid=True)
    return Plot(marks, x, row_axis(names.values()))


def seed_rows(
    rows: Mapping[str, Sequence[float]],
    untrained: Mapping[str, Sequence[float]],
    chance: Mapping[str, float],
    *,
    label: str = "trained",
    xlabel: str = "score",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Scores of one method, a dot a seed, with rings for the untrained networks and a tick for chance.

    Args:
        rows: By name, the score of each seed, as shares.
        untrained: The same of untrained networks; names may be missing.
        chance: The score of guessing; names may be missing.
        label: Name of the method.
        xlabel: What is measured.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No rows.
    """
    require_some(rows, "rows", "name with its scores")
    marks: list[Mark] = []
    legend = {"dot": label, "ring": "untrained", "tick": "chance"}
    for place, (name, values) in enumerate(rows.items()):
        blank = list(untrained.get(name, ()))
        if blank:
            ends = [float(np.mean(blank)), float(np.mean(values))]
            marks.append(Line(ends, [place] * 2, "faint", f"gain {name}", width=3))
        marks.append(
            Line(values, [place] * len(values), VIDEO, f"seeds {name}", legend.pop("dot", ""), width=0, dots=4.5)
        )
        if blank:
            ring = {"legend": legend.pop("ring", ""), "width": 0, "dots": 3.7, "hollow": True}
            marks.append(Line(blank, [place] * len(blank), VIDEO, f"untrained {name}", **ring))
        if name in chance:
            ticks = [chance[name]] * 2, [place - 0.24, place + 0.24]
            marks.append(Line(*ticks, "ink", f"chance {name}", legend.pop("tick", ""), width=2))
    plot = Plot(marks, Axis(0, 1.02, xlabel, "percent", grid=True), row_axis(rows), title or "", "above")
    return draw(plot, ax, (8.4, 1.3 + 0.42 * len(rows)))


def _column(table: Mapping[str, EstimateLike], names: Iterable[str], key: str) -> np.ndarray:
    return np.array([getattr(table[name], key) for name in names], dtype=float)


def collapse_panels(
    tables: Mapping[str, EstimateLike] | Mapping[str, Mapping[str, EstimateLike]],
    *,
    title: str | None = "Is the space collapsed?",
) -> Figure:
    """Alignment, uniformity and effective rank side by side, for one model or several.

    Args:
        tables: What `evaluation.collapse_table` returns, or several such by the model's name.
        title: Title.

    Raises:
        ValueError: No rows, or models with different rows.
    """
    models = _models(tables)
    names = list(next(iter(models.values())))
    _require_rows(models, names)
    kinds = {"alignment": "0 is perfect", "uniformity": "lower is more even", "effective rank": "1 is collapsed"}
    shown = []
    for kind, meaning in kinds.items():
        short = {n: _shortened(n, kind) for n in names if kind in n}
        if short:
            plot = replace(_rows(models, short, "numbers"), title=f"{kind.capitalize()}: {meaning}")
            shown.append(replace(plot, x=replace(plot.x, high=0.0)) if kind == "uniformity" else plot)
    count = max(sum(kind in name for name in names) for kind in kinds)
    height = round(96 * (1.5 + 0.55 * count * max(1, 0.7 * len(models))))
    chart = side_by_side(shown, "alignment, uniformity and effective rank", height, legend=True)
    return draw_chart(chart, width=10.5, title=title)


def _shortened(name: str, kind: str) -> str:
    return name.replace(kind, "").replace(" of windows", "\nwindows").replace("-", "–\n").strip()


def _models(tables: Mapping[str, Any]) -> dict[str, Mapping[str, EstimateLike]]:
    """Tables by model; a single table has the empty name."""
    require_some(tables, "tables", "row")
    nested = all(isinstance(value, Mapping) for value in tables.values())
    return dict(tables) if nested else {"": tables}


def _require_rows(models: Mapping[str, Mapping[str, EstimateLike]], names: Sequence[str]) -> None:
    for model, table in models.items():
        lost = [name for name in names if name not in table]
        if lost or not names:
            raise ValueError(f"every table must have the rows drawn; {model or 'the table'} lacks {lost or 'all'}")
