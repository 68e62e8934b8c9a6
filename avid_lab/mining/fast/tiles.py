"""Fast exact mining on a CPU: square tiles of the similarity matrices, each computed once for its rows and its columns.

Similarity is symmetric, so half of the tiles are enough: the tile of strips i and j serves the queries of i with its
rows and those of j with its columns. The full matrix is never written. Most scores of a tile are skipped, because every
query has a threshold that a match must exceed.

Instances come in random order, so those that a query has seen are a fair sample. From the first tile on, the query can
estimate its final k-th best score. Estimates that were too high are detected at the end, and these queries are mined
again. Few scores exceed a good estimate, so the cost is little more than that of the products.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray as Array
from torch import Tensor
from tqdm.auto import tqdm

from avid_lab.mining.fast.exact import Memories
from avid_lab.mining.fast.rows import best_of_rows, rows_at_a_time

TILE = 1024  # side of a tile: two of them take 8 MiB in single precision
ROOM = 64  # new matches that are collected before they are merged with the best ones
PEAKS = 64  # maxima of a query's first tile, for the first estimate


class Shortlist:
    """The best matches so far of every query: its ``k`` best, some more, and the score that a match must exceed.

    NumPy searches the scores: it finds a few true entries among a million several times faster than torch.

    Args:
        queries: Number of queries.
        k: Number of matches to find.
        keep: Number of matches that remain after a merge; more than ``k``.
        slack: How far below the ``k``-th best score a score may be and still count.
        largest: Number of scores of the largest tile.
        population: Number of instances that each query will see, in random order, for estimates; None makes none.
    """

    def __init__(
        self, queries: int, k: int, keep: int, slack: float, largest: int, population: int | None = None
    ) -> None:
        self.k, self.keep, self.slack, self.population = k, keep, slack, population
        self.score = torch.full((queries, keep + ROOM), -torch.inf)
        self.index = torch.zeros(queries, keep + ROOM, dtype=torch.int32)
        self.count = np.zeros(queries, np.int64)  # number of entries in use
        self.beat = torch.full((queries,), -torch.inf)
        self.raised = np.zeros(queries, np.int64)  # instances seen when the threshold was last raised
        self.above = np.empty(largest, bool)  # scratch

    def offer(self, queries: slice, tile: Float[Tensor, "R C"], column: int) -> None:
        """Add the scores of some queries with the instances ``column``, column + 1, ..."""
        raised = self.raised[queries.start]
        if not raised:
            self._begin(queries, tile)
        elif self.population and 2 * raised <= column <= 2 / 3 * self.population:  # enough instances are left
            self._merge(queries, column)

        by_rows = tile.is_contiguous()
        scores, beat = (tile if by_rows else tile.T).numpy(), self.beat[queries].numpy()
        above = self.above[: scores.size].reshape(scores.shape)
        place = np.flatnonzero(np.greater(scores, beat[:, None] if by_rows else beat, out=above))
        row = place // scores.shape[1]
        instance = place - row * scores.shape[1]
        if not by_rows:
            order = instance.astype(np.uint16).argsort(kind="stable")  # 16-bit integers sort fastest
            place, row, instance = place[order], instance[order], row[order]
        self._add(queries, column, row, column + instance, scores.ravel()[place])

    def _begin(self, queries: slice, tile: Tensor) -> None:
        """The first threshold, from the maxima of parts of the first tile: n maxima are n different scores."""
        rank, size = self._rank(tile.shape[1]), tile.shape[1] // PEAKS
        if size and rank <= PEAKS:
            peak = functools.reduce(torch.maximum, tile[:, : PEAKS * size].split(PEAKS, dim=1))
            self.beat[queries] = peak.contiguous().topk(rank).values[:, -1] - self.slack
        self.raised[queries] = tile.shape[1]

    def _rank(self, seen: int) -> int:
        """A rank among the ``seen`` scores whose score is almost never above the final k-th best score.

        On average, ``mean`` of the ``keep`` best instances of a query are among those seen. Fewer than one query in a
        thousand has more than this number plus three standard deviations plus four.
        """
        mean = self.keep * seen / (self.population or 1)
        return min(self.k, math.ceil(mean + 3 * math.sqrt(mean) + 4))

    def _add(self, queries: slice, seen: int, row: Array, instance: Array, score: Array) -> None:
        """Add matches, sorted by row, to the lists of their queries."""
        count, width = self.count[queries], self.score.shape[1]
        scores, instances = self.score[queries].numpy().ravel(), self.index[queries].numpy().ravel()
        while len(row):
            new = np.bincount(row, minlength=len(count))
            slot = (count - new.cumsum() + new)[row] + np.arange(len(row))
            count += new
            full = count.max() > width
            fits = np.flatnonzero(slot < width) if full else slice(None)
            place = row[fits] * width + slot[fits]
            scores[place], instances[place] = score[fits], instance[fits]
            if not full:
                return
            self._merge(queries, seen)  # makes room and raises the thresholds
            left = (slot >= width) & (score > self.beat[queries].numpy()[row])
            row, instance, score = row[left], instance[left], score[left]

    def _merge(self, queries: slice, seen: int) -> None:
        used = max(self.keep, min(int(self.count[queries].max()), self.score.shape[1]))
        best = self.score[queries, :used].topk(self.keep)
        self.index[queries, : self.keep] = self.index[queries].gather(1, best.indices)
        self.score[queries, : self.keep] = best.values
        self.score[queries, self.keep : used] = -torch.inf
        np.minimum(self.count[queries], self.keep, out=self.count[queries])
        beat = best.values[:, self._rank(seen) - 1] - self.slack
        torch.maximum(self.beat[queries], beat, out=self.beat[queries])
        self.raised[queries] = seen

    def best(self) -> tuple[Float[Tensor, "Q keep"], Int64[Tensor, "Q keep"]]:
        """Scores in descending order, and their instances."""
        best = self.score[:, : max(self.keep, int(self.count.max()))].topk(self.keep)
        return best.values, self.index.gather(1, best.indices).long()


def best_by_tiles(
    memories: Memories, k: int, queries: range, *, tile: int = TILE, progress: str | None = None
) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
    """Instances and scores of the k best matches of consecutive queries.

    Args:
        memories: Memories of all N instances.
        k: Number of matches per query.
        queries: Indices of the queries. Tiles between queries serve both rows and columns, other tiles only the rows.
        tile: Side of a tile, at most 65,536.
        progress: Name of a progress bar; None shows none.
    """
    n, asked = len(memories.video), len(queries)
    keep = min(k + max(8, k // 4), n - 1)  # more than k, so that rounding cannot drop a true match unnoticed
    own = queries.start + torch.randperm(asked, generator=torch.Generator().manual_seed(0))
    order = torch.cat([own, torch.arange(queries.start), torch.arange(queries.stop, n)])
    video, audio = memories.video[order], memories.audio[order]
    # With several processes, each sees its own queries first, which is not a fair sample of all instances.
    shortlist = Shortlist(asked, k, keep, 2 * memories.error, min(tile, n) ** 2, n if asked == n else None)
    strips = [slice(begin, min(begin + tile, asked)) for begin in range(0, asked, tile)]
    others = [slice(begin, min(begin + tile, n)) for begin in range(asked, n, tile)]
    pairs = [(rows, columns) for place, rows in enumerate(strips) for columns in (*strips[place:], *others)]
    scratch = torch.empty(2, min(tile, n) ** 2)
    for rows, columns in tqdm(pairs, desc=progress, unit="tile", disable=progress is None):
        shape = rows.stop - rows.start, columns.stop - columns.start
        scores, heard = (flat[: math.prod(shape)].view(shape) for flat in scratch)
        torch.mm(video[rows], video[columns].T, out=scores)
        torch.mm(audio[rows], audio[columns].T, out=heard)
        memories.rule.combine(scores, heard, out=scores)
        if rows == columns:
            scores.fill_diagonal_(-torch.inf)  # exclude the query by its index, whatever its rank
        shortlist.offer(rows, scores, columns.start)
        if rows != columns and columns.start < asked:
            shortlist.offer(columns, scores.T, rows.start)
    return _decide(memories, shortlist, order, k, queries)


def _decide(
    memories: Memories, shortlist: Shortlist, order: Int64[Tensor, " N"], k: int, queries: range
) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
    """The exact order of the shortlists; queries whose shortlist may lack a match are mined from full rows.

    This happens if an estimate was too high, or if very many instances agree equally well, as in a collapsed memory.
    """
    score, index = shortlist.best()
    needed = score[:, k - 1 : k] - 2 * memories.error
    complete = (score[:, -1:] < needed) | (shortlist.keep == len(memories.video) - 1)
    complete = (complete & (shortlist.beat[:, None] <= needed)).flatten()
    best = torch.empty(len(queries), k, dtype=torch.int64)
    agreement = torch.empty(len(queries), k, dtype=torch.float64)
    for part in parts(complete, 4 * TILE):
        instance = order[part]
        place = instance - queries.start
        best[place], agreement[place] = memories.resolve_near_ties(instance, order[index[part]], score[part], k)
    for part in parts(~complete, rows_at_a_time(memories)):
        instance = order[part]
        place = instance - queries.start
        best[place], agreement[place] = best_of_rows(memories, instance, k)
    return best, agreement


def parts(chosen: Bool[Tensor, " Q"], size: int) -> list[Int64[Tensor, " _"]]:
    """The indices where ``chosen`` is true, in parts of this size."""
    return [part for part in chosen.nonzero().flatten().split(size) if len(part)]
