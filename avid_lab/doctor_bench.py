"""``avid-lab doctor --bench``: how fast this machine is, and how long training takes on it; runs for half a minute.

With a manifest or a preset it predicts that training instead: what reading and computing allow, and which bounds it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from avid_lab import foley
from avid_lab.config import PRESETS, PROFILES, RECIPES, Profile, Recipe
from avid_lab.datasets import ClipDataset, Manifest
from avid_lab.datasets.parallel import usable_cores
from avid_lab.media import read_clip
from avid_lab.training import avid_trainer, resolve_device
from avid_lab.transforms import InputPipeline

# The times of docs/speed.md were measured on two shared cores of an AMD EPYC (Zen 4), without a GPU.
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
        clips = ClipDataset(manifest, video=video, audio=audio, cache=False, workers=0)
        pipeline = InputPipeline(video, audio).train()
        everyone, generator = torch.arange(CLIPS), torch.Generator().manual_seed(0)
        load = _seconds(lambda: pipeline(clips.batch(everyone, generator), generator), turns=2)
        found["file to augmented input, one worker", "clips/s"] = CLIPS / load
        torch.set_num_threads(threads)
        with patch.dict(os.environ, AVID_LAB_DATA=folder):  # the course reads decoded clips
            decoded = ClipDataset(manifest, video=video, audio=audio, progress=False)
        trainer = avid_trainer(decoded, replace(profile, train=replace(profile.train, steps=6, batch_size=CLIPS)))
        steps = [step.seconds for step in trainer]
        del decoded, trainer  # they hold files open
    step = statistics.median(steps[1:])
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


@dataclass(frozen=True)
class Prediction:
    """How fast a recipe would train here, and what bounds it.

    Args:
        preset: The recipe.
        clips: Training clips.
        device: Where the model is.
        cores: Cores that read.
        reading: Windows a second that one core reads from the files.
        training: Clips a second that the device trains on, without waiting for any.
        batch: Clips in a measured step.
        rate: Clips a second of both together.
        bound: What bounds the rate: "reading", "training", or "both" where they share the cores.
        hours: Of the recipe's stages, "AVID" and "CMA", each with its windows.
    """

    preset: str
    clips: int
    device: str
    cores: int
    reading: float
    training: float
    batch: int
    rate: float
    bound: str
    hours: dict[str, tuple[int, float]]

    def __str__(self) -> str:
        shared = self.bound == "both"
        why = "reading and training share the cores" if shared else f"{self.bound} bounds it"
        lines = [
            f"reading windows from the files   {self.reading:8.3g} clips/s a core, {self.reading * self.cores:.3g} "
            f"on {self.cores} cores",
            f"training on {self.device:<20} {self.training:8.3g} clips/s, in steps of {self.batch}",
            f"together                         {self.rate:8.3g} clips/s: {why}",
        ]
        for stage, (windows, hours) in self.hours.items():
            time = f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:,.1f} minutes"
            lines.append(f"{stage} of {self.preset}, {self.clips:,} clips: {windows:,} windows, {time}")
        return "\n".join(lines)


def predict(preset: str, manifest: Manifest | None = None, *, sample: int | None = None) -> Prediction:
    """Read windows of some clips on one core, and train a few steps on them.

    Args:
        preset: A recipe.
        manifest: The clips; None renders some.
        sample: Clips to read, evenly spaced; None chooses.

    Raises:
        ValueError: There is no such recipe, or there are fewer than four training clips.
        MediaError: A file is unusable.
    """
    if preset not in RECIPES:
        raise ValueError(f"preset must be one of {', '.join(RECIPES)}; got {preset!r}")
    recipe = RECIPES[preset]
    with tempfile.TemporaryDirectory() as folder:
        if manifest is None:
            manifest = foley.build(replace(foley.PRESETS["smoke"], clips=CLIPS), folder, workers=0, progress=False)
        if "train" in manifest.column("split"):
            manifest = manifest.select(split="train")
        if len(manifest) < 4:
            raise ValueError(f"a prediction needs at least four training clips; {manifest.root} has {len(manifest)}")
        return _predict(preset, recipe, manifest, sample)


def _predict(preset: str, recipe: Recipe, manifest: Manifest, sample: int | None) -> Prediction:
    run, device = PRESETS[recipe.model], resolve_device("auto")
    on_cpu = device.type == "cpu"
    count = min(sample or (16 if on_cpu else 256), len(manifest), recipe.train.batch_size)
    few = manifest.subset(torch.linspace(0, len(manifest) - 1, count).round().long().tolist())
    clips = ClipDataset(few, video=run.video, audio=run.audio, cache=False, workers=0)
    threads, generator = torch.get_num_threads(), torch.Generator().manual_seed(0)
    torch.set_num_threads(1)
    clips.batch(torch.arange(min(4, count)))  # finds the decoders
    begun = time.perf_counter()
    for part in torch.arange(count).split(8):
        clips.batch(part, generator)
    reading = count / (time.perf_counter() - begun)
    torch.set_num_threads(threads)
    config = replace(recipe.train, steps=3 if on_cpu else 8, batch_size=count)
    negatives = min(recipe.num_negatives, count - 1)
    trainer = avid_trainer(clips, Profile(preset, "", recipe.model, config, negatives))
    seconds = [step.seconds - step.times["waiting"] for step in trainer]
    training, cores = count / statistics.median(seconds[1:]), usable_cores()
    if on_cpu:
        rate, bound = 1 / (1 / training + 1 / (reading * cores)), "both"
    else:
        rate = min(training, reading * cores)
        bound = "training" if rate == training else "reading"
    hours = {}
    for name, config in (("AVID", recipe.config(len(manifest))), ("CMA", recipe.config(len(manifest), "cma"))):
        windows = config.steps * config.batch_size
        hours[name] = windows, windows / rate / 3600
    return Prediction(preset, len(manifest), str(device), cores, reading, training, count, rate, bound, hours)
