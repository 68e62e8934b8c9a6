"""Drawing for all frames at once: a canvas of signed distances with soft edges, in numpy (and one step in torch).

The picture spans [-1, 1] in x (right) and y (down). `Canvas.at` gives a local frame, so that a scene draws its object
around (0, 0), wherever it is. Any parameter of a shape may be an array with one value per frame: the shape then
moves. Still parts are painted once on `Stage.set`, a canvas of twice the resolution over which the camera drifts;
moving parts are painted on `Stage.film`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avid_lab.foley.timeline import Array, Real, Values

Indices = NDArray[np.int64]
Colour = Array | tuple[Real, Real, Real]  # red, green, blue in [0, 1]
Shape = Callable[..., Array]  # (x, y, *numbers) -> signed distance, negative inside
BLOCK = 2**16  # pixels painted at once, so that they fit in the cache
SPARE = 2**14  # unneeded pixels that cost as much as another call


def hsv(hue: Real, saturation: Real, value: Real) -> Array:
    """Red, green, blue in [0, 1]; the hue wraps around at 1."""
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return (value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))).astype(np.float32)


def mix(a: Colour, b: Colour, share: Real) -> Array:
    """``a`` and ``b`` blended: 0 gives ``a``, 1 gives ``b``."""
    return (np.asarray(a) * (1 - share) + np.asarray(b) * share).astype(np.float32)


def blend(a: Colour, b: Colour, field: Array) -> Array:
    """Colours that go from ``a`` to ``b`` as ``field`` (F, h, w) goes from 0 to 1: (F, 3, h, w).

    ``a`` and ``b`` are colours (3,) or fields of colours (F, 3, h, w).
    """
    low, high = (
        c.reshape(3, 1, 1) if c.ndim == 1 else c for c in (np.asarray(a, np.float32), np.asarray(b, np.float32))
    )
    return low + field[:, None] * (high - low)


def rotate(x: Array, y: Array, angle: Values) -> tuple[Array, Array]:
    """Coordinates seen from a frame turned by ``angle`` radians (clockwise on the screen)."""
    if np.ndim(angle) == 0 and angle == 0:
        return x, y  # a row and a column instead of a field: most later operations then cost almost nothing
    c, s = np.cos(angle), np.sin(angle)
    return c * x + s * y, c * y - s * x


# Signed distances -----------------------------------------------------------------------------------------------------


def length(x: Array, y: Array) -> Array:
    """``hypot``, a few times faster: coordinates neither over- nor underflow."""
    square = x * x + y * y
    return np.sqrt(square, out=square)


def disc(x: Array, y: Array, r: Values) -> Array:
    """A disc of radius ``r``."""
    distance = length(x, y)
    distance -= r
    return distance


def ring(x: Array, y: Array, r: Values, w: Values) -> Array:
    """A circle line of radius ``r`` and half width ``w``."""
    distance = disc(x, y, r)
    np.abs(distance, out=distance)
    distance -= w
    return distance


def ellipse(x: Array, y: Array, rx: Values, ry: Values, angle: Values = 0.0) -> Array:
    """An ellipse (first-order distance)."""
    x, y = rotate(x, y, angle)
    k = length(x / rx, y / ry)
    k -= 1
    k *= np.minimum(rx, ry)
    return k


def box(x: Array, y: Array, hx: Values, hy: Values, r: Values = 0.0, angle: Values = 0.0) -> Array:
    """A box of half sizes ``hx``, ``hy`` with corners rounded by ``r``."""
    x, y = rotate(x, y, angle)
    qx, qy = np.abs(x) - hx + r, np.abs(y) - hy + r
    return np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2) + np.minimum(np.maximum(qx, qy), 0) - r


def segment(x: Array, y: Array, dx: Values, dy: Values, r: Values) -> Array:
    """A thick line from (-dx, -dy) to (dx, dy) with half width ``r``."""
    square = np.maximum(dx * dx + dy * dy, np.float32(1e-9))
    t = x * (dx / square) + y * (dy / square)
    np.clip(t, -1, 1, out=t)
    return disc(x - t * dx, y - t * dy, r)


def polygon(x: Array, y: Array, *points: Values) -> Array:
    """A convex polygon; ``points`` are x0, y0, x1, y1, ... clockwise on the screen."""
    distance = None
    for i in range(0, len(points), 2):
        ax, ay = np.asarray(points[i]), np.asarray(points[i + 1])
        bx, by = np.asarray(points[(i + 2) % len(points)]), np.asarray(points[(i + 3) % len(points)])
        far = np.maximum(np.hypot(bx - ax, by - ay), np.float32(1e-6))
        side = (by - ay) / far * (x - ax) - (bx - ax) / far * (y - ay)
        distance = side if distance is None else np.maximum(distance, side, out=distance)
    assert distance is not None
    return distance


class Canvas:
    """``pixels`` (F, 3, H, W) float32 in [0, 1], seen through a local frame.

    Args:
        pixels: Painted in place.
        camera: (F, 2) the point of the world in the middle of each frame.
        pixels_per_unit: Scale of the world on this canvas.
        edge: Width of an antialiased edge in pixels.
    """

    def __init__(self, pixels: Array, camera: Array, pixels_per_unit: Real, edge: Real = 1.2) -> None:
        self.pixels, self.camera, self.pixels_per_unit, self.edge = pixels, camera, pixels_per_unit, edge
        self.x, self.y, self.scale, self.mirror = 0.0, 0.0, 1.0, 1.0

    def at(self, x: Real, y: Real, scale: Real = 1.0, mirror: bool = False) -> Canvas:
        """The same canvas in a frame with its origin at (x, y), ``scale`` times as large, mirrored if asked."""
        view = Canvas(self.pixels, self.camera, self.pixels_per_unit, self.edge)
        view.x, view.y = self.x + self.scale * self.mirror * x, self.y + self.scale * y
        view.scale, view.mirror = self.scale * scale, self.mirror * (-1 if mirror else 1)
        return view

    def paint(
        self,
        x: Values,
        y: Values,
        reach: Real | tuple[Real, Real],
        shape: Shape,
        numbers: Sequence[Values],
        colour: Colour | Callable[..., Array],
        *,
        alpha: Values = 1.0,
        soft: Real = 0.0,
        shade: Real = 0.0,
        glow: bool = False,
    ) -> None:
        """Paint ``shape(u, v, *numbers)`` around (x, y).

        Args:
            x: Centre, one value or one per frame.
            y: Centre.
            reach: Half size of the patch that is computed, in local units.
            shape: A signed distance.
            numbers: Its parameters, each one value or one per frame.
            colour: (3,), or a function of (u, v, *numbers) that gives (F, 3, h, w).
            alpha: Opacity, one value or one per frame; frames with none cost nothing.
            soft: Width of the edge in local units (a blur); 0 is a sharp, antialiased edge.
            shade: How much darker the lower right is than the upper left.
            glow: Add light (screen) instead of covering.
        """
        height, width = self.pixels.shape[2:]
        k = self.pixels_per_unit * self.scale
        # Per-frame centre in pixels.
        px = _each(
            (self.x + self.scale * self.mirror * _float(x) - self.camera[:, 0]) * self.pixels_per_unit + (width - 1) / 2
        )
        py = _each((self.y + self.scale * _float(y) - self.camera[:, 1]) * self.pixels_per_unit + (height - 1) / 2)
        pad = soft * k / 2 + self.edge
        reach_x, reach_y = reach if isinstance(reach, tuple) else (reach, reach)
        rx, ry = min(int(reach_x * k + pad) + 1, 2 * width), min(int(reach_y * k + pad) + 1, 2 * height)
        left, top = np.floor(px[:, 0, 0]).astype(int) - rx, np.floor(py[:, 0, 0]).astype(int) - ry
        right, bottom = left + 2 * rx + 2, top + 2 * ry + 2
        live = (left < width) & (right > 0) & (top < height) & (bottom > 0) & (np.asarray(alpha) > 4e-3)
        corners = np.array([left, right, top, bottom]).clip(0, [[width], [width], [height], [height]])
        opacity = _each(_float(alpha))
        moving = [_each(_float(n)) for n in numbers]
        steepness = np.float32(-k / max(self.edge, soft * k))
        plain = np.asarray(() if callable(colour) else colour, np.float32).reshape(-1, 1, 1)
        white = torch.ones(3, 1, 1)
        columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        for a, b, (x0, x1, y0, y1), alike in _blocks(live, corners):
            u = (columns[x0:x1] - px[a:b]) * np.float32(self.mirror / k)
            v = (rows[y0:y1] - py[a:b]) * np.float32(1 / k)
            values = [n[a:b] if np.ndim(n) else n for n in moving]
            cover = shape(u, v, *values)
            cover *= steepness
            cover += np.float32(0.5)
            cover.clip(0, 1, out=cover)
            if soft:
                rest = 3 - 2 * cover
                cover *= cover
                cover *= rest
            if soft and not alike:  # a blur may extend beyond the patch of its frame
                within = (columns[x0:x1] >= _each(left[a:b])) & (columns[x0:x1] < _each(right[a:b]))
                cover *= within & (rows[y0:y1] >= _each(top[a:b])) & (rows[y0:y1] < _each(bottom[a:b]))
            if np.ndim(opacity):
                cover *= opacity[a:b]
            elif opacity != 1:
                cover *= opacity
            over = colour(u, v, *values) if callable(colour) else plain
            if shade:
                light = (1 - 0.5 * shade / max(reach_x, 1e-3) * u) - 0.8 * shade / max(reach_y, 1e-3) * v
                over = light[:, None] * over
            place = torch.from_numpy(self.pixels[a:b, :, y0:y1, x0:x1])
            if glow:  # Screen: light added to a bright place saturates instead of overflowing.
                place.lerp_(white, torch.from_numpy(cover[:, None] * over))
            else:
                place.lerp_(torch.from_numpy(over), torch.from_numpy(cover)[:, None])

    # Short names for common shapes

    def disc(self, x: Values, y: Values, r: Values, colour: Colour, **how: Any) -> None:
        """A disc."""
        self.paint(x, y, float(np.max(r)), disc, (r,), colour, **how)

    def ring(self, x: Values, y: Values, r: Values, w: Values, colour: Colour, **how: Any) -> None:
        """A circle line of half width ``w``."""
        self.paint(x, y, float(np.max(r) + np.max(w)), ring, (r, w), colour, **how)

    def ellipse(
        self,
        x: Values,
        y: Values,
        rx: Values,
        ry: Values,
        colour: Colour,
        angle: Values = 0.0,
        **how: Any,
    ) -> None:
        """An ellipse turned by ``angle``."""
        r = (float(np.max(rx)), float(np.max(ry)))
        reach = r if not np.any(angle) else max(r)
        self.paint(x, y, reach, ellipse, (rx, ry, angle), colour, **how)

    def box(
        self,
        x: Values,
        y: Values,
        hx: Values,
        hy: Values,
        colour: Colour,
        r: Real = 0.0,
        angle: Values = 0.0,
        **how: Any,
    ) -> None:
        """A box of half sizes ``hx``, ``hy`` with corners of radius ``r``, turned by ``angle``."""
        h = (float(np.max(hx)), float(np.max(hy)))
        reach = h if not np.any(angle) else float(np.hypot(*h))
        self.paint(x, y, reach, box, (hx, hy, r, angle), colour, **how)

    def line(self, x0: Values, y0: Values, x1: Values, y1: Values, w: Values, colour: Colour, **how: Any) -> None:
        """A line with round ends and half width ``w``."""
        x0, y0, x1, y1 = (np.asarray(p, np.float32) for p in (x0, y0, x1, y1))
        dx, dy = (x1 - x0) / 2, (y1 - y0) / 2
        reach = (float(np.max(np.abs(dx)) + np.max(w)), float(np.max(np.abs(dy)) + np.max(w)))
        self.paint((x0 + x1) / 2, (y0 + y1) / 2, reach, segment, (dx, dy, w), colour, **how)

    def rod(self, x: Values, y: Values, dx: Values, dy: Values, w: Values, colour: Colour, **how: Any) -> None:
        """A line whose middle is (x, y) and whose end is (x + dx, y + dy)."""
        self.line(x - dx, y - dy, x + dx, y + dy, w, colour, **how)

    def polygon(
        self, x: Values, y: Values, points: Sequence[tuple[Values, Values]], colour: Colour, **how: Any
    ) -> None:
        """A convex polygon; ``points`` around (x, y), clockwise on the screen."""
        flat = [n for point in points for n in point]
        reach = (max(float(np.max(np.abs(n))) for n in flat[::2]), max(float(np.max(np.abs(n))) for n in flat[1::2]))
        self.paint(x, y, reach, polygon, flat, colour, **how)

    def shadow(self, x: Values, y: Values, rx: Values, ry: Values, alpha: Values = 0.35) -> None:
        """A soft dark ellipse."""
        self.ellipse(x, y, rx, ry, (0.03, 0.02, 0.05), alpha=alpha, soft=float(1.2 * np.min(ry)))

    def glow(self, x: Values, y: Values, r: Real, colour: Colour, alpha: Values = 1.0) -> None:
        """Light that fades out from (x, y) over ``r``."""
        self.paint(x, y, r, disc, (r / 2,), colour, alpha=alpha, soft=r, glow=True)

    def dots(self, x: Array, y: Array, r: Real, colour: Colour, alpha: Values = 1.0) -> None:
        """Many small soft dots: ``x``, ``y`` (F, n), ``alpha`` broadcast to them."""
        height, width = self.pixels.shape[2:]
        px = (self.x + self.scale * self.mirror * x - self.camera[:, :1]) * self.pixels_per_unit + (width - 1) / 2
        py = (self.y + self.scale * y - self.camera[:, 1:]) * self.pixels_per_unit + (height - 1) / 2
        radius = max(r * self.scale * self.pixels_per_unit, 0.6)
        px, py, opacity = np.broadcast_arrays(px, py, np.asarray(alpha, np.float32))
        keep = (opacity > 0.01) & (px > -3) & (px < width + 3) & (py > -3) & (py < height + 3)
        frame = np.nonzero(keep)[0]
        px, py, opacity = (n[keep].astype(np.float32) for n in (px, py, opacity))
        span = np.arange(-int(radius + 1), int(radius + 1) + 1, dtype=np.float32)[:, None]
        column, row = np.round(px) + span, np.round(py) + span  # (stencil, dots): long rows are fast
        u, v = column - px, row - py
        u[(column < 0) | (column >= width)] = v[(row < 0) | (row >= height)] = np.inf
        cover = np.float32(radius + 0.5) - length(u, v[:, None])
        cover.clip(0, 1, out=cover)
        cover *= opacity
        inside = cover > 0
        if not inside.any():
            return
        area = height * width
        where = ((row.astype(np.int64) * width + frame * area)[:, None] + column.astype(np.int64))[inside]
        where -= (first := where.min())
        total = np.zeros(where.max() + 1, np.float32)
        np.add.at(total, where, cover[inside])  # overlapping dots add up
        share = np.minimum(total.take(where), 1)
        where += first
        place = where + where // area * (2 * area)
        flat = self.pixels.reshape(-1)  # a view
        for value in np.asarray(colour, np.float32):
            below = flat.take(place)
            flat[place] = below + share * (value - below)
            place += area


def _float(value: Values) -> Array:
    return np.asarray(value, np.float32)


def _each(values: Array) -> Array:
    """Values per frame, to broadcast over rows and columns: (F, 1, 1); a single value stays single."""
    return values[:, None, None] if np.ndim(values) else values


def _blocks(live: NDArray[np.bool_], corners: Indices) -> Iterator[tuple[int, int, list[int], bool]]:
    """Frames [a, b) to paint together, the rectangle [x0, x1, y0, y1] of their patches, and whether all fill it.

    Many frames at once save numpy calls, small rectangles save pixels, and a block that fits the cache saves time.
    """
    left, right, top, bottom = corners.tolist()  # lists: for so few numbers, Python's min is faster than numpy's
    area = [0, *np.cumsum((corners[1] - corners[0]) * (corners[3] - corners[2])).tolist()]
    edges = [0, *(np.flatnonzero(live[1:] != live[:-1]) + 1).tolist(), len(live)]
    todo = [(a, b) for a, b in pairwise(edges) if live[a]][::-1]
    while todo:
        a, b = todo.pop()
        x0, x1, y0, y1 = min(left[a:b]), max(right[a:b]), min(top[a:b]), max(bottom[a:b])
        pixels = (b - a) * (x1 - x0) * (y1 - y0)
        vain = pixels - (area[b] - area[a])
        if b - a > 1 and (pixels > BLOCK or vain > SPARE):
            todo += [((a + b) // 2, b), (a, (a + b) // 2)]
        else:
            yield a, b, [x0, x1, y0, y1], vain == 0
