"""One run in several processes, as `torchrun` starts them: thin names over `torch.distributed`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes if `torchrun` started this one, and leave them at the end; alone, do nothing.

    GPUs talk through NCCL, CPUs through Gloo.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def processes() -> int:
    """How many processes train together; 1 outside `process_group`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; process 0 writes files and speaks."""
    return dist.get_rank() if processes() > 1 else 0


def local_rank() -> int:
    """Which process of its machine this is: also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0")) if processes() > 1 or "RANK" in os.environ else 0


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    if processes() > 1:
        dist.barrier()


def average(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    if processes() > 1:
        dist.all_reduce(values)
        values /= processes()
    return values


def share(tensors: list[Tensor]) -> None:
    """Give every process the tensors of process 0."""
    if processes() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
