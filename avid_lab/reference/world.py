"""Measures the rendered world: the accuracy of training with labels, and how much features know of the wallpaper.

``python -m avid_lab.reference.world data/ceilings.json`` resumes if interrupted, and prints both tables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from avid_lab import foley
from avid_lab.atomic import replacing
from avid_lab.config import PRESETS
from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import FineTuneConfig, embed, fine_tune, linear_probe, random_twin
from avid_lab.metrics import chance_accuracy, mean_and_spread
from avid_lab.reference.runs import machine, read
from avid_lab.transforms import InputPipeline

NETWORKS = ("untrained", "self", "joint", "cross")


def ceiling(train: ClipDataset, test: ClipDataset, config: FineTuneConfig, *, seed: int = 0) -> dict[str, float]:
    """Accuracy of the pocket networks trained from random weights *with* labels: picture alone, sound alone, both.

    "Both" multiplies the two networks' probabilities.
    """
    model = AudioVisualModel.preset("pocket", seed=seed)
    pipeline = InputPipeline(train.video, train.audio).fit(train)
    picture, sound = (
        fine_tune(model, train, test, pipeline, modality, config, seed=seed, progress=True)
        for modality in ("video", "audio")
    )
    both = (picture.probabilities * sound.probabilities).argmax(1) == test.labels
    return {"picture": picture.accuracy, "sound": sound.accuracy, "both": both.double().mean().item()}


def wallpaper(clips: ClipDataset) -> Float[Tensor, "N 3"]:
    """The true colour of every clip's wallpaper: red, green and blue in [0, 1]."""
    codes = clips.manifest.column("background_rgb")
    return torch.tensor([[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes])


def explained(
    features: Float[Tensor, "N F"],
    targets: Float[Tensor, "N T"],
    test_features: Float[Tensor, "M F"],
    test_targets: Float[Tensor, "M T"],
) -> float:
    """Share of the test targets' variance that a linear regression on the features explains (R², at least 0)."""
    x, x_test = (F.pad(part, (0, 1), value=1.0) for part in (features, test_features))
    weight = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ targets)
    wrong = (x_test @ weight - test_targets).square().sum()
    return max(0.0, 1 - (wrong / (test_targets - test_targets.mean(0)).square().sum()).item())


def shortcut(name: str, seed: int, work: Path, train: ClipDataset, test: ClipDataset) -> dict[str, float]:
    """How well frozen video features predict the scene (linear probe) and the wallpaper's colour (R²)."""
    run = read(work / f"{'cross' if name == 'untrained' else name}-{seed}.safetensors")
    model, pipeline = run.model(), run.pipeline()
    if name == "untrained":
        model = random_twin(model, train, pipeline, seed=seed)
    ours, theirs = (embed(model, clips, pipeline).video_features for clips in (train, test))
    return {
        "scene": linear_probe(ours, train.labels, theirs, test.labels),
        "wallpaper": explained(ours, wallpaper(train), theirs, wallpaper(test)),
    }


def tables(found: dict[str, Any]) -> str:
    """Both tables in Markdown."""

    def cell(values: list[float]) -> str:
        mean, spread = mean_and_spread([100 * value for value in values])
        return f"{mean:.1f} ± {spread:.1f}" if len(values) > 1 else f"{mean:.1f}"

    def seeds(part: str, *names: str) -> list[Any]:
        return [value for key, value in found[part].items() if key.rsplit("-", 1)[0] in names]

    ceilings = seeds("ceiling", "labels")
    lines = [
        "| trained with labels | picture alone | sound alone | both | chance |",
        "|---|---|---|---|---|",
        "| accuracy, % | "
        + " | ".join(cell([run[what] for run in ceilings]) for what in ("picture", "sound", "both"))
        + f" | {100 * found['chance']:.1f} |",
        "",
        "| frozen video features | scene: linear probe, % | wallpaper's colour: variance explained, % |",
        "|---|---|---|",
    ]
    for name in NETWORKS:
        rows = seeds("shortcut", name)
        cells = " | ".join(cell([row[what] for row in rows]) for what in ("scene", "wallpaper"))
        lines += [f"| {name if name == 'untrained' else name.capitalize() + '-AVID'} | {cells} |"] if rows else []
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m avid_lab.reference.world", description="Measure the pocket world.")
    parser.add_argument("file", type=Path, help="JSON file to write or to continue")
    parser.add_argument("--work", type=Path, default=Path("runs/reference"), help="full runs (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    args = parser.parse_args()
    model = PRESETS["pocket"]
    train, test = (foley.load("pocket", split=part, video=model.video, audio=model.audio) for part in ("train", "test"))
    found: dict[str, Any] = {"machine": machine(), "ceiling": {}, "shortcut": {}}
    if args.file.exists():
        found |= json.loads(args.file.read_text())
    found["chance"] = chance_accuracy(train.labels, test.labels)
    jobs = [("ceiling", f"labels-{seed}") for seed in args.seeds]
    jobs += [("shortcut", f"{name}-{seed}") for name in NETWORKS for seed in args.seeds]
    for part, key in tqdm(jobs, desc="measuring"):
        name, seed = key.rsplit("-", 1)
        if key not in found[part]:
            if part == "ceiling":
                found[part][key] = ceiling(train, test, FineTuneConfig(windows=4), seed=int(seed))
            else:
                found[part][key] = shortcut(name, int(seed), args.work, train, test)
            with replacing(args.file) as file:
                file.write_text(json.dumps(found, indent=1) + "\n")
    print(tables(found))


if __name__ == "__main__":
    main()
