"""Clips to network inputs, a batch at a time, on the device the module is on.

`InputPipeline` is what training uses: `VideoAugmentation` (or a centre crop) and ImageNet normalisation for the
picture, a random gain and `LogSpectrogram` for the sound, with `TimeShift` and `SpectrogramMasking` on request. Every
random number comes from an explicit generator; with one on the CPU, CPU and GPU draw the same.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
import torchaudio.functional as AF
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from avid_lab.config import AudioSpec, VideoSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ROOM = 1.15  # frames come this much larger than the crop, as `ClipDataset` keeps them
CACHED_VALUES = 600_000  # float32 values that a CPU core works on at a time: about its second-level cache
# Luma and chroma (NTSC's YIQ): hue is a rotation of the chroma plane, which leaves luma and greys alone.
RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@runtime_checkable
class Clips(Protocol):
    """What `InputPipeline.fit` needs of a dataset."""

    def __len__(self) -> int: ...

    def batch(self, index: Int64[Tensor, "B"], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Windows of these clips."""
        ...


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
        ValueError: A range that makes no sense.
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
        # A sample of chroma lies amid four of luma: so FFmpeg's scaler writes and reads it, whatever the header says.
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
    """Saturation, then a hue turn, as matrices on RGB columns; both keep luma, and greys stay as they are."""
    to_yiq, to_rgb = (matrix.to(saturation) for matrix in _yiq())
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
    """Applies the row and column matrices of each clip; values in [0, 1]."""
    clips, channels, frames, _, width = video.shape
    size = rows.shape[1]
    image = video.to(torch.float32, memory_format=torch.contiguous_format).flatten(1, 2)  # (B, 3 T, H, W)
    image = torch.matmul(rows[:, None] / 255, image)  # (B, 3 T, size, W)
    image = torch.bmm(image.view(clips, -1, width), columns.transpose(1, 2))  # (B, 3 T size, size)
    return image.view(clips, channels, frames, size, size)


class LogSpectrogram(nn.Module):
    """The paper's log power spectrogram, time before frequency, z-scored per bin.

    A Hann STFT of length 2 * n_fft; of its n_fft + 1 power bins the lowest is kept and the others are averaged in
    pairs; then decibels, at most 100 below the clip's loudest value. Frame i is centred at sample
    i * (samples // frames), with silence beyond the ends.

    Args:
        spec: The waveforms and the spectrogram wanted.

    Attributes:
        mean: Per-bin mean in dB, (bins,), 0 until `fit`.
        std: Per-bin standard deviation in dB, (bins,), 1 until `fit`.
    """

    mean: Tensor
    std: Tensor
    window: Tensor

    def __init__(self, spec: AudioSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.zeros(spec.bins))
        self.register_buffer("std", torch.ones(spec.bins))
        self.register_buffer("window", torch.hann_window(2 * spec.n_fft), persistent=False)

    def forward(
        self, audio: Float[Tensor, "B 1 {self.spec.samples}"]
    ) -> Float[Tensor, "B 1 {self.spec.frames} {self.spec.bins}"]:
        """The z-scored spectrogram of each clip."""
        return (self.decibels(audio) - self.mean) / self.std

    def decibels(
        self, audio: Float[Tensor, "B 1 {self.spec.samples}"]
    ) -> Float[Tensor, "B 1 {self.spec.frames} {self.spec.bins}"]:
        """The spectrogram in dB, before the z-score: what a plot shows."""
        spec = self.spec
        # In single precision, rounding shows in what is 100 dB below the loudest, and differs between CPU and GPU.
        precise = torch.float32 if audio.device.type == "mps" else torch.float64
        spectrum = AF.spectrogram(
            audio.to(precise),
            pad=0,
            window=self.window.to(precise),
            n_fft=2 * spec.n_fft,
            hop_length=spec.samples // spec.frames,
            win_length=2 * spec.n_fft,
            power=None,
            normalized=False,
            pad_mode="constant",
        )
        power = spectrum.real.square() + spectrum.imag.square()  # several times faster than the square of abs
        power = power.float().transpose(2, 3)[:, :, : spec.frames]  # (B, 1, frames, n_fft + 1)
        paired = (power[..., 1::2] + power[..., 2::2]) / 2
        power = torch.cat([power[..., :1], paired], dim=3)
        return AF.amplitude_to_DB(power, multiplier=10.0, amin=1e-10, db_multiplier=0.0, top_db=100.0)

    @torch.no_grad()
    def fit(self, waveforms: Float[Tensor, "N 1 {self.spec.samples}"]) -> LogSpectrogram:
        """Measures mean and standard deviation of each bin over these waveforms.

        A bin that never changes (above the cut-off of all recordings) gets a deviation of 1.
        """
        levels = self.decibels(waveforms.to(self.mean.device)).flatten(0, 2).double()  # (N * frames, bins)
        std = levels.std(0, correction=0)
        self.mean.copy_(levels.mean(0))
        self.std.copy_(torch.where(std > 1e-3, std, 1.0))
        return self


