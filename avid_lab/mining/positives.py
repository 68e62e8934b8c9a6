"""Mining: the K instances that agree most with each instance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from avid_lab.kernels import kernel_or_plain
from avid_lab.mining.agreement import AGREEMENTS, Agreement, agreement_named, agreement_scores, check_memories
from avid_lab.mining.fast.exact import Memories, exact_products, product_rounding
from avid_lab.mining.fast.rows import best_by_rows
from avid_lab.mining.fast.tiles import best_by_tiles
from avid_lab.precision import off_mps
from avid_lab.processes import from_all_processes, processes, rank

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


def positives_by_definition(
    video: Float[Tensor, "N D"], audio: Float[Tensor, "N D"], k: int = 32, agreement: str | Agreement = "consensus"
) -> Positives:
    """The readable definition of `mine_positives`. Needs memory for N x N scores."""
    score = agreement_scores(video.double(), audio.double(), video.double(), audio.double(), agreement)  # (N, N)
    score.fill_diagonal_(-torch.inf)  # an instance is no positive of itself
    best = score.sort(dim=1, descending=True, stable=True)  # stable: among equals the lower index comes first
    return Positives(best.indices[:, :k], best.values[:, :k].to(video.dtype))


@torch.no_grad()
def mine_positives(
    video: Float[Tensor, "N D"],
    audio: Float[Tensor, "N D"],
    k: int = 32,
    agreement: str | Agreement = "consensus",
    *,
    chunk_size: int | None = None,
    progress: bool = False,
) -> Positives:
    """The K instances that agree most with each instance: `positives_by_definition`, exact, fast and in little memory.

    The instance itself is excluded by identity, so an exact duplicate of it may be its best positive. Ties go to the
    lower index. Neither the chunking nor the path taken nor the device changes the instances or their order
    (`avid_lab.mining.fast.exact.Memories` says why); scores are right to the precision of the memories, and at least to
    single precision.

    Paths: whole rows run anywhere; on a CPU, tiles do the same several times faster, and so do groups with Triton on a
    GPU of compute capability 8.0 or later. Where `torch.distributed` is initialised, all processes must call this
    together with equal memories; each mines its share of the queries, and all get the whole answer.

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
    rule = check_mining(video, audio, k, agreement)
    n = len(video)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be >= 1, or None; got {chunk_size}")

    device = video.device
    video, audio = off_mps(video), off_mps(audio)  # scores in doubt are settled in double precision
    queries = _own_share(n)
    shown = f"mining {rule.name}" if progress else None
    with torch.autocast(video.device.type, enabled=False):  # it would round products to half precision
        memories = Memories(video, audio, rule)
        if chunk_size is None and video.device.type == "cpu" and n >= TILES_FROM and product_rounding() == 0:
            index, score = best_by_tiles(memories, k, queries, progress=shown)
        elif chunk_size is None and n >= TILES_FROM and rule.kernel is not None:
            index, score = kernel_or_plain(
                video,
                lambda: _best_by_groups(memories, k, queries, shown),
                lambda: best_by_rows(memories, k, queries, progress=shown),
                tensor_cores=True,
            )
        else:
            index, score = best_by_rows(memories, k, queries, chunk_size, progress=shown)
    index, score = from_all_processes(index), from_all_processes(score)
    return Positives(index.to(device), score.to(torch.promote_types(video.dtype, torch.float32)).to(device))


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
    """Place every instance by how much it looks and sounds like the query, under all agreements.

    Args:
        video: (N, D) unit video memories.
        audio: (N, D) unit audio memories of the same instances.
        query: Which instance looks, in [0, N).
        k: K, at most N - 1.

    Raises:
        ValueError: Shapes or devices differ, the query is no instance or K does not fit N.
    """
    check_memories(video, audio)
    n = len(video)
    if not 0 <= query < n:
        raise ValueError(f"query must be in [0, {n}); got {query}")
    _check_k(k, n)
    left, right = torch.full((n,), query, device=video.device), torch.arange(n, device=video.device)
    seen, heard = exact_products(video, left, right), exact_products(audio, left, right)
    positives, threshold = {}, {}
    for name, rule in AGREEMENTS.items():
        score = rule.combine(seen, heard).clone()
        score[query] = -torch.inf
        ordered = score.sort(descending=True, stable=True)
        positives[name], threshold[name] = ordered.indices[:k], float(ordered.values[k - 1])
    seen[query] = heard[query] = torch.nan
    return AgreementPlane(query, seen.float(), heard.float(), positives, threshold)


def check_mining(video: Tensor, audio: Tensor, k: int, agreement: str | Agreement) -> Agreement:
    """The rule of agreement; raises the errors of `mine_positives`."""
    rule = agreement_named(agreement)
    check_memories(video, audio)
    _check_k(k, len(video))
    for name, x in (("video", video), ("audio", audio)):
        if not x.isfinite().all():
            row = int((~x.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"{name} must be finite; row {row} holds NaN or infinity: did training diverge?")
    return rule


def _check_k(k: int, n: int) -> None:
    if not 1 <= k <= n - 1:
        raise ValueError(f"k must be between 1 and N - 1 = {n - 1} (an instance is not its own positive); got {k}")


def _best_by_groups(memories: Memories, k: int, queries: range, progress: str | None) -> tuple[Tensor, Tensor]:
    from avid_lab.mining.fast.groups import best_by_groups  # needs Triton

    return best_by_groups(memories, k, queries, progress=progress)


def _own_share(n: int) -> range:
    """The queries that this process mines: all, or a stretch of them where there are several processes."""
    return range(n * rank() // processes(), n * (rank() + 1) // processes())
