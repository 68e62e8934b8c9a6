"""Birds: one sings, the other hammers."""

# ruff: noqa: D102 (`Scene` documents the methods)

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from avid_lab.foley.picture import mix
from avid_lab.foley.scene import Scene
from avid_lab.foley.sound import Studio
from avid_lab.foley.stage import INK, WHITE, Stage
from avid_lab.foley.timeline import Array, Real, Timeline, beats


class _Bird(Scene):
    """A bird on a branch, next to a trunk."""

    look_group = "bird"

    def bird(self, stage: Stage, events: Timeline, reach: Array, gape: Array, crest: Real, hop: Array) -> None:
        """Paint the bird; ``reach`` moves its head forward, ``gape`` opens the beak, both in [0, 1] a frame."""
        p, c = stage.palette, stage.moving
        c.polygon(-0.5, 0.1 - hop, [(-0.4, 0.26), (0.1, -0.12), (0.2, 0.12), (-0.3, 0.38)], mix(p.main, INK, 0.3))
        c.ellipse(-0.1, 0.05 - hop, 0.48, 0.3, p.main, angle=-0.45, shade=0.3)
        c.ellipse(0.1, 0.12 - hop, 0.28, 0.2, mix(p.main, WHITE, 0.55), angle=-0.6)
        x, y = 0.24 + 0.13 * reach, -0.3 - hop + 0.03 * reach
        c.polygon(x - 0.06, y - 0.2, [(-0.2, 0.16), (-0.16, -0.16), (0.22, 0.08)], p.accent, alpha=crest)
        c.disc(x, y, 0.23, p.main, shade=0.3)
        for side in (-1, 1):
            tilt = side * 0.13 * gape
            beak = [(-0.04, -0.075 + tilt / 3), (0.27, tilt), (-0.04, 0.075 + tilt / 3)]
            c.polygon(x + 0.2, y + 0.03, beak, mix(p.accent, p.dark, 0.45))
        c.disc(x + 0.07, y - 0.05, 0.062, WHITE)
        c.disc(x + 0.085, y - 0.05, 0.038, INK)
        c.ellipse(-0.2, 0.04 - hop, 0.28, 0.14, mix(p.main, INK, 0.35), angle=-0.5)
        for leg in (-0.12, 0.06):
            c.line(leg, 0.28 - hop, leg + 0.02, 0.46, 0.018, p.dark)

    def tree(self, stage: Stage, trunk: Real) -> None:
        """Paint branch and trunk."""
        p, c = stage.palette, stage.still
        bark = mix(p.dark, p.ground2, 0.35)
        c.box(0.95, 0, 0.22, 3, bark, alpha=trunk, shade=0.1)
        for k in range(14):
            x, y = 0.06 * (k % 4), 0.3 * k
            c.line(0.8 + x, -2 + y, 0.82 + x, -1.85 + y, 0.014, mix(bark, INK, 0.5), alpha=0.7 * trunk)
        c.line(-3.4, 0.82, 1.0, 0.48, 0.055, bark)
        for x, y, a in ((-0.95, 0.5, 0.5), (-0.75, 0.72, -0.4), (0.5, 0.62, -0.6), (-1.15, 0.75, -0.2)):
            c.ellipse(x, y, 0.14, 0.06, mix(p.accent, p.ground2, 0.3), angle=a)


class Songbird(_Bird):
    """A bird that sings: the beak opens with each call."""

    name, sound_group = "songbird", "whistle"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        return beats(rng, duration_s, (2.0, 4.0), 0.2, voices=3)

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        self.tree(stage, 1 - 0.8 * stage.cue)
        yield
        call = events.decay(stage.times, 0.12)
        self.bird(stage, events, 0.2 * call, call, 0.0, 0.05 * call)
        phase, gap, before = events.phase(stage.times)
        for k in range(2):
            age = np.clip(phase * gap / 0.3 - 0.25 * k, 0, 1)
            visible = np.where((age > 0) & (age < 1) & (before >= 0) & (before < len(events.onsets)), 1 - age, 0)
            stage.moving.ring(0.62, -0.36, 0.06 + 0.24 * age, 0.018, stage.palette.pale, alpha=0.8 * visible)

    def sound(self, studio: Studio, events: Timeline) -> Array:
        out = np.zeros(studio.samples, np.float32)
        for voice in range(3):
            seconds = studio.rng.uniform(0.09, 0.17)
            t = np.arange(int(seconds * studio.rate)) / studio.rate
            start, end = studio.pitch * studio.blend_with_group(3000, 1500) * 2 ** studio.rng.uniform(-0.4, 0.5, 2)
            trill = 1 + studio.rng.uniform(0, 0.12) * np.sin(2 * np.pi * studio.rng.uniform(20, 45) * t)
            f = (start + (end - start) * t / seconds) * trill
            chirp = np.sin(2 * np.pi * np.cumsum(f) / studio.rate) * np.sin(np.pi * np.sqrt(t / seconds)) ** 2
            out += studio.place(events, chirp.astype(np.float32), voice)
        return out


class Woodpecker(_Bird):
    """The same bird with a crest, hammering the trunk in short rolls."""

    name, sound_group = "woodpecker", "click"

    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        rolls, gap = beats(rng, duration_s, (1.1, 1.7), 0.15), 1 / rng.uniform(6.5, 9)
        onsets = np.concatenate([start + gap * np.arange(rng.integers(3, 5)) for start in rolls.onsets])
        onsets = np.sort(onsets[onsets < duration_s - 0.08])
        onsets = onsets[np.diff(onsets, prepend=-1) > 0.07].astype(np.float32)
        strengths = rng.uniform(0.7, 1, len(onsets)).astype(np.float32)
        return Timeline(duration_s, onsets, strengths, np.zeros(len(onsets), int))

    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        self.tree(stage, 1.0)
        yield
        peck = events.decay(stage.times, 0.04)
        self.bird(stage, events, peck * 1.3 - 0.3, 0 * peck, 0.3 + 0.7 * stage.cue, 0 * peck)
        chips = stage.rng.uniform(-1, 1, (2, 10))
        phase, gap, _ = events.phase(stage.times)
        age = (phase * gap)[:, None]
        x, y = 0.76 - age * (0.6 + 0.6 * chips[:1]), -0.25 + 1.2 * age * chips[1:] + 2 * age**2
        stage.moving.dots(x, y, 0.025, stage.palette.pale, np.clip(1 - age / 0.3, 0, 1) * (peck[:, None] > 0.02))

    def sound(self, studio: Studio, events: Timeline) -> Array:
        base = studio.blend_with_group(820, 1700)
        decays = [studio.blend_with_group(0.02, 0.012), 0.014, 0.008, 0.025]
        return studio.strike(events, [base, base * 1.71, base * 2.66, base * 0.45], decays, [1, 0.7, 0.4, 0.5])


SCENES: tuple[Scene, ...] = (Songbird(), Woodpecker())
