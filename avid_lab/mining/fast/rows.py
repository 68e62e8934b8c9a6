"""Plain mining: compare some queries with all instances and keep the best. Runs on any device."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from tqdm.auto import tqdm

from avid_lab.mining.fast.exact import Memories

ROW_BYTES = 24 * 2**20  # size of a (queries, N) block of scores; five exist at a time, 20 if all instances are equal


def best_by_rows(
    memories: Memories, k: int, queries: range, chunk_size: int | None = None, *, progress: str | None = None
) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
    """Instances and scores of the k best matches of consecutive queries.

    Args:
        memories: Memories of all N instances.
        k: Number of matches per query.
        queries: Indices of the queries.
        chunk_size: Number of queries per block; None chooses one that limits the memory.
        progress: Name of a progress bar; None shows none.
    """
    device = memories.video.device
    chunks = torch.arange(queries.start, queries.stop, device=device).split(chunk_size or rows_at_a_time(memories))
    index = torch.empty(len(queries), k, dtype=torch.int64, device=device)
    score = torch.empty(len(queries), k, dtype=torch.float64, device=device)
    for query in tqdm(chunks, desc=progress, unit="chunk", disable=progress is None):
        place = query - queries.start
        index[place], score[place] = best_of_rows(memories, query, k)
    return index, score


def best_of_rows(
    memories: Memories, query: Int64[Tensor, "Q"], k: int
) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
    """The same for a few queries, from their full rows of the similarity matrices."""
    video, audio = memories.video, memories.audio
    scores = memories.rule.combine(video[query] @ video.T, audio[query] @ audio.T)  # (Q, N)
    scores.scatter_(1, query[:, None], -torch.inf)  # exclude the query by its index, whatever its rank
    return memories.best(query, scores, k)


def rows_at_a_time(memories: Memories) -> int:
    """Number of queries whose full rows of scores fit into `ROW_BYTES`."""
    return max(1, min(1024, ROW_BYTES // (4 * len(memories.video))))
