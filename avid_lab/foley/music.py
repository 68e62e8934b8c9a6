"""Keys and strings: typing and piano, guitar and violin."""

# ruff: noqa: D102 (`Scene` documents the methods)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from avid_lab.foley.picture import Canvas, mix
from avid_lab.foley.scene import Scene, lift
from avid_lab.foley.sound import Studio, resonance
from avid_lab.foley.stage import INK, WHITE, Stage
from avid_lab.foley.timeline import Array, Timeline, Values, beats

SCALE = np.array([0, 2, 4, 7, 9, 12, 14, 16])  # a pentatonic scale in semitones: any two notes go together


class _Keys(Scene):
    """A keyboard under two hands, and a panel above it."""

    look_group = "keys"
    columns = 8
    rows = 1

    def key(self, voice: np.ndarray) -> tuple[Values, Values]:
        """Centre of a key."""
        column, row = voice % self.columns, voice // self.columns
        x, y = -0.84 + 1.68 / self.columns * (column + 0.5), 0.12 + 0.62 / self.rows * (row + 0.5)
        return x.astype(np.float32), y.astype(np.float32)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c = stage.palette, stage.still
        case = mix(p.main, p.dark, 0.35)
        c.shadow(0.05, 0.86, 1.05, 0.12)
        c.box(0, 0.44, 0.98, 0.45, case, r=0.07, shade=0.2)
        c.box(0, 0.44, 0.88, 0.36, mix(case, INK, 0.6), r=0.02)
        self.keys(stage)
        c.box(0, -0.45, 0.72, 0.42, case, r=0.06, shade=0.2)
        self.panel(stage)
        yield
        c = stage.moving
        self.progress(stage, events)
        before = events.phase(stage.times)[2]
        index = np.clip(before, 0, len(events.onsets) - 1)
        x, y = self.key(events.voices[index])
        hit = events.decay(stage.times, 0.1) * (before >= 0)
        width = 0.84 / self.columns
        c.box(x, y, width * 0.94, 0.31 / self.rows * 0.94, p.accent, r=0.02, alpha=hit)
        for hand in (0, 1):
            mine = np.flatnonzero((self.key(events.voices)[0] > 0) == hand)
            self.hand(c, stage, events, mine, hand)

    def hand(self, c: Canvas, stage: Stage, events: Timeline, mine: np.ndarray, side: int) -> None:
        """A hand that moves to its next key in time and presses it at each of its events."""
        rest = (0.42 if side else -0.42, 0.5)
        if len(mine):
            kx, ky = self.key(events.voices[mine])
            x, y = np.interp(stage.times, events.onsets[mine], kx), np.interp(stage.times, events.onsets[mine], ky)
        else:
            x, y = np.full(len(stage.times), rest[0]), np.full(len(stage.times), rest[1])
        own = Timeline(events.duration_s, events.onsets[mine], events.strengths[mine], events.voices[mine])
        down = own.decay(stage.times, 0.1)
        y = y + 0.1 - 0.09 * (1 - down)
        skin = stage.palette.skin
        bend = -0.12 if side else 0.12
        c.shadow(x - bend + 0.05, y + 0.5, 0.3, 0.2, 0.3)
        for k in (-1.5, -0.5, 0.5, 1.5):
            tip = y + 0.03 * k * k + (0 if k == -0.5 else 0.05)
            c.line(x + 0.11 * k, tip, x + 0.085 * k - bend, y + 0.5, 0.048, mix(skin, INK, 0.06 * (k + 2)))
        c.ellipse(x - bend, y + 0.58, 0.22, 0.24, skin, shade=0.3)

    def keys(self, stage: Stage) -> None:
        """Paint the keys."""
        raise NotImplementedError

    def panel(self, stage: Stage) -> None:
        """Paint the panel."""

    def progress(self, stage: Stage, events: Timeline) -> None:
        """Paint the changes that events make on the panel."""


