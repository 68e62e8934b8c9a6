"""Memories are always unit vectors, and an update does not depend on the order."""

from __future__ import annotations

import io

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab.memory import MemoryBank, MemoryQueue

quick = settings(deadline=None, max_examples=50)


def units(rows, dim, seed):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def bank(n=6, dim=4, momentum=0.5, seed=0):
    return MemoryBank(n, dim, momentum, torch.Generator().manual_seed(seed))


def naive_update(rows, index, batch, momentum):
    """A loop over instances, in float64."""
    rows = rows.double().clone()
    for instance in set(index.tolist()):
        mean = batch[index == instance].double().mean(0)
        moved = momentum * rows[instance] + (1 - momentum) * mean
        rows[instance] = moved / moved.norm() if moved.norm() > 1e-6 else rows[instance]
    return rows.float()


@quick
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.floats(0, 1), st.integers(0, 10_000))
def test_an_update_is_the_naive_loop_in_any_order(index, momentum, seed):
    memory, index = bank(momentum=momentum), torch.tensor(index)
    video, audio = units(len(index), 4, seed), units(len(index), 4, seed + 1)
    expected = [naive_update(old, index, new, momentum) for old, new in ((memory.video, video), (memory.audio, audio))]
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(seed))
    shuffled = bank(momentum=momentum)
    memory.update(index, video, audio)
    shuffled.update(index[order], video[order], audio[order])
    for made, again, want in zip(memory.buffers(), shuffled.buffers(), expected, strict=True):
        torch.testing.assert_close(made, want, atol=1e-5, rtol=0)
        torch.testing.assert_close(again, made, atol=1e-5, rtol=0)
        torch.testing.assert_close(made.norm(dim=1), torch.ones(6), atol=1e-5, rtol=0)


def test_untouched_instances_keep_their_rows_and_gradients_stay_out():
    memory = bank()
    before = memory.video.clone()
    memory.update(torch.tensor([2]), units(1, 4, 1).requires_grad_(), units(1, 4, 2))
    assert torch.equal(memory.video[[0, 1, 3, 4, 5]], before[[0, 1, 3, 4, 5]])
    assert not torch.equal(memory.video[2], before[2])
    assert not memory.video.requires_grad


def test_opposite_embeddings_leave_the_old_direction():
    memory = bank(momentum=0.5)
    before = memory.video[1].clone()
    memory.update(torch.tensor([1]), -memory.video[[1]], -memory.audio[[1]])
    torch.testing.assert_close(memory.video[1], before)


def test_momentum_0_takes_the_new_and_momentum_1_keeps_the_old():
    new = units(2, 4, 5)
    fresh, stubborn = bank(momentum=0.0), bank(momentum=1.0)
    before = stubborn.video.clone()
    for memory in (fresh, stubborn):
        memory.update(torch.tensor([0, 3]), new, new)
    torch.testing.assert_close(fresh.video[[0, 3]], new)
    torch.testing.assert_close(stubborn.video, before)


def test_bfloat16_storage_moves_like_single_precision():
    exact, small = bank(50, 64), bank(50, 64).bfloat16()
    for step in range(5):
        index, batch = torch.arange(10), units(10, 64, step)
        exact.update(index, batch, batch)
        small.update(index, batch, batch)
    assert small.video.dtype == torch.bfloat16
    torch.testing.assert_close(small.video.float(), exact.video, atol=5e-3, rtol=0)
    torch.testing.assert_close(small.video.float().norm(dim=1), torch.ones(50), atol=5e-3, rtol=0)


def test_state_is_saved_and_restored():
    memory, other = bank(seed=1), bank(seed=2)
    memory.update(torch.tensor([0]), units(1, 4, 1), units(1, 4, 2))
    file = io.BytesIO()
    torch.save(memory.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(memory.video, other.video) and torch.equal(memory.audio, other.audio)


def test_the_same_generator_gives_the_same_start():
    assert torch.equal(bank(seed=3).video, bank(seed=3).video)
    assert not torch.equal(bank(seed=3).video, bank(seed=4).video)
    assert repr(bank()) == "MemoryBank(num_instances=6, dim=4, momentum=0.5)"


@quick
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_a_queue_holds_the_last_embeddings_first_in_first_out(batches):
    memory = MemoryQueue(20, 3, size=7, generator=torch.Generator().manual_seed(0))
    plain = MemoryBank(20, 3, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[int, torch.Tensor]] = []
    for step, size in enumerate(batches):
        index, batch = torch.arange(size) + step, units(size, 3, step)
        memory.update(index, batch, batch)
        plain.update(index, batch, batch)
        seen += list(zip(index.tolist(), batch, strict=True))
    kept = seen[-7:]
    order = (memory.oldest - len(kept) + torch.arange(len(kept))) % 7
    assert memory.recent_index[order].tolist() == [instance for instance, _ in kept]
    torch.testing.assert_close(memory.recent_audio[order], torch.stack([row for _, row in kept]))
    assert (memory.recent_index == -1).sum() == max(0, 7 - len(seen))
    torch.testing.assert_close(memory.video, plain.video)  # the bank moves as any bank


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, 4), "num_instances and dim must be >= 1; got 0 and 4"),
        ((4, 4, 1.5), r"momentum must be in \[0, 1\].*got 1.5"),
    ],
)
def test_bad_sizes_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        MemoryBank(*arguments)


def test_bad_batches_are_refused_and_change_nothing(unchecked):
    memory, good = bank(), units(2, 4, 0)
    before = memory.video.clone()
    nan = good.clone()
    nan[1, 2] = torch.nan
    for index, video, says in (
        (torch.tensor([0, 6]), good, r"index must lie in \[0, 6\); got values from 0 to 6"),
        (torch.tensor([-1, 0]), good, "index must lie in"),
        (torch.tensor([0.0, 1.0]), good, "index must be a vector of int64; got torch.float32"),
        (torch.tensor([0, 1, 2]), good, r"video must have shape \(B, D\) = \(3, 4\)"),
        (torch.tensor([0, 1]), good[:, :3], r"got \(2, 3\)"),
        (torch.tensor([0, 1]), nan, "video must be finite; row 1 holds NaN"),
        (torch.tensor([0, 1]), good.to("meta"), "must be on one device; got video on meta, index on cpu"),
    ):
        with pytest.raises(ValueError, match=says):
            memory.update(index, video, good[: len(index)] if len(index) < 3 else units(3, 4, 0))
    assert torch.equal(memory.video, before)
    with pytest.raises(ValueError, match="size must be >= 1"):
        MemoryQueue(9, 4, size=0)
