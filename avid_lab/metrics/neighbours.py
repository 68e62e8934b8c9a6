"""Classification by nearest neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from avid_lab.precision import doubled


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
    return doubled(knn_predict(train, train_labels, test, k) == test_labels).mean().item()


@torch.no_grad()
def knn_predict(
    train: Float[Tensor, "N F"], train_labels: Int64[Tensor, " N"], test: Float[Tensor, "M F"], k: int = 20
) -> Int64[Tensor, " M"]:
    """The majority class among the k nearest training items by cosine similarity.

    Raises:
        ValueError: k is not between 1 and the number of training items.
    """
    if not 1 <= k <= len(train):
        raise ValueError(f"k must be between 1 and the {len(train)} training items; got {k}")
    return vote_of_nearest(F.normalize(test, dim=1) @ F.normalize(train, dim=1).T, train_labels, k)


def vote_of_nearest(similarity: Float[Tensor, "M N"], labels: Int64[Tensor, " N"], k: int) -> Int64[Tensor, " M"]:
    """The majority class among each row's k most similar items.

    Votes are weighted by similarity, mainly to break ties. A similarity of -inf excludes an item.
    """
    near = similarity.topk(k)
    votes = torch.zeros(len(similarity), int(labels.max()) + 1, device=similarity.device)
    votes.scatter_add_(1, labels[near.indices], near.values.exp())
    return votes.argmax(1)


def chance_accuracy(train_labels: Int64[Tensor, " N"], test_labels: Int64[Tensor, " M"]) -> float:
    """Expected accuracy of answering with the class of a random training item: 1 / C for C balanced classes."""
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    train, test = (labels.bincount(minlength=classes) / len(labels) for labels in (train_labels, test_labels))
    return (train * test).sum().item()
