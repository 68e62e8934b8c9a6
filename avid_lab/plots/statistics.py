"""The numbers behind the pictures, apart from the marks that show them: numpy in, numpy out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num


def auc(positive: Num[np.ndarray, " P"], negative: Num[np.ndarray, " Q"]) -> float:
    """Probability that a random positive scores above a random negative; ties count half. 0.5 is chance.

    Raises:
        ValueError: One of the two is empty.
    """
    if not (positive.size and negative.size):
        raise ValueError(
            f"auc must have scores on both sides; got {positive.size} positive and {negative.size} negative"
        )
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    at_most = np.searchsorted(ordered, positive, side="right")
    return float((below + at_most).mean() / (2 * negative.size))


def smooth(values: Num[np.ndarray, " S"], half_life: float) -> Float[np.ndarray, " S"]:
    """Exponential moving average over the past that forgets half in ``half_life`` steps; unbiased at the start.

    NaN marks a step without a value: it stays NaN and changes nothing after it.
    """
    keep = 0.5 ** (1 / half_life)
    smoothed = np.full(len(values), np.nan)
    total = weight = 0.0
    for step, value in enumerate(values):
        if np.isfinite(value):
            total, weight = keep * total + value, keep * weight + 1
            smoothed[step] = total / weight
    return smoothed


class Spectrogram(NamedTuple):
    """A spectrogram with its two axes."""

    times_s: np.ndarray  # (frames,) centre of each window
    hertz: np.ndarray  # (bins,)
    decibels: np.ndarray  # (frames, bins), 0 at the loudest


def log_spectrogram(audio: Float[np.ndarray, " samples"], rate: float, *, range_db: float = 70.0) -> Spectrogram:
    """A picture of a sound: 43 ms Hann windows that overlap by seven eighths, power in decibels below the loudest."""
    size = min(2 ** round(np.log2(rate * 0.043)), 2 ** int(np.log2(max(len(audio), 2))))
    hop = max(1, size // 8)
    padded = np.pad(audio.astype(np.float64), (size // 2, size // 2 + hop))  # windows are centred on their time
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][: len(audio) // hop + 1]
    power = np.abs(np.fft.rfft(windows * np.hanning(size), axis=1)) ** 2
    decibels = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 10 ** (-range_db / 10)))
    return Spectrogram(np.arange(len(windows)) * hop / rate, np.fft.rfftfreq(size, 1 / rate), decibels)


class Plane(NamedTuple):
    """Points projected to the plane of their largest variance."""

    points: np.ndarray  # (N, 2)
    explained: np.ndarray  # (2,) share of the variance along each axis


def principal_plane(points: Num[np.ndarray, "N D"]) -> Plane:
    """Project points to their first two principal components; signs are fixed so that pictures do not flip.

    Raises:
        ValueError: Fewer than two points or two dimensions.
    """
    if min(points.shape) < 2:
        raise ValueError(f"points must be at least two, in at least two dimensions; got {points.shape}")
    centred = points - points.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, :-3:-1]  # (D, 2), largest variance first
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])
    return Plane(centred @ directions, variances[:-3:-1] / max(float(variances.sum()), 1e-12))
