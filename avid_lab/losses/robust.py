"""Robust instance discrimination: distrust pairs that do not match, and negatives that do.

Two remedies after Morgado, Misra and Vasconcelos, "Robust Audio-Visual Instance Discrimination", CVPR 2021: pairs
whose own picture and sound disagree (off-screen sound, say) get a small weight, and instances that resemble the query
get a share of its target. The forms are theirs; the default settings are neutral ones of ours, not their constants.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from avid_lab.losses.batch import pair_scores
from avid_lab.losses.checks import check_device, check_temperature


def plausibility_weights(
    similarity: Float[Tensor, " B"],
    mean: float | Tensor,
    deviation: float | Tensor,
    *,
    shift: float = 0.0,
    spread: float = 1.0,
    floor: float = 0.0,
) -> Float[Tensor, " B"]:
    r"""The plausibility of each pair, from the similarity of its picture and its sound.

    The cumulative distribution of a normal with mean :math:`\mu + \delta\sigma` and variance :math:`\kappa\sigma^2`:

    .. math:: w_i = w_{\min} + (1 - w_{\min})\, \Phi\Big(\frac{s_i - (\mu + \delta\sigma)}{\sqrt{\kappa}\,\sigma}\Big).

    Args:
        similarity: s_i, cross-modal similarity v_i . a_i of each pair, preferably from the memories.
        mean: mu, mean similarity of all pairs.
        deviation: sigma, their standard deviation; 0 gives every pair the weight it has at the mean.
        shift: delta; below zero trusts more pairs.
        spread: kappa > 0; smaller separates more sharply.
        floor: w_min in [0, 1], the weight of the least plausible pair.

    Raises:
        ValueError: A setting is out of range.
    """
    if not spread > 0:
        raise ValueError(f"spread must be > 0; got {spread}")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor must be in [0, 1]; got {floor}")
    smallest = torch.finfo(similarity.dtype).eps
    deviation = torch.as_tensor(deviation, dtype=similarity.dtype, device=similarity.device).clamp(min=smallest)
    z = (similarity - mean - shift * deviation) / (spread**0.5 * deviation)
    return floor + (1 - floor) * torch.special.ndtr(z)


def soft_targets(
    similarity: Float[Tensor, "B B"], share: float = 0.5, temperature: float = 0.07
) -> Float[Tensor, "B B"]:
    r"""Targets that give a share to instances similar to the query.

    .. math:: T_{ij} = (1 - \lambda)\,[i = j] + \lambda\, \frac{e^{s_{ij}/\tau}}{\sum_k e^{s_{ik}/\tau}}

    Args:
        similarity: s_ij, row i is query i. The choice of similarity defines the method: cross-modal in the query's own
            direction (bootstrapped), in the other direction (swapped), or within one modality (neighbours).
        share: lambda in [0, 1]; 0 is the hard target.
        temperature: tau of the soft part, above zero; towards zero it becomes the nearest instance.

    Raises:
        ValueError: A setting is out of range or the matrix is not square.
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"similarity must be (B, B), queries by instances; got {tuple(similarity.shape)}")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1]; got {share}")
    hard = torch.eye(len(similarity), dtype=similarity.dtype, device=similarity.device)
    return (1 - share) * hard + share * (similarity / check_temperature(temperature)).softmax(1)


def soft_info_nce_loss(
    video: Float[Tensor, "B D"],
    audio: Float[Tensor, "B D"],
    video_targets: Float[Tensor, "B B"],
    audio_targets: Float[Tensor, "B B"],
    weights: Float[Tensor, " B"],
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    r"""`info_nce_loss` with soft targets and a weight for every pair.

    .. math:: \sum_i \frac{w_i}{\sum_k w_k}\, \tfrac12 \Big(
        -\sum_j T^v_{ij} \log P(a_j \mid v_i) - \sum_j T^a_{ij} \log P(v_j \mid a_i)\Big)

    Args:
        video: Unit video embeddings.
        audio: Unit audio embeddings of the same clips.
        video_targets: T^v; row i is the target distribution of picture i over the sounds, and sums to one.
        audio_targets: T^a; row i is the target distribution of sound i over the pictures.
        weights: w_i >= 0, not all zero.
        temperature: tau, above zero.

    Raises:
        ValueError: Shapes or devices do not fit, or no weight is above zero.
    """
    scores = pair_scores(video, audio, temperature)  # (B, B)
    batch = len(video)
    for name, target in (("video_targets", video_targets), ("audio_targets", audio_targets)):
        if target.shape != (batch, batch):
            raise ValueError(f"{name} must be ({batch}, {batch}), queries by instances; got {tuple(target.shape)}")
    if weights.shape != (batch,):
        raise ValueError(f"weights must be ({batch},), one per pair; got {tuple(weights.shape)}")
    check_device(video=video, video_targets=video_targets, audio_targets=audio_targets, weights=weights)
    if weights.device.type == "cpu" and not (weights.min() >= 0 and weights.sum() > 0):
        raise ValueError(f"weights must be >= 0 and not all zero; got {weights.min():.3g} to {weights.max():.3g}")
    from_video = -(video_targets * scores.log_softmax(1)).sum(1)  # (B,)
    from_audio = -(audio_targets * scores.T.log_softmax(1)).sum(1)  # (B,)
    return (weights * (from_video + from_audio)).sum() / (2 * weights.sum())


def robust_loss(
    video: Float[Tensor, "B D"], audio: Float[Tensor, "B D"], temperature: float = 0.07, *, share: float = 0.5
) -> Float[Tensor, ""]:
    """Both remedies on one batch: `plausibility_weights` and swapped `soft_targets`.

    The published method reads similarities from memories; this one uses the batch's own, detached embeddings.

    Args:
        video: Unit video embeddings.
        audio: Unit audio embeddings of the same clips.
        temperature: tau of the loss and of the soft targets.
        share: lambda of `soft_targets`.

    Raises:
        ValueError: The shapes or devices differ, or a setting is out of range.
    """
    similarity = pair_scores(video, audio, 1.0).detach()  # (B, B)
    matched = similarity.diagonal()
    weights = plausibility_weights(matched, matched.mean(), matched.std(correction=0))
    # Swapped: the target of a picture is the distribution that its sound finds, and vice versa.
    for_video, for_audio = (soft_targets(s, share, temperature) for s in (similarity.T, similarity))
    return soft_info_nce_loss(video, audio, for_video, for_audio, weights, temperature)
