"""A clip on one time axis: what is seen, what is heard, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Num, UInt8
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from torch import Tensor

from avid_lab.plots.statistics import Spectrogram, log_spectrogram
from avid_lab.plots.style import (
    AUDIO,
    FAINT,
    SHEET_WIDTH,
    VIDEO,
    NotebookFigure,
    add_axes,
    array,
    axes_grid,
    frames_of,
    new_figure,
    require_some,
    styled,
)


@runtime_checkable
class SoundLike(Protocol):
    """A sound, or what describes one: samples per second, and length in seconds."""

    rate: int
    duration_s: float


@runtime_checkable
class ClipLike(Protocol):
    """Picture and sound with their rates, and the times at which they begin."""

    video: Any
    audio: Any
    fps: float | None
    rate: int | None
    start_s: float
    audio_start_s: float


@styled
def clip_sheet(
    video: UInt8[np.ndarray | Tensor, "3 T H W"] | Float[np.ndarray | Tensor, "3 T H W"] | ClipLike | None,
    audio: Float[np.ndarray | Tensor, "*channel samples"] | None = None,
    *,
    fps: int | float | None = None,
    rate: int | float | None = None,
    spectrogram: Num[np.ndarray | Tensor, "*channel frames bins"] | None = None,
    title: str | None = None,
    onsets: Sequence[int | float] | None = None,
    video_start_s: int | float = 0.0,
    audio_start_s: int | float = 0.0,
) -> NotebookFigure:
    """Frames, waveform and spectrogram of a clip above one another, on one time axis in seconds.

    Each frame stands where it is seen: the one under the middle of its place in the strip.

    Args:
        video: A whole clip, as `media.read_clip` returns it, which has its sound, rates and times; or frames, bytes or
            floats in [0, 1]; ``None`` for sound alone.
        audio: Waveform in [-1, 1].
        fps: Frames per second.
        rate: Samples per second.
        spectrogram: Spectrogram to draw instead of one computed here, time before frequency, 0 to ``rate / 2``.
        title: Title of the sheet.
        onsets: Times of events in seconds: lines through waveform and spectrogram, marks below the frames.
        video_start_s: Time of the first frame on the common axis.
        audio_start_s: Time of the first sample on the common axis.

    Raises:
        ValueError: A shape or range that is not the above, nothing to draw, or rates that are not positive.
    """
    if isinstance(video, ClipLike):
        clip, video, audio, fps, rate = video, video.video, video.audio, video.fps, video.rate
        video_start_s, audio_start_s = clip.start_s, clip.audio_start_s
    if audio is None:
        raise ValueError("audio must be given, as a waveform or by the clip; got a clip without sound")
    if not (rate and rate > 0 and (video is None or (fps and fps > 0))):
        raise ValueError(f"fps and rate must be > 0; got fps={fps} and rate={rate}")
    frames = None if video is None else frames_of(video)
    wave = array(audio, "audio", 1, None)[0] if np.ndim(audio) == 2 else array(audio, "audio", None)
    if not wave.size or (frames is not None and not frames.size):
        shape = "no" if frames is None else frames.shape
        raise ValueError(f"video and audio must not be empty; got {shape} frames and {len(wave)} samples")
    sound = (audio_start_s, audio_start_s + len(wave) / rate)
    seen = (video_start_s, video_start_s + len(frames) / fps) if frames is not None and fps else sound
    start, end = min(sound[0], seen[0]), max(sound[1], seen[1])

    # The strip is as high as makes whole frames fill it; 0.75 inches are the margins of the time axis.
    inches_per_s = (SHEET_WIDTH - 0.75) / (end - start)
    strip = _Strip.fit(frames, seen, inches_per_s) if frames is not None else None
    heights = [*([strip.height] if strip else []), 0.85, 1.55]
    figure = new_figure(SHEET_WIDTH, sum(heights) + 0.75 + (0.3 if title else 0), photographic=True)
    figure.set_layout_engine("constrained", hspace=0.03, h_pad=0.04)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    rows = [add_axes(figure, grid[row]) for row in range(len(heights))]
    for row in rows[:-1]:
        row.sharex(rows[-1])
        row.tick_params(labelbottom=False, bottom=False)
    _waveform(rows[-2], wave, rate, sound[0])
    if strip:
        strip.draw(rows[0])
        if seen != sound:  # which part of the sound the picture goes with
            rows[-2].axvspan(*seen, color=VIDEO, alpha=0.09, linewidth=0, zorder=0, gid="video window")
    drawn = log_spectrogram(wave, rate) if spectrogram is None else _given(spectrogram, sound, rate)
    _spectrogram(rows[-1], drawn, sound)
    rows[-1].set(xlim=(start, end), xlabel="time (s)")
    for row in rows:
        row.spines[:].set_visible(False)
    _onsets(rows, onsets or ())
    if title:
        rows[0].set_title(title)
    return figure


@styled
def spectrograms(
    spectra: Mapping[str, Num[np.ndarray | Tensor, "frames bins"]],
    sound: SoundLike,
    *,
    columns: int | None = None,
    title: str | None = None,
) -> NotebookFigure:
    """Spectrograms side by side, with time and frequency on their axes; pitches have mel spacing.

    Args:
        spectra: Spectrogram by name, time before frequency, from 0 to half the sample rate. Each has its own colours.
        sound: The clip or the `AudioSpec` that they are of, for the axes.
        columns: Spectrograms in a row; at most four if not given.
        title: Title of the figure.

    Raises:
        ValueError: There are no spectrograms.
    """
    require_some(spectra, "spectra", "name with its spectrogram")
    columns, span = min(columns or 4, len(spectra)), (0.0, float(sound.duration_s))
    figure, axes = axes_grid(len(spectra), columns, 2.2, title, margin=0.4)
    for number, (ax, (name, values)) in enumerate(zip(axes, spectra.items(), strict=True)):
        _spectrogram(ax, _given(values, span, sound.rate), span)
        ax.set_title(name, fontsize=10, fontweight="normal", loc="center")
        ax.spines[:].set_visible(False)
        if number % columns:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        if number >= len(spectra) - columns:
            ax.set_xlabel("time (s)", fontsize=9)
    return figure


@dataclass(frozen=True)
class _Strip:
    """Frames side by side on a time axis, undistorted: ``count`` places that fill the time the video is seen."""

    frames: np.ndarray  # (T, H, W, 3)
    seen: tuple[int | float, int | float]  # seconds
    count: int
    height: int | float  # inches
    width_s: float  # of one frame on the time axis

    @classmethod
    def fit(
        cls, frames: np.ndarray, seen: tuple[int | float, int | float], inches_per_s: float, target: float = 1.05
    ) -> _Strip:
        """Choose how many frames make the strip about ``target`` inches high."""
        aspect = frames.shape[2] / frames.shape[1]
        room = (seen[1] - seen[0]) * inches_per_s
        count = int(np.clip(round(room / (target * aspect)), 1, len(frames)))
        height = min(room / count / aspect, 1.6)
        return cls(frames, seen, count, height, height * aspect / inches_per_s)

    def draw(self, ax: Axes) -> None:
        """Draw each frame centred on the time at which it is seen."""
        start, end = self.seen
        place = (end - start) / self.count
        for number in range(self.count):
            middle = start + (number + 0.5) * place
            frame = self.frames[int((number + 0.5) / self.count * len(self.frames))]
            half = 0.49 * min(self.width_s, place)  # a thin gap all round, so that the frame keeps its aspect
            ax.imshow(
                frame, extent=(middle - half, middle + half, 0.01, 0.99), aspect="auto", interpolation="antialiased"
            )
        ax.set(ylim=(0, 1), yticks=[])


def _onsets(rows: Sequence[Axes], times: Sequence[int | float]) -> None:
    """Thin lines through waveform and spectrogram. Frames are wide, so the strip only gets marks at its lower edge."""
    *strip, wave, spectrogram = rows
    for time in times:
        wave.axvline(time, color="#0a7480", linewidth=0.9, zorder=0.5, gid="onset")
        line = spectrogram.axvline(time, color="#35e0f0", linewidth=0.8, zorder=5, gid="onset")
        line.set_path_effects([patheffects.withStroke(linewidth=1.5, foreground="#05222a66")])
        for row in strip:
            row.plot([time], [-0.02], "^", color="#0a7480", markersize=5, clip_on=False, zorder=6, gid="onset")


def _waveform(ax: Axes, wave: np.ndarray, rate: int | float, start: int | float) -> None:
    """The envelope of a waveform: its least and greatest value in each of at most 1,500 columns."""
    edges = np.linspace(0, len(wave), min(1500, len(wave)) + 1).astype(int)
    low, high = np.minimum.reduceat(wave, edges[:-1]), np.maximum.reduceat(wave, edges[:-1])
    times = start + (edges[:-1] + edges[1:]) / 2 / rate
    ax.axhline(0, color=FAINT, linewidth=0.8)
    ax.fill_between(times, low, high, color=AUDIO, linewidth=0.5, gid="waveform")
    loudest = max(float(np.abs(wave).max()), 1e-3)
    ax.set(ylim=(-1.08 * loudest, 1.08 * loudest), yticks=[])
    ax.set_ylabel("waveform", fontsize=9)


def _spectrogram(ax: Axes, spectrogram: Spectrogram, sound: tuple[int | float, int | float]) -> None:
    """Colour by decibel over mel-spaced frequencies, where equal steps sound about equal."""
    times, hertz, _ = spectrogram
    top, image = hertz[-1], mel_image(spectrogram)
    half = (times[1] - times[0]) / 2 if len(times) > 1 else (sound[1] - sound[0]) / 2
    extent = (sound[0] + times[0] - half, sound[0] + times[-1] + half, 0.0, float(_mel(top)))
    ax.imshow(image, extent=extent, origin="lower", aspect="auto", cmap="magma", interpolation="bilinear")
    ax.set_facecolor("#000004")  # the darkest colour of magma, where there is no sound
    ticks = np.array([hz for hz in (0, 500, 1000, 2000, 4000, 8000, 16000) if hz <= top])
    ax.yaxis.set_major_locator(FixedLocator(list(_mel(ticks))))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda mel, _: f"{_hertz(mel) / 1000:g}"))
    ax.set_ylabel("frequency (kHz)", fontsize=9)
    ax.set_ylim(0, float(_mel(top)))


def mel_image(spectrogram: Spectrogram, rows: int = 200) -> Float[np.ndarray, "rows frames"]:
    """Decibels with the lowest frequency first and mel spacing."""
    _, hertz, decibels = spectrogram
    places = np.linspace(0, _mel(hertz[-1]), rows)
    return np.stack([np.interp(places, _mel(hertz), frame) for frame in decibels], axis=1)


def _given(spectrogram: Any, sound: tuple[int | float, int | float], rate: int | float) -> Spectrogram:
    """A spectrogram of the caller's, ``(frames, bins)`` or ``(1, frames, bins)``, with the axes it spans."""
    values = array(spectrogram, "spectrogram", *((1, None, None) if np.ndim(spectrogram) == 3 else (None, None)))
    values = values[0] if values.ndim == 3 else values
    hop = (sound[1] - sound[0]) / len(values)
    return Spectrogram((np.arange(len(values)) + 0.5) * hop, np.linspace(0, rate / 2, values.shape[1]), values)


def _mel(hertz: Any) -> Any:
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def _hertz(mel: float) -> float:
    return round(700 * (10 ** (mel / 2595) - 1), 3)
