"""Deciding exactly which of some candidates agree most: what every way of mining ends with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from avid_lab.mining.agreement import Agreement

_SPARE = 8  # candidates beyond the k best, so that there are seldom more
_NARROW = 16  # terms of a product that are still added side by side
_BLOCK_BYTES = 4 * 2**20  # of the pairs whose exact products are computed at a time: what a cache holds


class Memories:
    """The memories of both modalities, ready for fast products, with a bound on what those lose.

    A single-precision product of two rows is off by at most ``error``. So two products that differ by more than twice
    that are in the right order, and an instance that belongs to the k best of a query has a product of at least
    p - 2 * error, where p is the k-th best. Only the few whose order stays in doubt are scored again, in double
    precision and by additions in one fixed order: which instances are the best is the same on every device.

    Attributes:
        video: (N, D) single-precision copy of the video memories, scaled like ``audio``.
        audio: (N, D) single-precision copy of the audio memories.
        error: Largest error of a product of two rows of a copy.
    """

    def __init__(self, video: Float[Tensor, "N D"], audio: Float[Tensor, "N D"], rule: Agreement) -> None:
        self.originals, self.rule = (video, audio), rule
        # One scale for both brings the longest row to length one: nothing overflows, the order stays.
        longest = max(float(torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).max()) for x in (video, audio))
        self._longest = longest or 1.0
        self.video, self.audio = ((x.double() / self._longest).float() for x in (video, audio))
        # Rows, products and sums each round by half an eps; by a whole one, to be on the safe side.
        self.error = (video.shape[1] + 4) * torch.finfo(torch.float32).eps + product_rounding()
        self._rescore_all = video.dtype == torch.float64 or product_rounding() > 0  # then products are no scores

    def scores(self, query: Int64[Tensor, "Q"], instance: Int64[Tensor, "Q C"]) -> Float[Tensor, "Q C"]:
        """Agreement of every query with some instances of its own, by products of the copies."""
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
            query: The instances that ask.
            scores: Agreements of products of the copies, by instance; -inf where one is no match.
            k: How many to keep; each query has as many matches.
        """
        return self.best_among(query, torch.arange(scores.shape[1], device=scores.device).expand_as(scores), scores, k)

    def best_among(
        self, query: Int64[Tensor, "Q"], instance: Int64[Tensor, "Q C"], scores: Float[Tensor, "Q C"], k: int
    ) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
        """The same, where every query has candidates of its own, each of them once."""
        best = scores.topk(min(k + _SPARE, scores.shape[1]))
        needed = best.values[:, k - 1 : k] - 2 * self.error
        if (best.values[:, -1:] >= needed).any():  # many alike: all that may be among the k best
            best = scores.topk(int((scores >= needed).sum(1).max()))
        return self.resolve_near_ties(query, instance.gather(1, best.indices), best.values, k)

    def resolve_near_ties(
        self, query: Int64[Tensor, "Q"], candidate: Int64[Tensor, "Q C"], score: Float[Tensor, "Q C"], k: int
    ) -> tuple[Int64[Tensor, "Q {k}"], Float64[Tensor, "Q {k}"]]:
        """The k best candidates of every query in their true order, ties to the lower index.

        Args:
            query: The instances that ask.
            candidate: The instances that answer, among them all whose score is at least the k-th best - 2 * error.
            score: Their agreement by products of the copies, falling.
            k: How many to keep.

        Returns:
            The instances, and their scores at the scale of the originals: right to single precision, or to double
            precision where the originals have it.
        """
        doubt = score >= score[:, k - 1 : k] - 2 * self.error
        if not self._rescore_all:
            alike = score[:, :-1] - score[:, 1:] <= 2 * self.error  # as their neighbours
            doubt &= F.pad(alike, (1, 0)) | F.pad(alike, (0, 1))
        row, column = doubt.nonzero(as_tuple=True)
        left, right = query[row], candidate[row, column]
        score = score.double().mul_(self._longest**2)
        score[row, column] = self.rule.combine(*(exact_products(x, left, right) for x in self.originals))
        again = doubt.any(1).nonzero().flatten()
        lower, by_index = candidate[again].sort(dim=1)
        # Stable: among equals the lower index stays first.
        score[again], rank = score[again].gather(1, by_index).sort(dim=1, descending=True, stable=True)
        candidate = candidate.index_copy(0, again, lower.gather(1, rank))
        return candidate[:, :k], score[:, :k]


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
