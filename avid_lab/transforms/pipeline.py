"""Batches of clips to model inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.transforms.picture import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VideoAugmentation,
    centre_crop,
)
from avid_lab.transforms.sound import LogSpectrogram


@runtime_checkable
class Clips(Protocol):
    """The part of a dataset that `InputPipeline.fit` needs."""

    def __len__(self) -> int: ...

    def sounds(self, index: Int64[Tensor, "B"]) -> Float32[Tensor, "B 1 samples"]:
        """The sound in the middle of each of these clips."""
        ...


class InputPipeline(nn.Module):
    """Converts batches of a `ClipDataset` to model inputs: ``video, spectrogram = pipeline(batch, generator=...)``.

    In training mode it augments, with one draw per clip; in evaluation mode it takes the centre crop and draws nothing.
    Its state holds the spectrogram's statistics, so a saved model normalises its inputs as in training.

    Args:
        video: Format of the frames; ``size`` is the side of the crop.
        audio: Format of waveforms and spectrograms.
        augmentation: Of training. None: the default `VideoAugmentation`, which `Trainer` replaces with that of its
            configuration.
        gain: In training the waveform is multiplied by a number drawn from [1 - gain, 1 + gain].

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
    ) -> None:
        super().__init__()
        if video.size is None:
            raise ValueError("InputPipeline needs a VideoSpec with a size; got size=None")
        if not 0 <= gain < 1:
            raise ValueError(f"gain must be in [0, 1); got {gain}")
        self.size, self.gain = video.size, gain
        self.augmentation = augmentation or VideoAugmentation(video.size)
        self.default_augmentation = augmentation is None
        self.spectrogram = LogSpectrogram(audio)
        self.register_buffer("pixel_mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(IMAGENET_STD).view(3, 1, 1, 1), persistent=False)

    def forward(
        self, batch: Mapping[str, Any], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "B 3 T {self.size} {self.size}"], Float[Tensor, "B 1 frames bins"]]:
        """Network inputs of a batch, on the pipeline's device.

        Args:
            batch: ``video`` uint8 (B, 3, T, H, W) and ``audio`` float (B, 1, samples); other entries are ignored.
            generator: Draws the augmentation; needed in training mode, not used in evaluation mode.

        Raises:
            ValueError: Training mode without a generator.
        """
        made = self.senses(batch, generator)
        return made["video"], made["audio"]

    def senses(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """As `forward`, by name, for batches that may have pictures or sounds only: "video", "audio" or both."""
        if not self.training:
            generator = None
        elif generator is None:
            raise ValueError(
                "augmentation draws random numbers: pass generator=torch.Generator(), or call .eval() first"
            )
        made = {}
        if "video" in batch:
            video = batch["video"].to(self.pixel_mean.device)
            if generator is None:
                made["video"] = self._normalise(centre_crop(video, self.size))
            else:
                made["video"] = self.augmentation(video, generator, IMAGENET_MEAN, IMAGENET_STD)
        if "audio" in batch:
            audio = batch["audio"].to(self.pixel_mean.device)
            if generator is not None:
                draw = torch.rand(len(audio), 1, 1, generator=generator, device=generator.device).to(audio.device)
                audio = audio * (1 + self.gain * (2 * draw - 1))
            made["audio"] = self.spectrogram(audio)
        return made

    def fit(self, clips: Clips, *, limit: int = 512) -> InputPipeline:
        """Measure the spectrogram's statistics on the centre windows of up to ``limit`` clips, evenly spaced.

        Raises:
            ValueError: There are no clips.
        """
        if len(clips) == 0:
            raise ValueError("fit needs at least one clip; got none")
        index = torch.linspace(0, len(clips) - 1, min(limit, len(clips))).round().long()
        self.spectrogram.fit(clips.sounds(index))
        return self

    def pixels(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B 3 T H W"]:
        """Undo the normalisation: values in [0, 1], for display."""
        return (video * self.pixel_std + self.pixel_mean).clamp(0, 1)

    def _normalise(self, video: Tensor) -> Tensor:
        # Channels last in memory: convolutions on a CPU take such clips a fifth faster.
        out = torch.empty_like(video, memory_format=torch.channels_last_3d)
        return torch.addcmul(-self.pixel_mean / self.pixel_std, video, 1 / self.pixel_std, out=out)
