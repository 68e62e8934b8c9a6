"""AVID and CMA: a memory, negatives, a loss for every term, and the terms' weighted sum.

One term asks "which instance is this?" of an embedding in one modality, with the answers in the memory of the same or of
the other modality: term ``v2a`` compares video embeddings with audio memories. Calling an objective changes no memory;
`MemoryBank.update` is the caller's own, visible step.

Source: sections 3 and 4 of the paper. As in its released code, the two directions of a term are averaged and the
weights divided by their sum; ``weighting="paper"`` sums instead, as equations 1 to 3 are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from avid_lab.losses import ScoreLoss, check_embeddings, check_temperature, nce_loss
from avid_lab.memory import MemoryBank, check_index
from avid_lab.mining import Agreement, mine_positives

CROSS, WITHIN = ("v2a", "a2v"), ("v2v", "a2a")


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective returns.

    Attributes:
        loss: The scalar to minimise.
        terms: Each term by name, before weighting, detached from nothing: they may be recombined and differentiated.
    """

    loss: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]


def draw_negatives(
    excluded: Int64[Tensor, "B E"], num_instances: int, count: int, generator: torch.Generator | None = None
) -> Int64[Tensor, "B count"]:
    """Draw instances uniformly, with replacement, from all but the excluded ones of each row.

    A uniform number r below N - E becomes the r-th allowed instance: it moves up by one for every excluded instance at
    or below it.

    Args:
        excluded: Instances that row b may not draw, all different: the query itself, and its positives.
        num_instances: N.
        count: K, draws per row.
        generator: On the CPU; ``None`` uses the global one.

    Raises:
        ValueError: Nothing is left to draw.
    """
    allowed = num_instances - excluded.shape[1]
    if allowed < 1:
        rule = f"negatives need an instance that is not excluded: N = {num_instances}, excluded {excluded.shape[1]} a row"
        raise ValueError(f"{rule}. Use fewer positives or more clips.")
    draw = torch.randint(allowed, (len(excluded), count), generator=generator).to(excluded.device)
    ordered = excluded.sort(dim=1).values
    gaps = ordered - torch.arange(excluded.shape[1], device=excluded.device)  # allowed instances below each excluded
    return draw + torch.searchsorted(gaps, draw, right=True)


