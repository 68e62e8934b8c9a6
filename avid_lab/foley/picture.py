"""Drawing for all frames at once: a canvas of signed distances with soft edges, in pure numpy.

The picture spans [-1, 1] in x (right) and y (down). `Canvas.at` gives a local frame, so that a scene draws its object
around (0, 0) and never knows where it stands. Any number of a shape may be an array, one value a frame: then it
moves. What stands still is painted once on `Stage.set`, a canvas of twice the resolution; the camera drifts over it,
and what moves is painted on `Stage.film`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avid_lab.foley.timeline import Array, Real, Values

Indices = NDArray[np.int64]
Colour = Array | tuple[Real, Real, Real]  # red, green, blue in [0, 1]
Shape = Callable[..., Array]  # (x, y, *numbers) -> signed distance, negative inside


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
    c, s = np.cos(angle), np.sin(angle)
    return c * x + s * y, c * y - s * x


# Signed distances -----------------------------------------------------------------------------------------------------


def disc(x: Array, y: Array, r: Values) -> Array:
    """A disc of radius ``r``."""
    return np.sqrt(x * x + y * y) - r


def ring(x: Array, y: Array, r: Values, w: Values) -> Array:
    """A circle line of radius ``r`` and half width ``w``."""
    return np.abs(np.sqrt(x * x + y * y) - r) - w


def ellipse(x: Array, y: Array, rx: Values, ry: Values, angle: Values = 0.0) -> Array:
    """An ellipse (first-order distance)."""
    x, y = rotate(x, y, angle)
    k = np.sqrt((x / rx) ** 2 + (y / ry) ** 2)
    return (k - 1) * np.minimum(rx, ry)


def box(x: Array, y: Array, hx: Values, hy: Values, r: Values = 0.0, angle: Values = 0.0) -> Array:
    """A box of half sizes ``hx``, ``hy`` with corners rounded by ``r``."""
    x, y = rotate(x, y, angle)
    qx, qy = np.abs(x) - hx + r, np.abs(y) - hy + r
    return np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2) + np.minimum(np.maximum(qx, qy), 0) - r


def segment(x: Array, y: Array, dx: Values, dy: Values, r: Values) -> Array:
    """A thick line from (-dx, -dy) to (dx, dy) with half width ``r``."""
    length = np.maximum(np.asarray(dx) ** 2 + np.asarray(dy) ** 2, 1e-9)
    t = np.clip((x * dx + y * dy) / length, -1, 1)
    return np.sqrt((x - t * dx) ** 2 + (y - t * dy) ** 2) - r


def polygon(x: Array, y: Array, *points: Values) -> Array:
    """A convex polygon; ``points`` are x0, y0, x1, y1, ... clockwise on the screen."""
    distance = None
    for i in range(0, len(points), 2):
        ax, ay = np.asarray(points[i]), np.asarray(points[i + 1])
        bx, by = np.asarray(points[(i + 2) % len(points)]), np.asarray(points[(i + 3) % len(points)])
        length = np.maximum(np.hypot(bx - ax, by - ay), 1e-6)
        side = ((by - ay) * (x - ax) - (bx - ax) * (y - ay)) / length
        distance = side if distance is None else np.maximum(distance, side)
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
            x: Centre, one value or one a frame.
            y: Centre.
            reach: Half size of the patch that is computed, in local units.
            shape: A signed distance.
            numbers: Its parameters, each one value or one a frame.
            colour: (3,), or a function of (u, v, *numbers) that gives (F, 3, h, w).
            alpha: Opacity, one value or one a frame; frames with none cost nothing.
            soft: Width of the edge in local units (a blur); 0 is a sharp, antialiased edge.
            shade: How much darker the lower right is than the upper left.
            glow: Add light (screen) instead of covering.
        """
        frames, _, height, width = self.pixels.shape
        k = self.pixels_per_unit * self.scale
        # Per-frame centre in pixels.
        px = (self.x + self.scale * self.mirror * _each(x, frames) - self.camera[:, 0]) * self.pixels_per_unit + (
            width - 1
        ) / 2
        py = (self.y + self.scale * _each(y, frames) - self.camera[:, 1]) * self.pixels_per_unit + (height - 1) / 2
        pad = soft * k / 2 + self.edge
        reach_x, reach_y = reach if isinstance(reach, tuple) else (reach, reach)
        rx, ry = min(int(reach_x * k + pad) + 1, 2 * width), min(int(reach_y * k + pad) + 1, 2 * height)
        opacity = _each(alpha, frames)
        live = np.flatnonzero((opacity > 4e-3) & (px > -rx) & (px < width + rx) & (py > -ry) & (py < height + ry))
        if not len(live):
            return
        left, top = np.floor(px[live]).astype(int) - rx, np.floor(py[live]).astype(int) - ry
        # Only the part of the patch that any frame shows.
        w0, w1 = max(0, -int(left.max())), min(2 * rx + 2, width - int(left.min()))
        h0, h1 = max(0, -int(top.max())), min(2 * ry + 2, height - int(top.min()))
        if w1 <= w0 or h1 <= h0:
            return
        left, top = left + w0, top + h0
        u = (self.mirror / k * (left[:, None] + np.arange(w1 - w0) - px[live, None])).astype(np.float32)[:, None, :]
        v = (1 / k * (top[:, None] + np.arange(h1 - h0) - py[live, None])).astype(np.float32)[:, :, None]
        values = [
            _each(n, frames)[live, None, None] if np.ndim(n) else np.full((1, 1, 1), n, np.float32) for n in numbers
        ]
        cover = shape(u, v, *values) * np.float32(-k / max(self.edge, soft * k))
        cover += np.float32(0.5)
        np.clip(cover, 0, 1, out=cover)
        if soft:
            cover *= cover * (3 - 2 * cover)
        cover = np.broadcast_to(cover, (len(live), h1 - h0, w1 - w0)) * opacity[live, None, None]
        paint = colour(u, v, *values) if callable(colour) else np.asarray(colour, np.float32).reshape(1, 3, 1, 1)
        if shade:
            light = 1 - shade * (0.5 * u / max(reach_x, 1e-3) + 0.8 * v / max(reach_y, 1e-3))
            paint = paint * light[:, None].astype(np.float32)
        self._blend(live, left, top, cover[:, None], paint, glow)

    def _blend(self, live: Indices, left: Indices, top: Indices, cover: Array, paint: Array, glow: bool) -> None:
        height, width = self.pixels.shape[2:]
        patch_h, patch_w = cover.shape[2:]
        rows, columns = paint.shape[2] > 1, paint.shape[3] > 1
        for i, f in enumerate(live):
            a, b = max(0, -top[i]), min(patch_h, height - top[i])
            c, d = max(0, -left[i]), min(patch_w, width - left[i])
            if b <= a or d <= c:
                continue
            below = self.pixels[f, :, top[i] + a : top[i] + b, left[i] + c : left[i] + d]
            over = paint[i if len(paint) > 1 else 0]
            over = over[:, a:b] if rows else over
            over = over[:, :, c:d] if columns else over
            # Screen: light added to a bright place saturates instead of overflowing.
            change = over * (1 - below) if glow else over - below
            change *= cover[i, :, a:b, c:d]
            below += change

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
        frames, _, height, width = self.pixels.shape
        px = (self.x + self.scale * self.mirror * x - self.camera[:, :1]) * self.pixels_per_unit + (width - 1) / 2
        py = (self.y + self.scale * y - self.camera[:, 1:]) * self.pixels_per_unit + (height - 1) / 2
        radius = max(r * self.scale * self.pixels_per_unit, 0.6)
        px, py, opacity = np.broadcast_arrays(px, py, np.asarray(alpha, np.float32))
        frame = np.broadcast_to(np.arange(frames)[:, None], px.shape)
        keep = (opacity > 0.01) & (px > -3) & (px < width + 3) & (py > -3) & (py < height + 3)
        px, py, opacity, frame = px[keep][:, None], py[keep][:, None], opacity[keep][:, None], frame[keep][:, None]
        span = np.arange(-int(radius + 1), int(radius + 1) + 1)
        oy, ox = (o.reshape(1, -1) for o in np.meshgrid(span, span, indexing="ij"))
        ix, iy = np.round(px).astype(int) + ox, np.round(py).astype(int) + oy  # (dots, stencil)
        cover = np.clip(radius + 0.5 - np.hypot(ix - px, iy - py), 0, 1) * opacity
        inside = (ix >= 0) & (ix < width) & (iy >= 0) & (iy < height) & (cover > 0)
        where = ((frame * height + iy) * width + ix)[inside]
        place, slot = np.unique(where, return_inverse=True)
        total = np.minimum(np.bincount(slot, cover[inside]), 1).astype(np.float32)
        frame, pixel = np.divmod(place, height * width)
        for channel, value in enumerate(np.asarray(colour, np.float32)):
            plane = self.pixels.reshape(frames, 3, -1)[:, channel]  # a view
            plane[frame, pixel] += total * (value - plane[frame, pixel])


def _each(value: Values, frames: int) -> Array:
    return np.broadcast_to(np.asarray(value, np.float32), (frames,))
