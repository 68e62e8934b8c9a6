"""Mining as one reads it: some queries against all instances, keep the best. Runs on any device."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from tqdm.auto import tqdm

from avid_lab.mining.fast.exact import Memories

ROW_BYTES = 24 * 2**20  # of each (queries, N) block of scores; five are alive at a time, 20 if all instances are alike


def best_by_rows(
    memories: Memories, k: int, queries: range, chunk_size: int | None = None, *, progress: str | None = None
) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
    """Instances and scores of the k best matches of consecutive queries.

    Args:
        memories: Of all N instances.
        k: Matches of each query.
        queries: Which instances ask.
        chunk_size: Queries at a time; None bounds the memory.
        progress: Shows a bar of this name.
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
    """The same for any few queries, from their whole rows of the similarity matrices."""
    video, audio = memories.video, memories.audio
    scores = memories.rule.combine(video[query] @ video.T, audio[query] @ audio.T)  # (Q, N)
    scores.scatter_(1, query[:, None], -torch.inf)  # never the query itself, whatever its rank
    return memories.best(query, scores, k)


def rows_at_a_time(memories: Memories) -> int:
    """Queries whose whole rows of scores fit `ROW_BYTES`."""
    return max(1, min(1024, ROW_BYTES // (4 * len(memories.video))))
