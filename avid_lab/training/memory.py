"""Memory of a run: how much of a batch fits a GPU at once, and memory that a CPU keeps between steps."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from avid_lab.config import ModelConfig, TrainConfig
from avid_lab.encoders import AudioVisualModel

USABLE = 0.8  # of the free memory: the rest is for weights, gradients, workspaces and fragments

# glibc's parameters of mallopt, with the largest threshold that every version accepts.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = (-1, 2**30), (-3, 2**25), (-8, 1)


def keep_freed_memory() -> None:
    """Let this process use freed memory again, instead of fetching new pages for every large tensor.

    By default, glibc returns large blocks to Linux at once. New pages then cost 5 to 17 % of a step on a CPU, in a
    background thread as well. Where there is no glibc, this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in (_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX):
            mallopt(parameter, value)


def activation_bytes(config: ModelConfig) -> int:
    """Bytes in single precision that a clip's forward pass keeps for the backward pass; nothing is computed."""
    with torch.device("meta"):
        model = AudioVisualModel(config).train()
        size = config.video.size
        assert size is not None
        video = torch.empty(2, 3, config.video.frames, size, size)
        audio = torch.empty(2, 1, config.audio.frames, config.audio.bins)
    kept: dict[StorageWeakRef, torch.Tensor] = {}
    weights = {StorageWeakRef(parameter.untyped_storage()) for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = StorageWeakRef(tensor.untyped_storage())  # several operations may keep the same one
        if storage not in weights:
            kept[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(video, audio)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) // 2


def parts_that_fit(config: ModelConfig, batch_size: int, free_bytes: float, *, half: bool = False) -> int:
    """The smallest number of equal parts of a batch, two clips or more in each, of which one fits the memory.

    Args:
        config: The model.
        batch_size: Clips of the whole batch.
        free_bytes: Memory for activations.
        half: Whether activations take half of single precision.
    """
    fitting = free_bytes * USABLE / (activation_bytes(config) / (2 if half else 1))
    for parts in range(1, batch_size // 2 + 1):
        if batch_size % parts == 0 and batch_size // parts <= fitting:
            return parts
    return max(1, batch_size // 2)


def fitted(train: TrainConfig, config: ModelConfig, device: torch.device) -> TrainConfig:
    """The settings with as many parts as a GPU's free memory asks for; others are as they were.

    The batch stays what it is: negatives and memories do not change.
    """
    if device.type != "cuda" or train.accumulate > 1:
        return train
    free_bytes, _ = torch.cuda.mem_get_info(device)
    parts = parts_that_fit(config, train.batch_size, free_bytes, half=train.precision != "float32")
    return replace(train, accumulate=parts)
