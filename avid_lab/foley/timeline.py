"""One timeline drives both picture and sound of a clip.

A scene draws its timeline first. The picture samples it at frame times and the sound at sample times, so every event is
both seen and heard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of floats
Real = int | float | np.floating
Values = Array | Real  # one value, or one a frame or sample
CONTROL_HZ = 200  # the rate of `Timeline.curve`


def _ones() -> Array:
    return np.ones(2, np.float32)


@dataclass(frozen=True)
class Timeline:
    """Events and a slow curve over ``duration_s`` seconds.

    Args:
        duration_s: Length of the clip in seconds.
        onsets: (n,) times of the events in seconds, rising.
        strengths: (n,) strength of each event, in (0, 1].
        voices: (n,) key, string or side of each event.
        curve: (m,) a slow quantity, evenly sampled over the clip, such as a wheel's turns per second or the rain's
            strength.
    """

    duration_s: float
    onsets: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    strengths: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    voices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    curve: Array = field(default_factory=_ones)

    def level(self, times: Values) -> Array:
        """The curve at ``times`` seconds."""
        grid = np.linspace(0, self.duration_s, len(self.curve))
        return np.interp(np.asarray(times), grid, self.curve).astype(np.float32)

    def turns(self, times: Values) -> Array:
        """The integral of the curve from 0 to ``times``, such as the turns of a wheel."""
        grid = np.linspace(0, self.duration_s, max(len(self.curve), round(CONTROL_HZ * self.duration_s)))
        rate = np.interp(grid, np.linspace(0, self.duration_s, len(self.curve)), self.curve)
        total = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(grid))])
        return np.interp(np.asarray(times), grid, total).astype(np.float32)

    def phase(self, times: Values) -> tuple[Array, Array, NDArray[np.int64]]:
        """The position of each time between two events.

        Returns:
            The phase in [0, 1) (0 at an event), the gap in seconds, and the index of the event before (-1: none yet).
        """
        times = np.asarray(times, np.float64)
        gap = float(np.mean(np.diff(self.onsets))) if len(self.onsets) > 1 else self.duration_s
        first, last = (self.onsets[0], self.onsets[-1]) if len(self.onsets) else (0.0, 0.0)
        before = first - gap * np.arange(int(first / gap) + 2, 0, -1)
        after = last + gap * np.arange(1, int((self.duration_s - last) / gap) + 3)
        knots = np.concatenate([before, self.onsets, after])
        at = np.searchsorted(knots, times, side="right") - 1
        gaps = knots[at + 1] - knots[at]
        return ((times - knots[at]) / gaps).astype(np.float32), gaps.astype(np.float32), at - len(before)

    def decay(self, times: Values, seconds: Real, voice: int | np.integer | None = None) -> Array:
        """An envelope that jumps to the strength of each event and falls by 1/e in ``seconds``."""
        keep = np.ones(len(self.onsets), bool) if voice is None else self.voices == voice
        since = np.asarray(times)[:, None] - self.onsets[None, keep]  # (t, n)
        fall = np.where(since >= -1e-6, np.exp(-np.maximum(since, 0) / seconds), 0) * self.strengths[None, keep]
        return fall.max(axis=1, initial=0).astype(np.float32)


def fraction(turns: Array) -> Array:
    """``turns % 1``, many times faster."""
    return turns - np.floor(turns)


def beats(
    rng: np.random.Generator, duration_s: float, rate_hz: tuple[Real, Real], jitter: Real = 0.05, voices: int = 1
) -> Timeline:
    """Events at a rate drawn from ``rate_hz``, with gaps that vary by a share of about ``jitter``."""
    gap = 1 / rng.uniform(*rate_hz)
    steps = gap * np.clip(1 + jitter * rng.standard_normal(int(duration_s / gap * 2) + 4), 0.4, 2)
    onsets = rng.uniform(0.1, 0.1 + gap) + np.concatenate([[0], np.cumsum(steps)])
    onsets = onsets[onsets < duration_s - 0.08].astype(np.float32)
    strengths = rng.uniform(0.65, 1, len(onsets)).astype(np.float32)
    return Timeline(duration_s, onsets, strengths, rng.integers(0, voices, len(onsets)))


def wander(rng: np.random.Generator, duration_s: float, low: Real, high: Real, knots_per_s: Real = 1.2) -> Array:
    """A smooth random curve between ``low`` and ``high``, sampled at `CONTROL_HZ`."""
    count = max(3, round(duration_s * knots_per_s) + 2)
    knots = rng.uniform(low, high, count)
    t = np.linspace(0, count - 1.001, round(duration_s * CONTROL_HZ))
    left = t.astype(int)
    blend = (1 - np.cos(np.pi * (t - left))) / 2
    return (knots[left] * (1 - blend) + knots[left + 1] * blend).astype(np.float32)
