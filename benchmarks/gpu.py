"""One GPU: its measured ceilings, mining, the noise-contrastive step and training of the paper's models.

Training is measured on tensors, and end to end from prepared files. Needs CUDA; takes less than ten minutes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from avid_lab import foley
from avid_lab.config import PRESETS, ModelConfig, TrainConfig
from avid_lab.datasets import ClipDataset, Manifest
from avid_lab.datasets.parallel import usable_cores
from avid_lab.datasets.prepare import prepare
from avid_lab.encoders import AudioVisualModel
from avid_lab.foley import FoleyConfig
from avid_lab.mining import mine_positives
from avid_lab.objectives import AVID
from avid_lab.objectives.gather import score_instances
from avid_lab.training import Trainer
from benchmarks.harness import as_json, compare

CLIPS = {"Kinetics-400": 240_000, "AudioSet": 1_784_108}  # instances of an epoch
PATIENCE_S = 120  # AudioSet's size is mined directly, instead of extrapolated, if it takes no longer than this
N, DIM, BATCH, K = 232_067, 128, 256, 1024


def run(quick: bool) -> dict[str, Any]:
    """All parts; nothing without CUDA."""
    if not torch.cuda.is_available():
        print("  gpu: skipped, no CUDA device")
        return {"skipped": ["no CUDA device"]}
    device = torch.device("cuda")
    top = ceilings(device, 2048 if quick else 8192)
    print(f"  {top}", flush=True)
    rows = nce(device, N, BATCH, K)
    made = {"ceilings": top, "rows": as_json(rows), "mining": mining(device, 20_000 if quick else 100_000)}
    if not quick and made["mining"]["AudioSet, s (by N^2)"] < PATIENCE_S:
        made["mining, measured"] = mining(device, CLIPS["AudioSet"])
    made["training"] = {
        f"{name}, {'compiled' if compiled else 'eager'}": training(
            device, PRESETS[name], 32, top["bf16 products, TFLOP/s"], compiled=compiled
        )
        for name in ("paper-small", "paper")
        for compiled in ((False,) if quick else (False, True))
    }
    with tempfile.TemporaryDirectory() as folder:
        files = prepared(Path(folder), 16 if quick else 64)
        made["from prepared files"] = {
            name: end_to_end(
                device, PRESETS[name], files, top["bf16 products, TFLOP/s"], batch=batch, steps=10 if quick else 40
            )
            for name, batch in (("paper-small", 256), ("paper", 64))
        }
    return made


def seconds(device: torch.device, work: Callable[[], Any], turns: int = 5) -> float:
    """Best time of a call that ends when the device is done."""
    times = []
    for _ in range(turns + 1):
        wait(device)
        begun = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device, side: int) -> dict[str, float]:
    """TFLOP/s of bfloat16 products, TB/s of copies."""
    square = torch.randn(side, side, device=device).bfloat16()
    block = torch.zeros(side * side, device=device)
    copy = torch.empty_like(block)
    return {
        "bf16 products, TFLOP/s": 2 * side**3 / seconds(device, lambda: square @ square) / 1e12,
        "copy, TB/s": 8 * side * side / seconds(device, lambda: copy.copy_(block)) / 1e12,
    }


def mining(device: torch.device, n: int) -> dict[str, float]:
    """Seconds of exact consensus mining of random memories, extrapolated by N^2 to AudioSet's size."""
    generator = torch.Generator().manual_seed(0)
    video, audio = (F.normalize(torch.randn(n, DIM, generator=generator), dim=1).to(device) for _ in range(2))
    spent = seconds(device, lambda: mine_positives(video, audio, 32), turns=1)
    made = {"instances": float(n), "seconds": spent, "AudioSet, s (by N^2)": spent * (CLIPS["AudioSet"] / n) ** 2}
    print(f"  mining: {made}", flush=True)
    return made


