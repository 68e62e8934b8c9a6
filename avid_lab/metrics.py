"""What is measured: retrieval, the precision of positives, and how well similarity tells same from different.

Every figure comes with its chance level, computed from the labels, so that no number stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from avid_lab.mining import Positives


@dataclass(frozen=True)
class Retrieval:
    """How well queries find their targets; all values are means over the queries.

    Attributes:
        recall: For each k, the share of queries with at least one target among their k nearest.
        precision: For each k, the share of targets among the k nearest.
        chance_recall: What a random order of the gallery reaches.
        chance_precision: The same for ``precision``.
        median_rank: Median over the queries of the rank of their first target, from 1.
        mean_average_precision: Mean average precision over the whole ranking.
    """

    recall: dict[int, float]
    precision: dict[int, float]
    chance_recall: dict[int, float]
    chance_precision: dict[int, float]
    median_rank: float
    mean_average_precision: float


@torch.no_grad()
def retrieval(
    query: Float[Tensor, "Q D"],
    gallery: Float[Tensor, "N D"],
    query_labels: Int64[Tensor, " Q"] | None = None,
    gallery_labels: Int64[Tensor, " N"] | None = None,
    ks: Iterable[int] = (1, 5, 10),
    *,
    exclude_self: bool = False,
) -> Retrieval:
    """Rank the gallery for every query by inner product and see where the targets come.

    Without labels the target of query i is gallery item i (instance retrieval); with labels it is every item of the
    same class. Queries without a target in the gallery are an error, not a zero.

    Args:
        query: Unit embeddings, for example of pictures.
        gallery: Unit embeddings, for example of sounds.
        query_labels: Class of each query; give both label vectors or none.
        gallery_labels: Class of each gallery item.
        ks: Cut-offs; each is at most N.
        exclude_self: Whether gallery item i is hidden from query i (retrieval within one modality).

    Raises:
        ValueError: Shapes do not fit, a k is out of range, or a query has no target.
    """
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        got = f"{tuple(query.shape)} and {tuple(gallery.shape)}"
        raise ValueError(f"query and gallery must be (Q, D) and (N, D); got {got}")
    if (query_labels is None) != (gallery_labels is None):
        raise ValueError("query_labels and gallery_labels go together: give both, or none for instance retrieval")
    if (query_labels is None or exclude_self) and len(query) != len(gallery):
        raise ValueError(f"query i belongs to gallery item i here, so Q must equal N; got {len(query)}, {len(gallery)}")
    if query_labels is None or gallery_labels is None:
        query_labels = gallery_labels = torch.arange(len(query), device=query.device)
        if exclude_self:
            raise ValueError("exclude_self needs labels: without them the only target of a query is itself")
    if query_labels.shape != (len(query),) or gallery_labels.shape != (len(gallery),):
        got = f"{tuple(query_labels.shape)} and {tuple(gallery_labels.shape)}"
        raise ValueError(f"query_labels and gallery_labels must be ({len(query)},) and ({len(gallery)},); got {got}")
    ranked = len(gallery) - int(exclude_self)
    ks = sorted(ks)
    if not ks or ks[0] < 1 or ks[-1] > ranked:
        raise ValueError(f"ks must lie between 1 and the {ranked} ranked items; got {ks}")

    scores = query @ gallery.T  # (Q, N)
    relevant = query_labels[:, None] == gallery_labels[None]
    if exclude_self:
        scores = scores.clone().fill_diagonal_(-torch.inf)
        relevant = relevant.clone().fill_diagonal_(False)
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :ranked]
    hits = relevant.gather(1, order).double()  # (Q, N) in ranked order
    targets = hits.sum(1)
    if (targets == 0).any():
        lost = int((targets == 0).nonzero()[0])
        raise ValueError(f"every query needs a target in the gallery; query {lost} has none")
    position = torch.arange(1, ranked + 1, device=query.device)
    precision_at = hits.cumsum(1) / position
    return Retrieval(
        recall={k: hits[:, :k].amax(1).mean().item() for k in ks},
        precision={k: precision_at[:, k - 1].mean().item() for k in ks},
        chance_recall={k: _chance_recall(targets, ranked, k) for k in ks},
        chance_precision={k: (targets / ranked).mean().item() for k in ks},
        median_rank=(hits.argmax(1) + 1).double().median().item(),
        mean_average_precision=((precision_at * hits).sum(1) / targets).mean().item(),
    )


def positive_precision(positives: Positives | Int64[Tensor, "N K"], labels: Int64[Tensor, " N"]) -> float:
    """Share of mined positives that are of the same class as their query.

    Raises:
        ValueError: There is not one label per query.
    """
    index = positives.index if isinstance(positives, Positives) else positives
    if index.ndim != 2 or labels.shape != (len(index),):
        got = f"{tuple(index.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"positives and labels must be (N, K) and (N,); got {got}")
    return (labels[index] == labels[:, None]).double().mean().item()


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
    """Accuracy of the majority class among the k nearest training items by cosine similarity.

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
    return (votes.argmax(1) == test_labels).double().mean().item()


def chance_accuracy(train_labels: Int64[Tensor, " N"], test_labels: Int64[Tensor, " M"]) -> float:
    """Accuracy of always answering the most frequent training class."""
    return (test_labels == train_labels.mode().values).double().mean().item()


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over seeds; the spread of a single value is NaN."""
    x = torch.tensor(list(values), dtype=torch.float64)
    return x.mean().item(), x.std().item() if len(x) > 1 else math.nan


def _chance_recall(targets: Tensor, n: int, k: int) -> float:
    """1 - C(n - t, k) / C(n, k), averaged over queries with t targets among n items."""
    miss = torch.ones_like(targets)
    for i in range(k):
        miss = miss * ((n - targets - i).clamp(min=0) / (n - i))
    return (1 - miss).mean().item()


def _average_ranks(x: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[inverse]
