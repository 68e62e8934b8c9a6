"""The exact order of the best candidates: the last step of every mining path."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from avid_lab.mining.agreement import Agreement

_SPARE = 8  # candidates beyond the k best; more are rarely needed
_NARROW = 16  # below this many terms per product, the layout of the sums changes
_BLOCK_BYTES = 4 * 2**20  # size of the pairs whose exact products are computed together: fits a cache


class Memories:
    """The memories of both modalities, prepared for fast products, with a bound on the error of these products.

    A single-precision product of two rows is wrong by at most ``error``. So two products that differ by more than twice
    that are in the right order, and each of the k best instances of a query has a product of at least p - 2 * error,
    where p is the k-th best product. Only the few instances whose order remains uncertain are scored again, in double
    precision and with a fixed order of additions: the result is the same on every device.

    Attributes:
        video: (N, D) single-precision copy of the video memories, scaled like ``audio``.
        audio: (N, D) single-precision copy of the audio memories.
        error: Largest error of a product of two rows of a copy.
    """

    def __init__(self, video: Float[Tensor, "N D"], audio: Float[Tensor, "N D"], rule: Agreement) -> None:
        self.originals, self.rule = (video, audio), rule
        # One common scale makes the longest row a unit vector: nothing overflows, and the order does not change.
        longest = max(float(torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).max()) for x in (video, audio))
        self._longest = longest or 1.0
        self.video, self.audio = ((x.double() / self._longest).float() for x in (video, audio))
        # Rows, products and sums each round by half an eps; assume a whole one, to be safe.
        self.error = (video.shape[1] + 4) * torch.finfo(torch.float32).eps + product_rounding()
        # In these cases products of the copies are not accurate enough to be scores.
        self._rescore_all = video.dtype == torch.float64 or product_rounding() > 0

    def scores(self, query: Int64[Tensor, "Q"], instance: Int64[Tensor, "Q C"]) -> Float[Tensor, "Q C"]:
        """Agreement of every query with its own list of instances, from products of the copies."""
        products = []
        for x in (self.video, self.audio):
            answers = x.index_select(0, instance.flatten()).unflatten(0, instance.shape)  # (Q, C, D)
            products.append(torch.bmm(answers, x[query][:, :, None]).squeeze(2))
        return self.rule.combine(*products)

    def best(
        self, query: Int64[Tensor, "Q"], scores: Float[Tensor, "Q C"], k: int
    ) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
        """The k best of every query's ``C`` instances: see `resolve_near_ties`.

        Args:
            query: Indices of the queries.
            scores: Agreement with each instance, from products of the copies; -inf excludes an instance.
            k: Number of matches to keep; each query has at least as many.
        """
        return self.best_among(query, torch.arange(scores.shape[1], device=scores.device).expand_as(scores), scores, k)

    def best_among(
        self, query: Int64[Tensor, "Q"], instance: Int64[Tensor, "Q C"], scores: Float[Tensor, "Q C"], k: int
    ) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
        """The same, where every query has its own candidates, without duplicates."""
        best = scores.topk(min(k + _SPARE, scores.shape[1]))
        needed = best.values[:, k - 1 : k] - 2 * self.error
        if (best.values[:, -1:] >= needed).any():  # many are nearly equal: take all that may belong to the k best
            best = scores.topk(int((scores >= needed).sum(1).max()))
        return self.resolve_near_ties(query, instance.gather(1, best.indices), best.values, k)

    def resolve_near_ties(
        self, query: Int64[Tensor, "Q"], candidate: Int64[Tensor, "Q C"], score: Float[Tensor, "Q C"], k: int
    ) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
        """The k best candidates of every query in their exact order; the lower index wins ties.

        Args:
            query: Indices of the queries.
            candidate: Candidates of each query, including all whose score is at least the k-th best - 2 * error.
            score: Their agreement from products of the copies, in descending order.
            k: Number of matches to keep.

        Returns:
            The instances, and their scores at the scale of the originals: correct in single precision, or in double
            precision if the originals have it.
        """
        doubt = score >= score[:, k - 1 : k] - 2 * self.error
        if not self._rescore_all:
            alike = score[:, :-1] - score[:, 1:] <= 2 * self.error  # to a neighbour
            doubt &= F.pad(alike, (1, 0)) | F.pad(alike, (0, 1))
        row, column = doubt.nonzero(as_tuple=True)
        left, right = query[row], candidate[row, column]
        score = score.double().mul_(self._longest**2)
        score[row, column] = self.rule.combine(*(exact_products(x, left, right) for x in self.originals))
        again = doubt.any(1).nonzero().flatten()
        lower, by_index = candidate[again].sort(dim=1)
        # A stable sort keeps the lower index first among equals.
        score[again], rank = score[again].gather(1, by_index).sort(dim=1, descending=True, stable=True)
        candidate = candidate.index_copy(0, again, lower.gather(1, rank))
        return candidate[:, :k], score[:, :k]


def exact_products(
    x: Float[Tensor, "N D"], left: Int64[Tensor, "M"], right: Int64[Tensor, "M"]
) -> Float64[Tensor, "M"]:
    """``x[left] . x[right]`` in double precision, summed pairwise in a fixed order."""
    products = torch.empty(len(left), dtype=torch.float64, device=x.device)
    block = max(1, _BLOCK_BYTES // (16 * x.shape[1]))
    for start in range(0, len(left), block):
        pairs = slice(start, start + block)
        terms = x.index_select(0, left[pairs]).double().mul_(x.index_select(0, right[pairs]))  # (block, D)
        while terms.shape[1] > _NARROW:
            terms = _halve(terms.T).T
        terms = terms.T.contiguous()  # (D', block): adding short rows would be slow
        while len(terms) > 1:
            terms = _halve(terms)
        products[pairs] = terms[0]
    return products


def _halve(terms: Tensor) -> Tensor:
    """Add the second half of the rows to the first, in place; an odd last row is kept."""
    half, odd = divmod(len(terms), 2)
    sums = terms[:half].add_(terms[half : 2 * half])
    return torch.cat([sums, terms[2 * half :]]) if odd else sums


def product_rounding() -> float:
    """Error of products of unit rows beyond single-precision rounding: from TF32 or bfloat16, if they are allowed."""
    try:
        return 0.0 if torch.get_float32_matmul_precision() == "highest" else 2.0**-6
    except RuntimeError:  # torch refuses to say when old and new ways of setting it were mixed
        return 2.0**-6
