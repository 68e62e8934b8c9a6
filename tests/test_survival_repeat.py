"""What is repeated: every bit on one machine with as many threads; elsewhere, values within a tolerance.

Decoded and streamed clips, one process and two, forks and resumed runs are compared in `test_streaming`,
`test_distributed`, `test_training` and `test_resume`.
"""

from __future__ import annotations

import pytest
import torch
from test_live_training import TINY, make, values

from avid_lab.encoders import AudioVisualModel
from avid_lab.objectives import AVID, CMA

# Losses of `few_steps`, made with torch 2.14 on x86-64.
STORED = {AVID: [8.299089, 8.16397, 6.661295, 6.091149], CMA: [7.753684, 7.738328, 7.154161, 7.122737]}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def trained(clips, threads, count):
    threads(count)
    trainer = make(clips, steps=4)
    list(trainer)
    return values(trainer), torch.cat([x.detach().flatten() for x in trainer.model.parameters()])


@pytest.mark.parametrize("count", [1, 2])
def test_the_same_seed_gives_the_same_bits(smoke_world, threads, count):
    (losses, weights), (again, others) = (trained(smoke_world, threads, count) for _ in range(2))
    assert losses == again and torch.equal(weights, others)


def test_another_number_of_threads_gives_almost_the_same(smoke_world, threads):
    (one, _), (two, _) = (trained(smoke_world, threads, count) for count in (1, 2))
    assert one == pytest.approx(two, rel=1e-2)


def few_steps(kind):
    """Losses of steps on clips of noise, which no decoder and no encoder has touched."""
    generator = torch.Generator().manual_seed(7)
    model = AudioVisualModel(TINY, seed=0)
    objective = AVID(16, TINY.dim, num_negatives=8, generator=generator)
    if kind is CMA:
        objective = CMA.from_avid(objective, k=3, num_within_negatives=4)
    size = TINY.video.size
    clips = torch.randn(16, 3, TINY.video.frames, size, size, generator=generator)
    sounds = torch.randn(16, 1, TINY.audio.frames, TINY.audio.bins, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    found = []
    for step in range(4):
        index = torch.arange(8) + 8 * (step % 2)
        video, audio = model(clips[index], sounds[index])
        loss = objective(video, audio, index).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.memory.update(index, video.detach(), audio.detach())
        found.append(loss.item())
    return found


@pytest.mark.parametrize("kind", [AVID, CMA])
def test_other_machines_give_the_stored_values(kind):
    assert few_steps(kind) == pytest.approx(STORED[kind], rel=2e-3)
