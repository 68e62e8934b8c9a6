"""The highest agreement within each group of instances, on a GPU: mining needs nothing else of the similarity matrix.

Tensor cores multiply half-precision copies and sum in single precision. `screening_error` bounds the error, so that
mining can stay exact.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
# (Triton checks a kernel's arguments)

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from jaxtyping import Float16, Float32
from torch import Tensor

ROWS, STEP = 128, 64  # queries per program; dimensions per multiplication
# A program's two blocks of sums fill the registers of 8 warps (of 4 they would spill); two stages of loads fit the
# 99 KB of shared memory that a gaming GPU has.
LAUNCH = {"num_warps": 8, "num_stages": 2}


def half_copy(x: Float32[Tensor, "N D"]) -> Float16[Tensor, "N D2"]:
    """Half-precision rows, padded with zeros to a multiple of `STEP` dimensions."""
    return F.pad(x, (0, -x.shape[1] % STEP)).half().contiguous()


def screening_error(dim: int) -> float:
    """Largest error of a product of two half-precision copies of rows of at most unit length.

    Halves round a number by 2^-11 of it, or by 2^-25 if it is tiny; sums of tensor cores lose less than 2^-21 a term.
    The second term covers the squares of those, and the rounding of the rows themselves to single precision.
    """
    return 2.0**-10 + 2.0**-20 + 2.0**-23 * math.sqrt(dim) + 2.0**-21 * dim


def group_peaks(
    video: Float16[Tensor, "N D2"],
    audio: Float16[Tensor, "N D2"],
    rule: int,
    first: int,
    queries: int,
    group: int = 128,
) -> Float32[Tensor, "{queries} groups"]:
    """Of queries ``first``, ``first`` + 1, ...: the highest agreement with instances [0, group), [group, 2 group), ...

    Rules: 0 the smaller similarity, 1 the larger, 2 video alone, 3 audio alone.
    A query's agreement with itself does not count; a group without any other instance has -inf.
    """
    (n, dim), groups = video.shape, triton.cdiv(len(video), group)
    peaks = torch.empty(queries, groups, device=video.device)
    tiles = triton.cdiv(queries, ROWS)
    sizes = {"RULE": rule, "DIM": dim, "STEP": STEP, "ROWS": ROWS, "GROUP": group}
    # One axis: the others end at 65,535 programs, the groups of 8 million instances.
    _group_peaks[(tiles * groups,)](video, audio, peaks, first, queries, n, tiles, groups, **sizes, **LAUNCH)
    return peaks


@triton.jit
def _group_peaks(
    video,
    audio,
    peaks,
    first,
    queries,
    n,
    tiles,
    groups,
    RULE: tl.constexpr,
    DIM: tl.constexpr,
    STEP: tl.constexpr,
    ROWS: tl.constexpr,
    GROUP: tl.constexpr,
):
    # Neighbouring programs share the group's rows, and all queries of a call fit the GPU's second cache.
    tile, number = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    row = tile.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    instance = number.to(tl.int64) * GROUP + tl.arange(0, GROUP)
    query, asks, answers = first + row, row < queries, instance < n
    ask, answer = asks[:, None], answers[None, :]
    seen, heard = tl.zeros([ROWS, GROUP], tl.float32), tl.zeros([ROWS, GROUP], tl.float32)
    for begin in range(0, DIM, STEP):
        column = begin + tl.arange(0, STEP)
        left, right = query[:, None] * DIM + column[None, :], instance[None, :] * DIM + column[:, None]
        if RULE != 3:
            one, other = tl.load(video + left, mask=ask, other=0.0), tl.load(video + right, mask=answer, other=0.0)
            seen = tl.dot(one, other, seen)
        if RULE != 2:
            one, other = tl.load(audio + left, mask=ask, other=0.0), tl.load(audio + right, mask=answer, other=0.0)
            heard = tl.dot(one, other, heard)
    score = seen
    if RULE == 0:
        score = tl.minimum(seen, heard)
    if RULE == 1:
        score = tl.maximum(seen, heard)
    if RULE == 3:
        score = heard
    counts = answers[None, :] & (query[:, None] != instance[None, :])
    peak = tl.max(tl.where(counts, score, float("-inf")), 1)
    tl.store(peaks + row * groups + number, peak, mask=asks)
