"""Deciding exactly which of some candidates agree most: what every way of mining ends with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

Combine = Callable[[Tensor, Tensor], Tensor]
_NARROW = 16  # terms of a product that are still added side by side
_BLOCK_BYTES = 4 * 2**20  # of the pairs whose exact products are computed at a time: what a cache holds


class Memories:
    """The memories of both modalities, ready for fast products, with a bound on what those lose.

    A single-precision product of two rows is off by at most ``error``. So if the k-th best product of a query is p, an
    instance that belongs to its k best has a product of at least p - 2 * error. All such candidates are scored again in
    double precision, by additions in one fixed order: the same on every device.

    Attributes:
        video: (N, D) single-precision copy of the video memories, scaled like ``audio``.
        audio: (N, D) single-precision copy of the audio memories.
        error: Largest error of a product of two rows of a copy.
    """

    def __init__(self, video: Float[Tensor, "N D"], audio: Float[Tensor, "N D"], combine: Combine) -> None:
        self.originals, self.combine = (video, audio), combine
        # One scale for both brings the longest row to length one: nothing overflows, the order stays.
        longest = max(float(torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).max()) for x in (video, audio))
        self.video, self.audio = ((x.double() / (longest or 1.0)).float() for x in (video, audio))
        # Rows, products and sums each round by half an eps; by a whole one, to be on the safe side.
        self.error = (video.shape[1] + 4) * torch.finfo(torch.float32).eps + product_rounding()

    def combine_into(self, video: Float[Tensor, "R C"], audio: Float[Tensor, "R C"]) -> None:
        """The agreement of two blocks of products, written over the first."""
        if self.combine is torch.minimum:
            torch.minimum(video, audio, out=video)
        elif self.combine is torch.maximum:
            torch.maximum(video, audio, out=video)
        else:
            video.copy_(self.combine(video, audio))

    def decide(
        self, query: Int64[Tensor, "M"], candidate: Int64[Tensor, "M"], row: Int64[Tensor, "M"], rows: int, k: int
    ) -> tuple[Int64[Tensor, "{rows} {k}"], Float64[Tensor, "{rows} {k}"]]:
        """The k best candidates of every row, best first, ties to the lower index, with their exact scores.

        Args:
            query: The instance that asks, for each pair.
            candidate: The instance that answers; within a row in increasing order.
            row: Row of the answer that the pair belongs to, not decreasing.
            rows: Number of rows; each has at least k candidates.
            k: How many to keep.
        """
        exact = self.combine(*(exact_products(x, query, candidate) for x in self.originals))
        count = row.bincount(minlength=rows)
        column = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]  # place within its row
        shape = (rows, int(count.max()))
        score = torch.full(shape, -torch.inf, dtype=torch.float64, device=row.device)
        index = torch.zeros(shape, dtype=torch.int64, device=row.device)
        score[row, column], index[row, column] = exact, candidate
        # Stable: among equals the lower index stays first.
        score, rank = score.sort(dim=1, descending=True, stable=True)
        return index.gather(1, rank[:, :k]), score[:, :k]


def exact_products(
    x: Float[Tensor, "N D"], left: Int64[Tensor, "M"], right: Int64[Tensor, "M"]
) -> Float64[Tensor, "M"]:
    """``x[left] . x[right]`` in double precision, halves added to halves until one number is left."""
    products = torch.empty(len(left), dtype=torch.float64, device=x.device)
    block = max(1, _BLOCK_BYTES // (16 * x.shape[1]))
    for start in range(0, len(left), block):
        pairs = slice(start, start + block)
        terms = x.index_select(0, left[pairs]).double().mul_(x.index_select(0, right[pairs]))  # (block, D)
        while terms.shape[1] > _NARROW:
            terms = _halve(terms.T).T
        terms = terms.T.contiguous()  # (D', block): short rows would be added slowly
        while len(terms) > 1:
            terms = _halve(terms)
        products[pairs] = terms[0]
    return products


def _halve(terms: Tensor) -> Tensor:
    """The second half of the rows added to the first, in place; an odd last row stays."""
    half, odd = divmod(len(terms), 2)
    sums = terms[:half].add_(terms[half : 2 * half])
    return torch.cat([sums, terms[2 * half :]]) if odd else sums


def product_rounding() -> float:
    """What a matrix product may lose of unit rows besides single-precision rounding: TF32 or bfloat16, if allowed."""
    try:
        return 0.0 if torch.get_float32_matmul_precision() == "highest" else 2.0**-6
    except RuntimeError:  # torch refuses to say when old and new ways of setting it were mixed
        return 2.0**-6
