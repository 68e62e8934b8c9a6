"""A scatter plot to touch: hover, click, lasso and arrow keys, drawn in the page so that the pointer never waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes

from avid_lab.interactive.script import Scripted, script, text
from avid_lab.plots.style import COLOURS, HALO, INK, MARKERS, array, axes_or_new, class_marker, note, styled


class Scatter(Scripted):
    """Points on a canvas, coloured by class. The kernel hears what was touched; it is not asked for drawing.

    Hover shows a point's label; a click selects it, a lasso selects many (Shift adds), a click beside clears. With the
    keyboard: arrows move to the nearest point, Enter selects, Escape clears. A name below shows its class alone.

    Args:
        x: Across, (N,).
        y: Up, (N,).
        color_index: Class of each point, an index into ``palette``, (N,). The palette repeats when it is too short.
        labels: What hovering shows, one text a point.
        palette: CSS colours; the package's two dozen if not given.
        xlabel: What lies across.
        ylabel: What lies up.
        title: Title.
        markers: Shape of each point, matplotlib's letters "o s ^ v D P X p"; by class if not given.
        names: Names of the classes, for the legend below, which leaves out empty ones; none without.
        thumbnail: Given a point's number, the bytes of a JPEG to show beside its label.
        limits: Left, right, bottom and top of the view; those of the points if not given.
        equal: One unit is as long across as up.
        ticks: Numbers along the axes.
        travel: Points that move are seen to move: twenty pictures that each cost the page some milliseconds.
        height: Pixels.

    Attributes:
        selected: Points of the last lasso or click.
        clicked: The point last clicked, -1 for none.
        hovered: The point under the pointer, -1 for none.
        focused: The class shown alone, -1 for all.

    Raises:
        ValueError: Lengths that differ, values that are not finite, or an unknown marker.
    """

    _script = script("canvas.js", "scatter.js")
    _css = text("canvas.css")

    selected = traitlets.List(traitlets.Int()).tag(sync=True)
    clicked = traitlets.Int(-1).tag(sync=True)
    hovered = traitlets.Int(-1).tag(sync=True)
    focused = traitlets.Int(-1).tag(sync=True)

    _points = traitlets.Bytes().tag(sync=True)  # float32: all x, then all y
    _colours = traitlets.Bytes().tag(sync=True)  # uint8 into the palette
    _markers = traitlets.Bytes().tag(sync=True)  # uint8 into MARKERS
    _labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _view = traitlets.List(traitlets.Float()).tag(sync=True)
    _look = traitlets.Dict().tag(sync=True)
    _lines = traitlets.List(traitlets.Dict()).tag(sync=True)
    _rings = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        x: Any,
        y: Any,
        color_index: Any,
        labels: Sequence[str],
        palette: Sequence[str] | None = None,
        xlabel: str = "",
        ylabel: str = "",
        title: str = "",
        markers: Sequence[str] | None = None,
        *,
        names: Sequence[str] = (),
        thumbnail: Callable[[int], bytes] | None = None,
        limits: tuple[float, float, float, float] | None = None,
        equal: bool = False,
        ticks: bool = True,
        travel: bool = True,
        height: int = 420,
    ) -> None:
        classes = array(color_index, "color_index", None)
        if len(labels) != len(classes):
            raise ValueError(f"labels must have one text a point, {len(classes)}; got {len(labels)}")
        self._thumbnail, self._limits = thumbnail, limits
        colours = list(palette or COLOURS)
        super().__init__(
            _labels=[str(label) for label in labels],
            _look={
                "title": title,
                "xlabel": xlabel,
                "ylabel": ylabel,
                "palette": colours,
                "markers": list(MARKERS),
                "names": list(names),
                "radius": float(np.clip(130 / max(len(classes), 1) ** 0.5, 2.6, 6.5)),
                "equal": equal,
                "ticks": ticks,
                "travel": travel,
                "height": height,
                "thumbnails": thumbnail is not None,
            },
            **self._placed(x, y, len(classes)),
            **_coloured(classes, markers, len(colours)),
        )
        self.on_msg(self._asked)

    def _placed(self, x: Any, y: Any, count: int) -> dict[str, Any]:
        points = np.stack([array(x, "x", count), array(y, "y", count)]).astype(np.float32)
        if not np.isfinite(points).all():
            raise ValueError(f"x and y must be finite; got {int((~np.isfinite(points)).sum())} values that are not")
        view = self._limits
        if view is None:
            low, high = (
                (points.min(1).astype(float), points.max(1).astype(float)) if count else (np.zeros(2), np.ones(2))
            )
            pad = np.where(high > low, 0.05 * (high - low), 0.5)
            view = (low[0] - pad[0], high[0] + pad[0], low[1] - pad[1], high[1] + pad[1])
        return {"_points": points.tobytes(), "_view": [float(side) for side in view]}

    @property
    def points(self) -> np.ndarray:
        """Where the points are: (N, 2)."""
        return np.frombuffer(self._points, np.float32).reshape(2, -1).T

    @property
    def view(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of what is shown; set it to show another part, until the points move."""
        left, right, bottom, top = self._view
        return left, right, bottom, top

    @view.setter
    def view(self, sides: tuple[float, float, float, float]) -> None:
        left, right, bottom, top = (float(side) for side in sides)
        if not (left < right and bottom < top):
            raise ValueError(f"view must be left < right and bottom < top; got {tuple(sides)}")
        self._view = [left, right, bottom, top]

    def set_points(self, x: Any, y: Any) -> None:
        """Move the points; in the page they travel there.

        Args:
            x: Across, (N,).
            y: Up, (N,).

        Raises:
            ValueError: Another number of points, or values that are not finite.
        """
        with self.hold_sync():
            self.set_trait("_view", (moved := self._placed(x, y, len(self._labels)))["_view"])
            self.set_trait("_points", moved["_points"])

    def set_labels(self, labels: Sequence[str], *, title: str | None = None) -> None:
        """Change what hovering shows, and the title.

        Raises:
            ValueError: Not one text a point.
        """
        if len(labels) != len(self._labels):
            raise ValueError(f"labels must have one text a point, {len(self._labels)}; got {len(labels)}")
        self._labels = [str(label) for label in labels]
        if title is not None:
            self._look = self._look | {"title": title}

    def set_colors(
        self,
        color_index: Any,
        markers: Sequence[str] | None = None,
        *,
        palette: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        """Colour the points anew.

        Args:
            color_index: Class of each point, (N,).
            markers: Shape of each point; by class if not given.
            palette: CSS colours; as before if not given.
            names: Of the classes; as before if not given.

        Raises:
            ValueError: Not one class or marker a point.
        """
        changes = {name: list(new) for name, new in (("palette", palette), ("names", names)) if new is not None}
        look = self._look | changes
        classes = array(color_index, "color_index", len(self._labels))
        with self.hold_sync():
            for name, data in _coloured(classes, markers, len(look["palette"])).items():
                self.set_trait(name, data)
            self._look = look

    def set_overlay(
        self,
        lines: Sequence[Any] | None = None,
        highlight: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Draw lines over the points, and rings around some; what is not given stays.

        Args:
            lines: Each an array (M, 2) of places, or a dict with ``points`` and, if wanted, ``colour``, ``dash``,
                ``label`` and ``fill`` (the line is closed and its inside tinted).
            highlight: Points to ring in ink; or by CSS colour.

        Raises:
            ValueError: A line of another shape, or a point that does not exist.
        """
        if lines is not None:
            found = []
            for given in lines:
                line = {"points": given} if not isinstance(given, Mapping) else dict(given)
                places = array(line["points"], "a line's points", None, 2)
                found.append({"colour": INK} | line | {"points": places.astype(float).tolist()})
            self._lines = found
        if highlight is not None:
            by_colour = highlight if isinstance(highlight, Mapping) else {"": highlight}
            rings = [{"colour": colour, "index": [int(i) for i in index]} for colour, index in by_colour.items()]
            wrong = [i for ring in rings for i in ring["index"] if not 0 <= i < len(self._labels)]
            if wrong:
                raise ValueError(f"highlight must name points in [0, {len(self._labels)}); got {wrong[0]}")
            self._rings = rings

    def _asked(self, _widget: Any, message: Any, _buffers: Any) -> None:
        number = message.get("thumbnail") if isinstance(message, dict) else None
        if self._thumbnail is not None and isinstance(number, int) and 0 <= number < len(self._labels):
            self.send({"thumbnail": number}, [self._thumbnail(number)])

    @styled
    def draw(self, ax: Axes | None = None, *, selected: Sequence[int] | None = None) -> Axes:
        """The same picture by matplotlib, for pages without a kernel. Classes are labelled, for a legend.

        Args:
            ax: Axes to draw in.
            selected: Points that are not dimmed; those selected here if not given.
        """
        selected = self.selected if selected is None else selected
        look: dict[str, Any] = self._look
        ax = axes_or_new(ax, 7.0, look["height"] / 96)
        kinds, shapes = np.frombuffer(self._colours, np.uint8), np.frombuffer(self._markers, np.uint8)
        chosen = np.isin(np.arange(len(kinds)), selected) if len(selected) > 1 else np.ones(len(kinds), bool)
        size = (1.5 * look["radius"]) ** 2
        for colour, shape in sorted(set(zip(kinds.tolist(), shapes.tolist(), strict=True))):
            mine = (kinds == colour) & (shapes == shape)
            style = {"marker": MARKERS[shape], "color": look["palette"][colour], "s": size, "linewidths": 0}
            for lit, alpha in ((False, 0.13), (True, 0.8)):
                ax.scatter(*self.points[mine & (chosen == lit)].T, alpha=alpha, **style)
        for line in self._lines:
            dash = (0, (4, 3)) if line.get("dash") else "-"
            places = np.array(line["points"])
            ax.plot(*places.T, color=line["colour"], linestyle=dash)
            if line.get("label"):
                top = places[places[:, 1].argmax()]
                note(ax, line["label"], top, (4, 5), color=line["colour"], weight="bold", path_effects=HALO)
        rings = [(ring["colour"] or INK, ring["index"]) for ring in self._rings]
        rings += [(INK, [self.clicked])] if self.clicked >= 0 else []
        for colour, index in rings:
            ax.scatter(*self.points[index].T, s=3.2 * size, facecolors="none", edgecolors=colour, linewidths=1.4)
        left, right, bottom, top = self._view
        if look["equal"]:  # a square view, so that maps side by side are of one size
            x, y, half = (left + right) / 2, (bottom + top) / 2, max(right - left, top - bottom) / 2
            left, right, bottom, top = x - half, x + half, y - half, y + half
            ax.set_aspect("equal")
        ax.set(xlim=(left, right), ylim=(bottom, top), xlabel=look["xlabel"], ylabel=look["ylabel"])
        if not look["ticks"]:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for order, name in enumerate(look["names"]):
            mine = np.flatnonzero(kinds == order)
            if name and len(mine):
                style = {"marker": MARKERS[shapes[mine[0]]], "color": look["palette"][order], "linestyle": ""}
                ax.plot([], [], label=name, markersize=5, **style)
        if look["title"]:
            ax.set_title(look["title"], loc="left")
        return ax


def _coloured(classes: np.ndarray, markers: Sequence[str] | None, colours: int) -> dict[str, bytes]:
    """Colour and shape of each point, as the page wants them."""
    shapes = [class_marker(order) for order in classes.tolist()] if markers is None else list(markers)
    if len(shapes) != len(classes) or not set(shapes) <= set(MARKERS):
        raise ValueError(f"markers must be {len(classes)} of {' '.join(MARKERS)}; got {len(shapes)}: {set(shapes)}")
    return {
        "_colours": (classes % colours).astype(np.uint8).tobytes(),
        "_markers": bytes(MARKERS.index(shape) for shape in shapes),
    }
