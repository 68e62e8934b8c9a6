"""What CMA does to similarity: from one AVID, more of AVID against CMA, judged on the validation world.

Three things are kept apart. *Levels*: mean and spread of the similarity of random pairs. *Separation*: whether
same-class pairs are more similar than others (AUC, overlap). *Calibration*: whether a similarity means a probability
(expected calibration error, Brier score), for a curve of each kind of pair, and for one curve for all three kinds.
Curves are fitted on the pairs of one half of the clips and judged on the pairs of the other half.

The trainings are the reference runs (`avid-lab reference`), read from runs/reference.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from avid_lab import foley
from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import Embeddings, embed
from avid_lab.memory import MemoryBank
from avid_lab.metrics import (
    fit_probability,
    mean_and_margin,
    mean_and_spread,
    pairs,
    positive_precision,
    reliability,
    separation,
)
from avid_lab.metrics.pairs import Pairs
from avid_lab.reference.runs import Run, read
from benchmarks.recipe import VALIDATION, precision

RUNS = Path("runs/reference")
KINDS = {"v-v": ("video", "video"), "a-a": ("audio", "audio"), "v-a": ("video", "audio")}
WAYS = {"start": "long", "AVID, continued": "avid", "CMA": "cma", "CMA, one shared Z": "cma-shared"}
Numbers = dict[str, float]


def judge(run: Run, clips: ClipDataset) -> Numbers:
    """Retrieval, levels, separation and calibration on clips that no training uses."""
    space = embed(run.model(), clips, run.pipeline())
    sides = {"video": space.video, "audio": space.audio}
    numbers = {"v2a": precision(space.video, space.audio, space.labels)}
    numbers["a2v"] = precision(space.audio, space.video, space.labels)
    for name, x in sides.items():
        near = (x @ x.T).fill_diagonal_(-torch.inf).topk(10).indices
        numbers[f"{name} neighbours"] = positive_precision(near, space.labels)
    for kind, (one, other) in KINDS.items():
        found = separation(sides[one], sides[other], space.labels)
        numbers |= {
            f"{kind} AUC": found.auc,
            f"{kind} overlap": found.overlap,
            f"{kind} same": found.same.mean().item(),
            f"{kind} different": found.different.mean().item(),
            f"{kind} spread": found.different.std().item(),
        }
    return numbers | calibration(space, run.memory)


def calibration(space: Embeddings, memory: MemoryBank) -> Numbers:
    """Calibration errors and Brier scores of one curve a kind, and of one curve for all kinds.

    "standardised" first subtracts from each similarity the mean of random pairs of its kind in the memory, and divides
    it by their standard deviation. That needs no labels.
    """
    order = space.labels.argsort(stable=True)
    fits, checks = (_pairs(space, half) for half in (order[::2], order[1::2]))
    numbers: Numbers = {}
    for kind in KINDS:
        for method in ("logistic", "isotonic"):
            curve = fit_probability(fits[kind].similarity, fits[kind].same, method)
            found = reliability(curve, checks[kind], fits[kind].same.double().mean().item(), resamples=2)
            numbers[f"{kind} ECE, own {method}"] = found.ece.value
            if method == "logistic":
                numbers[f"{kind} Brier skill"] = 1 - found.brier.value / found.brier.chance
    scales = {kind: _scale(memory, *names) for kind, names in KINDS.items()}
    for name, scale in (("one curve", dict.fromkeys(KINDS, (0.0, 1.0))), ("one curve, standardised", scales)):
        fit, check = (
            {
                kind: replace(found, similarity=(found.similarity - scale[kind][0]) / scale[kind][1])
                for kind, found in half.items()
            }
            for half in (fits, checks)
        )
        same = torch.cat([fit[kind].same for kind in KINDS])
        curve = fit_probability(torch.cat([fit[kind].similarity for kind in KINDS]), same)
        for kind in KINDS:
            found = reliability(curve, check[kind], same.double().mean().item(), resamples=2)
            numbers[f"{kind} ECE, {name}"] = found.ece.value
    return numbers


def _pairs(space: Embeddings, which: Tensor) -> dict[str, Pairs]:
    return {
        kind: pairs(getattr(space, one)[which], getattr(space, other)[which], space.labels[which])
        for kind, (one, other) in KINDS.items()
    }


def _scale(memory: MemoryBank, one: str, other: str) -> tuple[float, float]:
    """Mean and standard deviation of the similarity of random pairs in a memory."""
    draw = torch.randint(len(memory), (2, 20_000), generator=torch.Generator().manual_seed(0))
    draw = draw[:, draw[0] != draw[1]]
    similarity = (getattr(memory, one)[draw[0]] * getattr(memory, other)[draw[1]]).sum(1)
    return similarity.mean().item(), similarity.std().item()


def table(found: list[dict[str, Any]]) -> str:
    """Mean and spread over the seeds of every number, and the paired difference CMA - AVID with its 95 % interval."""
    names = [name for name in found[0] if name not in ("way", "seed")]
    ways = list(dict.fromkeys(run["way"] for run in found))
    lines = [f"| | {' | '.join(ways)} | CMA - AVID, 95 % |", f"|---|{'---|' * (len(ways) + 1)}"]
    values = {way: {run["seed"]: run for run in found if run["way"] == way} for way in ways}
    for name in names:
        cells = []
        for way in ways:
            mean, spread = mean_and_spread([100 * run[name] for run in values[way].values()])
            cells.append(f"{mean:.1f} ± {spread:.1f}")
        paired = [
            100 * (values["CMA"][seed][name] - values["AVID, continued"][seed][name])
            for seed in values["CMA"].keys() & values["AVID, continued"].keys()
        ]
        if len(paired) > 1:
            mean, half = mean_and_margin(paired)
            cells.append(f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run(quick: bool) -> dict[str, Any]:
    """Three seeds, one with --quick."""
    validation = foley.load(VALIDATION)
    found: list[dict[str, Any]] = []
    for seed in (0,) if quick else (0, 1, 2):
        for way, variant in WAYS.items():
            numbers = judge(read(RUNS / f"{variant}-{seed}.safetensors"), validation)
            found.append({"way": way, "seed": seed, **numbers})
            print(json.dumps(found[-1]), flush=True)
    print(table(found))
    return {"runs": found}