def nce(device: torch.device, n: int, batch: int, negatives: int) -> list[Any]:
    """Scores of picked memories and their gradient, one direction: gather and bmm against the library."""
    generator = torch.Generator().manual_seed(0)
    bank = F.normalize(torch.randn(n, DIM, generator=generator), dim=1).to(device)
    query = F.normalize(torch.randn(batch, DIM, generator=generator), dim=1).to(device).requires_grad_()
    picked = torch.randint(n, (batch, 1 + negatives), generator=generator).to(device)

    def step(score: Callable[..., Any]) -> Callable[[], None]:
        def run() -> None:
            query.grad = None
            score(query, bank, picked).logsumexp(1).sum().backward()
            wait(device)

        return run

    def plain(query: Any, bank: Any, picked: Any) -> Any:
        return torch.bmm(bank[picked], query[:, :, None]).squeeze(2)

    candidates = {"gather + bmm": step(plain), "ours": step(score_instances)}
    case = f"NCE scores on {device.type}, B = {batch}, K = {negatives}"
    return compare(case, candidates, turns=21, required={"ours": 3.0}, unit="step")


def training(
    device: torch.device, config: ModelConfig, batch: int, ceiling: float, *, compiled: bool = False
) -> dict[str, Any]:
    """Clips per second of both encoders, forward and backward, bfloat16 and channels last; and hours per epoch.

    Utilisation is the share of the measured ``ceiling`` (TFLOP/s) that the encoders' own operations reach.
    """
    size = config.video.size
    assert size is not None
    model = AudioVisualModel(config, seed=0).to(device).train()
    model.video_encoder.to(memory_format=torch.channels_last_3d)
    model.audio_encoder.to(memory_format=torch.channels_last)
    video = torch.randn(batch, 3, config.video.frames, size, size, device=device)
    video = video.contiguous(memory_format=torch.channels_last_3d)
    audio = torch.randn(batch, 1, config.audio.frames, config.audio.bins, device=device)
    embed: Callable[..., Any] = torch.compile(model) if compiled else model

    def step(embed: Callable[..., Any] = embed) -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            embeddings = embed(video, audio)
        (embeddings[0] * embeddings[1]).sum().backward()

    with FlopCounterMode(display=False) as counted:
        step(model)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    rate = batch / seconds(device, step)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    utilisation = counted.get_total_flops() / batch * rate / 1e12 / ceiling
    made = {"batch": batch, "clips/s": rate, "utilisation": utilisation, "peak, GiB": peak}
    made |= {f"epoch of {name}, h": count / rate / 3600 for name, count in CLIPS.items()}
    print(f"  training: {made}", flush=True)
    return made


def prepared(folder: Path, count: int) -> Manifest:
    """Scenes of ten seconds in the format of public sets, and the copies that `avid-lab data prepare` makes of them."""
    size = FoleyConfig(clips=count, size=320, duration_s=10.0)
    return prepare(foley.build(size, folder / "originals", progress=False), folder / "copies", progress=False)


def end_to_end(
    device: torch.device, config: ModelConfig, files: Manifest, ceiling: float, *, batch: int, steps: int
) -> dict[str, Any]:
    """Training as `avid-lab train` does it, streaming from files: clips a second, utilisation, waiting for data.

    A few files stand for thousands of instances: each is listed many times, under ids of its own.
    """
    count = max(4 * batch, 4096 if device.type == "cuda" else 0)
    records = [replace(files.records[i % len(files)], id=f"{i}") for i in range(count)]
    clips = ClipDataset(Manifest(files.root, records), video=config.video, audio=config.audio, cache=False)
    model = AudioVisualModel(config, seed=0)
    objective = AVID(count, config.dim, num_negatives=min(K, count - 1))
    precision = "bfloat16" if device.type == "cuda" else "float32"
    settings = TrainConfig(steps=steps, batch_size=batch, learning_rate=1e-4, precision=precision, device=str(device))
    size = config.video.size
    assert size is not None
    video = torch.randn(2, 3, config.video.frames, size, size)
    audio = torch.randn(2, 1, config.audio.frames, config.audio.bins)
    with FlopCounterMode(display=False) as counted:
        left, right = model(video, audio)
        (left * right).sum().backward()
    taken = list(Trainer(model, objective, clips, settings))[steps // 4 :]  # without the start
    spent = sum(step.seconds for step in taken)
    waiting = sum(step.times["waiting"] for step in taken)
    rate = batch * len(taken) / spent
    made = {
        "batch": batch,
        "clips/s": rate,
        "utilisation": counted.get_total_flops() / 2 * rate / 1e12 / ceiling,
        "waiting for data": waiting / spent,
        "cores": usable_cores(),
    }
    print(f"  from prepared files: {made}", flush=True)
    return made
