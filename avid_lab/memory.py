"""Slowly moving memories of every instance: the other side of each comparison in AVID.

Source: section 3.1 of the paper; Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from avid_lab.processes import from_all_processes


class MemoryBank(nn.Module):
    """One unit vector per instance and modality, an exponential average of the embeddings seen so far.

    ``m <- normalise(momentum * m + (1 - momentum) * z)``, starting from random directions.

    Half the memory: ``MemoryBank(...).bfloat16()`` stores rows in bfloat16, unit to its precision; updates are computed
    in single precision.

    Several processes: each holds a whole copy, all alike at the start (`Trainer` sees to it). `update` gathers the
    batches of all processes, so the copies stay equal.

    Args:
        num_instances: N, the number of clips.
        dim: D, the size of the embeddings.
        momentum: Share of the old vector that is kept, in [0, 1].
        generator: Source of the random start; ``None`` uses the global one.

    Attributes:
        video: (N, D) unit rows.
        audio: (N, D) unit rows.

    Raises:
        ValueError: A size is below one or the momentum is outside [0, 1].
    """

    video: Tensor
    audio: Tensor

    def __init__(
        self, num_instances: int, dim: int, momentum: float = 0.5, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if num_instances < 1 or dim < 1:
            raise ValueError(f"num_instances and dim must be >= 1; got {num_instances} and {dim}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1]: the share of the old memory that is kept; got {momentum}")
        self.momentum = momentum
        for name in ("video", "audio"):
            self.register_buffer(name, _random_rows(num_instances, dim, generator))

    def __len__(self) -> int:
        """N, the number of instances."""
        return self.video.shape[0]

    @torch.no_grad()
    def update(self, index: Int64[Tensor, " B"], video: Float[Tensor, "B D"], audio: Float[Tensor, "B D"]) -> None:
        """Move the memories of a batch towards its embeddings.

        An instance that appears twice in the batch moves once, towards the mean of its embeddings, so the result does
        not depend on their order. Where old and new cancel out, the old direction stays: rows are always unit vectors.

        Args:
            index: Which instance each row is, in [0, N).
            video: Video embeddings of the batch.
            audio: Audio embeddings of the batch.

        Raises:
            ValueError: An index is out of range, a shape or device does not fit, or a value is not finite.
        """
        check_batch(index, video, audio, self)
        self._move(*(from_all_processes(x) for x in (index, video.float(), audio.float())))

    def _move(self, index: Tensor, video: Tensor, audio: Tensor) -> None:
        instances, position, counts = index.unique(return_inverse=True, return_counts=True)
        for bank, batch in ((self.video, video), (self.audio, audio)):
            mean = batch.new_zeros(len(instances), bank.shape[1]).index_add_(0, position, batch) / counts[:, None]
            old = bank[instances].float()
            new = self.momentum * old + (1 - self.momentum) * mean
            length = new.norm(dim=1, keepdim=True)
            bank[instances] = torch.where(length > 1e-6, new / length, old).to(bank.dtype)

    def extra_repr(self) -> str:
        """Size and momentum, for printing."""
        return f"num_instances={len(self)}, dim={self.video.shape[1]}, momentum={self.momentum}"


class MemoryQueue(MemoryBank):
    """A memory bank with a queue of the last embeddings, first in, first out: MoCo's dictionary.

    The bank is used for mining and plots as usual; `QueueAVID` takes its negatives from the queue. The queue averages
    nothing, so it suits data too large to be seen more than once.

    Args:
        num_instances: N, see `MemoryBank`.
        dim: D.
        size: Q, embeddings that the queue holds.
        momentum: See `MemoryBank`.
        generator: See `MemoryBank`.

    Attributes:
        recent_video: (Q, D) rows, random directions until filled.
        recent_audio: (Q, D) rows of the same instances.
        recent_index: (Q,) instance of each row, -1 until filled.

    Raises:
        ValueError: A size is below one or the momentum is outside [0, 1].

    Source: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", 2020.
    """

    recent_video: Tensor
    recent_audio: Tensor
    recent_index: Tensor
    oldest: Tensor

    def __init__(
        self,
        num_instances: int,
        dim: int,
        size: int,
        momentum: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_instances, dim, momentum, generator)
        if size < 1:
            raise ValueError(f"size must be >= 1: the embeddings that the queue holds; got {size}")
        self.register_buffer("recent_video", _random_rows(size, dim, generator))
        self.register_buffer("recent_audio", _random_rows(size, dim, generator))
        self.register_buffer("recent_index", torch.full((size,), -1))
        self.register_buffer("oldest", torch.tensor(0))  # where the next embedding goes

    def _move(self, index: Tensor, video: Tensor, audio: Tensor) -> None:
        super()._move(index, video, audio)
        size = len(self.recent_index)
        index, video, audio = (x[-size:] for x in (index, video, audio))  # the last ones, if all do not fit
        slot = (self.oldest + torch.arange(len(index), device=index.device)) % size
        self.recent_index[slot] = index
        for queue, batch in ((self.recent_video, video), (self.recent_audio, audio)):
            queue[slot] = F.normalize(batch, dim=1).to(queue.dtype)
        self.oldest.copy_((self.oldest + len(index)) % size)


def check_batch(index: Tensor, video: Tensor, audio: Tensor, memory: MemoryBank) -> None:
    """Refuse a batch that does not fit a memory.

    Values are only looked at on the CPU: elsewhere every look would wait for the device.

    Raises:
        ValueError: A shape or device does not fit, an index is out of range, or an embedding is not finite.
    """
    check_index(index, len(memory))
    rule = (len(index), memory.video.shape[1])
    for name, x in (("video", video), ("audio", audio)):
        if x.shape != rule:
            raise ValueError(f"{name} must have shape (B, D) = {rule}, one row per index; got {tuple(x.shape)}")
        if not x.device == index.device == memory.video.device:
            got = f"{name} on {x.device}, index on {index.device}, memory on {memory.video.device}"
            raise ValueError(f"{name}, index and memory must be on one device; got {got}. Move them with .to(device).")
        if x.device.type == "cpu" and not x.isfinite().all():
            row = int((~x.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"{name} must be finite; row {row} holds NaN or infinity: lower the learning rate?")


def check_index(index: Tensor, num_instances: int) -> None:
    """Refuse an index that names no instance.

    Raises:
        ValueError: ``index`` is not a vector of integers in [0, num_instances).
    """
    if index.ndim != 1 or index.dtype != torch.int64:
        raise ValueError(f"index must be a vector of int64; got {index.dtype} of shape {tuple(index.shape)}")
    if index.device.type == "cpu" and len(index) and not 0 <= int(index.min()) <= int(index.max()) < num_instances:
        low, high = int(index.min()), int(index.max())
        raise ValueError(f"index must lie in [0, {num_instances}); got values from {low} to {high}")


def _random_rows(rows: int, dim: int, generator: torch.Generator | None) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=generator), dim=1)
