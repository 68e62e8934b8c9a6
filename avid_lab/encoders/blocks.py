"""What the networks are made of: factored convolutions, residual and plain blocks, projection heads."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FactoredConv3d(nn.Conv3d):
    """A 3-D convolution that runs as a 2-D one whenever its kernel is flat in time or in space.

    A (1, k, k) kernel never mixes frames, so frames fold into the batch; a (k, 1, 1) kernel never mixes pixels, so the
    two spatial axes fold into one. Weights, result and gradient equal those of `nn.Conv3d`; 2-D kernels are faster.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        if torch.compiler.is_compiling():  # torch.compile chooses its own memory layout and fails on these views
            return super().forward(input)
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
        y = F.relu(self.spatial1_norm(self.spatial1(x)), inplace=True)
        y = F.relu(self.temporal1_norm(self.temporal1(y)), inplace=True)
        y = F.relu(self.spatial2_norm(self.spatial2(y)), inplace=True)
        return F.relu(self.out_norm(self.temporal2(y) + self.shortcut(x)), inplace=True)


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
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(x)), inplace=True)


class ProjectionHead(nn.Sequential):
    """An MLP with ReLU between its layers: features (B, F) -> (B, D).

    Args:
        features: F.
        hidden: Widths of the hidden layers.
        dim: D.
        norm: Whether batch normalisation follows every layer. The paper's heads have none: all embeddings then start
            out almost parallel, and it takes many passes over the data to spread them. With it they start apart.
    """

    def __init__(self, features: int, hidden: Iterable[int], dim: int, *, norm: bool = False) -> None:
        sizes = [features, *hidden, dim]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers.append(nn.Linear(size_in, size_out, bias=not norm))  # batch normalisation cancels a bias
            if norm:
                layers.append(nn.BatchNorm1d(size_out))
            layers.append(nn.ReLU())
        super().__init__(*layers[:-1])


def _spatial(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv3d:
    return FactoredConv3d(channels_in, channels_out, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False)


def _temporal(channels: int, stride: int = 1) -> nn.Conv3d:
    return FactoredConv3d(channels, channels, (3, 1, 1), (stride, 1, 1), padding=(1, 0, 0), bias=False)
