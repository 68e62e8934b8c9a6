"""The pocket recipe and its predecessor, trained side by side.

The two trainings take turns, a step each, so both meet the same machine. They are judged on the validation world:
clips of another seed that no training and no test uses. A recipe is chosen on these, never on the test clips.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from avid_lab import foley
from avid_lab.config import PRESETS, PROFILES, ModelConfig, TrainConfig
from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import embed
from avid_lab.foley.clip import FoleyConfig
from avid_lab.metrics import mean_and_spread, positive_precision
from avid_lab.objectives import AVID
from avid_lab.training import Trainer

VALIDATION = FoleyConfig(clips=410, seed=1000)  # as many clips as the test split of the world "pocket"


@dataclass(frozen=True)
class Candidate:
    """A model and how it is trained."""

    model: ModelConfig
    train: TrainConfig
    num_negatives: int = 512


FORMER = Candidate(
    replace(PRESETS["pocket"], video_stem=(1, 5, 5), video_stem_stride=(1, 2, 2), pooled_blocks=1),
    TrainConfig(steps=900, learning_rate=2e-3, crop=0.3, colour=1.0),
)
PRESENT = Candidate(PRESETS["pocket"], PROFILES["cpu"].train, PROFILES["cpu"].num_negatives)


class Run:
    """One training of a candidate, a step at a time, with the time that it takes; the objective is AVID by default."""

    def __init__(self, candidate: Candidate, clips: ClipDataset, seed: int, objective: nn.Module | None = None) -> None:
        self.core_s = self.wall_s = 0.0
        model = AudioVisualModel(candidate.model, seed=seed)
        objective = objective or AVID(
            len(clips),
            model.config.dim,
            num_negatives=candidate.num_negatives,
            generator=torch.Generator().manual_seed(seed),
        )
        self.trainer = Trainer(model, objective, clips, replace(candidate.train, seed=seed, device="cpu"))

    def step(self) -> bool:
        """Do a step if one remains."""
        if self.trainer.steps_done >= len(self.trainer):
            return False
        core, wall = time.process_time(), time.perf_counter()
        self.trainer.step()
        self.core_s += time.process_time() - core
        self.wall_s += time.perf_counter() - wall
        return True

    def scores(self, clips: ClipDataset) -> dict[str, float]:
        """Shares of right classes among the ten nearest, both ways, and what the training took."""
        space = embed(self.trainer.model, clips, self.trainer.pipeline)
        both = {"v2a": (space.video, space.audio), "a2v": (space.audio, space.video)}
        found = {name: precision(*pair, space.labels) for name, pair in both.items()}
        return found | {"core_s": self.core_s, "wall_s": self.wall_s}


def precision(query: torch.Tensor, gallery: torch.Tensor, labels: torch.Tensor, k: int = 10) -> float:
    """Mean share of the query's class among its k nearest."""
    return positive_precision((query @ gallery.T).topk(k).indices, labels)


def compare(candidates: dict[str, Candidate], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Train every candidate with every seed; those of one seed take turns."""
    train, validation = foley.load("pocket", split="train"), foley.load(VALIDATION)
    found = []
    for seed in seeds:
        runs = {name: Run(candidate, train, seed) for name, candidate in candidates.items()}
        total = sum(len(run.trainer) for run in runs.values())
        with tqdm(total=total, desc=f"seed {seed}", unit="step") as bar:
            while done := sum(run.step() for run in runs.values()):
                bar.update(done)
        for name, run in runs.items():
            found.append({"recipe": name, "seed": seed, "steps": len(run.trainer), **run.scores(validation)})
            print(json.dumps(found[-1]), flush=True)
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Mean and spread over the seeds, in Markdown."""
    lines = [
        "| recipe | steps | v→a precision at 10, % | a→v precision at 10, % | core-seconds | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(run["recipe"] for run in found):
        runs = [run for run in found if run["recipe"] == name]
        cells = []
        for key, factor, digits in (("v2a", 100, 1), ("a2v", 100, 1), ("core_s", 1, 0), ("wall_s", 1, 0)):
            mean, spread = mean_and_spread([factor * run[key] for run in runs])
            cells.append(f"{mean:.{digits}f} ± {spread:.{digits}f}" if len(runs) > 1 else f"{mean:.{digits}f}")
        lines.append(f"| {name} | {runs[0]['steps']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run(quick: bool) -> dict[str, Any]:
    """Three seeds, one with --quick."""
    found = compare({"former": FORMER, "pocket": PRESENT}, [0] if quick else [0, 1, 2])
    print(table(found))
    return {"runs": found}
