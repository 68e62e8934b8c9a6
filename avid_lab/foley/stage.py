"""The stage of a scene: palette, textured background, camera. These nuisances carry no information about the class.

The background is large and salient on purpose. It is the same in every frame of a clip and different in every clip, so
a network that only compares pictures with pictures learns to recognise it.
"""

from __future__ import annotations

from copy import copy
from dataclasses import astuple, dataclass, replace
from functools import cached_property, lru_cache
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from avid_lab.foley.picture import Canvas, blend, hsv, length, mix, rotate
from avid_lab.foley.timeline import Array, Real, fraction

MARGIN = 0.16  # how far the camera may leave the middle, in units of half a picture
INK = np.array([0.07, 0.06, 0.09], np.float32)
WHITE = np.array([0.97, 0.96, 0.93], np.float32)


@dataclass(frozen=True)
class Palette:
    """Colours that go together: two for the background, three for the things on it."""

    ground: Array
    ground2: Array
    main: Array
    accent: Array
    pale: Array
    dark: Array

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Palette:
        """A harmonious palette around a random hue; objects differ from the background in lightness or hue."""
        hue = rng.uniform()
        value = rng.uniform(0.22, 0.95)
        saturation = rng.uniform(0.12, 0.7)
        step = rng.choice([0.06, 0.1, -0.07, 0.33, 0.5])
        ground = hsv(hue, saturation, value)
        ground2 = hsv(hue + step, saturation * rng.uniform(0.5, 1.1), np.clip(value * rng.uniform(0.62, 1.25), 0.14, 1))
        thing = hue + rng.choice([0.5, 0.42, 0.58, 0.33, 0.67, 0.15, 0.0]) + rng.normal(0, 0.03)
        luma = float(ground.mean() + ground2.mean()) / 2
        light = rng.uniform() < (0.75 if luma < 0.5 else 0.35)
        main = hsv(thing, rng.uniform(0.35, 0.9), rng.uniform(0.7, 1.0) if light else rng.uniform(0.3, 0.55))
        accent = hsv(thing + rng.choice([0.08, -0.1, 0.5, 0.33]), rng.uniform(0.5, 0.9), rng.uniform(0.6, 1))
        pale = hsv(rng.uniform(), rng.uniform(0.05, 0.45), rng.uniform(0.75, 1))
        dark = hsv(rng.uniform(), rng.uniform(0.2, 0.6), rng.uniform(0.08, 0.28))
        return cls(ground, ground2, main, accent, pale, dark)

    @property
    def skin(self) -> Array:
        """The colour of hands."""
        return mix(mix(self.pale, self.accent, 0.25), self.dark, 0.1)


@dataclass(frozen=True)
class Place:
    """Position and size of the scene's object in the picture, and whether it is mirrored."""

    x: Real
    y: Real
    scale: Real
    mirror: bool


