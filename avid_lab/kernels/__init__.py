"""Triton kernels for a GPU, and the rule that the plain path takes over wherever they do not run.

A kernel is an optimisation, never the definition: what it computes is written in plain PyTorch beside it, tests hold
the two together, and without a GPU or without Triton nobody notices that this package exists.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
_failed: list[str] = []  # what the first failure said; kernels are left alone from then on


def kernel_or_plain(
    tensor: Tensor, kernel: Callable[[], Result], plain: Callable[[], Result], *, tensor_cores: bool = False
) -> Result:
    """What ``kernel`` gives if the tensor is on a CUDA device and Triton works there, else what ``plain`` gives.

    A kernel that fails is said once, as a warning; from then on this process takes the plain path.

    Args:
        tensor: Tells the device.
        kernel: The fast way.
        plain: The same, by PyTorch.
        tensor_cores: Whether the kernel needs those that Triton knows: of compute capability 8.0 (Ampere) and later.

    Raises:
        torch.OutOfMemoryError: The device is full. The plain path would need more still.
    """
    if tensor.device.type != "cuda" or _failed:
        return plain()
    if tensor_cores and torch.cuda.get_device_capability(tensor.device) < (8, 0):
        return plain()
    try:
        return kernel()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        _failed.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
        warnings.warn(
            f"Triton kernels do not run here ({_failed[0]}); plain PyTorch does the same, slower", stacklevel=3
        )
        return plain()
