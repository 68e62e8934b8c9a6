"""Score losses: each query against its positives and K negatives, as `AVID` and `CMA` call them."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from avid_lab.losses.checks import check_scores, check_temperature


@runtime_checkable
class ScoreLoss(Protocol):
    """What `AVID` and `CMA` accept as ``loss``: any function below, or your own with the same arguments."""

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
        The mean loss over queries and positives, in single precision or better.

    Raises:
        ValueError: The shapes or devices do not fit, or Z is not above zero.

    Source: equation 3 of the paper; Gutmann and Hyvärinen, 2010.
    """
    positive_scores, negative_scores = check_scores(positive_scores, negative_scores)
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
        ValueError: The shapes or devices do not fit.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding"; He et al., "MoCo".
    """
    positive_scores, negative_scores = check_scores(positive_scores, negative_scores)
    noise = negative_scores.logsumexp(1, keepdim=True)  # (B, 1)
    return (torch.logaddexp(positive_scores, noise) - positive_scores).mean()


def debiased_loss(
    positive_scores: Float[Tensor, "B P"],
    negative_scores: Float[Tensor, "B K"],
    partition: Tensor | float | None = None,
    *,
    class_prior: float = 0.1,
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    r"""Softmax cross-entropy that subtracts the negatives expected to be false.

    A share :math:`\rho` of random negatives has the query's own class. The positives estimate their scores, so

    .. math:: -\log\frac{e^{s_p}}{e^{s_p} + G}, \qquad
        G = \max\Big\{\tfrac{1}{1 - \rho}\Big(\sum_k e^{s_k} - \rho K \tfrac1P \sum_p e^{s_p}\Big),\;
        K e^{-1/\tau}\Big\}.

    The lower bound is the smallest value that K negatives of unit length can have.

    Args:
        positive_scores: Scores of the P positives of each query.
        negative_scores: Scores of its K negatives.
        partition: Ignored; present so that it can replace `nce_loss`.
        class_prior: rho, in [0, 1); about 1 / number of classes. 0 is `nce_softmax_loss`.
        temperature: tau that the scores were divided by.

    Raises:
        ValueError: The shapes or devices do not fit, or a setting is out of range.

    Source: Chuang et al., "Debiased Contrastive Learning", 2020.
    """
    return hard_negative_loss(
        positive_scores, negative_scores, hardness=0.0, class_prior=class_prior, temperature=temperature
    )


def hard_negative_loss(
    positive_scores: Float[Tensor, "B P"],
    negative_scores: Float[Tensor, "B K"],
    partition: Tensor | float | None = None,
    *,
    hardness: float = 1.0,
    class_prior: float = 0.1,
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    r"""`debiased_loss` in which negatives count more the more they resemble the query.

    The sum over negatives becomes an average under the weights :math:`e^{\beta s_k}`:

    .. math:: \sum_k e^{s_k} \;\to\; K \frac{\sum_k e^{\beta s_k} e^{s_k}}{\sum_k e^{\beta s_k}}.

    Args:
        positive_scores: Scores of the P positives of each query.
        negative_scores: Scores of its K negatives.
        partition: Ignored; present so that it can replace `nce_loss`.
        hardness: beta >= 0; 0 weighs all negatives alike, infinity sees only the hardest.
        class_prior: rho of `debiased_loss`.
        temperature: tau that the scores were divided by.

    Raises:
        ValueError: The shapes or devices do not fit, or a setting is out of range.

    Source: Robinson et al., "Contrastive Learning with Hard Negative Samples", 2021.
    """
    positive_scores, negative_scores = check_scores(positive_scores, negative_scores)
    if not (math.isfinite(hardness) and hardness >= 0):
        raise ValueError(f"hardness must be >= 0 and finite; got {hardness}")
    if not 0 <= class_prior < 1:
        raise ValueError(f"class_prior must be in [0, 1), the share of false negatives; got {class_prior}")
    lowest = -1 / check_temperature(temperature)
    k, p = negative_scores.shape[1], positive_scores.shape[1]
    log_mean = (  # (B, 1): logarithm of the weighted mean of e^{s_k}
        ((1 + hardness) * negative_scores).logsumexp(1, keepdim=True)
        - (hardness * negative_scores).logsumexp(1, keepdim=True)
    )
    log_positive = positive_scores.logsumexp(1, keepdim=True) - math.log(p)  # (B, 1)
    top = torch.maximum(log_mean, log_positive).detach()  # factored out, so that nothing overflows
    left = (log_mean - top).exp() - class_prior * (log_positive - top).exp()
    floor = (lowest - top).exp().clamp(min=torch.finfo(left.dtype).tiny)
    log_noise = math.log(k) + top + torch.maximum(left / (1 - class_prior), floor).log()  # log G
    return (torch.logaddexp(positive_scores, log_noise) - positive_scores).mean()


def _log_partition(partition: Tensor | float, like: Tensor) -> Tensor:
    z = torch.as_tensor(partition, dtype=like.dtype, device=like.device)
    if z.numel() != 1 or (z.device.type == "cpu" and not z > 0):
        raise ValueError(f"partition must be one number Z > 0; got {partition!r}")
    return z.log()
