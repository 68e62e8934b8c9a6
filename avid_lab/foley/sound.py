"""Synthesis by simple physical models, in pure numpy: struck modes, plucked strings, pulses, filtered noise, rooms.

Everything works on whole signals. Filters and echoes are products of spectra, so there is no loop over samples.
Signals are (samples,) float32; levels are set at the end by `Studio.master`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

import numpy as np

from avid_lab.foley.timeline import Array, Real, Timeline, Values, fraction


class Studio:
    """The sound of one clip during synthesis.

    Args:
        rng: Draws the timbre (not the events).
        duration_s: Length in seconds.
        rate: Samples per second.
        pitch: Factor on every frequency of the scene, a nuisance.
        cue: How clearly the scene differs from its sound-alikes, in [0, 1].
    """

    def __init__(
        self, rng: np.random.Generator, duration_s: Real, rate: int, *, pitch: Real = 1.0, cue: Real = 1.0
    ) -> None:
        self.rng, self.rate, self.pitch, self.cue = rng, rate, pitch, cue
        self.samples = round(duration_s * rate)
        # Room for the tails of strings, rooms and filters to fade before they wrap around.
        self.fft = 1 << (self.samples + rate // 2).bit_length()
        self.short = _smooth(self.samples + rate // 4)

    @cached_property
    def times(self) -> Array:
        """(samples,) seconds."""
        return _times(self.samples, self.rate)

    @cached_property
    def frequencies(self) -> Array:
        """(fft / 2 + 1,) Hz."""
        return _frequencies(self.fft, self.rate)

    def blend_with_group(self, own: Real, common: Real) -> Real:
        """A parameter of this scene, moved towards the value that its sound-alikes share if the clip is ambiguous."""
        return own * self.cue + common * (1 - self.cue)

    # Sources ----------------------------------------------------------------------------------------------------------

    def place(
        self, events: Timeline, answer: Array, voice: int | np.integer | None = None, delay_s: Real = 0.0
    ) -> Array:
        """``answer`` at each onset (of one voice), as loud as the event is strong."""
        signal = np.zeros(self.samples, np.float32)
        for onset, strength, v in zip(events.onsets, events.strengths, events.voices, strict=True):
            at = round((float(onset) + delay_s) * self.rate)
            if at < self.samples and (voice is None or v == voice):
                end = min(at + len(answer), self.samples)
                signal[at:end] += strength * answer[: end - at]
        return signal

    def noise(self, low_hz: Real = 0.0, high_hz: Real = 1e9, tilt: Real = 0.0) -> Array:
        """Noise of unit power between two frequencies; ``tilt`` -0.5 is pink, -1 brown."""
        white = self.rng.standard_normal(self.samples, dtype=np.float32)
        octaves = _octaves(self.short, self.rate)
        return unit(self.shape(white, lambda f: band(f, float(low_hz), float(high_hz)) * np.exp(float(tilt) * octaves)))

    def modes(self, frequencies: Sequence[Real], decays_s: Sequence[Real], gains: Sequence[Real]) -> Array:
        """The response of a struck body: decaying sines, with an attack of half a millisecond to avoid clicks."""
        seconds = min(6 * max(decays_s), self.samples / self.rate)
        t = (np.arange(int(seconds * self.rate)) / self.rate).astype(np.float32)
        body = np.zeros(len(t), np.float32)
        for frequency, decay, gain in zip(frequencies, decays_s, gains, strict=True):
            if frequency < 0.45 * self.rate:
                n = min(len(t), int(7 * decay * self.rate))
                sine = np.sin(np.float32(2 * np.pi * frequency) * t[:n])
                body[:n] += np.float32(gain) * np.exp(t[:n] / np.float32(-decay)) * sine
        return body * np.minimum(t / 5e-4, 1).astype(np.float32)

    def burst(self, low_hz: Real, high_hz: Real, decay_s: Real) -> Array:
        """A decaying puff of noise."""
        n = min(int(7 * decay_s * self.rate), self.samples)
        t = (np.arange(n) / self.rate).astype(np.float32)
        attack = np.minimum(t / 5e-4, 1).astype(np.float32)
        return self.noise(low_hz, high_hz)[:n] * np.exp(t / np.float32(-decay_s)) * attack

    def strings(
        self, plucks: Sequence[Array], frequencies: Sequence[Real], decay_s: Real, brightness: Real = 0.5
    ) -> Array:
        """Karplus-Strong: comb filters with damped treble, computed on the spectrum, so that any period is exact."""
        f, total = self.frequencies, np.zeros(self.fft // 2 + 1, np.complex64)
        damped = 1 - (1 - brightness) * np.sin(np.pi * f / self.rate) ** 2
        for pluck, frequency in zip(plucks, frequencies, strict=True):
            # One round trip: its gain is exp(-period / decay) at low frequencies, less at high ones.
            gain, phase = np.float32(np.exp(-1 / (frequency * decay_s))) * damped, 2 * np.pi * f * (1 / frequency)
            comb = np.empty_like(total)
            comb.real, comb.imag = 1 - gain * np.cos(phase), gain * np.sin(phase)
            total += self.spectrum(pluck) / comb
        return self.signal(total)

    def tone(self, frequency: Values, gains: Sequence[Real]) -> Array:
        """A sum of harmonics of a gliding ``frequency`` (one value, or one a sample)."""
        frequency = np.broadcast_to(np.asarray(frequency, np.float64), (self.samples,))
        turns = fraction(np.cumsum(frequency) / self.rate)
        signal = np.zeros(self.samples, np.float32)
        for k, gain in enumerate(gains, start=1):
            if gain and frequency.max() * k < 0.45 * self.rate:
                signal += np.float32(gain) * np.sin((2 * np.pi * k * turns).astype(np.float32))
        return signal

    def pulses(self, turns: Array, sharpness: Real) -> Array:
        """A pulse at each whole turn: 1, then falling by ``exp(-sharpness)`` until the next."""
        return np.exp(-np.float32(sharpness) * fraction(turns))

    def slowly(self, function: Callable[[Array], Array], step: int = 100) -> Array:
        """``function(times)``, computed at every ``step``-th sample only."""
        coarse = self.times[::step]
        return np.interp(self.times, coarse, function(coarse))

    # Filters ----------------------------------------------------------------------------------------------------------

    def spectrum(self, signal: Array) -> Array:
        """(fft / 2 + 1,) complex64: single precision is half the time, and errors are 120 dB below."""
        return np.fft.rfft(signal.astype(np.float32, copy=False), self.fft)

    def signal(self, spectrum: Array) -> Array:
        """The samples of a spectrum."""
        return np.fft.irfft(spectrum, self.fft)[: self.samples]

    def shape(self, signal: Array, gain: Callable[[Array], Array]) -> Array:
        """``signal`` filtered by ``gain(frequencies in Hz)``, real (zero phase) or complex."""
        n = self.short
        spectrum = np.fft.rfft(signal.astype(np.float32, copy=False), n)
        spectrum *= gain(_frequencies(n, self.rate))
        return np.fft.irfft(spectrum, n)[: self.samples]

    def convolve(self, signal: Array, answer: Array) -> Array:
        """``signal`` with each sample replaced by ``answer``."""
        return self.signal(self.spectrum(signal) * self.spectrum(answer))

    def strike(
        self,
        events: Timeline,
        frequencies: Sequence[Real],
        decays_s: Sequence[Real],
        gains: Sequence[Real],
        voice: int | np.integer | None = None,
    ) -> Array:
        """A body struck at every event (of one voice). Frequencies follow the clip's pitch."""
        return self.place(events, self.modes([f * self.pitch for f in frequencies], decays_s, gains), voice)

    def room(self, signal: Array, t60_s: Real, wet: Real, colour: Real = 1.0) -> Array:
        """The signal in a room, through a microphone: early echoes, and a tail that loses its treble.

        The direct sound is not delayed. ``colour`` scales the unevenness of the microphone.
        """
        n = min(int(t60_s * self.rate), self.fft - self.samples)
        t = (np.arange(n) / self.rate).astype(np.float32)
        tail = self.rng.standard_normal(n, dtype=np.float32) * np.exp(np.float32(-6.9 / t60_s) * t)
        tail[: int(0.008 * self.rate)] = 0
        early = self.rng.integers(int(0.005 * self.rate), int(0.04 * self.rate), 6)
        tail[early] += self.rng.uniform(-6, 6, 6).astype(np.float32)
        tail *= wet / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
        damp, hats = _room(self.fft, self.rate)
        response = self.spectrum(tail)
        response *= damp
        response += 1
        # The microphone: a smooth random equaliser over the octaves.
        knots = self.rng.normal(0, 5 * colour, 8)
        response *= np.exp((knots * (np.log(10) / 20)).astype(np.float32) @ hats)
        response *= self.spectrum(signal)
        return self.signal(response)

    def master(self, signal: Array, rms_db: Real) -> Array:
        """Set the loudness (dB of full scale), limit peaks and fade the ends: no clipping, no clicks."""
        signal = (signal - signal.mean()).astype(np.float32, copy=False)
        for _ in range(3):  # Limiting lowers the power a little: correct it.
            signal = np.tanh(unit(signal) * np.float32(10 ** (rms_db / 20) / 0.89)) * np.float32(0.89)
        fade = np.minimum(self.times[: round(0.01 * self.rate)] / np.float32(0.01), 1)
        signal[: len(fade)] *= fade
        signal[-len(fade) :] *= fade[::-1]
        return signal


