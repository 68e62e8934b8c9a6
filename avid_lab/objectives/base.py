"""What all objectives share: weights of terms, one partition constant per active term, and the weighted sum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from avid_lab import losses
from avid_lab.losses import ScoreLoss, check_temperature, nce_loss
from avid_lab.losses.checks import at_least_single
from avid_lab.memory import MemoryBank, check_batch, check_index
from avid_lab.objectives.negatives import score_instances

CROSS, WITHIN = ("v2a", "a2v"), ("v2v", "a2a")
Scores = dict[str, tuple[Tensor, Tensor]]  # by term: positives (B, P) and negatives (B, K)


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective returns.

    Attributes:
        loss: The scalar to minimise.
        terms: Each term by name, before weighting, detached from nothing: they may be recombined and differentiated.
    """

    loss: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]


class Objective(nn.Module):
    """A memory, term weights, and a score loss for every term.

    The state holds memory, partition constants and `settings`, all of which may change while training. A partition
    constant belongs to a temperature: after changing that, ``objective.partition.fill_(torch.nan)`` has it
    estimated anew.
    """

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
        """Change term weights, also in the middle of training; a term that becomes active estimates its own Z.

        Raises:
            ValueError: A weight is unknown, negative or not finite, or all are zero.
        """
        known = self._groups()
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
        groups = self._groups()
        return tuple(term for name, weight in self.weights.items() if weight > 0 for term in groups[name])

    def _groups(self) -> dict[str, tuple[str, str]]:
        """The two terms that each weight multiplies."""
        raise NotImplementedError

    def _score(self, video: Tensor, audio: Tensor, candidates: dict[str, tuple[Tensor, Tensor]]) -> Scores:
        """Scores of every active term.

        Args:
            video: (B, D) queries of the terms "v2...".
            audio: (B, D) queries of the terms "a2...".
            candidates: By term, the instances (B, P) that are right and (B, K) that are wrong.
        """
        queries = {"v": at_least_single(video), "a": at_least_single(audio)}
        banks = {"v": self.memory.video, "a": self.memory.audio}
        scores: Scores = {}
        with torch.autocast(video.device.type, enabled=False):  # half-precision scores are off by 0.05 at T = 0.07
            for name in self.term_names():
                source, target = name[-3], name[-1]  # "instance_v2a": "v" asks, the memory of "a" answers
                right, wrong = candidates[name]
                picked = torch.cat([right, wrong], dim=1)  # (B, P + K)
                similarity = score_instances(queries[source], banks[target], picked)
                positive, negative = (similarity / self.temperature).split([right.shape[1], wrong.shape[1]], dim=1)
                scores[name] = (positive, negative)
        return scores

    def _evaluate(self, scores: Scores) -> ObjectiveOutput:
        """The loss of every term, and their weighted sum.

        As released, the two directions of a pair of terms are averaged and weights divided by their sum;
        ``weighting="paper"`` sums everything instead, as equations 1 to 3 are written.
        """
        self._estimate_partition([negative for _, negative in scores.values()])
        terms = {
            name: self.loss(positive, negative, z)
            for (name, (positive, negative)), z in zip(scores.items(), self.partition, strict=True)
        }
        groups = self._groups()
        active = {name: weight for name, weight in self.weights.items() if weight > 0}
        total = torch.stack(
            [weight * (terms[groups[name][0]] + terms[groups[name][1]]) for name, weight in active.items()]
        )
        scale = 1.0 if self.weighting == "paper" else 2 * sum(active.values())
        return ObjectiveOutput(total.sum() / scale, terms)

    @torch.no_grad()
    def _estimate_partition(self, negative_scores: list[Tensor]) -> None:
        """Fill every unknown Z with the mean of exp(score) over the negatives of this batch, in all processes."""
        unknown = self.partition.isnan()
        if not unknown.any():
            return
        # As logarithms, so that only a Z that does not fit single precision can overflow.
        totals = torch.stack([s.logsumexp((0, 1)).float() for s in negative_scores])  # log sum of exp(score)
        counts = totals.new_tensor([s.numel() for s in negative_scores]).log()
        if dist.is_available() and dist.is_initialized():
            both = torch.stack([totals, counts])  # (2, terms)
            every = [torch.empty_like(both) for _ in range(dist.get_world_size())]
            dist.all_gather(every, both)
            totals, counts = torch.stack(every).logsumexp(0)
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
        """What may be changed while training, as plain values: a change acts on the next call, and is saved."""
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
        """Set what `settings` told.

        Raises:
            ValueError: The settings are of another kind of objective, or name a loss that is not at hand.
        """
        weights = settings["weights"]
        if set(weights) != set(self._groups()):
            got = f"{', '.join(weights)}; this {type(self).__name__} has {', '.join(self._groups())}"
            raise ValueError(f"state must come from the same kind of objective; got one with weights {got}")
        self.set_weights(**weights)
        self.temperature = settings["temperature"]
        self.num_negatives = settings.get("num_negatives", self.num_negatives)
        self.memory.momentum = settings.get("momentum", self.memory.momentum)
        self.weighting = settings.get("weighting", self.weighting)
        self.loss = loss_named(settings.get("loss"), self.loss)

    def get_extra_state(self) -> dict[str, Any]:
        """What the state dict holds besides tensors."""
        return self.settings()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restored before the tensors, see `_load_from_state_dict`."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Weights first: how many partition constants there are depends on them.
        settings = state_dict.get(f"{prefix}_extra_state")
        if settings is not None:
            self.restore(settings)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def name_of(loss: Callable[..., Tensor]) -> str:
    """The name under which a state remembers a loss: a function cannot be saved."""
    return getattr(loss, "__name__", type(loss).__name__)


def loss_named(name: str | None, present: Any) -> Any:
    """The loss of this name: the one already set, or one of `avid_lab.losses`.

    Raises:
        ValueError: It is neither.
    """
    if name is None or name == name_of(present):
        return present
    if name not in losses.__all__:
        fix = f"Assign objective.loss = {name} before loading"
        raise ValueError(f"the state was made with the loss {name!r}, which is none of avid_lab.losses. {fix}.")
    return getattr(losses, name)
