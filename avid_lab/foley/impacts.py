"""Things that are struck: gong and drum, two balls, clock and bell."""

# ruff: noqa: D102 (`Scene` documents the methods)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from avid_lab.foley.picture import Canvas, blend, disc, length, mix, rotate
from avid_lab.foley.scene import Scene, lift
from avid_lab.foley.sound import Studio
from avid_lab.foley.stage import INK, WHITE, Stage
from avid_lab.foley.timeline import Array, Real, Timeline, beats


class _Mallet(Scene):
    """A round body hung in a frame, and a mallet that swings at it."""

    look_group = "mallet"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (1.3, 2.4), 0.08)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c = stage.palette, stage.still
        wood = mix(p.dark, p.accent, 0.3)
        c.shadow(0, 0.88, 0.85, 0.07)
        posts = (-0.7, -0.8, -0.74, 0.85), (0.7, -0.8, 0.74, 0.85)
        feet = (-0.9, 0.86, -0.56, 0.86), (0.56, 0.86, 0.9, 0.86)
        for x0, y0, x1, y1 in ((-0.76, -0.8, 0.76, -0.8), *posts, *feet):
            c.line(x0, y0, x1, y1, 0.045, wood)
            c.line(x0 - 0.01, y0 - 0.012, x1 - 0.01, y1 - 0.012, 0.012, mix(wood, WHITE, 0.35))
        yield
        c = stage.moving
        self.body(c, stage, events)
        phase, _, _ = events.phase(stage.times)
        away = lift(phase) ** 0.7
        x, y = 0.14 + 0.62 * away, 0.02 - 0.34 * away
        c.shadow(x * 0.9 + 0.02, y + 0.1, 0.17, 0.13, 0.3)
        c.line(x, y, x + 0.38, y + 0.75, 0.035, mix(p.dark, WHITE, 0.25))
        c.disc(x, y, 0.15, p.accent, shade=0.4)
        c.disc(x - 0.05, y - 0.05, 0.05, mix(p.accent, WHITE, 0.5), soft=0.05)

    def body(self, c: Canvas, stage: Stage, events: Timeline) -> None:
        """Paint what is struck."""
        raise NotImplementedError


class Gong(_Mallet):
    """A gong: sways after the stroke, rings for seconds."""

    name, sound_group = "gong", "ring"

    def body(self, c: Canvas, stage: Stage, events: Timeline) -> None:
        p, hit = stage.palette, events.decay(stage.times, 0.8)
        sway = 0.05 * hit * np.sin(2 * np.pi * 2.4 * stage.times)
        for side in (-1, 1):
            c.line(0.3 * side, -0.8, 0.32 * side + sway, -0.36, 0.018, p.dark)
        c.disc(sway, 0.05, 0.58, mix(p.main, INK, 0.35))
        c.disc(sway, 0.04, 0.54, p.main, shade=0.35)
        for r in (0.44, 0.33):
            c.ring(sway, 0.04, r, 0.012, mix(p.main, INK, 0.3), alpha=0.8 * stage.cue)
        c.disc(sway, 0.04, 0.17, mix(p.main, WHITE, 0.35), alpha=stage.cue, shade=0.5)
        c.disc(sway - 0.18, -0.16, 0.22, WHITE, alpha=0.18 + 0.5 * hit, soft=0.3)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        base = studio.blend_with_group(150, 230)
        ratios = np.array([1, 1.48, 1.96, 2.52, 2.94, 3.61, 4.37, 5.2, 6.7])
        decays = studio.blend_with_group(1.5, 1.0) / (1 + 0.25 * np.arange(9))
        return studio.strike(events, list(base * ratios), list(decays), [0.7, 1, 0.8, 0.9, 0.6, 0.6, 0.4, 0.35, 0.2])


