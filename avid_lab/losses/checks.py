"""Checks of the losses' input."""

from __future__ import annotations

import torch
from torch import Tensor


def check_scores(positive_scores: Tensor, negative_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Check that scores fit together; return them in at least single precision.

    Raises:
        ValueError: They are not (B, P) and (B, K) with the same B and at least one column each, on one device.
    """
    got = f"{tuple(positive_scores.shape)} and {tuple(negative_scores.shape)}"
    rule = "positive_scores and negative_scores must be (B, P) and (B, K) with B, P, K >= 1"
    if positive_scores.ndim != 2 or negative_scores.ndim != 2 or len(positive_scores) != len(negative_scores):
        raise ValueError(f"{rule} and the same B; got {got}")
    if 0 in positive_scores.shape or 0 in negative_scores.shape:
        raise ValueError(f"{rule}; got {got}")
    check_device(positive_scores=positive_scores, negative_scores=negative_scores)
    return at_least_single(positive_scores), at_least_single(negative_scores)


def check_embeddings(video: Tensor, audio: Tensor) -> None:
    """Check that embeddings are pairs.

    Raises:
        ValueError: They are not two (B, D) tensors of one shape and device.
    """
    if video.ndim != 2 or video.shape != audio.shape or 0 in video.shape:
        got = f"{tuple(video.shape)} and {tuple(audio.shape)}"
        raise ValueError(f"video and audio must both be (B, D), row i of each from the same clip; got {got}")
    check_device(video=video, audio=audio)


def check_temperature(temperature: float) -> float:
    """Check the temperature and return it.

    Raises:
        ValueError: It is not above zero.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0 (the paper uses 0.07); got {temperature}")
    return temperature


def check_device(**tensors: Tensor) -> None:
    """Check that tensors are on one device.

    Raises:
        ValueError: Their devices differ.
    """
    if len({tensor.device for tensor in tensors.values()}) > 1:
        names, got = " and ".join(tensors), ", ".join(f"{name} on {x.device}" for name, x in tensors.items())
        raise ValueError(f"{names} must be on one device; got {got}. Move them with .to(device).")


def at_least_single(x: Tensor) -> Tensor:
    """Convert half precision to single and keep anything wider: e^(1 / 0.07) does not fit half precision."""
    return x if x.dtype == torch.float64 else x.float()
