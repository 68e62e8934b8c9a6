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
_TILE_BYTES = 24 * 2**20  # of each (queries, N) tile; five are alive at a time, 20 if all instances are alike
_BLOCK_BYTES = 4 * 2**20  # of the pairs whose exact products are computed at a time: what a cache holds


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
        ValueError: The agreement is unknown, or the shapes or devices do not fit.
    """
    combine = _combine(agreement)
    _check_memories(video_queries, audio_queries, "video_queries", "audio_queries", "(Q, D)")
    _check_memories(video, audio)
    if video_queries.shape[1] != video.shape[1] or video_queries.device != video.device:
        got = [f"{tuple(x.shape)} on {x.device}" for x in (video_queries, video)]
        raise ValueError(f"queries and instances must share D and the device; got {got[0]} and {got[1]}")
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
    lower index. Neither the chunking nor the device changes the answer (`_Search` says why).

    Args:
        video: (N, D) unit video memories, in any floating-point type.
        audio: (N, D) unit audio memories of the same instances.
        k: K, at most N - 1.
        agreement: See `agreement_scores`.
        chunk_size: Queries compared at a time; ``None`` needs under 512 MiB beside a copy of the memories.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: Shapes or devices differ, a value is not finite, K does not fit N or the agreement is unknown.
    """
    combine = _combine(agreement)
    _check_memories(video, audio)
    n = len(video)
    if not 1 <= k <= n - 1:
        raise ValueError(f"k must be between 1 and N - 1 = {n - 1} (an instance is no positive of itself); got {k}")
    for name, x in (("video", video), ("audio", audio)):
        if not x.isfinite().all():
            row = int((~x.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"{name} must be finite; row {row} holds NaN or infinity: did training diverge?")
    if chunk_size is None:
        chunk_size = max(1, min(1024, _TILE_BYTES // (4 * n)))
    elif chunk_size < 1:
        raise ValueError(f"chunk_size must be >= 1, or None; got {chunk_size}")

    with torch.autocast(video.device.type, enabled=False):  # it would round the tiles to half precision
        search = _Search(video, audio, k, combine)
        index = torch.empty(n, k, dtype=torch.int64, device=video.device)
        score = torch.empty(n, k, dtype=torch.float64, device=video.device)
        for start in tqdm(range(0, n, chunk_size), desc=f"mining {agreement}", unit="chunk", disable=not progress):
            query = torch.arange(start, min(start + chunk_size, n), device=video.device)
            index[query], score[query] = search.best(query)
    return Positives(index, score.to(torch.promote_types(video.dtype, torch.float32)))


class _Search:
    """Finds candidates with fast products, decides among them with exact ones.

    A single-precision product of two rows is off by at most ``error``. The K-th best score of a tile is therefore at
    most one error above the true one, and an instance that belongs to the K best is at most two below it in the tile.
    All such candidates are scored again in double precision, by additions in one fixed order: the same on every device.
    """

    def __init__(self, video: Tensor, audio: Tensor, k: int, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.video, self.audio, self.k, self.combine = video, audio, k, combine
        # One scale for both brings the longest row to length one: nothing overflows, the order stays.
        longest = max(float(torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).max()) for x in (video, audio))
        self.tiles = tuple((x.double() / (longest or 1.0)).float() for x in (video, audio))
        # Rows, products and sums each round by half an eps; by a whole one, to be on the safe side.
        self.error = (video.shape[1] + 4) * torch.finfo(torch.float32).eps + _product_rounding()

    def best(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """(Q, K) instances and scores of these queries."""
        video, audio = self.tiles
        scores = self.combine(video[query] @ video.T, audio[query] @ audio.T)  # (Q, N)
        scores[query - query[0], query] = -torch.inf  # never the query itself, whatever its rank
        kth = scores.topk(self.k).values[:, -1:]  # (Q, 1)
        row, candidate = (scores >= kth - 2 * self.error).nonzero(as_tuple=True)  # in each row the lower index first
        exact = self.combine(
            _exact_products(self.video, query[row], candidate), _exact_products(self.audio, query[row], candidate)
        )
        count = row.bincount(minlength=len(query))
        column = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]  # place within its row
        shape = (len(query), int(count.max()))
        score = torch.full(shape, -torch.inf, dtype=torch.float64, device=row.device)
        index = torch.zeros(shape, dtype=torch.int64, device=row.device)
        score[row, column], index[row, column] = exact, candidate
        score, rank = score.sort(
            dim=1, descending=True, stable=True
        )  # stable: among equals the lower index stays first
        return index.gather(1, rank[:, : self.k]), score[:, : self.k]


def _exact_products(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``x[left] . x[right]`` in double precision, halves added to halves until one number is left."""
    products = torch.empty(len(left), dtype=torch.float64, device=x.device)
    block = max(1, _BLOCK_BYTES // (16 * x.shape[1]))
    for start in range(0, len(left), block):
        rows = slice(start, start + block)
        terms = x[left[rows]].double() * x[right[rows]].double()  # (block, D)
        while terms.shape[1] > 1:
            half = terms.shape[1] // 2
            odd = terms[:, 2 * half :]
            terms = terms[:, :half] + terms[:, half : 2 * half]
            if odd.shape[1]:
                terms = torch.cat([terms, odd], dim=1)
        products[rows] = terms[:, 0]
    return products


def _product_rounding() -> float:
    """What a matrix product may lose of unit rows besides single-precision rounding: TF32 or bfloat16, if allowed."""
    try:
        return 0.0 if torch.get_float32_matmul_precision() == "highest" else 2.0**-6
    except RuntimeError:  # torch refuses to say when old and new ways of setting it were mixed
        return 2.0**-6


@dataclass(frozen=True)
class AgreementPlane:
    """One query's view of all instances: what a picture of agreement needs.

    Attributes:
        query: The instance that looks.
        video: (N,) similarity of its picture to every picture; its own is NaN.
        audio: (N,) similarity of its sound to every sound; its own is NaN.
        positives: By agreement, the (K,) positives, best first.
        threshold: By agreement, the score of the last positive: the edge of the chosen region.
    """

    query: int
    video: Float[Tensor, " N"]
    audio: Float[Tensor, " N"]
    positives: dict[str, Int64[Tensor, " K"]]
    threshold: dict[str, float]


@torch.no_grad()
def agreement_plane(
    video: Float[Tensor, "N D"], audio: Float[Tensor, "N D"], query: int, k: int = 32
) -> AgreementPlane:
    """Place every instance by how much it looks and sounds like the query, under all four agreements.

    Args:
        video: (N, D) unit video memories.
        audio: (N, D) unit audio memories of the same instances.
        query: Which instance looks, in [0, N).
        k: K, at most N - 1.

    Raises:
        ValueError: Shapes or devices differ, the query is no instance or K does not fit N.
    """
    _check_memories(video, audio)
    n = len(video)
    if not 0 <= query < n:
        raise ValueError(f"query must be in [0, {n}); got {query}")
    if not 1 <= k <= n - 1:
        raise ValueError(f"k must be between 1 and N - 1 = {n - 1} (an instance is no positive of itself); got {k}")
    left, right = torch.full((n,), query, device=video.device), torch.arange(n, device=video.device)
    seen, heard = _exact_products(video, left, right), _exact_products(audio, left, right)
    positives, threshold = {}, {}
    for name, combine in AGREEMENTS.items():
        score = combine(seen, heard).clone()
        score[query] = -torch.inf
        ordered = score.sort(descending=True, stable=True)
        positives[name], threshold[name] = ordered.indices[:k], float(ordered.values[k - 1])
    seen[query] = heard[query] = torch.nan
    return AgreementPlane(query, seen.float(), heard.float(), positives, threshold)


def _check_memories(
    video: Tensor, audio: Tensor, video_name: str = "video", audio_name: str = "audio", shape: str = "(N, D)"
) -> None:
    if video.ndim != 2 or video.shape != audio.shape or 0 in video.shape or video.device != audio.device:
        got = f"{tuple(video.shape)} on {video.device} and {tuple(audio.shape)} on {audio.device}"
        raise ValueError(f"{video_name} and {audio_name} must both be {shape} on one device; got {got}")


def _combine(agreement: str) -> Callable[[Tensor, Tensor], Tensor]:
    if agreement not in AGREEMENTS:
        raise ValueError(f"agreement must be one of {', '.join(AGREEMENTS)}; got {agreement!r}")
    return AGREEMENTS[agreement]
