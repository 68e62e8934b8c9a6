"""The noise-contrastive step: both directions forward and backward, each query with its own negatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avid_lab.losses import nce_loss
from avid_lab.objectives import draw_negatives, score_instances
from benchmarks.harness import as_json, compare, limits

N, DIM, K, T, Z = 232_067, 128, 1024, 0.07, 2.2


class Alias:
    """Alias sampling of a uniform distribution, as published: two draws and two table lookups per number."""

    def __init__(self, n: int) -> None:
        self.keep, self.other = torch.ones(n), torch.zeros(n, dtype=torch.int64)

    def draw(self, count: int) -> Tensor:
        column = torch.empty(count, dtype=torch.int64).random_(0, len(self.keep))
        keep = torch.bernoulli(self.keep.index_select(0, column))
        return column * keep.long() + self.other.index_select(0, column) * (1 - keep).long()


def published(video: Tensor, audio: Tensor, index: Tensor, banks: tuple[Tensor, Tensor], alias: Alias) -> Tensor:
    """The released step, from its description: gather (B, K, D), bmm, exp-ratio loss, scores again for a log."""
    batch = len(index)
    negatives = alias.draw(batch * K).view(batch, K)
    negatives = negatives + (negatives >= index[:, None])
    right = [bank[index][:, None] for bank in banks]
    wrong = [bank[negatives] for bank in banks]
    total = torch.zeros(())
    for query, i in ((video, 1), (audio, 0)):
        scores = [torch.bmm(target[i], query[:, :, None]).squeeze(2) / T for target in (right, wrong)]
        positive, negative = (score.exp() for score in scores)
        noise = K * Z
        good = torch.log(positive / (positive + noise)).sum()
        bad = torch.log(noise / (negative + noise)).sum()
        total = total - (good + bad) / batch / 2
    with torch.no_grad():  # the mean scores that it logs
        for query, i in ((video, 1), (audio, 0), (video, 0), (audio, 1)):
            for target in (right, wrong):
                torch.bmm(target[i], query[:, :, None]).mean()
    return total


def lean(video: Tensor, audio: Tensor, index: Tensor, banks: tuple[Tensor, Tensor]) -> Tensor:
    """A plain implementation: uniform draws, one gather per direction, bmm, softplus."""
    negatives = draw_negatives(index[:, None], N, K)
    picked = torch.cat([index[:, None], negatives], 1)
    total = torch.zeros(())
    for query, bank in ((video, banks[1]), (audio, banks[0])):
        scores = torch.bmm(bank[picked], query[:, :, None]).squeeze(2) / T
        total = total + nce_loss(scores[:, :1], scores[:, 1:], Z) / 2
    return total


def ours(video: Tensor, audio: Tensor, index: Tensor, banks: tuple[Tensor, Tensor]) -> Tensor:
    """The library: the same, with `score_instances`."""
    negatives = draw_negatives(index[:, None], N, K)
    picked = torch.cat([index[:, None], negatives], 1)
    total = torch.zeros(())
    for query, bank in ((video, banks[1]), (audio, banks[0])):
        scores = score_instances(query, bank, picked) / T
        total = total + nce_loss(scores[:, :1], scores[:, 1:], Z) / 2
    return total


def run(quick: bool) -> dict[str, Any]:
    """Milliseconds per step; tests/test_fast.py checks its memory use."""
    before = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    banks = tuple(F.normalize(torch.randn(N, DIM, generator=generator), dim=1) for _ in range(2))
    alias, rows, top = Alias(N - 1), [], {}
    for threads in (1,) if quick else (1, 2):
        torch.set_num_threads(threads)
        top[threads] = limits()
        for batch in (64, 256):
            video, audio = (
                F.normalize(torch.randn(batch, DIM, generator=generator), dim=1).requires_grad_() for _ in range(2)
            )
            index = torch.randperm(N, generator=generator)[:batch]

            def step(loss: Callable[..., Tensor], *more: Any, inputs: Any = (video, audio, index)) -> Callable[[], Any]:
                def run() -> None:
                    inputs[0].grad = inputs[1].grad = None
                    loss(*inputs, banks, *more).backward()

                return run

            candidates = {"published algorithm": step(published, alias), "gather + bmm": step(lean), "ours": step(ours)}
            required = {"ours": 4.5 if threads == 1 else 3.0}
            name = f"NCE step, B = {batch}, K = {K}, {threads} thread{'s' * (threads > 1)}"
            gather = 1e9 * top[threads]["gather of 512-byte rows, GB/s"]
            least = dict.fromkeys(candidates, 2 * batch * (K + 1) * 4 * DIM / gather)
            rows += compare(name, candidates, turns=9, required=required, unit="step", least_s=least)
    torch.set_num_threads(before)
    return {"rows": as_json(rows), "limits, by threads": top}
