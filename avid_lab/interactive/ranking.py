"""The ranking of all other instances for one query, and its first K: pure functions, fast enough for a slider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from avid_lab.datasets import Manifest
from avid_lab.mining import AGREEMENTS, agreement_plane
from avid_lab.plots.style import AUDIO, VIDEO

# The kinds of points with their colour and shape, in the order of their numbers.
KINDS = {
    "other class": ("#98a2ad", "o"),
    "its class, not chosen": ("#56b4e9", "s"),
    "positive, right": (VIDEO, "o"),
    "positive, wrong": (AUDIO, "X"),
    "positive, faulty clip": ("#b5478c", "D"),
    "the query": ("ink", "P"),
}
UNJUDGED = {"not chosen": KINDS["other class"], "positive": (VIDEO, "o"), "the query": KINDS["the query"]}
OTHER, MISSED, RIGHT, WRONG, FAULTY, QUERY = range(len(KINDS))


@dataclass(frozen=True)
class Ranking:
    """All other instances, ranked for one query.

    Attributes:
        query: Index of the query.
        video: (N,) similarity of the pictures; 1 for the query itself.
        audio: (N,) similarity of the sounds; 1 for the query itself.
        order: For each agreement, the N - 1 others, best first; its first K are those of `mine_positives`.
        score: For each agreement, their scores in descending order.
    """

    query: int
    video: Float[np.ndarray, " N"]
    audio: Float[np.ndarray, " N"]
    order: dict[str, Int[np.ndarray, " M"]]
    score: dict[str, Float[np.ndarray, " M"]]


@dataclass(frozen=True)
class Choice:
    """The K positives of a query, compared with the ground truth.

    Attributes:
        positives: (K,) the positives, best first.
        threshold: For each agreement, the score of the K-th positive.
        kind: (N,) the kind of each instance, a number into `KINDS`.
        precision: For each agreement, the share of the K positives of the query's class.
        chance: The share of its class among all others.
        missed: Number of instances of its class that were not chosen.
    """

    positives: Int[np.ndarray, " K"]
    threshold: dict[str, float]
    kind: UInt8[np.ndarray, " N"]
    precision: dict[str, float]
    chance: float
    missed: int


def rank(video: Float[Tensor, "N D"], audio: Float[Tensor, "N D"], query: int) -> Ranking:
    """Order all instances by their agreement with one query, under every agreement, exactly as `mine_positives` does.

    Args:
        video: (N, D) unit video memories.
        audio: (N, D) unit audio memories.
        query: Index of the query, in [0, N).

    Raises:
        ValueError: As `agreement_plane` does.
    """
    plane = agreement_plane(video, audio, query, k=len(video) - 1)
    seen, heard = (torch.nan_to_num(x, nan=1.0) for x in (plane.video, plane.audio))
    order = {name: index.numpy() for name, index in plane.positives.items()}
    score = {name: AGREEMENTS[name].combine(seen, heard)[plane.positives[name]].numpy() for name in order}
    return Ranking(query, seen.numpy(), heard.numpy(), order, score)


def choose(
    ranking: Ranking,
    agreement: str,
    k: int,
    labels: Int[np.ndarray, " N"],
    faulty: Sequence[bool] | np.ndarray,
) -> Choice:
    """Take the first K of a ranking.

    Args:
        ranking: The ranking of the query.
        agreement: Name of the agreement.
        k: K, at most N - 1.
        labels: Class of each instance.
        faulty: Whether picture and sound of each instance do not belong together.
    """
    same = labels == labels[ranking.query]
    positives = ranking.order[agreement][:k]
    chosen = np.zeros(len(labels), bool)
    chosen[positives] = True
    kind = np.where(chosen, np.where(same, RIGHT, WRONG), np.where(same, MISSED, OTHER)).astype(np.uint8)
    kind[chosen & np.asarray(faulty, bool)] = FAULTY
    kind[ranking.query] = QUERY
    return Choice(
        positives,
        {name: float(score[k - 1]) for name, score in ranking.score.items()},
        kind,
        {name: float(same[order[:k]].mean()) for name, order in ranking.order.items()},
        float((same.sum() - 1) / (len(labels) - 1)),
        int((same & ~chosen).sum()) - 1,
    )


def view_of(ranking: Ranking, near: bool) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the plane, for all instances or for the tenth that agrees most in both."""
    shown = slice(None)
    if near:
        shown = np.append(ranking.order["consensus"][: max(2, len(ranking.video) // 10)], ranking.query)
    edges: list[float] = []
    for side in (ranking.video[shown], ranking.audio[shown]):
        low, high = float(side.min()), float(side.max())
        pad = max(0.05 * (high - low), 1e-6)
        edges += [low - pad, high + pad]
    return edges[0], edges[1], edges[2], edges[3]


def senses(embeddings: Any, clips: int, name: str = "embeddings") -> dict[str, Float[Tensor, "N D"]]:
    """Embeddings of pictures and sounds by name, "video" and "audio", on the CPU.

    Args:
        embeddings: What has ``.video`` and ``.audio``, (N, D) each; or the two as a pair.
        clips: N, the number of clips.
        name: What a message calls them.

    Raises:
        ValueError: They are something else, of other shapes, or not finite.
    """
    pair = (embeddings.video, embeddings.audio) if hasattr(embeddings, "video") else embeddings
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"{name} must have .video and .audio, or be a pair of them; got {type(embeddings).__name__}")
    rows = [torch.as_tensor(x).detach().float().cpu() for x in pair]
    if any(x.ndim != 2 or len(x) != clips or x.shape != rows[0].shape for x in rows):
        got = " and ".join(str(tuple(x.shape)) for x in rows)
        raise ValueError(f"{name}: pictures and sounds must be ({clips}, D), a row for each clip; got {got}")
    if not all(x.isfinite().all() for x in rows):
        raise ValueError(f"{name} must be finite; some are infinite or not a number")
    return dict(zip(("video", "audio"), rows, strict=True))


def faults(manifest: Manifest) -> list[str]:
    """The faults of each clip according to the ground truth, in words; empty for none, or if none are known."""
    found = []
    for record in manifest.records:
        truth = record.extras
        said = {
            "off_screen": f"off-screen sound: {truth.get('heard_scene', 'unknown')}".replace("_", " "),
            "silent": "silent",
            "noisy": "buried in noise",
        }
        found.append(", ".join(text for name, text in said.items() if truth.get(name) == "1"))
    return found


def two_digits(value: float | np.floating) -> str:
    """A similarity as text, with a proper minus sign."""
    return f"{value:.2f}".replace("-", "−")
