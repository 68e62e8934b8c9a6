"""Machines: car and ambulance, helicopter and fan."""

# ruff: noqa: D102 (`Scene` documents the methods)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from avid_lab.foley.picture import ellipse, length, mix, rotate
from avid_lab.foley.scene import Scene
from avid_lab.foley.sound import Studio, low_pass, resonance
from avid_lab.foley.stage import INK, WHITE, Stage
from avid_lab.foley.timeline import Array, Real, Timeline, beats, wander


class _Vehicle(Scene):
    """A vehicle seen from the side, on a road that passes under it."""

    look_group = "road"

    def road(self, stage: Stage) -> None:
        """Paint the road."""
        stage.floor(stage.place.y + 0.5 * stage.place.scale, mix(stage.palette.ground2, stage.palette.dark, 0.55))

    def drive(self, stage: Stage, turns: Array, shake: Array, cabin: Real) -> Array:
        """Paint the parts that both vehicles share; return the height of the body in each frame."""
        p, c = stage.palette, stage.moving
        for k in range(7):
            x = (k * 0.8 - 2.2 * turns * 0.45) % 5.6 - 2.8
            c.box(x, 0.82, 0.2, 0.03, mix(WHITE, p.pale, 0.5), alpha=0.85)
        y = 0.12 + 0.025 * shake
        c.shadow(0, 0.6, 0.95, 0.07, 0.5)
        c.box(0, y + 0.12, 0.88, 0.2, p.main, r=0.12, shade=0.3)
        roof = [(-0.34, -0.2), (0.3, -0.2), (0.58, 0.16), (-0.56, 0.16)]
        c.polygon(-0.1, y - 0.2, roof, mix(p.main, INK, 0.1), alpha=cabin, shade=0.2)
        rear = [(-0.28, -0.13), (-0.02, -0.13), (-0.02, 0.1), (-0.42, 0.1)]
        front = [(0.04, -0.13), (0.26, -0.13), (0.44, 0.1), (0.04, 0.1)]
        for window in (rear, front):
            c.polygon(-0.1, y - 0.19, window, mix(p.pale, p.dark, 0.25), alpha=cabin)
        c.disc(0.84, y + 0.08, 0.06, WHITE)
        c.box(0, y + 0.27, 0.88, 0.03, mix(p.main, INK, 0.5), r=0.03)
        for x in (-0.5, 0.5):
            c.disc(x, 0.42, 0.22, INK)
            c.disc(x, 0.42, 0.125, p.pale, shade=0.3)
            for spoke in range(3):
                angle = 2 * np.pi * turns + spoke * np.pi / 3
                c.rod(x, 0.42, 0.12 * np.cos(angle), 0.12 * np.sin(angle), 0.02, p.dark)
        return y


class Car(_Vehicle):
    """A car whose driver likes the throttle: it rears and smokes each time."""

    name, sound_group = "car", "pulse"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        events = beats(rng, duration_s, (0.9, 1.7), 0.15)
        times = np.linspace(0, duration_s, 400)
        rate = rng.uniform(0.8, 1.3) * (1 + 1.3 * events.decay(times, 0.4))
        return replace(events, curve=rate.astype(np.float32))

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        self.road(stage)
        yield
        p, c, t = stage.palette, stage.moving, stage.times
        push = events.decay(t, 0.3)
        for onset, strength in zip(events.onsets, events.strengths, strict=True):
            age = t - onset
            for k in range(3):
                old = age - 0.07 * k
                x, y = -1.0 - 0.75 * old - 0.1 * k, 0.28 - 0.45 * old + 0.04 * k
                r = np.clip(0.06 + 0.28 * old, 0.05, 0.3)
                fade = np.where((old >= 0) & (old < 0.7), 0.75 * strength * (1 - old / 0.7), 0)
                c.disc(x, y, r, mix(p.pale, p.dark, 0.3), alpha=fade, soft=0.08)
        self.drive(stage, events.turns(t), np.sin(2 * np.pi * 7 * t) * (0.3 + push) - 1.5 * push, 1.0)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        turns = events.turns(studio.times) * studio.pitch * studio.blend_with_group(26, 15)
        fire = studio.pulses(turns, 3.0) * (1 + 0.35 * np.sin(np.pi * turns))
        fire = fire + 0.5 * studio.pulses(turns / 2 + 0.13, 5.0)
        push = studio.slowly(lambda times: events.decay(times, 0.4))

        def body(f: Array) -> Array:
            return low_pass(f, 900) * (0.6 + resonance(f, 180, 90) + 0.6 * resonance(f, 620, 200))

        engine = studio.shape(fire - fire.mean(), body)
        return engine * (0.45 + 0.55 * push) + 0.1 * studio.pulses(turns, 2.0) * studio.noise(200, 3000) * (0.3 + push)


