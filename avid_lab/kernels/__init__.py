"""Triton kernels for GPUs, with plain PyTorch as the fallback.

A kernel is an optimisation, never the definition: plain PyTorch code computes the same, and tests compare the two.
Without a GPU or without Triton, this package is not used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
_failed: list[str] = []  # message of the first failure, after which kernels are no longer tried


def kernel_or_plain(
    tensor: Tensor, kernel: Callable[[], Result], plain: Callable[[], Result], *, tensor_cores: bool = False
) -> Result:
    """The result of ``kernel`` if the tensor is on a CUDA device where Triton works, else that of ``plain``.

    The first failure of a kernel gives a warning; from then on this process uses PyTorch.

    Args:
        tensor: A tensor on the device in question.
        kernel: Runs the kernel.
        plain: Computes the same in PyTorch.
        tensor_cores: Whether the kernel needs tensor cores that Triton supports: capability 8.0 (Ampere) or later.

    Raises:
        torch.OutOfMemoryError: The device is full. The plain path would need even more.
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
