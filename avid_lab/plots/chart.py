"""What a chart shows, apart from what draws it: plain values, drawn by `render` in a figure and by a canvas in a page.

Later marks cover earlier ones. A colour is any CSS colour, or a role that follows the theme: "ink", "muted", "faint",
"paper". Lengths (widths, radii, shifts, dashes) are in screen pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from avid_lab.plots.style import MARKERS

Ticks = Literal["numbers", "whole", "percent", "none"] | tuple[tuple[float | int, str], ...]
Frame = Literal["data", "share"]


class Mark:
    """What a plot shows: one of the classes below. Its numbers become arrays, all of one length."""

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
    """A line through places, or pieces of it: NaN interrupts.

    Attributes:
        x: (n,) across.
        y: (n,) up.
        colour: Of the line.
        name: What it is.
        legend: Its entry in the legend; empty for none.
        end: Text at its right end; empty for none.
        width: Of the line; 0 draws only dots.
        dash: Lengths of strokes and gaps; empty for a solid line.
        alpha: Opacity.
        dots: Radius of a dot at each place; 0 for none.
        hollow: Dots are rings.
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
        x: (n,) across.
        y: (n,) up.
        base: Height of the base; ``None`` closes the outline instead.
        colour: Of line and filling.
        name: What it is.
        legend: Its entry in the legend; empty for none.
        alpha: Opacity of the filling. Where the plot has a guide to drag, the part to its right is stronger.
        width: Of the line; 0 for none.
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
        left: (n,).
        right: (n,).
        bottom: (n,).
        top: (n,).
        colours: One, or one for each bar.
        name: What they are.
        legend: Their entry in the legend; empty for none.
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
        x: (n,) across.
        y: (n,) up.
        kind: (n,) indices into ``colours``.
        shape: (n,) indices into `style.MARKERS`.
        colours: Of the kinds.
        names: Of the kinds, for the legend; empty ones are left out.
        name: What they are.
        radius: Of a point.
        alpha: Opacity.
        ringed: Which points have a ring.
        rings: Their entry in the legend; empty for none.
        travel: In a page, points that are elsewhere are seen to move there.
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
        x: Place across.
        y: Place up.
        words: What it says.
        colour: Of the letters.
        name: What it is.
        across: Whether ``x`` is in the data, or a share of the plot's width.
        up: The same of ``y``.
        align: Which side of the text is at the place.
        bold: In bold letters.
        shift: Pixels right and up.
        halo: A rim of paper keeps it readable on top of marks, and it stays inside the plot.
        size: Of the letters, in pixels.
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
        at: Where it crosses the axis.
        axis: Which axis it crosses.
        words: Text at its upper end.
        colour: Of the line.
        name: What it is.
        legend: Its entry in the legend; empty for none.
        width: Of the line.
        dash: Lengths of strokes and gaps.
        above: The words stand above the plot.
        leans: The words end at the line instead of beginning there; ``None`` is where they have room.
        drag: Lowest and highest place and the step of a guide that the hand moves.
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
        low: Value at the left or at the bottom.
        high: Value at the right or at the top.
        label: What it measures.
        ticks: Numbers, whole numbers, shares in per cent, nothing, or places and their names.
        grid: Lines at the ticks.
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
        marks: From the lowest to the uppermost.
        x: The axis across.
        y: The axis up.
        title: Above it.
        legend: Where a figure has the legend; a page has it below. Empty for none.
        cell: Row and column in the chart, and how many rows it spans.
        equal: One unit is as long across as up.
    """

    marks: Sequence[Mark]
    x: Axis
    y: Axis
    title: str = ""
    legend: Literal["", "inside", "above", "below"] = ""
    cell: tuple[int, int, int] = (0, 0, 1)
    equal: bool = False


@dataclass(frozen=True, eq=False)
class Chart:
    """Plots on a grid.

    Attributes:
        plots: What is shown.
        about: Description for screen readers.
        height: In pixels.
        columns: Relative widths.
        rows: Relative heights.
        legend: One for all plots, below them.
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


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(np.float32).tobytes()
    if is_dataclass(value):
        return {"type": type(value).__name__} | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def limits(*values: Any, pad: float | int = 0.05, share: float | int = 1.0) -> tuple[float, float]:
    """Lowest and highest of some values, with room on both sides; 0 and 1 if there are none.

    Args:
        *values: Arrays; what is not finite does not count.
        pad: Room on each side, as a share of the range.
        share: Leave out the wildest: 0.995 keeps that share of the values.
    """
    flat = np.concatenate([np.empty(0), *(np.ravel(one) for one in values)])
    flat = flat[np.isfinite(flat)]
    if not len(flat):
        return 0.0, 1.0
    low, high = (float(side) for side in np.quantile(flat, [(1 - share) / 2, (1 + share) / 2]))
    room = pad * max(high - low, 1e-6 * max(abs(high), 1.0)) if high > low else 0.5
    return low - room, high + room


def steps(edges: Any, heights: Any) -> tuple[np.ndarray, np.ndarray]:
    """A histogram's outline: edges (n + 1,) and heights (n,) as places (2n,) across and up."""
    return np.repeat(np.asarray(edges, dtype=float), 2)[1:-1], np.repeat(np.asarray(heights, dtype=float), 2)


def segments(start: Any, end: Any) -> np.ndarray:
    """Starts and ends (n,) of separate pieces of a `Line`, as (3n,) with NaN between them."""
    start, end = np.broadcast_arrays(np.asarray(start, dtype=float), np.asarray(end, dtype=float))
    return np.stack([start, end, np.full(start.shape, np.nan)], axis=-1).ravel()
