"""Comparisons of methods: differences by seed, measures along training, shares, and promises and their outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avid_lab.metrics import mean_and_margin
from avid_lab.plots.chart import Area, Axis, Bars, Guide, Line, Mark, Plot, Text, limits, row_axis, side_by_side, steps
from avid_lab.plots.evaluation import IntervalLike
from avid_lab.plots.render import draw, draw_chart
from avid_lab.plots.style import AUDIO, BAD, GOOD, VIDEO, array, class_colour, require_some

ZERO = Guide(0, colour="ink", name="zero", width=1, dash=())
MEANINGS = {"right": GOOD, "looks": VIDEO, "sounds": AUDIO, "neither": "#98a2ad"}
WIDEST = 1.6  # an interval is cut at this multiple of the largest difference: two seeds give very wide ones


def seed_differences(
    columns: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    intervals: bool = True,
    xlabel: str = "",
    title: str | None = None,
) -> Figure:
    """Paired differences, a dot a seed, with mean and Student's 95 % interval; columns share rows and scale.

    Green lies above zero, orange below; grey has zero inside the interval, or a single seed.

    Args:
        columns: By title of the column and name of the row, one difference for each seed. Rows may be missing.
        intervals: Whether to show the mean and its interval; an interval too wide for the figure is cut at its edge.
        xlabel: What the numbers are; points, if not given.
        title: Title.

    Raises:
        ValueError: There are no differences.
    """
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    everything = [value for column in columns.values() for values in column.values() for value in values]
    require_some(everything, "columns", "row with the difference of a seed")
    xlabel = xlabel or "points" + "; 95 % intervals over seeds" * intervals
    reach = WIDEST * max(max(map(abs, everything)), 1e-9)
    plots, lift = [], 0.18 if intervals else 0.0
    for name, column in columns.items():
        marks: list[Mark] = [ZERO]
        for row, values in ((row, list(values)) for row, values in column.items() if len(values)):
            place = rows.index(row)
            if intervals:
                mean, half = mean_and_margin(values)
                drawn = _difference(place + lift, row, max(mean - half, -reach), mean, min(mean + half, reach))
                text = {"words": f"{mean:+.1f}", "colour": drawn[0].colour, "align": "right", "shift": (0, 9)}
                marks += [*drawn, Text(1.0, place, across="share", **text)]
            marks.append(Line(values, [place - lift] * len(values), VIDEO, f"seeds {row}", width=0, dots=3.4))
        x = Axis(-1.05 * reach, 1.25 * reach if intervals else 1.05 * reach, xlabel, grid=True)
        plots.append(Plot(marks, x, row_axis(["" for _ in rows] if plots else rows), name))
    height = round(96 * (1.1 + (0.42 if intervals else 0.32) * len(rows)))
    return draw_chart(side_by_side(plots, title or xlabel, height), width=9.4, title=title)


def differences(
    rows: Mapping[str, IntervalLike],
    *,
    xlabel: str = "difference, in points",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Differences of shares with their 95 % intervals: green above zero, orange below, grey where zero is inside.

    Args:
        rows: Differences by name, such as the difference of two estimates.
        xlabel: What is compared.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No rows.
    """
    require_some(rows, "rows", "difference")
    ends = np.array([[100 * getattr(row, key) for key in ("low", "value", "high")] for row in rows.values()])
    marks: list[Mark] = [ZERO]
    for place, (name, end) in enumerate(zip(rows, ends.tolist(), strict=True)):
        marks += _difference(place, name, *end)
    x = Axis(*limits(ends, [0.0], pad=0.08), xlabel, grid=True)
    return draw(Plot(marks, x, row_axis(rows), title or ""), ax, (8.4, 1.2 + 0.33 * len(rows)))


def _difference(height: float | int, name: str, low: float, mean: float, high: float) -> list[Line]:
    """A difference and its interval: green above zero, orange below, grey where zero is inside."""
    colour = GOOD if low > 0 else BAD if high < 0 else "muted"
    return [
        Line([low, high], [height] * 2, colour, f"interval {name}", width=2.2),
        Line([mean], [height], colour, f"mean {name}", width=0, dots=5),
    ]


def tracks(
    panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
    *,
    marks: Mapping[str, float] | None = None,
    levels: Mapping[str, Mapping[str, float]] | None = None,
    xlabel: str = "step",
    title: str | None = None,
    columns: int | None = None,
) -> Figure:
    """Measures along training, one panel each with its own scale, and one legend.

    Args:
        panels: By title of the panel and name of the curve, its steps (n,) and values (n,).
        marks: Steps at which something changed, by a word.
        levels: By panel, horizontal lines by name, such as chance.
        xlabel: Label of the horizontal axes.
        title: Title.
        columns: Panels in a row; all in one if not given.

    Raises:
        ValueError: There are no panels, or steps and values of different lengths.
    """
    require_some(panels, "panels", "title with its curves")
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    plots, wide = [], columns or len(panels)
    for place, (panel, curves) in enumerate(panels.items()):
        drawn: list[Mark] = [Guide(at, words=word, name=f"mark {word}") for word, at in (marks or {}).items()]
        flat = (levels or {}).get(panel, {})
        drawn += [Guide(y, "y", word, "muted", f"level {word}") for word, y in flat.items()]
        for name, (x, y) in curves.items():
            colour = class_colour(names.index(name))
            dots = 3.0 if len(np.atleast_1d(x)) <= 24 else 0
            drawn.append(Line(x, y, colour, name, name, width=1.9, dots=dots))
        x_all, y_all = ([np.asarray(pair[side], dtype=float) for pair in curves.values()] for side in (0, 1))
        low, high = limits(*y_all, list(flat.values()), pad=0.08)
        below = xlabel if place + wide >= len(panels) else ""
        axes = Axis(*limits(*x_all, pad=0.03), below, "whole"), Axis(low, high, grid=True)
        plots.append(Plot(drawn, *axes, panel))
    about = title or ", ".join(panels)
    return draw_chart(side_by_side(plots, about, 280, columns=wide, legend=True), width=9.4, title=title)


