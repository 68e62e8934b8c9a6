"""Media files to clips."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.media.clock import GAP_S
from avid_lab.media.picture import Turn, displayed_size, dynamic_range, orientation, upright
from avid_lab.media.source import Source, open_source
from avid_lab.media.types import AudioStream, Clip, MediaError, MediaInfo, VideoStream
from avid_lab.spans import Spans, common, joined

PREROLL_S = 0.3  # sound decoded and discarded before a window, so that codecs with memory (AAC, MP3, Opus) settle
SETTLED_S = 0.1  # sound decoded after the last moment wanted, so that a resampler does not taper off before it
CANCELLED = 0.1  # channels cancel if their average has less than this share of their mean level (-20 dB)
JITTER_S = 0.02  # sound frames follow each other unless timestamps are off by this much (Vorbis is, by 10 ms)
PHASES = 2048  # precision of the resampled grid's position


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """What the file holds, and where in it picture and sound really are.

    All packets are read (a few milliseconds for a clip, as long as reading takes for a film), but only the first frame
    is decoded.

    Raises:
        MediaError: The file is missing, not a media file, damaged, or has neither picture nor sound.
    """
    with open_source(path) as source:
        return describe(source)


def describe(source: Source) -> MediaInfo:
    """As `probe`, of an open file."""
    if source.video is None and source.audio is None:
        raise MediaError(source.path, "has neither picture nor sound", "Choose a video file.")
    source.scan()
    video = None if source.video is None else _video_stream(source)
    audio = None if source.audio is None else _audio_stream(source)
    end_s = max(stream.start_s + stream.duration_s for stream in (video, audio) if stream is not None)
    container, restarts = source.container.format.name, source.clock.restarts
    return MediaInfo(source.path, container, end_s, video, audio, restarts, source.programmes)


def read_clip(
    path: str | os.PathLike[str],
    start_s: float,
    video: VideoSpec | None,
    audio: AudioSpec | None,
    *,
    audio_start_s: float | None = None,
    audio_until_s: float | None = None,
    short_side: int | None = None,
) -> Clip:
    """Reads one clip: exactly the frames and samples that the specs ask for, picture and sound on one clock.

    Frame i is the one on screen at ``start_s + i / fps``: the last whose timestamp is not later. Before the first frame
    the first is repeated, after the last the last; where there is no sound there is silence; the clip counts both.
    Pictures are as shown: upright, of square pixels, HDR as SDR, of interlaced frames the first field. Each is scaled
    as it is decoded, so memory holds the clip that is asked for and only a few frames of the file's size.

    Args:
        path: Any file that FFmpeg decodes.
        start_s: Seconds from the beginning of the file at which the picture (and by default the sound) starts, >= 0.
        video: Format of the frames, or None for no picture.
        audio: Format of the waveform, or None for no sound.
        audio_start_s: Where the sound starts, if not at ``start_s``.
        audio_until_s: Up to where the sound is wanted, if not to its end: what follows may be left silent.
        short_side: Where ``video.size`` is None: frames keep their aspect and are made smaller until their shorter side
            is at most this; both sides are even then.

    Raises:
        MediaError: The file is unusable, lacks a wanted stream, or ends before ``start_s``.
        ValueError: Both specs are None, or a start is negative or not finite.
    """
    start_s = float(start_s)
    audio_start_s = start_s if audio_start_s is None else float(audio_start_s)
    if video is None and audio is None:
        raise ValueError("read_clip needs a VideoSpec, an AudioSpec or both; got neither")
    for name, value in (("start_s", start_s), ("audio_start_s", audio_start_s)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and >= 0 seconds; got {value!r}")
    if short_side is not None and (short_side < 2 or (video and video.size is not None)):
        raise ValueError(f"short_side must be >= 2 pixels, for a VideoSpec of size=None; got {short_side} for {video}")
    import torch  # imported here: the index reads files without it, and it takes a third of a gigabyte

    picture = sound = None
    over = []  # per kind wanted: (where decoding ended, where the clip starts)
    with open_source(path) as source:
        if video is not None:
            picture = read_images(source, start_s, video, short_side)
            over.append((picture.end_s, start_s))
        if audio is not None:
            sound = read_sound(source, audio_start_s, audio, audio_until_s)
            over.append((sound.end_s, audio_start_s))
        if all(end_s <= begin_s for end_s, begin_s in over):
            raise is_over(source, *max(over))
        return Clip(
            # Channels are last in memory: (T, H, W, 3).
            video=None if picture is None else torch.from_numpy(picture.images).permute(3, 0, 1, 2),
            audio=None if sound is None else torch.from_numpy(sound.samples)[None],
            fps=None if video is None else float(video.fps),
            rate=None if audio is None else audio.rate,
            start_s=start_s,
            audio_start_s=audio_start_s,
            padded_frames=0 if picture is None else picture.padded,
            padded_samples=0 if sound is None else sound.padded,
            corrupt_packets=source.corrupt_packets,
            video_spans_s=() if picture is None else picture.spans,
            audio_spans_s=() if sound is None else sound.spans,
            cancelled=sound is not None and sound.cancelled,
        )


def is_over(source: Source, end_s: float, start_s: float) -> MediaError:
    """The error for a clip that starts where nothing is left."""
    problem = f"is over at {end_s:.3f} s, as far as it decodes; the clip starts at {start_s:.3f} s"
    fix = "Choose an earlier start. If the file should be longer, it is truncated: download or copy it again."
    return MediaError(source.path, problem, fix)


def _video_stream(source: Source) -> VideoStream:
    context, rate = source.video.codec_context, source.rate
    width, height, rotation_deg, frame = 0, 0, 0, source.first_frame
    if context:
        width, height = displayed_size(context.width, context.height, source.video)
    if frame is not None:
        transposed, _, _ = orientation(frame)
        width, height = (height, width) if transposed else (width, height)
        rotation_deg = 90 * round(frame.rotation / 90)  # as the frames are turned
    begin_s, length_s = _extent(source.clock.spans["video"])
    return VideoStream(
        codec=context.name if context else "unknown",
        width=width,
        height=height,
        fps=float(rate) if rate else None,
        start_s=begin_s,
        duration_s=length_s,
        rotation_deg=rotation_deg,
        spans_s=source.clock.spans["video"],
        dynamic_range=dynamic_range(frame or context),
        interlaced=frame is not None and frame.interlaced_frame,
    )


def _audio_stream(source: Source) -> AudioStream:
    context = source.audio.codec_context
    begin_s, length_s = _extent(source.clock.spans["audio"])
    return AudioStream(
        codec=context.name if context else "unknown",
        rate=context.sample_rate if context else 0,
        channels=context.channels if context else 0,
        start_s=begin_s,
        duration_s=length_s,
        spans_s=source.clock.spans["audio"],
    )


def _extent(spans: Spans) -> tuple[float, float]:
    return (spans[0][0], spans[-1][1] - spans[0][0]) if spans else (0.0, 0.0)


@dataclass
class Picture:
    """The frames wanted, as they were converted.

    Attributes:
        images: (T, ...), one for each instant.
        padded: How many of them are repeated because the picture had not begun or was over.
        spans: Where in the window there is picture.
        end_s: Up to where there is picture.
    """

    images: np.ndarray
    padded: int
    spans: Spans
    end_s: float


def read_images(source: Source, start_s: float, spec: VideoSpec, short_side: int | None = None) -> Picture:
    """The frames wanted as RGB (T, H, W, 3), uint8; see `read_clip`."""
    turns: dict[int, Turn] = {}

    def shown(frame: av.VideoFrame, like: tuple[int, ...] | None) -> np.ndarray:
        if frame.rotation not in turns:
            turns[frame.rotation] = orientation(frame)
        return upright(frame, source.video, spec.size, short_side, like, turns[frame.rotation])

    return read_frames(source, start_s, spec, shown)


def read_frames(
    source: Source,
    start_s: float,
    spec: VideoSpec,
    convert: Callable[[av.VideoFrame, tuple[int, ...] | None], np.ndarray],
) -> Picture:
    """The frames wanted, each converted as soon as it is decoded, so that only small ones are kept.

    Args:
        source: The file.
        start_s: When the first is wanted.
        spec: Frames wanted; ``size`` is not used.
        convert: Makes an array of a frame, of the shape given; of the first, of any shape.
    """
    source.check("video")
    # Timestamps are rounded to the file's tick (1 ms in Matroska), so a frame may seem to come half a tick late.
    tolerance_s = min(float(source.video.time_base) / 2, 5e-4) + 1e-6
    instants_s = [start_s + i / spec.fps for i in range(spec.frames)]
    images: np.ndarray | None = None
    pieces: list[tuple[float, float]] = []
    longest_s = max(GAP_S, 2 * source.typical_s)
    done = padded = 0
    shown, shown_s, end_s = None, 0.0, 0.0

    def show(frame: av.VideoFrame, until: int) -> np.ndarray:
        image = convert(frame, None if images is None else images.shape[1:])
        out = np.empty((spec.frames, *image.shape), image.dtype) if images is None else images
        out[done:until] = image
        return out

    for time_s, frame in source.frames("video", start_s, instants_s):
        # Instants at which it is not yet there.
        until = bisect_left(instants_s, time_s - tolerance_s)
        if shown is None:
            padded += until
        else:
            pieces.append((shown_s, min(time_s, shown_s + longest_s)))
            if until > done:
                images, done = show(shown, until), until
        if done == spec.frames:
            end_s = time_s
            break
        shown, shown_s = frame, time_s
    if shown is None:
        raise source.nothing_decoded("video")
    if done < spec.frames:
        end_s = shown_s + source.frame_s("video", shown)
        pieces.append((shown_s, end_s))
        padded += sum(instant_s >= end_s for instant_s in instants_s[done:])
        images = show(shown, spec.frames)
    assert images is not None
    window = ((start_s, start_s + spec.duration_s),)
    # Packets know better than frames: a codec may leave out frames that show nothing new.
    spans = source.clock.spans["video"] or joined(pieces, tolerance_s)
    return Picture(images, padded, common(spans, window), end_s)


@dataclass
class Sound:
    """The samples wanted.

    Attributes:
        samples: (samples,) float32 in [-1, 1].
        padded: How many of them are silence put in.
        spans: Where in the window there is sound.
        end_s: Up to where there is sound.
        cancelled: Whether one channel stands for all.
    """

    samples: np.ndarray
    padded: int
    spans: Spans
    end_s: float
    cancelled: bool


def read_sound(source: Source, start_s: float, spec: AudioSpec, until_s: float | None = None) -> Sound:
    """The samples wanted; after ``until_s`` only where that changes those before; see `read_clip`."""
    source.check("audio")
    sound = np.zeros(spec.samples, np.float32)
    covered = np.zeros(spec.samples, bool)
    stop_s = start_s + spec.samples / spec.rate
    context = source.audio.codec_context
    # All frames together say how to mix channels, and, where timestamps are rounded, when the sound begins.
    if until_s is not None and context.channels == 1 and source.audio.time_base == Fraction(1, context.sample_rate):
        stop_s = min(stop_s, until_s + SETTLED_S)
    pieces, cancelled = [], False
    for run_s, frames in _runs(source, start_s - PREROLL_S, stop_s):
        pieces.append((run_s, run_s + sum(frame.samples for frame in frames) / frames[0].sample_rate))
        begin = max(0, math.ceil((run_s - start_s) * spec.rate - 1e-3))  # the first sample wanted that the run covers
        if begin < spec.samples:
            samples, cancel = _mono(frames, spec.rate, start_s + begin / spec.rate - run_s)
            samples = samples[: spec.samples - begin]
            sound[begin : begin + len(samples)] = samples
            covered[begin : begin + len(samples)] = True
            cancelled |= cancel and len(samples) > 0
    if not pieces:
        raise source.nothing_decoded("audio")
    spans = common(joined(pieces, JITTER_S), ((start_s, stop_s),))
    return Sound(sound, int((~covered).sum()), spans, max(end_s for _, end_s in pieces), cancelled)


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


def _mono(frames: list[av.AudioFrame], rate: int, at_s: float) -> tuple[np.ndarray, bool]:
    """Consecutive frames as one waveform in [-1, 1], from ``at_s`` seconds after their beginning on.

    Returns:
        (samples,), and whether the channels cancel, so that the loudest is taken instead of their average.
    """
    own_rate, layout = frames[0].sample_rate, frames[0].layout
    run = _joined(frames)
    if (run.format.name, run.layout.name) == ("fltp", "mono"):
        sound = run.to_ndarray()[0]
    else:  # without the limit, two equal channels would add up to 1.41 times either
        sound = _convert(run, av.AudioResampler("fltp", "mono", own_rate, options={"rematrix_maxval": "1.0"}))[0]
    sound = np.nan_to_num(sound)
    cancelled = False
    if layout.nb_channels > 1:
        channels = np.nan_to_num(_convert(run, av.AudioResampler("fltp", layout, own_rate)))
        levels = np.sqrt(np.mean(np.square(channels, dtype=np.float64), axis=1))
        level = np.sqrt(np.mean(np.square(sound, dtype=np.float64)))
        cancelled = bool(level < CANCELLED * levels.mean())
        if cancelled:
            sound = channels[int(levels.argmax())]
    lead = 0
    if own_rate != rate:
        # Silence put before it lays the resampled grid on the wanted one, to a fraction of a sample.
        leads = np.arange(min(own_rate // math.gcd(own_rate, rate), PHASES))
        place = (at_s + leads / own_rate) * rate
        lead = int(np.abs(place - place.round()).argmin())
        frame = av.AudioFrame.from_ndarray(np.pad(sound, (lead, 0))[None], "fltp", "mono")
        frame.sample_rate = own_rate
        sound = _convert(frame, av.AudioResampler("fltp", "mono", rate))[0]
    return sound[round((at_s + lead / own_rate) * rate) :].clip(-1, 1), cancelled


def _joined(frames: list[av.AudioFrame]) -> av.AudioFrame:
    """Consecutive frames as one."""
    whole = av.AudioFifo()
    for frame in frames:
        frame.pts = None  # the samples follow each other; rounded timestamps would only disturb
        whole.write(frame)
    run = whole.read()
    assert run is not None
    return run


def _convert(frame: av.AudioFrame, resampler: av.AudioResampler) -> np.ndarray:
    """The frame as the resampler makes it, (channels, samples)."""
    frame.pts = None
    pieces = [piece for part in (frame, None) for piece in resampler.resample(part) if piece is not None]
    return np.concatenate([piece.to_ndarray() for piece in pieces] or [np.zeros((1, 0), np.float32)], axis=1)
