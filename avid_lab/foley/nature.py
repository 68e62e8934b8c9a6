"""Fire and water: campfire and fireworks, rain and a dripping tap, surf and a motor boat on the same sea."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avid_lab.foley.picture import blend, mix
from avid_lab.foley.scene import Scene
from avid_lab.foley.sound import Studio
from avid_lab.foley.stage import INK, WHITE, Stage, smooth_noise
from avid_lab.foley.timeline import Array, Real, Timeline, beats, wander


class Campfire(Scene):
    """Flames over logs; every crackle throws sparks."""

    name, look_group, sound_group = "campfire", "glow", "wash"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        events = beats(rng, duration_s, (2.5, 5.0), 0.4)
        return Timeline(
            duration_s,
            events.onsets,
            rng.uniform(0.4, 1, len(events.onsets)).astype(np.float32),
            events.voices,
            wander(rng, duration_s, 0.55, 1, 2),
        )

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c, rng = stage.palette, stage.still, stage.rng
        c.shadow(0, 0.78, 0.85, 0.16, 0.55)
        for k in range(9):
            c.ellipse(
                -0.72 + 0.18 * k,
                0.8 + 0.05 * (k % 2),
                0.12,
                0.085,
                mix(p.ground2, INK, 0.35 + 0.1 * (k % 3)),
                shade=0.4,
            )
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
            half = 0.52 * size * np.clip(height * 6, 0, 1) ** 0.5 * (1 - height) * (1 + 0.5 * n)
            return (np.abs(lean) - half) * 0.7

        def heat(u: Array, v: Array, t: Array, size: Array) -> Array:
            core = np.clip(-flame(u, v, t, size) * 10, 0, 2)
            return blend(blend(p.main, p.accent, np.minimum(core, 1)), WHITE, 0.75 * np.maximum(core - 1, 0))

        size = (0.62 + 0.3 * level + 0.22 * flare).astype(np.float32)
        c.paint(0, 0, (0.62, 1.0), flame, (stage.times, size), heat, soft=0.06)
        c.glow(0, 0.5, 0.5, p.accent, 0.5 + 0.3 * flare)
        for onset, strength in zip(events.onsets, events.strengths, strict=True):
            age = (stage.times - onset)[:, None]
            way, speed = rng.uniform(-0.7, 0.7, 9), rng.uniform(1.2, 2.2, 9)
            c.dots(
                way * (age * 1.2 + 0.15),
                0.3 - speed * age + 0.3 * age**2,
                0.03,
                mix(p.accent, WHITE, 0.5),
                np.where(age >= 0, np.clip(1 - age / 0.55, 0, 1), 0) * strength,
            )

    def sound(self, studio: Studio, events: Timeline) -> Array:
        roar = studio.noise(60, studio.told(420, 1500), -0.5) * (0.5 + 0.5 * events.level(studio.times))
        crackle = studio.place(events, studio.burst(900, 6000, 0.006))
        t = studio.rng.uniform(0, studio.samples / studio.rate, 60)
        small = Timeline(
            events.duration_s,
            np.sort(t).astype(np.float32),
            studio.rng.uniform(0.05, 0.35, 60).astype(np.float32),
            np.zeros(60, int),
        )
        crackle += studio.place(small, studio.burst(1500, 8000, 0.003))
        return (
            0.16 * roar + studio.told(1.6, 0.6) * crackle + 0.06 * studio.noise(800, 5000) * events.level(studio.times)
        )


class Fireworks(Scene):
    """Rockets that burst over the roofs."""

    name, look_group, sound_group, small = "fireworks", "glow", "thud", False

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (1.2, 2.0), 0.2)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c, rng = stage.palette, stage.still, stage.rng
        for k in range(9):
            height = rng.uniform(0.15, 0.5)
            c.box(
                -1.3 + 0.32 * k,
                1.6 - height,
                0.17,
                0.8 + height * 0.6,
                mix(p.dark, p.ground2, 0.12 * (k % 3)),
                alpha=0.25 + 0.75 * stage.tell,
            )
            for w in range(3):
                c.box(
                    -1.36 + 0.32 * k + 0.1 * (w % 2),
                    0.92 + 0.12 * w - height * 0.6,
                    0.022,
                    0.03,
                    p.pale,
                    alpha=0.8 * stage.tell,
                )
        yield
        c, times = stage.moving, stage.times
        colours = [mix(p.main, WHITE, 0.15), p.accent, mix(p.pale, p.main, 0.3)]
        for k, onset in enumerate(events.onsets):
            x0, y0 = rng.uniform(-0.55, 0.55), rng.uniform(-0.5, 0.05)
            age, colour = (times - onset)[:, None], colours[k % 3]
            before = np.clip(-age / 0.45, 0, 1)
            tail = np.arange(6)[None] * 0.03
            c.dots(
                x0 + 0.15 * (before + tail) + 0 * tail,
                y0 + 1.1 * (before + tail),
                0.028,
                p.pale,
                np.where((age < 0) & (age > -0.45), 0.9 - 0.14 * np.arange(6), 0),
            )
            c.glow(
                x0,
                y0,
                0.9,
                mix(colour, WHITE, 0.4),
                0.85 * np.where(times >= onset, np.exp(-(times - onset) / 0.12), 0),
            )
            n = 46
            way, speed = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.35, 1, n) ** 0.5 * rng.uniform(0.6, 0.8)
            for trail in (0.09, 0.045, 0.0):
                then = np.clip(age - trail, 0, None)
                out = 1 - np.exp(-3.2 * then)
                fade = np.where(age >= 0, np.clip(1.15 - age / 0.95, 0, 1), 0) * (1 - 6 * trail)
                c.dots(
                    x0 + speed * out * np.cos(way),
                    y0 + speed * out * np.sin(way) + 0.28 * then**2,
                    0.034 - 0.12 * trail,
                    mix(colour, WHITE, 0.3 if trail else 0.6),
                    fade,
                )

    def sound(self, studio: Studio, events: Timeline) -> Array:
        boom = studio.burst(25, studio.told(260, 500), studio.told(0.22, 0.12)) * 1.0
        out = studio.place(events, boom) + 0.6 * studio.strike(events, [52, 88], [0.16, 0.1], [1, 0.6])
        fizz = studio.noise(2500, 8000) * (studio.rng.uniform(size=studio.samples) < 0.004)
        after = np.interp(studio.times, studio.times[::50], events.decay(studio.times[::50] - 0.15, 0.35))
        return out + 1.2 * studio.tell * (fizz * after).astype(np.float32)


class _Drops(Scene):
    """Water falling into a puddle that answers with rings."""

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
            return np.abs(np.hypot(u, v * 2.6) - r) - 0.022

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
        c.line(x, -0.35, x, 0.55, 0.022, p.dark, alpha=stage.tell)
        c.paint(
            x,
            -0.1,
            (0.62, 0.55),
            lambda u, v: np.maximum(np.hypot(u, v * 1.15) - 0.58, v),
            (),
            mix(p.accent, INK, 0.1),
            shade=0.4,
            alpha=stage.tell,
        )
        for k in (-0.3, 0.0, 0.3):
            c.line(x + 0.15 * k, -0.6, x + 1.75 * k, -0.1, 0.012, mix(p.accent, INK, 0.5), alpha=stage.tell)
        yield
        level, slant = events.level(stage.times), rng.uniform(-0.18, 0.18)
        for _ in range(16):
            onset = rng.uniform(-0.3, stage.times[-1])
            self.ripple(stage, rng.uniform(-0.75, 0.75), rng.uniform(0.55, 0.8), onset, rng.uniform(0.12, 0.26), 0.45)
        n, speed = 110, rng.uniform(3.2, 4.2)
        start, column, rank = rng.uniform(0, 3, n), rng.uniform(-1.4, 1.4, n), rng.uniform(0, 1, n)
        y = (start + speed * stage.times[:, None]) % 3 - 1.5
        seen = 0.75 * (rank < level[:, None])
        for k in range(6):
            stage.film.dots(
                column + slant * (y - 0.035 * k), y - 0.035 * k, 0.012, mix(p.pale, WHITE, 0.5), seen * (1 - 0.13 * k)
            )

    def sound(self, studio: Studio, events: Timeline) -> Array:
        level = events.level(studio.times)
        hiss = studio.noise(studio.told(1200, 400), studio.told(9000, 4000)) * level
        drops = (studio.rng.uniform(size=studio.samples) < 0.004 * level).astype(np.float32) * studio.rng.uniform(
            0.2, 1, studio.samples
        ).astype(np.float32)
        return 0.3 * hiss + 0.5 * studio.tell * studio.convolve(drops, studio.burst(1800, 9000, 0.004))


class Drip(_Drops):
    """A dripping tap."""

    name, sound_group = "drip", "whistle"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (1.4, 2.6), 0.12)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c = stage.palette, stage.still
        self.puddle(stage)
        metal = mix(p.accent, WHITE, 0.25)
        c.line(0.75, -0.72, 0.08, -0.72, 0.1, metal, shade=0.5, alpha=0.3 + 0.7 * stage.tell)
        c.line(0.02, -0.7, 0.02, -0.48, 0.09, metal, shade=0.3, alpha=0.3 + 0.7 * stage.tell)
        c.line(0.4, -0.8, 0.4, -0.95, 0.04, mix(metal, INK, 0.2), alpha=stage.tell)
        c.line(0.24, -0.97, 0.56, -0.97, 0.05, p.main, alpha=stage.tell)
        c.box(0.86, -0.72, 0.06, 0.2, mix(metal, INK, 0.2), r=0.02, alpha=0.3 + 0.7 * stage.tell)
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
        f = studio.told(850, 1500) * studio.pitch * (1 + 2.2 * t / 0.12)
        bubble = np.sin(2 * np.pi * np.cumsum(f) / studio.rate) * np.exp(-t / 0.035) * np.minimum(t / 0.002, 1)
        return studio.place(events, bubble.astype(np.float32)) + studio.place(
            events, 0.08 * studio.burst(2000, 8000, 0.004)
        )


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
        c.paint(
            0,
            0.1,
            (1.5, 0.5),
            surf,
            (stage.times + 2, (-0.2 + 0.5 * phase).astype(np.float32), foam * 0.07 * phase**2),
            WHITE,
            alpha=0.85 * foam,
            soft=0.03,
        )

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
        swell = np.interp(
            studio.times, coarse, np.where(phase < 0.06, phase / 0.06, np.exp(-3.2 * (phase - 0.06))) + 0.3 * phase**3
        )
        wash = studio.noise(150, studio.told(2200, 4000), -0.3) * swell
        return (wash + 0.15 * studio.noise(30, 200) * swell).astype(np.float32)


class MotorBoat(_Sea):
    """A motor boat on the same sea."""

    name, sound_group = "motor_boat", "pulse"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        events = beats(rng, duration_s, (0.9, 1.6), 0.2)  # each event: the throttle opens
        times = np.linspace(0, duration_s, 200)
        rate = rng.uniform(9, 13) * (1 + 0.9 * events.decay(times, 0.35))
        return Timeline(duration_s, events.onsets, events.strengths, events.voices, rate.astype(np.float32))

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        self.shore(stage)
        yield
        p, c, t = stage.palette, stage.moving, stage.times
        slow = Timeline(
            events.duration_s,
            np.arange(0.3, events.duration_s, 1.4, dtype=np.float32),
            np.ones(3, np.float32),
            np.zeros(3, int),
        )
        self.sea(stage, slow, 0.35)
        push = events.decay(t, 0.35)
        x, bob = (
            -0.05 + 0.12 * np.sin(0.8 * t),
            0.04 * np.sin(2 * np.pi * 0.9 * t) + 0.02 * np.sin(2 * np.pi * events.turns(t) / 4),
        )
        y, tilt = 0.05 + bob - 0.05 * push, -0.16 * push
        rng = stage.rng
        age = (rng.uniform(0, 1, 40) + 1.6 * t[:, None]) % 1
        c.dots(
            x[:, None] - 0.52 - age * (0.35 + 0.6 * push[:, None]),
            y[:, None] + 0.22 - (0.3 + 0.9 * push[:, None]) * (age - age**2) * rng.uniform(0.3, 1, 40),
            0.045,
            WHITE,
            0.9 * (1 - age),
        )
        c.ellipse(x - 0.1, y + 0.27, 0.75, 0.07, WHITE, alpha=0.8, soft=0.08)
        c.polygon(
            x,
            y,
            [(-0.55, -0.02 - tilt), (0.78, -0.16 + tilt), (0.42, 0.26), (-0.5, 0.26)],
            mix(p.accent, WHITE, 0.1),
            shade=0.4,
        )
        c.polygon(x, y, [(-0.55, -0.02 - tilt), (0.78, -0.16 + tilt), (0.7, -0.06 + tilt), (-0.55, 0.06 - tilt)], WHITE)
        c.polygon(x + 0.08, y - 0.16, [(-0.2, -0.14), (0.05, -0.14), (0.22, 0.12), (-0.2, 0.12)], p.pale, alpha=0.9)
        c.box(x - 0.6, y + 0.04, 0.085, 0.16, p.dark, r=0.04)
        c.disc(x - 0.22, y - 0.3, 0.09, mix(p.pale, p.accent, 0.3), alpha=stage.tell)
        c.box(x - 0.22, y - 0.1, 0.1, 0.13, p.main, r=0.05, alpha=stage.tell)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        turns = events.turns(studio.times) * studio.pitch * studio.told(2.2, 1.7)
        pulse = studio.pulses(turns, 4.0) * (
            0.6 + 0.4 * events.level(studio.times) / max(float(events.curve.max()), 1e-6)
        )
        putter = studio.shape(pulse * studio.noise(60, 900), lambda f: 1 / (1 + (f / studio.told(700, 400)) ** 2))
        return 1.0 * putter + studio.tell * 0.1 * studio.noise(400, 3000) * (
            0.4 + events.decay(studio.times[::100], 0.35).repeat(100)[: studio.samples]
        )


SCENES: tuple[Scene, ...] = (Campfire(), Fireworks(), Rain(), Drip(), Surf(), MotorBoat())
