"""Does a similarity mean anything by itself? Separation of same-class pairs, and similarity as a probability.

Sources: Platt, "Probabilistic outputs for support vector machines", 1999 (the logistic fit); Naeini, Cooper and
Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015 (expected calibration error).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from avid_lab.metrics.intervals import Estimate, estimate_weighted

FitMethod = Literal["logistic", "isotonic"]


@dataclass(frozen=True)
class Pairs:
    """Pairs (i, j), i != j, of clips: how similar they are, and whether they are of one class.

    Attributes:
        similarity: Inner product of the two embeddings.
        same: Whether both clips are of one class.
        left: Which clip i.
        right: Which clip j.
        clips: Number of clips N.
    """

    similarity: Float64[Tensor, " P"]
    same: Bool[Tensor, " P"]
    left: Int64[Tensor, " P"]
    right: Int64[Tensor, " P"]
    clips: int


@torch.no_grad()
def pairs(query: Float[Tensor, "N D"], gallery: Float[Tensor, "N D"], labels: Int64[Tensor, " N"]) -> Pairs:
    """All pairs of different clips; within one modality, where order says nothing, each pair once.

    Args:
        query: Unit embeddings, one a clip.
        gallery: The same clips in the same or the other modality.
        labels: Class of each clip.

    Raises:
        ValueError: The shapes do not fit, or one of the two kinds of pair does not occur.
    """
    if query.ndim != 2 or query.shape != gallery.shape or labels.shape != (len(query),):
        got = [tuple(x.shape) for x in (query, gallery, labels)]
        raise ValueError(f"query, gallery and labels must be (N, D), (N, D) and (N,); got {got}")
    n = len(query)
    if torch.equal(query, gallery):
        left, right = torch.triu_indices(n, n, 1)
    else:
        left, right = (~torch.eye(n, dtype=torch.bool)).nonzero(as_tuple=True)
    same = labels.cpu()[left] == labels.cpu()[right]
    if same.all() or not same.any():
        raise ValueError("labels must hold two instances of one class and two classes, or there is nothing to compare")
    return Pairs((query @ gallery.T).cpu()[left, right].double(), same, left, right, n)


def separation(found: Pairs, *, bins: int = 100, resamples: int = 200, seed: int = 0) -> dict[str, Estimate]:
    """How well similarity tells same-class from different-class pairs: "AUC", "d'" and "overlap" with intervals.

    `calibration` defines the three. Clips are resampled, not pairs: the pairs of one clip rise and fall together.

    Args:
        found: What `pairs` returns.
        bins: Histogram bins over [-1, 1] for the overlap.
        resamples: Bootstrap samples.
        seed: Of the resamples.
    """
    order = found.similarity.argsort()
    x, same = found.similarity[order], found.same[order].double()
    left, right = found.left[order], found.right[order]
    first, last = torch.searchsorted(x, x), torch.searchsorted(x, x, right=True)  # ties share their mean rank
    place = ((x.clamp(-1, 1) + 1) / 2 * bins).long().clamp(max=bins - 1)

    def figures(count: Tensor) -> Tensor:
        weight = count[left] * count[right]
        on, off = weight * same, weight * (1 - same)
        below = torch.cat([off.new_zeros(1), off.cumsum(0)])
        auc = (on * (below[first] + below[last])).sum() / (2 * on.sum() * off.sum())
        mean_on, mean_off = (on * x).sum() / on.sum(), (off * x).sum() / off.sum()
        spread_on = (on * (x - mean_on).square()).sum() / on.sum()
        spread_off = (off * (x - mean_off).square()).sum() / off.sum()
        d_prime = (mean_on - mean_off) / ((spread_on + spread_off) / 2).sqrt().clamp(min=1e-12)
        shapes = [torch.zeros(bins, dtype=x.dtype).index_add_(0, place, w) / w.sum() for w in (on, off)]
        return torch.stack([auc, d_prime, torch.minimum(*shapes).sum()])

    chance, percent = [0.5, 0.0, 1.0], [True, False, True]
    made = estimate_weighted(figures, found.clips, chance=chance, percent=percent, resamples=resamples, seed=seed)
    auc, d_prime, overlap = made
    return {"AUC": auc, "d'": d_prime, "overlap": overlap.centred()}


def fit_probability(
    similarity: Float64[Tensor, " P"], same: Bool[Tensor, " P"], method: FitMethod = "logistic"
) -> Callable[[Tensor], Tensor]:
    """Learn how probable it is that a pair of some similarity is of one class.

    Args:
        similarity: Of the pairs.
        same: Whether they are of one class.
        method: "logistic" fits a slope and an offset, "isotonic" any rising curve.

    Returns:
        A function of similarities, to probabilities of the same shape.

    Raises:
        ValueError: The method is unknown.
    """
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
            similarity.numpy(), same.double().numpy()
        )
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
    """Predicted probability of "same class" against how often it was true, on clips that the fit did not see.

    Attributes:
        predicted: Mean predicted probability in each bin; bins hold equally many pairs.
        observed: Share of same-class pairs in each bin.
        low: Lower end of the 95 % interval of ``observed``.
        high: Its upper end.
        ece: Expected calibration error: mean distance of the two, over pairs. Its chance is that of the base rate.
        brier: Mean squared error of the probability. Its chance is that of the base rate.
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
        probability: What `fit_probability` returns.
        found: Pairs of other clips.
        base_rate: Share of same-class pairs among those that the fit saw: the prediction of who knows nothing.
        bins: Bins of the curve, of equally many pairs each.
        resamples: Bootstrap samples of the clips.
        seed: Of the resamples.
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
    made = estimate_weighted(
        figures,
        found.clips,
        chance=[*guess, *[base_rate] * len(used)],
        percent=[True] * (2 + len(used)),
        resamples=resamples,
        seed=seed,
    )
    ece, brier, *curve = made
    return Reliability(
        predicted=(sums(p) / sums(torch.ones_like(p))).float(),
        observed=torch.tensor([point.value for point in curve]),
        low=torch.tensor([point.low for point in curve]),
        high=torch.tensor([point.high for point in curve]),
        ece=ece,
        brier=brier,
        base_rate=base_rate,
    )
