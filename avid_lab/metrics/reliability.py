"""Calibration: similarities converted to probabilities, and compared with observed frequencies.

Sources: Platt, "Probabilistic outputs for support vector machines", 1999 (the logistic fit); Naeini, Cooper and
Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015 (expected calibration error).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from avid_lab.metrics.intervals import Estimate, estimate_weighted
from avid_lab.metrics.pairs import Pairs

FitMethod = Literal["logistic", "isotonic"]


def fit_probability(
    similarity: Float64[Tensor, " P"], same: Bool[Tensor, " P"], method: FitMethod = "logistic"
) -> Callable[[Tensor], Tensor]:
    """Fit the probability that a pair has one class, as a function of its similarity.

    Args:
        similarity: Similarity of each pair.
        same: Whether each pair has one class.
        method: "logistic" fits a slope and an offset, "isotonic" any rising curve.

    Returns:
        A function that maps similarities to probabilities of the same shape.

    Raises:
        ValueError: The method is unknown.
    """
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        curve.fit(similarity.numpy(), same.double().numpy())
        return lambda x: torch.as_tensor(curve.predict(x.numpy()), dtype=torch.float64)
    if method != "logistic":
        raise ValueError(f"method must be 'logistic' or 'isotonic'; got {method!r}")
    centre, scale = similarity.mean(), similarity.std().clamp(min=1e-9)
    features = torch.stack([(similarity - centre) / scale, torch.ones_like(similarity)], 1)  # (P, 2)
    # Platt's targets, just inside (0, 1), keep the slope finite where the two kinds do not overlap.
    on, off = same.sum(), (~same).sum()
    target = torch.where(same, (on + 1) / (on + 2), 1 / (off + 2)).double()
    beta = torch.stack([target.new_zeros(()), target.mean().logit()])
    for _ in range(50):  # Newton's method, damped by a vanishing ridge
        p = (features @ beta).sigmoid()
        gradient = features.T @ (p - target)
        hessian = (features * (p * (1 - p))[:, None]).T @ features + 1e-9 * len(p) * torch.eye(2, dtype=p.dtype)
        step = torch.linalg.solve(hessian, gradient)
        beta = beta - step.clamp(-2, 2)
        if step.abs().max() < 1e-9:
            break
    return lambda x: ((x - centre) / scale * beta[0] + beta[1]).sigmoid()


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probability of "same class" against its observed frequency, on clips that the fit did not see.

    Attributes:
        predicted: Mean predicted probability in each bin; bins hold equally many pairs.
        observed: Share of same-class pairs in each bin.
        low: Lower end of the 95 % interval of ``observed``.
        high: Its upper end.
        ece: Expected calibration error: mean distance of the two over pairs. Chance: always predict the base rate.
        brier: Mean squared error of the probability. Chance: always predict the base rate.
        base_rate: Share of same-class pairs among those that the fit saw.
    """

    predicted: Float[Tensor, " B"]
    observed: Float[Tensor, " B"]
    low: Float[Tensor, " B"]
    high: Float[Tensor, " B"]
    ece: Estimate
    brier: Estimate
    base_rate: float


def reliability(
    probability: Callable[[Tensor], Tensor],
    found: Pairs,
    base_rate: float,
    *,
    bins: int = 12,
    resamples: int = 200,
    seed: int = 0,
) -> Reliability:
    """Test probabilities on pairs of clips that the fit did not see.

    Args:
        probability: Result of `fit_probability`.
        found: Pairs of other clips.
        base_rate: Share of same-class pairs among those that the fit saw: the prediction without information.
        bins: Bins of the curve, of equally many pairs each.
        resamples: Bootstrap samples of the clips.
        seed: Seed of the resamples.
    """
    p = probability(found.similarity)
    same = found.same.double()
    edges = p.sort().values[torch.arange(1, bins) * len(p) // bins]
    place = torch.bucketize(p, edges)  # equal predictions share a bin, so some bins may stay empty
    used, place = place.unique(return_inverse=True)

    def sums(values: Tensor) -> Tensor:
        return torch.zeros(len(used), dtype=p.dtype).index_add_(0, place, values)

    def figures(count: Tensor) -> Tensor:
        weight = count[found.left] * count[found.right]
        total, held = weight.sum(), sums(weight)
        gap = (sums(weight * p) - sums(weight * same)).abs().sum() / total
        return torch.cat([torch.stack([gap, (weight * (p - same).square()).sum() / total]), sums(weight * same) / held])

    guess = [abs(base_rate - same.mean().item()), (base_rate - same).square().mean().item()]
    chance, percent = [*guess, *[base_rate] * len(used)], [True] * (2 + len(used))
    how: dict[str, Any] = {"chance": chance, "percent": percent, "resamples": resamples, "seed": seed}
    ece, brier, *curve = estimate_weighted(figures, found.clips, **how)
    return Reliability(
        predicted=(sums(p) / sums(torch.ones_like(p))).float(),
        observed=torch.tensor([point.value for point in curve]),
        low=torch.tensor([point.low for point in curve]),
        high=torch.tensor([point.high for point in curve]),
        ece=ece,
        brier=brier,
        base_rate=base_rate,
    )