def reliability_curves(
    tables: Mapping[str, tuple[Any, Any]], *, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Promised probability against the share that kept the promise; the diagonal is perfect.

    Args:
        tables: By name, mean promise and share (bins,) of each bin; NaN where a bin is empty.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: There are no tables.
    """
    require_some(tables, "tables", "name with its promises and shares")
    marks: list[Mark] = [Line([0, 1], [0, 1], "muted", "perfect", "a kept promise", width=1.2, dash=(5, 4))]
    for order, (name, table) in enumerate(tables.items()):
        promise, truth = (array(side, f"tables[{name!r}]", None).astype(float) for side in table)
        known = np.isfinite(promise) & np.isfinite(truth)
        marks.append(Line(promise[known], truth[known], class_colour(order), name, name, width=1.9, dots=3.6))
    x = Axis(0, 1, "promised probability of the same class", "percent", grid=True)
    y = Axis(0, 1.02, "share that kept it", "percent", grid=True)
    return draw(Plot(marks, x, y, title or "", "inside"), ax, (6.4, 4.6))


def shares(
    rows: Mapping[str, Mapping[str, float]],
    *,
    xlabel: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """What each row consists of: parts side by side, as shares of a whole.

    Args:
        rows: By name of the row and name of the part, its share in [0, 1]. Parts whose names have the words "right",
            "looks", "sounds" or "neither" get green, the colours of picture and sound, or grey.
        xlabel: What the whole is.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: There are no rows.
    """
    require_some(rows, "rows", "name with its shares")
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    paint = [
        next((MEANINGS[word] for word in part.split() if word in MEANINGS), class_colour(order))
        for order, part in enumerate(parts)
    ]
    table = np.array([[row.get(part, 0.0) for part in parts] for row in rows.values()])  # (rows, parts)
    ends, places = table.cumsum(1), np.arange(len(rows))
    marks: list[Mark] = [
        Bars(ends[:, i] - table[:, i], ends[:, i], places - 0.33, places + 0.33, paint[i], part, part, 0.75)
        for i, part in enumerate(parts)
    ]
    for (row, i), value in np.ndenumerate(table):
        if value > 0.035:
            marks.append(Text(ends[row, i] - value / 2, row, f"{100 * value:.0f}", align="center"))
    plot = Plot(marks, Axis(0, 1, xlabel, "percent"), row_axis(rows), title or "", "above")
    return draw(plot, ax, (8.2, 1.5 + 0.42 * len(rows)))


def dumbbells(
    rows: Mapping[str, Mapping[str, float]], *, xlabel: str = "", title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Two or more shares in each row as dots; a bar joins the first two.

    Args:
        rows: By name of the row, the shares by name, in the same order in all rows.
        xlabel: What is measured.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: There are no rows, or rows with different names.
    """
    kinds = {tuple(row) for row in rows.values()}
    if len(kinds) != 1:
        raise ValueError(f"rows must all have the same names; got {sorted(kinds) or 'no rows'}")
    (names,) = kinds
    places = np.arange(len(rows))
    marks: list[Mark] = []
    for place, row in enumerate(rows.values()):
        first = [row[name] for name in names[:2]]
        marks.append(Line(first, [place] * len(first), "faint", "bar", width=4))
    for order, name in enumerate(names):
        values = [row[name] for row in rows.values()]
        marks.append(Line(values, places, class_colour(order), name, name, width=0, dots=5))
    low = max(0.0, min(min(row.values()) for row in rows.values()) - 0.04)
    x, y = Axis(low, 1.01, xlabel, "percent", grid=True), Axis(-0.6, len(rows) - 0.4, ticks=tuple(enumerate(rows)))
    return draw(Plot(marks, x, y, title or "", "above"), ax, (8.2, 1.2 + 0.26 * len(rows)))


def beliefs(
    groups: Mapping[str, Any],
    curves: Mapping[str, tuple[Any, Any]],
    *,
    xlabel: str = "similarity",
    ylabel: str = "belief that a pair is real",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Histograms of similarities, and curves over them that say what a loss believes there.

    Args:
        groups: Similarities by name. Histograms are scaled to their highest bar.
        curves: By name, positions (n,) and beliefs (n,) in [0, 1].
        xlabel: What the positions are.
        ylabel: What the curves show.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: There are no curves.
    """
    require_some(curves, "curves", "name with its positions and beliefs")
    reach = np.concatenate([np.ravel(np.asarray(x, dtype=float)) for x, _ in curves.values()])
    low, high = float(reach.min()), float(reach.max())
    edges = np.linspace(low, high, 61)
    marks: list[Mark] = []
    for (name, values), colour in zip(groups.items(), ("muted", GOOD, "faint", "ink"), strict=False):
        counts = np.histogram(np.clip(np.ravel(np.asarray(values, dtype=float)), low, high), edges)[0]
        heights = 0.8 * counts / max(counts.max(), 1)
        marks.append(Area(*steps(edges, heights), 0, colour, name, name, alpha=0.3))
    for (name, (x, y)), colour in zip(curves.items(), (VIDEO, AUDIO, "ink"), strict=False):
        marks.append(Line(x, y, colour, name, name, width=2.3))
    axes = Axis(low, high, xlabel), Axis(0, 1.03, ylabel, "percent", grid=True)
    return draw(Plot(marks, *axes, title or "", "above"), ax, (8.2, 3.9))
