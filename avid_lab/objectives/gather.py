"""Scores of queries against picked memories, without the large copy of the plain einsum.

``einsum("bd,bmd->bm", query, bank[picked])`` first writes a new (B, M, D) tensor: 34 MB for 64 queries and 1,025
memories. It spends most of its time on new memory pages, and keeps the tensor for the gradient. Here each query's rows
are gathered into a buffer of 0.5 MB that stays in the cache; the gradient is a weighted sum of the same rows,

    d query[b] = sum over m of grad[b, m] * bank[picked[b, m]],

which PyTorch's ``embedding_bag`` reads directly from the bank. So no (B, M, D) tensor ever exists. The scores are
ordinary tensors, so any loss can follow.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from avid_lab.kernels import kernel_or_plain


def score_instances(
    query: Float[Tensor, "B D"], bank: Float[Tensor, "N D"], picked: Int64[Tensor, "B M"]
) -> Float[Tensor, "B M"]:
    """Similarity of each query to its picked instances: ``query[b] . bank[picked[b, m]]``.

    Gathering (B, M, D) vectors, as in the last line, is expensive. If the bank is small compared with the picks, a
    product with the whole bank is cheaper; the picks are then read from it. A large bank is gathered one query at a
    time on a CPU, and by a fused kernel on a GPU (`gathered_scores`).
    """
    if len(bank) <= 16 * picked.shape[1]:
        return (query @ bank.to(query.dtype).T).gather(1, picked)
    fits = query.dtype == bank.dtype if query.device.type == "cpu" else query.dtype == torch.float32
    if fits and query.device.type in ("cpu", "cuda") and not bank.requires_grad and picked.shape[1]:
        return gathered_scores(query, bank, picked)
    return torch.einsum("bd,bmd->bm", query, bank[picked].to(query.dtype))


def gathered_scores(
    query: Float[Tensor, "B D"], bank: Float[Tensor, "N D"], picked: Int64[Tensor, "B M"]
) -> Float[Tensor, "B M"]:
    """``query[b] . bank[picked[b, m]]``; differentiable by the query only.

    Args:
        query: Queries. On a GPU, a Triton kernel handles single precision; otherwise, or if it fails, whole rows are
            gathered.
        bank: Memories on the query's device, without gradient; on the CPU in the query's precision, single or double.
        picked: Indices of the memories to compare each query with.
    """
    return _GatheredScores.apply(query, bank, picked)


class _GatheredScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, bank: Tensor, picked: Tensor) -> Tensor:
        ctx.save_for_backward(bank, picked)
        if query.device.type == "cpu":
            return _dots_by_rows(query, bank, picked)

        def kernel() -> Tensor:
            from avid_lab.kernels.gather import dots  # needs Triton

            return dots(query, bank, picked)

        return kernel_or_plain(query, kernel, lambda: torch.einsum("bd,bmd->bm", query, bank[picked].to(query.dtype)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        bank, picked = ctx.saved_tensors
        if gradient.device.type == "cpu":
            weighted = F.embedding_bag(picked, bank, mode="sum", per_sample_weights=gradient.contiguous())
            return weighted, None, None

        def kernel() -> Tensor:
            from avid_lab.kernels.gather import weighted_sums

            return weighted_sums(gradient, bank, picked)

        def plain() -> Tensor:
            return torch.einsum("bm,bmd->bd", gradient, bank[picked].to(gradient.dtype))

        return kernel_or_plain(gradient, kernel, plain), None, None


def _dots_by_rows(query: Tensor, bank: Tensor, picked: Tensor) -> Tensor:
    rows, picks = picked.shape
    buffer = bank.new_empty(picks, bank.shape[1])
    scores = query.new_empty(rows, picks)
    for row in range(rows):
        torch.index_select(bank, 0, picked[row], out=buffer)
        torch.mv(buffer, query[row], out=scores[row])
    return scores
