"""Retrieval: the ranks of a query's targets in a gallery, and their ranks by chance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from avid_lab.precision import off_mps

_CHUNK = 512  # queries ranked at a time


@dataclass(frozen=True)
class Retrieval:
    """How well queries find their targets: means over the queries, and the values of each query.

    Attributes:
        recall: For each k, the share of queries with at least one target among their k nearest.
        precision: For each k, the share of targets among the k nearest.
        chance_recall: The same for a random order of the gallery.
        chance_precision: The same for a random order of the gallery.
        median_rank: Median over the queries of the rank of their first target, from 1.
        chance_median_rank: The same for a random order of the gallery.
        mean_average_precision: Mean average precision over the whole ranking.
        chance_mean_average_precision: The same for a random order of the gallery.
        first_rank: Rank of each query's first target, from 1.
        average_precision: Of each query.
    """

    recall: dict[int, float]
    precision: dict[int, float]
    chance_recall: dict[int, float]
    chance_precision: dict[int, float]
    median_rank: float
    chance_median_rank: float
    mean_average_precision: float
    chance_mean_average_precision: float
    first_rank: Int64[Tensor, " Q"]
    average_precision: Float[Tensor, " Q"]


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
    """Rank the gallery for every query by inner product, and score the ranks of the targets.

    Without labels the target of query i is gallery item i (instance retrieval); with labels it is every item of the
    same class. Queries without a target in the gallery are an error, not a zero. An item that scores as high as a
    target ranks before it: a network that gives all items one score finds nothing.

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

    query, gallery, query_labels, gallery_labels = map(off_mps, (query, gallery, query_labels, gallery_labels))
    position = torch.arange(1, ranked + 1, device=query.device)
    at = torch.tensor(ks, device=query.device) - 1
    results: list[tuple[Tensor, ...]] = []
    for rows in torch.arange(len(query), device=query.device).split(_CHUNK):
        scores = query[rows] @ gallery.T  # (chunk, N)
        relevant = query_labels[rows, None] == gallery_labels[None]
        if exclude_self:
            itself = (torch.arange(len(rows), device=query.device), rows)
            scores[itself], relevant[itself] = -torch.inf, False
        last = relevant.byte().argsort(dim=1, stable=True)  # at equal scores, targets come last
        order = last.gather(1, scores.gather(1, last).argsort(dim=1, descending=True, stable=True))[:, :ranked]
        hits = relevant.gather(1, order).double()  # (chunk, ranked), best first
        targets, so_far = hits.sum(1), hits.cumsum(1)
        if (targets == 0).any():
            lost = int(rows[targets == 0][0])
            raise ValueError(f"every query needs a target in the gallery; query {lost} has none")
        average_precision = (so_far / position * hits).sum(1) / targets
        results.append((so_far[:, at], targets, hits.argmax(1) + 1, average_precision))
    found, targets, first, average_precision = (torch.cat(column) for column in zip(*results, strict=True))
    return Retrieval(
        recall={k: (found[:, i] > 0).double().mean().item() for i, k in enumerate(ks)},
        precision={k: (found[:, i] / k).mean().item() for i, k in enumerate(ks)},
        chance_recall={k: _chance_recall(targets, ranked, k) for k in ks},
        chance_precision={k: (targets / ranked).mean().item() for k in ks},
        median_rank=first.double().median().item(),
        chance_median_rank=_chance_median_rank(targets, ranked),
        mean_average_precision=average_precision.mean().item(),
        chance_mean_average_precision=_chance_average_precision(targets, ranked),
        first_rank=first,
        average_precision=average_precision,
    )


def _chance_recall(targets: Tensor, n: int, k: int) -> float:
    """1 - C(n - t, k) / C(n, k), averaged over queries with t targets among n items."""
    miss = torch.ones_like(targets)
    for i in range(k):
        miss = miss * ((n - targets - i).clamp(min=0) / (n - i))
    return (1 - miss).mean().item()


def _chance_median_rank(targets: Tensor, n: int) -> float:
    """Smallest rank at which half of the queries have found their first target in a random order."""
    values, counts = targets.unique(return_counts=True)
    miss = torch.ones_like(values)
    for rank in range(1, n + 1):
        miss = miss * ((n - values - rank + 1).clamp(min=0) / (n - rank + 1))
        if (miss * counts).sum() <= 0.5 * len(targets) * (1 + 1e-9):
            return float(rank)
    return float(n)


def _chance_average_precision(targets: Tensor, n: int) -> float:
    """Place k of a random order holds a target with probability t / n, and then (k - 1)(t - 1) / (n - 1) before it."""
    before = torch.arange(n, dtype=torch.float64, device=targets.device)
    harmonic, others = (1 / (before + 1)).sum(), (before / (before + 1)).sum() / max(n - 1, 1)
    return ((harmonic + (targets - 1) * others) / n).mean().item()
