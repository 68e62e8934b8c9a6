"""Shared by all objectives: term weights, one partition constant per active term, and the weighted sum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avid_lab import losses as loss_functions
from avid_lab.losses import ScoreLoss, check_temperature, nce_loss
from avid_lab.losses.checks import at_least_single
from avid_lab.memory import MemoryBank, check_batch, check_index
from avid_lab.objectives.gather import score_instances
from avid_lab.processes import from_all_processes

Modality = Literal["video", "audio"]


@dataclass(frozen=True)
class Term:
    """One comparison of an objective.

    Attributes:
        name: Key in `ObjectiveOutput.terms`.
        weight: Name of its weight; both directions of a comparison share one.
        query: Modality of the embeddings.
        bank: Modality of the memories.
        positives: Whether the positives are mined, rather than the instance itself.
    """

    name: str
    weight: str
    query: Modality
    bank: Modality
    positives: bool = False

    @property
    def within(self) -> bool:
        """Whether embeddings and memories have the same modality."""
        return self.query == self.bank


def cross_and_within(prefix: str = "", positives: bool = False) -> tuple[Term, ...]:
    """Each modality against the memories of the other; then each against its own."""
    cross, within = f"{prefix}cross", f"{prefix}within"
    return (
        Term(f"{prefix}v2a", cross, "video", "audio", positives),
        Term(f"{prefix}a2v", cross, "audio", "video", positives),
        Term(f"{prefix}v2v", within, "video", "video", positives),
        Term(f"{prefix}a2a", within, "audio", "audio", positives),
    )


Scores = dict[Term, tuple[Tensor, Tensor]]  # of positives (B, P) and of negatives (B, K)


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective returns.

    Attributes:
        loss: The scalar to minimise.
        terms: Each term by name, before weighting, still attached to the graph.
    """

    loss: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]


