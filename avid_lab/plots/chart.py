"""Descriptions of charts as plain values. `render` draws them in a matplotlib figure, a canvas draws them in a page.

Later marks cover earlier ones. A colour is any CSS colour, or a role that follows the theme: "ink", "muted", "faint",
"paper". Lengths (widths, radii, shifts, dashes) are in screen pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from avid_lab.plots.style import MARKERS

Ticks = Literal["numbers", "whole", "percent", "none"] | tuple[tuple[float | int, str], ...]
Frame = Literal["data", "share"]


class Mark:
    """A part of a plot; the classes below are the kinds. Its numbers become arrays of equal length."""

    _numbers: ClassVar[tuple[str, ...]] = ("x", "y")
    name: str

    def __post_init__(self) -> None:
        length = None
        for name in self._numbers:
            values = np.asarray(getattr(self, name), dtype=float)
            if values.ndim != 1 or length not in (None, len(values)):
                want = "(n,)" if length is None else f"({length},), as {self._numbers[0]}"
                raise ValueError(f"{name} of {type(self).__name__} must have shape {want}; got {values.shape}")
            object.__setattr__(self, name, values)
            length = len(values)


@dataclass(frozen=True, eq=False)
class Line(Mark):
    """A line through points; NaN interrupts it.

    Attributes:
        x: (n,) horizontal positions.
        y: (n,) vertical positions.
        colour: Colour of the line.
        name: Name of the mark, which matplotlib's artists carry as their ``gid``.
        legend: Text in the legend; empty for none.
        end: Text at the right end of the line; empty for none.
        width: Width of the line; 0 draws only dots.
        dash: Lengths of dashes and gaps; empty for a solid line.
        alpha: Opacity.
        dots: Radius of a dot at each point; 0 for none.
        hollow: Whether the dots are rings.
    """

    x: Any
    y: Any
    colour: str = "ink"
    name: str = ""
    legend: str = ""
    end: str = ""
    width: float | int = 1.8
    dash: tuple[float | int, ...] = ()
    alpha: float | int = 1.0
    dots: float | int = 0.0
    hollow: bool = False


@dataclass(frozen=True, eq=False)
class Area(Mark):
    """A filled outline, or the area between a line and a base.

    Attributes:
        x: (n,) horizontal positions.
        y: (n,) vertical positions.
        base: Height of the base; ``None`` closes the outline instead.
        colour: Colour of the line and the filling.
        name: Name of the mark.
        legend: Text in the legend; empty for none.
        alpha: Opacity of the filling. If the plot has a guide to drag, the part to the right of it is stronger.
        width: Width of the line; 0 for none.
    """

    x: Any
    y: Any
    base: float | int | None = None
    colour: str = "ink"
    name: str = ""
    legend: str = ""
    alpha: float | int = 0.3
    width: float | int = 1.3


@dataclass(frozen=True, eq=False)
class Bars(Mark):
    """Rectangles. In a page they can be hovered over and clicked.

    Attributes:
        left: (n,) left edges.
        right: (n,) right edges.
        bottom: (n,) lower edges.
        top: (n,) upper edges.
        colours: One colour, or one for each bar.
        name: Name of the mark.
        legend: Text in the legend; empty for none.
        alpha: Opacity.
    """

    left: Any
    right: Any
    bottom: Any
    top: Any
    colours: str | tuple[str, ...] = "muted"
    name: str = ""
    legend: str = ""
    alpha: float | int = 1.0

    _numbers = ("left", "right", "bottom", "top")


@dataclass(frozen=True, eq=False)
class Points(Mark):
    """Points of several kinds. In a page they can be hovered over, clicked, lassoed and reached by arrow keys.

    Attributes:
        x: (n,) horizontal positions.
        y: (n,) vertical positions.
        kind: (n,) indices into ``colours``.
        shape: (n,) indices into `style.MARKERS`.
        colours: Colour of each kind.
        names: Name of each kind, for the legend; empty names are left out.
        name: Name of the mark.
        radius: Radius of a point.
        alpha: Opacity.
        ringed: Indices of the points with a ring.
        rings: Text for the rings in the legend; empty for none.
        travel: In a page, points move smoothly to their new positions.
    """

    x: Any
    y: Any
    kind: Any
    shape: Any
    colours: tuple[str, ...] = ("ink",)
    names: tuple[str, ...] = ()
    name: str = ""
    radius: float | int = 4.0
    alpha: float | int = 0.8
    ringed: tuple[int, ...] = ()
    rings: str = ""
    travel: bool = False

    _numbers = ("x", "y", "kind", "shape")

    @classmethod
    def of_kinds(cls, x: Any, y: Any, kind: Any, kinds: Mapping[str, tuple[str, str]], **options: Any) -> Points:
        """Points whose kinds are given as name: (colour, one of `style.MARKERS`)."""
        shapes = np.array([MARKERS.index(marker) for _, marker in kinds.values()])
        colours = tuple(colour for colour, _ in kinds.values())
        return cls(x, y, kind, shapes[np.asarray(kind, dtype=int)], colours, tuple(kinds), **options)


@dataclass(frozen=True, eq=False)
class Text(Mark):
    """A line of text.

    Attributes:
        x: Horizontal position.
        y: Vertical position.
        words: The text.
        colour: Colour of the text.
        name: Name of the mark.
        across: Whether ``x`` is a data value, or a share of the plot's width.
        up: The same for ``y``.
        align: Which side of the text is at the position.
        bold: Whether the text is bold.
        shift: Offset in pixels, to the right and up.
        halo: Draw a rim in the colour of the paper, so that the text is readable on top of other marks, and keep the
            text inside the plot.
        size: Font size in pixels.
    """

    x: float | int
    y: float | int
    words: str
    colour: str = "ink"
    name: str = ""
    across: Frame = "data"
    up: Frame = "data"
    align: Literal["left", "center", "right"] = "left"
    bold: bool = False
    shift: tuple[float | int, float | int] = (0, 0)
    halo: bool = False
    size: float | int = 12

    _numbers = ()


@dataclass(frozen=True, eq=False)
class Guide(Mark):
    """A straight line through the whole plot.

    Attributes:
        at: Value at which it crosses the axis.
        axis: Which axis it crosses.
        words: Text at its upper end.
        colour: Colour of the line.
        name: Name of the mark.
        legend: Text in the legend; empty for none.
        width: Width of the line.
        dash: Lengths of dashes and gaps.
        above: Whether the text is above the plot.
        leans: Whether the text is to the left of the line; ``None`` chooses the side with more room.
        drag: Lowest value, highest value and step of a guide that the user can drag.
    """

    at: float | int
    axis: Literal["x", "y"] = "x"
    words: str = ""
    colour: str = "muted"
    name: str = ""
    legend: str = ""
    width: float | int = 1.2
    dash: tuple[float | int, ...] = (4, 3)
    above: bool = False
    leans: bool | None = None
    drag: tuple[float | int, float | int, float | int] | None = None

    _numbers = ()


@dataclass(frozen=True)
class Axis:
    """One axis of a plot.

    Attributes:
        low: Value at the left or lower end.
        high: Value at the right or upper end.
        label: Label of the axis.
        ticks: Numbers, whole numbers, shares in per cent, no ticks, or pairs of position and text.
        grid: Whether to draw lines at the ticks.
    """

    low: float | int
    high: float | int
    label: str = ""
    ticks: Ticks = "numbers"
    grid: bool = False


@dataclass(frozen=True, eq=False)
class Plot:
    """Marks in one coordinate system.

    Attributes:
        marks: The marks; later ones cover earlier ones.
        x: The horizontal axis.
        y: The vertical axis.
        title: Title above the plot.
        legend: Position of the legend in a figure; in a page it is always below. Empty for none.
        cell: Row and column in the chart, and the number of rows it spans.
        equal: Whether both axes have the same scale.
        crosshair: In a page, the pointer shows the values of lines and areas at its whole number across, in all such
            plots of the chart. They are called by ``end``, else by ``legend``; of one name, the last is the newest.
    """

    marks: Sequence[Mark]
    x: Axis
    y: Axis
    title: str = ""
    legend: Literal["", "inside", "above", "below"] = ""
    cell: tuple[int, int, int] = (0, 0, 1)
    equal: bool = False
    crosshair: bool = False


@dataclass(frozen=True, eq=False)
class Chart:
    """Plots on a grid.

    Attributes:
        plots: The plots.
        about: Description for screen readers.
        height: Height in pixels.
        columns: Relative widths of the columns.
        rows: Relative heights of the rows.
        legend: Whether one legend below the plots serves all of them.
    """

    plots: Sequence[Plot]
    about: str
    height: int
    columns: Sequence[float | int] = (1,)
    rows: Sequence[float | int] = (1,)
    legend: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The chart as nested dicts and lists; arrays are bytes of float32."""
        return _plain(self)


