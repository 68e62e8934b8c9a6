"""The two encoders of AVID: an R(2+1)D video network and a nine-layer audio network, each with a projection head.

Shapes: video (B, 3, T, H, W), spectrogram (B, 1, frames, bins), features (B, F), embeddings (B, D) of unit length.
Source: Morgado, Vasconcelos, Misra, "Audio-Visual Instance Discrimination with Cross-Modal Agreement", section 3.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from avid_lab.config import PRESETS, ModelConfig


class FactoredConv3d(nn.Conv3d):
    """A 3-D convolution that runs as a 2-D one whenever its kernel is flat in time or in space.

    A (1, k, k) kernel never mixes frames, so frames fold into the batch; a (k, 1, 1) kernel never mixes pixels, so the two
    spatial axes fold into one. Weights, result and gradient are those of `nn.Conv3d`; 2-D kernels are simply faster.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        if self.kernel_size[0] == 1 and self.stride[0] == 1:
            batch, time = input.shape[0], input.shape[2]
            frames = input.transpose(1, 2).flatten(0, 1)  # (B T, C, H, W)
            frames = F.conv2d(frames, self.weight.squeeze(2), self.bias, self.stride[1:], self.padding[1:])
            return frames.unflatten(0, (batch, time)).transpose(1, 2)
        if self.kernel_size[1:] == (1, 1) and self.stride[1:] == (1, 1):
            height, width = input.shape[3:]
            columns = input.flatten(3)  # (B, C, T, H W)
            columns = F.conv2d(
                columns, self.weight.squeeze(4), self.bias, (self.stride[0], 1), (int(self.padding[0]), 0)
            )
            return columns.unflatten(3, (height, width))
        return super().forward(input)


class VideoBlock(nn.Module):
    """Two (2+1)D convolutions with a shortcut; batch normalisation of the sum comes last.

    Each convolution is spatial (1, 3, 3), then temporal (3, 1, 1), with no widening in between. A strided
    1x1x1 convolution carries the shortcut where the shape changes.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.spatial1, self.spatial1_norm = _spatial(channels_in, channels_out, stride), nn.BatchNorm3d(channels_out)
        self.temporal1, self.temporal1_norm = _temporal(channels_out, stride), nn.BatchNorm3d(channels_out)
        self.spatial2, self.spatial2_norm = _spatial(channels_out, channels_out), nn.BatchNorm3d(channels_out)
        self.temporal2 = _temporal(channels_out)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and channels_in == channels_out
            else nn.Conv3d(channels_in, channels_out, kernel_size=1, stride=stride, bias=False)
        )
        self.out_norm = nn.BatchNorm3d(channels_out)

    def forward(self, x: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B C2 T2 H2 W2"]:
        """One residual block."""
        y = F.relu(self.spatial1_norm(self.spatial1(x)))
        y = F.relu(self.temporal1_norm(self.temporal1(y)))
        y = F.relu(self.spatial2_norm(self.spatial2(y)))
        return F.relu(self.out_norm(self.temporal2(y) + self.shortcut(x)))


class AudioBlock(nn.Module):
    """Two 3x3 convolutions, each followed by batch normalisation and ReLU; the first may be strided."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """One plain block."""
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class Encoder(nn.Module):
    """A stem and four blocks, then a global max: what the video and the audio network have in common.

    Attributes:
        stages: ``stem``, ``block1`` ... ``block4`` by name, so that a probe can read any of them.
        features: Size F of the pooled output.
    """

    def __init__(self, stages: OrderedDict[str, nn.Module], features: int) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.features = features

    def block_maps(self, x: Tensor) -> dict[str, Tensor]:
        """The feature map after every stage, by name."""
        maps = {}
        for name, stage in self.stages.items():
            maps[name] = x = stage(x)
        return maps

    def forward(self, x: Tensor) -> Float[Tensor, "B F"]:
        """Global max over time and space of the last block."""
        for stage in self.stages.values():
            x = stage(x)
        return x.flatten(2).amax(2)


class VideoEncoder(Encoder):
    """The paper's R(2+1)D variant: 18 layers and 15.38 M parameters with the default widths and blocks.

    Args:
        widths: Channels of the stem and the four stages.
        blocks: Residual blocks in each stage: (1, 1, 1, 1) is depth 10, (2, 2, 2, 2) depth 18, (3, 4, 6, 3) depth 34.
        stem_kernel: Kernel (time, height, width) of the stem, which strides (1, 2, 2).
        stem_pool: Whether a 1x3x3 max pool of stride (1, 2, 2) follows the stem.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 64, 128, 256, 512),
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        stem_kernel: tuple[int, int, int] = (3, 7, 7),
        stem_pool: bool = True,
    ) -> None:
        padding = (stem_kernel[0] // 2, stem_kernel[1] // 2, stem_kernel[2] // 2)
        stem: list[nn.Module] = [
            FactoredConv3d(3, widths[0], stem_kernel, stride=(1, 2, 2), padding=padding, bias=False),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(),
        ]
        if stem_pool:
            stem.append(nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))
        stages: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(*stem))
        for stage, depth in enumerate(blocks, start=1):
            first = VideoBlock(widths[stage - 1], widths[stage], stride=1 if stage == 1 else 2)
            rest = [VideoBlock(widths[stage], widths[stage], stride=1) for _ in range(depth - 1)]
            stages[f"block{stage}"] = nn.Sequential(first, *rest)
        super().__init__(stages, widths[-1])


