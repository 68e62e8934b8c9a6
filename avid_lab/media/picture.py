"""Decoded frames to pictures as they are shown: upright, of square pixels, in the colours of a computer's screen.

One rule for colours, wherever frames are read: the matrix and the range are those that the frame names. Where it names
no matrix, pictures of HD size are in ITU-R BT.709 and smaller ones in BT.601, as players take it.
"""

from __future__ import annotations

import struct
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace

from avid_lab.media.types import DynamicRange

FORMAT = "rgb24"
# FFmpeg's numbers of matrices: AVCOL_SPC_...
RGB, BT709, UNSPECIFIED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 0, 1, 2, 4, 5, 6, 7, (9, 10)
MATRICES = {BT709: "ITU709", FCC: "FCC", BT470BG: "ITU601", SMPTE170M: "ITU601", SMPTE240M: "SMPTE240M"}
MATRICES |= dict.fromkeys(BT2020, "BT2020")
HD_SIDES = (1280, 720)  # an unnamed matrix is that of HD where the picture is this wide or this high
CURVES: dict[int, DynamicRange] = {16: "PQ", 18: "HLG"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67


def dynamic_range(frame: Any) -> DynamicRange:
    """The transfer curve that a frame (or its decoder) names."""
    return CURVES.get(int(getattr(frame, "color_trc", 0) or 0), "SDR")


def matrix_of(frame: av.VideoFrame) -> str:
    """The colour matrix of a frame, by PyAV's name for it."""
    hd = frame.width >= HD_SIDES[0] or frame.height >= HD_SIDES[1]
    return MATRICES.get(int(frame.colorspace), "ITU709" if hd else "ITU601")


def displayed_size(width: int, height: int, stream: Any) -> tuple[int, int]:
    """Width and height of a stream's frames in square pixels: the narrower side is stretched."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 0.1 < aspect < 10:
        return width, height
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def upright(
    frame: av.VideoFrame,
    stream: Any,
    size: int | None = None,
    short_side: int | None = None,
    like: tuple[int, ...] | None = None,
) -> np.ndarray:
    """A frame as RGB, uint8 (H, W, 3).

    Args:
        frame: As decoded.
        stream: Where it comes from; knows the shape of its pixels.
        size: Side of the square wanted: the shorter side is scaled to it and the centre cut out.
        short_side: Longest that the shorter side may be; sides are then even.
        like: Shape wanted, where frames before it have one: a recording may change its size in the middle.
    """
    transposed, flip_x, flip_y = orientation(frame)
    width, height = shown = displayed_size(frame.width, frame.height, stream)
    if size is not None:
        scale = size / min(shown)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
    elif short_side is not None:
        scale = min(1.0, short_side / min(shown))
        width, height = (max(2, round(side * scale / 2) * 2) for side in shown)
    if size is None and like is not None:
        height, width = like[1::-1] if transposed else like[:2]
    image = _rgb(frame, width, height)
    if size is not None:
        top, left = (height - size) // 2, (width - size) // 2
        image = image[top : top + size, left : left + size]
    image = image.transpose(1, 0, 2) if transposed else image
    return image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """A frame of any kind as RGB (height, width, 3)."""
    how: dict[str, Any] = {"width": width, "height": height, "interpolation": "AREA", "threads": 1}
    how |= {"src_colorspace": Colorspace[matrix_of(frame)], "dst_colorspace": Colorspace.DEFAULT}
    return frame.reformat(format=FORMAT, **how).to_ndarray()


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
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
