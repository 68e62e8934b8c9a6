"""Fire: a campfire and fireworks."""

# ruff: noqa: D102 (`Scene` documents the methods)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from avid_lab.foley.picture import blend, mix
from avid_lab.foley.scene import Scene
from avid_lab.foley.sound import Studio
from avid_lab.foley.stage import INK, WHITE, Stage, smooth_noise
from avid_lab.foley.timeline import Array, Timeline, beats, wander


class Campfire(Scene):
    """Flames over logs; every crackle throws sparks."""

    name, look_group, sound_group = "campfire", "glow", "wash"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        events = beats(rng, duration_s, (2.5, 5.0), 0.4)
        strengths = rng.uniform(0.4, 1, len(events.onsets)).astype(np.float32)
        return replace(events, strengths=strengths, curve=wander(rng, duration_s, 0.55, 1, 2))

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c, rng = stage.palette, stage.still, stage.rng
        c.shadow(0, 0.78, 0.85, 0.16, 0.55)
        for k in range(9):
            stone = mix(p.ground2, INK, 0.35 + 0.1 * (k % 3))
            c.ellipse(-0.72 + 0.18 * k, 0.8 + 0.05 * (k % 2), 0.12, 0.085, stone, shade=0.4)
        for x0, y0, x1, y1 in ((-0.55, 0.8, 0.4, 0.55), (0.55, 0.8, -0.4, 0.55), (-0.3, 0.83, 0.35, 0.83)):
            c.line(x0, y0, x1, y1, 0.085, mix(p.dark, p.accent, 0.15), shade=0.4)
            c.disc(x0, y0, 0.06, mix(p.dark, p.pale, 0.5))
        yield
        c, level = stage.moving, events.level(stage.times)
        flare = events.decay(stage.times, 0.12)
        c.glow(0, 0.2, 1.3, p.main, 0.35 + 0.2 * flare + 0.1 * level)
        noise = smooth_noise(rng, 256, 64, 12)
        rise = rng.uniform(60, 90)

        def flame(u: Array, v: Array, t: Array, size: Array) -> Array:
            height = np.clip((0.62 - v) / (1.25 * size), 0, 1.3)  # 0 at the logs, 1 at the tips
            row, column = ((v * 40 + t * rise) % 256).astype(int), np.clip((u + 1) * 32, 0, 63).astype(int)
            n = noise[row, column]
            lean = u + 0.12 * n * height
            half = 0.58 * size * np.clip(height * 6, 0, 1) ** 0.5 * (1 - height) * (1 + 0.5 * n)
            return np.maximum((np.abs(lean) - half) * 0.7, v - 0.62)

        def heat(u: Array, v: Array, t: Array, size: Array) -> Array:
            core = np.clip(-flame(u, v, t, size) * 10, 0, 2)
            return blend(blend(p.main, p.accent, np.minimum(core, 1)), WHITE, 0.75 * np.maximum(core - 1, 0))

        size = (0.75 + 0.25 * level + 0.3 * flare).astype(np.float32)
        c.paint(0, 0, (0.72, 1.05), flame, (stage.times, size), heat, soft=0.06)
        c.glow(0, 0.5, 0.5, p.accent, 0.5 + 0.3 * flare)
        for onset, strength in zip(events.onsets, events.strengths, strict=True):
            age = (stage.times - onset)[:, None]
            way, speed = rng.uniform(-0.7, 0.7, 9), rng.uniform(1.2, 2.2, 9)
            x, y = way * (age * 1.2 + 0.15), 0.3 - speed * age + 0.3 * age**2
            fade = np.where(age >= 0, np.clip(1 - age / 0.55, 0, 1), 0) * strength
            c.dots(x, y, 0.03, mix(p.accent, WHITE, 0.5), fade)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        roar = studio.noise(60, studio.blend_with_group(420, 1500), -0.5) * (0.5 + 0.5 * events.level(studio.times))
        crackle = studio.place(events, studio.burst(900, 6000, 0.006))
        onsets = np.sort(studio.rng.uniform(0, studio.samples / studio.rate, 60)).astype(np.float32)
        strengths = studio.rng.uniform(0.05, 0.35, 60).astype(np.float32)
        small = Timeline(events.duration_s, onsets, strengths, np.zeros(60, int))
        crackle += studio.place(small, studio.burst(1500, 8000, 0.003))
        hiss = 0.06 * studio.noise(800, 5000) * events.level(studio.times)
        return 0.16 * roar + studio.blend_with_group(1.6, 0.6) * crackle + hiss


class Fireworks(Scene):
    """Rockets that burst over the roofs."""

    name, look_group, sound_group, small = "fireworks", "glow", "thud", False

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (1.2, 2.0), 0.2)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c, rng = stage.palette, stage.still, stage.rng
        for k in range(9):
            height, wall = rng.uniform(0.15, 0.5), mix(p.dark, p.ground2, 0.12 * (k % 3))
            c.box(-1.3 + 0.32 * k, 1.6 - height, 0.17, 0.8 + height * 0.6, wall, alpha=0.25 + 0.75 * stage.cue)
            for w in range(3):
                x, y = -1.36 + 0.32 * k + 0.1 * (w % 2), 0.92 + 0.12 * w - height * 0.6
                c.box(x, y, 0.022, 0.03, p.pale, alpha=0.8 * stage.cue)
        yield
        c, times = stage.moving, stage.times
        colours = [mix(p.main, WHITE, 0.15), p.accent, mix(p.pale, p.main, 0.3)]
        for k, onset in enumerate(events.onsets):
            x0, y0 = rng.uniform(-0.55, 0.55), rng.uniform(-0.5, 0.05)
            age, colour = (times - onset)[:, None], colours[k % 3]
            before = np.clip(-age / 0.45, 0, 1)
            tail = np.arange(6)[None] * 0.03
            rising = np.where((age < 0) & (age > -0.45), 0.9 - 0.14 * np.arange(6), 0)
            c.dots(x0 + 0.15 * (before + tail), y0 + 1.1 * (before + tail), 0.028, p.pale, rising)
            flash = 0.85 * np.where(times >= onset, np.exp(-(times - onset) / 0.12), 0)
            c.glow(x0, y0, 0.9, mix(colour, WHITE, 0.4), flash)
            n = 40
            way, speed = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.35, 1, n) ** 0.5 * rng.uniform(0.6, 0.85)
            shine = np.where(age >= 0, np.clip(1.15 - age / 0.95, 0, 1), 0)
            for tail in (0.15, 0.12, 0.09, 0.06, 0.03, 0.0):  # each spark draws a line of light that tapers and reddens
                then = np.clip(age - tail, 0, None)
                out = 1 - np.exp(-3.2 * then)
                x, y = x0 + speed * out * np.cos(way), y0 + speed * out * np.sin(way) + 0.28 * then**2
                c.dots(x, y, 0.027 - 0.1 * tail, mix(colour, WHITE, 0.7 - 4 * tail), shine * (1 - 4.5 * tail))

    def sound(self, studio: Studio, events: Timeline) -> Array:
        boom = studio.burst(25, studio.blend_with_group(260, 500), studio.blend_with_group(0.22, 0.12)) * 1.0
        out = studio.place(events, boom) + 0.6 * studio.strike(events, [52, 88], [0.16, 0.1], [1, 0.6])
        fizz = studio.noise(2500, 8000) * (studio.rng.uniform(size=studio.samples) < 0.004)
        after = studio.slowly(lambda times: events.decay(times - 0.15, 0.35), 50)
        return out + 1.2 * studio.cue * (fizz * after).astype(np.float32)


SCENES: tuple[Scene, ...] = (Campfire(), Fireworks())
