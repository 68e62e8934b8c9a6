"""Frames to a network's input: random crops, flips and colours."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor, nn

from avid_lab.config import side_for

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Luma and chroma (NTSC's YIQ): hue is a rotation of the chroma plane, which leaves luma and greys alone.
RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


class VideoAugmentation(nn.Module):
    """A random crop, flip and colour change: one draw per clip, the same for all its frames.

    Crops are resized by an anti-aliased bilinear filter: on a CPU as bytes, elsewhere by one matrix per axis for the
    whole batch. All colour changes are one 3x4 matrix. They come in the order brightness, contrast (about the clip's
    mean luma), saturation, hue, and are clamped to [0, 1] once, at the end.

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
        self,
        video: UInt8[Tensor, "B 3 T H W"],
        generator: torch.Generator,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> Float[Tensor, "B 3 T {self.size} {self.size}"]:
        """Augments a batch: (x - mean) / std of colours x in [0, 1], with channels last in memory."""
        draw = torch.rand(video.shape[0], 9, generator=generator, device=generator.device).cpu()
        crops = _draw_crops(draw[:, :4], self.scale, *video.shape[-2:])  # (B, 4)
        flip = draw[:, 4] < self.flip

        def factor(column: int, strength: float) -> Tensor:
            return 1 + strength * (2 * draw[:, column] - 1)

        brightness, contrast = factor(5, self.brightness), factor(6, self.contrast)
        colours = _colour_matrix(factor(7, self.saturation), factor(8, self.hue) - 1)
        colours = colours * (brightness * contrast)[:, None, None] / 255
        # Contrast pulls towards the clip's mean luma, which saturation and hue keep.
        grey = (brightness * (1 - contrast))[:, None] * torch.tensor(RGB_TO_YIQ[0]) / 255  # (B, 3)
        black, scale = torch.tensor(mean), torch.tensor(std)
        low, high = -black / scale, (1 - black) / scale
        colours, grey = colours / scale[:, None], grey[:, None] / scale[:, None]  # (B, 3, 3)
        out = torch.empty(len(video), video.shape[2], self.size, self.size, 3, device=video.device)
        if video.device.type == "cpu":
            for i, crop in enumerate(crops.tolist()):
                pixels = _resized(video[i], crop, bool(flip[i]), self.size)  # (T, S, S, 3)
                total = pixels.sum((1, 2), dtype=torch.int32).sum(0)  # exact, in whatever order threads add
                offset = low + grey[i] @ (total / pixels[..., 0].numel())
                _affine(pixels.float(), colours[i], offset, low, high, out[i])
            return out.permute(0, 4, 1, 2, 3)
        colours, grey, low, high = (x.to(video.device) for x in (colours, grey, low, high))
        image = _resampled(video, crops.to(video.device), flip.to(video.device), self.size)
        pixels = image.flatten(2)  # (B, 3, T * S * S)
        offset = low[:, None] + grey @ pixels.mean(2, keepdim=True)  # (B, 3, 1)
        pixels = torch.baddbmm(offset, colours, pixels).clamp(low[:, None], high[:, None])
        return out.permute(0, 4, 1, 2, 3).copy_(pixels.view_as(image))


def _draw_crops(
    draw: Float[Tensor, "B 4"], scale: tuple[float, float], height: int, width: int
) -> Int64[Tensor, "B 4"]:
    """Top, left, height, width of a random crop of each clip, in pixels, from four uniform numbers."""
    area = height * width * (scale[0] + (scale[1] - scale[0]) * draw[:, 0])
    aspect = torch.exp(math.log(4 / 3) * (2 * draw[:, 1] - 1))
    high = (area / aspect).sqrt().round().clamp(1, height)
    wide = (area * aspect).sqrt().round().clamp(1, width)
    return torch.stack([(height - high) * draw[:, 2], (width - wide) * draw[:, 3], high, wide], 1).round().long()


def _resized(clip: UInt8[Tensor, "3 T H W"], crop: Sequence[int], flip: bool, size: int) -> UInt8[Tensor, "T S S 3"]:
    """A crop (top, left, height, width), flipped and resized by an anti-aliased bilinear filter: bytes, for a CPU."""
    top, left, high, wide = crop
    frames = clip[:, :, top : top + high, left : left + wide].transpose(0, 1)  # (T, 3, h, w)
    frames = F.interpolate(frames, (size, size), mode="bilinear", antialias=True)
    return (frames.flip(3) if flip else frames).permute(0, 2, 3, 1)


def _resampled(
    video: UInt8[Tensor, "B 3 T H W"], crops: Int64[Tensor, "B 4"], flip: Bool[Tensor, "B"], size: int
) -> Float32[Tensor, "B 3 T S S"]:
    """As `_resized`, of a batch with one matrix per axis, for a GPU; values in [0, 255]."""
    clips, channels, frames, height, width = video.shape
    top, left, high, wide = crops.T.float()
    rows, columns = _resize_matrix(top, high, height, size), _resize_matrix(left, wide, width, size)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    image = video.to(torch.float32, memory_format=torch.contiguous_format).flatten(1, 2)  # (B, 3 T, H, W)
    image = torch.matmul(rows[:, None], image)  # (B, 3 T, S, W)
    image = torch.bmm(image.view(clips, -1, width), columns.transpose(1, 2))  # (B, 3 T S, S)
    return image.view(clips, channels, frames, size, size)


def _affine(
    pixels: Float32[Tensor, "T S S 3"], matrix: Tensor, offset: Tensor, low: Tensor, high: Tensor, out: Tensor
) -> None:
    """``matrix @ pixel + offset`` of every pixel, clamped to [low, high]."""
    # Eight pixels a row: a product with only three columns is slow on a CPU.
    count = 8 if pixels.numel() % 24 == 0 else 1
    rows = out.view(-1, 3 * count)
    torch.addmm(offset.repeat(count), pixels.reshape(-1, 3 * count), torch.block_diag(*[matrix.T] * count), out=rows)
    torch.clamp(rows, low.repeat(count), high.repeat(count), out=rows)


def _resize_matrix(begin: Tensor, length: Tensor, full: int, size: int) -> Float[Tensor, "B size full"]:
    """Matrices that resize ``[begin, begin + length)`` of an axis of ``full`` pixels to ``size`` pixels.

    Rows are triangles, widened when scaling down so that nothing aliases, and sum to one.
    """
    step = (length / size)[:, None, None]
    centre = begin[:, None, None] + (torch.arange(size, device=begin.device)[:, None] + 0.5) * step  # (B, size, 1)
    pixel = torch.arange(full, device=begin.device) + 0.5
    weight = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0)
    weight = weight * ((pixel > begin[:, None, None]) & (pixel < (begin + length)[:, None, None]))
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
    side = round(size * shorter / kept) if shorter > kept else shorter
    top, left = (height - side) // 2, (width - side) // 2
    frames = video[..., top : top + side, left : left + side].transpose(1, 2).flatten(0, 1)  # (B T, 3, side, side)
    frames = F.interpolate(frames / 255, (size, size), mode="bilinear", antialias=True)
    return frames.unflatten(0, (len(video), -1)).transpose(1, 2)
