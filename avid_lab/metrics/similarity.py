"""Similarity of same-class and different-class pairs, and what nearest neighbours make of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """How well similarity separates pairs of the same class from pairs of different classes.

    Attributes:
        same: Similarities of same-class pairs.
        different: Similarities of different-class pairs.
        auc: Chance that a same-class pair is more similar than a different-class pair; 0.5 is no information.
        d_prime: Distance of the two means in units of their pooled standard deviation.
        overlap: Shared area of the two histograms, 0 (apart) to 1 (identical).
    """

    same: Float[Tensor, " S"]
    different: Float[Tensor, " T"]
    auc: float
    d_prime: float
    overlap: float


@torch.no_grad()
def calibration(
    query: Float[Tensor, "N D"],
    gallery: Float[Tensor, "N D"],
    labels: Int64[Tensor, " N"],
    *,
    bins: int = 100,
) -> Calibration:
    """Compare similarities of same-class and different-class pairs (i, j), i != j.

    Args:
        query: Unit embeddings, one per instance.
        gallery: The same instances in the same or the other modality.
        labels: Class of each instance.
        bins: Histogram bins over [-1, 1] for the overlap.

    Raises:
        ValueError: The shapes do not fit, or one of the two kinds of pair does not occur.
    """
    if query.ndim != 2 or query.shape != gallery.shape or labels.shape != (len(query),):
        got = [tuple(x.shape) for x in (query, gallery, labels)]
        raise ValueError(f"query, gallery and labels must be (N, D), (N, D) and (N,); got {got}")
    similarity = (query @ gallery.T).double()
    same_class = labels[:, None] == labels[None]
    others = ~torch.eye(len(query), dtype=torch.bool, device=query.device)
    same, different = similarity[same_class & others], similarity[~same_class]
    if not len(same) or not len(different):
        raise ValueError("labels must hold two instances of one class and two classes, or there is nothing to compare")
    ranks = _average_ranks(torch.cat([same, different]))
    auc = (ranks[: len(same)].sum() - len(same) * (len(same) + 1) / 2) / (len(same) * len(different))
    spread = ((same.var(correction=0) + different.var(correction=0)) / 2).sqrt()
    a, b = (torch.histc(x.clamp(-1, 1).cpu(), bins, -1, 1) / len(x) for x in (same, different))
    return Calibration(
        same=same.to(query.dtype),
        different=different.to(query.dtype),
        auc=auc.item(),
        d_prime=((same.mean() - different.mean()) / spread.clamp(min=1e-12)).item(),
        overlap=torch.minimum(a, b).sum().item(),
    )


@torch.no_grad()
def knn_accuracy(
    train: Float[Tensor, "N F"],
    train_labels: Int64[Tensor, " N"],
    test: Float[Tensor, "M F"],
    test_labels: Int64[Tensor, " M"],
    k: int = 20,
) -> float:
    """Accuracy of `knn_predict`.

    Raises:
        ValueError: k is not between 1 and the number of training items.
    """
    return (knn_predict(train, train_labels, test, k) == test_labels).double().mean().item()


@torch.no_grad()
def knn_predict(
    train: Float[Tensor, "N F"], train_labels: Int64[Tensor, " N"], test: Float[Tensor, "M F"], k: int = 20
) -> Int64[Tensor, " M"]:
    """The majority class among the k nearest training items by cosine similarity.

    Votes are weighted by similarity, as a tie-break more than anything else.

    Raises:
        ValueError: k is not between 1 and the number of training items.
    """
    if not 1 <= k <= len(train):
        raise ValueError(f"k must be between 1 and the {len(train)} training items; got {k}")
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    near = similarity.topk(k)
    votes = torch.zeros(len(test), int(train_labels.max()) + 1, device=test.device)
    votes.scatter_add_(1, train_labels[near.indices], near.values.exp())
    return votes.argmax(1)


def chance_accuracy(train_labels: Int64[Tensor, " N"], test_labels: Int64[Tensor, " M"]) -> float:
    """Expected accuracy of answering with the class of a random training item: 1 / C for C balanced classes."""
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    train, test = (labels.bincount(minlength=classes) / len(labels) for labels in (train_labels, test_labels))
    return (train * test).sum().item()


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over seeds; the spread of a single value is NaN."""
    x = torch.tensor(list(values), dtype=torch.float64)
    return x.mean().item(), x.std().item() if len(x) > 1 else math.nan


def _average_ranks(x: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[inverse]