class _Objective(nn.Module):
    """What AVID and CMA share: memory, weights, one partition constant per active term, and scoring."""

    partition: Tensor

    def __init__(
        self,
        memory: MemoryBank,
        weights: dict[str, float],
        num_negatives: int,
        temperature: float,
        generator: torch.Generator | None,
        partition: Literal["per_term", "shared"],
        weighting: Literal["released", "paper"],
        loss: ScoreLoss,
    ) -> None:
        super().__init__()
        if num_negatives < 1:
            raise ValueError(f"num_negatives must be >= 1; got {num_negatives}")
        if partition not in ("per_term", "shared"):
            raise ValueError(f"partition must be 'per_term' or 'shared'; got {partition!r}")
        if weighting not in ("released", "paper"):
            raise ValueError(f"weighting must be 'released' or 'paper'; got {weighting!r}")
        self.memory = memory
        self.num_negatives = num_negatives
        self.temperature = check_temperature(temperature)
        self.generator = generator
        self.partition_rule = partition
        self.weighting = weighting
        self.loss = loss
        self.weights: dict[str, float] = {}
        self.register_buffer("partition", torch.empty(0))
        self.set_weights(**weights)

    def set_weights(self, **weights: float) -> None:
        """Change term weights, also in the middle of training; a term that becomes active estimates its own Z.

        Raises:
            ValueError: A weight is unknown, negative, or all are zero.
        """
        known = self._groups()
        for name, weight in weights.items():
            if name not in known:
                raise ValueError(f"a weight must be one of {', '.join(known)}; got {name!r}")
            if weight < 0:
                raise ValueError(f"{name} must be >= 0; got {weight}")
        new = {name: float(weights.get(name, self.weights.get(name, 0.0))) for name in known}
        if not any(new.values()):
            raise ValueError(f"at least one of {', '.join(known)} must be > 0; got {new}")
        before = dict(zip(self.term_names(), self.partition, strict=True)) if self.weights else {}
        self.weights = new
        unknown = self.partition.new_full((), torch.nan)
        self.partition = torch.stack([before.get(name, unknown) for name in self.term_names()])

    def term_names(self) -> tuple[str, ...]:
        """Names of the active terms, in the order of `partition`."""
        groups = self._groups()
        return tuple(term for name, weight in self.weights.items() if weight > 0 for term in groups[name])

    def _groups(self) -> dict[str, tuple[str, str]]:
        """The two terms that each weight multiplies."""
        raise NotImplementedError

    def _evaluate(self, queries: dict[str, Tensor], candidates: dict[str, tuple[Tensor, Tensor]]) -> ObjectiveOutput:
        """Score every active term and add them up.

        Args:
            queries: Embeddings (B, D) by modality, "v" and "a".
            candidates: By term, the instances (B, P) that are right and (B, K) that are wrong.
        """
        banks = {"v": self.memory.video, "a": self.memory.audio}
        names = self.term_names()
        scores = {}
        for name in names:
            source, target = name[-3], name[-1]  # "instance_v2a" -> "v", "a"
            positive, negative = candidates[name]
            picked = torch.cat([positive, negative], dim=1)  # (B, P + K)
            similarity = score_instances(queries[source], banks[target], picked) / self.temperature
            scores[name] = similarity.split([positive.shape[1], negative.shape[1]], dim=1)
        self._estimate_partition([scores[name][1] for name in names])
        terms = {name: self.loss(*scores[name], z) for name, z in zip(names, self.partition, strict=True)}
        return ObjectiveOutput(self._combine(terms), terms)

    @torch.no_grad()
    def _estimate_partition(self, negative_scores: list[Tensor]) -> None:
        """Fill every Z that is still unknown with the mean of exp(score) over the batch's negatives."""
        unknown = self.partition.isnan()
        if not unknown.any():
            return
        estimates = torch.stack([scores.float().exp().mean() for scores in negative_scores])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(estimates)
            estimates /= torch.distributed.get_world_size()
        if self.partition_rule == "shared":  # as released: the first term's constant serves all
            estimates = estimates[:1].expand_as(estimates) if unknown.all() else self.partition[~unknown][:1]
        if not estimates.isfinite().all():
            raise ValueError(f"exp(similarity / temperature) overflows: temperature {self.temperature} is too small")
        self.partition = torch.where(unknown, estimates.to(self.partition), self.partition)

    def _combine(self, terms: dict[str, Tensor]) -> Tensor:
        """Released: weighted mean of the averages of both directions. Paper: weighted sum of everything."""
        groups = self._groups()
        total = sum(
            weight * (terms[groups[name][0]] + terms[groups[name][1]]) for name, weight in self.weights.items() if weight
        )
        assert isinstance(total, Tensor)
        return total if self.weighting == "paper" else total / (2 * sum(self.weights.values()))

    def _check(self, video: Tensor, audio: Tensor, index: Tensor, negatives: Tensor | None) -> None:
        check_embeddings(video, audio)
        check_index(index, len(self.memory))
        if len(index) != len(video) or video.shape[1] != self.memory.video.shape[1]:
            rule = f"(B, D) = ({len(index)}, {self.memory.video.shape[1]})"
            raise ValueError(f"video and audio must be {rule}, one row per index; got {tuple(video.shape)}")
        if negatives is not None and (negatives.ndim != 2 or len(negatives) != len(index) or not negatives.shape[1]):
            raise ValueError(f"negatives must be (B, K) with B = {len(index)}; got {tuple(negatives.shape)}")
        if negatives is not None:
            check_index(negatives.flatten(), len(self.memory))
        for name, x in (("video", video), ("audio", audio)):
            if x.device.type == "cpu" and not x.isfinite().all():
                raise ValueError(f"{name} must be finite; it holds NaN or infinity: lower the learning rate?")


