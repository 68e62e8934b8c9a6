"""One run in several processes, as `torchrun` starts them: thin names over `torch.distributed`.

Everything here also works in a single process, where it does nothing.
"""

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


def raise_together(error: Exception | None) -> None:
    """Raise an error of any process in all of them, so that none waits for one that has stopped."""
    if processes() > 1:
        device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
        if average(torch.tensor(float(error is not None), device=device)) > 0:  # a number a step, objects when needed
            errors: list[Exception | None] = [None] * processes()
            dist.all_gather_object(errors, error)
            error = next((one for one in errors if one is not None), None)
    if error is not None:
        raise error


def average(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    if processes() > 1:
        dist.all_reduce(values)
        values /= processes()
    return values


def from_all_processes(x: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks; ``x`` itself where there is one process.

    Processes may hold different numbers of rows: all are padded to the longest for the transfer.
    """
    if processes() == 1:
        return x
    lengths = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(processes())]
    dist.all_gather(lengths, torch.tensor([len(x)], device=x.device))
    longest = max(int(length) for length in lengths)
    padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])])
    gathered = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(gathered, padded)
    return torch.cat([rows[: int(length)] for rows, length in zip(gathered, lengths, strict=True)])


def share(tensors: list[Tensor]) -> None:
    """Give every process the tensors of process 0."""
    if processes() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