class TimeShift(nn.Module):
    """Moves each waveform earlier or later by a random number of samples; silence comes in where it leaves.

    Args:
        samples: Longest move, in samples.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        if samples < 0:
            raise ValueError(f"samples must be >= 0; got {samples}")
        self.samples = samples

    def forward(self, audio: Float[Tensor, "B 1 S"], generator: torch.Generator) -> Float[Tensor, "B 1 S"]:
        """A moved copy."""
        draw = torch.rand(len(audio), 1, generator=generator, device=generator.device).to(audio.device)
        move = ((2 * draw - 1) * self.samples).round().long()
        source = torch.arange(audio.shape[2], device=audio.device) - move  # (B, S)
        moved = audio[:, 0].gather(1, source.clamp(0, audio.shape[2] - 1))
        return torch.where((source >= 0) & (source < audio.shape[2]), moved, 0.0)[:, None]


class SpectrogramMasking(nn.Module):
    """Sets one random stretch of time and one of frequency of each spectrogram to its mean, 0 (SpecAugment).

    Args:
        frames: Longest stretch of time, in frames.
        bins: Widest stretch of frequency, in bins.
    """

    def __init__(self, frames: int = 0, bins: int = 0) -> None:
        super().__init__()
        if frames < 0 or bins < 0:
            raise ValueError(f"frames and bins must be >= 0; got {frames} and {bins}")
        self.frames, self.bins = frames, bins

    def forward(self, spectrogram: Float[Tensor, "B 1 F K"], generator: torch.Generator) -> Float[Tensor, "B 1 F K"]:
        """A masked copy."""
        draw = torch.rand(spectrogram.shape[0], 4, generator=generator, device=generator.device).to(spectrogram.device)
        in_time = _stretch(draw[:, 0], draw[:, 1], self.frames, spectrogram.shape[2])
        in_frequency = _stretch(draw[:, 2], draw[:, 3], self.bins, spectrogram.shape[3])
        return spectrogram.masked_fill(in_time[:, None, :, None] | in_frequency[:, None, None, :], 0.0)


def _stretch(length: Tensor, place: Tensor, longest: int, total: int) -> Tensor:
    """True on a random stretch of at most ``longest`` of ``total`` positions, (B, total)."""
    length = (length * (min(longest, total) + 1)).floor()
    begin = (place * (total - length + 1)).floor()
    position = torch.arange(total, device=length.device)
    return (position >= begin[:, None]) & (position < (begin + length)[:, None])


class InputPipeline(nn.Module):
    """Batches of a `ClipDataset` to what a model takes: ``video, spectrogram = pipeline(batch, generator=...)``.

    In training mode it augments, with one draw per clip; in evaluation mode it takes the centre crop and draws nothing.
    Its state holds the spectrogram's statistics, so a saved model finds its inputs as it knew them.

    Args:
        video: Clips wanted; ``size`` is the side of the crop.
        audio: Waveforms and spectrogram wanted.
        augmentation: Replaces the default `PlaneAugmentation` of training, which is `VideoAugmentation` for frames.
        gain: In training the waveform is multiplied by a number drawn from [1 - gain, 1 + gain].
        shift: In training, an optional `TimeShift` of the waveform against the picture.
        masking: In training, an optional `SpectrogramMasking`.

    Raises:
        ValueError: ``video.size`` is None: a batch needs frames of one size.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        video: VideoSpec,
        audio: AudioSpec,
        *,
        augmentation: VideoAugmentation | None = None,
        gain: float = 0.1,
        shift: TimeShift | None = None,
        masking: SpectrogramMasking | None = None,
    ) -> None:
        super().__init__()
        if video.size is None:
            raise ValueError("InputPipeline needs a VideoSpec with a size; got size=None")
        if not 0 <= gain < 1:
            raise ValueError(f"gain must be in [0, 1); got {gain}")
        self.size, self.gain = video.size, gain
        self.augmentation = augmentation or PlaneAugmentation(video.size)
        self.spectrogram = LogSpectrogram(audio)
        self.shift, self.masking = shift, masking
        self.register_buffer("pixel_mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(IMAGENET_STD).view(3, 1, 1, 1), persistent=False)

    def forward(
        self, batch: Mapping[str, Any], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "B 3 T {self.size} {self.size}"], Float[Tensor, "B 1 frames bins"]]:
        """Network inputs of a batch, on the pipeline's device.

        Args:
            batch: ``video`` uint8 (B, 3, T, H, W) and ``audio`` float (B, 1, samples); other entries are ignored. Or,
                rather than ``video``, the ``luma``, ``chroma`` and ``to_rgb`` of ``ClipDataset(..., planes=True)``.
            generator: Draws the augmentation; needed in training mode, not used in evaluation mode.

        Raises:
            ValueError: Training mode without a generator, or planes with an augmentation that takes frames only.
        """
        device = self.pixel_mean.device
        audio = batch["audio"].to(device)
        planes = None
        if "luma" in batch:
            planes = batch["luma"].to(device), batch["chroma"].to(device), batch["to_rgb"].to(device)
        if not self.training:
            video = planes_to_rgb(*planes) if planes else batch["video"].to(device)
            return self._normalise(centre_crop(video, self.size)), self.spectrogram(audio)
        if generator is None:
            raise ValueError(
                "augmentation draws random numbers: pass generator=torch.Generator(), or call .eval() first"
            )
        if planes is None:
            video = self._normalise(self.augmentation(batch["video"].to(device), generator))
        elif isinstance(self.augmentation, PlaneAugmentation):
            video = self.augmentation.augment(*planes, generator).contiguous(memory_format=torch.channels_last_3d)
        else:
            kind = type(self.augmentation).__name__
            raise ValueError(f"planes need a PlaneAugmentation; got {kind}: pass that, or ClipDataset(planes=False)")
        draw = torch.rand(len(audio), 1, 1, generator=generator, device=generator.device).to(device)
        audio = audio * (1 + self.gain * (2 * draw - 1))
        if self.shift is not None:
            audio = self.shift(audio, generator)
        spectrogram = self.spectrogram(audio)
        if self.masking is not None:
            spectrogram = self.masking(spectrogram, generator)
        return video, spectrogram

    def fit(self, clips: Clips, *, limit: int = 512) -> InputPipeline:
        """Measures the spectrogram's statistics on the centre windows of up to ``limit`` clips, evenly spaced.

        Raises:
            ValueError: There are no clips.
        """
        if len(clips) == 0:
            raise ValueError("fit needs at least one clip; got none")
        index = torch.linspace(0, len(clips) - 1, min(limit, len(clips))).round().long()
        self.spectrogram.fit(torch.cat([clips.batch(part)["audio"] for part in index.split(64)]))
        return self

    def pixels(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B 3 T H W"]:
        """Undoes the normalisation: values in [0, 1], to look at."""
        return (video * self.pixel_std + self.pixel_mean).clamp(0, 1)

    def _normalise(self, video: Tensor) -> Tensor:
        # Channels last in memory: convolutions on a CPU take such clips a fifth faster.
        out = torch.empty_like(video, memory_format=torch.channels_last_3d)
        return torch.addcmul(-self.pixel_mean / self.pixel_std, video, 1 / self.pixel_std, out=out)


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

    Frames as `ClipDataset` keeps them, 15 % larger than ``size``, are only cut; larger ones are scaled down to that
    first, smaller ones keep their whole shorter side.
    """
    height, width = video.shape[-2:]
    shorter, kept = min(height, width), math.ceil(ROOM * size)
    if shorter == kept or (height, width) == (size, size):
        top, left = (height - size) // 2, (width - size) // 2
        return video[..., top : top + size, left : left + size] / 255
    side = torch.full((len(video),), size * shorter / kept if shorter > kept else shorter, device=video.device)
    rows = _resize_matrix((height - side) / 2, side, height, size)
    return _resample(video, rows, _resize_matrix((width - side) / 2, side, width, size))
