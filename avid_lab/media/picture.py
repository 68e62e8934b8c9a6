"""Converts decoded frames to pictures for display: upright, with square pixels, in the colours of a computer's screen.

Colours follow one rule: the frame's own matrix and range. A frame without a matrix uses ITU-R BT.709 if it has HD size,
and BT.601 otherwise, as players do.

HDR pictures (the PQ and HLG curves of ITU-R BT.2100) become SDR: their light, in units of the 203 cd/m2 that ITU-R
BT.2408 gives to white, is unchanged up to `KNEE` and compressed exponentially above it, according to the strongest of
the three primaries, so that colours keep their hue. An SDR picture converted to HDR comes back unchanged.

An interlaced frame keeps the field that is shown first, and the other lines are interpolated: motion shows no comb, and
the time is the frame's. Frames not marked as interlaced stay unchanged.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from avid_lab.media.types import DynamicRange

# FFmpeg's numbers of matrices (AVCOL_SPC_...): BT.709, FCC, BT.470BG and SMPTE-170M (both BT.601), SMPTE-240M, BT.2020.
MATRICES = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}
HD_SIDES = (1280, 720)  # a picture this wide or this high uses HD's matrix if it names none
CURVES: dict[int, DynamicRange] = {16: "PQ", 18: "HLG"}  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
BOTTOM_FIRST = (3, 4)  # AV_FIELD_BB, AV_FIELD_TB: field orders in which the lower field is shown first
WHITE_NITS = 203.0  # ITU-R BT.2408: the white of a page in an HDR picture
KNEE = 0.8  # share of white below which light is kept as it is
SDR_GAMMA = 2.4  # ITU-R BT.1886
TO_BT709 = np.array(  # ITU-R BT.2087: linear light of BT.2020's primaries to BT.709's
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
LEVELS = 4096  # steps of light for which the last curve is computed


def dynamic_range(frame: Any) -> DynamicRange:
    """The transfer curve in the metadata of a frame or its decoder."""
    return CURVES.get(int(getattr(frame, "color_trc", 0) or 0), "SDR")


def matrix_of(frame: av.VideoFrame) -> str:
    """The colour matrix of a frame, by PyAV's name for it."""
    return MATRICES.get(int(frame.colorspace), "ITU709" if is_hd(frame.width, frame.height) else "ITU601")


def is_hd(width: int, height: int) -> bool:
    """Whether a picture of this size uses HD's matrix if it names none."""
    return width >= HD_SIDES[0] or height >= HD_SIDES[1]


def displayed_size(width: int, height: int, stream: Any) -> tuple[int, int]:
    """Width and height of a stream's frames in square pixels: the narrower side is stretched."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 0.1 < aspect < 10:
        return width, height
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


Turn = tuple[bool, bool, bool]  # see `orientation`


def upright(
    frame: av.VideoFrame,
    stream: Any,
    size: int | None = None,
    short_side: int | None = None,
    like: tuple[int, ...] | None = None,
    turn: Turn | None = None,
) -> np.ndarray:
    """A frame as RGB, uint8 (H, W, 3).

    Args:
        frame: The decoded frame.
        stream: Its stream, which has the pixel aspect.
        size: Side of the square: the shorter side is scaled to it and the centre cropped.
        short_side: Maximum of the shorter side; both sides become even.
        like: Shape of earlier frames, if any: a recording may change its size.
        turn: The frame's `orientation`, if known.
    """
    transposed, flip_x, flip_y = turn or orientation(frame)
    width, height = shown = displayed_size(frame.width, frame.height, stream)
    if size is not None:
        scale = size / min(shown)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
    elif short_side is not None:
        scale = min(1.0, short_side / min(shown))
        width, height = (max(2, round(side * scale / 2) * 2) for side in shown)
    if size is None and like is not None:
        height, width = like[1::-1] if transposed else like[:2]
    image = _rgb(frame, stream, width, height)
    if size is not None:
        top, left = (height - size) // 2, (width - size) // 2
        image = image[top : top + size, left : left + size]
    image = image.transpose(1, 0, 2) if transposed else image
    return image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether luma ranges from 0 to 255 rather than from 16 to 235."""
    return int(frame.color_range) == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def _rgb(frame: av.VideoFrame, stream: Any, width: int, height: int) -> np.ndarray:
    """A frame of any kind as RGB (height, width, 3)."""
    curve = dynamic_range(frame)
    light = _first_field(frame, stream) if frame.interlaced_frame else frame
    image = light.reformat(
        width=width,
        height=height,
        format="rgb24" if curve == "SDR" else "rgb48le",
        src_colorspace=Colorspace[matrix_of(frame)],
        dst_colorspace=Colorspace.DEFAULT,
        src_color_range=ColorRange.JPEG if is_full_range(frame) else None,
        interpolation="AREA",
        threads=1,
    ).to_ndarray()
    return image if curve == "SDR" else _to_sdr(image, curve, wide=int(frame.color_primaries) != 1)


