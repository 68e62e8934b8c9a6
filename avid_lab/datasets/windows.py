"""The possible windows of a file: inside the spans that have all wanted streams."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets.manifest import Record, Streams
from avid_lab.media import Clip, MediaError, probe, read_clip
from avid_lab.spans import Spans, from_text

COLUMN = "both_s"  # of a manifest: the spans in which a file has picture and sound
EXACT = "exact_rate"  # of a manifest: at this rate, sound is the same to the bit wherever decoding begins
MAX_SPANS = 16  # per clip; if there are more, the longest are used
TAIL_S = 0.1  # of picture or sound that may be missing at the end of a span
WHOLE_S = 30.0  # up to this length, the sound of a span is decoded from its beginning


def listed_spans(record: Record) -> Spans | None:
    """The spans that a manifest lists for a clip, or None.

    Raises:
        ValueError: The column does not contain spans.
    """
    text = record.extras.get(COLUMN, "")
    try:
        return from_text(text) if text else None
    except ValueError as error:
        fix = "Spreadsheets turn spans into dates: import the column as text, or make the manifest again."
        raise ValueError(f"clip {record.id!r}, column {COLUMN}: {error}. {fix}") from error


def found_spans(path: Path, streams: Streams) -> Spans:
    """The spans of a file that have all wanted streams.

    Raises:
        MediaError: The file is unusable, or it has no such spans.
    """
    info = probe(path)
    one = {"video": info.video, "audio": info.audio, "both": None}[streams]
    spans = info.both_s if one is None else one.spans_s
    if not spans:
        what = {"video": "picture", "audio": "sound", "both": "picture and sound at the same time"}[streams]
        raise MediaError(path, f"has no {what}", "Leave it out.")
    return spans


def cut(spans: Spans, seconds: float) -> Spans:
    """The first ``seconds`` of spans."""
    kept: list[tuple[float, float]] = []
    for begin_s, end_s in spans:
        if kept and seconds <= 1e-6:
            break
        kept.append((begin_s, min(end_s, begin_s + seconds)))
        seconds -= end_s - begin_s
    return tuple(kept)


def usable(spans: Spans, seconds: float) -> Spans:
    """The spans in which windows may be: those in the first ``seconds``; of very many, the longest."""
    return tuple(sorted(sorted(cut(spans, seconds), key=lambda span: span[0] - span[1])[:MAX_SPANS]))


def on_grid(start_s: float, length_s: float, unit: float | int, count: int) -> tuple[int, int]:
    """The first of ``count`` frames or samples of a span, ``unit`` a second, and how many the span has from there."""
    length = max(1, int(length_s * unit + 1e-6))
    return min(int(start_s * unit + 1e-6), max(length - count, 0)), min(count, length)


@dataclass(frozen=True)
class Part:
    """A span that was read; its clip lasts ``length_s`` seconds."""

    begin_s: float
    length_s: float
    clip: Clip


def read_parts(path: Path, spans: Spans, *, fps: float, rate: int, size: int, streams: Streams) -> list[Part]:
    """The spans of a file as clips.

    Raises:
        MediaError: The file is unusable.
    """
    parts = []
    for begin_s, end_s in spans:
        frames, samples = (max(1, int((end_s - begin_s) * unit + 1e-6)) for unit in (fps, rate))
        video = None if streams == "audio" else VideoSpec(frames, fps, size)
        audio = None if streams == "video" else AudioSpec(rate, samples / rate, frames=1, n_fft=2)
        clip = read_clip(path, begin_s, video, audio)
        # A file may be truncated or damaged: only what could be read counts. Codecs may swallow the last moment.
        missing_s = max(clip.padded_frames / fps, clip.padded_samples / rate)
        length_s = end_s - begin_s if missing_s <= TAIL_S else min(frames / fps, samples / rate) - missing_s
        parts.append(Part(begin_s, length_s, clip))
    return parts


@dataclass(frozen=True)
class Place:
    """A window: the number of its span, and the starts of picture and sound in it."""

    span: int
    video_s: float
    audio_s: float


class Places:
    """The possible places of windows of one length in one clip.

    A window is inside a span that is long enough. If none is, it starts with the longest span and is padded.

    Args:
        lengths_s: Seconds of each span.
        video_s: Seconds of picture in a window; 0 if no picture is wanted.
        audio_s: Seconds of sound in a window; 0 if no sound is wanted.
    """

    def __init__(self, lengths_s: Sequence[float], video_s: float, audio_s: float) -> None:
        self.lengths_s, self.video_s, self.audio_s = lengths_s, video_s, audio_s
        need_s = max(video_s, audio_s)
        fitting = [i for i, length_s in enumerate(lengths_s) if length_s >= need_s - 1e-6]
        self._spans = fitting or [int(np.argmax(lengths_s))]
        # Each span's share of the possible places; a span of exactly one window has almost none.
        rooms = np.array([max(lengths_s[i] - need_s, 1e-6) for i in self._spans])
        self._ends: list[float] = (np.cumsum(rooms) / rooms.sum()).tolist()

    def at(self, place: float) -> Place:
        """The window at a place in [0, 1], from the first to the last."""
        span, inside = self._inside(place)
        return Place(span, inside * self._room(span, self.video_s), inside * self._room(span, self.audio_s))

    def near(self, place: float, apart: float) -> Place:
        """A window with its sound at a place; the picture extends beyond the sound by at most half its own length."""
        span, inside = self._inside(place)
        audio_s = inside * self._room(span, self.audio_s)
        if not self.audio_s:
            return Place(span, apart * self._room(span, self.video_s), 0.0)
        video_s = audio_s - self.video_s / 2 + apart * self.audio_s
        return Place(span, min(max(video_s, 0.0), self._room(span, self.video_s)), audio_s)

    def _inside(self, place: float) -> tuple[int, float]:
        number = min(bisect_left(self._ends, place), len(self._spans) - 1)
        begin = self._ends[number - 1] if number else 0.0
        return self._spans[number], min((place - begin) / (self._ends[number] - begin), 1.0)

    def _room(self, span: int, length_s: float) -> float:
        return max(self.lengths_s[span] - length_s, 0.0)


def read_window(
    path: Path,
    span_s: tuple[float, float],
    place: Place,
    *,
    video: VideoSpec | None,
    audio: AudioSpec | None,
    exact: bool = False,
) -> dict[str, Tensor]:
    """One window of a file, to the bit what the decoded cache holds: the same frames, sound and padding.

    What an AAC decoder makes of a frame may depend on all frames before: noise that it puts in goes on from frame to
    frame. So the sound of a span is decoded from its beginning, unless the span is longer than `WHOLE_S` or the file
    has none of this.

    Args:
        path: The file.
        span_s: Begin and end of the span.
        place: The window's place in it.
        video: Format of the frames, None for no picture.
        audio: Format of the waveform, None for no sound.
        exact: The sound is the same to the bit wherever decoding begins, as in copies by `prepare`.

    Returns:
        ``video`` uint8 (3, T, H, W), channels last in memory; ``audio`` float32 (1, samples).

    Raises:
        MediaError: The file is unusable.
    """
    begin_s, length_s = span_s[0], span_s[1] - span_s[0]
    start_s, sound_s, until_s, skipped, frames, samples = begin_s, begin_s, None, 0, 0, 0
    picture = sound = None
    if video is not None:
        first, frames = on_grid(place.video_s, length_s, video.fps, video.frames)
        start_s, picture = float(begin_s + first / video.fps), replace(video, frames=frames)
    if audio is not None:
        first, samples = on_grid(place.audio_s, length_s, audio.rate, audio.samples)
        if exact or length_s > WHOLE_S:
            sound_s, count = float(begin_s + first / audio.rate), samples
        else:
            skipped, count = first, max(1, int(length_s * audio.rate + 1e-6))
            until_s = begin_s + (first + samples) / audio.rate
        sound = AudioSpec(audio.rate, count / audio.rate, frames=1, n_fft=2)
    found: dict[str, Tensor] = {}
    clip = read_clip(path, start_s, picture, sound, audio_start_s=sound_s, audio_until_s=until_s)
    if clip.video is not None:
        found["video"] = _repeat_last(clip.video, video)
    if audio is not None and clip.audio is not None:
        kept = np.rint(clip.audio[0].numpy()[skipped : skipped + samples] * 32767).astype(np.int16)
        out = np.zeros((1, audio.samples), np.float32)
        out[0, : len(kept)] = kept * np.float32(1 / 32767)
        found["audio"] = torch.from_numpy(out)
    return found


def _repeat_last(frames: Tensor, video: VideoSpec | None) -> Tensor:
    """Frames (3, T, H, W), padded with the last one."""
    count = frames.shape[1]
    if video is None or count == video.frames:
        return frames
    return frames.index_select(1, torch.arange(video.frames).clamp(max=count - 1))