class Ambulance(_Vehicle):
    """An ambulance: the lamp flashes with the siren."""

    name, sound_group = "ambulance", "whistle"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        events = beats(rng, duration_s, (1.6, 2.8), 0.0)
        return replace(events, voices=np.arange(len(events.onsets)) % 2, curve=wander(rng, duration_s, 0.9, 1.9, 0.6))

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        self.road(stage)
        yield
        p, c, t = stage.palette, stage.moving, stage.times
        y = self.drive(stage, events.turns(t), 0.4 * np.sin(2 * np.pi * 6 * t), 1 - stage.cue)
        c.box(-0.25, y - 0.22, 0.63, 0.3, mix(p.main, WHITE, 0.12), r=0.06, alpha=stage.cue, shade=0.2)
        window = [(-0.14, -0.16), (0.02, -0.16), (0.24, 0.14), (-0.14, 0.14)]
        c.polygon(0.5, y - 0.14, window, mix(p.pale, p.dark, 0.25), alpha=stage.cue)
        c.box(-0.3, y - 0.18, 0.17, 0.055, p.accent, alpha=stage.cue)
        c.box(-0.3, y - 0.18, 0.055, 0.17, p.accent, alpha=stage.cue)
        c.box(-0.05, y + 0.13, 0.86, 0.035, p.accent, alpha=stage.cue)
        top = y - 0.45 - 0.1 * stage.cue
        c.box(0.05, top, 0.17, 0.06, p.dark, r=0.03)
        for voice, x in ((0, -0.08), (1, 0.16)):
            on = events.decay(t, 0.22, voice)
            lamp = mix(p.accent, WHITE, 0.5) if voice else mix(p.main, WHITE, 0.5)
            c.disc(x, top - 0.03, 0.09, mix(lamp, INK, 0.4))
            c.disc(x, top - 0.03, 0.09, WHITE, alpha=on)
            c.glow(x, top - 0.03, 0.65, lamp, on)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        coarse = studio.times[::40]
        phase, gap, before = events.phase(coarse)
        low = studio.blend_with_group(620, 850) * studio.pitch
        f = np.interp(studio.times, coarse, np.where(before % 2 == 0, low, low * 1.335))
        f = np.convolve(f, np.ones(480) / 480, "same")
        f[:480], f[-480:] = f[480], f[-481]
        pulse = np.interp(studio.times, coarse, 0.55 + 0.45 * np.exp(-phase * gap / 0.12))
        return studio.tone(f, [1, 0.5 * studio.cue, 0.6 * studio.cue, 0.2, 0.25 * studio.cue]) * pulse


class _Blades(Scene):
    """Blades that turn in the plane of the picture."""

    look_group = "blades"
    rate_hz: tuple[Real, Real]

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        blades = np.array([rng.integers(3, 5)])
        return Timeline(duration_s, voices=blades, curve=wander(rng, duration_s, *self.rate_hz, 0.8))

    def blades(self, stage: Stage, events: Timeline, count: int, radius: Real, width: Real, hub: Real) -> None:
        """Paint the blades, blurred by their motion; one has a marked tip."""
        p, c, t = stage.palette, stage.moving, stage.times
        step = events.level(t) / 16 * 0.5  # half a frame of motion

        def blade(u: Array, v: Array, angle: Array, blur: Array) -> Array:
            # The patch lies around the middle of the blade, so that it is small.
            s, w = rotate(u + radius / 2 * np.cos(angle), v + radius / 2 * np.sin(angle), angle)
            reach = length(s, w)
            spread = width * (0.55 + 0.45 * reach / radius) + blur * reach * (1.2 + 5 * width)
            return np.maximum(ellipse(s - radius * 0.52, w, radius * 0.52, spread), -s)

        c.disc(0, 0, radius, p.pale, alpha=0.14)
        for k in range(count):
            angle = (2 * np.pi * (events.turns(t) + k / count)).astype(np.float32)
            colour = mix(p.main, INK, 0.25) if k else mix(p.accent, WHITE, 0.1)
            x, y = radius / 2 * np.cos(angle), radius / 2 * np.sin(angle)
            c.paint(x, y, radius / 2 + width, blade, (angle, step), colour, alpha=0.92, soft=0.03)
        c.disc(0, 0, hub, p.dark, shade=0.4)
        c.disc(-0.25 * hub, -0.25 * hub, 0.4 * hub, p.pale)


