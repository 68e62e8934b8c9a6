"""``avid-lab doctor --bench``: how fast this machine is, and how long training takes on it; runs for half a minute."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from avid_lab import foley
from avid_lab.config import PRESETS, PROFILES
from avid_lab.datasets import ClipDataset
from avid_lab.media import read_clip
from avid_lab.training import avid_trainer
from avid_lab.transforms import InputPipeline

# The README's times were measured on two shared cores of an AMD EPYC (Zen 4), without a GPU.
REFERENCE = {
    "matrix products, one thread": 90.0,
    "copies in memory, one thread": 25.0,
}
CLIPS = 64  # rendered for the measurement: one batch


@dataclass(frozen=True)
class Measure:
    """One measurement of this machine.

    Args:
        name: What was measured.
        value: The result, in ``unit``.
        unit: Unit of the value.
        reference: The result on the reference machine, if measured there.
    """

    name: str
    value: float
    unit: str
    reference: float | None = None


def measure() -> list[Measure]:
    """Render a batch of clips into a temporary folder, decode it, and train a few steps on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    square, block = torch.randn(1024, 1024), torch.zeros(2**24)
    copy = torch.empty_like(block)
    found = {
        ("matrix products, one thread", "GFLOP/s"): 2 * 1024**3 / _seconds(lambda: square @ square) / 1e9,
        ("copies in memory, one thread", "GB/s"): 2 * 2**26 / _seconds(lambda: copy.copy_(block)) / 1e9,
    }
    profile = PROFILES["gpu" if torch.cuda.is_available() else "cpu"]
    run = PRESETS[profile.model]
    video, audio = run.video, run.audio
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        config = replace(foley.PRESETS["smoke"], clips=CLIPS)
        manifest = foley.build(config, folder, workers=0, progress=False)
        found["rendering, one worker", "clips/s"] = CLIPS / (time.perf_counter() - begun)
        whole = replace(video, frames=32, size=56), replace(audio, duration_s=4.0)
        paths = [manifest.path(i) for i in range(CLIPS)]
        found["decoding whole clips, one worker", "clips/s"] = CLIPS / _seconds(lambda: _decode(paths, *whole), turns=1)
        planes = ClipDataset(manifest, video=video, audio=audio, cache=False, planes=True, workers=0)
        pipeline = InputPipeline(video, audio).train()
        everyone, generator = torch.arange(CLIPS), torch.Generator().manual_seed(0)
        load = _seconds(lambda: pipeline(planes.batch(everyone, generator), generator), turns=2)
        found["file to augmented input, one worker", "clips/s"] = CLIPS / load
        torch.set_num_threads(threads)
        clips = ClipDataset(manifest, video=video, audio=audio, cache=False, workers=0)
        batch = clips.batch(everyone, generator)  # the course reads decoded clips: only augmentation remains
        augment = _seconds(lambda: pipeline(batch, generator), turns=3)
        trainer = avid_trainer(clips, replace(profile, train=replace(profile.train, steps=4, batch_size=CLIPS)))
        steps = [sum(step.times.values()) - step.times["data"] for step in trainer]
    step = statistics.median(steps[1:]) + augment
    found[f"training step, batch of {CLIPS}", "s"] = step
    found[f"the course's training, {profile.train.steps} steps", "min"] = profile.train.steps * step / 60
    return [Measure(name, value, unit, REFERENCE.get(name)) for (name, unit), value in found.items()]


def table(measures: Iterable[Measure]) -> str:
    """The measurements as lines for a terminal."""
    lines = [f"{'':40}{'this machine':>20}{'reference':>12}"]
    for one in measures:
        reference = "" if one.reference is None else f"{one.reference:.3g}"
        lines.append(f"{one.name:<40}{one.value:>12.3g} {one.unit:<7}{reference:>12}")
    return "\n".join(
        [*lines, "reference: two cores of an AMD EPYC (Zen 4) without a GPU; other work slows all of these"]
    )


def _decode(paths: list[Path], video: Any, audio: Any) -> None:
    for path in paths:
        read_clip(path, 0.0, video, audio)


def _seconds(run: Callable[[], Any], turns: int = 5) -> float:
    """Median time of a call in seconds, after a warm-up call if ``turns`` > 1."""
    times = []
    for _ in range(turns + (turns > 1)):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[turns > 1 :])
