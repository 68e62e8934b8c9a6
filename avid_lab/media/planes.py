"""Pictures as the decoder stores them: a plane of luma and two of chroma at half the resolution.

Converting every frame to RGB, then cropping, scaling and colouring it, costs far more than decoding it. Planes skip the
conversion; `PlaneAugmentation` does the rest in one step, on half the numbers.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace
from jaxtyping import Float32, UInt8
from torch import Tensor

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.media.picture import displayed_size, dynamic_range, is_full_range, matrix_of, orientation, upright
from avid_lab.media.read import is_over, read_frames, read_sound
from avid_lab.media.source import Source, open_source

# Shares of red and blue in luma: ITU-R BT.601, BT.709 and BT.2020, SMPTE 240M, and the FCC's of 1953.
WEIGHTS = {
    "ITU601": (0.299, 0.114),
    "ITU709": (0.2126, 0.0722),
    "BT2020": (0.2627, 0.0593),
    "SMPTE240M": (0.212, 0.087),
    "FCC": (0.30, 0.11),
}


@dataclass(frozen=True)
class Planes:
    """The picture of a clip, before any conversion.

    Attributes:
        luma: uint8 (T, H, W).
        chroma: uint8 (2, T, H / 2, W / 2), Cb and Cr; a sample is centred between four of luma.
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
        path: Any file that FFmpeg decodes. Frames that are not plain (not 4:2:0 of 8 bits, HDR, interlaced, turned, or
            of pixels that are not square) are turned into RGB by `read_clip`'s rule first, which takes longer.
        start_s: Seconds from the beginning of the file, >= 0.
        video: Frames wanted; ``size`` is not used.
        audio: Waveform wanted, or None for no sound.
        audio_start_s: Where the sound starts, if not at ``start_s``.

    Raises:
        MediaError: The file is unusable or over before ``start_s``.
    """
    with open_source(path) as source:
        convert = _Convert(source)
        picture = read_frames(source, start_s, video, convert)
        if picture.end_s <= start_s:
            raise is_over(source, picture.end_s, start_s)
        sound = None
        if audio is not None:
            samples = read_sound(source, start_s if audio_start_s is None else audio_start_s, audio).samples
            sound = torch.from_numpy(samples)[None]
    planes = torch.from_numpy(picture.images)  # (T, 3 H / 2, W)
    height = planes.shape[1] * 2 // 3
    chroma = planes[:, height:].reshape(len(planes), 2, height // 2, planes.shape[2] // 2)
    matrix = rgb_matrix(convert.matrix, full_range=convert.full_range)
    return Planes(planes[:, :height], chroma.transpose(0, 1), matrix, float(video.fps), picture.padded, sound)


class _Convert:
    """Frames to planes of luma above both of chroma, uint8 (3 H / 2, W), all in the colours of the first."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.matrix, self.full_range = "", False

    def __call__(self, frame: av.VideoFrame, like: tuple[int, ...] | None) -> np.ndarray:
        plain = self._is_plain(frame)
        if like is None:
            self.matrix, self.full_range = (matrix_of(frame), is_full_range(frame)) if plain else ("ITU601", False)
        same = (matrix_of(frame), is_full_range(frame)) == (self.matrix, self.full_range)
        if plain and same and like in (None, (frame.height * 3 // 2, frame.width)):
            return frame.to_ndarray()
        shape = None if like is None else (like[0] * 2 // 3, like[1])
        image = upright(frame, self._source.video, like=shape)
        image = np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
        reformatted = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace[self.matrix],
            dst_color_range=ColorRange.JPEG if self.full_range else ColorRange.MPEG,
            threads=1,
        )
        return reformatted.to_ndarray()

    def _is_plain(self, frame: av.VideoFrame) -> bool:
        if frame.format.name not in ("yuv420p", "yuvj420p") or frame.width % 2 or frame.height % 2:
            return False
        square = displayed_size(frame.width, frame.height, self._source.video) == (frame.width, frame.height)
        shown = square and not any(orientation(frame)) and not frame.interlaced_frame
        return shown and dynamic_range(frame) == "SDR"


@functools.cache
def rgb_matrix(matrix: str = "ITU601", *, full_range: bool = False) -> Float32[Tensor, "3 4"]:
    """RGB in [0, 1] of (Y, Cb, Cr, 1) in [0, 255].

    Args:
        matrix: A key of `WEIGHTS`.
        full_range: Whether luma and chroma use all of [0, 255], else [16, 235] and [16, 240].
    """
    red, blue = WEIGHTS[matrix]
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
