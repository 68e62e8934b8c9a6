"""The data types of media files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from avid_lab.spans import Spans, common

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8
    from torch import Tensor

DynamicRange = Literal["SDR", "PQ", "HLG"]


class MediaError(ValueError):
    """A media file cannot be read as requested.

    Attributes:
        path: The file.
        problem: The problem.
        fix: What to do about it.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str, fix: str) -> None:
        super().__init__(f"{os.fspath(path)}: {problem}. {fix}")
        self.path, self.problem, self.fix = Path(path), problem, fix

    def __reduce__(self) -> tuple[Any, ...]:
        return MediaError, (self.path, self.problem, self.fix)  # survives the way back from a worker process


@dataclass(frozen=True)
class VideoStream:
    """The picture of a file.

    Attributes:
        codec: Codec name, or "unknown" if there is no decoder.
        width: Pixels as displayed: square, and after rotation.
        height: Pixels as displayed.
        fps: Average frames per second; None when the file does not say.
        start_s: Time of the first frame.
        duration_s: Seconds from there to the end of the last frame.
        rotation_deg: Counterclockwise turn applied for display, a multiple of 90.
        spans_s: Where frames are, half-open (begin_s, end_s); apart where none comes for 0.5 s and two frames.
        dynamic_range: "SDR", or the transfer curve of an HDR picture: "PQ" or "HLG" (ITU-R BT.2100).
        interlaced: Whether frames are made of two fields; `read_clip` then shows the first of each.
    """

    codec: str
    width: int
    height: int
    fps: float | None
    start_s: float
    duration_s: float
    rotation_deg: int
    spans_s: Spans = ()
    dynamic_range: DynamicRange = "SDR"
    interlaced: bool = False


@dataclass(frozen=True)
class AudioStream:
    """The sound of a file.

    Attributes:
        codec: Codec name, or "unknown" if there is no decoder.
        rate: Samples a second.
        channels: Channels.
        start_s: Time of the first sample.
        duration_s: Seconds from there to the end of the last sample.
        spans_s: Where samples are, half-open (begin_s, end_s); a gap of 0.5 s parts them.
    """

    codec: str
    rate: int
    channels: int
    start_s: float
    duration_s: float
    spans_s: Spans = ()


@dataclass(frozen=True)
class MediaInfo:
    """A file's best picture stream, and the best sound stream of the same programme.

    Attributes:
        path: The file.
        container: Name of its format, as FFmpeg calls it.
        duration_s: When the last of the two streams ends.
        video: The picture, or None.
        audio: The sound, or None.
        restarts: How often the file's timestamps jump back, as in recordings that were joined. What comes after a jump
            follows on here, picture and sound together.
        programmes: Programmes in the file; broadcasts hold several, others one.
    """

    path: Path
    container: str
    duration_s: float
    video: VideoStream | None
    audio: AudioStream | None
    restarts: int = 0
    programmes: int = 1

    @property
    def both_s(self) -> Spans:
        """The spans with both picture and sound; for a file with one stream, the spans of that stream."""
        if self.video is None or self.audio is None:
            return (self.video or self.audio or _NOTHING).spans_s
        return common(self.video.spans_s, self.audio.spans_s)

    @property
    def offset_s(self) -> float | None:
        """Start of the sound minus start of the picture; None if the file has only one of them."""
        return None if self.video is None or self.audio is None else self.audio.start_s - self.video.start_s


_NOTHING = AudioStream("unknown", 0, 0, 0.0, 0.0)


@dataclass(frozen=True)
class Clip:
    """A piece of a video in memory.

    Attributes:
        video: RGB frames, uint8 (3, T, H, W), or None.
        audio: Mono waveform in [-1, 1], float32 (1, samples), or None.
        fps: Frames per second of ``video``.
        rate: Samples per second of ``audio``.
        start_s: When in the file the first frame is sampled.
        audio_start_s: When in the file the first sample is taken.
        padded_frames: Frames repeated because the picture had not begun or was over.
        padded_samples: Samples of silence because the sound had not begun, was over, or had a gap.
        corrupt_packets: Damaged packets passed over while decoding; the frame before them stays on.
        video_spans_s: Where in the window there was picture, in seconds of the file, half-open.
        audio_spans_s: Where in the window there was sound.
        cancelled: Whether the channels cancel each other when averaged (stereo in antiphase), so that ``audio`` is the
            loudest of them.
    """

    video: UInt8[Tensor, "3 T H W"] | None
    audio: Float32[Tensor, "1 samples"] | None
    fps: float | None
    rate: int | None
    start_s: float = 0.0
    audio_start_s: float = 0.0
    padded_frames: int = 0
    padded_samples: int = 0
    corrupt_packets: int = 0
    video_spans_s: Spans = ()
    audio_spans_s: Spans = ()
    cancelled: bool = False

    @property
    def duration_s(self) -> float:
        """Length in seconds of the longer of picture and sound."""
        video_s = self.video.shape[1] / self.fps if self.video is not None and self.fps else 0.0
        audio_s = self.audio.shape[1] / self.rate if self.audio is not None and self.rate else 0.0
        return max(video_s, audio_s)

    def __repr__(self) -> str:
        parts = []
        if self.video is not None:
            shape = "x".join(map(str, self.video.shape))
            parts.append(f"video {shape} at {self.fps:g} fps from {self.start_s:.3f} s ({self.padded_frames} padded)")
        if self.audio is not None:
            where = f"at {self.rate} Hz from {self.audio_start_s:.3f} s ({self.padded_samples} padded)"
            parts.append(f"audio {self.audio.shape[1]} samples {where}")
        if self.cancelled:
            parts.append("one channel, since they cancel")
        if self.corrupt_packets:
            parts.append(f"{self.corrupt_packets} corrupt packets")
        return f"Clip({self.duration_s:.3f} s: {', '.join(parts)})"
