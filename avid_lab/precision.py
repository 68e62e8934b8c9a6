"""Which precision a device computes in: half where it is fast, double where it is needed."""

from __future__ import annotations

import torch
from torch import Tensor

BFLOAT16_SINCE = (8, 0)  # CUDA compute capability: Ampere


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type in which encoders compute under autocast; None is single precision.

    "auto" is bfloat16 on NVIDIA GPUs since Ampere, float16 on older ones (T4, V100), and float32 elsewhere.
    """
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= BFLOAT16_SINCE else torch.float16
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def doubled(x: Tensor) -> Tensor:
    """``x`` in double precision, on its device, or on the CPU if Apple's GPU (MPS) holds it, which has no doubles."""
    return off_mps(x).double()


def off_mps(x: Tensor) -> Tensor:
    """``x`` itself, or a copy on the CPU if it is on Apple's GPU, for work in double precision."""
    return x.cpu() if x.device.type == "mps" else x
