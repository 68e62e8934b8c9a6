"""CMA: positives by cross-modal agreement. Section 4 of the paper."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from avid_lab.losses import ScoreLoss, nce_loss
from avid_lab.memory import MemoryBank
from avid_lab.mining import Agreement, agreement_named, mine_positives
from avid_lab.objectives.avid import AVID
from avid_lab.objectives.base import Objective, ObjectiveOutput, cross_and_within
from avid_lab.objectives.negatives import draw_negatives


class CMA(Objective):
    """Cross-modal agreement: AVID's instance terms plus discrimination against mined positives.

    Positives P of an instance are the k others that agree with it most (`mine_positives`):

        CMA = Cross + mean over p in P of NCE(v; v'_p) + NCE(a; a'_p)

    Neither the query nor its positives are drawn as negatives. Within-modal terms use fewer negatives, as released.

    Args:
        num_instances: N.
        dim: D.
        k: Positives per instance.
        agreement: "consensus", "union", "video" or "audio", or an `avid_lab.mining.Agreement`.
        instance_cross: Weight of ``instance_v2a`` and ``instance_a2v``.
        instance_within: Weight of ``instance_v2v`` and ``instance_a2a``.
        positive_cross: Weight of ``positive_v2a`` and ``positive_a2v``.
        positive_within: Weight of ``positive_v2v`` and ``positive_a2a``.
        num_negatives: Negatives of cross-modal terms.
        num_within_negatives: Negatives of within-modal terms: the first ones of the same draw.
        temperature: Divides similarities.
        momentum: Momentum of the memory.
        generator: CPU generator for the initial memory and the negatives.
        partition: See `AVID`.
        weighting: See `AVID`.
        loss: See `AVID`.

    Attributes:
        memory: The `MemoryBank`.
        positives: (N, k) mined instances, best first; -1 until mined (at the latest by the first call).
        mined_at: When positives were last mined, in passes over the data (see `remine`).
        partition: One Z per active term, NaN until the first batch; may be set.

    Raises:
        ValueError: A setting is out of range.
    """

    TERMS = cross_and_within("instance_") + cross_and_within("positive_", positives=True)
    positives: Tensor
    mined_at: Tensor

    def __init__(
        self,
        num_instances: int,
        dim: int,
        *,
        k: int = 32,
        agreement: str | Agreement = "consensus",
        instance_cross: float = 1.0,
        instance_within: float = 0.0,
        positive_cross: float = 0.0,
        positive_within: float = 1.0,
        num_negatives: int = 1024,
        num_within_negatives: int = 64,
        temperature: float = 0.07,
        momentum: float = 0.5,
        generator: torch.Generator | None = None,
        partition: Literal["per_term", "shared"] = "per_term",
        weighting: Literal["released", "paper"] = "released",
        loss: ScoreLoss = nce_loss,
    ) -> None:
        if not 1 <= k <= num_instances - 2:
            raise ValueError(f"k must leave a negative: between 1 and N - 2 = {num_instances - 2}; got {k}")
        agreement_named(agreement)  # raises where there is no such rule
        if num_within_negatives < 1:
            raise ValueError(f"num_within_negatives must be >= 1; got {num_within_negatives}")
        weights = {
            "instance_cross": instance_cross,
            "instance_within": instance_within,
            "positive_cross": positive_cross,
            "positive_within": positive_within,
        }
        memory = MemoryBank(num_instances, dim, momentum, generator)
        super().__init__(memory, weights, num_negatives, temperature, generator, partition, weighting, loss)
        self.agreement = agreement
        self.num_within_negatives = num_within_negatives
        self.register_buffer("positives", torch.full((num_instances, k), -1))
        self.register_buffer("mined_at", torch.tensor(0.0))

    @classmethod
    def from_avid(cls, avid: AVID, **settings: Any) -> CMA:
        """Continue from a trained AVID: its memories (copied), settings and known partition constants.

        Positives are mined immediately, on AVID's device.

        Args:
            avid: The trained objective.
            settings: Arguments of `CMA` to change.

        Raises:
            ValueError: A setting is out of range.
        """
        memory = avid.memory
        inherited: dict[str, Any] = {
            "num_negatives": avid.num_negatives,
            "temperature": avid.temperature,
            "momentum": memory.momentum,
            "generator": avid.generator,
            "partition": avid.partition_rule,
            "weighting": avid.weighting,
            "loss": avid.loss,
        }
        state = avid.generator.get_state() if avid.generator is not None else None
        cma = cls(len(memory), memory.video.shape[1], **(inherited | settings)).to(memory.video.device)
        if state is not None and avid.generator is not None:
            avid.generator.set_state(state)  # the new memory is overwritten: do not draw random numbers for it
        cma.memory.to(memory.video.dtype).load_state_dict(memory.state_dict())
        if cma.temperature == avid.temperature:  # a new temperature needs a new Z
            known = {f"instance_{name}": z for name, z in zip(avid.term_names(), avid.partition, strict=True)}
            zs = zip(cma.term_names(), cma.partition, strict=True)
            cma.partition = torch.stack([known.get(name, unknown) for name, unknown in zs])
        cma.mine()
        return cma

    def mine(self, *, progress: bool = False) -> None:
        """Mine the positives again, from the current memories."""
        memory, k = self.memory, self.positives.shape[1]
        self.positives = mine_positives(memory.video, memory.audio, k, self.agreement, progress=progress).index

    def remine(self, epoch: float, every: float) -> bool:
        """Mine again if ``every`` passes over the data have gone by since the last time; return whether it did.

        For the training loop::

            for step in trainer:
                cma.remine(step.epoch, every=5)

        Args:
            epoch: Passes over the data so far.
            every: Passes between two minings, above zero (the paper: 5 on Kinetics, 10 on AudioSet).

        Raises:
            ValueError: ``every`` is not above zero.
        """
        if not every > 0:
            raise ValueError(f"every must be > 0 passes over the data; got {every}")
        due = epoch - float(self.mined_at) >= every
        if due:
            self.mine()
            self.mined_at.fill_(epoch)
        return due

    def settings(self) -> dict[str, Any]:
        """See `Objective.settings`."""
        own = {"agreement": agreement_named(self.agreement).name, "num_within_negatives": self.num_within_negatives}
        return {**super().settings(), **own, "k": self.positives.shape[1]}

    def restore(self, settings: dict[str, Any]) -> None:
        """See `Objective.restore`; k is fixed."""
        super().restore(settings)
        agreement = settings.get("agreement", agreement_named(self.agreement).name)
        if agreement != agreement_named(self.agreement).name:  # the user's own rule stays
            self.agreement = agreement_named(agreement).name
        self.num_within_negatives = settings.get("num_within_negatives", self.num_within_negatives)

    def forward(
        self,
        video: Float[Tensor, "B D"],
        audio: Float[Tensor, "B D"],
        index: Int64[Tensor, " B"],
        negatives: Int64[Tensor, "B K"] | None = None,
    ) -> ObjectiveOutput:
        """The loss of a batch; arguments and errors as in `AVID.forward`."""
        self._check(video, audio, index, negatives)
        if self.positives[0, 0] < 0:
            self.mine()
        itself, positive = index[:, None], self.positives[index]  # (B, 1), (B, k)
        cross = self.num_negatives
        if negatives is None:
            count = max(cross, self.num_within_negatives)
            negatives = draw_negatives(torch.cat([itself, positive], 1), len(self.memory), count, self.generator)
        else:
            cross = negatives.shape[1]
        candidates = {}
        for term in self.active_terms():
            count = self.num_within_negatives if term.within else cross
            candidates[term] = (positive if term.positives else itself, negatives[:, :count])
        return self._evaluate(self._score(video, audio, candidates))
