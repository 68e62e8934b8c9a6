"""Any batch loss as an objective, so that the same trainer runs it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from avid_lab.losses import BatchLoss, check_temperature, info_nce_loss
from avid_lab.memory import MemoryBank, check_batch
from avid_lab.objectives.base import ObjectiveOutput, loss_named, name_of


class InBatch(nn.Module):
    """The clips of a batch against each other: InfoNCE, SigLIP, or your own function.

    The loss does not use the memory. The trainer still updates it, so mining and plots work as usual. With several
    processes, each process compares the clips of its own batch.

    Args:
        num_instances: N.
        dim: D.
        loss: A batch loss, see `BatchLoss`; assign ``objective.loss`` to change it while training.
        temperature: Passed to the loss.
        momentum: Momentum of the memory.
        generator: CPU generator for the initial memory.

    Attributes:
        memory: The `MemoryBank`.
        partition: Empty; batch losses need no partition constant.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> objective = InBatch(100, 8)
        >>> v = a = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
        >>> list(objective(v, a, torch.arange(4)).terms)
        ['batch']
    """

    partition: Tensor

    def __init__(
        self,
        num_instances: int,
        dim: int,
        loss: BatchLoss = info_nce_loss,
        *,
        temperature: float = 0.07,
        momentum: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.memory = MemoryBank(num_instances, dim, momentum, generator)
        self.loss = loss
        self.temperature = check_temperature(temperature)
        self.generator = generator
        self.register_buffer("partition", torch.empty(0))

    def term_names(self) -> tuple[str, ...]:
        """The only term."""
        return ("batch",)

    def settings(self) -> dict[str, Any]:
        """The settings that may change during training, see `Objective.settings`."""
        memory = self.memory
        return {"temperature": float(self.temperature), "momentum": float(memory.momentum), "loss": name_of(self.loss)}

    def get_extra_state(self) -> dict[str, Any]:
        """The part of the state dict that is not tensors."""
        return self.settings()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Apply what `settings()` returned."""
        self.temperature, self.memory.momentum = state["temperature"], state["momentum"]
        self.loss = loss_named(state["loss"], self.loss)

    def forward(
        self, video: Float[Tensor, "B D"], audio: Float[Tensor, "B D"], index: Int64[Tensor, " B"]
    ) -> ObjectiveOutput:
        """The loss of a batch.

        Args:
            video: Unit video embeddings.
            audio: Unit audio embeddings of the same clips.
            index: Instance number of each clip.

        Raises:
            ValueError: A shape or device does not fit, an index is out of range, or an embedding is not finite.
        """
        check_batch(index, video, audio, self.memory)
        loss = self.loss(video, audio, self.temperature)
        return ObjectiveOutput(loss, {"batch": loss})