class Stage:
    """The picture of one clip during painting.

    Args:
        rng: Draws the look (not the events).
        frames: Number of frames.
        fps: Frames per second.
        size: Side in pixels.
        cue: How clearly the scene differs from its look-alike, in [0, 1].
        background: Salience of the background, in [0, 1].
        drift: How much the camera moves, in [0, 1].
        wide: Whether the scene fills the picture; otherwise it is an object that may be anywhere in it.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        frames: int,
        fps: Real,
        size: int,
        *,
        cue: Real = 1.0,
        background: Real = 1.0,
        drift: Real = 1.0,
        wide: bool = False,
    ) -> None:
        self.rng, self.size, self.cue = rng, size, cue
        self.times = (np.arange(frames) / fps).astype(np.float32)
        self.palette = Palette.draw(rng)
        self.camera = _camera_path(rng, self.times, drift)
        side = round(2 * size * (1 + MARGIN))
        self.backdrop, pixels = draw_backdrop(rng, self.palette, side, background)
        # The camera's exposure and white balance, and a little haze: an affine map of each channel.
        self.haze = (rng.uniform(0, 0.12) * hsv(rng.uniform(), 0.7, 1)).astype(np.float32)
        self.exposure = (rng.uniform(0.84, 1.12) * rng.uniform(0.84, 1.1, 3)).astype(np.float32)
        self.set = Canvas(pixels[None], np.zeros((1, 2), np.float32), float(size), edge=2.4)
        self.place = Place(
            x=rng.uniform(-0.12, 0.12) if wide else rng.uniform(-0.26, 0.26),
            y=rng.uniform(-0.2, 0.2) if wide else rng.uniform(-0.15, 0.15),
            scale=rng.uniform(1.0, 1.25) if wide else 2 ** rng.uniform(-0.45, 0.12),
            mirror=bool(rng.uniform() < 0.5),
        )

    @property
    def still(self) -> Canvas:
        """The set in the frame of the scene's object."""
        return self.set.at(*astuple(self.place))

    @property
    def moving(self) -> Canvas:
        """The film in the frame of the scene's object."""
        return self.film.at(*astuple(self.place))

    def corner(self, rng: np.random.Generator) -> Stage:
        """The same picture with room for a small second object in an upper corner, in other colours."""
        other = copy(self)
        other.rng = rng
        palette = Palette.draw(rng)
        other.palette = replace(self.palette, main=palette.main, accent=palette.accent)
        x = rng.uniform(0.55, 0.7) * (-1 if self.place.x > 0 else 1)
        other.place = Place(x, rng.uniform(-0.68, -0.5), 0.3, bool(rng.uniform() < 0.5))
        return other

    @cached_property
    def film(self) -> Canvas:
        """The frames: the set as the camera sees it. Use it only once the set is complete."""
        wall = self.set.pixels[0]
        side = wall.shape[-1]
        half = (side - 1) / 2 - (self.size - 1)
        starts = np.round(half + self.camera[:, ::-1] * self.size).astype(int).clip(0, side - 2 * self.size)
        # The four ways to take every other pixel, so that the copies below are of whole rows.
        phases = {(i, j): np.ascontiguousarray(wall[:, i::2, j::2]) for i in (0, 1) for j in (0, 1)}
        pixels = np.empty((len(self.times), 3, self.size, self.size), np.float32)
        for frame, (top, left) in zip(pixels, starts, strict=True):
            frame[:] = phases[top % 2, left % 2][:, top // 2 : top // 2 + self.size, left // 2 : left // 2 + self.size]
        return Canvas(pixels, self.camera, self.size / 2)

    def floor(self, y: Real, colour: Array) -> None:
        """A floor or table top from ``y`` down, darker towards the viewer."""
        self.set.box(0, y + 1, 1.4, 1.0, colour, shade=0.25)
        self.set.box(0, y + 0.012, 1.4, 0.012, mix(colour, WHITE, 0.4))

    def develop(self) -> NDArray[np.uint8]:
        """The finished frames (T, H, W, 3), a view of planes (T, 3, H, W) as encoders take them."""
        pixels = self.film.pixels
        gain = self.exposure[:, None, None] * np.float32(255)
        offset = self.haze[:, None, None] * np.float32(255) + np.float32(0.5)
        planes = np.empty(pixels.shape, np.uint8)
        for picture, plane in zip(pixels, planes, strict=True):  # one at a time stays in the cache
            picture *= gain
            picture += offset
            picture.clip(0, 255, out=picture)
            plane[...] = picture
        return planes.transpose(0, 2, 3, 1)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> Array:
    """Smooth noise of about ``cells`` blobs per side, mean 0, standard deviation about 1: (height, width)."""
    grid = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    return _spline(height, cells) @ grid @ _spline(width, cells).T * np.float32(1.6)


@lru_cache(64)
def _spline(length: int, cells: int) -> Array:
    """Uniform cubic B-spline weights: (length, cells + 3)."""
    t = np.linspace(0, cells, length, endpoint=False, dtype=np.float32)
    distance = np.abs(t[:, None] - np.arange(-1, cells + 2, dtype=np.float32)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    return np.where(distance < 1, near, np.where(distance < 2, (2 - distance) ** 3 / 6, 0)).astype(np.float32)


def _camera_path(rng: np.random.Generator, times: Array, drift: Real) -> Array:
    """A slow hand-held drift, (T, 2), inside the margin."""
    start, velocity = rng.uniform(-0.05, 0.05, 2), rng.uniform(-0.02, 0.02, 2)
    sway = sum(
        rng.uniform(0, 0.018) * np.sin(2 * np.pi * f * times[:, None] + rng.uniform(0, 6.3, 2)) for f in (0.21, 0.47)
    )
    path = drift * (start + velocity * (times[:, None] - times[-1] / 2) + sway)
    return np.clip(path, -MARGIN + 0.01, MARGIN - 0.01).astype(np.float32)


# Backgrounds: (rng, x, y) -> a field in [0, 1] that blends the two ground colours


def _plain(rng: np.random.Generator, x: Array, y: Array) -> Array:
    angle = rng.uniform(0, 6.3)
    return 0.5 + 0.35 * (x * cos(angle) + y * sin(angle))


def _clouds(rng: np.random.Generator, x: Array, y: Array) -> Array:
    n = smooth_noise(rng, len(y), x.shape[1], 5) + 0.5 * smooth_noise(rng, len(y), x.shape[1], 12)
    return 0.5 + 0.45 * n


def _stripes(rng: np.random.Generator, x: Array, y: Array) -> Array:
    angle, width = rng.uniform(0, 3.2), rng.uniform(5, 14)
    return _step(np.sin(width * (x * cos(angle) + y * sin(angle))) * 4 / width)


def _tiles(rng: np.random.Generator, x: Array, y: Array) -> Array:
    angle, width = np.float32(rng.choice([0.0, 0.785, rng.uniform(0, 1.57)])), rng.uniform(5, 11)
    u, v = rotate(x, y, angle)
    return _step(np.sin(width * u) * np.sin(width * v) * (4 / width))


def _dots(rng: np.random.Generator, x: Array, y: Array) -> Array:
    width, r = rng.uniform(2.2, 4.5), rng.uniform(0.22, 0.36)
    row = np.floor(y * width)
    u, v = fraction(x * width + 0.5 * (row % 2)) - 0.5, fraction(y * width) - 0.5
    return _step((r - length(u, v)) / width)


def _bricks(rng: np.random.Generator, x: Array, y: Array) -> Array:
    width = rng.uniform(1.6, 3.2)
    row = np.floor(y * width * 2)
    along = x * width + 0.5 * (row % 2)
    u, v = fraction(along), fraction(y * width * 2)
    tone = np.sin(np.floor(along) * 12.9 + row * 78.2) * 0.18
    joint = np.minimum(np.minimum(u, 1 - u) * 2, np.minimum(v, 1 - v))
    return np.clip(0.75 + tone, 0, 1) * _step((joint - 0.08) / width)


def _planks(rng: np.random.Generator, x: Array, y: Array) -> Array:
    width = rng.uniform(2, 4.5)
    u, v = (x, y) if rng.uniform() < 0.5 else (y, x)
    plank = np.floor(u * width)
    grain = smooth_noise(rng, u.size if u is y else v.size, u.size if u is x else v.size, 30) * 0.1
    seam = np.minimum((u * width) % 1, 1 - (u * width) % 1)
    return (0.55 + 0.3 * np.sin(plank * 12.9 + rng.uniform(0, 6)) + grain + 0 * v) * _step((seam - 0.05) / width)


def _hills(rng: np.random.Generator, x: Array, y: Array) -> Array:
    field = 0.0 * x + 0.0 * y + 0.05
    for k in range(4):
        crest = -0.5 + 0.4 * k + rng.uniform(0.05, 0.16) * np.sin(rng.uniform(2, 5) * x + rng.uniform(0, 6.3))
        field = np.maximum(field, _step(y - crest) * (0.3 + 0.22 * k))
    return field


def _rays(rng: np.random.Generator, x: Array, y: Array) -> Array:
    cx, cy = rng.uniform(-0.8, 0.8), rng.uniform(-0.9, 0.3)
    angle = np.arctan2(y - cy, x - cx)
    return _step(np.sin(angle * int(rng.integers(5, 12))) * length(x - cx, y - cy) * 0.2)


def _rings(rng: np.random.Generator, x: Array, y: Array) -> Array:
    cx, cy, width = rng.uniform(-1.1, 1.1), rng.uniform(-1.1, 1.1), rng.uniform(7, 15)
    return _step(np.sin(width * length(x - cx, y - cy)) * (4 / width))


_KINDS = (_plain, _clouds, _stripes, _tiles, _dots, _bricks, _planks, _hills, _rays, _rings)
BACKDROPS = {kind.__name__.lstrip("_"): kind for kind in _KINDS}


def draw_backdrop(rng: np.random.Generator, palette: Palette, side: int, salience: Real) -> tuple[str, Array]:
    """A background of ``side`` pixels: its kind and its pixels (3, side, side)."""
    kind = str(rng.choice(list(BACKDROPS)))
    axis = np.linspace(-1 - MARGIN, 1 + MARGIN, side, dtype=np.float32)
    x, y = axis[None], axis[:, None]
    field = np.clip(BACKDROPS[kind](rng, x, y), 0, 1) * np.float32(salience)
    texture = smooth_noise(rng, side, side, 9) * rng.uniform(0.02, 0.07)
    texture = texture + smooth_noise(rng, side, side, 55) * rng.uniform(0.01, 0.04)
    light = 1 + np.float32(salience) * texture.astype(np.float32)
    if rng.uniform() < 0.7:
        light *= 1.06 - 0.22 * (x * x + y * y)  # a soft vignette
    pixels = blend(palette.ground, palette.ground2, field[None].astype(np.float32))[0] * light
    if rng.uniform() < 0.6:  # Large soft spots of another colour.
        blobs = np.clip(smooth_noise(rng, side, side, int(rng.integers(2, 5))), 0, 1.5) * np.float32(0.35 * salience)
        pixels += blobs * (hsv(rng.uniform(), 0.6, rng.uniform(0.3, 1))[:, None, None] - pixels)
    return kind, pixels.clip(0.02, 0.98, out=pixels)


def _step(distance: Array) -> Array:
    return np.clip(0.5 + distance / 0.02, 0, 1)
