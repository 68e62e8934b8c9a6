"""Scores of selected memories on a GPU, read directly from the bank, without the (B, M, D) tensor of plain PyTorch.

The plain version is ``einsum("bd,bmd->bm", query, bank[picked])``. It writes every selected row once and reads it
twice, and again for the gradient. Here each row is read once for the scores and once for the gradient.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# (Triton checks a kernel's arguments)

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Float32, Int64
from torch import Tensor

PICKS = 32  # selected rows per block of a program
PARTS = 8  # programs that share the gradient of one query; their sums are then added in a fixed order


def dots(
    query: Float[Tensor, "B D"], bank: Float[Tensor, "N D"], picked: Int64[Tensor, "B M"]
) -> Float32[Tensor, "B M"]:
    """``query[b] . bank[picked[b, m]]``, summed in single precision."""
    query, bank, picked = query.contiguous(), bank.contiguous(), picked.contiguous()
    (rows, dim), picks = query.shape, picked.shape[1]
    scores = torch.empty(rows, picks, device=query.device)
    grid = rows, triton.cdiv(picks, PICKS)
    _dots[grid](query, bank, picked, scores, picks, dim, BLOCK=PICKS, DIM=triton.next_power_of_2(dim))
    return scores


def weighted_sums(
    weight: Float[Tensor, "B M"], bank: Float[Tensor, "N D"], picked: Int64[Tensor, "B M"]
) -> Float32[Tensor, "B D"]:
    """``sum over m of weight[b, m] * bank[picked[b, m]]``: the gradient of `dots` by the query."""
    weight, bank, picked = weight.contiguous(), bank.contiguous(), picked.contiguous()
    (rows, picks), dim = picked.shape, bank.shape[1]
    sums = torch.empty(rows, PARTS, dim, device=bank.device)
    size = triton.next_power_of_2(dim)
    _weighted_sums[rows, PARTS](weight, bank, picked, sums, picks, dim, SHARES=PARTS, BLOCK=PICKS, DIM=size)
    return sums.sum(1)


@triton.jit
def _dots(query, bank, picked, scores, picks, dim, BLOCK: tl.constexpr, DIM: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    place, column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, DIM)
    here, inside = place < picks, column < dim
    wanted = tl.load(picked + row * picks + place, mask=here, other=0)
    both = here[:, None] & inside[None, :]
    memory = tl.load(bank + wanted[:, None] * dim + column[None, :], mask=both, other=0.0).to(tl.float32)
    asked = tl.load(query + row * dim + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(scores + row * picks + place, tl.sum(memory * asked[None, :], 1), mask=here)


@triton.jit
def _weighted_sums(
    weight, bank, picked, sums, picks, dim, SHARES: tl.constexpr, BLOCK: tl.constexpr, DIM: tl.constexpr
):
    row, part, column = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.arange(0, DIM)
    inside = column < dim
    total = tl.zeros([DIM], tl.float32)
    for step in range(tl.cdiv(picks, SHARES * BLOCK)):
        place = (step * SHARES + part) * BLOCK + tl.arange(0, BLOCK)
        here = place < picks
        wanted = tl.load(picked + row * picks + place, mask=here, other=0)
        factor = tl.load(weight + row * picks + place, mask=here, other=0.0).to(tl.float32)
        both = here[:, None] & inside[None, :]
        memory = tl.load(bank + wanted[:, None] * dim + column[None, :], mask=both, other=0.0).to(tl.float32)
        total += tl.sum(memory * factor[:, None], 0)
    tl.store(sums + (row * SHARES + part) * dim + column, total, mask=inside)