class AVID(_Objective):
    """Audio-visual instance discrimination: tell a clip from all others by its memories.

    ``cross=1, within=0`` is Cross-AVID, ``cross=0, within=1`` Self-AVID, both 1 Joint-AVID.

    Args:
        num_instances: N.
        dim: D.
        cross: Weight of ``v2a`` and ``a2v``.
        within: Weight of ``v2v`` and ``a2a``.
        num_negatives: K, drawn per query from all other instances.
        temperature: Divides similarities.
        momentum: Of the memory.
        generator: CPU generator of the memory's start and of the negatives.
        partition: "per_term" estimates Z for each term on the first batch, "shared" uses the first term's for all.
        weighting: "released" (weighted mean, both directions averaged) or "paper" (plain weighted sum).
        loss: The score loss of every term; assign ``objective.loss`` to change it while training.

    Attributes:
        memory: The `MemoryBank`.
        partition: One Z per active term, NaN until the first batch; may be set.

    Example:
        >>> objective = AVID(100, 8, num_negatives=16)
        >>> v = a = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
        >>> sorted(objective(v, a, torch.arange(4)).terms)
        ['a2v', 'v2a']
    """

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
        memory = MemoryBank(num_instances, dim, momentum, generator)
        weights = {"cross": cross, "within": within}
        super().__init__(memory, weights, num_negatives, temperature, generator, partition, weighting, loss)

    def _groups(self) -> dict[str, tuple[str, str]]:
        return {"cross": CROSS, "within": WITHIN}

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
            index: Which instances these are.
            negatives: Instances to compare with; ``None`` draws them.

        Raises:
            ValueError: A shape does not fit, an index is out of range, or an embedding is not finite.
        """
        self._check(video, audio, index, negatives)
        itself = index[:, None]
        if negatives is None:
            negatives = draw_negatives(itself, len(self.memory), self.num_negatives, self.generator)
        return self._evaluate({"v": video, "a": audio}, dict.fromkeys(self.term_names(), (itself, negatives)))


class CMA(_Objective):
    """Cross-modal agreement: AVID's instance terms plus discrimination against mined positives.

    Positives of an instance are the k others that agree with it most (`mine_positives`). No negative is ever the query or
    one of its positives. Within-modal terms use fewer negatives, as released.

    Args:
        num_instances: N.
        dim: D.
        k: Positives per instance.
        agreement: "consensus", "union", "video" or "audio".
        instance_cross: Weight of ``instance_v2a`` and ``instance_a2v``.
        instance_within: Weight of ``instance_v2v`` and ``instance_a2a``.
        positive_cross: Weight of ``positive_v2a`` and ``positive_a2v``.
        positive_within: Weight of ``positive_v2v`` and ``positive_a2a``.
        num_negatives: Negatives of cross-modal terms.
        num_within_negatives: Negatives of within-modal terms: the first ones of the same draw.
        temperature: Divides similarities.
        momentum: Of the memory.
        generator: CPU generator of the memory's start and of the negatives.
        partition: See `AVID`.
        weighting: See `AVID`.
        loss: See `AVID`.

    Attributes:
        memory: The `MemoryBank`.
        positives: (N, k) mined instances, best first; -1 until mined (the first call mines if nobody did).
        partition: One Z per active term, NaN until the first batch; may be set.
    """

    positives: Tensor

    def __init__(
        self,
        num_instances: int,
        dim: int,
        *,
        k: int = 32,
        agreement: Agreement = "consensus",
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
        self.agreement: Agreement = agreement
        self.num_within_negatives = num_within_negatives
        self.register_buffer("positives", torch.full((num_instances, k), -1))

    @classmethod
    def from_avid(cls, avid: AVID, **settings: Any) -> CMA:
        """Continue from a trained AVID: its memories (copied), temperature, negatives and known partition constants.

        Positives are mined at once. The device is AVID's.

        Args:
            avid: The trained objective.
            settings: Arguments of `CMA` that should differ.
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
            avid.generator.set_state(state)  # the new memory's random start is thrown away: take no numbers for it
        cma.memory.load_state_dict(memory.state_dict())
        known = {f"instance_{name}": z for name, z in zip(avid.term_names(), avid.partition, strict=True)}
        cma.partition = torch.stack([known.get(name, z) for name, z in zip(cma.term_names(), cma.partition, strict=True)])
        cma.mine()
        return cma

    def mine(self, *, progress: bool = False) -> None:
        """Mine the positives anew from the memories as they are now."""
        memory, k = self.memory, self.positives.shape[1]
        self.positives = mine_positives(memory.video, memory.audio, k, self.agreement, progress=progress).index

    def _groups(self) -> dict[str, tuple[str, str]]:
        kinds = {"cross": CROSS, "within": WITHIN}
        return {
            f"{what}_{kind}": (f"{what}_{terms[0]}", f"{what}_{terms[1]}")
            for what in ("instance", "positive")
            for kind, terms in kinds.items()
        }

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
        itself, positive = index[:, None], self.positives[index]
        if negatives is None:
            count = max(self.num_negatives, self.num_within_negatives)
            negatives = draw_negatives(torch.cat([itself, positive], 1), len(self.memory), count, self.generator)
        right = {"instance": itself, "positive": positive}
        candidates = {}
        for name in self.term_names():
            count = self.num_within_negatives if name[-3:] in WITHIN else self.num_negatives
            candidates[name] = (right[name.split("_")[0]], negatives[:, :count])
        return self._evaluate({"v": video, "a": audio}, candidates)


def score_instances(
    query: Float[Tensor, "B D"], bank: Float[Tensor, "N D"], picked: Int64[Tensor, "B M"]
) -> Float[Tensor, "B M"]:
    """Similarity of each query to its picked instances: ``query[b] . bank[picked[b, m]]``.

    Gathering (B, M, D) vectors costs more than it looks. While the bank is small against the picks, one product with
    all of it is cheaper; the picks are then read from that.
    """
    if len(bank) <= 16 * picked.shape[1]:
        return (query @ bank.to(query.dtype).T).gather(1, picked)
    return torch.einsum("bd,bmd->bm", query, bank[picked].to(query.dtype))
