"""Signs of collapse: distance of partners, evenness of embeddings on the sphere, number of directions they use.

Sources: Wang and Isola, "Understanding contrastive representation learning through alignment and uniformity on the
hypersphere", ICML 2020; Roy and Vetterli, "The effective rank", EUSIPCO 2007.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy.special import hyp0f1
from torch import Tensor

from avid_lab.precision import doubled


def alignment(x: Float[Tensor, "N D"], y: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
    """Squared distance of each embedding to its partner, in [0, 4]; 0 is perfect, 2 unrelated.

    Args:
        x: Unit embeddings, for example of pictures.
        y: Unit embeddings of their partners, for example of sounds.

    Returns:
        One value per pair; Wang and Isola's alignment is the mean.
    """
    return (x - y).square().sum(1)


def uniformity(
    x: Float[Tensor, "N D"], weights: Float[Tensor, " N"] | None = None, *, t: float = 2.0
) -> Float[Tensor, ""]:
    """Logarithm of the mean of ``exp(-t |x_i - x_j|^2)`` over pairs i != j: 0 is one point, lower is more even.

    Args:
        x: Unit embeddings.
        weights: Weight of each embedding; 1 by default.
        t: Width of the kernel.

    Raises:
        ValueError: Fewer than two embeddings.
    """
    return log_mean_potential(potentials(x, t=t), weights)


def potentials(x: Float[Tensor, "N D"], *, t: float = 2.0) -> Float[Tensor, "N N"]:
    """``exp(-t |x_i - x_j|^2)`` of all pairs of unit embeddings."""
    return torch.exp(t * (2 * (x @ x.T) - 2))


def log_mean_potential(
    potential: Float[Tensor, "N N"], weights: Float[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    """`uniformity` of precomputed `potentials`, to evaluate many weights.

    Raises:
        ValueError: Fewer than two embeddings.
    """
    if len(potential) < 2:
        raise ValueError(f"uniformity needs at least two embeddings; got {len(potential)}")
    weights = torch.ones_like(potential[0]) if weights is None else weights.to(potential)
    itself = (weights.square() * potential.diagonal()).sum()
    pairs = weights.sum().square() - weights.square().sum()
    return ((weights @ potential @ weights - itself) / pairs).log()


def effective_rank(x: Float[Tensor, "N D"], weights: Float[Tensor, " N"] | None = None) -> Float[Tensor, ""]:
    """Exponential of the entropy of the normalised singular values: 1 if all embeddings share a line, at most D.

    Args:
        x: Embeddings, not centred.
        weights: Weight of each embedding; 1 by default.
    """
    x = doubled(x)
    gram = x.T @ (x if weights is None else x * weights.to(x)[:, None])
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = singular / singular.sum()
    return torch.special.entr(share).sum().exp()


def uniformity_of_the_sphere(dim: int, *, t: float = 2.0) -> float:
    """Uniformity of evenly spread unit vectors: the lowest value for N -> infinity embeddings.

    With the cosine c of two random directions it is ``log E exp(2t (c - 1))``, and ``E exp(k c)`` is the hypergeometric
    series ``0F1(dim / 2; k^2 / 4)``.
    """
    return math.log(hyp0f1(dim / 2, t * t)) - 2 * t
