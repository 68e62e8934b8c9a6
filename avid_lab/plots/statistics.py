"""Statistics that the plots show: numpy in, numpy out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num


def smooth(values: Num[np.ndarray, " S"], width: float) -> Float[np.ndarray, " S"]:
    """Centred Gaussian moving average with a standard deviation of ``width`` steps; it does not lag behind.

    NaN marks a step without a value: it stays NaN and does not count in the averages around it.
    """
    reach = min(int(np.ceil(3 * width)), max(len(values) - 1, 0))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel)[reach : reach + len(values)]
    weight = np.convolve(known.astype(float), kernel)[reach : reach + len(values)]
    return np.where(known, total / np.maximum(weight, 1e-12), np.nan)


class Spectrogram(NamedTuple):
    """A spectrogram with its two axes."""

    times_s: np.ndarray  # (frames,) centre of each window
    hertz: np.ndarray  # (bins,)
    decibels: np.ndarray  # (frames, bins), 0 at the loudest


def log_spectrogram(audio: Float[np.ndarray, " samples"], rate: int | float, *, range_db: float = 70.0) -> Spectrogram:
    """Spectrogram with 43 ms Hann windows that overlap by seven eighths; power in decibels relative to the loudest."""
    size = min(2 ** round(np.log2(rate * 0.043)), 2 ** int(np.log2(max(len(audio), 2))))  # a power of two
    hop = max(1, size // 8)
    padded = np.pad(audio.astype(np.float64), (size // 2, size // 2 + hop))  # windows are centred on their time
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][: len(audio) // hop + 1]
    power = np.abs(np.fft.rfft(windows * np.hanning(size), axis=1)) ** 2
    decibels = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 10 ** (-range_db / 10)))
    return Spectrogram(np.arange(len(windows)) * hop / rate, np.fft.rfftfreq(size, 1 / rate), decibels)


class Plane(NamedTuple):
    """Points projected onto the plane of largest variance."""

    points: np.ndarray  # (N, 2)
    explained: np.ndarray  # (2,) share of the variance along each axis


def principal_plane(points: Num[np.ndarray, "N D"]) -> Plane:
    """Project points onto their first two principal components, with signs fixed so that plots do not flip.

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


def pushed_apart(points: Num[np.ndarray, "N 2"], width: float, height: float) -> Float[np.ndarray, "N 2"]:
    """Points moved up and down, as little as possible, until boxes of this size around them do not overlap."""
    placed = points.astype(float)
    for _ in range(100):
        across = placed[:, None, 0] - placed[None, :, 0]
        up = placed[:, None, 1] - placed[None, :, 1]
        up += (
            1e-6 * height * np.sign(np.subtract.outer(np.arange(len(placed)), np.arange(len(placed))))
        )  # for equal points
        overlap = np.where((np.abs(across) < width) & (np.abs(up) < height), height - np.abs(up), 0.0)
        np.fill_diagonal(overlap, 0.0)
        if not overlap.any():
            break
        placed[:, 1] += 0.3 * (overlap * np.sign(up)).sum(axis=1)
    return placed
