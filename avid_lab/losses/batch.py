"""Batch losses: each clip of a batch against the others, without a memory."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from avid_lab.losses.checks import at_least_single, check_embeddings, check_temperature


@runtime_checkable
class BatchLoss(Protocol):
    """What `InBatch` accepts as ``loss``: `info_nce_loss`, `sigmoid_loss`, `robust_loss` or your own function."""

    def __call__(self, video: Tensor, audio: Tensor, temperature: float, /) -> Tensor:
        """Unit embeddings (B, D) of the same clips and the temperature -> a scalar to minimise."""
        ...


def info_nce_loss(
    video: Float[Tensor, "B D"], audio: Float[Tensor, "B D"], temperature: float = 0.07
) -> Float[Tensor, ""]:
    r"""In-batch InfoNCE, both directions: the other clips of the batch are the negatives.

    :math:`\tfrac12 (\mathrm{CE}(S) + \mathrm{CE}(S^\top))` with :math:`S = v a^\top / \tau` and the diagonal as target.

    Args:
        video: Unit video embeddings.
        audio: Unit audio embeddings; row i is the same clip as row i of ``video``.
        temperature: tau, above zero.

    Raises:
        ValueError: The shapes or devices differ or the temperature is not above zero.

    Source: van den Oord et al. 2018; Radford et al., "CLIP".
    """
    scores = pair_scores(video, audio, temperature)  # (B, B)
    target = torch.arange(len(video), device=video.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def sigmoid_loss(
    video: Float[Tensor, "B D"], audio: Float[Tensor, "B D"], temperature: float = 0.1, bias: float | Tensor = -10.0
) -> Float[Tensor, ""]:
    r"""SigLIP: a binary decision for every pair of the batch, without a softmax.

    :math:`-\frac1B \sum_{ij} \log\sigma\big(y_{ij} (v_i \cdot a_j / \tau + b)\big)`, y = 1 on the diagonal, else -1.

    Args:
        video: Unit video embeddings.
        audio: Unit audio embeddings of the same clips.
        temperature: tau; 0.1 is the published start.
        bias: b; -10 is the published start: most pairs are negatives.

    Raises:
        ValueError: The shapes or devices differ or the temperature is not above zero.

    Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training".
    """
    scores = pair_scores(video, audio, temperature) + bias  # (B, B)
    sign = 2 * torch.eye(len(video), dtype=scores.dtype, device=video.device) - 1
    return -F.logsigmoid(sign * scores).sum() / len(video)


def pair_scores(video: Tensor, audio: Tensor, temperature: float) -> Tensor:
    """(B, B) scores of every picture with every sound, in at least single precision, also under autocast."""
    check_embeddings(video, audio)
    with torch.autocast(video.device.type, enabled=False):  # it would round the product to half precision
        return at_least_single(video) @ at_least_single(audio).T / check_temperature(temperature)
