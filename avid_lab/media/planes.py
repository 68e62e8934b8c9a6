"""Pictures as the decoder has them: a plane of luma and, at half the resolution, two of chroma.

Turning every frame into RGB and then cropping, scaling and colouring it costs far more than decoding it. Planes skip
the first step; `PlaneAugmentation` does the others at once, on half the numbers.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import av
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.media.read import read_frames, read_sound
from avid_lab.media.source import open_source
from avid_lab.media.types import MediaError

BT709, FULL_RANGE = 1, 2  # FFmpeg's numbers of the colour space of HD video, and of luma from 0 to 255


@dataclass(frozen=True)
class Planes:
    """The picture of a clip, before any conversion.

    Attributes:
        luma: uint8 (T, H, W).
        chroma: uint8 (2, T, H / 2, W / 2), Cb and Cr; a sample lies amid four of luma.
        to_rgb: (3, 4): RGB in [0, 1] of (Y, Cb, Cr, 1), each in [0, 255].
        fps: Frames per second.
        padded_frames: Frames repeated because the picture had not begun or was over.
        audio: Waveform (1, samples) as `read_clip` gives it, or None.
    """

    luma: UInt8[Tensor, "T H W"]
    chroma: UInt8[Tensor, "2 T H2 W2"]
    to_rgb: Float32[Tensor, "3 4"]
    fps: float
    padded_frames: int
    audio: Float32[Tensor, "1 samples"] | None = None


def read_planes(
    path: str | os.PathLike[str],
    start_s: float,
    video: VideoSpec,
    audio: AudioSpec | None = None,
    *,
    audio_start_s: float | None = None,
) -> Planes:
    """The frames that `read_clip` would show, at the file's own size and in its own colours, and the same sound.

    Args:
        path: Any file that FFmpeg decodes. Square pixels and an upright picture are taken for granted: prepared copies
            have them, and `read_clip` takes care of others.
        start_s: Seconds from the beginning of the file, >= 0.
        video: Frames wanted; ``size`` is not used.
        audio: Waveform wanted, or None for no sound.
        audio_start_s: Where the sound starts, if not at ``start_s``.

    Raises:
        MediaError: The file is unusable or over before ``start_s``.
    """
    with open_source(path) as source:
        colours: list[tuple[bool, bool]] = []

        def convert(frame: av.VideoFrame, like: tuple[int, ...] | None) -> np.ndarray:
            image, *colour = _planes(frame)
            colours.append((colour[0], colour[1]))
            return image

        picture = read_frames(source, start_s, video, convert)
        if picture.end_s <= start_s:
            problem = f"is over at {picture.end_s:.3f} s, as far as it decodes; the clip starts at {start_s:.3f} s"
            raise MediaError(path, problem, "Choose an earlier start.")
        sound = None
        if audio is not None:
            samples = read_sound(source, start_s if audio_start_s is None else audio_start_s, audio).samples
            sound = torch.from_numpy(samples)[None]
    planes = torch.from_numpy(picture.images)  # (T, 3 H / 2, W)
    height = planes.shape[1] * 2 // 3
    chroma = planes[:, height:].reshape(len(planes), 2, height // 2, planes.shape[2] // 2)
    bt709, full_range = colours[0]
    matrix = rgb_matrix(bt709=bt709, full_range=full_range)
    return Planes(planes[:, :height], chroma.transpose(0, 1), matrix, float(video.fps), picture.padded, sound)


def _planes(frame: av.VideoFrame) -> tuple[np.ndarray, bool, bool]:
    """Luma above both planes of chroma, (3 H / 2, W), whether in the colours of HD, and whether of full range."""
    full_range = frame.color_range == FULL_RANGE or frame.format.name == "yuvj420p"
    bt709 = frame.colorspace == BT709
    width, height = frame.width // 2 * 2, frame.height // 2 * 2
    if frame.format.name not in ("yuv420p", "yuvj420p") or (frame.width, frame.height) != (width, height):
        frame = frame.reformat(width=width, height=height, format="yuv420p", threads=1)
        full_range = False
    return frame.to_ndarray(), bt709, full_range


@functools.cache
def rgb_matrix(*, bt709: bool = False, full_range: bool = False) -> Float32[Tensor, "3 4"]:
    """RGB in [0, 1] of (Y, Cb, Cr, 1) in [0, 255].

    Args:
        bt709: The colour space of HD video (ITU-R BT.709), else that of others (BT.601).
        full_range: Whether luma and chroma use all of [0, 255], else [16, 235] and [16, 240].
    """
    red, blue = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    green = 1 - red - blue
    luma, chroma, black = (1 / 255, 1 / 255, 0) if full_range else (1 / 219, 1 / 224, 16)
    weights = torch.tensor(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ],
        dtype=torch.float64,
    ) * torch.tensor([luma, chroma, chroma])
    offset = weights @ torch.tensor([black, 128, 128], dtype=torch.float64)
    return torch.cat([weights, -offset[:, None]], dim=1).float()