def _first_field(frame: av.VideoFrame, stream: Any) -> av.VideoFrame:
    """The frame from the field that is shown first, with the other lines interpolated."""
    first = int(stream.codec_context.field_order in BOTTOM_FIRST)
    field = av.VideoFrame(frame.width, frame.height // 2, frame.format.name)
    field.colorspace, field.color_range = frame.colorspace, frame.color_range
    ours: Any = frame.planes
    theirs: Any = field.planes
    for source, target in zip(ours, theirs, strict=True):
        lines = np.frombuffer(source, np.uint8).reshape(-1, source.line_size)[first::2]
        out = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)
        rows, bytes_ = min(len(lines), len(out)), min(source.line_size, target.line_size)
        out[:rows, :bytes_] = lines[:rows, :bytes_]
    return field


def _to_sdr(image: np.ndarray, curve: DynamicRange, *, wide: bool) -> np.ndarray:
    """An HDR picture, uint16 (H, W, 3), as SDR in the primaries of BT.709, uint8 (H, W, 3).

    Args:
        image: R'G'B' of full range.
        curve: Its transfer curve.
        wide: Whether its primaries are those of BT.2020.
    """
    light = _light(curve)[image]  # 1 is white
    if curve == "HLG":  # the display's part of the curve, for one of 1,000 cd/m2 (BT.2100, table 5)
        scene = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= (np.maximum(scene, 1e-6) ** 0.2)[..., None] * (1000 / WHITE_NITS)
    if wide:
        light = light @ TO_BT709.T
    np.maximum(light, 0, out=light)
    strongest = light.max(2)
    above = np.maximum(strongest - KNEE, 0)
    bent = np.minimum(strongest, KNEE) + (1 - KNEE) * (1 - np.exp(-above / (1 - KNEE)))
    light *= (bent / np.maximum(strongest, 1e-6))[..., None]
    return _display()[(light * (LEVELS - 1) + 0.5).astype(np.int32).clip(0, LEVELS - 1)]


@functools.cache
def _light(curve: DynamicRange) -> np.ndarray:
    """Light of each of 65,536 values of a curve (ITU-R BT.2100): displayed, of white, for PQ; of the scene for HLG."""
    value = np.linspace(0, 1, 65_536)
    if curve == "PQ":
        m1, m2, c1, c2, c3 = 2610 / 16_384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = value ** (1 / m2)
        light = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / WHITE_NITS
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    return light.astype(np.float32)


@functools.cache
def _display() -> np.ndarray:
    """The SDR value of each step of light."""
    return np.rint(255 * np.linspace(0, 1, LEVELS) ** (1 / SDR_GAMMA)).astype(np.uint8)


def orientation(frame: av.VideoFrame) -> Turn:
    """The frame's display matrix as three steps: swap the axes, mirror left-right, mirror upside down.

    Call it for few frames: after access to its side data, PyAV keeps a frame until Python collects cycles, and 8 s of
    2160p take 2 GB.
    """
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV cannot list side data of an unknown kind, but still has the angle
        turns = {90: (True, False, True), -90: (True, True, False), 180: (False, True, True)}
        return turns.get(frame.rotation, (False, False, False))
    if matrix is None:
        return False, False, False
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(matrix))  # x' = a x + c y, y' = b x + d y
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)