class Drum(_Mallet):
    """A drum seen from the front: the skin flashes briefly with each stroke."""

    name, sound_group = "drum", "thud"

    def body(self, c: Canvas, stage: Stage, events: Timeline) -> None:
        p, hit = stage.palette, events.decay(stage.times, 0.12)
        for side in (-1, 1):
            c.line(0.68 * side, 0.05, 0.5 * side, 0.05, 0.03, p.dark)
        c.disc(0, 0.05, 0.58, mix(p.main, INK, 0.35))
        c.disc(0, 0.04, 0.54, mix(p.main, p.pale, 0.75 * stage.cue), shade=0.25)
        c.ring(0, 0.04, 0.55, 0.045, mix(p.main, INK, 0.15), alpha=stage.cue, shade=0.4)
        for k in range(8):
            angle = np.pi * (k + 0.5) / 4
            c.disc(0.56 * np.cos(angle), 0.04 + 0.56 * np.sin(angle), 0.045, p.dark, alpha=stage.cue)
        c.disc(0.12, 0.04, 0.3, INK, alpha=0.4 * hit, soft=0.3)
        c.ring(0.12, 0.04, 0.1 + 0.4 * (1 - hit), 0.02, WHITE, alpha=0.8 * hit)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        base = studio.blend_with_group(130, 95)
        ratios = [1, 1.59, 2.14, 2.3, 2.65, 2.92, 3.6]
        decays = [studio.blend_with_group(0.22, 0.12) / (1 + 0.4 * k) for k in range(7)]
        skin = studio.strike(events, [base * r for r in ratios], decays, [1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2])
        return skin + studio.place(events, 0.25 * studio.burst(300, 4000, 0.02))


class _Ball(Scene):
    """A ball that bounces on a floor."""

    look_group = "ball"
    rate_hz = (1.4, 2.4)

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, self.rate_hz, 0.06)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, r = stage.palette, stage.rng.uniform(0.25, 0.33)
        floor = mix(p.ground2, p.accent, 0.35)
        stage.floor(stage.place.y + 0.62 * stage.place.scale, floor)
        self.court(stage)
        yield
        c = stage.moving
        phase, gap, _ = events.phase(stage.times)
        height = np.clip(3.0 * gap**2, 0.4, 1.25) * lift(phase)
        squash = 1 - 0.28 * events.decay(stage.times, 0.045)
        reach, speed, start = (stage.rng.uniform(*ends) for ends in ((0.05, 0.25), (0.6, 1.4), (0, 6)))
        drift = reach * np.sin(speed * stage.times + start)
        y = 0.7 - r * squash - height
        c.shadow(drift + 0.05, 0.71, r * (1.25 - 0.5 * height), 0.07, 0.55 - 0.3 * height)
        spin = stage.rng.uniform(-4, 4) * stage.times
        self.ball(c, stage, drift, y, r / np.sqrt(squash), r * squash, spin)

    def court(self, stage: Stage) -> None:
        """Paint the surroundings."""

    def ball(self, c: Canvas, stage: Stage, x: Array, y: Array, rx: Array, ry: Array, spin: Array) -> None:
        """Paint the ball, its highlight and its marks."""
        raise NotImplementedError


def _sphere(
    c: Canvas, x: Array, y: Array, rx: Array, ry: Array, spin: Array, colour: Array, seam: Array, marks: Real
) -> None:
    def shape(u: Array, v: Array, a: Array, b: Array, _: Array) -> Array:
        return disc(u / a, v / b, 1.0) * np.minimum(a, b)

    def skin(u: Array, v: Array, a: Array, b: Array, angle: Array) -> Array:
        s, t = rotate(u / a, v / b, angle)
        curve = np.minimum(np.minimum(np.abs(s), np.abs(t)), np.abs(length(np.abs(s) - 1.35, t) - 0.85))
        line = marks * np.clip(0.5 - (curve - 0.055) * 14, 0, 1)
        light = 1.05 - 0.4 * np.clip((u / a + 0.35) ** 2 + (v / b + 0.4) ** 2, 0, 2)
        return blend(colour, seam, line) * light[:, None]

    c.paint(x, y, (float(np.max(rx)), float(np.max(ry))), shape, (rx, ry, spin), skin)
    c.disc(x - 0.35 * rx, y - 0.4 * ry, float(np.max(rx)) * 0.16, WHITE, alpha=0.7, soft=0.08)


