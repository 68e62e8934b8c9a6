"""The losses, as pure functions of scores or of embeddings.

Two shapes of loss cover the field, and any function of the same shape takes their place:

* a *score loss* ``f(positive_scores (B, P), negative_scores (B, K), partition) -> scalar`` compares each query with
  memories; `AVID` and `CMA` call it once per term;
* a *batch loss* ``f(video (B, D), audio (B, D)) -> scalar`` compares the clips of one batch with each other.

Scores are similarities already divided by the temperature.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class ScoreLoss(Protocol):
    """What `AVID` and `CMA` accept as ``loss``: `nce_loss`, `nce_softmax_loss` or a function of your own."""

    def __call__(self, positive_scores: Tensor, negative_scores: Tensor, partition: Tensor, /) -> Tensor:
        """(B, P) positives, (B, K) negatives and the partition constant Z -> a scalar to minimise."""
        ...


def nce_loss(
    positive_scores: Float[Tensor, "B P"], negative_scores: Float[Tensor, "B K"], partition: Tensor | float
) -> Float[Tensor, ""]:
    r"""Noise-contrastive estimation: is this pair real, or one of K drawn from noise?

    With :math:`c = \log(K Z)`, averaged over positives p and queries,

    .. math:: -\log\frac{e^{s_p}}{e^{s_p} + KZ} - \sum_k \log\frac{KZ}{e^{s_k} + KZ}
              = \operatorname{softplus}(c - s_p) + \sum_k \operatorname{softplus}(s_k - c).

    The softplus form never computes :math:`e^{1/0.07}`, which overflows half precision.

    Args:
        positive_scores: s_p, similarity / temperature of the P positives of each query.
        negative_scores: s_k, the same for its K negatives.
        partition: Z, the constant that makes exp(score) / (N Z) a probability; about the mean of exp(negative score).

    Returns:
        The mean loss over queries and positives.

    Raises:
        ValueError: The shapes do not fit, or Z is not above zero.

    Source: equation 3 of the paper; Gutmann and Hyvärinen, 2010.
    """
    check_scores(positive_scores, negative_scores)
    positive_scores, negative_scores = positive_scores.float(), negative_scores.float()
    log_kz = math.log(negative_scores.shape[1]) + _log_partition(partition, positive_scores)
    positive = F.softplus(log_kz - positive_scores).mean(1)  # (B,)
    negative = F.softplus(negative_scores - log_kz).sum(1)  # (B,)
    return (positive + negative).mean()


def nce_softmax_loss(
    positive_scores: Float[Tensor, "B P"],
    negative_scores: Float[Tensor, "B K"],
    partition: Tensor | float | None = None,
) -> Float[Tensor, ""]:
    r"""Softmax cross-entropy over the same positives and negatives; needs no Z.

    :math:`-s_p + \log(e^{s_p} + \sum_k e^{s_k})`, averaged over positives and queries (InfoNCE with a memory).

    Args:
        positive_scores: Scores of the P positives of each query.
        negative_scores: Scores of its K negatives.
        partition: Ignored; present so that it can replace `nce_loss`.

    Raises:
        ValueError: The shapes do not fit.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding"; He et al., "MoCo".
    """
    check_scores(positive_scores, negative_scores)
    positive_scores, negative_scores = positive_scores.float(), negative_scores.float()
    noise = negative_scores.logsumexp(1, keepdim=True)  # (B, 1)
    return (torch.logaddexp(positive_scores, noise) - positive_scores).mean()


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
        ValueError: The shapes differ or the temperature is not above zero.

    Source: van den Oord et al. 2018; Radford et al., "CLIP".
    """
    check_embeddings(video, audio)
    scores = video.float() @ audio.float().T / check_temperature(temperature)  # (B, B)
    target = torch.arange(len(video), device=video.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def sigmoid_loss(
    video: Float[Tensor, "B D"], audio: Float[Tensor, "B D"], temperature: float = 0.1, bias: float | Tensor = -10.0
) -> Float[Tensor, ""]:
    r"""SigLIP: every pair of the batch is its own yes-or-no question, no softmax.

    :math:`-\frac1B \sum_{ij} \log\sigma\big(y_{ij} (v_i \cdot a_j / \tau + b)\big)` with y = 1 on the diagonal, else -1.

    Args:
        video: Unit video embeddings.
        audio: Unit audio embeddings of the same clips.
        temperature: tau; 0.1 is the published start.
        bias: b; -10 is the published start: most pairs are negatives.

    Raises:
        ValueError: The shapes differ or the temperature is not above zero.

    Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training".
    """
    check_embeddings(video, audio)
    scores = video.float() @ audio.float().T / check_temperature(temperature) + bias  # (B, B)
    sign = 2 * torch.eye(len(video), device=video.device) - 1
    return -F.logsigmoid(sign * scores).sum() / len(video)


def check_scores(positive_scores: Tensor, negative_scores: Tensor) -> None:
    """Refuse scores that do not belong together.

    Raises:
        ValueError: They are not (B, P) and (B, K) with the same B and at least one column each.
    """
    got = f"{tuple(positive_scores.shape)} and {tuple(negative_scores.shape)}"
    rule = "positive_scores and negative_scores must be (B, P) and (B, K) with P, K >= 1"
    if positive_scores.ndim != 2 or negative_scores.ndim != 2 or len(positive_scores) != len(negative_scores):
        raise ValueError(f"{rule} and the same B; got {got}")
    if 0 in positive_scores.shape or 0 in negative_scores.shape:
        raise ValueError(f"{rule}; got {got}")


def check_embeddings(video: Tensor, audio: Tensor) -> None:
    """Refuse embeddings that are not pairs.

    Raises:
        ValueError: They are not two (B, D) tensors of one shape and device.
    """
    if video.ndim != 2 or video.shape != audio.shape:
        got = f"{tuple(video.shape)} and {tuple(audio.shape)}"
        raise ValueError(f"video and audio must both be (B, D), row i of each from the same clip; got {got}")
    if video.device != audio.device:
        raise ValueError(f"video and audio must be on one device; got {video.device} and {audio.device}")


def check_temperature(temperature: float) -> float:
    """Return the temperature, or refuse it.

    Raises:
        ValueError: It is not above zero.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0 (the paper uses 0.07); got {temperature}")
    return temperature


def _log_partition(partition: Tensor | float, like: Tensor) -> Tensor:
    z = torch.as_tensor(partition, dtype=like.dtype, device=like.device)
    if z.numel() != 1 or (z.device.type == "cpu" and not z > 0):
        raise ValueError(f"partition must be one number Z > 0; got {partition!r}")
    return z.log()
