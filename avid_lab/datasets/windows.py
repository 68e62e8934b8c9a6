"""The possible windows of a file: inside the spans that have all wanted streams."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets.manifest import Record, Streams
from avid_lab.media import Clip, MediaError, probe, read_clip
from avid_lab.spans import Spans, from_text

COLUMN = "both_s"  # of a manifest: the spans in which a file has picture and sound


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
        if seconds <= 1e-6:
            break
        kept.append((begin_s, min(end_s, begin_s + seconds)))
        seconds -= end_s - begin_s
    return tuple(kept)


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
        # A file may be truncated or damaged: only what could be read counts.
        lengths_s = [end_s - begin_s]
        if clip.video is not None:
            lengths_s.append((frames - clip.padded_frames) / fps if clip.padded_frames else end_s - begin_s)
        if clip.audio is not None:
            lengths_s.append((samples - clip.padded_samples) / rate if clip.padded_samples else end_s - begin_s)
        parts.append(Part(begin_s, min(lengths_s), clip))
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
