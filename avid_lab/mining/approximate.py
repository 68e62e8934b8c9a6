"""Mining where even the fastest exact way takes too long: FAISS proposes candidates, their scores are exact.

Exact mining costs N^2. An inverted file costs N times what lies in the cells it looks into; it finds most positives of
memories that have structure, and few of random ones, where no cell is special. So the recall is always measured, on
some queries that are mined exactly beside it, and returned with the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm.auto import tqdm

from avid_lab.mining.agreement import Agreement
from avid_lab.mining.fast.exact import Memories
from avid_lab.mining.fast.rows import best_of_rows, rows_at_a_time
from avid_lab.mining.fast.tiles import parts
from avid_lab.mining.positives import Positives, check_mining

WORTH_IT_FROM = 500_000  # instances; below, exact mining takes at most some twenty minutes on one core
QUERIES = 4096  # that are searched for at a time
GATHER_BYTES = 16 * 2**20  # of the candidates' memories that are gathered at a time


@dataclass(frozen=True)
class ApproximatePositives(Positives):
    """Positives of which some may be missed; those that are found have their true scores.

    Attributes:
        recall: Share of the exact K best that was found, over the queries checked.
        checked: How many queries were mined exactly to tell.
    """

    recall: float
    checked: int


@torch.no_grad()
def mine_approximately(
    video: Float[Tensor, "N D"],
    audio: Float[Tensor, "N D"],
    k: int = 32,
    agreement: str | Agreement = "consensus",
    *,
    candidates: int | None = None,
    probes: int = 32,
    checked: int = 256,
    seed: int = 0,
    progress: bool = False,
) -> ApproximatePositives:
    """About the K instances that agree most with each instance; meant for more than `WORTH_IT_FROM` instances.

    For consensus, rows (v, a) are searched: their product is the sum of both similarities, which is large wherever the
    smaller one is. Union looks in both modalities, the others in their own.

    Args:
        video: (N, D) unit video memories, on the CPU.
        audio: (N, D) unit audio memories of the same instances.
        k: K, at most N - 1.
        agreement: See `avid_lab.mining.agreement_scores`.
        candidates: Nearest rows of a search whose agreement is then computed exactly; None for 8 K.
        probes: Cells looked into, of about 4 sqrt(N): more find more, and take longer.
        checked: Queries that are mined exactly to measure the recall.
        seed: Draws those.
        progress: Whether to show a progress bar.

    Raises:
        ModuleNotFoundError: FAISS is not installed.
        ValueError: As `avid_lab.mining.mine_positives`; memories on a GPU; a count below 1.
    """
    rule = check_mining(video, audio, k, agreement)
    if video.device.type != "cpu":
        raise ValueError(f"mine_approximately needs memories on the CPU; got {video.device}: pass video.cpu()")
    for name, count in (("candidates", candidates), ("probes", probes), ("checked", checked)):
        if count is not None and count < 1:
            raise ValueError(f"{name} must be >= 1; got {count}")
    n, memories = len(video), Memories(video, audio, rule)
    rows = {"both": (memories.video, memories.audio), "video": (memories.video,), "audio": (memories.audio,)}
    spaces = [torch.cat(rows[name], 1) for name in rule.searches]
    wanted = min(n, 1 + max(k, candidates or 8 * k))  # and the query itself
    indexes = [_inverted_file(space, probes) for space in spaces]
    index = torch.empty(n, k, dtype=torch.int64)
    score = torch.empty(n, k, dtype=torch.float64)
    for query in tqdm(torch.arange(n).split(QUERIES), desc=f"mining {rule.name}", disable=not progress):
        found = [torch.from_numpy(i.search(s[query].numpy(), wanted)[1]) for i, s in zip(indexes, spaces, strict=True)]
        index[query], score[query] = _decide(memories, query, torch.cat(found, 1), k)
    some = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:checked].sort().values
    exact = torch.cat([best_of_rows(memories, part, k)[0] for part in some.split(rows_at_a_time(memories))])
    recall = float((index[some][:, :, None] == exact[:, None]).any(2).double().mean())
    score = score.to(torch.promote_types(video.dtype, torch.float32))
    return ApproximatePositives(index, score, recall, len(some))


def _inverted_file(rows: Tensor, probes: int) -> Any:
    try:
        import faiss  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        fix = 'pip install "avid-lab[approximate]" (faiss-cpu), or mine exactly with mine_positives'
        raise ModuleNotFoundError(f"approximate mining needs FAISS, which is not installed: {fix}") from None
    faiss.omp_set_num_threads(torch.get_num_threads())
    cells = max(1, min(int(4 * math.sqrt(len(rows))), len(rows) // 39))  # k-means wants 39 rows a cell
    index: Any = faiss.index_factory(rows.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(rows.numpy())
    index.add(rows.numpy())
    index.nprobe = min(probes, cells)
    return index


def _decide(
    memories: Memories, query: Int64[Tensor, "Q"], found: Int64[Tensor, "Q M"], k: int
) -> tuple[Tensor, Tensor]:
    """The k best of each query's candidates; whole rows for queries with fewer than k of them."""
    found = found.sort(dim=1).values  # -1, for want of candidates, first
    valid = (found >= 0) & (found != query[:, None])
    valid[:, 1:] &= found[:, 1:] != found[:, :-1]  # two searches may find the same
    enough = valid.sum(1) >= k
    index = torch.empty(len(query), k, dtype=torch.int64)
    score = torch.empty(len(query), k, dtype=torch.float64)
    for part in parts(~enough, rows_at_a_time(memories)):
        index[part], score[part] = best_of_rows(memories, query[part], k)
    at_a_time = max(1, GATHER_BYTES // (4 * memories.video.shape[1] * found.shape[1]))
    for part in parts(enough, at_a_time):
        scores = memories.scores(query[part], found[part].clamp(min=0)).masked_fill(~valid[part], -torch.inf)
        index[part], score[part] = memories.best_among(query[part], found[part], scores, k)
    return index, score