class AudioEncoder(Encoder):
    """The paper's audio network on log spectrograms: nine convolutions, 4.73 M parameters with the default widths.

    Args:
        widths: Channels of the 7x7 stem (stride 2) and of the four blocks (strides 2, 2, 2, 1).
    """

    def __init__(self, widths: tuple[int, ...] = (64, 64, 128, 256, 512)) -> None:
        stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        stages: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
        for block in range(1, 5):
            stages[f"block{block}"] = AudioBlock(widths[block - 1], widths[block], stride=1 if block == 4 else 2)
        super().__init__(stages, widths[-1])


class ProjectionHead(nn.Sequential):
    """An MLP with ReLU between its layers and no normalisation: features (B, F) -> (B, D)."""

    def __init__(self, features: int, hidden: Iterable[int], dim: int) -> None:
        sizes = [features, *hidden, dim]
        layers: list[nn.Module] = []
        for size_in, size_out in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
        super().__init__(*layers[:-1])


class AudioVisualModel(nn.Module):
    """Two encoders and two heads: a clip in, a unit vector for its picture and one for its sound out.

    Args:
        config: What to build, see `ModelConfig`.
        seed: Seeds the initial weights without touching the global random state; ``None`` uses the global state.

    Example:
        >>> model = AudioVisualModel.preset("pocket", seed=0)
        >>> v, a = model(torch.randn(2, 3, 8, 48, 48), torch.randn(2, 1, 64, 65))
        >>> v.shape, a.shape
        (torch.Size([2, 128]), torch.Size([2, 128]))
    """

    def __init__(self, config: ModelConfig | None = None, *, seed: int | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            self.video_encoder = VideoEncoder(
                config.video_widths, config.video_blocks, config.video_stem, config.video_stem_pool
            )
            self.audio_encoder = AudioEncoder(config.audio_widths)
            self.video_head = ProjectionHead(self.video_encoder.features, config.head, config.dim)
            self.audio_head = ProjectionHead(self.audio_encoder.features, config.head, config.dim)

    @classmethod
    def preset(cls, name: str, *, seed: int | None = None) -> AudioVisualModel:
        """Build a named model: "pocket" (laptop CPU), "paper-small" (depth 10) or "paper" (R(2+1)D-18, 21.29 M).

        Raises:
            ValueError: No preset has this name.
        """
        if name not in PRESETS:
            raise ValueError(f"name must be a model preset: one of {', '.join(PRESETS)}; got {name!r}")
        return cls(PRESETS[name], seed=seed)

    def embed_video(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B D"]:
        """Unit embeddings of pictures."""
        return _unit(self.video_head(self.video_encoder(video)))

    def embed_audio(self, audio: Float[Tensor, "B 1 frames bins"]) -> Float[Tensor, "B D"]:
        """Unit embeddings of log spectrograms."""
        return _unit(self.audio_head(self.audio_encoder(audio)))

    def forward(
        self, video: Float[Tensor, "B 3 T H W"], audio: Float[Tensor, "B 1 frames bins"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Embed both halves of B clips.

        Args:
            video: Frames, ImageNet-normalised (`InputPipeline` makes them).
            audio: Log spectrograms, time before frequency, z-scored per bin.

        Returns:
            Video and audio embeddings, rows of unit length, in float32 also under autocast.

        Raises:
            ValueError: A tensor has the wrong number of axes or channels.
        """
        _check_input("video", video, 5, 3, "(B, 3, T, H, W)")
        _check_input("audio", audio, 4, 1, "(B, 1, frames, bins)")
        return self.embed_video(video), self.embed_audio(audio)

    def shapes(self) -> str:
        """A table of every stage: its output shape for one clip of the expected size, and its parameters."""
        video = torch.zeros(1, 3, self.config.video.frames, self.config.video.size or 112, self.config.video.size or 112)
        audio = torch.zeros(1, 1, self.config.audio.frames, self.config.audio.bins)
        lines = [f"{'stage':<14}{'output':<22}{'parameters':>12}", "-" * 48]
        mode = self.training
        self.eval()
        with torch.no_grad():
            for name, encoder, head, x in (
                ("video", self.video_encoder, self.video_head, video.to(_device(self))),
                ("audio", self.audio_encoder, self.audio_head, audio.to(_device(self))),
            ):
                lines.append(_row(f"{name} input", x, 0))
                for stage, out in encoder.block_maps(x).items():
                    lines.append(_row(f"{name} {stage}", out, _count(encoder.stages[stage])))
                features = encoder(x)
                lines += [_row(f"{name} max", features, 0), _row(f"{name} head", head(features), _count(head))]
        self.train(mode)
        return "\n".join([*lines, "-" * 48, f"{'total':<36}{_count(self):>12,}"])


def _spatial(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv3d:
    return FactoredConv3d(channels_in, channels_out, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False)


def _temporal(channels: int, stride: int = 1) -> nn.Conv3d:
    return FactoredConv3d(channels, channels, (3, 1, 1), (stride, 1, 1), padding=(1, 0, 0), bias=False)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)  # in float32: a half-precision norm loses three digits


def _check_input(name: str, x: Tensor, axes: int, channels: int, rule: str) -> None:
    if x.ndim != axes or x.shape[1] != channels:
        raise ValueError(f"{name} must have shape {rule}; got {tuple(x.shape)}")


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _row(name: str, x: Tensor, parameters: int) -> str:
    return f"{name:<14}{' x '.join(map(str, x.shape[1:])):<22}{parameters:>12,}"
