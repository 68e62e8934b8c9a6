"""Video files to tensors and back: `probe`, `read_clip`, `write_clip`. The only module that touches PyAV.

All times are seconds from the beginning of the file, the moment its first stream (picture or sound) starts: a recording
whose timestamps begin at 43,622 s begins at 0 here. Ranges are half-open. Anything wrong with a file is a `MediaError`.
"""

from __future__ import annotations

import math
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import numpy as np
import torch
from av.stream import Disposition
from jaxtyping import Float32, UInt8
from torch import Tensor

from avid_lab.config import AudioSpec, VideoSpec

PREROLL_S = (
    0.3  # sound decoded and thrown away before a window, so that codecs with memory (AAC, MP3, Opus) are settled
)
JITTER_S = 0.01  # sound frames whose timestamps are off by less than this follow each other without a gap
SKIP_MARGIN_S = 0.5  # frames that nothing refers to are not decoded when they end this long before the window


class MediaError(ValueError):
    """A file that cannot give what was asked of it.

    Attributes:
        path: The file.
        problem: What is wrong with it.
        fix: What to do about it.
    """

    def __init__(self, path: str | os.PathLike[str], problem: str, fix: str) -> None:
        super().__init__(f"{os.fspath(path)}: {problem}. {fix}")
        self.path, self.problem, self.fix = Path(path), problem, fix

    def __reduce__(self) -> tuple[Any, ...]:
        return MediaError, (self.path, self.problem, self.fix)  # survives the way back from a worker process


@dataclass(frozen=True)
class VideoStream:
    """The picture of a file, as its header tells it.

    Attributes:
        codec: Codec name, or "unknown" when no decoder is at hand.
        width: Pixels, after rotation.
        height: Pixels, after rotation.
        fps: Average frames per second; None when the file does not say.
        start_s: When the first frame is shown.
        duration_s: How long the picture lasts from there.
        rotation_deg: Counterclockwise turn applied for display, a multiple of 90.
    """

    codec: str
    width: int
    height: int
    fps: float | None
    start_s: float
    duration_s: float
    rotation_deg: int


