"""Slowly moving memories of every instance: the other side of each comparison in AVID.

Source: section 3.1 of the paper; Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """One unit vector per instance and modality, an exponential average of the embeddings seen so far.

    ``m <- normalise(momentum * m + (1 - momentum) * z)``, starting from random directions.

    Args:
        num_instances: N, the number of clips that are told apart.
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
            self.register_buffer(name, F.normalize(torch.randn(num_instances, dim, generator=generator), dim=1))

    def __len__(self) -> int:
        """N, the number of instances."""
        return self.video.shape[0]

    @torch.no_grad()
    def update(
        self, index: Int64[Tensor, " B"], video: Float[Tensor, "B D"], audio: Float[Tensor, "B D"]
    ) -> None:
        """Move the memories of a batch towards its embeddings.

        An instance that appears twice in the batch moves once, towards the mean of its embeddings, so the result does
        not depend on their order.

        Args:
            index: Which instance each row is, in [0, N).
            video: Video embeddings of the batch.
            audio: Audio embeddings of the batch.

        Raises:
            ValueError: An index is out of range or a shape does not fit.
        """
        check_index(index, len(self))
        instances, position, counts = index.unique(return_inverse=True, return_counts=True)
        for name, bank, batch in (("video", self.video, video), ("audio", self.audio, audio)):
            if batch.shape != (len(index), bank.shape[1]):
                rule = f"(B, D) = ({len(index)}, {bank.shape[1]})"
                raise ValueError(f"{name} must have shape {rule}, one row per index; got {tuple(batch.shape)}")
            mean = bank.new_zeros(len(instances), bank.shape[1]).index_add_(0, position, batch.detach().to(bank.dtype))
            mean /= counts[:, None]
            bank[instances] = F.normalize(self.momentum * bank[instances] + (1 - self.momentum) * mean, dim=1)

    def extra_repr(self) -> str:
        """Size and momentum, for printing."""
        return f"num_instances={len(self)}, dim={self.video.shape[1]}, momentum={self.momentum}"


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