class Typing(_Keys):
    """A keyboard and a screen on which a line grows with every stroke."""

    name, sound_group, columns, rows = "typing", "click", 8, 3

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (3.5, 6.5), 0.3, voices=24)

    def keys(self, stage: Stage) -> None:
        for voice in range(24):
            x, y = self.key(np.array(voice))
            stage.still.box(x, y, 0.09, 0.085, mix(stage.palette.pale, stage.palette.main, 0.1), r=0.03, shade=0.15)

    def panel(self, stage: Stage) -> None:
        stage.still.box(0, -0.45, 0.64, 0.34, mix(stage.palette.dark, stage.palette.main, 0.12), r=0.02)

    def progress(self, stage: Stage, events: Timeline) -> None:
        typed = np.searchsorted(events.onsets, stage.times, side="right")
        per_line = max(3, -(-len(events.onsets) // 4))
        for line in range(4):
            length = np.clip(typed - line * per_line, 0, per_line) / per_line * 1.1
            y, colour = -0.67 + 0.15 * line, stage.palette.pale if line % 2 else stage.palette.accent
            stage.moving.box(-0.55 + length / 2, y, length / 2, 0.035, colour, alpha=(length > 0) * 1.0)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        out = studio.place(events, 0.5 * studio.burst(1500, 6000, 0.004))
        out += studio.place(events, 0.18 * studio.burst(1500, 6000, 0.004), delay_s=0.055)  # the key comes up
        for voice in range(3):
            base = studio.blend_with_group(1300, 1700) * (0.85 + 0.15 * voice)
            group = replace(events, voices=events.voices // 8)
            out += studio.strike(group, [base, base * 1.9, 240], [0.009, 0.006, 0.014], [0.6, 0.4, 0.7], voice)
        return out


class Piano(_Keys):
    """A piano and its score."""

    name, sound_group, columns, rows = "piano", "string", 8, 1

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (2.0, 4.0), 0.04, voices=8)

    def keys(self, stage: Stage) -> None:
        c, p = stage.still, stage.palette
        for voice in range(8):
            x, y = self.key(np.array(voice))
            c.box(x, y, 0.1, 0.3, p.pale, r=0.02, shade=0.12)
        for gap in (1, 2, 4, 5, 6):
            c.box(-0.84 + 0.21 * gap, 0.27, 0.062, 0.17, p.dark, r=0.02)
            c.box(-0.85 + 0.21 * gap, 0.25, 0.02, 0.13, mix(p.dark, WHITE, 0.3), r=0.01)

    def panel(self, stage: Stage) -> None:
        c, p = stage.still, stage.palette
        c.box(0, -0.45, 0.64, 0.34, p.pale, r=0.02, alpha=0.2 + 0.8 * stage.cue)
        for top in (-0.68, -0.36):
            for k in range(4):
                c.box(0, top + 0.06 * k, 0.58, 0.007, p.dark, alpha=stage.cue)

    def progress(self, stage: Stage, events: Timeline) -> None:
        for k, (onset, voice) in enumerate(zip(events.onsets, events.voices, strict=True)):
            x, y = -0.52 + 1.04 * (k % 8) / 7, (-0.5 if k < 8 else -0.18) - 0.03 * voice
            if k < 16:
                stage.moving.ellipse(x, y, 0.055, 0.04, stage.palette.main, alpha=(stage.times >= onset) * 1.0)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        out, base = np.zeros(studio.samples, np.float32), 262 * studio.pitch
        for voice in np.unique(events.voices):
            f = base * 2 ** float(SCALE[voice] / 12)
            k = np.arange(1, 11)
            partials = f * k * np.sqrt(1 + 0.0006 * k**2)  # stiff strings are a little sharp
            decays = studio.blend_with_group(0.9, 0.6) / (1 + 0.25 * k)
            gains = 1 / k ** studio.blend_with_group(1.3, 1.0)
            out += studio.place(events, studio.modes(list(partials), list(decays), list(gains)), voice)
        return out + studio.place(events, 0.05 * studio.burst(100, 900, 0.02))


class _Strings(Scene):
    """A string instrument, upright."""

    look_group = "strings"
    waist = 0.3

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        p, c = stage.palette, stage.still
        wood, edge = mix(p.main, p.accent, 0.15), mix(p.main, INK, 0.55)
        c.shadow(0.08, 0.46, 0.68, 0.56, 0.3)
        for grow, colour, shade in ((0.035, edge, 0.0), (0.0, wood, 0.35)):
            c.ellipse(0, 0.42, 0.6 + grow, 0.48 + grow, colour, shade=shade)
            c.ellipse(0, -0.2, 0.45 + grow, 0.36 + grow, colour, shade=shade * 0.7)
            c.box(0, 0.08, self.waist + grow, 0.28, colour, r=0.05)
        self.front(stage)
        c.box(0, -0.8, 0.085, 0.52, mix(p.dark, p.main, 0.2), r=0.02)
        c.box(0, 0.56, 0.22, 0.04, p.dark, r=0.02)
        yield
        c = stage.moving
        shake = events.decay(stage.times, 0.3)
        for k in range(4):
            x = -0.09 + 0.06 * k
            shift = 0.02 * shake * np.sin(2 * np.pi * (5.3 + k) * stage.times)
            c.line(0.55 * x + shift, -1.3, x + shift, 0.56, 0.01 + 0.016 * shake, WHITE, alpha=0.95 - 0.45 * shake)
        self.player(stage, events)

    def front(self, stage: Stage) -> None:
        """Paint the holes."""
        raise NotImplementedError

    def player(self, stage: Stage, events: Timeline) -> None:
        """Paint the hand or bow that excites the strings."""
        raise NotImplementedError


class Guitar(_Strings):
    """A guitar: round hole, plucked by a hand that crosses the strings at each note."""

    name, sound_group, waist = "guitar", "string", 0.36

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (1.8, 3.2), 0.05, voices=6)

    def front(self, stage: Stage) -> None:
        p, c = stage.palette, stage.still
        c.disc(0, 0.02, 0.215, mix(p.accent, WHITE, 0.3), alpha=stage.cue)
        c.disc(0, 0.02, 0.175, mix(p.dark, INK, 0.5), alpha=0.15 + 0.85 * stage.cue)

    def player(self, stage: Stage, events: Timeline) -> None:
        p, c = stage.palette, stage.moving
        phase, _, before = events.phase(stage.times)
        side = np.where(before % 2 == 0, 1, -1)
        away, back = np.sin(np.pi * np.minimum(phase * 1.6, 1) / 2), np.sin(np.pi * (phase - 0.62) / 0.76)
        x = 0.05 + side * (0.27 * away - 0.27 * (phase > 0.62) * back)
        c.line(x + 0.1, 0.27, x + 0.75, 0.75, 0.11, p.skin)
        c.ellipse(x + 0.1, 0.26, 0.17, 0.14, p.skin, angle=0.5, shade=0.3)
        c.polygon(x, 0.2, [(-0.08, -0.05), (0.07, -0.06), (0.0, 0.1)], p.accent)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        base, pick = studio.blend_with_group(165, 230) * studio.pitch, studio.burst(200, 5000, 0.0025)
        voices = np.unique(events.voices)
        plucks = [studio.place(events, pick, voice) for voice in voices]
        pitches = [base * 2 ** float(SCALE[voice] / 12) for voice in voices]
        out = studio.strings(plucks, pitches, studio.blend_with_group(0.5, 0.35), 0.35)
        return studio.shape(out, lambda f: 1 + 1.5 * resonance(f, 190, 80))  # the body's air resonance


class Violin(_Strings):
    """A violin: two slits in the belly and a bow that turns at each note."""

    name, sound_group, waist = "violin", "whistle", 0.26

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (1.2, 2.2), 0.08, voices=6)

    def front(self, stage: Stage) -> None:
        c, ink = stage.still, mix(stage.palette.dark, INK, 0.5)
        for side in (-1, 1):
            c.line(0.25 * side, 0.1, 0.21 * side, 0.42, 0.028, ink, alpha=stage.cue)
            c.disc(0.21 * side, 0.08, 0.05, ink, alpha=stage.cue)
            c.disc(0.25 * side, 0.44, 0.05, ink, alpha=stage.cue)

    def player(self, stage: Stage, events: Timeline) -> None:
        p, c = stage.palette, stage.moving
        phase, _, before = events.phase(stage.times)
        travel = np.where(before % 2 == 0, phase, 1 - phase)
        x = -0.42 + 0.84 * (travel * travel * (3 - 2 * travel))
        tilt = 0.12
        c.line(x - 1.0, 0.24 + tilt, x + 1.0, 0.24 - tilt, 0.03, WHITE)
        c.line(x - 1.0, 0.17 + tilt, x + 1.0, 0.15 - tilt, 0.028, p.dark)
        c.disc(x + 1.0, 0.2 - tilt, 0.17, p.skin, shade=0.3)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        _, gap, before = events.phase(studio.times[::100])
        note = SCALE[events.voices[np.clip(before, 0, len(events.voices) - 1)]] if len(events.voices) else 0
        semitones = np.interp(studio.times, studio.times[::100], note + 0 * gap)
        vibrato = 1 + 0.006 * np.sin(2 * np.pi * studio.rng.uniform(4.5, 6.5) * studio.times)
        f = studio.blend_with_group(392, 640) * studio.pitch * 2 ** (semitones / 12) * vibrato
        k = np.arange(1, 12)
        string = studio.tone(f, list(1 / k ** studio.blend_with_group(1.0, 2.2)))
        phase, gap, _ = events.phase(studio.times)
        bow = np.clip(phase * gap / 0.05, 0.12, 1) * np.clip((1 - phase) * gap / 0.07, 0.12, 1)
        body = studio.shape(string, lambda f: 0.5 + resonance(f, 480, 150) + resonance(f, 2600, 900))
        return body * (0.75 + 0.25 * lift(phase)) * bow + 0.02 * bow * studio.noise(2000, 7000)


SCENES: tuple[Scene, ...] = (Typing(), Piano(), Guitar(), Violin())
