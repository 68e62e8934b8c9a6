"""Small seeded inputs to try functions on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def seeded(seed: int) -> torch.Generator:
    """A new generator."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int, scale: float = 1.0, grad: bool = False) -> Tensor:
    """Normal numbers, which require a gradient if ``grad``."""
    return (scale * torch.randn(*shape, generator=seeded(seed))).requires_grad_(grad)


def unit(rows: int, dim: int, seed: int, grad: bool = False) -> Tensor:
    """(rows, dim) random unit vectors, which require a gradient if ``grad``."""
    return F.normalize(torch.randn(rows, dim, generator=seeded(seed)), dim=1).requires_grad_(grad)


def integers(*shape: int, below: int, seed: int) -> Tensor:
    """Random whole numbers in [0, below)."""
    return torch.randint(below, shape, generator=seeded(seed))
