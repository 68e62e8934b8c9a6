"""Clips to mp4 files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from avid_lab.media.picture import is_hd
from avid_lab.media.types import Clip

BT601 = 6  # FFmpeg's number of the matrix that RGB is encoded with: SMPTE-170M
AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)


def write_clip(
    path: str | os.PathLike[str],
    clip: Clip,
    *,
    crf: int = 23,
    preset: str = "superfast",
    audio_kbps: int = 64,
    keyframe_s: float = 2.0,
    seekable: bool = False,
) -> Path:
    """Write a clip as H.264 + AAC in an mp4 that browsers can play and seek.

    The file is written next to its destination under a temporary name, and renamed when complete. Encoding uses one
    thread, so that the same clip, settings and library versions give the same file.

    Args:
        path: Destination; its folder is created if necessary.
        clip: Picture (even width and height), sound, or both.
        crf: Constant quality of the picture, 0 (lossless) to 51.
        preset: x264's trade of time for size.
        audio_kbps: AAC bit rate.
        keyframe_s: Longest distance between two points that a player can seek to, in seconds.
        seekable: Make random parts cheap to decode: no B-frames, no arithmetic coding, no deblocking (x264's tuning
            "fastdecode"), and no noise substitution in the sound, whose random numbers go on from packet to packet.

    Returns:
        The destination.

    Raises:
        ValueError: The clip is empty, has an odd side, or a sample rate that AAC does not support.
    """
    path = Path(path)
    picture = sound = None
    if clip.video is not None and clip.fps:
        picture = clip.video.transpose(0, 1).cpu().numpy()  # (T, 3, H, W)
    if clip.audio is not None and clip.rate:
        sound = clip.audio.cpu().numpy().clip(-1, 1)  # (1, samples)
    if all(part is None or part.size == 0 for part in (picture, sound)):
        raise ValueError(f"write_clip needs frames with fps, or samples with rate; got {clip}")
    if picture is not None and (picture.shape[2] % 2 or picture.shape[3] % 2):
        height, width = picture.shape[2:]
        raise ValueError(f"H.264 needs an even height and width; got {height}x{width}. Crop a row or a column.")
    if sound is not None and clip.rate not in AAC_RATES:
        raise ValueError(f"AAC has no sample rate {clip.rate}; resample to one of {', '.join(map(str, AAC_RATES))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.absolute().with_name(f".{uuid.uuid4().hex}.part")
    try:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            tracks: list[tuple[Any, Iterator[Any]]] = []
            if picture is not None and clip.fps:
                fps = Fraction(clip.fps).limit_denominator(100_000)
                gop = max(1, round(keyframe_s * clip.fps))
                # With AVX-512, x264's macroblock tree encodes the same frames differently once in a while.
                options = {"preset": preset, "crf": str(crf), "threads": "1", "g": str(gop), "mbtree": "0"}
                if seekable:
                    options |= {"tune": "fastdecode", "bf": "0"}
                stream: Any = container.add_stream("libx264", rate=fps, options=options)
                stream.height, stream.width, stream.pix_fmt = *picture.shape[2:], "yuv420p"
                if is_hd(stream.width, stream.height):  # otherwise players assume HD's BT.709
                    stream.codec_context.colorspace = BT601
                tracks.append((stream, _video_frames(picture, fps)))
            if sound is not None and clip.rate:
                options = {"aac_coder": "fast", "b": str(audio_kbps * 1000)}
                if seekable:
                    options["aac_pns"] = "0"
                stream = container.add_stream("aac", rate=clip.rate, layout="mono", options=options)
                tracks.append((stream, _audio_frames(sound, clip.rate)))
            for stream, frames in tracks:
                for frame in frames:
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _video_frames(picture: np.ndarray, fps: Fraction) -> Iterator[av.VideoFrame]:
    height, width = picture.shape[2:]
    for index, (red, green, blue) in enumerate(picture):
        frame = av.VideoFrame(width, height, "gbrp")
        planes: Any = frame.planes  # buffers of bytes
        for plane, image in zip(planes, (green, blue, red), strict=True):
            np.frombuffer(plane, np.uint8).reshape(height, -1)[:, :width] = image  # rows may be padded
        frame.pts, frame.time_base = index, 1 / fps
        yield frame


def _audio_frames(sound: np.ndarray, rate: int) -> Iterator[av.AudioFrame]:
    frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    yield frame
