"""What CMA does to similarity: from one AVID, more of AVID against CMA, judged on the validation world.

Three things are kept apart. *Levels*: mean and spread of the similarity of random pairs. *Separation*: whether
same-class pairs are more similar than others (AUC, overlap). *Calibration*: whether a similarity means a probability
(expected calibration error, Brier score), for a curve of each kind of pair, and for one curve for all three kinds.
Curves are fitted on the pairs of one half of the clips and judged on the pairs of the other half.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from avid_lab import foley
from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import Embeddings, embed
from avid_lab.memory import MemoryBank
from avid_lab.metrics import fit_probability, mean_and_margin, mean_and_spread, pairs, positive_precision, separation
from avid_lab.metrics.pairs import Pairs
from avid_lab.objectives import AVID, CMA
from avid_lab.training import Trainer
from benchmarks.recipe import PRESENT, VALIDATION, Run, precision

KINDS = {"v-v": ("video", "video"), "a-a": ("audio", "audio"), "v-a": ("video", "audio")}
BINS = 12  # of equally many pairs, for the calibration error
STEPS, RATE, REMINE_EVERY = 450, 2e-3, 5.0  # of a continuation
Numbers = dict[str, float]


@dataclass(frozen=True)
class Way:
    """One way to continue: ``cma`` has the arguments of `CMA`, None continues AVID."""

    name: str
    cma: dict[str, Any] | None = field(default_factory=dict)


WAYS = (Way("AVID, continued", None), Way("CMA"), Way("CMA, one shared Z", {"partition": "shared"}))


@dataclass(frozen=True)
class Start:
    """A trained Cross-AVID."""

    model: AudioVisualModel
    objective: AVID
    trainer: Trainer


def start(clips: ClipDataset, seed: int) -> Start:
    """Train the pocket recipe."""
    run = Run(PRESENT, clips, seed)
    while run.step():
        pass
    assert isinstance(run.trainer.objective, AVID)
    return Start(run.trainer.model, run.trainer.objective, run.trainer)


def go_on(begun: Start, way: Way, clips: ClipDataset, seed: int) -> Trainer:
    """Continue a copy of a trained AVID in one way."""
    model, avid = copy.deepcopy(begun.model), copy.deepcopy(begun.objective)
    objective = avid if way.cma is None else CMA.from_avid(avid, **way.cma)
    config = replace(
        PRESENT.train,
        steps=STEPS,
        learning_rate=RATE,
        seed=seed + 1000,
        device="cpu",
        remine_every=None if way.cma is None else REMINE_EVERY,
    )
    trainer = Trainer(model, objective, clips, config, pipeline=copy.deepcopy(begun.trainer.pipeline))
    for _ in trainer:
        pass
    return trainer


def judge(trainer: Trainer, clips: ClipDataset) -> Numbers:
    """Retrieval, levels, separation and calibration on clips that no training uses."""
    space = embed(trainer.model, clips, trainer.pipeline)
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
    return numbers | calibration(space, trainer.objective.memory)


def calibration(space: Embeddings, memory: MemoryBank) -> Numbers:
    """Calibration errors and Brier scores of one curve a kind, and of one curve for all kinds.

    "standardised" first subtracts from each similarity the mean of random pairs of its kind in the memory, and divides
    it by their standard deviation. That needs no labels.
    """
    order = space.labels.argsort(stable=True)
    fits, checks = (_pairs(space, half) for half in (order[::2], order[1::2]))
    numbers: Numbers = {}
    scales = {kind: _scale(memory, *names) for kind, names in KINDS.items()}
    for kind in KINDS:
        for method in ("logistic", "isotonic"):
            curve = fit_probability(fits[kind].similarity, fits[kind].same, method)
            p, same = curve(checks[kind].similarity), checks[kind].same.double()
            numbers[f"{kind} ECE, own {method}"] = error(p, same)
            if method == "logistic":
                base = fits[kind].same.double().mean()
                numbers[f"{kind} Brier skill"] = 1 - ((p - same).square().mean() / (base - same).square().mean()).item()
    same = torch.cat([fits[kind].same for kind in KINDS])
    for name in ("one curve", "one curve, standardised"):

        def scaled(found: Pairs, kind: str, name: str = name) -> Tensor:
            mean, deviation = scales[kind] if "standardised" in name else (0.0, 1.0)
            return (found.similarity - mean) / deviation

        curve = fit_probability(torch.cat([scaled(fits[kind], kind) for kind in KINDS]), same)
        for kind in KINDS:
            numbers[f"{kind} ECE, {name}"] = error(curve(scaled(checks[kind], kind)), checks[kind].same.double())
    return numbers


def error(p: Tensor, same: Tensor) -> float:
    """Expected calibration error over bins of equally many pairs."""
    parts = p.argsort().tensor_split(BINS)
    gaps = torch.stack([(p[part].mean() - same[part].mean()).abs() * len(part) for part in parts])
    return (gaps.sum() / len(p)).item()


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
    train, validation = foley.load("pocket", split="train"), foley.load(VALIDATION)
    found: list[dict[str, Any]] = []
    for seed in (0,) if quick else (0, 1, 2):
        begun = start(train, seed)
        found.append({"way": "start", "seed": seed, **judge(begun.trainer, validation)})
        for way in WAYS:
            found.append({"way": way.name, "seed": seed, **judge(go_on(begun, way, train, seed), validation)})
            print(json.dumps(found[-1]), flush=True)
    print(table(found))
    return {"runs": found}
