"""Fast exact mining on a CPU: square tiles of the similarity matrices, each computed once for its rows and its columns.

Similarity is symmetric, so half of the tiles is enough: the tile of strips i and j answers the queries of i by its rows
and those of j by its columns. Both products and the rule that combines them are done while a tile is in the cache; the
matrix is never written. Most of a tile is then passed over: every query remembers the score that a match must beat, and
only groups of `GROUP` scores whose maximum does are looked at. Because few do after the first tiles, the cost is
little more than that of the products.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from tqdm.auto import tqdm

from avid_lab.mining.exact import Memories
from avid_lab.mining.rows import best_of_rows, rows_at_a_time

TILE = 1024  # side of a tile: two of them in single precision are 8 MiB
BLOCK = 256  # rows of a tile that are computed at a time
GROUP = 16  # scores of which one maximum is taken
ROOM = 64  # matches that wait beside the best ones before the two are merged


class Shortlist:
    """The best matches so far of every query: all of its ``k`` best, some more, and the score to beat.

    Args:
        queries: How many.
        k: Best matches that are looked for.
        keep: Matches that stay when a shortlist is full; more than ``k``.
        slack: By how much a score may miss the ``k``-th best and still be wanted.
    """

    def __init__(self, queries: int, k: int, keep: int, slack: float) -> None:
        self.k, self.keep, self.slack = k, keep, slack
        self.score = torch.full((queries, keep + ROOM), -torch.inf)
        self.index = torch.zeros(queries, keep + ROOM, dtype=torch.int32)
        self.count = torch.zeros(queries, dtype=torch.int64)  # places taken
        self.beat = torch.full((queries,), -torch.inf)

    def offer(self, first: int, tile: Float[Tensor, "R C"], column: int) -> None:
        """Show queries ``first``, first + 1, ... their scores with instances ``column``, column + 1, ..."""
        rows, columns = tile.shape
        beat = self.beat[first : first + rows]
        peak = _peaks(tile)
        if peak.shape[1] >= self.k and bool((beat == -torch.inf).all()):  # their first tile
            # The k-th best peak is a score that at least k matches reach.
            beat.copy_(peak.topk(self.k).values[:, -1] - self.slack)
        group = (peak > beat[:, None]).flatten().nonzero().flatten()
        row, member = group // peak.shape[1], group % peak.shape[1]
        # From here on, places in flat memory: much cheaper to look up than pairs of indices.
        memory = tile.flatten() if tile.is_contiguous() else tile.T.flatten()
        step = torch.arange(0, columns, peak.shape[1])
        place = (row * tile.stride(0) + member * tile.stride(1))[:, None] + step * tile.stride(1)  # (groups, GROUP)
        score = memory.index_select(0, place.flatten())
        hit = (score.view_as(place) > beat.index_select(0, row)[:, None]).flatten().nonzero().flatten()
        group = hit // len(step)
        index = column + member.index_select(0, group) + step.index_select(0, hit - group * len(step))
        self._add(first, rows, row.index_select(0, group), index.int(), score.index_select(0, hit))

    def _add(self, first: int, rows: int, row: Tensor, index: Tensor, score: Tensor) -> None:
        """Put matches of rows in increasing order into the room of their queries."""
        count, width = self.count[first : first + rows], self.score.shape[1]
        while len(row):
            new = row.bincount(minlength=rows)
            slot = (count - new.cumsum(0) + new).index_select(0, row) + torch.arange(len(row))
            count.add_(new)
            full = int(count.max()) > width
            fits = (slot < width).nonzero().flatten() if full else slice(None)
            place = (first + row[fits]) * width + slot[fits]
            self.score.view(-1).scatter_(0, place, score[fits])
            self.index.view(-1).scatter_(0, place, index[fits])
            if not full:
                return
            self._merge(first, rows)  # makes room, and raises the score to beat
            left = ((slot >= width) & (score > self.beat[first + row])).nonzero().flatten()
            row, index, score = row[left], index[left], score[left]

    def _merge(self, first: int, rows: int) -> None:
        here = slice(first, first + rows)
        best = self.score[here].topk(self.keep)
        self.index[here, : self.keep] = self.index[here].gather(1, best.indices)
        self.score[here, : self.keep] = best.values
        self.score[here, self.keep :] = -torch.inf
        self.count[here].clamp_(max=self.keep)
        torch.maximum(self.beat[here], best.values[:, self.k - 1] - self.slack, out=self.beat[here])

    def best(self) -> tuple[Float[Tensor, "Q keep"], Int64[Tensor, "Q keep"]]:
        """Scores, falling, and instances."""
        best = self.score.topk(self.keep)
        return best.values, self.index.gather(1, best.indices).long()


def best_by_tiles(
    memories: Memories, k: int, queries: range, *, tile: int = TILE, progress: str | None = None
) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
    """Instances and exact scores of the k best matches of consecutive queries.

    Args:
        memories: Of all N instances.
        k: Matches of each query.
        queries: Which instances ask. Tiles among them are computed once, tiles with other instances serve their rows.
        tile: Side of a tile.
        progress: Shows a bar of this name.
    """
    n = len(memories.video)
    keep = min(k + max(8, k // 4), n - 1)  # more than k, so that rounding cannot push a true match out unnoticed
    shortlist = Shortlist(len(queries), k, keep, 2 * memories.error)
    own = [slice(begin, min(begin + tile, queries.stop)) for begin in queries[::tile]]
    others = [
        slice(begin, min(begin + tile, stop))
        for start, stop in ((0, queries.start), (queries.stop, n))
        for begin in range(start, stop, tile)
    ]
    pairs = [(rows, columns) for place, rows in enumerate(own) for columns in (*own[place:], *others)]
    both_ways = {strip.start for strip in own}
    scratch = torch.empty(2, tile * tile)
    for rows, columns in tqdm(pairs, desc=progress, unit="tile", disable=progress is None):
        scores = _tile(memories, rows, columns, scratch)
        if rows == columns:
            scores.fill_diagonal_(-torch.inf)  # never the query itself, whatever its rank
        shortlist.offer(rows.start - queries.start, scores, columns.start)
        if rows != columns and columns.start in both_ways:
            shortlist.offer(columns.start - queries.start, scores.T, rows.start)
    return _decide(memories, shortlist, queries, k)


def _peaks(tile: Float[Tensor, "R C"]) -> Float[Tensor, "R groups"]:
    """The maximum of each group of a row. A group is every C / GROUP-th score: such maxima vectorise."""
    groups, rest = divmod(tile.shape[1], GROUP)
    if rest:
        return tile
    if tile.is_contiguous():
        return tile.unflatten(1, (GROUP, groups)).amax(1)
    return tile.T.unflatten(0, (GROUP, groups)).amax(0).T  # the same, along the memory of a transposed tile


def _tile(memories: Memories, rows: slice, columns: slice, scratch: Tensor) -> Float[Tensor, "R C"]:
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    scores, heard = (flat[: shape[0] * shape[1]].view(shape) for flat in scratch)
    right = memories.video[columns].T, memories.audio[columns].T
    for begin in range(0, shape[0], BLOCK):  # so that the two products are combined before they leave the cache
        part, block = slice(begin, begin + BLOCK), slice(rows.start + begin, min(rows.start + begin + BLOCK, rows.stop))
        torch.mm(memories.video[block], right[0], out=scores[part])
        torch.mm(memories.audio[block], right[1], out=heard[: block.stop - block.start])
        memories.combine_into(scores[part], heard[: block.stop - block.start])
    return scores


def _decide(memories: Memories, shortlist: Shortlist, queries: range, k: int) -> tuple[Tensor, Tensor]:
    """Exact scores for the shortlists; whole rows for the queries whose shortlist may have lost a match.

    That happens where very many instances agree equally well, such as in a collapsed memory.
    """
    score, index = shortlist.best()
    needed = score[:, k - 1 : k] - 2 * memories.error
    complete = (score[:, -1:] < needed).flatten() | (shortlist.keep == len(memories.video) - 1)
    instance = torch.arange(queries.start, queries.stop)
    best = torch.empty(len(queries), k, dtype=torch.int64)
    exact = torch.empty(len(queries), k, dtype=torch.float64)
    for part in parts(complete, 4 * TILE):
        by_index = index[part].sort(dim=1)
        row, column = (score[part].gather(1, by_index.indices) >= needed[part]).nonzero(as_tuple=True)
        candidate = by_index.values[row, column]
        best[part], exact[part] = memories.decide(instance[part][row], candidate, row, len(part), k)
    for part in parts(~complete, rows_at_a_time(memories)):
        best[part], exact[part] = best_of_rows(memories, instance[part], k)
    return best, exact


def parts(chosen: Bool[Tensor, " Q"], size: int) -> list[Int64[Tensor, " _"]]:
    """Where ``chosen`` is true, so many places at a time."""
    return [part for part in chosen.nonzero().flatten().split(size) if len(part)]