class Helicopter(_Blades):
    """A helicopter from above, its shadow below it."""

    name, sound_group, rate_hz = "helicopter", "pulse", (1.6, 2.6)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        yield
        p, c, t = stage.palette, stage.moving, stage.times
        c.shadow(0.22, 0.3, 0.36, 0.5, 0.4)
        c.shadow(0.22, 0.95, 0.12, 0.4, 0.3)
        for side in (-1, 1):
            c.line(0.4 * side, -0.42, 0.4 * side, 0.38, 0.03, p.dark)
            c.line(0, -0.2, 0.4 * side, -0.2, 0.022, p.dark)
            c.line(0, 0.2, 0.4 * side, 0.2, 0.022, p.dark)
        for colour, grow in ((mix(p.main, INK, 0.5), 0.025), (mix(p.main, p.pale, 0.25), 0.0)):
            c.line(0, 0.3, 0, 1.12, 0.06 + grow, colour)
            c.box(0, 1.1, 0.24 + grow, 0.05 + grow, colour, r=0.04)
            c.ellipse(0, 0.0, 0.3 + grow, 0.52 + grow, colour, shade=0.3)
        c.ellipse(0, -0.24, 0.22, 0.2, mix(p.dark, p.pale, 0.35), alpha=0.25 + 0.75 * stage.cue, shade=0.5)
        c.line(0, -0.42, 0, -0.05, 0.014, mix(p.main, p.pale, 0.25), alpha=stage.cue)
        c.box(0, 0.3, 0.3, 0.05, p.accent, alpha=0.8 * stage.cue)
        angle = 2 * np.pi * 5.3 * t
        c.rod(0.1, 1.12, 0.2 * np.cos(angle), 0.2 * np.sin(angle), 0.022, p.pale, alpha=stage.cue)
        self.blades(stage, events, int(events.voices[0]), 1.0, 0.035, 0.07)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        turns = events.turns(studio.times) * int(events.voices[0])
        chop = studio.pulses(turns, studio.blend_with_group(5.0, 4.0))
        thump = studio.shape(chop * studio.noise(40, 600), lambda f: low_pass(f, 350 * studio.pitch))
        whine = 0.05 * studio.tone(410 * studio.pitch, [1, 0.5, 0.3])
        return thump + studio.cue * (whine + 0.04 * studio.noise(800, 4000))


class Fan(_Blades):
    """An electric fan behind its grille."""

    name, sound_group, rate_hz = "fan", "wash", (1.0, 2.4)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c = stage.palette, stage.still
        metal = mix(p.accent, p.dark, 0.4)
        c.shadow(0.03, 1.0, 0.5, 0.08)
        c.line(0, 0.4, 0, 0.95, 0.07, metal, shade=0.3)
        c.ellipse(0, 1.0, 0.42, 0.1, metal, shade=0.4)
        c.disc(0, 0, 0.84, mix(p.ground, INK, 0.25), alpha=0.45)
        yield
        c = stage.moving
        self.blades(stage, events, int(events.voices[0]), 0.78, 0.2, 0.12)
        wire = mix(metal, WHITE, 0.3)
        c.ring(0, 0, 0.82, 0.035, wire)
        for r in (0.55, 0.3):
            c.ring(0, 0, r, 0.014, wire, alpha=0.8 * stage.cue)
        for k in range(6):
            a = k * np.pi / 6
            c.rod(0, 0, 0.82 * np.cos(a), 0.82 * np.sin(a), 0.008, wire, alpha=0.7 * stage.cue)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        turns = events.turns(studio.times) * int(events.voices[0])
        speed = events.level(studio.times) / 2.4
        breath = (0.65 + 0.35 * np.cos(2 * np.pi * turns)) * (0.3 + 0.7 * speed**2)
        air = studio.noise(120, studio.blend_with_group(900, 2500), -0.3) * breath
        hum = studio.tone(100 * studio.pitch * (0.8 + 0.2 * speed), [0.5, 1, 0.2, 0.3])
        return (air + 0.12 * studio.cue * hum).astype(np.float32)


SCENES: tuple[Scene, ...] = (Car(), Ambulance(), Helicopter(), Fan())
