"""Cross-modal agreement: which instances are so alike in picture *and* sound that they should be positives?

Source: section 4 of the paper. With unit memories v, a, the agreement of instances i and j is

    consensus  min(v_i . v_j, a_i . a_j)      union  max(v_i . v_j, a_i . a_j)
    video      v_i . v_j                      audio  a_i . a_j

and the positives of i are the K others with the highest agreement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor

from avid_lab.kernels import kernel_or_plain
from avid_lab.memory import from_all_processes
from avid_lab.mining.exact import Combine, Memories, exact_products, product_rounding
from avid_lab.mining.rows import best_by_rows
from avid_lab.mining.tiles import best_by_tiles

Agreement = Literal["consensus", "union", "video", "audio"]
AGREEMENTS: dict[str, Combine] = {
    "consensus": torch.minimum,
    "union": torch.maximum,
    "video": lambda video, audio: video,
    "audio": lambda video, audio: audio,
}
TILES_FROM = 2048  # instances from which tiles, or groups on a GPU, are worth more than whole rows


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
    lower index. Neither the chunking nor the path taken nor the device changes the instances or their order (`Memories`
    says why); scores are right to the precision of the memories, and at least to single precision.

    Paths: `rows` is the one to read, and runs anywhere; on a CPU, `tiles` does the same several times faster, and so
    does `groups` with Triton on a GPU of compute capability 8.0 or later. Where `torch.distributed` is initialised, all
    processes must call this together with equal memories; each mines its share of the queries, and all get the whole
    answer.

    Args:
        video: (N, D) unit video memories, in any floating-point type.
        audio: (N, D) unit audio memories of the same instances.
        k: K, at most N - 1.
        agreement: See `agreement_scores`.
        chunk_size: Takes the path of whole rows, with so many queries at a time. ``None`` chooses the fastest path,
            which on a CPU needs under 512 MiB beside two copies of the memories up to 500,000 instances, then 1 KiB for
            each; on a GPU under 2 GiB beside two copies, up to 2,000,000 instances.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: Shapes or devices differ, a value is not finite, K does not fit N or the agreement is unknown.
    """
    check_mining(video, audio, k, agreement)
    n, combine = len(video), AGREEMENTS[agreement]
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be >= 1, or None; got {chunk_size}")

    queries = _own_share(n)
    shown = f"mining {agreement}" if progress else None
    with torch.autocast(video.device.type, enabled=False):  # it would round products to half precision
        memories = Memories(video, audio, combine)
        if chunk_size is None and video.device.type == "cpu" and n >= TILES_FROM and product_rounding() == 0:
            index, score = best_by_tiles(memories, k, queries, progress=shown)
        elif chunk_size is None and n >= TILES_FROM:
            index, score = kernel_or_plain(
                video,
                lambda: _best_by_groups(memories, agreement, k, queries, shown),
                lambda: best_by_rows(memories, k, queries, progress=shown),
                tensor_cores=True,
            )
        else:
            index, score = best_by_rows(memories, k, queries, chunk_size, progress=shown)
    index, score = from_all_processes(index), from_all_processes(score)
    return Positives(index, score.to(torch.promote_types(video.dtype, torch.float32)))


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
    seen, heard = exact_products(video, left, right), exact_products(audio, left, right)
    positives, threshold = {}, {}
    for name, combine in AGREEMENTS.items():
        score = combine(seen, heard).clone()
        score[query] = -torch.inf
        ordered = score.sort(descending=True, stable=True)
        positives[name], threshold[name] = ordered.indices[:k], float(ordered.values[k - 1])
    seen[query] = heard[query] = torch.nan
    return AgreementPlane(query, seen.float(), heard.float(), positives, threshold)


def check_mining(video: Tensor, audio: Tensor, k: int, agreement: str) -> None:
    """Raises the errors of `mine_positives`."""
    _combine(agreement)
    _check_memories(video, audio)
    n = len(video)
    if not 1 <= k <= n - 1:
        raise ValueError(f"k must be between 1 and N - 1 = {n - 1} (an instance is no positive of itself); got {k}")
    for name, x in (("video", video), ("audio", audio)):
        if not x.isfinite().all():
            row = int((~x.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"{name} must be finite; row {row} holds NaN or infinity: did training diverge?")


def _check_memories(
    video: Tensor, audio: Tensor, video_name: str = "video", audio_name: str = "audio", shape: str = "(N, D)"
) -> None:
    if video.ndim != 2 or video.shape != audio.shape or 0 in video.shape or video.device != audio.device:
        got = f"{tuple(video.shape)} on {video.device} and {tuple(audio.shape)} on {audio.device}"
        raise ValueError(f"{video_name} and {audio_name} must both be {shape} on one device; got {got}")


def _combine(agreement: str) -> Combine:
    if agreement not in AGREEMENTS:
        raise ValueError(f"agreement must be one of {', '.join(AGREEMENTS)}; got {agreement!r}")
    return AGREEMENTS[agreement]


def _best_by_groups(
    memories: Memories, agreement: str, k: int, queries: range, progress: str | None
) -> tuple[Tensor, Tensor]:
    from avid_lab.mining.groups import best_by_groups  # needs Triton

    return best_by_groups(memories, agreement, k, queries, progress=progress)


def _own_share(n: int) -> range:
    """The queries that this process mines: all, or a stretch of them where there are several processes."""
    if not (dist.is_available() and dist.is_initialized()):
        return range(n)
    rank, processes = dist.get_rank(), dist.get_world_size()
    return range(n * rank // processes, n * (rank + 1) // processes)
