"""Pairs of clips: their similarity, and how well it separates same-class pairs from the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from avid_lab.metrics.intervals import Estimate, estimate_weighted

Weights = Float[Tensor, " P"]


@dataclass(frozen=True)
class Pairs:
    """Pairs (i, j), i != j, of clips with their similarity.

    Attributes:
        similarity: Inner product of the two embeddings.
        same: Whether both clips have the same class.
        left: Index i.
        right: Index j.
        clips: Number of clips N.
    """

    similarity: Float64[Tensor, " P"]
    same: Bool[Tensor, " P"]
    left: Int64[Tensor, " P"]
    right: Int64[Tensor, " P"]
    clips: int


@torch.no_grad()
def pairs(query: Float[Tensor, "N D"], gallery: Float[Tensor, "N D"], labels: Int64[Tensor, " N"]) -> Pairs:
    """All pairs of different clips; within one modality, where order does not matter, each pair once.

    Args:
        query: Unit embeddings, one per clip.
        gallery: The same clips in the same or the other modality.
        labels: Class of each clip.

    Raises:
        ValueError: The shapes do not fit, or one of the two kinds of pair does not occur.
    """
    if query.ndim != 2 or query.shape != gallery.shape or labels.shape != (len(query),):
        got = [tuple(x.shape) for x in (query, gallery, labels)]
        raise ValueError(f"query, gallery and labels must be (N, D), (N, D) and (N,); got {got}")
    n = len(query)
    if torch.equal(query, gallery):
        left, right = torch.triu_indices(n, n, 1)
    else:
        left, right = (~torch.eye(n, dtype=torch.bool)).nonzero(as_tuple=True)
    same = labels.cpu()[left] == labels.cpu()[right]
    if same.all() or not same.any():
        raise ValueError(
            "labels must have at least two classes, and two instances of one class, or there are no pairs to compare"
        )
    return Pairs((query @ gallery.T).cpu()[left, right].double(), same, left, right, n)


@dataclass(frozen=True)
class Separation:
    """How well similarity separates pairs of the same class from pairs of different classes.

    Attributes:
        same: Similarities of same-class pairs.
        different: Similarities of different-class pairs.
        auc: Probability that a same-class pair is more similar than a different-class pair; 0.5 is no information.
        d_prime: Distance of the two means in units of their pooled standard deviation.
        overlap: Shared area of the two histograms, 0 (apart) to 1 (identical).
    """

    same: Float[Tensor, " S"]
    different: Float[Tensor, " T"]
    auc: float
    d_prime: float
    overlap: float


def separation(
    query: Float[Tensor, "N D"], gallery: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], *, bins: int = 100
) -> Separation:
    """Compare similarities of same-class and different-class pairs (i, j), i != j.

    This is not calibration: embeddings may separate the two kinds perfectly while a similarity means something else in
    each modality. `avid_lab.metrics.reliability` measures calibration.

    Args:
        query: Unit embeddings, one per instance.
        gallery: The same instances in the same or the other modality.
        labels: Class of each instance.
        bins: Histogram bins over [-1, 1] for the overlap.

    Raises:
        ValueError: The shapes do not fit, or one of the two kinds of pair does not occur.
    """
    found = pairs(query, gallery, labels)
    same, different = (found.similarity[kind].to(query) for kind in (found.same, ~found.same))
    values, order = found.similarity.sort()
    on = found.same[order].double()
    return Separation(same, different, *weighted_separation(values, bins)(on, 1 - on).tolist())


def separation_estimates(found: Pairs, *, bins: int = 100, resamples: int = 200, seed: int = 0) -> dict[str, Estimate]:
    """`separation` with intervals: "AUC", "d'" and "overlap".

    Clips are resampled, not pairs, because pairs that share a clip are correlated.

    Args:
        found: Result of `pairs`.
        bins: Histogram bins over [-1, 1] for the overlap.
        resamples: Bootstrap samples.
        seed: Of the resamples.
    """
    values, order = found.similarity.sort()
    same, left, right = found.same[order].double(), found.left[order], found.right[order]
    figures = weighted_separation(values, bins)

    def resampled(count: Tensor) -> Tensor:
        weight = count[left] * count[right]
        return figures(weight * same, weight * (1 - same))

    chance, percent = [0.5, 0.0, 1.0], [True, False, True]
    made = estimate_weighted(resampled, found.clips, chance=chance, percent=percent, resamples=resamples, seed=seed)
    auc, d_prime, overlap = made
    return {"AUC": auc, "d'": d_prime, "overlap": overlap.centred()}


def auc(same: Any, different: Any) -> float:
    """Probability that a value of the first kind is above one of the second; ties count half. 0.5 is no information.

    Args:
        same: Values, a tensor or an array.
        different: Values of the other kind.

    Raises:
        ValueError: One of the two is empty.
    """
    same, different = (torch.as_tensor(x).double().flatten() for x in (same, different))
    if not (len(same) and len(different)):
        raise ValueError(f"auc needs values of both kinds; got {len(same)} and {len(different)}")
    values, order = torch.cat([same, different]).sort()
    on = (order < len(same)).double()
    return float(weighted_separation(values)(on, 1 - on)[0])


def weighted_separation(
    values: Float64[Tensor, " P"], bins: int = 100
) -> Callable[[Weights, Weights], Float64[Tensor, "3"]]:
    """AUC, d' and overlap of two weighted samples at the same values.

    Args:
        values: Rising; similarities of pairs, or the centres of histogram bins.
        bins: Histogram bins over [-1, 1] for the overlap.

    Returns:
        A function that maps two vectors of weights, one per sample with a weight per value, to the three scores.
    """
    first, last = torch.searchsorted(values, values), torch.searchsorted(values, values, right=True)  # equal values
    place = ((values.clamp(-1, 1) + 1) / 2 * bins).long().clamp(max=bins - 1)

    def figures(on: Weights, off: Weights) -> Float64[Tensor, "3"]:
        on, off = on.double(), off.double()
        below = torch.cat([off.new_zeros(1), off.cumsum(0)])
        auc = (on * (below[first] + below[last])).sum() / (2 * on.sum() * off.sum())  # equal values share a mean rank
        on, off = on / on.sum(), off / off.sum()
        means = torch.stack([(share * values).sum() for share in (on, off)])
        spreads = torch.stack([(s * (values - m).square()).sum() for s, m in zip((on, off), means, strict=True)])
        d_prime = (means[0] - means[1]) / spreads.mean().sqrt().clamp(min=1e-12)
        shapes = [torch.zeros(bins, dtype=values.dtype).index_add_(0, place, share) for share in (on, off)]
        return torch.stack([auc, d_prime, torch.minimum(*shapes).sum()])

    return figures


Calibration, calibration = Separation, separation  # their first names
