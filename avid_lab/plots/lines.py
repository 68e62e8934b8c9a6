"""Curves over cut-offs, voters, labels, depth or machines, with intervals and the levels to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avid_lab.plots.chart import Area, Axis, Line, Mark, Plot, Ticks, limits, side_by_side
from avid_lab.plots.render import draw, draw_chart
from avid_lab.plots.style import array, class_colour, require_some

Log = Literal["", "x", "y", "xy"]


def curves(
    x: Sequence[float] | Any,
    lines: Mapping[str, Any],
    levels: Mapping[str, Any] | None = None,
    *,
    log: Log = "",
    percent: bool = False,
    lowest: bool = False,
    xlabel: str = "",
    ylabel: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Curves over shared positions. Estimates get their 95 % interval as a band; untrained networks are grey.

    Args:
        x: (n,) positions.
        lines: By name, n numbers, or n estimates with ``.value``, ``.low`` and ``.high``.
        levels: By name, what to compare with, drawn dashed: one number, or one for each position.
        log: Which axes are logarithmic. Their values must be above zero.
        percent: Whether the values are shares in [0, 1].
        lowest: Whether to ring the lowest point of each curve.
        xlabel: Label of the horizontal axis.
        ylabel: Label of the vertical axis.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No curves, a curve of another length than ``x``, or a value that has no logarithm.
    """
    plot = curve_plot(x, lines, levels=levels, log=log, percent=percent, lowest=lowest)
    x_axis, y_axis = replace(plot.x, label=xlabel), replace(plot.y, label=ylabel)
    return draw(replace(plot, x=x_axis, y=y_axis, title=title or "", legend="below"), ax, (8.2, 4.2))


def curve_panels(
    x: Sequence[float] | Any,
    panels: Mapping[str, Mapping[str, Any]],
    levels: Mapping[str, Any] | None = None,
    *,
    log: Log = "",
    percent: bool = False,
    xlabel: str = "",
    ylabel: str = "",
    title: str | None = None,
) -> Figure:
    """`curves` side by side with one legend, for example pictures and sounds.

    Args:
        x: (n,) positions.
        panels: By title, the curves of a panel. All panels should name their curves alike.
        levels: As in `curves`, for all panels.
        log: As in `curves`.
        percent: As in `curves`.
        xlabel: Label of the horizontal axes.
        ylabel: Label of the first vertical axis.
        title: Title of the figure.

    Raises:
        ValueError: No panels, or a panel that `curves` would refuse.
    """
    require_some(panels, "panels", "title with its curves")
    plots = [curve_plot(x, lines, levels=levels, log=log, percent=percent) for lines in panels.values()]
    low, high = min(plot.y.low for plot in plots), max(plot.y.high for plot in plots)
    for place, (name, plot) in enumerate(zip(panels, plots, strict=True)):
        y = replace(plot.y, low=low, high=high, label="" if place else ylabel)
        plots[place] = replace(plot, x=replace(plot.x, label=xlabel), y=y, title=name)
    return draw_chart(side_by_side(plots, title or ylabel, 350, legend=True), title=title)


def curve_plot(
    x: Sequence[float] | Any,
    lines: Mapping[str, Any],
    *,
    levels: Mapping[str, Any] | None = None,
    log: Log = "",
    percent: bool = False,
    lowest: bool = False,
) -> Plot:
    """What `curves` draws; arguments and errors as there."""
    require_some(lines, "lines", "name with its values")
    at = array(x, "x", None).astype(float)
    places = _scaled(at, "x" in log, "x")
    marks: list[Mark] = []
    heights: list[np.ndarray] = []
    trained = 0
    for name, values in lines.items():
        blank = name.startswith("untrained")
        colour = "muted" if blank else class_colour(trained)
        trained += not blank
        low, middle, high = (_scaled(side, "y" in log, name) for side in _band(values, name, len(at)))
        heights += [low, high]
        if (high > low).any():
            outline = np.concatenate([places, places[::-1]]), np.concatenate([high, low[::-1]])
            marks.append(Area(*outline, colour=colour, name=f"band {name}", alpha=0.16, width=0))
        marks.append(Line(places, middle, colour, name, name, width=2, dots=3.2, hollow=blank))
        if lowest:
            least = int(middle.argmin())
            marks.append(Line(places[[least]], middle[[least]], colour, f"lowest {name}", width=0, dots=6, hollow=True))
    for name, level in (levels or {}).items():
        flat = np.broadcast_to(np.asarray(level, dtype=float), at.shape)
        marks.append(Line(places, _scaled(flat, "y" in log, name), "ink", name, name, width=1.3, dash=(5, 4)))
        heights.append(marks[-1].y)  # pyright: ignore[reportAttributeAccessIssue]
    low, high = limits(*heights, pad=0.06)
    if percent:
        low, high = 0.0, 1.03
    elif "y" not in log and min(side.min() for side in heights) >= 0:
        low = 0.0
    ticks: Ticks = "percent" if percent else "numbers"
    y_axis = Axis(low, high, ticks=_decades(low, high) if "y" in log else ticks, grid=True)
    plain: Ticks = "whole" if (at == at.round()).all() else "numbers"
    x_axis = Axis(*limits(places, pad=0.03), ticks=_positions(at, places) if "x" in log else plain)
    return Plot(marks, x_axis, y_axis)


def _band(values: Any, name: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower end, value and upper end at each position; all three are equal for plain numbers."""
    listed = list(values)
    if listed and hasattr(listed[0], "low"):
        low, middle, high = (np.array([getattr(one, key) for one in listed]) for key in ("low", "value", "high"))
    else:
        low = middle = high = np.array([float(one) for one in listed])
    if len(middle) != count:
        raise ValueError(f"lines[{name!r}] must have a value for each of the {count} positions; got {len(middle)}")
    return low, middle, high


def _scaled(values: np.ndarray, log: bool, name: str) -> np.ndarray:
    if log and not (values > 0).all():
        raise ValueError(f"{name} must be above zero on a logarithmic axis; got {values.min():g}")
    return np.log10(values) if log else values


def _positions(at: np.ndarray, places: np.ndarray) -> tuple[tuple[float, str], ...]:
    """A tick at each position that is not too close to the one before."""
    kept, room = [], 0.055 * (places.max() - places.min())
    for value, place in sorted(zip(at.tolist(), places.tolist(), strict=True), key=lambda pair: pair[1]):
        if not kept or place - kept[-1][0] >= room:
            kept.append((place, f"{value:g}"))
    return tuple(kept)


def _decades(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Ticks of a logarithmic axis: powers of ten, with 2 and 5 where there are few."""
    steps = (1,) if high - low > 2.5 else (1, 2, 5)
    values = [step * 10.0**power for power in range(int(np.floor(low)), int(np.ceil(high)) + 1) for step in steps]
    return tuple((float(np.log10(v)), f"{v:g}") for v in values if low <= np.log10(v) <= high)
