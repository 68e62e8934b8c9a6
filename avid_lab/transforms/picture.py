"""Frames to a network's input: random crops, flips and colours as a few matrix products."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from avid_lab.config import side_for

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CACHED_VALUES = 600_000  # float32 values that a CPU core works on at a time: about its second-level cache
# Luma and chroma (NTSC's YIQ): hue is a rotation of the chroma plane, which leaves luma and greys alone.
RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


class VideoAugmentation(nn.Module):
    """A random crop, flip and colour change: one draw per clip, the same for all its frames.

    Crop, flip and resize are one matrix per axis (with the triangle filter of an anti-aliased bilinear resize), the
    colour changes one 3x4 matrix, so a batch costs three matrix products. Colours change in the order brightness,
    contrast (about the clip's mean luma), saturation, hue, and are clamped to [0, 1] once, at the end.

    Args:
        size: Side of the output.
        scale: Range of the crop's area, as a share of the frame; its aspect is drawn from 3/4 to 4/3.
        flip: Probability of a left-right flip.
        brightness: The factor is drawn from [1 - brightness, 1 + brightness]; contrast and saturation alike.
        contrast: See brightness.
        saturation: See brightness.
        hue: The angle is drawn from [-hue, hue], in turns of the chroma plane.

    Raises:
        ValueError: A range is invalid.
    """

    def __init__(
        self,
        size: int,
        *,
        scale: tuple[float, float] = (0.3, 1.0),
        flip: float = 0.5,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.2,
    ) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be >= 1 pixel; got {size}")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale must be an increasing range of areas in (0, 1]; got {scale}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must be a probability in [0, 1]; got {flip}")
        for name, strength in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if not 0 <= strength <= 1:
                raise ValueError(f"{name} must be in [0, 1]; got {strength}")
        if not 0 <= hue <= 0.5:
            raise ValueError(f"hue must be in [0, 0.5] turns; got {hue}")
        self.size, self.scale, self.flip = size, scale, flip
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def forward(
        self, video: UInt8[Tensor, "B 3 T H W"], generator: torch.Generator
    ) -> Float[Tensor, "B 3 T {self.size} {self.size}"]:
        """Augments a batch; values in [0, 1]."""
        height, width = video.shape[-2:]
        draw = torch.rand(video.shape[0], 9, generator=generator, device=generator.device).to(video.device)
        top, left, crop_height, crop_width = _draw_crop(draw[:, :4], self.scale, height, width)
        rows = _resize_matrix(top, crop_height, height, self.size)  # (B, size, H)
        columns = _resize_matrix(left, crop_width, width, self.size)  # (B, size, W)
        flipped = draw[:, 4] < self.flip
        columns = torch.where(flipped[:, None, None], columns.flip(1), columns)

        def factor(column: int, strength: float) -> Tensor:
            return 1 + strength * (2 * draw[:, column] - 1)

        brightness, contrast = factor(5, self.brightness), factor(6, self.contrast)
        colours = _colour_matrix(factor(7, self.saturation), factor(8, self.hue) - 1)
        colours = colours * (brightness * contrast)[:, None, None]
        grey = brightness * (1 - contrast)  # contrast pulls towards the clip's grey, which saturation and hue keep
        out = torch.empty(*video.shape[:3], self.size, self.size, device=video.device)
        for part in self._parts(video):
            image = _resample(video[part], rows[part], columns[part])
            pixels = image.flatten(2)  # (b, 3, T * size * size)
            luma = pixels.mean(2) @ torch.tensor(RGB_TO_YIQ[0], device=pixels.device)
            pixels = torch.baddbmm((grey[part] * luma)[:, None, None], colours[part], pixels)
            torch.clamp(pixels.view_as(image), 0, 1, out=out[part])
        return out

    @staticmethod
    def _parts(video: Tensor) -> list[slice]:
        """The batch in parts that fit a CPU core's cache; whole on a GPU."""
        clips = len(video) if video.device.type != "cpu" else max(1, CACHED_VALUES // max(1, video[:1].numel()))
        return [slice(begin, begin + clips) for begin in range(0, len(video), max(1, clips))]


class PlaneAugmentation(VideoAugmentation):
    """`VideoAugmentation` and ImageNet normalisation of a clip's planes of luma and chroma, in one affine step.

    Planes are cropped, flipped and resized by the same matrices; from YCbCr to normalised RGB is then one 3x4 matrix,
    in which colour space, brightness, contrast, saturation, hue and normalisation are already multiplied together.
    Colours are clamped once, to [0, 1] before normalisation.

    Differences from the usual order (decode to RGB, resize, jitter in turn): hue turns the chroma plane of YIQ, which
    keeps luma, while PIL's and torchvision's hue turns HSV's, which does not; nothing is rounded or clamped in between;
    chroma is resized once, from half the resolution.
    """

    def augment(
        self,
        luma: UInt8[Tensor, "B T H W"],
        chroma: UInt8[Tensor, "B 2 T H2 W2"],
        to_rgb: Float[Tensor, "B 3 4"],
        generator: torch.Generator,
    ) -> Float[Tensor, "B 3 T {self.size} {self.size}"]:
        """A network's input of clips (see `avid_lab.media.planes`): normalised, where `forward` is in [0, 1]."""
        (clips, frames, height, width), device, size = luma.shape, luma.device, self.size
        draw = torch.rand(clips, 9, generator=generator, device=generator.device).to(device)
        top, left, crop_height, crop_width = _draw_crop(draw[:, :4], self.scale, height, width)
        flip = (draw[:, 4] < self.flip).tolist()
        planes = torch.empty(clips, 3, frames, size, size, device=device)
        # A chroma sample is centred between four luma samples: FFmpeg's scaler assumes this, whatever the header says.
        for plane, out, scale in ((luma[:, None], planes[:, :1], 1), (chroma, planes[:, 1:], 2)):
            rows = _parts_and_matrices(top / scale, crop_height / scale, plane.shape[3], size)
            columns = _parts_and_matrices(left / scale, crop_width / scale, plane.shape[4], size)
            for clip, (high, down), (wide, across), turned in zip(range(clips), rows, columns, flip, strict=True):
                image = plane[clip, ..., high, wide].float().flatten(0, 1)  # (C T, h, w)
                image = torch.matmul(image, (across.flip(0) if turned else across).T)  # (C T, h, size)
                torch.matmul(down, image, out=out[clip].view(-1, size, size))

        def factor(column: int, strength: float) -> Tensor:
            return 1 + strength * (2 * draw[:, column] - 1)

        brightness, contrast = factor(5, self.brightness), factor(6, self.contrast)
        colours = _colour_matrix(factor(7, self.saturation), factor(8, self.hue) - 1)
        colours = (brightness * contrast)[:, None, None] * colours
        black, std, luma_of = (torch.tensor(x, device=device) for x in (IMAGENET_MEAN, IMAGENET_STD, RGB_TO_YIQ[0]))
        pixels = planes.flatten(2)  # (B, 3, T * size * size)
        matrix, offset = to_rgb[:, :, :3], to_rgb[:, :, 3:]
        mean = luma_of @ (matrix @ pixels.mean(2, keepdim=True) + offset)  # (B, 1), the luma of each clip
        offset = colours @ offset + (brightness * (1 - contrast))[:, None, None] * mean[:, None]
        pixels = torch.baddbmm((offset - black[:, None]) / std[:, None], colours @ matrix / std[:, None], pixels)
        for channel, low, high in zip(pixels.unbind(1), -black / std, (1 - black) / std, strict=True):
            channel.clamp_(float(low), float(high))
        return pixels.view_as(planes)


def _parts_and_matrices(
    begin: Tensor, length: Tensor, full: int, size: int
) -> list[tuple[slice, Float[Tensor, "size part"]]]:
    """`_resize_matrix` of each clip, cut to the part of the axis that it looks at."""
    reach = (length / size).clamp(min=1)
    low = (begin - reach).floor().clamp(min=0).int().tolist()
    high = (begin + length + reach).ceil().clamp(max=full).int().tolist()
    whole = _resize_matrix(begin, length, full, size)
    parts = [slice(*ends) for ends in zip(low, high, strict=True)]
    return [(part, matrix[:, part]) for part, matrix in zip(parts, whole, strict=True)]


def _draw_crop(
    draw: Tensor, scale: tuple[float, float], height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height, width of a random crop of each clip, in (fractions of) pixels, from four uniform numbers."""
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draw[:, 0])
    aspect = torch.exp(math.log(4 / 3) * (2 * draw[:, 1] - 1))
    crop_height, crop_width = (area / aspect).sqrt().clamp(max=height), (area * aspect).sqrt().clamp(max=width)
    return (height - crop_height) * draw[:, 2], (width - crop_width) * draw[:, 3], crop_height, crop_width


def _resize_matrix(begin: Tensor, length: Tensor, full: int, size: int) -> Float[Tensor, "B size full"]:
    """Matrices that resize ``[begin, begin + length)`` of an axis of ``full`` pixels to ``size`` pixels.

    Rows are triangles, widened when scaling down so that nothing aliases, and sum to one.
    """
    step = (length / size)[:, None, None]
    centre = begin[:, None, None] + (torch.arange(size, device=begin.device)[:, None] + 0.5) * step  # (B, size, 1)
    pixel = torch.arange(full, device=begin.device) + 0.5
    weight = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0)
    return weight / weight.sum(2, keepdim=True)


def _colour_matrix(saturation: Tensor, turns: Tensor) -> Float[Tensor, "B 3 3"]:
    """Saturation, then a hue rotation, as matrices on RGB columns; both preserve luma and greys."""
    to_yiq, to_rgb = (matrix.to(saturation.dtype).to(saturation.device) for matrix in _yiq())
    chroma = torch.polar(saturation, 2 * math.pi * turns)  # scales and turns the chroma plane
    change = torch.zeros(len(turns), 3, 3, device=turns.device)
    change[:, 0, 0] = 1
    change[:, 1, 1] = change[:, 2, 2] = chroma.real
    change[:, 1, 2], change[:, 2, 1] = -chroma.imag, chroma.imag
    return to_rgb @ change @ to_yiq


@functools.cache
def _yiq() -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 3"]]:
    """From RGB to YIQ and back."""
    to_yiq = torch.tensor(RGB_TO_YIQ, dtype=torch.float64)
    return to_yiq, torch.linalg.inv(to_yiq)


def _resample(video: Tensor, rows: Tensor, columns: Tensor) -> Float[Tensor, "B 3 T size size"]:
    """Apply the row and column matrices of each clip; values in [0, 1]."""
    clips, channels, frames, _, width = video.shape
    size = rows.shape[1]
    image = video.to(torch.float32, memory_format=torch.contiguous_format).flatten(1, 2)  # (B, 3 T, H, W)
    image = torch.matmul(rows[:, None] / 255, image)  # (B, 3 T, size, W)
    image = torch.bmm(image.view(clips, -1, width), columns.transpose(1, 2))  # (B, 3 T size, size)
    return image.view(clips, channels, frames, size, size)


def planes_to_rgb(
    luma: UInt8[Tensor, "B T H W"], chroma: UInt8[Tensor, "B 2 T H2 W2"], to_rgb: Float[Tensor, "B 3 4"]
) -> UInt8[Tensor, "B 3 T H W"]:
    """Frames of `avid_lab.media.planes`, each sample of chroma for the four of luma around it."""
    chroma = chroma.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    planes = torch.cat([luma[:, None], chroma], 1).float()
    rgb = torch.einsum("bij,bjthw->bithw", to_rgb[:, :, :3], planes) + to_rgb[:, :, 3, None, None, None]
    return (rgb.clamp(0, 1) * 255).round().byte()


def centre_crop(video: UInt8[Tensor, "B 3 T H W"], size: int) -> Float[Tensor, "B 3 T {size} {size}"]:
    """The centre square of each frame, in [0, 1].

    Frames from `ClipDataset`, a seventh larger than ``size``, are only cropped. Larger frames are first scaled down to
    that size; smaller frames keep their whole shorter side.
    """
    height, width = video.shape[-2:]
    shorter, kept = min(height, width), side_for(size)
    if shorter == kept or (height, width) == (size, size):
        top, left = (height - size) // 2, (width - size) // 2
        return video[..., top : top + size, left : left + size] / 255
    side = torch.full((len(video),), size * shorter / kept if shorter > kept else shorter, device=video.device)
    rows = _resize_matrix((height - side) / 2, side, height, size)
    return _resample(video, rows, _resize_matrix((width - side) / 2, side, width, size))
