"""Draws charts with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.gridspec import GridSpec
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, MaxNLocator

from avid_lab.plots.chart import Area, Axis, Bars, Chart, Guide, Line, Plot, Points, Text
from avid_lab.plots.statistics import pushed_apart
from avid_lab.plots.style import (
    MARKERS,
    NotebookFigure,
    add_axes,
    axes_or_new,
    halo,
    legend_above,
    new_figure,
    note,
    paint,
    set_heading,
    styled,
)

POINT = 0.75  # matplotlib's points in a screen pixel


@styled
def draw(
    plot: Plot,
    ax: Axes | None = None,
    size: tuple[float | int, float | int] = (7.0, 4.0),
    *,
    selected: Sequence[int] = (),
    clicked: int = -1,
) -> Axes:
    """Draw a plot.

    Args:
        plot: The plot.
        ax: Axes to draw in; new ones if not given.
        size: Size of new axes, in inches.
        selected: Indices of points; if there are two or more, all others are dimmed.
        clicked: Index of the point or bar to mark.
    """
    ax = axes_or_new(ax, *size)
    _axis(ax, "x", plot.x)
    _axis(ax, "y", plot.y)
    for order, mark in enumerate(plot.marks):
        options = {"selected": selected, "clicked": clicked} if isinstance(mark, (Points, Bars)) else {}
        before = set(ax.get_children())
        _MARKS[type(mark)](ax, mark, **options)
        for artist in set(ax.get_children()) - before:
            artist.set_zorder(2 + 0.01 * order)
            if artist.get_gid() is None and (isinstance(mark, Text) or not isinstance(artist, Annotation)):
                artist.set_gid(mark.name or None)
    _ends(ax, [mark for mark in plot.marks if isinstance(mark, Line) and mark.end])
    if plot.equal:
        ax.set_aspect("equal")
    above = any(isinstance(mark, Guide) and mark.above for mark in plot.marks)
    if plot.title:
        ax.set_title(plot.title, loc="left", pad=22 if above else None)
    if plot.legend == "above":
        legend_above(ax, plot.title)
    elif plot.legend == "below":
        under = -42 / ax.bbox.height  # numbers and label of the axis
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, under), ncols=3, handletextpad=0.2, columnspacing=1.4)
    elif plot.legend:
        ax.legend(loc="best", handletextpad=0.4)
    return ax


@styled
def draw_chart(
    chart: Chart,
    figure: NotebookFigure | None = None,
    cell: Any = None,
    *,
    width: float | int = 9.0,
    title: str | None = None,
    selected: Sequence[int] = (),
    clicked: int = -1,
) -> NotebookFigure:
    """Draw a chart.

    Args:
        chart: The chart.
        figure: Figure to draw in; a new one if not given.
        cell: Cell of the figure's grid to draw in.
        width: Width of a new figure, in inches.
        title: Title above all plots.
        selected: See `draw`.
        clicked: See `draw`.
    """
    named = [name for plot in chart.plots for mark in plot.marks for name in getattr(mark, "names", ())]
    lines = -(-len(set(named)) // 7) if chart.legend else 0
    figure = figure or new_figure(width, chart.height / 96 + 0.22 * lines)
    shape: dict[str, Any] = {"width_ratios": chart.columns, "height_ratios": chart.rows}
    size = len(chart.rows), len(chart.columns)
    grid = GridSpec(*size, figure=figure, **shape) if cell is None else cell.subgridspec(*size, **shape)
    for plot in chart.plots:
        row, column, deep = plot.cell
        draw(plot, add_axes(figure, grid[row : row + deep, column]), selected=selected, clicked=clicked)
    if chart.legend:
        axes = figure.axes[-len(chart.plots) :]
        found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        style = {"loc": "outside lower center", "ncols": 7, "handlelength": 1.2, "handletextpad": 0.3}
        figure.legend(list(found.values()), list(found), **style)
    set_heading(figure, title)
    return figure


def _axis(ax: Axes, which: Literal["x", "y"], given: Axis) -> None:
    axis, low, high = getattr(ax, f"{which}axis"), given.low, given.high
    ax.set(**{f"{which}lim": (low, high), f"{which}label": given.label})
    if given.ticks == "none" or isinstance(given.ticks, tuple):
        places, names = zip(*given.ticks, strict=True) if isinstance(given.ticks, tuple) and given.ticks else ((), ())
        axis.set_ticks(places, names)
        ax.tick_params(axis=which, length=0, labelsize=10, labelcolor=paint("ink"))
        if which == "y" or given.ticks == "none":
            ax.spines["left" if which == "y" else "bottom"].set_visible(False)
    else:
        axis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10], integer=given.ticks == "whole"))
    if given.ticks == "percent":
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    if given.grid:
        ax.grid(axis=which)


def _dashes(mark: Line | Guide) -> Any:
    return (0, tuple(POINT * length / mark.width for length in mark.dash)) if mark.dash and mark.width else "-"


def _line(ax: Axes, mark: Line) -> None:
    colour = paint(mark.colour)
    face = {"markerfacecolor": paint("paper") if mark.hollow else colour, "markersize": 2 * POINT * mark.dots}
    rim = {"markeredgecolor": colour if mark.hollow else paint("paper"), "markeredgewidth": 1.0 if mark.hollow else 0.8}
    style = {"linestyle": _dashes(mark) if mark.width else "", "linewidth": mark.width, "alpha": mark.alpha}
    dots = {"marker": "o", **face, **rim} if mark.dots else {}
    ax.plot(mark.x, mark.y, color=colour, label=mark.legend or None, **style, **dots)


def _area(ax: Axes, mark: Area) -> None:
    colour, label = paint(mark.colour), mark.legend or None
    if mark.base is None:
        ax.fill(mark.x, mark.y, color=colour, alpha=mark.alpha, linewidth=0, label=label)
    else:
        ax.fill_between(mark.x, mark.base, mark.y, color=colour, alpha=mark.alpha, linewidth=0, label=label)
    if mark.width:
        ax.plot(mark.x, mark.y, color=colour, linewidth=mark.width)


def _bars(ax: Axes, mark: Bars, selected: Sequence[int], clicked: int) -> None:
    colours = paint(mark.colours) if isinstance(mark.colours, str) else [paint(colour) for colour in mark.colours]
    size = {"x": mark.left, "height": mark.top - mark.bottom, "width": mark.right - mark.left, "bottom": mark.bottom}
    for bar in ax.bar(**size, align="edge", color=colours, alpha=mark.alpha, label=mark.legend or None):
        bar.set_gid(mark.name)
    if 0 <= clicked < len(mark.left):
        ax.axvspan(mark.left[clicked], mark.right[clicked], color=paint("ink"), alpha=0.14, linewidth=0)


def _points(ax: Axes, mark: Points, selected: Sequence[int], clicked: int) -> None:
    size = (2 * POINT * mark.radius) ** 2
    lit = np.isin(np.arange(len(mark.x)), selected) if len(selected) > 1 else np.ones(len(mark.x), bool)
    kinds = np.stack([mark.kind, mark.shape]).astype(int).T
    for kind, shape in np.unique(kinds, axis=0):
        colour, named = paint(mark.colours[kind]), mark.names[kind] if kind < len(mark.names) else ""
        for bright in {False, True} & set(lit.tolist()):
            mine = (kinds == (kind, shape)).all(1) & (lit == bright)
            style = {"marker": MARKERS[shape], "color": colour, "alpha": mark.alpha if bright else 0.13}
            drawn = ax.scatter(mark.x[mine], mark.y[mine], s=size, linewidths=0, **style)
            drawn.set_gid(f"{mark.name} {named}".strip())
    for kind, named in enumerate(mark.names):
        if named and (mine := np.flatnonzero(mark.kind == kind)).size:
            style: dict[str, Any] = {"color": paint(mark.colours[kind])}
            style["marker"] = MARKERS[int(mark.shape[mine[0]])]
            ax.plot([], [], linestyle="", markersize=5, label=named, **style)
    rings = [*mark.ringed, *([clicked] if 0 <= clicked < len(mark.x) else [])]
    if rings:
        ring = {"facecolors": "none", "edgecolors": paint("ink"), "linewidths": 1.4}
        ax.scatter(mark.x[rings], mark.y[rings], s=3.2 * size, label=mark.rings or None, **ring).set_gid("ringed")


def _text(ax: Axes, mark: Text) -> None:
    frames = {("data", "data"): ax.transData, ("share", "share"): ax.transAxes,
              ("share", "data"): ax.get_yaxis_transform(), ("data", "share"): ax.get_xaxis_transform()}  # fmt: skip
    style = {"color": paint(mark.colour), "ha": mark.align, "weight": "bold" if mark.bold else "normal"}
    shift = POINT * mark.shift[0], POINT * mark.shift[1]
    drawn = note(ax, mark.words, (mark.x, mark.y), shift, xycoords=frames[mark.across, mark.up], **style)
    drawn.set(fontsize=POINT * mark.size, path_effects=halo() if mark.halo else ())


def _guide(ax: Axes, mark: Guide) -> None:
    line, colour = ax.axvline if mark.axis == "x" else ax.axhline, paint(mark.colour)
    line(mark.at, color=colour, linewidth=mark.width, linestyle=_dashes(mark), label=mark.legend or None)
    if not mark.words:
        return
    if mark.axis == "y":
        note(ax, mark.words, (1, mark.at), (-3, 7), xycoords=ax.get_yaxis_transform(), ha="right", color=colour)
        return
    low, high = ax.get_xlim()
    leans = mark.at > low + 0.6 * (high - low) if mark.leans is None else mark.leans
    place = {"xycoords": ax.get_xaxis_transform(), "ha": "right" if leans else "left", "fontsize": 8.5}
    ink = paint("ink") if mark.colour == "muted" else colour
    up = {"va": "bottom", "color": colour} if mark.above else {"color": ink, "path_effects": halo()}
    note(ax, mark.words, (mark.at, 1.015 if mark.above else 0.97), (-3 if leans else 3, 0), **place, **up)


def _ends(ax: Axes, lines: Sequence[Line]) -> None:
    """Write the texts at the right ends of lines, moved apart where they would overlap."""
    low, high = ax.get_ylim()
    lines = [line for line in lines if np.isfinite(line.y).any()]
    ends = [(0.0, (line.y[np.isfinite(line.y)][-1] - low) / (high - low)) for line in lines]
    heights = pushed_apart(np.array(ends).reshape(-1, 2), 1.0, 15 / ax.bbox.height)[:, 1]
    for line, height in zip(lines, heights, strict=True):
        style = {"color": paint(line.colour), "weight": "bold", "gid": f"end {line.end}"}
        note(ax, line.end, (1, height), (7, 0), xycoords="axes fraction", **style)


_MARKS: dict[type, Callable[..., None]] = {
    Line: _line, Area: _area, Bars: _bars, Points: _points, Text: _text, Guide: _guide,
}  # fmt: skip