class Objective(nn.Module):
    """A memory, term weights, and a score loss for every term.

    The state holds memory, partition constants and `settings`, all of which may change while training. A partition
    constant is only valid for one temperature: after a change, ``objective.partition.fill_(torch.nan)`` makes the next
    call estimate it again.
    """

    TERMS: ClassVar[tuple[Term, ...]]  # all terms that a weight can activate
    partition: Tensor

    def __init__(
        self,
        memory: MemoryBank,
        weights: dict[str, float],
        num_negatives: int,
        temperature: float,
        generator: torch.Generator | None = None,
        partition: Literal["per_term", "shared"] = "per_term",
        weighting: Literal["released", "paper"] = "released",
        loss: ScoreLoss = nce_loss,
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
        """Change term weights, possibly during training; a newly active term estimates its own Z.

        Raises:
            ValueError: A weight is unknown, negative or not finite, or all are zero.
        """
        known = tuple(dict.fromkeys(term.weight for term in self.TERMS))
        for name, weight in weights.items():
            if name not in known:
                raise ValueError(f"a weight must be one of {', '.join(known)}; got {name!r}")
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"{name} must be >= 0 and finite; got {weight}")
        new = {name: float(weights.get(name, self.weights.get(name, 0.0))) for name in known}
        if not any(new.values()):
            raise ValueError(f"at least one of {', '.join(known)} must be > 0; got {new}")
        before = dict(zip(self.term_names(), self.partition, strict=True)) if self.weights else {}
        self.weights = new
        unknown = self.partition.new_full((), torch.nan)
        self.partition = torch.stack([before.get(name, unknown) for name in self.term_names()])

    def term_names(self) -> tuple[str, ...]:
        """Names of the active terms, in the order of `partition`."""
        return tuple(term.name for term in self.active_terms())

    def active_terms(self) -> tuple[Term, ...]:
        """The terms whose weight is above zero."""
        return tuple(term for term in self.TERMS if self.weights[term.weight] > 0)

    def _score(self, video: Tensor, audio: Tensor, candidates: dict[Term, tuple[Tensor, Tensor]]) -> Scores:
        """Scores of terms.

        Args:
            video: (B, D) embeddings.
            audio: (B, D) embeddings.
            candidates: For each term, the positives (B, P) and the negatives (B, K).
        """
        queries = {"video": at_least_single(video), "audio": at_least_single(audio)}
        banks = {"video": self.memory.video, "audio": self.memory.audio}
        scores: Scores = {}
        with torch.autocast(video.device.type, enabled=False):  # half-precision scores are off by 0.05 at T = 0.07
            for term, (right, wrong) in candidates.items():
                picked = torch.cat([right, wrong], dim=1)  # (B, P + K)
                similarity = score_instances(queries[term.query], banks[term.bank], picked)
                positive, negative = (similarity / self.temperature).split([right.shape[1], wrong.shape[1]], dim=1)
                scores[term] = (positive, negative)
        return scores

    def _evaluate(self, scores: Scores) -> ObjectiveOutput:
        """The loss of every term, and their weighted sum.

        As released, the two directions of a pair of terms are averaged and weights divided by their sum;
        ``weighting="paper"`` sums everything instead, as in equations 1 to 3.
        """
        self._estimate_partition([negative for _, negative in scores.values()])
        losses = [self.loss(*pair, z) for pair, z in zip(scores.values(), self.partition, strict=True)]
        weights = [self.weights[term.weight] for term in scores]
        total = torch.stack([weight * loss for weight, loss in zip(weights, losses, strict=True)]).sum()
        scale = 1.0 if self.weighting == "paper" else sum(weights)
        return ObjectiveOutput(total / scale, {term.name: loss for term, loss in zip(scores, losses, strict=True)})

    @torch.no_grad()
    def _estimate_partition(self, negative_scores: list[Tensor]) -> None:
        """Fill every unknown Z with the mean of exp(score) over the negatives of this batch, in all processes."""
        unknown = self.partition.isnan()
        if not unknown.any():
            return
        # As logarithms, so that only a Z that does not fit single precision can overflow.
        totals = torch.stack([s.logsumexp((0, 1)).float() for s in negative_scores])  # log sum of exp(score)
        counts = totals.new_tensor([s.numel() for s in negative_scores]).log()
        totals, counts = from_all_processes(torch.stack([totals, counts])[None]).logsumexp(0)
        estimates = (totals - counts).exp()
        if self.partition_rule == "shared":  # as released: the first term's constant serves all
            estimates = estimates[:1].expand_as(estimates) if unknown.all() else self.partition[~unknown][:1]
        if not (estimates.isfinite() & (estimates > 0)).all():
            got = ", ".join(f"{z:.3g}" for z in estimates.tolist())
            raise ValueError(
                f"temperature must keep the mean of exp(similarity / T) within float32; got Z = {got} at "
                f"T = {self.temperature}. Raise the temperature."
            )
        self.partition = torch.where(unknown, estimates.to(self.partition), self.partition)

    def _check(self, video: Tensor, audio: Tensor, index: Tensor, negatives: Tensor | None = None) -> None:
        check_batch(index, video, audio, self.memory)
        if not len(index):
            raise ValueError("a batch must hold at least one clip; got none")
        if negatives is not None:
            if negatives.ndim != 2 or len(negatives) != len(index) or not negatives.shape[1]:
                raise ValueError(
                    f"negatives must be (B, K) with B = {len(index)}, K >= 1; got {tuple(negatives.shape)}"
                )
            check_index(negatives.flatten(), len(self.memory))

    def settings(self) -> dict[str, Any]:
        """The settings that may change during training, as plain values; changes act on the next call and are saved."""
        return {
            "weights": dict(self.weights),
            "temperature": float(self.temperature),
            "num_negatives": self.num_negatives,
            "momentum": float(self.memory.momentum),
            "weighting": self.weighting,
            "partition": self.partition_rule,
            "loss": name_of(self.loss),
        }

    def restore(self, settings: dict[str, Any]) -> None:
        """Apply what `settings()` returned.

        Raises:
            ValueError: The settings are for another kind of objective, or name an unknown loss.
        """
        weights = settings["weights"]
        if set(weights) != set(self.weights):
            got = f"{', '.join(weights)}; this {type(self).__name__} has {', '.join(self.weights)}"
            raise ValueError(f"state must come from the same kind of objective; got one with weights {got}")
        self.set_weights(**weights)
        self.temperature = settings["temperature"]
        self.num_negatives = settings.get("num_negatives", self.num_negatives)
        self.memory.momentum = settings.get("momentum", self.memory.momentum)
        self.weighting = settings.get("weighting", self.weighting)
        self.loss = loss_named(settings.get("loss"), self.loss)

    def get_extra_state(self) -> dict[str, Any]:
        """The part of the state dict that is not tensors."""
        return self.settings()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Does nothing: this is restored before the tensors, see `_load_from_state_dict`."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Weights first: the number of partition constants depends on them.
        settings = state_dict.get(f"{prefix}_extra_state")
        if settings is not None:
            self.restore(settings)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def name_of(loss: Callable[..., Tensor]) -> str:
    """The name that stands for a loss in a state dict, as functions cannot be saved."""
    return getattr(loss, "__name__", type(loss).__name__)


def loss_named(name: str | None, present: Any) -> Any:
    """The loss of this name: the one already set, or one of `avid_lab.losses`.

    Raises:
        ValueError: It is neither.
    """
    if name is None or name == name_of(present):
        return present
    if name not in loss_functions.__all__:
        fix = f"Assign objective.loss = {name} before loading"
        raise ValueError(f"the state was made with the loss {name!r}, which is none of avid_lab.losses. {fix}.")
    return getattr(loss_functions, name)