@dataclass(frozen=True)
class AudioStream:
    """The sound of a file, as its header tells it.

    Attributes:
        codec: Codec name, or "unknown" when no decoder is at hand.
        rate: Samples a second.
        channels: Channels.
        start_s: When the first sample is heard.
        duration_s: How long the sound lasts from there.
    """

    codec: str
    rate: int
    channels: int
    start_s: float
    duration_s: float


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds: its best picture stream and its best sound stream, either of which may be missing."""

    path: Path
    container: str
    duration_s: float
    video: VideoStream | None
    audio: AudioStream | None


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
        if self.corrupt_packets:
            parts.append(f"{self.corrupt_packets} corrupt packets")
        return f"Clip({self.duration_s:.3f} s: {', '.join(parts)})"


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """What the file holds, read from its header and its first frame.

    Raises:
        MediaError: The file is missing, no media, damaged, or holds neither picture nor sound.
    """
    with _source(path) as source:
        if source.video is None and source.audio is None:
            raise MediaError(path, "holds neither picture nor sound", "Choose a video file.")
        video = audio = None
        if (stream := source.video) is not None:
            context, rate = stream.codec_context, stream.average_rate or stream.guessed_rate
            codec, width, height = (context.name, context.width, context.height) if context else ("unknown", 0, 0)
            frame = next((frame for _, frame in source.frames("video", 0.0)), None) if context else None
            if frame is not None and _orientation(frame)[0]:
                width, height = height, width
            video = VideoStream(
                codec=codec,
                width=width,
                height=height,
                fps=float(rate) if rate else None,
                start_s=source.begin_s("video"),
                duration_s=source.duration_s("video"),
                rotation_deg=frame.rotation if frame is not None else 0,
            )
        if (stream := source.audio) is not None:
            context = stream.codec_context
            codec, rate, channels = (
                (context.name, context.sample_rate, context.channels) if context else ("unknown", 0, 0)
            )
            audio = AudioStream(codec, rate, channels, source.begin_s("audio"), source.duration_s("audio"))
        end_s = max(stream.start_s + stream.duration_s for stream in (video, audio) if stream is not None)
        return MediaInfo(Path(path), source.container.format.name, end_s, video, audio)


def read_clip(
    path: str | os.PathLike[str],
    start_s: float,
    video: VideoSpec | None,
    audio: AudioSpec | None,
    *,
    audio_start_s: float | None = None,
) -> Clip:
    """Reads one clip: exactly the frames and samples that the specs ask for, picture and sound on one clock.

    Frame i is the one on screen at ``start_s + i / fps``: the last whose timestamp is not later. Before the first frame
    the first is repeated, after the last the last; where there is no sound there is silence; the clip counts both.

    Args:
        path: Any file that FFmpeg decodes.
        start_s: Seconds from the beginning of the file at which the picture (and by default the sound) starts, >= 0.
        video: Frames wanted, or None for no picture.
        audio: Waveform wanted, or None for no sound.
        audio_start_s: Where the sound starts, if not at ``start_s``.

    Raises:
        MediaError: The file is unusable, has no stream of a kind that is wanted, or is over before ``start_s``.
        ValueError: Neither picture nor sound is wanted, or a start is negative or not finite.
    """
    audio_start_s = start_s if audio_start_s is None else audio_start_s
    if video is None and audio is None:
        raise ValueError("read_clip needs a VideoSpec, an AudioSpec or both; got neither")
    for name, value in (("start_s", start_s), ("audio_start_s", audio_start_s)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and >= 0 seconds; got {value!r}")
    picture = sound = None
    padded_frames = padded_samples = 0
    over = []  # per kind wanted: (where decoding ended, where the clip starts)
    with _source(path) as source:
        if video is not None:
            picture, padded_frames, end_s = _read_video(source, start_s, video)
            over.append((end_s, start_s))
        if audio is not None:
            sound, padded_samples, end_s = _read_audio(source, audio_start_s, audio)
            over.append((end_s, audio_start_s))
        if all(end_s <= begin_s for end_s, begin_s in over):
            end_s, begin_s = max(over)
            problem = (
                f"is over before the clip begins: it decodes up to {end_s:.3f} s, the clip starts at {begin_s:.3f} s"
            )
            raise MediaError(
                path, problem, "Choose an earlier start; if it should be longer, it is truncated: get it again."
            )
        return Clip(
            video=picture,
            audio=sound,
            fps=None if video is None else float(video.fps),
            rate=None if audio is None else audio.rate,
            start_s=float(start_s),
            audio_start_s=float(audio_start_s),
            padded_frames=padded_frames,
            padded_samples=padded_samples,
            corrupt_packets=source.corrupt_packets,
        )


def write_clip(
    path: str | os.PathLike[str],
    clip: Clip,
    *,
    crf: int = 23,
    preset: str = "veryfast",
    audio_kbps: int = 64,
    keyframe_s: float = 2.0,
) -> Path:
    """Writes a clip as H.264 + AAC in an mp4 that browsers play and seek, whole or not at all.

    The file is written beside its destination under a temporary name and renamed when complete. Encoding takes one
    thread, so that the same clip, settings and library versions give the same file.

    Args:
        path: Destination; its folder is made if need be.
        clip: Picture (even width and height), sound, or both.
        crf: Constant quality of the picture, 0 (lossless) to 51.
        preset: x264's trade of time for size.
        audio_kbps: AAC bit rate.
        keyframe_s: Longest distance between two points that a player can seek to.

    Raises:
        ValueError: The clip is empty, has an odd side, or a sample rate that AAC does not know.
    """
    path = Path(path)
    picture = (
        None if clip.video is None else np.ascontiguousarray(clip.video.permute(1, 2, 3, 0).numpy())
    )  # (T, H, W, 3)
    sound = None if clip.audio is None else np.ascontiguousarray(clip.audio.numpy())  # (1, samples)
    if (picture is None or not clip.fps or not picture.size) and (sound is None or not clip.rate or not sound.size):
        raise ValueError("write_clip needs a clip with frames and fps, or samples and rate; got an empty one")
    if picture is not None and (picture.shape[1] % 2 or picture.shape[2] % 2):
        raise ValueError(
            f"H.264 needs an even height and width; got {picture.shape[1]}x{picture.shape[2]}. Crop a row or a column."
        )
    if sound is not None and clip.rate not in _aac_rates():
        raise ValueError(f"AAC has no sample rate {clip.rate}; resample to one of {_aac_rates()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with av.open(str(temporary.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            streams: list[tuple[Any, Iterator[Any]]] = []
            if picture is not None and clip.fps:
                fps = Fraction(clip.fps).limit_denominator(100_000)
                options = {
                    "preset": preset,
                    "crf": str(crf),
                    "threads": "1",
                    "g": str(max(1, round(keyframe_s * clip.fps))),
                }
                stream: Any = container.add_stream("libx264", rate=fps, options=options)
                stream.height, stream.width, stream.pix_fmt = picture.shape[1], picture.shape[2], "yuv420p"
                streams.append((stream, _video_frames(picture, fps)))
            if sound is not None and clip.rate:
                stream = container.add_stream(
                    "aac", rate=clip.rate, layout="mono", options={"aac_coder": "fast", "b": str(audio_kbps * 1000)}
                )
                streams.append((stream, _audio_frames(sound, clip.rate)))
            for stream, frames in streams:
                for frame in frames:
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _video_frames(picture: np.ndarray, fps: Fraction) -> Iterator[av.VideoFrame]:
    for index, image in enumerate(picture):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = index, 1 / fps
        yield frame


def _audio_frames(sound: np.ndarray, rate: int) -> Iterator[av.AudioFrame]:
    frame = av.AudioFrame.from_ndarray(sound.astype(np.float32).clip(-1, 1), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    yield frame


def _aac_rates() -> tuple[int, ...]:
    return 96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350


# ---- decoding


class _Source:
    """An open file: its best streams, its clock, and its frames from any moment on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.corrupt_packets = 0
        self.last_error: av.error.FFmpegError | None = None
        self._open()
        self.origin_s = min(
            (s.start_time * s.time_base for s in (self.video, self.audio) if s and s.start_time is not None), default=0
        )

    def _open(self) -> None:
        # An absolute path is never taken for a protocol or an option, whatever the file is called.
        self.container = av.open(str(self.path.absolute()), metadata_errors="replace")
        self.video, self.audio = self._best("video"), self._best("audio")
        self.untouched = True
        for stream in (self.video, self.audio):
            if stream and stream.codec_context:
                stream.codec_context.thread_count = 1  # whoever reads many files reads one on each core

    def _best(self, kind: Literal["video", "audio"]) -> Any:
        streams = getattr(
            self.container.streams, kind
        )  # the best is one with a decoder; where none has, name the first
        stream = self.container.streams.best(kind) or next(iter(streams), None)
        return None if stream and stream.disposition & Disposition.attached_pic else stream  # cover art is no picture

    def close(self) -> None:
        self.container.close()

    def check(self, kind: Literal["video", "audio"]) -> None:
        """Raises where the file has no such stream or no decoder for it."""
        stream = getattr(self, kind)
        if stream is None:
            raise MediaError(
                self.path, f"has no {kind} stream", f"Choose a file that has one, or read it without {kind}."
            )
        if stream.codec_context is None:
            raise MediaError(
                self.path,
                f"no decoder for its {kind} (FFmpeg {av.ffmpeg_version_info})",
                "Re-encode it as H.264 + AAC.",
            )

    def begin_s(self, kind: Literal["video", "audio"]) -> float:
        """When a stream starts."""
        stream = getattr(self, kind)
        return float(stream.start_time * stream.time_base - self.origin_s) if stream.start_time is not None else 0.0

    def duration_s(self, kind: Literal["video", "audio"]) -> float:
        """How long a stream lasts; a scan of its packets where the header does not tell."""
        stream = getattr(self, kind)
        begin_s = end_s = self.begin_s(kind)
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        if self.container.duration is not None:
            return max(0.0, self.container.duration / av.time_base - begin_s)
        self._rewind()
        for packet in self.container.demux(getattr(self, kind)):
            if packet.pts is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base - self.origin_s))
        return end_s - begin_s

    def frames(self, kind: Literal["video", "audio"], start_s: float) -> Iterator[tuple[float, Any]]:
        """Frames in order with the second each is shown at; the first is at or before ``start_s`` if any is."""
        first = None
        for lead_s in (
            0.0,
            2.0,
            math.inf,
        ):  # seeking is not exact in every format: look further back until it was far enough
            self._seek(kind, start_s - lead_s)
            frames = self._decode(kind, skip_until_s=start_s)
            first = next(frames, None)
            if first is not None and first[0] <= max(start_s, self.begin_s(kind)) + 1e-3:
                break
        if first is not None:
            yield first
            yield from frames

    def _seek(self, kind: Literal["video", "audio"], start_s: float) -> None:
        stream = getattr(self, kind)
        if start_s > self.begin_s(kind):
            try:
                self.container.seek(math.floor((Fraction(start_s) + self.origin_s) / stream.time_base), stream=stream)
                self.untouched = False
                return
            except av.error.FFmpegError as error:  # a format that cannot seek is read from its beginning
                self.last_error = error
        self._rewind()

    def _rewind(self) -> None:
        if not self.untouched:  # a fresh container, because not every format can seek to its beginning
            self.container.close()
            self._open()

    def _decode(self, kind: Literal["video", "audio"], skip_until_s: float) -> Iterator[tuple[float, Any]]:
        stream = getattr(self, kind)
        self.untouched = False
        expected_s = self.begin_s(kind)
        packets = self.container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if kind == "video":
                    stream.codec_context.skip_frame = "NONREF" if self._ends_before(packet, skip_until_s) else "DEFAULT"
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:  # as players do, go on after a damaged packet; the clip counts them
                self.corrupt_packets += 1
                self.last_error = error
                continue
            for frame in frames:
                time_s = expected_s if frame.pts is None else float(frame.pts * frame.time_base - self.origin_s)
                expected_s = time_s + self.frame_s(stream, frame)
                yield time_s, frame

    def _ends_before(self, packet: Any, second: float) -> bool:
        if packet.pts is None or not packet.duration:
            return False
        begin_s = float(packet.pts * packet.time_base - self.origin_s)
        return begin_s + max(SKIP_MARGIN_S, float(packet.duration * packet.time_base)) <= second

    def frame_s(self, stream: Any, frame: Any) -> float:
        """How long a frame lasts."""
        if isinstance(frame, av.AudioFrame):
            return frame.samples / frame.sample_rate
        if frame.duration:
            return float(frame.duration * frame.time_base)
        rate = stream.average_rate or stream.guessed_rate
        return float(1 / rate) if rate else 0.04


