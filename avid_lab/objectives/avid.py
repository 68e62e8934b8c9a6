"""AVID: audio-visual instance discrimination. Section 3 of the paper."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from avid_lab.losses import ScoreLoss, nce_loss, nce_softmax_loss
from avid_lab.losses.checks import at_least_single
from avid_lab.memory import MemoryBank, MemoryQueue
from avid_lab.objectives.base import Objective, ObjectiveOutput, cross_and_within
from avid_lab.objectives.negatives import draw_negatives


class AVID(Objective):
    """Audio-visual instance discrimination: distinguish a clip from all others by its memories.

    ``cross=1, within=0`` is Cross-AVID, ``cross=0, within=1`` Self-AVID, both 1 Joint-AVID:

        Cross = NCE(v; a') + NCE(a; v')        Self = NCE(v; v') + NCE(a; a')        Joint = Self + Cross

    Args:
        num_instances: N.
        dim: D.
        cross: Weight of ``v2a`` and ``a2v``.
        within: Weight of ``v2v`` and ``a2a``.
        num_negatives: K, drawn per query from all other instances.
        temperature: Divides similarities.
        momentum: Momentum of the memory.
        generator: CPU generator for the initial memory and the negatives.
        partition: "per_term" estimates Z for each term on the first batch, "shared" uses the first term's for all.
        weighting: "released" (weighted mean, both directions averaged) or "paper" (plain weighted sum).
        loss: The score loss of every term; assign ``objective.loss`` to change it while training.

    Attributes:
        memory: The `MemoryBank`.
        partition: One Z per active term, NaN until the first batch; may be set.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> objective = AVID(100, 8, num_negatives=16)
        >>> v = a = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
        >>> sorted(objective(v, a, torch.arange(4)).terms)
        ['a2v', 'v2a']
    """

    TERMS = cross_and_within()

    def __init__(
        self,
        num_instances: int,
        dim: int,
        *,
        cross: float = 1.0,
        within: float = 0.0,
        num_negatives: int = 1024,
        temperature: float = 0.07,
        momentum: float = 0.5,
        generator: torch.Generator | None = None,
        partition: Literal["per_term", "shared"] = "per_term",
        weighting: Literal["released", "paper"] = "released",
        loss: ScoreLoss = nce_loss,
    ) -> None:
        if num_instances < 2:
            raise ValueError(f"num_instances must be >= 2, a clip and at least one other; got {num_instances}")
        memory = MemoryBank(num_instances, dim, momentum, generator)
        weights = {"cross": cross, "within": within}
        super().__init__(memory, weights, num_negatives, temperature, generator, partition, weighting, loss)

    def forward(
        self,
        video: Float[Tensor, "B D"],
        audio: Float[Tensor, "B D"],
        index: Int64[Tensor, " B"],
        negatives: Int64[Tensor, "B K"] | None = None,
    ) -> ObjectiveOutput:
        """The loss of a batch.

        Args:
            video: Unit video embeddings.
            audio: Unit audio embeddings of the same clips.
            index: Instance number of each clip.
            negatives: Instances to compare with, used unchanged; ``None`` draws them.

        Raises:
            ValueError: A shape or device does not fit, an index is out of range, or an embedding is not finite.
        """
        self._check(video, audio, index, negatives)
        itself = index[:, None]  # (B, 1): the one right answer
        if negatives is None:
            negatives = draw_negatives(itself, len(self.memory), self.num_negatives, self.generator)
        candidates = dict.fromkeys(self.active_terms(), (itself, negatives))
        return self._evaluate(self._score(video, audio, candidates))


class QueueAVID(Objective):
    """Cross-AVID whose positive is the other modality of the same clip, and whose negatives are the last clips seen.

    This is MoCo's queue between modalities, without the momentum encoder. Embeddings of the query's own instance in the
    queue do not count. Until it is full, the queue has random directions.

    Args:
        num_instances: N.
        dim: D.
        queue_size: Q, the number of negatives per query.
        temperature: Divides similarities.
        momentum: Momentum of the memory bank, which is used for mining and plots only.
        generator: CPU generator for the random start.
        loss: The score loss of both terms.

    Attributes:
        memory: The `MemoryQueue`.
        partition: One Z per term, NaN until the first batch; may be set.

    Raises:
        ValueError: A setting is out of range.
    """

    TERMS = cross_and_within()[:2]
    memory: MemoryQueue

    def __init__(
        self,
        num_instances: int,
        dim: int,
        *,
        queue_size: int = 1024,
        temperature: float = 0.07,
        momentum: float = 0.5,
        generator: torch.Generator | None = None,
        loss: ScoreLoss = nce_softmax_loss,
    ) -> None:
        memory = MemoryQueue(num_instances, dim, queue_size, momentum, generator)
        super().__init__(memory, {"cross": 1.0}, queue_size, temperature, generator, loss=loss)

    def forward(
        self,
        video: Float[Tensor, "B D"],
        audio: Float[Tensor, "B D"],
        index: Int64[Tensor, " B"],
    ) -> ObjectiveOutput:
        """The loss of a batch; arguments and errors as in `AVID.forward`. The negatives are the queue."""
        self._check(video, audio, index)
        embeddings = {"video": at_least_single(video), "audio": at_least_single(audio)}
        queues = {"video": self.memory.recent_video, "audio": self.memory.recent_audio}
        own = index[:, None] == self.memory.recent_index  # (B, Q)
        scores = {}
        for term in self.TERMS:
            query, key, queue = embeddings[term.query], embeddings[term.bank], queues[term.bank]
            with torch.autocast(video.device.type, enabled=False):
                positive = (query * key.detach()).sum(1, keepdim=True) / self.temperature  # (B, 1)
                negative = query @ queue.to(query.dtype).T / self.temperature  # (B, Q)
            scores[term] = (positive, negative.masked_fill(own, -torch.inf))  # e^-inf = 0: they add nothing
        return self._evaluate(scores)
