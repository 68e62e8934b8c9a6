"""Water: rain and a dripping tap, surf and a motor boat on the same sea."""

# ruff: noqa: D102 (`Scene` documents the methods)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from avid_lab.foley.picture import blend, length, mix
from avid_lab.foley.scene import Scene
from avid_lab.foley.sound import Studio, low_pass
from avid_lab.foley.stage import INK, WHITE, Stage
from avid_lab.foley.timeline import Array, Real, Timeline, beats, wander


class _Drops(Scene):
    """Water that falls into a puddle and makes rings."""

    look_group = "drops"

    def puddle(self, stage: Stage) -> None:
        """Paint the puddle."""
        c, p = stage.still, stage.palette
        water = mix(p.main, p.ground2, 0.35)
        c.ellipse(0.0, 0.66, 1.0, 0.34, mix(water, INK, 0.4), soft=0.05)
        c.ellipse(0.0, 0.67, 0.97, 0.31, water, shade=0.2)
        c.ellipse(-0.25, 0.55, 0.5, 0.08, WHITE, alpha=0.3, soft=0.12)

    def ripple(self, stage: Stage, x: Real, y: Real, onset: Real, size: Real, seconds: Real) -> None:
        """A ring that spreads from (x, y)."""
        age = (stage.times - onset) / seconds
        r = size * np.sqrt(np.clip(age, 0.02, 1))

        def shape(u: Array, v: Array, r: Array) -> Array:
            return np.abs(length(u, v * 2.6) - r) - 0.022

        fade = np.where((age >= 0) & (age < 1), 1 - age, 0)
        stage.moving.paint(x, y, (size + 0.03, size / 2.6 + 0.03), shape, (r,), WHITE, alpha=0.9 * fade)


class Rain(_Drops):
    """Rain on an umbrella and a puddle, in gusts."""

    name, sound_group, small = "rain", "wash", False

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return Timeline(duration_s, curve=wander(rng, duration_s, 0.35, 1, 0.9))

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c, rng = stage.palette, stage.still, stage.rng
        self.puddle(stage)
        x = rng.uniform(-0.25, 0.25)
        c.line(x, -0.35, x, 0.55, 0.022, p.dark, alpha=stage.cue)

        def umbrella(u: Array, v: Array) -> Array:
            return np.maximum(length(u, v * 1.15) - 0.58, v)

        c.paint(x, -0.1, (0.62, 0.55), umbrella, (), mix(p.accent, INK, 0.1), shade=0.4, alpha=stage.cue)
        for k in (-0.3, 0.0, 0.3):
            c.line(x + 0.15 * k, -0.6, x + 1.75 * k, -0.1, 0.012, mix(p.accent, INK, 0.5), alpha=stage.cue)
        yield
        level, slant = events.level(stage.times), rng.uniform(-0.18, 0.18)
        for _ in range(26):
            onset = rng.uniform(-0.3, stage.times[-1])
            self.ripple(stage, rng.uniform(-0.75, 0.75), rng.uniform(0.55, 0.8), onset, rng.uniform(0.16, 0.34), 0.45)
        n, speed = 90, rng.uniform(3.2, 4.2)
        start, column, rank = rng.uniform(0, 3, n), rng.uniform(-1.4, 1.4, n), rng.uniform(0, 1, n)
        y = (start + speed * stage.times[:, None]) % 3 - 1.5
        seen = 0.8 * (rank < level[:, None])
        for k in range(12):  # a streak is a row of touching dots
            at = y - 0.022 * k
            stage.film.dots(column + slant * at, at, 0.017, mix(p.pale, WHITE, 0.6), seen * (1 - 0.07 * k))

    def sound(self, studio: Studio, events: Timeline) -> Array:
        level = events.level(studio.times)
        hiss = studio.noise(studio.blend_with_group(1200, 400), studio.blend_with_group(9000, 4000)) * level
        drops = (studio.rng.uniform(size=studio.samples) < 0.004 * level).astype(np.float32)
        drops *= studio.rng.uniform(0.2, 1, studio.samples).astype(np.float32)
        return 0.3 * hiss + 0.5 * studio.cue * studio.convolve(drops, studio.burst(1800, 9000, 0.004))


