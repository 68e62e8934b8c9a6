"""Ranks a gallery for one query, and finds the worst queries: pure functions, fast enough for a slider."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from avid_lab.plots.style import AUDIO, VIDEO

# The kinds of results with their colour and shape, in the order of their numbers.
MARKS = {
    "further down": ("#98a2ad", "o"),
    "further down, of its class": ("#56b4e9", "s"),
    "among the K, of its class": (VIDEO, "o"),
    "among the K, of another class": (AUDIO, "X"),
    "its own": ("ink", "D"),
}
FURTHER, MISSED, RIGHT, WRONG, OWN = range(len(MARKS))
UNJUDGED = {"further down": MARKS["further down"], "among the K": (VIDEO, "o")}  # of a query without a class
DIRECTIONS = {
    "video → audio": ("video", "audio"),
    "audio → video": ("audio", "video"),
    "video → video": ("video", "video"),
    "audio → audio": ("audio", "audio"),
}
_CHUNK = 512  # queries compared at a time


@dataclass(frozen=True)
class Found:
    """A gallery in the order of one query.

    Attributes:
        order: (M,) clips, best first; the lower number wins ties. Within one modality, the query is left out.
        similarity: (M,) their similarities, in descending order.
        right: (M,) whether each clip is of the query's class; all False if the class is not known.
        own: Position of the query's own other modality, from 0; None if there is none.
    """

    order: Int[np.ndarray, " M"]
    similarity: Float[np.ndarray, " M"]
    right: Bool[np.ndarray, " M"]
    own: int | None


@torch.no_grad()
def search(
    query: Float[Tensor, " D"],
    gallery: Float[Tensor, "N D"],
    labels: Int[np.ndarray, " N"],
    *,
    itself: int | None = None,
    within: bool = False,
) -> Found:
    """Order a gallery by similarity to a query.

    Args:
        query: Unit embedding.
        gallery: Unit embeddings of N clips.
        labels: Class of each clip.
        itself: Index of the query in the gallery; None if it is not in it.
        within: Whether the query is of the gallery's modality, so that it must not find itself.
    """
    similarity = gallery @ query  # (N,)
    order = similarity.argsort(descending=True, stable=True).numpy()
    if within and itself is not None:
        order = order[order != itself]
    right = labels[order] == labels[itself] if itself is not None else np.zeros(len(order), bool)
    own = None if within or itself is None else int(np.flatnonzero(order == itself)[0])
    return Found(order, similarity.numpy()[order], right, own)


def marks(found: Found, k: int) -> UInt8[np.ndarray, " M"]:
    """The kind of each result, a number into `MARKS`, best first, for a given K."""
    among = np.arange(len(found.order)) < k
    mark = np.where(among, np.where(found.right, RIGHT, WRONG), np.where(found.right, MISSED, FURTHER)).astype(np.uint8)
    if found.own is not None:
        mark[found.own] = OWN
    return mark


@torch.no_grad()
def confident_wrong(
    query: Float[Tensor, "N D"], gallery: Float[Tensor, "N D"], labels: Int[np.ndarray, " N"], *, within: bool = False
) -> Float[np.ndarray, " N"]:
    """How much more similar the best answer of a wrong class is than the best of its own, for each query."""
    classes, margins = torch.as_tensor(labels), []
    for rows in torch.arange(len(query)).split(_CHUNK):
        scores = query[rows] @ gallery.T  # (chunk, N)
        same = classes[rows, None] == classes[None]
        if within:
            scores[torch.arange(len(rows)), rows] = -2.0  # below any cosine
        wrong, right = (scores.masked_fill(hidden, -2.0).amax(1) for hidden in (same, ~same))
        margins.append(wrong - right)
    return torch.cat(margins).numpy()