def unit(signal: Array) -> Array:
    """The signal, scaled to a power of 1."""
    return signal / np.float32(max(np.sqrt(np.mean(signal * signal)), 1e-9))


def band(f: Array, low_hz: Real, high_hz: Real) -> Array:
    """A smooth band pass, 12 dB per octave on either side."""
    gain = low_pass(f, high_hz)
    return gain if low_hz <= 0 else gain / (1 + (low_hz / np.maximum(f, 1e-3)) ** 2)


def low_pass(f: Array, hz: Real) -> Array:
    """A smooth low pass, 12 dB per octave."""
    return 1 / (1 + (f / hz) ** 2)


def resonance(f: Array, hz: Real, width_hz: Real) -> Array:
    """A bump of height 1."""
    return np.exp(-(((f - hz) / width_hz) ** 2))


@lru_cache(4)
def _smooth(n: int) -> int:
    """The smallest length >= ``n`` with a fast Fourier transform: a product of 2, 3 and 5."""
    return min(m << max(0, -(-n // m) - 1).bit_length() for m in (1, 3, 5, 9, 15, 25, 27))


@lru_cache(4)
def _times(samples: int, rate: int) -> Array:
    return _constant(np.arange(samples) / rate)


@lru_cache(4)
def _frequencies(fft: int, rate: int) -> Array:
    return _constant(np.fft.rfftfreq(fft, 1 / rate))


@lru_cache(4)
def _octaves(fft: int, rate: int) -> Array:
    """Logarithms of the frequencies, constant below 40 Hz."""
    return _constant(np.log(np.maximum(_frequencies(fft, rate), 40)))


@lru_cache(4)
def _room(fft: int, rate: int) -> tuple[Array, Array]:
    """A room's damping of each frequency, and the weights of eight knots spaced evenly over the octaves."""
    f = _frequencies(fft, rate)
    place = np.log2(np.maximum(f, 50) / 50)
    hats = np.maximum(1 - np.abs(place * (7 / place[-1]) - np.arange(8)[:, None]), 0)
    return _constant(1 / np.sqrt(1 + (f / 3500) ** 2)), _constant(hats)


def _constant(values: Array) -> Array:
    values = values.astype(np.float32)
    values.setflags(write=False)  # shared by all clips
    return values