class Drip(_Drops):
    """A dripping tap."""

    name, sound_group = "drip", "whistle"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (1.4, 2.6), 0.12)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c = stage.palette, stage.still
        self.puddle(stage)
        metal = mix(p.accent, WHITE, 0.25)
        c.line(0.75, -0.72, 0.08, -0.72, 0.1, metal, shade=0.5, alpha=0.3 + 0.7 * stage.cue)
        c.line(0.02, -0.7, 0.02, -0.48, 0.09, metal, shade=0.3, alpha=0.3 + 0.7 * stage.cue)
        c.line(0.4, -0.8, 0.4, -0.95, 0.04, mix(metal, INK, 0.2), alpha=stage.cue)
        c.line(0.24, -0.97, 0.56, -0.97, 0.05, p.main, alpha=stage.cue)
        c.box(0.86, -0.72, 0.06, 0.2, mix(metal, INK, 0.2), r=0.02, alpha=0.3 + 0.7 * stage.cue)
        yield
        c, water = stage.moving, mix(p.pale, p.main, 0.25)
        phase, gap, _ = events.phase(stage.times)
        left = (1 - phase) * gap  # seconds until the drop lands
        fall = np.clip(1 - left / 0.34, 0, 1) ** 2
        grow = np.clip(1 - (left - 0.34) / 0.5, 0.2, 1)
        r = 0.085 * grow
        y = -0.4 + 1.06 * fall
        c.disc(0.02, y, r, water)
        c.polygon(0.02, y, [(-0.8 * r, -0.4 * r), (0 * r, -2.4 * r), (0.8 * r, -0.4 * r)], water)
        c.disc(-0.005, y, 0.03, WHITE, alpha=0.8 * grow)
        for onset in events.onsets:
            for delay, size in ((0.0, 0.75), (0.13, 0.5)):
                self.ripple(stage, 0.02, 0.67, onset + delay, size, 0.7)
        age = (phase * gap)[:, None]
        way = stage.rng.uniform(-1, 1, (1, 9))
        splash = np.clip(1 - age / 0.3, 0, 1) * (events.decay(stage.times, 0.2)[:, None] > 0.02)
        c.dots(0.02 + way * age * 1.3, 0.62 - 1.6 * age + 5 * age**2, 0.032, water, splash)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        # A bubble: its pitch rises as it shrinks (Minnaert), and it is gone in a tenth of a second.
        t = np.arange(int(0.3 * studio.rate)) / studio.rate
        f = studio.blend_with_group(850, 1500) * studio.pitch * (1 + 2.2 * t / 0.12)
        bubble = np.sin(2 * np.pi * np.cumsum(f) / studio.rate) * np.exp(-t / 0.035) * np.minimum(t / 0.002, 1)
        tap = 0.08 * studio.burst(2000, 8000, 0.004)
        return studio.place(events, bubble.astype(np.float32)) + studio.place(events, tap)


class _Sea(Scene):
    """Waves that roll towards a beach."""

    look_group, small = "sea", False

    def sea(self, stage: Stage, events: Timeline, foam: Real) -> None:
        """Paint water, swell and the foam that runs up the sand at each event."""
        p, c = stage.palette, stage.moving
        phase, _, _ = events.phase(stage.times)
        deep, bright = mix(p.main, p.dark, 0.3), mix(p.main, p.pale, 0.35)

        def water(u: Array, v: Array, t: Array, edge: Array) -> Array:
            return np.maximum(-0.28 - v, v - edge - 0.035 * np.sin(5 * u + 1.3 * t))

        def swell(u: Array, v: Array, t: Array, edge: Array) -> Array:
            depth = np.clip((v + 0.28) / 1.0, 0.02, 1)
            ridge = np.sin(9 * np.log(depth + 0.15) - 2.2 * t + 0.5 * np.sin(3 * u + t * 0.6))
            sparkle = np.clip(ridge - 0.55 + 0.25 * np.sin(17 * u * (1.4 - depth) + 2 * t), 0, 1)
            return blend(blend(deep, bright, 0.55 * depth + 0.2 * ridge * depth), WHITE, 0.7 * sparkle)

        # The water is lowest just before a wave breaks, and runs up after it.
        run = np.where(phase < 0.35, np.sin(phase / 0.35 * np.pi / 2), np.cos((phase - 0.35) / 0.65 * np.pi / 2))
        edge = (0.5 + 0.22 * foam * run).astype(np.float32)
        c.paint(0, 0, (1.5, 1.0), water, (stage.times, edge), swell)
        line = 0.06 + 0.05 * run

        def surf(u: Array, v: Array, t: Array, edge: Array, w: Array) -> Array:
            ragged = 0.035 * np.sin(5 * u + 1.3 * t) + 0.02 * np.sin(23 * u + 3 * t)
            return np.abs(v - edge - ragged) - w * (0.7 + 0.3 * np.sin(31 * u))

        c.paint(0, 0.55, (1.5, 0.45), surf, (stage.times, edge - 0.55, line * foam), WHITE, alpha=0.95, soft=0.03)
        # A crest that grows on its way in and breaks at the event.
        crest = stage.times + 2, (-0.2 + 0.5 * phase).astype(np.float32), foam * 0.11 * phase**2
        c.paint(0, 0.1, (1.5, 0.5), surf, crest, WHITE, alpha=0.85 * foam, soft=0.03)

    def shore(self, stage: Stage) -> None:
        """Paint horizon and sand."""
        p, c = stage.palette, stage.still
        c.box(0, 0.9, 1.8, 0.75, mix(p.ground2, p.pale, 0.45), shade=0.2)