def side_by_side(plots: Sequence[Plot], about: str, height: int, *, columns: int = 0, legend: bool = False) -> Chart:
    """A chart of plots in rows, from left to right.

    Args:
        plots: The plots.
        about: Description for screen readers.
        height: Height of a row in pixels.
        columns: Plots in a row; all if not given.
        legend: Whether one legend below the plots serves all of them.
    """
    wide = columns or len(plots)
    deep = -(-len(plots) // wide)
    placed = [replace(plot, cell=(*divmod(place, wide), 1)) for place, plot in enumerate(plots)]
    return Chart(placed, about, height * deep, (1,) * wide, (1,) * deep, legend)


def row_axis(names: Iterable[str]) -> Axis:
    """A vertical axis with a row for each name, the first one on top."""
    ticks = tuple(enumerate(names))
    return Axis(len(ticks) - 0.45, -0.55, ticks=ticks)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(np.float32).tobytes()
    if is_dataclass(value):
        return {"type": type(value).__name__} | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def limits(*values: Any, pad: float | int = 0.05, share: float | int = 1.0) -> tuple[float, float]:
    """Smallest and largest of some values, with a margin on both sides; 0 and 1 if there are none.

    Args:
        *values: Arrays; values that are not finite are ignored.
        pad: Margin on each side, as a share of the range.
        share: Share of the values to keep; the most extreme are left out.
    """
    flat = np.concatenate([np.empty(0), *(np.ravel(one) for one in values)])
    flat = flat[np.isfinite(flat)]
    if not len(flat):
        return 0.0, 1.0
    low, high = (float(side) for side in np.quantile(flat, [(1 - share) / 2, (1 + share) / 2]))
    room = pad * max(high - low, 1e-6 * max(abs(high), 1.0)) if high > low else 0.5
    return low - room, high + room


def steps(edges: Any, heights: Any) -> tuple[np.ndarray, np.ndarray]:
    """The outline of a histogram with edges (n + 1,) and heights (n,): horizontal and vertical positions (2n,)."""
    return np.repeat(np.asarray(edges, dtype=float), 2)[1:-1], np.repeat(np.asarray(heights, dtype=float), 2)


def segments(start: Any, end: Any) -> np.ndarray:
    """Starts and ends (n,) of separate segments of a `Line`, as (3n,) with NaN between them."""
    start, end = np.broadcast_arrays(np.asarray(start, dtype=float), np.asarray(end, dtype=float))
    return np.stack([start, end, np.full(start.shape, np.nan)], axis=-1).ravel()
