"""Precision of positives and rate of false negatives, against labels that training never sees."""

from __future__ import annotations

from jaxtyping import Float64, Int64
from torch import Tensor

from avid_lab.mining import Positives
from avid_lab.precision import doubled, off_mps


def positive_precision(positives: Positives | Int64[Tensor, "N K"], labels: Int64[Tensor, " N"]) -> float:
    """Share of mined positives that have the same class as their query.

    Raises:
        ValueError: There is not one label per query, or the positives are not mined yet.
    """
    return precision_of_each(positives, labels).mean().item()


def precision_of_each(
    positives: Positives | Int64[Tensor, "N K"], labels: Int64[Tensor, " N"]
) -> Float64[Tensor, " N"]:
    """Share of each query's positives that have its class.

    Raises:
        ValueError: There is not one label per query, or the positives are not mined yet.
    """
    return doubled(labels[_mined(positives, labels)] == labels[:, None]).mean(1)


def false_negative_rate(
    labels: Int64[Tensor, " N"], positives: Positives | Int64[Tensor, "N K"] | None = None
) -> float:
    """Share of the possible negatives that have the query's own class, averaged over all queries.

    This is the expected share in a uniform draw, computed rather than sampled. Instance discrimination pushes these
    instances away although they belong together; CMA never draws its positives. Compare
    ``false_negative_rate(labels)`` with ``false_negative_rate(labels, positives)``. Arguments and errors are those of
    `false_negatives_of_each`.
    """
    return false_negatives_of_each(labels, positives).mean().item()


def false_negatives_of_each(
    labels: Int64[Tensor, " N"], positives: Positives | Int64[Tensor, "N K"] | None = None
) -> Float64[Tensor, " N"]:
    """Share of the possible negatives of each query that have its class.

    Args:
        labels: Class of each instance.
        positives: Instances that are excluded in addition to the query itself; ``None`` excludes the query alone.

    Raises:
        ValueError: There is not one label per query, positives are not mined yet, or no negative is left.
    """
    counts = labels.unique(return_inverse=True, return_counts=True)[1:]
    same = doubled(counts[1][counts[0]]) - 1  # (N,): others of the query's class
    allowed = len(labels) - 1
    if positives is not None:
        index = _mined(positives, labels)
        same -= off_mps((labels[index] == labels[:, None]).sum(1))
        allowed -= index.shape[1]
    if allowed < 1:
        raise ValueError(f"labels must leave a negative for each query; got {len(labels)} instances")
    return same / allowed


def drawn_false_negatives(
    negatives: Int64[Tensor, "B K"], index: Int64[Tensor, " B"], labels: Int64[Tensor, " N"]
) -> float:
    """Share of given negatives that have their query's class.

    Args:
        negatives: Instances drawn for each query (`draw_negatives`).
        index: Instance number of each query.
        labels: Class of each instance.

    Raises:
        ValueError: The shapes do not fit.
    """
    if negatives.ndim != 2 or index.shape != (len(negatives),) or labels.ndim != 1:
        got = [tuple(x.shape) for x in (negatives, index, labels)]
        raise ValueError(f"negatives, index and labels must be (B, K), (B,) and (N,); got {got}")
    return doubled(labels[negatives] == labels[index][:, None]).mean().item()


def _mined(positives: Positives | Tensor, labels: Tensor) -> Tensor:
    index = positives.index if isinstance(positives, Positives) else positives
    if index.ndim != 2 or labels.shape != (len(index),):
        got = f"{tuple(index.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"positives and labels must be (N, K) and (N,); got {got}")
    if int(index.min()) < 0 or int(index.max()) >= len(labels):
        got = f"values from {int(index.min())} to {int(index.max())}"
        raise ValueError(f"positives must lie in [0, {len(labels)}); got {got}. -1 means not mined yet: call mine()")
    return index
