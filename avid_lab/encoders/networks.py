"""The video and the audio network: a stem, four blocks, a global max."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avid_lab.encoders.blocks import AudioBlock, FactoredConv3d, VideoBlock


class Encoder(nn.Module):
    """A stem and four blocks, then a global max: what the video and the audio network have in common.

    Args:
        stages: ``stem``, ``block1`` ... ``block4`` by name, so that a probe can read any of them.
        widths: Channels of every stage.
        pooled: How many of the last stages are pooled. Their maxima are concatenated.

    Attributes:
        features: Size F of the pooled output.
    """

    def __init__(self, stages: OrderedDict[str, nn.Module], widths: Sequence[int], pooled: int = 1) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.pooled = tuple(stages)[-pooled:]
        self.features = sum(widths[-pooled:])

    def block_maps(self, x: Tensor) -> dict[str, Tensor]:
        """The feature map after every stage, by name."""
        maps = {}
        for name, stage in self.stages.items():
            maps[name] = x = stage(x)
        return maps

    def forward(self, x: Tensor) -> Float[Tensor, "B F"]:
        """Global max over time and space of the last block, or of the last few."""
        maxima = []
        for name, stage in self.stages.items():
            x = stage(x)
            if name in self.pooled:
                maxima.append(x.flatten(2).amax(2))
        return torch.cat(maxima, 1)


class VideoEncoder(Encoder):
    """The paper's R(2+1)D variant: 18 layers and 15.38 M parameters with the default widths and blocks.

    Args:
        widths: Channels of the stem and the four stages.
        blocks: Residual blocks in each stage: (1, 1, 1, 1) is depth 10, (2, 2, 2, 2) depth 18, (3, 4, 6, 3) depth 34.
        stem_kernel: Kernel (time, height, width) of the stem.
        stem_stride: Its stride.
        stem_pool: Whether a 1x3x3 max pool of stride (1, 2, 2) follows the stem.
        pooled: How many of the last blocks make the features.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 64, 128, 256, 512),
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        stem_kernel: tuple[int, int, int] = (3, 7, 7),
        stem_stride: tuple[int, int, int] = (1, 2, 2),
        stem_pool: bool = True,
        pooled: int = 1,
    ) -> None:
        padding = ((stem_kernel[0] - 1) // 2, (stem_kernel[1] - 1) // 2, (stem_kernel[2] - 1) // 2)
        stem: list[nn.Module] = [
            FactoredConv3d(3, widths[0], stem_kernel, stride=stem_stride, padding=padding, bias=False),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        if stem_pool:
            stem.append(nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))
        stages: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(*stem))
        for stage, depth in enumerate(blocks, start=1):
            first = VideoBlock(widths[stage - 1], widths[stage], stride=1 if stage == 1 else 2)
            rest = [VideoBlock(widths[stage], widths[stage], stride=1) for _ in range(depth - 1)]
            stages[f"block{stage}"] = nn.Sequential(first, *rest)
        super().__init__(stages, widths, pooled)


class AudioEncoder(Encoder):
    """The paper's audio network on log spectrograms: nine convolutions, 4.73 M parameters with the default widths.

    Args:
        widths: Channels of the 7x7 stem (stride 2) and of the four blocks (strides 2, 2, 2, 1).
        pooled: How many of the last blocks make the features.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 64, 128, 256, 512), pooled: int = 1) -> None:
        stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        stages: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
        for block in range(1, 5):
            stages[f"block{block}"] = AudioBlock(widths[block - 1], widths[block], stride=1 if block == 4 else 2)
        super().__init__(stages, widths, pooled)


class TorchvisionVideoEncoder(Encoder):
    """torchvision's R(2+1)D-18, untrained, for comparison: 31.3 M parameters.

    Unlike the paper's network it widens between the spatial and the temporal convolution, so that each pair has as many
    weights as a full 3-D one, and it normalises before the sum. It has no pooling after the stem. Blocks have the same
    names, and the features are a global max as in `VideoEncoder`.
    """

    def __init__(self, pooled: int = 1) -> None:
        from torchvision.models.video import r2plus1d_18  # costs half a second, so it is imported lazily

        network = r2plus1d_18(weights=None)
        blocks = {f"block{i}": getattr(network, f"layer{i}") for i in range(1, 5)}
        super().__init__(OrderedDict(stem=network.stem, **blocks), (64, 64, 128, 256, 512), pooled)
