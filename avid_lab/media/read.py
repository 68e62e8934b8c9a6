"""Media files to clips."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import torch
from torch import Tensor

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.media.source import Source, open_source
from avid_lab.media.types import AudioStream, Clip, MediaError, MediaInfo, VideoStream

Image = TypeVar("Image")  # what a frame is converted to

PREROLL_S = (
    0.3  # sound decoded and thrown away before a window, so that codecs with memory (AAC, MP3, Opus) are settled
)
JITTER_S = 0.02  # sound frames follow each other unless timestamps are off by this much (Vorbis is, by 10 ms)
PHASES = 2048  # how finely the resampled grid is laid on the wanted one


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """What the file holds, read from its header and its first frame.

    Raises:
        MediaError: The file is missing, no media, damaged, or holds neither picture nor sound.
    """
    with open_source(path) as source:
        if source.video is None and source.audio is None:
            raise MediaError(path, "holds neither picture nor sound", "Choose a video file.")
        video = None if source.video is None else _video_stream(source)
        audio = None if source.audio is None else _audio_stream(source)
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
    start_s = float(start_s)
    audio_start_s = start_s if audio_start_s is None else float(audio_start_s)
    if video is None and audio is None:
        raise ValueError("read_clip needs a VideoSpec, an AudioSpec or both; got neither")
    for name, value in (("start_s", start_s), ("audio_start_s", audio_start_s)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and >= 0 seconds; got {value!r}")
    picture = sound = None
    padded_frames = padded_samples = 0
    over = []  # per kind wanted: (where decoding ended, where the clip starts)
    with open_source(path) as source:
        if video is not None:
            picture, padded_frames, end_s = _read_video(source, start_s, video)
            over.append((end_s, start_s))
        if audio is not None:
            sound, padded_samples, end_s = _read_audio(source, audio_start_s, audio)
            over.append((end_s, audio_start_s))
        if all(end_s <= begin_s for end_s, begin_s in over):
            end_s, begin_s = max(over)
            problem = f"is over at {end_s:.3f} s, as far as it decodes; the clip starts at {begin_s:.3f} s"
            fix = "Choose an earlier start; if it should be longer, it is truncated: get it again."
            raise MediaError(path, problem, fix)
        return Clip(
            video=picture,
            audio=sound,
            fps=None if video is None else float(video.fps),
            rate=None if audio is None else audio.rate,
            start_s=start_s,
            audio_start_s=audio_start_s,
            padded_frames=padded_frames,
            padded_samples=padded_samples,
            corrupt_packets=source.corrupt_packets,
        )


def _video_stream(source: Source) -> VideoStream:
    context, rate = source.video.codec_context, source.video.average_rate or source.video.guessed_rate
    width, height, rotation_deg = (context.width, context.height, 0) if context else (0, 0, 0)
    frame = next((frame for _, frame in source.frames("video", 0.0)), None) if context else None
    if frame is not None:
        transposed, _, _ = _orientation(frame)
        width, height = (height, width) if transposed else (width, height)
        rotation_deg = frame.rotation
    return VideoStream(
        codec=context.name if context else "unknown",
        width=width,
        height=height,
        fps=float(rate) if rate else None,
        start_s=source.begin_s("video"),
        duration_s=source.duration_s("video"),
        rotation_deg=rotation_deg,
    )


def _audio_stream(source: Source) -> AudioStream:
    context = source.audio.codec_context
    return AudioStream(
        codec=context.name if context else "unknown",
        rate=context.sample_rate if context else 0,
        channels=context.channels if context else 0,
        start_s=source.begin_s("audio"),
        duration_s=source.duration_s("audio"),
    )


def _read_video(source: Source, start_s: float, spec: VideoSpec) -> tuple[Tensor, int, float]:
    """The frames wanted, how many of them are padding, and up to where there is picture."""
    images, padded, end_s = read_frames(source, start_s, spec, lambda frame: _rgb(frame, source.video, spec.size))
    return torch.from_numpy(np.stack(images)).permute(3, 0, 1, 2), padded, end_s  # (T, H, W, 3) in memory


def read_frames(
    source: Source, start_s: float, spec: VideoSpec, convert: Callable[[av.VideoFrame], Image]
) -> tuple[list[Image], int, float]:
    """The frames wanted as ``convert`` makes them, how many of them are padding, and up to where there is picture."""
    source.check("video")
    # Timestamps are rounded to the file's tick (1 ms in Matroska), so a frame may seem to come half a tick late.
    tolerance_s = min(float(source.video.time_base) / 2, 5e-4) + 1e-6
    instants_s = [start_s + i / spec.fps for i in range(spec.frames)]
    images: list[Image] = []
    padded = 0
    shown, shown_s, end_s = None, 0.0, 0.0
    for time_s, frame in source.frames("video", start_s):
        until = sum(
            instant_s < time_s - tolerance_s for instant_s in instants_s
        )  # instants at which it is not yet there
        if shown is None:
            padded += until
        elif until > len(images):
            images += [convert(shown)] * (until - len(images))
        if len(images) == spec.frames:
            end_s = time_s
            break
        shown, shown_s = frame, time_s
    if shown is None:
        raise source.nothing_decoded("video")
    end_s = max(end_s, shown_s + source.frame_s("video", shown))
    padded += sum(instant_s >= end_s for instant_s in instants_s[len(images) :])
    if len(images) < spec.frames:
        images += [convert(shown)] * (spec.frames - len(images))
    return images, padded, end_s


def _rgb(frame: av.VideoFrame, stream: Any, size: int | None) -> np.ndarray:
    """A frame as RGB (H, W, 3), upright, its shorter side scaled to ``size`` and the centre cut out."""
    width, height = frame.width, frame.height
    if size is not None:
        pixel_aspect = float(stream.sample_aspect_ratio or 1)
        shown_width = width * pixel_aspect if 0.1 < pixel_aspect < 10 else width
        scale = size / min(shown_width, height)
        width, height = max(size, round(shown_width * scale)), max(size, round(height * scale))
    image = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", threads=1).to_ndarray()
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
    except ValueError:  # PyAV cannot list side data of a kind that it does not know; it still tells the angle
        turns = {90: (True, False, True), -90: (True, True, False), 180: (False, True, True)}
        return turns.get(frame.rotation, (False, False, False))
    if matrix is None:
        return False, False, False
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))  # x' = a x + c y, y' = b x + d y
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)


def _read_audio(source: Source, start_s: float, spec: AudioSpec) -> tuple[Tensor, int, float]:
    """The samples wanted, how many of them are silence put in, and up to where there is sound."""
    source.check("audio")
    sound = np.zeros(spec.samples, np.float32)
    covered = np.zeros(spec.samples, bool)
    stop_s = start_s + spec.samples / spec.rate
    end_s = None
    for run_s, frames in _runs(source, start_s - PREROLL_S, stop_s):
        end_s = run_s + sum(frame.samples for frame in frames) / frames[0].sample_rate
        begin = max(0, math.ceil((run_s - start_s) * spec.rate - 1e-3))  # the first sample wanted that the run covers
        if begin < spec.samples:
            samples = _mono(frames, spec.rate, start_s + begin / spec.rate - run_s)[: spec.samples - begin]
            sound[begin : begin + len(samples)] = samples
            covered[begin : begin + len(samples)] = True
    if end_s is None:
        raise source.nothing_decoded("audio")
    return torch.from_numpy(sound)[None], int((~covered).sum()), end_s


def _runs(source: Source, from_s: float, stop_s: float) -> Iterator[tuple[float, list[av.AudioFrame]]]:
    """Stretches of frames of one format that follow each other without a gap, with the second each stretch begins."""
    run: list[av.AudioFrame] = []
    kind = None
    begin_s = length_s = 0.0
    for time_s, frame in source.frames("audio", from_s):
        before, kind = kind, (frame.format.name, frame.layout.name, frame.sample_rate)
        if run and not (kind == before and abs(time_s - length_s - begin_s) < JITTER_S):
            yield begin_s, run
            run, begin_s, length_s = [], 0.0, 0.0
        run.append(frame)
        begin_s += (time_s - length_s - begin_s) / len(run)  # the mean of what each frame says: they may be rounded
        length_s += frame.samples / frame.sample_rate
        if time_s >= stop_s:
            break
    if run:
        yield begin_s, run


def _mono(frames: list[av.AudioFrame], rate: int, at_s: float) -> np.ndarray:
    """Consecutive frames as one waveform (samples,) in [-1, 1], from ``at_s`` seconds after their beginning on."""
    own_rate = frames[0].sample_rate
    # Without the limit, two equal channels would add up to 1.41 times either.
    sound = _convert(frames, av.AudioResampler("fltp", "mono", own_rate, options={"rematrix_maxval": "1.0"}))
    sound = np.nan_to_num(sound)
    lead = 0
    if own_rate != rate:
        # Silence put before it lays the resampled grid on the wanted one, to a fraction of a sample.
        leads = np.arange(min(own_rate // math.gcd(own_rate, rate), PHASES))
        place = (at_s + leads / own_rate) * rate
        lead = int(np.abs(place - place.round()).argmin())
        frame = av.AudioFrame.from_ndarray(np.pad(sound, (lead, 0))[None], "fltp", "mono")
        frame.sample_rate = own_rate
        sound = _convert([frame], av.AudioResampler("fltp", "mono", rate))
    return sound[round((at_s + lead / own_rate) * rate) :].clip(-1, 1)


def _convert(frames: list[av.AudioFrame], resampler: av.AudioResampler) -> np.ndarray:
    whole = av.AudioFifo()
    for frame in [*frames, None]:
        if frame is not None:
            frame.pts = None  # the samples follow each other; rounded timestamps would only disturb
        for piece in resampler.resample(frame):
            if piece is not None:
                piece.pts = None
                whole.write(piece)
    sound = whole.read()
    return np.zeros(0, np.float32) if sound is None else sound.to_ndarray()[0]
