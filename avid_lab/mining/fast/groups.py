"""Fast exact mining on a GPU: first the maximum of each group of instances, then the groups that can matter.

At least k instances reach the k-th highest of a query's group maxima. So all of its k best matches are in groups whose
maximum is at least that high: about k of N / GROUP. Only these groups are scored again, in single precision. The
similarity matrix is never written to memory.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from tqdm.auto import tqdm

from avid_lab.kernels.peaks import group_peaks, half_copy, screening_error
from avid_lab.mining.fast.exact import Memories
from avid_lab.mining.fast.rows import best_of_rows, rows_at_a_time
from avid_lab.mining.fast.tiles import parts

GROUP = 128  # instances per group
QUERIES = 4096  # queries per call of the kernel
GATHER_BYTES = 512 * 2**20  # size of the candidates' memories that are gathered together


def best_by_groups(
    memories: Memories, k: int, queries: range, *, group: int = GROUP, progress: str | None = None
) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
    """Instances and scores of the k best matches of consecutive queries.

    Args:
        memories: Memories of all N instances, with a rule that the kernel knows.
        k: Number of matches per query.
        queries: Indices of the queries.
        group: Instances per group, a power of two >= 16.
        progress: Name of a progress bar; None shows none.
    """
    n, device, kernel = len(memories.video), memories.video.device, memories.rule.kernel
    assert kernel is not None  # the caller checked it
    halves = half_copy(memories.video), half_copy(memories.audio)
    slack = 2 * screening_error(halves[0].shape[1])
    groups = -(-n // group)
    taken = min(groups, k + max(16, k // 2))  # more than k, because half precision cannot distinguish close scores
    gathered = max(1, GATHER_BYTES // (4 * memories.video.shape[1] * group * taken))
    index = torch.empty(len(queries), k, dtype=torch.int64, device=device)
    score = torch.empty(len(queries), k, dtype=torch.float64, device=device)
    for begin in tqdm(queries[::QUERIES], desc=progress, unit="chunk", disable=progress is None):
        query = torch.arange(begin, min(begin + QUERIES, queries.stop), device=device)
        best = group_peaks(*halves, kernel, begin, len(query), group).topk(taken)
        if taken == groups:
            complete = torch.ones_like(query, dtype=torch.bool)
        else:
            complete = best.values[:, -1] < best.values[:, k - 1] - slack
        for part in parts(complete, gathered):
            place = query[part] - queries.start
            index[place], score[place] = _best_of_groups(memories, query[part], best.indices[part], group, k)
        for part in parts(~complete, rows_at_a_time(memories)):
            place = query[part] - queries.start
            index[place], score[place] = best_of_rows(memories, query[part], k)
    return index, score


def _best_of_groups(memories: Memories, query: Tensor, groups: Tensor, group: int, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each query among the instances of its groups."""
    n = len(memories.video)
    member = torch.arange(group, device=query.device)
    candidate = (groups[:, :, None] * group + member).flatten(1)  # (Q, C)
    scores = memories.scores(query, candidate.clamp(max=n - 1))
    scores = scores.masked_fill((candidate >= n) | (candidate == query[:, None]), -torch.inf)
    return memories.best_among(query, candidate, scores, k)
