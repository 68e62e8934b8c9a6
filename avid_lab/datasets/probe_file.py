"""Examines one file: its streams, where picture and sound are usable, and fingerprints of both."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets.manifest import Streams
from avid_lab.media import AudioStream, MediaError, MediaInfo, VideoStream
from avid_lab.media.read import describe, is_over, read_images, read_sound
from avid_lab.media.source import Source, open_source
from avid_lab.spans import Spans, common, joined, length_s, to_text

LISTEN_S = 10.0  # seconds of sound that are read ...
PLACES = 20  # ... at the beginning, and if that is silent, at up to this many places in the file
LISTEN_RATE = 8000
SILENCE = 5e-4  # peak below which sound counts as silent (-66 dB of full scale)
PIECE_S, SILENT_S = 0.25, 1.0  # length of a piece tested for silence, and shortest silence that is reported
THROUGH_S = 12.0  # longest file that is decoded completely; a longer one is sampled in four places
SMALL = 96  # side of the sampled pictures: a bird in a wide sky still moves some of their pixels
STILL = (
    12  # levels of 255: compression changes equal pictures by less; the least motion in the rendered world changes 14
)
PLAIN = 4.0  # a picture with a smaller standard deviation has no fingerprint
WORDS = 4  # words of 64 bits in each fingerprint
BANDS = 17  # of the sound's fingerprint, spaced evenly on a logarithmic axis
LOWEST_HZ, HIGHEST_HZ = 150.0, 3500.0
FRAME = 512  # samples of each of its spectra
# Columns that do not apply to a copy, which is cut and has its own clock.
OF_THE_FILE = frozenset(
    {"both_share", "offset_s", "gaps", "restarts", "still", "silent", "cancelled", "damaged", "hdr"}
)
READ_BYTES = 2**14  # read from the beginning, middle and end of a file, to find possibly identical files


@dataclass(frozen=True)
class ProbeTask:
    """One file to examine."""

    path: Path
    streams: Streams
    min_duration_s: float
    version: int = 7  # results of older rules are discarded


def crashed(task: ProbeTask) -> dict[str, Any]:
    """The result for a file on which a worker died."""
    return _rejected("unreadable", "it crashes the decoder, or needs more memory than there is")


def _rejected(reason: str, detail: str) -> dict[str, Any]:
    return {"reason": reason, "detail": detail}


def probe_file(task: ProbeTask) -> dict[str, Any]:
    """The properties of a file, or the reason why it is unusable, as JSON values.

    Returns:
        For an unusable file ``reason`` and ``detail``; otherwise ``duration_s``, the spans ``both_s``, ``still`` and
        ``silent``, the manifest's columns ``extras``, and the fingerprints ``bytes``, ``picture`` and ``sound``.
    """
    try:
        with open_source(task.path) as source:
            return _probe(source, task)
    except MediaError as error:
        return _rejected("unreadable", f"{error.problem}. {error.fix}")
    except Exception as error:  # one bad file must not stop the run
        return _rejected("unreadable", f"reading it failed with {type(error).__name__}: {error}")


def _probe(source: Source, task: ProbeTask) -> dict[str, Any]:
    info = describe(source)
    if info.video is None and task.streams != "audio":
        return _rejected("no picture", "it has no video stream")
    if info.audio is None and task.streams != "video":
        return _rejected("no sound", "it has no audio stream")
    both_s = _spans(info, task.streams)
    if info.duration_s < task.min_duration_s:
        return _rejected("too short", f"it lasts {info.duration_s:.3f} s, less than {task.min_duration_s:g} s")
    longest_s = max((end_s - begin_s for begin_s, end_s in both_s), default=0.0)
    if longest_s < task.min_duration_s:
        rule = f"picture and sound are together for {longest_s:.3f} s at most, less than {task.min_duration_s:g} s"
        return _rejected("too short", rule)
    pictures = [] if task.streams == "audio" or info.video is None else _watch(source, info.video, info.duration_s)
    sounds, cancelled = ([], False) if task.streams == "video" or info.audio is None else _listen(source, info.audio)
    still, silent = _still(pictures, info.duration_s), _silent(sounds, info)
    sound = sounds[-1][1] if sounds else np.zeros(0, np.float32)
    if sounds and np.abs(sound).max() < SILENCE:
        where = "from start to end" if len(sounds) < PLACES else f"at {PLACES} places of {LISTEN_S:g} s spread over it"
        return _rejected("silent", f"nothing is heard {where}")
    extras: dict[str, str] = {}
    if info.video is not None:
        fps = "" if info.video.fps is None else f"{info.video.fps:g}"
        extras |= {"width": str(info.video.width), "height": str(info.video.height), "fps": fps}
    if info.audio is not None:
        extras["rate"] = str(info.audio.rate)
    streams = [stream for stream in (info.video, info.audio) if stream is not None]
    extras |= {
        "both_s": to_text(both_s),
        "both_share": f"{length_s(both_s) / info.duration_s:.3f}",
        "offset_s": "" if info.offset_s is None else f"{info.offset_s:.3f}",
        "gaps": str(sum(max(0, len(stream.spans_s) - 1) for stream in streams)),
        "restarts": str(info.restarts),
        "still": to_text(still),
        "silent": to_text(silent),
        "cancelled": "yes" if cancelled else "",
        "damaged": str(source.corrupt_packets),
        "hdr": "" if info.video is None or info.video.dynamic_range == "SDR" else info.video.dynamic_range,
    }
    return {
        "duration_s": info.duration_s,
        "extras": extras,
        "bytes": _digest(task.path),
        "picture": _hex(picture_print([image for _, image in pictures[1::2]])),
        "sound": _hex(sound_print(sound)),
    }


def _spans(info: MediaInfo, streams: Streams) -> Spans:
    """The spans in which the file has all wanted streams."""
    if streams == "both":
        return info.both_s
    stream = info.video if streams == "video" else info.audio
    return () if stream is None else stream.spans_s


def _watch(source: Source, video: VideoStream, duration_s: float) -> list[tuple[float, np.ndarray]]:
    """Eight small pictures (S, S, 3) spread over the file and their times."""
    duration_s = _rounded(duration_s)
    if duration_s <= THROUGH_S:
        watch, starts_s = VideoSpec(8, 8 / duration_s, SMALL), [0.0]
    else:  # the sound may be much longer than the picture
        begin_s, length_s = video.start_s, _rounded(video.duration_s)
        watch, starts_s = VideoSpec(2, 2.0, SMALL), [begin_s + share * length_s for share in (0.1, 0.35, 0.6, 0.85)]
    pictures: list[tuple[float, np.ndarray]] = []
    for start_s in starts_s:
        picture = read_images(source, start_s, watch)
        if picture.end_s <= start_s:
            raise is_over(source, picture.end_s, start_s)
        pictures += [(start_s + i / watch.fps, image) for i, image in enumerate(picture.images)]
    return pictures


def _listen(source: Source, audio: AudioStream) -> tuple[list[tuple[float, np.ndarray]], bool]:
    """Start and first seconds (samples,) of the sound; while they are silent, also later pieces of the file.

    The other value: whether the channels of the last piece cancel each other.
    """
    length_s = _rounded(audio.duration_s)
    spec = AudioSpec(LISTEN_RATE, min(length_s, LISTEN_S), frames=1, n_fft=2)
    begin_s, places = max(0.0, audio.start_s), min(PLACES, math.ceil(length_s / LISTEN_S))
    sounds: list[tuple[float, np.ndarray]] = []
    cancelled = False
    for start_s in np.linspace(begin_s, begin_s + length_s - spec.duration_s, places).tolist():
        sound = read_sound(source, start_s, spec)
        if sound.end_s <= start_s:
            raise is_over(source, sound.end_s, start_s)
        sounds.append((start_s, sound.samples))
        cancelled = sound.cancelled
        if np.abs(sound.samples).max() >= SILENCE:
            break
    return sounds, cancelled


def _rounded(length_s: float) -> float:
    """A length rounded to half seconds: codecs make copies a little longer or shorter."""
    return max(0.5, round(2 * length_s) / 2)


def _still(pictures: list[tuple[float, np.ndarray]], duration_s: float) -> Spans:
    """Spans between equal consecutive pictures; the whole file if it never moves."""
    same = [
        (begin_s, end_s)
        for (begin_s, one), (end_s, other) in pairwise(pictures)
        if int(np.abs(one.astype(np.int16) - other).max()) <= STILL
    ]
    if pictures and len(same) == len(pictures) - 1:
        return ((0.0, duration_s),)
    return common(joined(same), ((0.0, duration_s),))  # the last pictures may lie beyond the end


def _silent(sounds: list[tuple[float, np.ndarray]], info: MediaInfo) -> Spans:
    """Silent spans of a second or more in the sound that was read."""
    size = round(PIECE_S * LISTEN_RATE)
    quiet: list[tuple[float, float]] = []
    for begin_s, sound in sounds:
        peaks = np.abs(sound[: len(sound) // size * size]).reshape(-1, size).max(1)
        places = np.flatnonzero(peaks < SILENCE).tolist()
        quiet += [(begin_s + i * PIECE_S, begin_s + (i + 1) * PIECE_S) for i in places]
    spans = common(joined(quiet, 1e-6), () if info.audio is None else info.audio.spans_s)
    return tuple(span for span in spans if span[1] - span[0] >= SILENT_S)


# ---- fingerprints


def _digest(path: Path) -> str:
    """A hash of a file's size and some of its bytes: equal for identical files, almost never for others."""
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        for place in (0, (size - READ_BYTES) // 2, size - READ_BYTES):
            file.seek(max(0, place))
            digest.update(file.read(READ_BYTES))
    return digest.hexdigest()


def picture_print(images: list[np.ndarray]) -> np.ndarray:
    """Four words of 64 bits, one per picture: the signs of its lowest frequencies; none if it has little contrast.

    The usual perceptual hash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
    2010): the 8 x 8 lowest coefficients of a cosine transform, against their median.
    """
    if len(images) != WORDS:
        return np.zeros(0, np.uint64)
    grey = np.stack(images).astype(np.float32) @ np.full(3, 1 / 3, np.float32)  # (4, S, S)
    if np.median(grey.reshape(WORDS, -1).std(1)) < PLAIN:
        return np.zeros(0, np.uint64)
    coefficients = (_COSINES @ grey @ _COSINES.T).reshape(WORDS, -1)
    return _packed(coefficients > np.median(coefficients[:, 1:], axis=1, keepdims=True))


def sound_print(sound: np.ndarray) -> np.ndarray:
    """Four words of 64 bits: whether energy moves up or down from band to band and from moment to moment.

    After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002), but at 17 moments over the
    whole sound instead of every 12 ms, so that codec delays do not matter. None if there is no sound.
    """
    hop = FRAME // 2
    frames = (len(sound) - FRAME) // hop + 1
    if frames < BANDS or np.abs(sound).max() < SILENCE:
        return np.zeros(0, np.uint64)
    pieces = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::hop] * _HANN
    waves = np.fft.rfft(pieces)  # (frames, bins)
    power = waves.real**2 + waves.imag**2
    bands = np.add.reduceat(power, _EDGES, axis=1)[:, :BANDS]
    moments = np.add.reduceat(bands, np.arange(BANDS) * frames // BANDS, axis=0)  # (17, 17)
    level = np.log(moments + 1e-9)
    return _packed(np.diff(np.diff(level, axis=0), axis=1) > 0)


def _packed(bits: np.ndarray) -> np.ndarray:
    return np.packbits(bits.reshape(-1)).view(np.uint64)


def _hex(words: np.ndarray) -> str:
    return words.tobytes().hex()


_COSINES = np.cos(np.pi / SMALL * (np.arange(SMALL) + 0.5) * np.arange(8)[:, None]).astype(np.float32)  # (8, S)
_HANN = np.hanning(FRAME).astype(np.float32)
_EDGES = np.ceil(np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1) * FRAME / LISTEN_RATE).astype(int)