@contextmanager
def _source(path: str | os.PathLike[str]) -> Iterator[_Source]:
    """Opens a file and turns whatever FFmpeg says about it into a `MediaError`."""
    path = Path(path)
    if not path.exists():
        raise MediaError(path, "no such file", "Check the path.")
    if not path.is_file():
        raise MediaError(path, "is a folder or a device, not a file", "Give the path of one video file.")
    if path.stat().st_size == 0:
        raise MediaError(path, "is empty (0 bytes)", "Download or copy it again.")
    source = None
    try:
        source = _Source(path)
        yield source
    except av.error.FFmpegError as error:
        raise MediaError(
            path,
            f"cannot be read as a video ({_reason(error)})",
            "It is damaged or no media: get it again, or leave it out.",
        ) from error
    finally:
        if source is not None:
            source.close()


def _reason(error: av.error.FFmpegError | None) -> str:
    return "nothing decodable" if error is None else f"FFmpeg: {error.strerror}"


def _read_video(source: _Source, start_s: float, spec: VideoSpec) -> tuple[Tensor, int, float]:
    """The frames wanted, how many of them are padding, and where decoding ended."""
    source.check("video")
    # Timestamps are rounded to the file's tick (1 ms in Matroska), so a frame may seem to come half a tick late.
    tolerance_s = min(float(source.video.time_base) / 2, 5e-4) + 1e-6
    instants = [start_s + i / spec.fps for i in range(spec.frames)]
    images: list[np.ndarray] = []
    padded = 0
    shown, image = None, None
    end_s = 0.0
    for time_s, frame in source.frames("video", start_s):
        while shown is not None and len(images) < spec.frames and time_s > instants[len(images)] + tolerance_s:
            image = _rgb(shown, source.video, spec.size) if image is None else image
            images.append(image)
        if len(images) == spec.frames:
            break
        if shown is None:
            padded = sum(time_s > instant + tolerance_s for instant in instants)
        shown, image = frame, None
        end_s = time_s + source.frame_s(source.video, frame)
    else:
        padded += sum(instant >= end_s for instant in instants[len(images) :])
    if shown is None:
        problem = f"not one frame of its video can be decoded ({_reason(source.last_error)})"
        raise MediaError(source.path, problem, "It is damaged or empty: get it again, or leave it out.")
    if len(images) < spec.frames:
        image = _rgb(shown, source.video, spec.size) if image is None else image
        images += [image] * (spec.frames - len(images))
    return torch.from_numpy(np.stack(images)).permute(3, 0, 1, 2), padded, end_s  # (T, H, W, 3) in memory


