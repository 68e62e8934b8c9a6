"""Compares every kernel with its plain path on the given device: a GPU, or a CPU under TRITON_INTERPRET=1."""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F

from avid_lab.kernels.gather import dots, weighted_sums
from avid_lab.kernels.peaks import group_peaks, half_copy, screening_error
from avid_lab.mining import AGREEMENTS
from avid_lab.mining.fast.exact import Memories
from avid_lab.mining.fast.groups import best_by_groups
from avid_lab.mining.fast.rows import best_by_rows

device = sys.argv[1]
generator = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator).to(device)


for rows, picks, dim, n in ((1, 1, 1, 1), (3, 70, 20, 50), (5, 300, 64, 400)):  # odd sizes, several blocks and parts
    query, picked = random(rows, dim), torch.randint(n, (rows, picks), generator=generator).to(device)
    weight = random(rows, picks)
    for bank in (random(n, dim), random(n, dim).bfloat16()):
        plain = bank[picked].float()
        expected = torch.einsum("bd,bmd->bm", query, plain)
        torch.testing.assert_close(dots(query, bank, picked), expected, atol=1e-5, rtol=1e-5)
        expected = torch.einsum("bm,bmd->bd", weight, plain)
        torch.testing.assert_close(weighted_sums(weight, bank, picked), expected, atol=1e-5, rtol=1e-5)

for agreement, rule in AGREEMENTS.items():
    video, audio = (F.normalize(random(300, 40), dim=1) for _ in range(2))
    video[40:60], audio[40:60] = video[:20], audio[:20]  # duplicates: ties
    memories = Memories(video, audio, rule)
    scores = rule.combine(memories.video @ memories.video.T, memories.audio @ memories.audio.T)
    scores.fill_diagonal_(-torch.inf)
    halves = half_copy(memories.video), half_copy(memories.audio)
    for first, queries in ((0, 300), (130, 33)):
        peaks = group_peaks(*halves, rule.kernel, first, queries, 16)
        padded = F.pad(scores[first : first + queries], (0, 4), value=-torch.inf)
        assert (peaks - padded.unflatten(1, (-1, 16)).amax(2)).abs().max() <= screening_error(64)
    for k, asked in ((3, range(300)), (15, range(130, 163))):
        expected, found = best_by_rows(memories, k, asked), best_by_groups(memories, k, asked, group=16)
        assert torch.equal(found[0], expected[0]), agreement
        torch.testing.assert_close(found[1], expected[1], atol=1e-6, rtol=0)

collapsed = Memories(*[F.normalize(torch.ones(700, 16), dim=1).to(device)] * 2, AGREEMENTS["consensus"])
asked = range(5, 25)  # all alike: half precision decides nothing, and whole rows must
assert torch.equal(best_by_groups(collapsed, 4, asked, group=16)[0], best_by_rows(collapsed, 4, asked)[0])
print("kernels agree")
