"""Reference runs: the paper's comparison of AVID variants in miniature, several seeds, with how they were made.

A run is finished or not there: the results file grows by one run at a time, and a stopped command goes on from it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from avid_lab import foley
from avid_lab.config import Profile
from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import Scores, compare
from avid_lab.metrics import mean_and_spread
from avid_lab.training import avid_trainer


@dataclass(frozen=True)
class Variant:
    """One way to train: the objective's weights, and the learning rate that suits it.

    Args:
        cross: Weight of the cross-modal terms.
        within: Weight of the within-modal terms.
        learning_rate: Of the rates tried at seed 0 (1e-3 and 2e-3; for Self-AVID also 5e-4) the one with the best video
            probe. One rate for all would be unfair: at 2e-3, which suits Cross-AVID, the loss of Self-AVID grows.
    """

    cross: float
    within: float
    learning_rate: float


VARIANTS = {
    "cross": Variant(cross=1.0, within=0.0, learning_rate=2e-3),
    "self": Variant(cross=0.0, within=1.0, learning_rate=1e-3),
    "joint": Variant(cross=1.0, within=1.0, learning_rate=1e-3),
}


def run(
    variant: str, seed: int, train: ClipDataset, test: ClipDataset, profile: Profile, *, progress: bool = True
) -> dict[str, Any]:
    """Train one variant of AVID and score it beside chance and the same network untrained.

    Args:
        variant: "cross", "self" or "joint".
        seed: Of the weights, the batches, the augmentation, the memory and the negatives.
        train: Clips to train on and to fit probes on.
        test: Clips to score on.
        profile: Model preset, training settings and number of negatives.
        progress: Whether to show a progress bar.

    Returns:
        Plain values: variant, seed, learning rate, seconds of training, the loss curve, and the three sets of scores.

    Raises:
        ValueError: The variant is unknown.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}; got {variant!r}")
    how = VARIANTS[variant]
    settings = dataclasses.replace(profile.train, learning_rate=how.learning_rate)
    profile = dataclasses.replace(profile, train=settings)
    trainer = avid_trainer(train, profile, cross=how.cross, within=how.within, seed=seed)
    begun = time.perf_counter()
    for step in (bar := tqdm(trainer, desc=f"{variant} seed {seed}", unit="step", disable=not progress)):
        bar.set_postfix(loss=f"{step.loss:.2f}")
    seconds = time.perf_counter() - begun
    scores, _ = compare(trainer.model, train, test, trainer.pipeline, seed=seed)
    return {
        "variant": variant,
        "seed": seed,
        "learning_rate": how.learning_rate,
        "seconds": round(seconds, 1),
        "loss": [round(step.loss, 4) for step in trainer.history],
        "trained": dataclasses.asdict(scores["trained"]),
        "random": dataclasses.asdict(scores["untrained"]),
        "chance": dataclasses.asdict(scores["chance"]),
    }


def run_all(
    path: str | Path,
    profile: Profile,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = (0, 1, 2),
    command: str = "avid-lab reference",
    progress: bool = True,
) -> dict[str, Any]:
    """Do all runs that the results file does not hold yet.

    Args:
        path: The results file (JSON); made, or continued when it holds runs of the same settings.
        profile: World, model and training settings.
        variants: Which of `VARIANTS`.
        seeds: Which seeds, each for every variant.
        command: Written into the file, so that a reader can repeat it.
        progress: Whether to show progress bars.

    Raises:
        ValueError: The file holds runs of other settings.
    """
    path = Path(path)
    made_with = json.loads(json.dumps({"command": command, "profile": dataclasses.asdict(profile), **_machine()}))
    results: dict[str, Any] = {"made_with": made_with, "runs": []}
    if path.exists():
        results = json.loads(path.read_text())
        if results["made_with"]["profile"] != made_with["profile"]:
            raise ValueError(f"{path}: holds runs of other settings. Name another file with --out, or delete it.")
    train, test = (foley.load(profile.world, split=split, progress=progress) for split in ("train", "test"))
    done = {(finished["variant"], finished["seed"]) for finished in results["runs"]}
    for seed in seeds:
        for variant in variants:
            if (variant, seed) not in done:
                results["runs"].append(run(variant, seed, train, test, profile, progress=progress))
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(".part")
                temporary.write_text(json.dumps(results, indent=1))
                os.replace(temporary, path)
    return results


def report(results: dict[str, Any]) -> str:
    """The runs as a Markdown page: how they were made, then mean and spread over the seeds beside the two baselines.

    Args:
        results: What `run_all` returns.
    """
    made, runs = results["made_with"], results["runs"]
    train = made["profile"]["train"]
    variants = [name for name in VARIANTS if any(run["variant"] == name for run in runs)]
    seeds = sorted({run["seed"] for run in runs})
    columns = {f"{name.capitalize()}-AVID": [r["trained"] for r in runs if r["variant"] == name] for name in variants}
    columns |= {
        "untrained": [run["random"] for run in runs if run["variant"] == variants[0]],
        "chance": [runs[0]["chance"]],
    }
    rows = []
    for name, readable in zip(runs[0]["trained"], Scores(**runs[0]["trained"]).rows(), strict=True):
        cells = [readable[0]]
        for scores in columns.values():
            mean, spread = mean_and_spread([100 * score[name] for score in scores])
            cells.append(f"{mean:.1f}" + ("" if math.isnan(spread) else f" ± {spread:.1f}"))
        rows.append(f"| {' | '.join(cells)} |")
    rates = ", ".join(f"{name} {VARIANTS[name].learning_rate:g}" for name in variants)
    seconds = [run["seconds"] for run in runs]
    return "\n".join(
        [
            "# Reference runs",
            "",
            f"Made by `{made['command']}` on {made['hardware']}, Python {made['python']}, torch {made['torch']}.",
            f"World `{made['profile']['world']}`, model `{made['profile']['model']}`, {train['steps']} steps of "
            f"{train['batch_size']} clips, {made['profile']['num_negatives']} negatives, seeds {seeds}; "
            f"peak learning rate {rates}. Training took {min(seconds):.0f} to {max(seconds):.0f} s a run.",
            "",
            "Per cent on held-out clips, mean ± standard deviation over the seeds:",
            "",
            f"| | {' | '.join(columns)} |",
            f"|---|{'---|' * len(columns)}",
            *rows,
            "",
        ]
    )


def _machine() -> dict[str, Any]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU thread(s)"
    return {
        "hardware": f"{platform.machine()}, {device}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