class Basketball(_Ball):
    """A basketball: seams, a hoop on the wall, a deep thump."""

    name, sound_group = "basketball", "thud"

    def court(self, stage: Stage) -> None:
        c, p = stage.still, stage.palette
        c.box(0.55, -0.72, 0.3, 0.2, p.pale, r=0.03, alpha=0.9 * stage.cue)
        c.box(0.55, -0.68, 0.12, 0.09, p.accent, alpha=0.8 * stage.cue)
        c.box(0.55, -0.68, 0.1, 0.07, p.pale, alpha=0.9 * stage.cue)
        c.line(0.4, -0.54, 0.7, -0.54, 0.025, p.accent, alpha=stage.cue)

    def ball(self, c: Canvas, stage: Stage, x: Array, y: Array, rx: Array, ry: Array, spin: Array) -> None:
        _sphere(c, x, y, rx, ry, spin, stage.palette.main, mix(stage.palette.main, INK, 0.75), stage.cue)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        base = studio.blend_with_group(78, 95)
        decays = [studio.blend_with_group(0.07, 0.12), 0.06, 0.05, 0.04]
        thump = studio.strike(events, [base, base * 1.7, 640, 1180], decays, [1, 0.7, 0.12, 0.06])
        return thump + studio.place(events, 0.2 * studio.burst(150, 1800, 0.015))


class PingPong(_Ball):
    """A table-tennis ball: plain, a net and a white edge, a hollow tick."""

    name, sound_group, rate_hz = "ping_pong", "click", (1.7, 3.0)

    def court(self, stage: Stage) -> None:
        c, p = stage.still, stage.palette
        c.box(0.72, 0.45, 0.2, 0.17, p.pale, alpha=0.55 * stage.cue)
        for k in range(5):
            c.line(0.56 + 0.08 * k, 0.3, 0.56 + 0.08 * k, 0.62, 0.006, p.dark, alpha=0.7 * stage.cue)
            c.line(0.54, 0.34 + 0.06 * k, 0.92, 0.34 + 0.06 * k, 0.006, p.dark, alpha=0.7 * stage.cue)
        c.box(0.72, 0.28, 0.21, 0.02, WHITE, alpha=stage.cue)
        c.box(0, 0.86, 3, 0.03, WHITE, alpha=0.9 * stage.cue)

    def ball(self, c: Canvas, stage: Stage, x: Array, y: Array, rx: Array, ry: Array, spin: Array) -> None:
        _sphere(c, x, y, rx, ry, spin, mix(stage.palette.main, WHITE, 0.45 * stage.cue), INK, 0.0)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        base = studio.blend_with_group(1150, 1700)
        decays = [studio.blend_with_group(0.022, 0.012), 0.014, 0.009, 0.012]
        return studio.strike(events, [base, base * 2.05, base * 3.3, 420], decays, [1, 0.6, 0.35, 0.4])


class _Pendulum(Scene):
    """Something that swings to and fro and sounds at each turning point."""

    look_group = "swing"
    rate_hz = (1.5, 2.6)

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        events = beats(rng, duration_s, self.rate_hz, 0.0)
        strengths = np.float32(rng.uniform(0.75, 0.95)) + 0 * events.strengths
        return replace(events, strengths=strengths, voices=np.arange(len(events.onsets)) % 2)

    def swing(self, stage: Stage, events: Timeline) -> Array:
        """The angle of each frame in radians."""
        phase, _, before = events.phase(stage.times)
        return (stage.rng.uniform(0.3, 0.42) * np.cos(np.pi * (phase + before % 2))).astype(np.float32)


