"""Cross-modal agreement: which instances are so alike in picture *and* sound that they should be positives?

Source: section 4 of the paper. With unit memories v, a, the agreement of instances i and j is

    consensus  min(v_i . v_j, a_i . a_j)      union  max(v_i . v_j, a_i . a_j)
    video      v_i . v_j                      audio  a_i . a_j

and the positives of i are the K others with the highest agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

Agreement = Literal["consensus", "union", "video", "audio"]
AGREEMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "consensus": torch.minimum,
    "union": torch.maximum,
    "video": lambda video, audio: video,
    "audio": lambda video, audio: audio,
}
_CHUNK_BYTES = 64 * 2**20  # of each similarity tile that is alive at a time
_MARGIN = 8  # candidates kept beyond K, so that rounding in the tile cannot push a true positive out


@dataclass(frozen=True)
class Positives:
    """The K best matches of every instance, best first.

    Attributes:
        index: (N, K) which instances.
        score: (N, K) their agreement, falling.
    """

    index: Int64[Tensor, "N K"]
    score: Float[Tensor, "N K"]


def agreement_scores(
    video_queries: Float[Tensor, "Q D"],
    audio_queries: Float[Tensor, "Q D"],
    video: Float[Tensor, "N D"],
    audio: Float[Tensor, "N D"],
    agreement: Agreement = "consensus",
) -> Float[Tensor, "Q N"]:
    """Agreement of every query with every instance.

    Args:
        video_queries: Unit video embeddings of the queries.
        audio_queries: Unit audio embeddings of the same queries.
        video: Unit video embeddings of the instances.
        audio: Unit audio embeddings of the same instances.
        agreement: "consensus" (both must agree), "union" (either), "video" or "audio" (one alone).

    Raises:
        ValueError: The agreement is unknown or the shapes do not fit.
    """
    combine = _combine(agreement)
    if video_queries.shape != audio_queries.shape or video.shape != audio.shape:
        got = [tuple(x.shape) for x in (video_queries, audio_queries, video, audio)]
        raise ValueError(f"video and audio must be (Q, D), (Q, D) and (N, D), (N, D); got {got}")
    return combine(video_queries @ video.T, audio_queries @ audio.T)


@torch.no_grad()
def mine_positives(
    video: Float[Tensor, "N D"],
    audio: Float[Tensor, "N D"],
    k: int = 32,
    agreement: Agreement = "consensus",
    *,
    chunk_size: int | None = None,
    progress: bool = False,
) -> Positives:
    """The K instances that agree most with each instance, exactly.

    The instance itself is excluded by identity, so an exact duplicate of it may be its best positive. Ties go to the
    lower index. Large tiles of single-precision products find the candidates; the candidates' scores are then
    computed again in double precision, so neither the chunking nor the device changes the answer.

    Args:
        video: (N, D) unit video memories.
        audio: (N, D) unit audio memories of the same instances.
        k: K, at most N - 1.
        agreement: See `agreement_scores`.
        chunk_size: Queries compared at a time; ``None`` chooses one that keeps a tile within 64 MiB.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: The shapes differ, a value is not finite, K does not fit N or the agreement is unknown.
    """
    combine = _combine(agreement)
    n = len(video)
    if video.ndim != 2 or video.shape != audio.shape or video.device != audio.device:
        got = f"{tuple(video.shape)} on {video.device} and {tuple(audio.shape)} on {audio.device}"
        raise ValueError(f"video and audio must both be (N, D) on one device; got {got}")
    if not 1 <= k <= n - 1:
        raise ValueError(f"k must be between 1 and N - 1 = {n - 1} (an instance is no positive of itself); got {k}")
    for name, x in (("video", video), ("audio", audio)):
        if not x.isfinite().all():
            row = int((~x.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"{name} must be finite; row {row} holds NaN or infinity: did training diverge?")
    if chunk_size is None:
        chunk_size = max(1, min(1024, _CHUNK_BYTES // (4 * n)))
    elif chunk_size < 1:
        raise ValueError(f"chunk_size must be >= 1, or None; got {chunk_size}")

    search = _Search(video, audio, k, combine)
    index = torch.empty(n, k, dtype=torch.int64, device=video.device)
    score = torch.empty(n, k, dtype=torch.float64, device=video.device)
    for start in tqdm(range(0, n, chunk_size), desc=f"mining {agreement}", unit="chunk", disable=not progress):
        query = torch.arange(start, min(start + chunk_size, n), device=video.device)
        index[query], score[query] = search.best(query)
    return Positives(index, score.to(video.dtype))


class _Search:
    """Finds candidates with large single-precision products, decides among them in double precision."""

    def __init__(self, video: Tensor, audio: Tensor, k: int, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.k, self.combine = k, combine
        self.tile = (video.float(), audio.float())
        self.exact = (video.double(), audio.double())
        # A product of two rows is off by at most D eps |x| |y| in the tile; two scores can close in by twice that.
        eps = torch.finfo(torch.float32).eps if torch.get_float32_matmul_precision() == "highest" else 2**-7
        longest = max(x.norm(dim=1).max() for x in self.tile)
        self.slack = 2 * video.shape[1] * eps * longest**2

    def best(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """(Q, K) instances and scores of these queries."""
        video, audio = self.tile
        n = len(video)
        scores = self.combine(video[query] @ video.T, audio[query] @ audio.T)  # (Q, N)
        scores[query - query[0], query] = -torch.inf  # never the query itself, whatever its rank
        kept = scores.topk(min(self.k + _MARGIN, n - 1))  # (Q, K + margin)
        index, score = self.rescore(query, kept.indices)
        # If the last candidate is further than the slack below the K-th, nobody outside can belong to the K best.
        near_tie = kept.values[:, self.k - 1] - kept.values[:, -1] <= self.slack
        if kept.values.shape[1] < n - 1:
            for row in near_tie.nonzero()[:, 0]:  # many duplicates, say: compare this query with everyone
                everyone = torch.arange(n - 1, device=query.device)[None]
                others = everyone + (everyone >= query[row])
                index[row], score[row] = self.rescore(query[row][None], others)
        return index, score

    def rescore(self, query: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """The K best candidates (Q, C) of each query, ties to the lower index."""
        candidates = candidates.sort(dim=1).values  # lower index first ...
        video, audio = ((x[query][:, None] * x[candidates]).sum(2) for x in self.exact)  # one fixed order of summing
        score, rank = self.combine(video, audio).sort(dim=1, descending=True, stable=True)  # ... and kept among equals
        return candidates.gather(1, rank[:, : self.k]), score[:, : self.k]


def _combine(agreement: str) -> Callable[[Tensor, Tensor], Tensor]:
    if agreement not in AGREEMENTS:
        raise ValueError(f"agreement must be one of {', '.join(AGREEMENTS)}; got {agreement!r}")
    return AGREEMENTS[agreement]