def _rgb(frame: av.VideoFrame, stream: Any, size: int | None) -> np.ndarray:
    """A frame as RGB (H, W, 3), upright, its shorter side scaled to ``size`` and the centre cut out."""
    width, height = frame.width, frame.height
    if size is not None:
        pixel_aspect = float(stream.sample_aspect_ratio or 1)
        display_width = width * pixel_aspect if 0.1 < pixel_aspect < 10 else width
        scale = size / min(display_width, height)
        width, height = max(size, round(display_width * scale)), max(size, round(height * scale))
    frame_rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
    image = frame_rgb.to_ndarray()
    if size is not None:
        top, left = (height - size) // 2, (width - size) // 2
        image = image[top : top + size, left : left + size]
    transposed, flip_x, flip_y = _orientation(frame)
    image = image.transpose(1, 0, 2) if transposed else image
    return image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """What the frame's display matrix asks for: swap the axes, then mirror left-right, then upside down."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV cannot list side data of a kind that it does not know; the angle is read without it
        return {90: (True, False, True), -90: (True, True, False), 180: (False, True, True)}.get(
            frame.rotation, (False, False, False)
        )
    if matrix is None:
        return False, False, False
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))  # x' = a x + c y, y' = b x + d y
    transposed = abs(b) > abs(a)
    return (transposed, c < 0, b < 0) if transposed else (transposed, a < 0, d < 0)


def _read_audio(source: _Source, start_s: float, spec: AudioSpec) -> tuple[Tensor, int, float]:
    """The samples wanted, how many of them are silence put in, and where decoding ended."""
    source.check("audio")
    sound = np.zeros(spec.samples, np.float32)
    covered = np.zeros(spec.samples, bool)
    stop_s = start_s + spec.samples / spec.rate
    run: list[av.AudioFrame] = []  # frames that follow each other without a gap
    run_s = end_s = 0.0

    def place() -> None:
        samples = _mono(run, spec.rate)
        offset = round((run_s - start_s) * spec.rate)
        begin, end = max(offset, 0), min(offset + len(samples), spec.samples)
        if begin < end:
            sound[begin:end] = samples[begin - offset : end - offset]
            covered[begin:end] = True

    decoded = False
    for time_s, frame in source.frames("audio", start_s - PREROLL_S):
        decoded = True
        if time_s >= stop_s:
            end_s = max(end_s, time_s)
            break
        same = run and (frame.format.name, frame.layout.name, frame.rate) == (
            run[0].format.name,
            run[0].layout.name,
            run[0].rate,
        )
        if run and not (same and abs(time_s - end_s) < JITTER_S):
            place()
            run = []
        if not run:
            run_s = end_s = time_s
        run.append(frame)
        end_s += frame.samples / frame.sample_rate
    if not decoded:
        problem = f"not one sample of its audio can be decoded ({_reason(source.last_error)})"
        raise MediaError(source.path, problem, "It is damaged or empty: get it again, or leave it out.")
    if run:
        place()
    return torch.from_numpy(sound)[None], int((~covered).sum()), end_s


def _mono(frames: list[av.AudioFrame], rate: int) -> np.ndarray:
    """Consecutive frames as one waveform (samples,) in [-1, 1] at ``rate``."""
    # Without the limit, two equal channels would add up to 1.41 times either.
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate, options={"rematrix_maxval": "1.0"})
    pieces = []
    for frame in [*frames, None]:
        if frame is not None:
            frame.pts = None  # the samples follow each other; rounded timestamps would only disturb
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return np.nan_to_num(np.concatenate(pieces)).clip(-1, 1)
