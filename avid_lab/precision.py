"""Double precision where it is needed, also where the device has none."""

from __future__ import annotations

from torch import Tensor


def doubled(x: Tensor) -> Tensor:
    """``x`` in double precision, on its device, or on the CPU if Apple's GPU (MPS) holds it, which has no doubles."""
    return off_mps(x).double()


def off_mps(x: Tensor) -> Tensor:
    """``x`` itself, or a copy on the CPU if it is on Apple's GPU, for work in double precision."""
    return x.cpu() if x.device.type == "mps" else x
