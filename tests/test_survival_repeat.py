"""What is repeated: every bit on one machine with as many threads; elsewhere, values within a tolerance.

Decoded and streamed clips, one process and two, forks and resumed runs are compared in `test_streaming`,
`test_distributed`, `test_training` and `test_resume`; one thread, two and three in `test_side_by_side`.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from test_live_training import TINY, make, values

from avid_lab.encoders import AudioVisualModel
from avid_lab.objectives import AVID, CMA

# Losses of `few_steps` and embeddings of two clips after them, made with torch 2.14 on x86-64. With kernels for SSE,
# AVX2 and AVX-512, with and without oneDNN, on one thread and on two, they were within 1e-5 of each other.
TOLERANCE = 1e-4
STORED = {
    AVID: (
        [8.299089, 8.404551, 8.048368, 6.801920, 7.725938, 6.498021, 6.511174, 5.918325, 5.078580, 5.324535],
        [
            [0.153269, 0.456013, -0.083613, 0.168671, 0.433690, 0.007825],
            [0.295660, -0.405279, -0.146005, 0.295660, -0.405279, -0.146005],
        ],
    ),
    CMA: (
        [7.753684, 7.860491, 8.170357, 7.056082, 8.116498, 7.141469, 7.751879, 7.456625, 7.399718, 6.996611],
        [
            [0.153800, 0.449512, -0.090602, 0.171099, 0.427833, 0.001701],
            [0.300777, -0.406359, -0.147800, 0.300777, -0.406359, -0.147800],
        ],
    ),
}
UNTRAINED = [
    [-0.078135, 0.270335, 0.181834, -0.051138, 0.250858, 0.207690],
    [-0.083579, 0.324690, 0.094290, -0.126211, 0.347868, 0.024302],
]


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


def few_steps(kind):
    """Ten steps on clips of noise, which no decoder has touched: first embeddings, losses, last embeddings.

    Batch norm over eight clips magnifies rounding tenfold with each usual step; these steps are short, and Adam's eps
    is large, so that it does not make a whole step of a gradient that is nothing but rounding.
    """
    generator = torch.Generator().manual_seed(7)
    model = AudioVisualModel(TINY, seed=0)
    objective = AVID(16, TINY.dim, num_negatives=8, generator=generator)
    if kind is CMA:
        objective = CMA.from_avid(objective, k=3, num_within_negatives=4)
    size = TINY.video.size
    clips = torch.randn(16, 3, TINY.video.frames, size, size, generator=generator)
    sounds = torch.randn(16, 1, TINY.audio.frames, TINY.audio.bins, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, eps=1e-2)

    @torch.no_grad()
    def embeddings():
        model.eval()
        found = [x[:, :3].flatten().tolist() for x in model(clips[:2], sounds[:2])]
        model.train()
        return found

    first, found = embeddings(), []
    for step in range(10):
        index = torch.arange(8) + 8 * (step % 2)
        video, audio = model(clips[index], sounds[index])
        loss = objective(video, audio, index).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.memory.update(index, video.detach(), audio.detach())
        found.append(loss.item())
    return first, found, embeddings()


@pytest.mark.parametrize("kind", [AVID, CMA])
def test_other_machines_give_the_stored_values(kind):
    first, losses, last = few_steps(kind)
    stored_losses, stored_last = STORED[kind]
    assert losses == pytest.approx(stored_losses, rel=TOLERANCE)
    for made, stored in zip([*first, *last], [*UNTRAINED, *stored_last], strict=True):
        assert made == pytest.approx(stored, abs=TOLERANCE)


@pytest.mark.slow
def test_other_kernels_give_the_stored_values():
    """Those of a machine without AVX."""
    others = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", "stored_values and not kernels"]
    done = subprocess.run(command, env=os.environ | others, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