class Clock(_Pendulum):
    """A pendulum clock: dial, rod and bob; tick, tock."""

    name, sound_group = "clock", "click"

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c = stage.palette, stage.still
        case = mix(p.accent, p.dark, 0.5)
        c.shadow(0.06, 0.9, 0.62, 0.08)
        c.box(0, 0.05, 0.6, 0.9, case, r=0.08, shade=0.25)
        c.box(0, 0.3, 0.52, 0.56, mix(case, INK, 0.55), r=0.05)
        c.polygon(0, -0.92, [(-0.66, 0.06), (0, -0.2), (0.66, 0.06)], mix(case, INK, 0.2), alpha=stage.cue)
        yield
        c = stage.moving
        angle = self.swing(stage, events)
        x, y = 1.02 * np.sin(angle), -0.45 + 1.02 * np.cos(angle)
        c.line(0, -0.45, x, y, 0.022, p.pale)
        c.disc(x, y, 0.2, p.main, shade=0.5)
        c.disc(x - 0.06, y - 0.07, 0.06, WHITE, alpha=0.7, soft=0.06)
        c.disc(0, -0.5, 0.38, mix(p.main, INK, 0.3))
        c.disc(0, -0.5, 0.34, p.pale, alpha=0.25 + 0.75 * stage.cue)
        for k in range(12):
            a = k * np.pi / 6
            c.disc(0.28 * np.sin(a), -0.5 + 0.28 * np.cos(a), 0.024, p.dark, alpha=stage.cue)
        for a, long in ((stage.rng.uniform(0, 6.3), 0.15), (stage.rng.uniform(0, 6.3), 0.24)):
            c.line(0, -0.5, long * np.sin(a), -0.5 - long * np.cos(a), 0.02, p.dark)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        out = np.zeros(studio.samples, np.float32)
        for voice, factor in ((0, 1.0), (1, 0.8)):
            base = studio.blend_with_group(2300, 1700) * factor
            modes = [base, base * 1.62, base * 2.4, 310 * factor]
            out += studio.strike(events, modes, [0.01, 0.008, 0.006, 0.03], [1, 0.8, 0.5, 0.35], voice)
        return out


def _bell(u: Array, v: Array, angle: Array) -> Array:
    u, v = rotate(u, v, -angle)
    t = np.clip((v + 0.05) / 0.62, 0, 1)
    half = 0.19 + 0.1 * t + 0.2 * t**5
    top = length(u, np.minimum(v - 0.1, 0)) - 0.19
    return np.maximum(np.where(v < 0.1, top, (np.abs(u) - half) * 0.85), v - 0.57)


class ChurchBell(_Pendulum):
    """A bell that swings in its tower."""

    name, sound_group, rate_hz = "church_bell", "ring", (1.2, 2.0)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c = stage.palette, stage.still
        stone = mix(p.accent, p.dark, 0.5)
        c.shadow(0.06, 0.9, 0.9, 0.08)
        for side in (-1, 1):
            c.box(0.82 * side, 0.05, 0.13, 0.9, stone, shade=0.25)
        c.box(0, -0.82, 0.95, 0.12, mix(stone, INK, 0.2), r=0.03, shade=0.3)
        c.polygon(0, -1.0, [(-1.0, 0.08), (0, -0.28), (1.0, 0.08)], mix(stone, INK, 0.35), alpha=stage.cue)
        yield
        c = stage.moving
        angle, hit = self.swing(stage, events), events.decay(stage.times, 0.35)
        s, co = np.sin(angle), np.cos(angle)
        c.line(0, -0.72, 0.35 * s, -0.72 + 0.35 * co, 0.06, p.dark)
        c.disc(0.98 * np.sin(angle * 1.25), -0.72 + 0.98 * np.cos(angle * 1.25), 0.1, p.dark)
        x, y = 0.3 * s, -0.72 + 0.3 * co
        c.paint(x, y, 0.75, _bell, (angle,), mix(p.main, INK, 0.12), shade=0.45)
        c.rod(x + 0.56 * s, y + 0.56 * co, 0.34 * co, -0.34 * s, 0.035, mix(p.main, WHITE, 0.25))
        c.disc(x + 0.3 * s - 0.1, y + 0.3 * co, 0.09, WHITE, alpha=0.35 + 0.5 * hit, soft=0.14)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        base = studio.blend_with_group(300, 230)
        ratios, gains = [0.5, 1, 1.2, 1.5, 2, 2.5, 3, 4.1, 5.4], [0.5, 0.8, 0.7, 0.4, 1, 0.4, 0.5, 0.4, 0.25]
        decays = [studio.blend_with_group(1.6, 1.0) / (0.7 + 0.35 * r) for r in ratios]
        return studio.strike(events, [base * r for r in ratios], decays, gains)


SCENES: tuple[Scene, ...] = (Gong(), Drum(), Basketball(), PingPong(), Clock(), ChurchBell())