class Surf(_Sea):
    """Waves break on the beach."""

    name, sound_group = "surf", "wash"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (0.65, 1.1), 0.1)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        self.shore(stage)
        yield
        self.sea(stage, events, 1.0)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        coarse = studio.times[::50]
        phase, _, _ = events.phase(coarse)
        swell = np.where(phase < 0.06, phase / 0.06, np.exp(-3.2 * (phase - 0.06))) + 0.3 * phase**3
        swell = np.interp(studio.times, coarse, swell)
        wash = studio.noise(150, studio.blend_with_group(2200, 4000), -0.3) * swell
        return (wash + 0.15 * studio.noise(30, 200) * swell).astype(np.float32)


class MotorBoat(_Sea):
    """A motor boat on the same sea."""

    name, sound_group = "motor_boat", "pulse"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        events = beats(rng, duration_s, (0.9, 1.6), 0.2)  # each event: the throttle opens
        times = np.linspace(0, duration_s, 200)
        rate = rng.uniform(9, 13) * (1 + 0.9 * events.decay(times, 0.35))
        return replace(events, curve=rate.astype(np.float32))

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        self.shore(stage)
        yield
        p, c, t = stage.palette, stage.moving, stage.times
        waves = np.arange(0.3, events.duration_s, 1.4, dtype=np.float32)
        self.sea(stage, Timeline(events.duration_s, waves, np.ones(3, np.float32), np.zeros(3, int)), 0.35)
        push = events.decay(t, 0.35)
        bob = 0.04 * np.sin(2 * np.pi * 0.9 * t) + 0.02 * np.sin(2 * np.pi * events.turns(t) / 4)
        x, y, tilt = -0.05 + 0.12 * np.sin(0.8 * t), 0.05 + bob - 0.05 * push, -0.16 * push
        age = (stage.rng.uniform(0, 1, 40) + 1.6 * t[:, None]) % 1
        back = x[:, None] - 0.52 - age * (0.35 + 0.6 * push[:, None])
        up = (0.3 + 0.9 * push[:, None]) * (age - age**2) * stage.rng.uniform(0.3, 1, 40)
        c.dots(back, y[:, None] + 0.22 - up, 0.045, WHITE, 0.9 * (1 - age))
        c.ellipse(x - 0.1, y + 0.27, 0.75, 0.07, WHITE, alpha=0.8, soft=0.08)
        stern, bow = (-0.55, -0.02 - tilt), (0.78, -0.16 + tilt)
        c.polygon(x, y, [stern, bow, (0.42, 0.26), (-0.5, 0.26)], mix(p.accent, WHITE, 0.1), shade=0.4)
        c.polygon(x, y, [stern, bow, (0.7, -0.06 + tilt), (-0.55, 0.06 - tilt)], WHITE)
        c.polygon(x + 0.08, y - 0.16, [(-0.2, -0.14), (0.05, -0.14), (0.22, 0.12), (-0.2, 0.12)], p.pale, alpha=0.9)
        c.box(x - 0.6, y + 0.04, 0.085, 0.16, p.dark, r=0.04)
        c.disc(x - 0.22, y - 0.3, 0.09, mix(p.pale, p.accent, 0.3), alpha=stage.cue)
        c.box(x - 0.22, y - 0.1, 0.1, 0.13, p.main, r=0.05, alpha=stage.cue)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        turns = events.turns(studio.times) * studio.pitch * studio.blend_with_group(2.2, 1.7)
        level, top = events.level(studio.times), max(float(events.curve.max()), 1e-6)
        pulse = studio.pulses(turns, 4.0) * (0.6 + 0.4 * level / top) * studio.noise(60, 900)
        putter = studio.shape(pulse, lambda f: low_pass(f, studio.blend_with_group(700, 400)))
        push = events.decay(studio.times[::100], 0.35).repeat(100)[: studio.samples]
        return putter + studio.cue * 0.1 * studio.noise(400, 3000) * (0.4 + push)


SCENES: tuple[Scene, ...] = (Rain(), Drip(), Surf(), MotorBoat())
