"""A training step of the encoders on a CPU: precision, memory layout, and 3-D convolutions that run as 2-D ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avid_lab.config import ModelConfig
from avid_lab.encoders import AudioVisualModel, FactoredConv3d
from benchmarks.harness import as_json, compare, limits

SMALL = ModelConfig(video_widths=(8, 8, 16, 32, 64), audio_widths=(8, 8, 16, 32, 64), head=(64, 64))


def plain(model: AudioVisualModel) -> AudioVisualModel:
    """The same model with ordinary 3-D convolutions."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, FactoredConv3d):
            module.__class__ = nn.Conv3d
    return model


def step(model: AudioVisualModel, size: int, batch: int, *, channels_last: bool, half: bool) -> Callable[[], Any]:
    """Forward and backward of both encoders."""
    model = model.train()
    video, audio = torch.randn(batch, 3, 8, size, size), torch.randn(batch, 1, 100, 129)
    if channels_last:
        model.video_encoder.to(memory_format=torch.channels_last_3d)
        model.audio_encoder.to(memory_format=torch.channels_last)
        video = video.contiguous(memory_format=torch.channels_last_3d)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            embeddings = model(video, audio)
        (embeddings[0] * embeddings[1]).sum().backward()

    return run


def run(quick: bool) -> dict[str, Any]:
    """Seconds a step, one thread; the paper's model only without --quick."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    top = limits()
    rows = []
    cases: list[tuple[str, ModelConfig, int, int, int, dict[str, float]]] = [
        ("small model, 8x64x64, B = 64", SMALL, 64, 64, 11, {"folded, channels last": 1.2})
    ]
    if not quick:
        name = "paper's model, 8x112x112, B = 16"
        cases.append((name, ModelConfig(), 112, 16, 3, {"folded, channels last, bf16": 2.1}))
    for name, config, size, batch, turns, required in cases:
        model = AudioVisualModel(config, seed=0)
        candidates = {
            "3-D convolutions, fp32": step(plain(model), size, batch, channels_last=False, half=False),
            "folded, channels last": step(copy.deepcopy(model), size, batch, channels_last=True, half=False),
            "folded, channels last, bf16": step(copy.deepcopy(model), size, batch, channels_last=True, half=True),
        }
        if config == ModelConfig():
            peer = AudioVisualModel(replace(config, video_backbone="r2plus1d_18"), seed=0)
            candidates["torchvision's r2plus1d_18, fp32"] = step(peer, size, batch, channels_last=False, half=False)
        least = {}  # counted over a first turn, which also warms up
        for way, run_step in candidates.items():
            with FlopCounterMode(display=False) as counted:
                run_step()
            rate = top["bf16 gemm, GFLOP/s" if "bf16" in way else "sgemm, GFLOP/s"]
            least[way] = counted.get_total_flops() / rate / 1e9
        rows += compare(
            name, candidates, turns=turns, required=required, amount=batch, unit="clip", least_s=least, warm=False
        )
    torch.set_num_threads(threads)
    flags = torch.backends.cpu.get_cpu_capability()
    return {"rows": as_json(rows), "limits, 1 thread": top, "cpu capability": flags}
